//! What Winograd's algorithm costs.

use super::Costs;
use crate::choose::schedule::Schedule;
use crate::element::{Element, ceil};
use crate::engine::winograd::form;
use crate::pass::Pass;
use crate::shape::Axis;

impl<T: Element> Costs<'_, T> {
    /// Tiles of a plane become points, are multiplied there, and become pixels or taps.
    pub(super) fn winograd(&self, s: &Schedule) -> f64 {
        let (m, q) = (self.machine, self.q);
        let shape = &q.shape;
        let Some(form) = form(shape, s.tile) else { return f64::INFINITY };
        let [d, h, w] = shape.axes3();
        let length = |axis: &Axis| match q.pass {
            Pass::BackwardData => axis.input,
            Pass::Forward | Pass::BackwardWeight => axis.output,
        };
        let [rows, columns] = form.sizes();
        let tiles = tiles(h, length(h), rows.outputs) * tiles(w, length(w), columns.outputs);
        let tiles = tiles as f64 * shape.batch() as f64 * length(d) as f64;
        let (terms, lanes) = match q.pass {
            Pass::Forward => (shape.group_in(), shape.group_out()),
            Pass::BackwardData | Pass::BackwardWeight => (shape.group_out(), shape.group_in()),
        };
        let padded = lanes.next_multiple_of(s.width.max(1)) as f64;
        let points = form.points() as f64;
        let depths = d.kernel as f64;
        let products = tiles * terms as f64 * padded / self.v * m.product_of_points;
        let each = if self.first { m.points_across } else { m.points };
        // What is read is transformed anew for each block of what is made.
        let anew = |channels: usize, of: usize| channels.div_ceil(of.max(1)) as f64;
        let read = ceil(terms as f64 / self.v) * tiles * anew(lanes, 2 * s.taps);
        let weights = terms as f64 * padded / self.v;
        let (moved, weights) = match q.pass {
            Pass::BackwardWeight => {
                let other = padded / self.v * tiles * anew(terms, s.taps);
                (depths * (read + other), weights)
            }
            Pass::Forward | Pass::BackwardData => {
                let blocks = ceil(tiles / s.pixels as f64);
                // Each block of tiles reads all weights, which are transformed before.
                let transformed = if q.packed { 0.0 } else { 2.0 };
                (depths * read + padded / self.v * tiles, weights * (blocks + transformed))
            }
        };
        self.groups * points * (depths * (products + weights * m.points_of_weight) + moved * each)
    }
}

/// Tiles of so many outputs along an axis of the plane, phase by phase of its dilation.
fn tiles(axis: &Axis, length: usize, outputs: usize) -> usize {
    let phases = if axis.kernel > 1 { axis.dilation.min(length) } else { 1 };
    (0..phases).map(|phase| (length - phase).div_ceil(phases).div_ceil(outputs)).sum()
}
