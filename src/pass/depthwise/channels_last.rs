//! One filter per channel, channels last: the filters of all channels run over the image together,
//! with lanes along the channels, which lie side by side.
//!
//! The weights are turned once per call, so that the channels of a tap lie side by side too. A unit
//! of work is a line, at most [`LINE`] pixels of a row: of the output (forward), of the input
//! (backward_data, which gathers). backward_weight sums part of the lines for a block of channels;
//! the parts are cut by shape and added up in their order.

use super::{backward_stencils, forward_stencil};
use crate::element::Element;
use crate::error::Error;
use crate::kernel::stencil::{self, MOST_TAPS, Row, Stencil};
use crate::pass::backward_weight::PARTIALS;
use crate::pass::{Layer, Pass, Storing, Weights, Write};
use crate::scratch::{Need, room};
use crate::shape::{Layout, Shape};
use alloc::vec::Vec;
use core::ops::Range;

/// The most pixels of a line: a sum over one stays in a register.
const LINE: usize = 256;

/// Channels whose gradients are summed by one unit of work.
const BLOCK: usize = 64;

/// The most parts of a sum over all pixels, and the fewest pixels that are worth a part.
const PARTS: usize = 16;
const WORTH: usize = 1024;

/// The stencils of a depthwise layer, channels last. An element of theirs is a pixel.
#[derive(Debug, Clone)]
pub(crate) struct ChannelsLast {
    forward: Stencil,
    /// Of each phase of the input that meets a tap.
    backward_data: Vec<Stencil>,
    /// Every input element meets a tap.
    fills: bool,
    channels: usize,
    taps: usize,
    /// Of backward_weight's sum.
    parts: usize,
}

/// Some neighbouring pixels of a row of an image.
struct Line {
    image: usize,
    at: [usize; 2],
    x: Range<usize>,
}

/// The lines of an image whose axes have these sizes.
#[derive(Clone, Copy)]
struct Lines {
    sizes: [usize; 3],
}

impl Lines {
    fn per_row(self) -> usize {
        self.sizes[2].div_ceil(LINE)
    }

    fn per_image(self) -> usize {
        self.sizes[0] * self.sizes[1] * self.per_row()
    }

    fn get(self, index: usize) -> Line {
        let [_, rows, columns] = self.sizes;
        let (row, part) = (index / self.per_row(), index % self.per_row());
        let x = part * LINE..columns.min((part + 1) * LINE);
        Line {
            image: row / (rows * self.sizes[0]),
            at: [row / rows % self.sizes[0], row % rows],
            x,
        }
    }

    /// Cuts a tensor of `channels` elements to a pixel into its lines.
    fn cut<T: Send>(
        self,
        tensor: &mut [T],
        channels: usize,
    ) -> impl Iterator<Item = (usize, &mut [T])> + Send {
        let rows = tensor.chunks_mut(self.sizes[2] * channels);
        rows.flat_map(move |row| row.chunks_mut(LINE * channels)).enumerate()
    }
}

impl ChannelsLast {
    /// The layer's stencils, if it is one filter per channel.
    pub(crate) fn new(shape: &Shape) -> Result<Option<Self>, Error> {
        let (taps, channels) = (shape.kernel_taps(), shape.in_channels());
        // As for channels first: sums stay blocked.
        let blocked = taps <= MOST_TAPS && shape.batch() / MOST_TAPS <= shape.output_pixels();
        let depthwise = shape.group_in() == 1 && shape.group_out() == 1 && channels > 1;
        if !depthwise || !blocked || shape.layout() != Layout::ChannelsLast {
            return Ok(None);
        }
        let forward = forward_stencil(shape);
        let phases = backward_stencils(shape)?;
        let mut backward_data = room(2 * phases.len())?;
        backward_data.extend(phases.into_iter().flatten().flatten());
        if !forward.is_modest() || !backward_data.iter().all(Stencil::is_modest) {
            return Ok(None);
        }
        let outputs = |s: &Stencil| s.outputs.iter().product::<usize>();
        let fills = backward_data.iter().map(outputs).sum::<usize>() == shape.input_pixels();
        let pixels = shape.batch().saturating_mul(shape.output_pixels());
        let sums = channels.next_multiple_of(BLOCK).saturating_mul(taps);
        let parts = PARTS.min(pixels / WORTH).min(PARTIALS / sums).max(1);
        Ok(Some(Self { forward, backward_data, fills, channels, taps, parts }))
    }

    /// Elements of the turned weights.
    pub(crate) fn packed_len(&self) -> usize {
        self.taps * self.channels
    }

    /// Blocks of channels.
    fn blocks(&self) -> usize {
        self.channels.div_ceil(BLOCK)
    }

    /// Sums of a part of a block.
    fn sums(&self) -> usize {
        self.taps * BLOCK.min(self.channels)
    }

    pub(crate) fn need(&self, shape: &Shape, pass: Pass) -> Need {
        let lines = |s: [usize; 3]| shape.batch() * Lines { sizes: s }.per_image();
        let axes = shape.axes3();
        let (units, shared) = match pass {
            Pass::Forward => (lines(axes.map(|axis| axis.output)), self.packed_len()),
            Pass::BackwardData => (lines(axes.map(|axis| axis.input)), self.packed_len()),
            Pass::BackwardWeight => {
                let units = self.blocks() * self.parts;
                (units, units * self.sums())
            }
        };
        Need { units, shared, piece: 0 }
    }

    /// Turns the weights: the channels of a tap side by side.
    pub(crate) fn pack<T: Element>(&self, weight: &[T], packed: &mut [T]) {
        for (tap, packed) in packed.chunks_mut(self.channels).enumerate() {
            let filters = weight.chunks(self.taps);
            packed.iter_mut().zip(filters).for_each(|(to, filter)| *to = filter[tap]);
        }
    }

    /// The weights as turned before, or now.
    fn packed<'a, T: Element>(&self, weights: Weights<'a, T>, scratch: &'a mut [T]) -> &'a [T] {
        match weights {
            Weights::Packed(packed) => packed,
            Weights::Raw(weight) => {
                let packed = &mut scratch[..self.packed_len()];
                self.pack(weight, packed);
                packed
            }
        }
    }

    /// `output = source * weight + bias`.
    pub(crate) fn forward<T: Element>(
        &self,
        &Layer { shape, kernels, parallelism }: &Layer<'_, T>,
        input: &[T],
        weights: Weights<'_, T>,
        store: Storing<'_, T>,
        output: &mut [T],
        scratch: &mut [T],
    ) {
        let weight = self.packed(weights, scratch);
        let lines = Lines { sizes: self.forward.outputs };
        let need = Need { shared: 0, ..self.need(shape, Pass::Forward) };
        let units = lines.cut(output, self.channels);
        let none: &mut [T] = &mut [];
        parallelism.for_each(need, units, none, |(index, output), _, _: &mut ()| {
            let Line { image, at, x } = lines.get(index);
            let sources = [&input[image * shape.image_len()..][..shape.image_len()], weight];
            let storing = stencil::Storing { accumulate: store.accumulate, clamp: store.clamp };
            let row = Row { at, x };
            let stencils = &kernels.stencils;
            stencils.apply_row(
                &self.forward,
                row,
                self.channels,
                sources,
                output,
                0,
                store.bias,
                storing,
            );
        });
    }

    /// The errors of the input: each line gathers those of the phases that it has pixels of.
    pub(crate) fn backward_data<T: Element>(
        &self,
        &Layer { shape, kernels, parallelism }: &Layer<'_, T>,
        weights: Weights<'_, T>,
        grad_output: &[T],
        grad_input: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) {
        let weight = self.packed(weights, scratch);
        let lines = Lines { sizes: shape.axes3().map(|axis| axis.input) };
        let need = Need { shared: 0, ..self.need(shape, Pass::BackwardData) };
        let units = lines.cut(grad_input, self.channels);
        let per_image = shape.output_pixels() * self.channels;
        let none: &mut [T] = &mut [];
        parallelism.for_each(need, units, none, |(index, grad_input), _, _: &mut ()| {
            let line = lines.get(index);
            if write == Write::Overwrite && !self.fills {
                grad_input.fill(T::ZERO);
            }
            let sources = [&grad_output[line.image * per_image..][..per_image], weight];
            let accumulate = write == Write::Accumulate;
            let storing = stencil::Storing { accumulate, clamp: None };
            for s in &self.backward_data {
                let Some((row, first)) = within(s, lines.sizes, &line) else { continue };
                let stencils = &kernels.stencils;
                stencils.apply_row(
                    s,
                    row,
                    self.channels,
                    sources,
                    grad_input,
                    first,
                    None,
                    storing,
                );
            }
        });
    }

    /// The errors of each filter, summed over the pixels of every image.
    pub(crate) fn backward_weight<T: Element>(
        &self,
        &Layer { shape, kernels, parallelism }: &Layer<'_, T>,
        [input, grad_output]: [&[T]; 2],
        grad_weight: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) {
        let (channels, taps, parts) = (self.channels, self.taps, self.parts);
        let need = self.need(shape, Pass::BackwardWeight);
        let partials = &mut scratch[..need.shared];
        let units = partials.chunks_mut(self.sums()).enumerate();
        let lines = Lines { sizes: self.forward.outputs };
        let count = shape.batch() * lines.per_image();
        let each = count.div_ceil(parts);
        let [_, rows, columns] = lines.sizes;
        let none: &mut [T] = &mut [];
        let need = Need { shared: 0, ..need };
        parallelism.for_each(need, units, none, |(index, sums), _, _: &mut ()| {
            let (first, part) = (index / parts * BLOCK, index % parts);
            let width = BLOCK.min(channels - first);
            sums.fill(T::ZERO);
            for line in (part * each).min(count)..((part + 1) * each).min(count) {
                let Line { image, at, x } = lines.get(line);
                let input = &input[image * shape.image_len()..][..shape.image_len()];
                let row = (image * lines.sizes[0] + at[0]) * rows + at[1];
                let errors = &grad_output[(row * columns + x.start) * channels..];
                let sources = [&input[first..], &errors[first..]];
                let (row, widths) = (Row { at, x }, [channels, width]);
                kernels.stencils.correlate_row(&self.forward, row, widths, sources, sums);
            }
        });
        let blocks = grad_weight.chunks_mut(BLOCK * taps);
        for (grads, parts) in blocks.zip(partials.chunks_mut(parts * self.sums())) {
            let width = grads.len() / taps;
            let (sums, others) = parts.split_at_mut(self.sums());
            for other in others.chunks(self.sums()) {
                sums.iter_mut().zip(other).for_each(|(sum, &other)| *sum += other);
            }
            for (channel, filter) in grads.chunks_mut(taps).enumerate() {
                for (tap, to) in filter.iter_mut().enumerate() {
                    let sum = sums[tap * width + channel];
                    *to = if write == Write::Accumulate { *to + sum } else { sum };
                }
            }
        }
    }
}

/// The outputs of a phase that lie in a line of an image of these sizes, and which pixel of the
/// line the first of them is.
fn within(s: &Stencil, [_, rows, columns]: [usize; 3], line: &Line) -> Option<(Row, usize)> {
    let firsts = [s.output_base / columns / rows, s.output_base / columns % rows];
    let steps = [s.output_pitches[0] / columns / rows, s.output_pitches[1] / columns];
    let index = |a: usize| {
        let from = line.at[a].checked_sub(firsts[a])?;
        (from % steps[a] == 0 && from / steps[a] < s.outputs[a]).then(|| from / steps[a])
    };
    let at = [index(0)?, index(1)?];
    let (first, step) = (s.output_base % columns, s.output_pitches[2]);
    let from = |x: usize| x.saturating_sub(first).div_ceil(step).min(s.outputs[2]);
    let x = from(line.x.start)..from(line.x.end);
    let place = first + x.start.checked_mul(step)?;
    (!x.is_empty()).then(|| (Row { at, x }, place - line.x.start))
}
