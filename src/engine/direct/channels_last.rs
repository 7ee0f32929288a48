//! One filter per channel, or groups of a few, channels last: the filters of all channels run over the
//! image together, with lanes along the channels, which lie side by side.
//!
//! The weights are packed once per call, so that the outputs of a tap lie side by side too: of the first
//! channel of each group, then of the second. A unit
//! of work is a line, at most [`DIRECT_LINE`] pixels of a row: of the output (forward), of the input
//! (backward_data, which reads all outputs that a pixel meets). backward_weight sums part of the lines for a block of
//! channels; the parts are cut by shape and added up in their order.

use super::stencils::{backward_stencils, forward_stencil};
use crate::element::Element;
use crate::engine::layer::{Layer, Weights};
use crate::engine::partial_sums::{PARTIALS, join};
use crate::error::Error;
use crate::kernel::stencil::{Channels, Row, Stencil};
use crate::kernel::{Epilogue, Kernels};
use crate::numerics::{DIRECT_LINE, DIRECT_PARTS, DIRECT_TERMS};
use crate::pass::{Pass, Write};
use crate::scratch::{Need, room};
use crate::shape::{Layout, Shape};
use alloc::vec::Vec;
use core::ops::Range;

/// The most channels whose gradients are summed by one unit of work.
const BLOCK: usize = 64;

/// How many: whole groups.
fn block([_, outputs]: [usize; 2]) -> usize {
    BLOCK / outputs * outputs
}

/// The fewest pixels that are worth a part of a sum over all of them.
const WORTH: usize = 1024;

/// The stencils of a layer with few channels to a filter, channels last. An element of theirs is a pixel.
#[derive(Debug, Clone)]
pub(crate) struct ChannelsLast {
    forward: Stencil,
    /// Of each phase of the input that meets a tap.
    backward_data: Vec<Stencil>,
    /// Every input element meets a tap.
    fills: bool,
    /// Of the output, which forward and backward_weight sum over those of the input.
    pub(super) channels: Channels,
    pub(super) taps: usize,
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
        self.sizes[2].div_ceil(DIRECT_LINE)
    }

    fn per_image(self) -> usize {
        self.sizes[0] * self.sizes[1] * self.per_row()
    }

    fn get(self, index: usize) -> Line {
        let [_, rows, columns] = self.sizes;
        let (row, part) = (index / self.per_row(), index % self.per_row());
        let x = part * DIRECT_LINE..columns.min((part + 1) * DIRECT_LINE);
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
        rows.flat_map(move |row| row.chunks_mut(DIRECT_LINE * channels)).enumerate()
    }
}

impl ChannelsLast {
    /// The layer's stencils for one pass, if it has so few channels to a filter.
    pub(crate) fn new<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        pass: Pass,
    ) -> Result<Option<Self>, Error> {
        let (taps, group) = (shape.kernel_taps(), [shape.group_in(), shape.group_out()]);
        // As for channels first: sums stay blocked.
        let blocked = taps.saturating_mul(group[0].max(group[1])) <= DIRECT_TERMS
            && shape.batch() / DIRECT_TERMS <= shape.output_pixels();
        let few = shape.groups() > 1 && Channels::fit(group, kernels.stencils.lanes);
        if !few || !blocked || shape.layout() != Layout::ChannelsLast {
            return Ok(None);
        }
        let forward = forward_stencil(shape);
        let phases = match pass {
            Pass::BackwardData => backward_stencils(shape)?,
            Pass::Forward | Pass::BackwardWeight => Vec::new(),
        };
        let mut backward_data = room(2 * phases.len())?;
        backward_data.extend(phases.into_iter().flatten().flatten());
        if !forward.is_modest() || !backward_data.iter().all(Stencil::is_modest) {
            return Ok(None);
        }
        let outputs = Stencil::output_count;
        let fills = backward_data.iter().map(outputs).sum::<usize>() == shape.input_pixels();
        let pixels = shape.batch().saturating_mul(shape.output_pixels());
        let channels = Channels { count: shape.out_channels(), group };
        let sums = channels.count.next_multiple_of(block(group)).saturating_mul(taps * group[0]);
        let parts = DIRECT_PARTS.min(pixels / WORTH).min(PARTIALS / sums).max(1);
        Ok(Some(Self { forward, backward_data, fills, channels, taps, parts }))
    }

    /// The channels of the input, which backward_data sums over those of the output.
    pub(super) fn inputs(&self) -> Channels {
        let Channels { count, group: [inputs, outputs] } = self.channels;
        Channels { count: self.channels.sources(count), group: [outputs, inputs] }
    }

    /// The product of an output, a tap and a term for each weight: elements of the packed weights.
    pub(crate) fn packed_len(&self) -> usize {
        self.taps * self.channels.count * self.channels.group[0]
    }

    /// Blocks of channels.
    fn blocks(&self) -> usize {
        self.channels.count.div_ceil(block(self.channels.group))
    }

    /// Sums of a part of a block.
    fn sums(&self) -> usize {
        self.taps * self.channels.group[0] * block(self.channels.group).min(self.channels.count)
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

    /// The weights as packed before, or now.
    fn packed<'a, T: Element>(
        &self,
        pass: Pass,
        weights: Weights<'a, T>,
        scratch: &'a mut [T],
    ) -> &'a [T] {
        match weights {
            Weights::Packed(packed) => packed,
            Weights::Raw(weight) => {
                let packed = &mut scratch[..self.packed_len()];
                self.pack(pass, weight, packed);
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
        epilogue: Epilogue<'_, T>,
        output: &mut [T],
        scratch: &mut [T],
    ) {
        let weight = self.packed(Pass::Forward, weights, scratch);
        let lines = Lines { sizes: self.forward.outputs() };
        let units = lines.cut(output, self.channels.count);
        parallelism.for_all(self.need(shape, Pass::Forward).units, units, |(index, output)| {
            let Line { image, at, x } = lines.get(index);
            let sources = [&input[image * shape.image_len()..][..shape.image_len()], weight];
            let row = Row { at, x };
            let stencils = &kernels.stencils;
            let (s, channels) = (&self.forward, self.channels);
            stencils.apply_row(s, row, channels, sources, output, 0, epilogue);
        });
    }

    /// The gradient of the input: each line sums those of the phases that it has pixels of.
    pub(crate) fn backward_data<T: Element>(
        &self,
        &Layer { shape, kernels, parallelism }: &Layer<'_, T>,
        grad_output: &[T],
        weights: Weights<'_, T>,
        write: Write,
        grad_input: &mut [T],
        scratch: &mut [T],
    ) {
        let weight = self.packed(Pass::BackwardData, weights, scratch);
        let channels = self.inputs();
        let lines = Lines { sizes: shape.axes3().map(|axis| axis.input) };
        let units = lines.cut(grad_input, channels.count);
        let per_image = shape.output_pixels() * self.channels.count;
        parallelism.for_all(
            self.need(shape, Pass::BackwardData).units,
            units,
            |(index, grad_input)| {
                let line = lines.get(index);
                if write == Write::Overwrite && !self.fills {
                    grad_input.fill(T::ZERO);
                }
                let sources = [&grad_output[line.image * per_image..][..per_image], weight];
                let epilogue = Epilogue::new(write == Write::Accumulate);
                for s in &self.backward_data {
                    let Some((row, first)) = within(s, lines.sizes, &line) else { continue };
                    let stencils = &kernels.stencils;
                    stencils.apply_row(s, row, channels, sources, grad_input, first, epilogue);
                }
            },
        );
    }

    /// The gradient of each filter, summed over the pixels of every image.
    pub(crate) fn backward_weight<T: Element>(
        &self,
        &Layer { shape, kernels, parallelism }: &Layer<'_, T>,
        [input, grad_output]: [&[T]; 2],
        grad_weight: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) {
        let (taps, parts, block) = (self.taps, self.parts, block(self.channels.group));
        let Channels { count: channels, group: [inputs, _] } = self.channels;
        let need = self.need(shape, Pass::BackwardWeight);
        let partials = &mut scratch[..need.shared];
        let units = partials.chunks_mut(self.sums()).enumerate();
        let lines = Lines { sizes: self.forward.outputs() };
        let count = shape.batch() * lines.per_image();
        let each = count.div_ceil(parts);
        let [_, rows, columns] = lines.sizes;
        parallelism.for_all(need.units, units, |(index, sums)| {
            let (first, part) = (index / parts * block, index % parts);
            let width = block.min(channels - first);
            let source = self.channels.sources(first);
            sums.fill(T::ZERO);
            for line in (part * each).min(count)..((part + 1) * each).min(count) {
                let Line { image, at, x } = lines.get(line);
                let input = &input[image * shape.image_len()..][..shape.image_len()];
                let row = (image * lines.sizes[0] + at[0]) * rows + at[1];
                let grad_output = &grad_output[(row * columns + x.start) * channels..];
                let sources = [&input[source..], &grad_output[first..]];
                let (row, widths) = (Row { at, x }, (self.channels, width));
                kernels.stencils.correlate_row(&self.forward, row, widths, sources, sums);
            }
        });
        let blocks = grad_weight.chunks_mut(block * taps * inputs);
        for (grads, parts) in blocks.zip(partials.chunks_mut(parts * self.sums())) {
            let width = grads.len() / (taps * inputs);
            let sums = join(parts, self.sums());
            // Filters have the inputs of a tap side by side.
            for (channel, filter) in grads.chunks_mut(taps * inputs).enumerate() {
                for (term, to) in filter.iter_mut().enumerate() {
                    let sum = sums[term * width + channel];
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
        (from % steps[a] == 0 && from / steps[a] < s.walks[a].outputs).then(|| from / steps[a])
    };
    let at = [index(0)?, index(1)?];
    let (first, step) = (s.output_base % columns, s.output_pitches[2]);
    let from = |x: usize| x.saturating_sub(first).div_ceil(step).min(s.walks[2].outputs);
    let x = from(line.x.start)..from(line.x.end);
    let place = first + x.start.checked_mul(step)?;
    (!x.is_empty()).then(|| (Row { at, x }, place - line.x.start))
}
