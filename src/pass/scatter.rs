//! `taps x pixels` times `pixels x channels`: the product behind backward_weight.
//!
//! The same view as forward with its tables swapped: rows are taps, terms are pixels. Lanes are
//! output channels, in panels transposed from the outputs' errors run by run.

use super::backward_weight::{PARTIALS, join};
use super::{Layer, Write};
use crate::element::Element;
use crate::gemm::grid::{Grid, Run, dense};
use crate::gemm::pack::{Source as Columns, pack};
use crate::gemm::target::{Cell, Order, Target};
use crate::gemm::{Finish, Left, Right, multiply};
use crate::kernel::Kernel;
use crate::patches::{Held, Limits, Patches, Source};
use crate::scratch::{Need, aligned};
use crate::shape::{Layout, Shape};
use core::fmt;

/// Pixels of a run, which are the terms between two visits of the destination.
const PIXELS: usize = 1024;

/// Taps of a run, which are the rows of a cell.
const TAPS: usize = 616;

/// Units of work that a layer should have, where it can.
const CELLS: usize = 8;

/// Elements of the image that a run may touch.
const TOUCHED: usize = 128 << 10;

/// The product, its view and its destination.
#[derive(Debug, Clone)]
pub(crate) struct Scatter {
    patches: Patches,
    target: Target,
    /// Where each pixel of a run lies in a panel.
    errors: Grid,
    /// Lanes of a panel, and of the longest run of lanes.
    width: usize,
    lanes: usize,
    /// Parts of the sum over the pixels that are summed by themselves, as the shape decides.
    parts: usize,
}

impl Scatter {
    /// Backward_weight, for panels `width` lanes wide.
    pub(crate) fn new(shape: &Shape, width: usize) -> Self {
        let source = Source::input(shape);
        let limits =
            Limits { pixels: PIXELS, taps: TAPS, touched: TOUCHED, keep_taps: false, flat: false };
        let patches = Patches::new(source, limits, &[], &[]);
        let taps = &patches.taps;
        let rows = Grid::new(source.tap_sizes(), dense(source.tap_sizes()), taps.run_sizes());
        let run = patches.pixels.table().len();
        // Enough cells for many threads, as long as they have panels of their own.
        let mut lanes = shape.group_out().next_multiple_of(width).min(8 * width);
        while lanes > width
            && rows.runs() * shape.groups() * shape.group_out().div_ceil(lanes) < CELLS
        {
            lanes = (lanes / 2).next_multiple_of(width);
        }
        let channels = Grid::untabled(
            [1, 1, shape.groups(), shape.group_out()],
            [0, 0, shape.group_out().saturating_mul(shape.patch_len()), shape.patch_len()],
            [1, 1, 1, lanes.min(shape.group_out())],
        );
        let target = Target::new(rows, channels, 0, shape.patch_len(), Order::RowsOutside);
        // Where there are few cells, the sum itself is cut.
        let fits = PARTIALS / shape.weight_len();
        let parts = CELLS.div_ceil(target.cells()).min(patches.pixels.runs()).min(fits).max(1);
        Self { patches, target, errors: Grid::line(run, width, run), width, lanes, parts }
    }

    /// Elements of partial sums.
    fn partials(&self) -> usize {
        let elements = self.target.rows().len() * self.target.lanes().len();
        if self.parts == 1 { 0 } else { self.parts * elements }
    }

    /// A copy and the panels of one run for each worker, and the partial sums.
    pub(crate) fn need(&self) -> Need {
        let panels = self.errors.table().len() * self.lanes;
        Need {
            units: self.target.cells() * self.parts,
            shared: self.partials(),
            piece: panels + 16 + self.patches.copy_len().next_multiple_of(16),
        }
    }

    /// One line: how the pass is computed.
    pub(crate) fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rows are taps, lanes are output channels, {} to a panel", self.width)?;
        write!(f, "; {} cells in {} parts, {}", self.target.cells(), self.parts, self.patches)
    }

    /// Runs the product.
    pub(crate) fn run<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        [input, grad_output]: [&[T]; 2],
        grad_weight: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) {
        let (partials, scratch) = scratch.split_at_mut(self.partials());
        let sources = [input, grad_output];
        if self.parts == 1 {
            let cells = self.target.over(grad_weight);
            layer.parallelism.for_each(self.need(), cells, scratch, |cell, scratch, held| {
                self.fill(layer, sources, cell, 0, write, scratch, held);
            });
            return;
        }
        let len = grad_weight.len();
        let parts = partials.chunks_mut(len).enumerate();
        let cells =
            parts.flat_map(|(part, sums)| self.target.over(sums).map(move |cell| (part, cell)));
        layer.parallelism.for_each(self.need(), cells, scratch, |(part, cell), scratch, held| {
            self.fill(layer, sources, cell, part, Write::Overwrite, scratch, held);
        });
        join(partials, len, grad_weight, write);
    }

    /// Sums one part into one cell.
    #[allow(clippy::too_many_arguments, reason = "all that a unit of work is")]
    fn fill<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        [input, grad_output]: [&[T]; 2],
        mut cell: Cell<'_, T>,
        part: usize,
        write: Write,
        scratch: &mut [T],
        held: &mut Held,
    ) {
        let (shape, kernel) = (layer.shape, &layer.kernels.tall);
        let (taps, lanes) = (cell.rows(), cell.lanes());
        let (panels, copy) = scratch.split_at_mut(self.errors.table().len() * self.lanes + 16);
        let panels = aligned(panels);
        let runs = self.patches.pixels.runs();
        let first = part * runs / self.parts;
        for index in first..(part + 1) * runs / self.parts {
            let pixels = self.patches.pixels.run(index);
            let panel_pitch = pixels.len * self.width;
            for (panel, to) in
                (0..lanes.len).step_by(self.width).zip(panels.chunks_mut(panel_pitch))
            {
                let count = self.width.min(lanes.len - panel);
                pack_errors(shape, kernel, grad_output, &pixels, lanes.first + panel, count, to);
            }
            let data = self.patches.part(input, lanes.start[2], &pixels, &taps, copy, held);
            let left = Left {
                data,
                rows: &self.patches.taps.table()[..taps.len],
                terms: &self.patches.pixels.table()[..pixels.len],
            };
            let terms = &self.errors.table()[..pixels.len];
            let right = Right { data: &*panels, panel_pitch: Some(panel_pitch), terms };
            let accumulate = index > first || write == Write::Accumulate;
            let finish = Finish { lane_bias: None, row_bias: None, accumulate, clamp: None };
            multiply(kernel, &mut cell, left, right, finish);
        }
    }
}

/// Packs one panel: the errors of `count` channels from `first` on, for a run of pixels.
fn pack_errors<T: Element>(
    shape: &Shape,
    kernel: &Kernel<T>,
    grad_output: &[T],
    pixels: &Run,
    first: usize,
    count: usize,
    to: &mut [T],
) {
    let (channels, per_image) = (shape.out_channels(), shape.output_pixels());
    match shape.layout() {
        Layout::ChannelsFirst => {
            // A run is a part of one image or several whole ones.
            let cols = pixels.len / pixels.sizes[0];
            let start = pixels.start[0] * channels * per_image + pixels.first % per_image;
            let columns = Columns {
                data: &grad_output[start + first * per_image..],
                lanes: count,
                lane: per_image,
                cols,
                col: 1,
                blocks: pixels.sizes[0],
                block: channels * per_image,
            };
            pack(kernel, columns, to, false);
        }
        Layout::ChannelsLast => {
            let data = &grad_output[pixels.first * channels + first..];
            let columns = Columns {
                data,
                lanes: count,
                lane: 1,
                cols: pixels.len,
                col: channels,
                blocks: 1,
                block: 0,
            };
            pack(kernel, columns, to, false);
        }
    }
}
