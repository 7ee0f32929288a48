//! Operands in the order in which the kernels read them: weights in panels whose lanes are channels or reordered for
//! backward_data, and for backward_weight the channels of a tensor.

use super::over_taps::{Direction, OverTaps, Packing};
use crate::choose::schedule::Corner;
use crate::element::Element;
use crate::engine::layer::Layer;
use crate::gemm::grid::Block;
use crate::gemm::pack::{Source as Columns, pack};
use crate::kernel::Kernel;
use crate::shape::{Layout, Shape};
use core::ops::Range;

impl OverTaps {
    /// Packs every panel; where the kernels read the weights as they lie, copies them.
    pub(crate) fn pack<T: Element>(
        &self,
        &Layer { shape, kernels, parallelism }: &Layer<'_, T>,
        weight: &[T],
        packed: &mut [T],
    ) {
        if self.packing == Packing::None {
            packed.copy_from_slice(weight);
            return;
        }
        let panels = packed.chunks_mut(self.panel()).enumerate();
        parallelism.for_all(panels.len(), panels, |(index, panel)| match self.schedule.lanes {
            Corner::Channels => {
                let kernel = self.kernel(kernels);
                self.pack_panel(shape, kernel, weight, index, panel);
            }
            Corner::Pixels => self.flip(shape, weight, index, panel),
            Corner::Taps => self.turn(shape, weight, index, panel),
        });
    }

    /// Packs panel `index`. Forward: k lies as in the weight. Backward_data: k are the output
    /// channels with the taps of each last to first.
    pub(super) fn pack_panel<T: Element>(
        &self,
        shape: &Shape,
        kernel: &Kernel<T>,
        weight: &[T],
        index: usize,
        panel: &mut [T],
    ) {
        let (group, first) = (index / self.per_group(), index % self.per_group() * self.width);
        let lanes = self.width.min(self.channels - first);
        let (patch, taps, outputs) = (shape.patch_len(), shape.kernel_taps(), shape.group_out());
        let of_group = &weight[group * outputs * patch..];
        let columns = match (self.direction, shape.layout()) {
            (Direction::Forward, _) => {
                let data = &of_group[first * patch..];
                Columns { data, lanes, lane: patch, cols: patch, col: 1, blocks: 1, block: 0 }
            }
            (Direction::BackwardData, _) if taps == 1 => {
                let data = &of_group[first..];
                Columns { data, lanes, lane: 1, cols: outputs, col: patch, blocks: 1, block: 0 }
            }
            (Direction::BackwardData, Layout::ChannelsFirst) => {
                let data = &of_group[first * taps..];
                let (blocks, block) = (outputs, patch);
                Columns { data, lanes, lane: taps, cols: taps, col: 1, blocks, block }
            }
            (Direction::BackwardData, Layout::ChannelsLast) => {
                let data = &of_group[first..];
                let (blocks, block, col) = (outputs, patch, shape.group_in());
                Columns { data, lanes, lane: 1, cols: taps, col, blocks, block }
            }
        };
        let reversed = self.direction == Direction::BackwardData && taps > 1;
        pack(kernel, columns, panel, reversed);
    }

    /// Writes the weights that input channel `index` has in each output channel, the taps of each
    /// last to first.
    fn flip<T: Element>(&self, shape: &Shape, weight: &[T], index: usize, row: &mut [T]) {
        let (group, channel) = (index / self.channels, index % self.channels);
        let (patch, taps) = (shape.patch_len(), shape.kernel_taps());
        let weight = &weight[group * shape.group_out() * patch + channel * taps..];
        // Of a known length, they are reversed in registers.
        if taps == 9 {
            let (rows, _) = row.as_chunks_mut::<9>();
            for (row, filter) in rows.iter_mut().zip(weight.chunks(patch)) {
                let filter = &filter[..9];
                *row = core::array::from_fn(|tap| filter[8 - tap]);
            }
        } else {
            for (row, filter) in row.chunks_exact_mut(taps).zip(weight.chunks(patch)) {
                row.iter_mut().zip(filter[..taps].iter().rev()).for_each(|(to, &w)| *to = w);
            }
        }
    }

    /// Writes the weights that input channel `index` has in each output channel, tap by tap, the last first: channels
    /// last.
    fn turn<T: Element>(&self, shape: &Shape, weight: &[T], index: usize, row: &mut [T]) {
        let (group, channel) = (index / self.channels, index % self.channels);
        let (patch, outputs) = (shape.patch_len(), shape.group_out());
        let weight = &weight[group * outputs * patch + channel..];
        for (tap, row) in row.chunks_exact_mut(outputs).rev().enumerate() {
            let of_tap = &weight[tap * shape.group_in()..];
            row.iter_mut().zip(of_tap.iter().step_by(patch)).for_each(|(to, &w)| *to = w);
        }
    }
}

/// Packs one panel: some of the channels of grad_output, or of an image with its pixels, for a block of pixels.
pub(super) fn pack_channels<T: Element>(
    shape: &Shape,
    kernel: &Kernel<T>,
    (data, channels): (&[T], usize),
    pixels: &Block,
    which: Range<usize>,
    to: &mut [T],
) {
    let per_image = shape.output_pixels();
    match shape.layout() {
        Layout::ChannelsFirst => {
            // A block is a part of one image or several whole ones.
            let cols = pixels.len / pixels.sizes[0];
            let start = pixels.start[0] * channels * per_image + pixels.first % per_image;
            let columns = Columns {
                data: &data[start + which.start * per_image..],
                lanes: which.len(),
                lane: per_image,
                cols,
                col: 1,
                blocks: pixels.sizes[0],
                block: channels * per_image,
            };
            pack(kernel, columns, to, false);
        }
        Layout::ChannelsLast => {
            let data = &data[pixels.first * channels + which.start..];
            let columns = Columns {
                data,
                lanes: which.len(),
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
