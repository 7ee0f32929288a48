//! Backward_data of patches that lie apart: a stride at least as large as the kernel, and no padding.
//!
//! Every pixel of the input lies in one patch at most, so that the gradient of cols has nothing to add up: it is the
//! gradient of the input in another order. The product of all taps at once is written straight to its places, with the
//! weights as they lie:
//!
//! ```text
//! channels last    dV[pixel(p) + tap(t)] = Σ_k dG[p][k] W[k][t]    rows are pixels, lanes are taps
//! channels first   dV[pixel(p) + tap(t)] = Σ_k W[k][t] dG[k][p]    rows are taps, lanes are pixels
//! ```
//!
//! Channels last, a row of a patch is one run of both the weights and the image. Channels first, the taps of such a row
//! are neighbours among the rows of the product, and are woven into each other as they are stored.

use crate::choose::schedule::{Corner, Schedule, Staging};
use crate::element::Element;
use crate::engine::layer::Layer;
use crate::error::Error;
use crate::gemm::grid::{Block, Grid, LONGEST_TABLE, dense, fit_tables, largest_block};
use crate::gemm::target::{CBlock, Order, Target};
use crate::gemm::{Left, Right, multiply};
use crate::kernel::{Epilogue, Kernels, MAX_LANES, Side};
use crate::pass::Pass;
use crate::scratch::Need;
use crate::shape::{Axis, Layout, MAX_AXES, Shape};
use crate::view::source::pixel_pitches;
use core::fmt;

/// The product of a layer whose patches lie apart.
#[derive(Debug, Clone)]
pub(crate) struct Patches {
    layout: Layout,
    groups: usize,
    /// Channels of a group of the input.
    inputs: usize,
    /// Where the pixels of the gradient of the output lie, and the channels of a group of it.
    pixels: Grid,
    channels: Grid,
    /// Where the taps of a filter lie in the weights, and the filters of a group.
    taps: Grid,
    filters: Grid,
    /// The gradient of the input.
    target: Target,
    /// Every pixel of the input lies in a patch.
    fills: bool,
}

impl Patches {
    /// Whether a pass of a layer can be computed so: as far as sizes tell.
    pub(crate) fn is_possible(shape: &Shape, pass: Pass) -> bool {
        let axes = shape.axes3();
        let apart = |axis: &Axis| {
            let alone = axis.kernel == 1 || (axis.dilation == 1 && axis.kernel <= axis.stride);
            alone && axis.walk().is_inside()
        };
        // A vector of lanes has others beside it to be read, where it hasn't enough of its own.
        let [_, h, w] = axes.map(|axis| axis.output);
        let lanes = match shape.layout() {
            Layout::ChannelsFirst => h.saturating_mul(w),
            Layout::ChannelsLast => shape.patch_len(),
        };
        // Tables have offsets of 32 bits, and one has all output channels of a group.
        let len = shape.weight_len().max(shape.output_len());
        pass == Pass::BackwardData
            && axes.iter().all(apart)
            && shape.kernel_taps() > 1
            && lanes >= MAX_LANES
            && len <= u32::MAX as usize
            && shape.group_out() <= LONGEST_TABLE
    }

    /// The product; none if the schedule isn't possible for this layer.
    pub(super) fn new(shape: &Shape, schedule: Schedule) -> Result<Option<Self>, Error> {
        let Schedule { lanes, cols, other, pixels, taps, .. } = schedule;
        let along = match shape.layout() {
            Layout::ChannelsFirst => Corner::Pixels,
            Layout::ChannelsLast => Corner::Taps,
        };
        let in_place = [cols, other] == [Staging::InPlace; 2];
        let sized = pixels >= MAX_LANES && taps >= MAX_LANES;
        if lanes != along || !in_place || !sized || !Self::is_possible(shape, Pass::BackwardData) {
            return Ok(None);
        }
        let [per_output, per_input] = [shape.output_pixels(), shape.input_pixels()];
        let [outputs, inputs] = [shape.out_channels(), shape.in_channels()];
        let ([pixel_out, channel_out], [pixel_in, channel_in]) = match shape.layout() {
            Layout::ChannelsFirst => ([1, per_output], [1, per_input]),
            Layout::ChannelsLast => ([outputs, 1], [inputs, 1]),
        };
        let axes = shape.axes3();
        let [d, h, w] = axes.map(|axis| axis.output);
        let sizes = [shape.batch(), d, h, w];
        let from = pixel_pitches(sizes, outputs * per_output, pixel_out);
        let image = [0, 1, 2].map(|axis| axes[axis].input);
        let [of_image, steps @ ..] =
            pixel_pitches([1, image[0], image[1], image[2]], inputs * per_input, pixel_in);
        let [a, b, c] = [0, 1, 2].map(|axis| axes[axis].stride.saturating_mul(steps[axis]));
        let to = [of_image, a, b, c];
        // Blocks are parts of an image: how they are cut, and so the order of sums, doesn't depend on the batch.
        let whole = match shape.layout() {
            Layout::ChannelsFirst => [1, 1, h, w],
            Layout::ChannelsLast => [1, d, h, w],
        };
        let block = fit_tables(largest_block(whole, pixels), &[from, to]);
        let [tap_sizes, of_weights, to_taps] = tap_grids(shape, steps, channel_in);
        let tap_block = tap_block(shape, tap_sizes, taps);
        let tap_block = fit_tables(tap_block, &[of_weights, to_taps]);
        let target = match shape.layout() {
            Layout::ChannelsFirst => {
                let rows = Grid::new(tap_sizes, to_taps, tap_block)?;
                let columns = Grid::untabled(sizes, to, block);
                Target::new(rows, columns, 0, to[3], Order::ColumnsOutside)
            }
            Layout::ChannelsLast => {
                let columns = Grid::untabled(tap_sizes, to_taps, tap_block);
                Target::new(Grid::new(sizes, to, block)?, columns, 0, 1, Order::RowsOutside)
            }
        };
        Ok(Some(Self {
            layout: shape.layout(),
            groups: shape.groups(),
            inputs: shape.group_in(),
            pixels: Grid::new(sizes, from, block)?,
            channels: Grid::line(shape.group_out(), channel_out, shape.group_out())?,
            taps: Grid::new(tap_sizes, of_weights, tap_block)?,
            filters: Grid::line(shape.group_out(), shape.patch_len(), shape.group_out())?,
            target,
            fills: axes.iter().all(|axis| axis.output.saturating_mul(axis.kernel) == axis.input),
        }))
    }

    /// Whether every element of the gradient of the input gets a sum: otherwise some are zero.
    pub(super) fn fills(&self) -> bool {
        self.fills
    }

    /// What the pass wants: a bias for each tap.
    pub(super) fn need(&self) -> Need {
        Need { units: self.target.blocks(), shared: self.taps.len(), piece: 0 }
    }

    /// One line: how the pass is computed.
    pub(super) fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pixels, taps) = (self.pixels.block_len(), self.taps.block_len());
        let blocks = self.target.blocks();
        write!(
            f,
            "patches apart: the product is written straight to its places, weights read as "
        )?;
        write!(f, "they lie; {blocks} blocks, {pixels} pixels by {taps} taps at a time")
    }

    /// The group of a block of taps, and where its weights begin.
    fn weights_of(&self, taps: &Block) -> (usize, usize) {
        let (mut start, mut group) = (taps.start, 0);
        if self.groups > 1 {
            let axis = match self.layout {
                Layout::ChannelsFirst => 0,
                Layout::ChannelsLast => 3,
            };
            (group, start[axis]) = (start[axis] / self.inputs, start[axis] % self.inputs);
        }
        let of_group = self.filters.pitches()[3] * self.filters.len();
        (group, group * of_group + self.taps.place(start))
    }

    /// Writes the gradient of the input.
    pub(super) fn run<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        sources: [&[T]; 2],
        epilogue: Epilogue<'_, T>,
        grad_input: &mut [T],
        scratch: &mut [T],
    ) {
        if !self.fills && !epilogue.accumulate {
            grad_input.fill(T::ZERO);
        }
        let biases = &mut scratch[..self.taps.len()];
        let bias = epilogue.bias.map(|bias| {
            self.bias_of_taps(bias, biases);
            &*biases
        });
        let epilogue = Epilogue { bias, ..epilogue };
        let blocks = self.target.over(grad_input);
        layer.parallelism.for_all(self.target.blocks(), blocks, |c| {
            self.block(layer.kernels, sources, c, epilogue);
        });
    }

    /// Writes a block of it; the epilogue has a bias for each tap.
    fn block<T: Element>(
        &self,
        kernels: &Kernels<T>,
        [weight, grad_output]: [&[T]; 2],
        mut c: CBlock<'_, T>,
        epilogue: Epilogue<'_, T>,
    ) {
        let (pixels, taps, channels) = match self.layout {
            Layout::ChannelsFirst => (c.columns(), c.rows(), Side::Rows),
            Layout::ChannelsLast => (c.rows(), c.columns(), Side::Columns),
        };
        let epilogue = Epilogue { channels, ..epilogue }.of_channels(taps.range());
        let (group, place) = self.weights_of(&taps);
        let outputs = self.channels.len();
        let first =
            self.channels.place([0, 0, 0, group * outputs]) + self.pixels.place(pixels.start);
        let [of_pixels, of_weights] = [&self.channels, &self.filters].map(|k| k.offsets(outputs));
        let (left, right) = match self.layout {
            Layout::ChannelsFirst => {
                let (data, rows) = (&weight[place..], self.taps.offsets(taps.len));
                let left = Left { data, rows, k: of_weights, weighed: taps.len };
                (left, Right { data: grad_output, first, panel_pitch: None, k: of_pixels })
            }
            Layout::ChannelsLast => {
                let (data, rows) = (&grad_output[first..], self.pixels.offsets(pixels.len));
                let left = Left { data, rows, k: of_pixels, weighed: pixels.len };
                (left, Right { data: weight, first: place, panel_pitch: None, k: of_weights })
            }
        };
        multiply(&kernels.wide, &mut c, left, right, epilogue);
    }

    /// Writes the bias of each tap's channel.
    fn bias_of_taps<T: Element>(&self, bias: &[T], to: &mut [T]) {
        match self.layout {
            Layout::ChannelsFirst => {
                let taps = to.len() / bias.len();
                to.chunks_exact_mut(taps).zip(bias).for_each(|(to, &bias)| to.fill(bias));
            }
            Layout::ChannelsLast => {
                to.chunks_exact_mut(bias.len()).for_each(|to| to.copy_from_slice(bias));
            }
        }
    }
}

/// The sizes of a grid of all taps, of all groups; where they lie in the weights of a group, and in a patch of the input
/// whose pixels are `steps` apart, and its channels.
fn tap_grids(shape: &Shape, steps: [usize; MAX_AXES], channel: usize) -> [[usize; 4]; 3] {
    let [d, h, w] = shape.axes3().map(|axis| axis.kernel);
    let [a, b, c] = steps;
    let (all, inputs) = (shape.in_channels(), shape.group_in());
    match shape.layout() {
        Layout::ChannelsFirst => {
            let sizes = [all, d, h, w];
            [sizes, dense(sizes), [channel, a, b, c]]
        }
        // A row of a patch is a single run.
        Layout::ChannelsLast if shape.groups() == 1 => {
            let sizes = [1, d, h, w * inputs];
            [sizes, dense(sizes), [0, a, b, channel]]
        }
        Layout::ChannelsLast => [[d, h, w, all], dense([d, h, w, inputs]), [a, b, c, channel]],
    }
}

/// A block of at most so many taps: of one group; channels last, of one plane of a patch, so that lanes lie in lines.
fn tap_block(shape: &Shape, sizes: [usize; 4], most: usize) -> [usize; 4] {
    let divisor = |most: usize| {
        let most = most.min(shape.group_in());
        (1..=most).rev().find(|&some| shape.group_in().is_multiple_of(some)).unwrap_or(1)
    };
    let [_, b, c, d] = sizes;
    match shape.layout() {
        Layout::ChannelsFirst => {
            let block = largest_block([shape.group_in(), b, c, d], most);
            let channels = if shape.groups() == 1 { block[0] } else { divisor(block[0]) };
            [channels, block[1], block[2], block[3]]
        }
        Layout::ChannelsLast if shape.groups() == 1 => largest_block([1, 1, c, d], most),
        Layout::ChannelsLast => [1, 1, 1, divisor(most)],
    }
}
