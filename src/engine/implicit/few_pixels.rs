//! Layers with fewer output pixels than output channels: dense layers, kernels as large as their
//! image, the last stages of a network at batch 1.
//!
//! Here cols is small beside the weights, and packing the weights costs more than it gives. So
//! this is the textbook with the roles swapped: cols *is* written out, a row for each pixel,
//! and the weights are read once, as they lie:
//!
//! ```text
//! forward          Y[k][p]     = W[k][..] · cols[p][..]       taps side by side: dot products
//! backward_weight  dW[k][t]    = Σ_p dG[k][p] cols[p][t]      lanes are taps, written in place
//! backward_data    dcols[p][t] = Σ_k dG[k][p] W[k][t]         lanes are taps; then col2im
//! ```
//!
//! Where a patch is the whole image, cols is the input itself and nothing is copied at all. Each pass has products of
//! its own, so that they are made one pass at a time.
//!
//! Backward_data is the same where patches don't overlap, however many pixels there are: a stride as large as the
//! kernel has as many phases as taps, with a product of one tap in each. There, some images at a time are one
//! product.

use crate::element::Element;
use crate::engine::layer::Layer;
use crate::error::Error;
use crate::gemm::dot::{Operand, Tile, dots};
use crate::gemm::grid::{Grid, LONGEST_TABLE, Offsets, dense, fit_tables};
use crate::gemm::packed_b::ROWS_OF_BLOCK;
use crate::gemm::target::{Order, Target};
use crate::gemm::{Left, Right, multiply};
use crate::kernel::{Epilogue, Kernels, MAX_LANES, Side};
use crate::numerics::FEW_PIXELS_TAPS;
use crate::pass::{Pass, Write};
use crate::scratch::{Need, room};
use crate::shape::{Axis, Layout, Shape, flat, positions};
use crate::view::cols::{Cols, InScratch, Limits};
use crate::view::source::{Beside, Source, pixel_pitches};
use alloc::vec::Vec;
use core::fmt;

/// The most pixels, over the batch: with more, packed weights are used often enough.
const MOST_PIXELS: usize = 64;

/// The most pixels for which forward is made of dot products: more of them read the weights so often that packing pays.
const MOST_DOTS: usize = 16;

/// Elements of cols that a block of taps may have: with some rows of the weights they stay in a L2
/// cache of 1 MiB.
const TOUCHED: usize = 96 << 10;

/// Output channels of a unit of work.
const CHANNELS: usize = 24;

/// Bytes of the gradient of cols, where patches don't overlap.
const GRAD_COLS: usize = 8 << 20;

/// Pairs of an output pixel and a tap of an image that a plan looks at: no more than elements of the gradient of cols
/// where patches don't overlap, and where few pixels have more, as hardly any of them is inside.
const MOST_MEETINGS: usize = GRAD_COLS / 4;

/// The product of one pass of such a layer.
#[derive(Debug, Clone)]
pub(crate) struct FewPixels {
    pass: Pass,
    /// cols, in blocks of taps.
    cols: Cols,
    /// A patch is the image, so cols is the input.
    whole: bool,
    groups: usize,
    /// Images that are multiplied at once, and their pixels.
    images: usize,
    pixels: usize,
    /// Pixels of the batch by which the order of sums is chosen.
    weighed: usize,
    k: usize,
    /// Taps of a block.
    run: usize,
    /// Where pixels and output channels lie in the outputs, output channels in the weights.
    output_pixels: Grid,
    output_channels: Grid,
    weights: Grid,
    /// Where the filters of a group lie.
    filters: Grid,
    /// Every pixel of the input that a tap of an output pixel meets, and where that tap lies in
    /// the gradient of an image's cols, for the first channel.
    meetings: Vec<[u32; 2]>,
    /// Rows of cols in a block of taps, and in dcols.
    rows: Grid,
    /// What the pass writes, and in which tiles forward's dot products are made.
    target: Target,
    tile: Option<Tile>,
}

impl FewPixels {
    /// Whether cols, or its gradient, may be written down for a pass: as far as sizes tell.
    pub(crate) fn is_possible(shape: &Shape, pass: Pass) -> bool {
        // The tables have offsets of 32 bits, and one has all output channels.
        let len = shape.weight_len().max(shape.output_len()).max(shape.input_len());
        let disjoint = pass == Pass::BackwardData && are_disjoint(shape);
        (Self::has_few(shape) || disjoint)
            && shape.patch_len() >= 2 * MAX_LANES
            && len <= u32::MAX as usize
            && shape.group_out() <= LONGEST_TABLE
            && shape.output_pixels().saturating_mul(shape.kernel_taps()) <= MOST_MEETINGS
    }

    /// Whether a layer has so few pixels that cols is no larger than the weights.
    fn has_few(shape: &Shape) -> bool {
        let pixels = shape.batch().saturating_mul(shape.output_pixels());
        pixels <= MOST_PIXELS.min(shape.group_out())
    }

    /// Images of which the gradient of cols is written down at once: all of them, or as many as there is room for.
    fn images_at_once<T>(shape: &Shape) -> Option<usize> {
        let batch = shape.batch();
        let row = shape.patch_len().saturating_mul(shape.groups());
        let most = GRAD_COLS / size_of::<T>() / shape.output_pixels().saturating_mul(row);
        let even = |&images: &usize| batch.is_multiple_of(images);
        if Self::has_few(shape) { Some(batch) } else { (1..=most.min(batch)).rev().find(even) }
    }

    /// The product of a pass; none if it [isn't possible](Self::is_possible).
    pub(crate) fn new<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        pass: Pass,
    ) -> Result<Option<Self>, Error> {
        if !Self::is_possible(shape, pass) {
            return Ok(None);
        }
        let Some(images) = Self::images_at_once::<T>(shape) else { return Ok(None) };
        let pixels = images * shape.output_pixels();
        let (outputs, k) = (shape.group_out(), shape.patch_len());
        let source = Source::input(shape);
        let weighed = shape.weighed().saturating_mul(shape.output_pixels());
        let taps = FEW_PIXELS_TAPS.min(TOUCHED / weighed).max(TOUCHED / MOST_PIXELS);
        let limits = Limits {
            pixels: MOST_PIXELS,
            taps,
            touched: usize::MAX,
            kept: 0,
            beside: Beside::None,
            in_place: !source.has_set_conflicts(),
        };
        let mut cols = Cols::new(source, limits, &[], &[]);
        let whole = shape.axes3().iter().all(|axis| {
            axis.output == 1
                && axis.kernel == axis.input
                && axis.pad_begin == 0
                && axis.dilation == 1
        });
        // The lanes of the last block reach back over its own, or past the end.
        let last = cols.taps.block(cols.taps.blocks() - 1).len;
        let whole = whole
            && last >= MAX_LANES
            && (shape.groups() == 1 || shape.layout() == Layout::ChannelsFirst);
        if !whole {
            cols.pixels.make_table()?;
            cols.taps.make_table()?;
        }
        let run = cols.taps.block_len();
        let groups = shape.groups();
        let (channels, per_image) = (shape.out_channels(), shape.output_pixels());
        let (pixel, channel) = match shape.layout() {
            Layout::ChannelsFirst => (1, per_image),
            Layout::ChannelsLast => (channels, 1),
        };
        let [_, d, h, w] = source.pixel_sizes();
        let sizes = [images, d, h, w];
        let places = pixel_pitches(sizes, channels * per_image, pixel);
        // Lanes are evenly apart: all pixels if they are, or those of an image.
        let (lanes, pitch) = match shape.layout() {
            _ if per_image == 1 => (sizes, channels),
            Layout::ChannelsFirst => ([1, d, h, w], pixel),
            Layout::ChannelsLast => (sizes, pixel),
        };
        let of_channels = [1, 1, groups, outputs];
        let channel_pitches = |pitch: usize| [0, 0, outputs.saturating_mul(pitch), pitch];
        // Where panels of cols are copied for a block, it has rows enough to pay for that.
        let at_once = match kernels.wide.packed_b {
            Some(_) if pixels > MOST_DOTS && pass != Pass::Forward => ROWS_OF_BLOCK,
            _ => CHANNELS,
        };
        let run_of_channels = fit_tables(
            [1, 1, 1, at_once.min(outputs)],
            &[channel_pitches(channel), channel_pitches(k)],
        );
        let channel_grid =
            |pitch: usize| Grid::new(of_channels, channel_pitches(pitch), run_of_channels);
        let weights = channel_grid(k)?;
        // A row of dcols has all groups.
        let row = groups.saturating_mul(k);
        let rows = Grid::line(pixels, if whole { row } else { run }, pixels)?;
        let (target, tile) = match pass {
            Pass::Forward => {
                let lanes = Grid::untabled(sizes, places, lanes);
                let (columns, cols) = (kernels.dots.columns, rows.offsets(lanes.block_len()));
                let tile = Tile::of(columns, weights.block_offsets(), cols);
                let channels = channel_grid(channel)?;
                (Target::new(channels, lanes, 0, pitch, Order::RowsOutside), Some(tile))
            }
            Pass::BackwardWeight => {
                let tap_sizes = source.tap_sizes();
                let run = cols.taps.block_sizes();
                let taps = Grid::untabled(tap_sizes, dense(tap_sizes), run);
                (Target::new(channel_grid(k)?, taps, 0, 1, Order::ColumnsOutside), None)
            }
            Pass::BackwardData => {
                let mut lanes_at_once = k.min(256);
                while (1..MAX_LANES).contains(&(k % lanes_at_once)) {
                    lanes_at_once -= 1;
                }
                let (sizes, run) = ([1, 1, groups, k], [1, 1, 1, lanes_at_once]);
                let taps = Grid::untabled(sizes, [0, 0, k, 1], run);
                let pixels = Grid::line(pixels, row, pixels)?;
                (Target::new(pixels, taps, 0, 1, Order::ColumnsOutside), None)
            }
        };
        let by_col2im = pass == Pass::BackwardData && !whole;
        Ok(Some(Self {
            pass,
            whole,
            filters: Grid::line(outputs, k, outputs)?,
            meetings: if by_col2im { meetings(shape, row)? } else { Vec::new() },
            groups,
            images,
            pixels,
            weighed,
            k,
            run,
            output_pixels: Grid::new(sizes, places, sizes)?,
            output_channels: Grid::new(
                [1, 1, 1, outputs],
                channel_pitches(channel),
                [1, 1, 1, outputs],
            )?,
            weights,
            rows,
            cols,
            target,
            tile,
        }))
    }

    /// Elements of cols, with what the last vector of lanes reads past its end; none if cols is
    /// the input.
    fn cols_len(&self) -> usize {
        let runs = self.groups * self.cols.taps.blocks();
        if self.whole { 0 } else { runs * self.pixels * self.run + MAX_LANES }
    }

    /// Elements of the gradient of cols; none if that is the gradient of the input.
    fn grad_cols_len(&self) -> usize {
        if self.whole { 0 } else { self.pixels * self.groups * self.k }
    }

    /// What the pass wants.
    pub(crate) fn need(&self) -> Need {
        let units = self.target.blocks();
        match self.pass {
            Pass::Forward | Pass::BackwardWeight => {
                Need { units, shared: self.cols_len(), piece: self.cols.copy_len() }
            }
            Pass::BackwardData => Need { units, shared: self.grad_cols_len(), piece: 0 },
        }
    }

    /// One line: how a pass is computed.
    pub(crate) fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pixels, k, .. } = self;
        let cols = if self.whole { "the image itself" } else { "written out" };
        let why = if *pixels > MOST_PIXELS { "patches apart" } else { "few pixels" };
        write!(f, "{why}, so weights are read as they lie; cols, {pixels} by {k}, is {cols}")
    }

    /// Writes cols, and returns it: block after block of taps, each a matrix of pixels by taps.
    fn write_cols<'a, T: Element>(
        &self,
        layer: &Layer<'_, T>,
        input: &'a [T],
        scratch: &'a mut [T],
    ) -> &'a [T] {
        if self.whole {
            return input;
        }
        let (cols, scratch) = scratch.split_at_mut(self.cols_len());
        let (runs, len) = (self.cols.taps.blocks(), self.pixels * self.run);
        let blocks = cols.chunks_exact_mut(len).enumerate();
        let need = Need { units: blocks.len(), shared: 0, piece: self.cols.copy_len() };
        layer.parallelism.for_each(need, blocks, scratch, |(block, cols), data, held| {
            let copied = &mut InScratch { data, held };
            let taps = self.cols.taps.block(block % runs);
            for index in 0..self.cols.pixels.blocks() {
                let pixels = self.cols.pixels.block(index);
                let (data, first) =
                    self.cols.part(layer.kernels, input, block / runs, [&pixels, &taps], copied);
                let rows = cols[pixels.first * self.run..].chunks_mut(self.run);
                for (row, &pixel) in rows.zip(&self.cols.pixels.table()[..pixels.len]) {
                    let data = &data[first + pixel as usize..];
                    for (col, &tap) in row.iter_mut().zip(&self.cols.taps.table()[..taps.len]) {
                        *col = data[tap as usize];
                    }
                }
            }
        });
        cols
    }

    /// Where a block of taps of a group begins in cols.
    fn block(&self, group: usize, run: usize) -> usize {
        if self.whole {
            return group * self.k + self.cols.taps.block(run).first;
        }
        (group * self.cols.taps.blocks() + run) * self.pixels * self.run
    }

    /// Forward from the input, or backward_data from grad_output.
    pub(crate) fn over_taps<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        source: &[T],
        weight: &[T],
        epilogue: Epilogue<'_, T>,
        destination: &mut [T],
        scratch: &mut [T],
    ) {
        if self.pass == Pass::Forward {
            self.forward(layer, [source, weight], epilogue, destination, scratch);
        } else {
            self.backward_data(layer, [source, weight], destination, epilogue.write(), scratch);
        }
    }

    /// `Y[k][p] = W[k][..] · cols[p][..]`.
    fn forward<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        [input, weight]: [&[T]; 2],
        epilogue: Epilogue<'_, T>,
        output: &mut [T],
        scratch: &mut [T],
    ) {
        let Some(tile) = self.tile else { return };
        let target = &self.target;
        let cols = self.write_cols(layer, input, scratch);
        let blocks = target.over(output);
        layer.parallelism.for_all(target.blocks(), blocks, |mut c| {
            let (channels, pixels) = (c.rows(), c.columns());
            let epilogue = Epilogue { channels: Side::Rows, ..epilogue };
            let epilogue = epilogue.of_channels(channels.range());
            let last = self.cols.taps.blocks() - 1;
            for run in 0..=last {
                let taps = self.cols.taps.block(run);
                let weight = Operand {
                    data: &weight[self.weights.place(channels.start) + taps.first..],
                    rows: self.weights.offsets(channels.len),
                    steps: Offsets::new(&[0]),
                };
                let cols = Operand {
                    data: &cols[self.block(channels.start[2], run)..],
                    rows: Offsets::new(&self.rows.table()[pixels.range()]),
                    steps: Offsets::new(&[0]),
                };
                let epilogue = epilogue.part(run == 0, run == last);
                dots(layer.kernels, &mut c, [weight, cols], taps.len, tile, epilogue);
            }
        });
    }

    /// `dW[k][t] = Σ_p dG[k][p] cols[p][t]`.
    pub(crate) fn backward_weight<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        [input, grad_output]: [&[T]; 2],
        grad_weight: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) {
        let cols = self.write_cols(layer, input, scratch);
        let blocks = self.target.over(grad_weight);
        layer.parallelism.for_all(self.target.blocks(), blocks, |mut c| {
            let (channels, taps) = (c.rows(), c.columns());
            let first = self.output_channels.place([0, 0, 0, channels.first]);
            let left = Left {
                data: &grad_output[first..],
                rows: self.output_channels.offsets(channels.len),
                k: self.output_pixels.offsets(self.pixels),
                weighed: channels.len,
            };
            let right = Right {
                data: &cols[self.block(channels.start[2], taps.index)..],
                first: 0,
                panel_pitch: None,
                k: self.rows.offsets(self.pixels),
            };
            let accumulate = write == Write::Accumulate;
            let epilogue = Epilogue::new(accumulate);
            multiply(&layer.kernels.wide, &mut c, left, right, epilogue);
        });
    }

    /// `dcols[p][t] = Σ_k dG[k][p] W[k][t]`, then every pixel of the input sums its own.
    fn backward_data<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        [grad_output, weight]: [&[T]; 2],
        grad_input: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) {
        let lens = [grad_output.len(), grad_input.len()];
        let [outputs, inputs] = lens.map(|len| len / layer.shape.batch() * self.images);
        let images = grad_output.chunks_exact(outputs).zip(grad_input.chunks_exact_mut(inputs));
        for (grad_output, grad_input) in images {
            if self.whole {
                self.grad_cols(layer, [grad_output, weight], grad_input, write);
            } else {
                let grad_cols = &mut scratch[..self.grad_cols_len()];
                self.grad_cols(layer, [grad_output, weight], grad_cols, Write::Overwrite);
                self.add_up(layer, grad_cols, grad_input, write);
            }
        }
    }

    /// Adds up for every pixel of some images what the gradient of cols has of it.
    fn add_up<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        grad_cols: &[T],
        grad_input: &mut [T],
        write: Write,
    ) {
        let shape = layer.shape;
        let per_image = grad_cols.len() / self.images;
        let len = match shape.layout() {
            Layout::ChannelsFirst => shape.input_pixels(),
            Layout::ChannelsLast => shape.image_len(),
        };
        let parts = grad_input.chunks_mut(len).enumerate();
        layer.parallelism.for_all(parts.len(), parts, |(index, part)| {
            if write == Write::Overwrite {
                part.fill(T::ZERO);
            }
            match shape.layout() {
                Layout::ChannelsFirst => {
                    let (n, channel) = (index / shape.in_channels(), index % shape.in_channels());
                    let first = n * per_image + channel * shape.kernel_taps();
                    for &[pixel, col] in &self.meetings {
                        part[pixel as usize] += grad_cols[first + col as usize];
                    }
                }
                Layout::ChannelsLast => {
                    let channels = shape.group_in();
                    for &[pixel, col] in &self.meetings {
                        for group in 0..self.groups {
                            let col = index * per_image + group * self.k + col as usize;
                            let pixel = (pixel as usize * self.groups + group) * channels;
                            let cols = &grad_cols[col..][..channels];
                            let pixels = &mut part[pixel..][..channels];
                            pixels.iter_mut().zip(cols).for_each(|(x, &col)| *x += col);
                        }
                    }
                }
            }
        });
    }

    /// Sums the gradient of cols, `row` elements to a pixel.
    fn grad_cols<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        [grad_output, weight]: [&[T]; 2],
        to: &mut [T],
        write: Write,
    ) {
        let blocks = self.target.over(to);
        layer.parallelism.for_all(self.target.blocks(), blocks, |mut c| {
            let taps = c.columns();
            let (group, first) = (taps.start[2], taps.start[3]);
            let outputs = self.output_channels.len();
            let channel = self.output_channels.place([0, 0, 0, group * outputs]);
            let left = Left {
                data: &grad_output[channel..],
                rows: self.output_pixels.offsets(self.pixels),
                k: self.output_channels.offsets(outputs),
                weighed: self.weighed,
            };
            let right = Right {
                data: &weight[group * outputs * self.k + first..],
                first: 0,
                panel_pitch: None,
                k: self.filters.offsets(outputs),
            };
            let accumulate = write == Write::Accumulate;
            let epilogue = Epilogue::new(accumulate);
            multiply(&layer.kernels.wide, &mut c, left, right, epilogue);
        });
    }
}

/// Whether no two patches have a pixel in common, of more than one pixel each.
fn are_disjoint(shape: &Shape) -> bool {
    let apart =
        |axis: &Axis| axis.kernel == 1 || (axis.dilation == 1 && axis.kernel <= axis.stride);
    shape.kernel_taps() > 1 && shape.axes3().iter().all(apart)
}

/// Every meeting of an output pixel and a tap in an image, as [`FewPixels::meetings`] has them;
/// `row` elements of cols to a pixel.
fn meetings(shape: &Shape, row: usize) -> Result<Vec<[u32; 2]>, Error> {
    let axes = shape.axes3();
    let (outputs, kernels) = (axes.map(|axis| axis.output), axes.map(|axis| axis.kernel));
    let inputs = axes.map(|axis| axis.input);
    // Channels last, a tap's channels lie together.
    let tap_pitch = match shape.layout() {
        Layout::ChannelsFirst => 1,
        Layout::ChannelsLast => shape.group_in(),
    };
    let inside = |axis: &Axis| (0..axis.kernel).map(|k| axis.inside(k).len()).sum::<usize>();
    let mut meetings = room(axes.iter().map(inside).product())?;
    for output in positions(outputs) {
        for tap in positions(kernels) {
            let source = |a: usize| axes[a].source(output[a], tap[a]);
            if let (Some(z), Some(y), Some(x)) = (source(0), source(1), source(2)) {
                let col = flat(output, outputs) * row + flat(tap, kernels) * tap_pitch;
                meetings.push([flat([z, y, x], inputs) as u32, col as u32]);
            }
        }
    }
    Ok(meetings)
}
