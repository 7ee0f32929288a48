//! What direct convolutions cost: a group has too few channels for a matrix.

use super::{Costs, IN_FLIGHT};
use crate::choose::schedule::Schedule;
use crate::element::{Element, ceil};
use crate::pass::Pass;

/// How many times as long as a lane stored apart a lane takes that is loaded apart.
const LOADED_APART: f64 = 12.0;

impl<T: Element> Costs<'_, T> {
    /// The image as it is written down with its padding.
    pub(super) fn padded(&self) -> f64 {
        let (m, shape) = (self.machine, &self.q.shape);
        let [d, h, w] = shape.axes3().map(|axis| {
            let sizes = [axis.pad_begin, axis.input, axis.pad_end];
            sizes.iter().map(|&size| size as f64).sum::<f64>()
        });
        let channels = shape.in_channels() as f64;
        let (planes, row) = if self.first { (channels, w) } else { (1.0, channels * w) };
        let rows = shape.batch() as f64 * planes * d * h;
        rows * (m.copied_row + ceil(row / self.v) * m.copied_vector)
    }

    /// A filter per channel, channels first.
    pub(super) fn depthwise(&self) -> f64 {
        let (m, shape) = (self.machine, &self.q.shape);
        let outputs = shape.out_channels() as f64;
        let stride = shape.axes3()[2].stride;
        let mut cycles = 0.0;
        for view in &self.q.views {
            let source = &view.source;
            let [_, h, w] = source.walks.map(|walk| walk.outputs);
            // Lanes that lie apart are loaded one by one, each time that a tap meets them.
            let apart = match (self.q.pass, stride) {
                (_, 1) => 1.0,
                (Pass::BackwardData, 2) => 1.0,
                (Pass::BackwardData, _) => 1.0 + m.direct_apart * self.v / view.k,
                (_, 2) => m.direct_by_two,
                _ => m.direct_apart * self.v * LOADED_APART,
            };
            let taps = view.k / source.channels as f64;
            let rows = view.planes * h as f64;
            let vectors = rows * ceil(w as f64 / self.v);
            cycles += vectors * (taps * m.direct * apart + m.stored) + rows * m.direct_row;
        }
        outputs * (cycles + m.direct_plane)
    }

    /// Few channels to a filter, channels last.
    pub(super) fn direct_last(&self) -> f64 {
        let (m, shape) = (self.machine, &self.q.shape);
        let group = [shape.group_in() as f64, shape.group_out() as f64];
        let (summed, made) = match self.q.pass {
            Pass::BackwardData => (group[1], group[0]),
            _ => (group[0], group[1]),
        };
        let vectors = ceil(self.groups * made / self.v);
        let mut cycles = 0.0;
        for view in &self.q.views {
            let source = &view.source;
            let taps = source.walks.iter().map(|walk| walk.taps as f64).product::<f64>();
            let product = if summed > 1.0 { m.direct_group } else { m.direct_last };
            cycles += view.pixels() * vectors * (taps * summed * product + m.stored);
            cycles += view.planes * source.walks[1].outputs as f64 * m.direct_row;
        }
        cycles + shape.weight_len() as f64 * m.moved
    }

    /// Blocks of filters over few channels, channels first.
    pub(super) fn direct(&self, s: &Schedule) -> f64 {
        let (m, shape) = (self.machine, &self.q.shape);
        let (inputs, outputs) = match self.q.pass {
            Pass::BackwardData => (shape.group_out() as f64, shape.group_in() as f64),
            _ => (shape.group_in() as f64, shape.group_out() as f64),
        };
        let by_twos = self.q.pass == Pass::Forward && shape.axes3()[2].stride == 2;
        let alternate = self.q.pass == Pass::BackwardData && shape.axes3()[2].stride == 2;
        let block = s.width as f64;
        let blocks = ceil(outputs / block);
        let mut cycles = 0.0;
        for view in &self.q.views {
            let source = &view.source;
            let [_, h, w] = source.walks.map(|walk| walk.outputs as f64);
            let [d, r, c] = source.walks.map(|walk| walk.taps as f64);
            let load = if by_twos { m.direct_load * m.direct_by_two } else { m.direct_load };
            let vectors = view.planes * h * ceil(w / self.v);
            let stored = self.stored_in_planes(block);
            let stored = if alternate { 1.5 * m.stored_of_pixels } else { stored };
            // A strip is as wide as a vector: it writes a line of each row of all planes before the next one does.
            let far = if Self::are_far(block * view.plane) { m.direct_far } else { 0.0 };
            // A strip of rows loads each vector once for all rows of taps.
            let column = (block * r).max(IN_FLIGHT / 2.0) * m.product_of_direct + load;
            let step = source.walks[1].stride as f64;
            let column = if step > 1.0 { column + (step - 1.0) * load } else { column };
            cycles += vectors * (d * c * inputs * column + block * (stored + far))
                + view.planes * inputs * d * m.direct_row;
        }
        self.groups * (blocks * cycles + inputs * outputs * shape.kernel_taps() as f64 * m.moved)
    }
}
