//! One filter per channel: no sum over channels, so no matrix product, but a stencil per plane.
//!
//! Channels first, with any number of output channels for each input channel; `channels_last.rs`
//! has the others. A unit of work is a plane: an output channel of an image (forward), an input
//! channel of an image (backward_data), a filter (backward_weight).

use super::stencils::{backward_stencils, forward_stencil};
use crate::element::Element;
use crate::engine::layer::Layer;
use crate::error::Error;
use crate::kernel::Epilogue;
use crate::kernel::stencil::Stencil;
use crate::numerics::DIRECT_TERMS;
use crate::pass::{Pass, Write};
use crate::shape::{Layout, Shape};
use alloc::vec::Vec;

/// The stencils of a depthwise layer.
#[derive(Debug, Clone)]
pub(crate) struct Depthwise {
    forward: Stencil,
    /// Those of each phase of the input that meets a tap; with a stride of 2, the two that share
    /// the phases of all axes but the innermost are written together.
    backward_data: Vec<[Option<Stencil>; 2]>,
    /// Every input element meets a tap.
    fills: bool,
}

impl Depthwise {
    /// The layer's stencils for one pass, if it is one filter per channel.
    pub(crate) fn new(shape: &Shape, pass: Pass) -> Result<Option<Self>, Error> {
        // Larger filters, and many images of few pixels, would be sums without blocks.
        let blocked = shape.kernel_taps() <= DIRECT_TERMS
            && shape.batch() / DIRECT_TERMS <= shape.output_pixels();
        if shape.group_in() > 1 || !blocked || shape.layout() != Layout::ChannelsFirst {
            return Ok(None);
        }
        let forward = forward_stencil(shape);
        let backward_data = match pass {
            Pass::BackwardData => backward_stencils(shape)?,
            Pass::Forward | Pass::BackwardWeight => Vec::new(),
        };
        let mut stencils = backward_data.iter().flatten().flatten();
        if !forward.is_modest() || !stencils.all(Stencil::is_modest) {
            return Ok(None);
        }
        let outputs = Stencil::output_count;
        let filled: usize = backward_data.iter().flatten().flatten().map(outputs).sum();
        Ok(Some(Self { forward, backward_data, fills: filled == shape.input_pixels() }))
    }

    /// `output = source * weight + bias`, plane by plane.
    pub(crate) fn forward<T: Element>(
        &self,
        &Layer { shape, kernels, parallelism }: &Layer<'_, T>,
        [input, weight]: [&[T]; 2],
        epilogue: Epilogue<'_, T>,
        output: &mut [T],
    ) {
        let (taps, pixels) = (shape.kernel_taps(), shape.input_pixels());
        let (outputs, many) = (shape.output_pixels(), shape.group_out());
        let together = self.together(shape);
        let blocks = blocks(output, [shape.out_channels(), outputs], together);
        parallelism.for_all(self.units(shape), blocks, |(n, k, output)| {
            let channel = n * shape.in_channels() + k / many;
            let sources = [&input[channel * pixels..], &weight[k * taps..]];
            // All filters of a block have one channel, or each has its own.
            let pitches = [if many == 1 { pixels } else { 0 }, taps, outputs];
            let planes = output.len() / outputs;
            let epilogue = epilogue.of_channels(k..k + planes);
            let stencils = [Some(&self.forward), None];
            kernels.stencils.apply(stencils, planes, pitches, sources, output, epilogue);
        });
    }

    /// Planes that are summed in one go: those of the outputs of a channel, or, of channels with
    /// one output each, as many as make some microseconds of work.
    fn together(&self, shape: &Shape) -> usize {
        const WORK: usize = 1 << 17;
        let plane = shape.output_pixels().saturating_mul(shape.kernel_taps());
        match shape.group_out() {
            1 => (WORK / plane).clamp(1, shape.groups()),
            outputs => outputs,
        }
    }

    /// Units of work: the blocks of [`together`](Self::together) planes of all images.
    fn units(&self, shape: &Shape) -> usize {
        shape.batch() * shape.out_channels().div_ceil(self.together(shape))
    }

    /// The gradient of the input: the filters of its outputs, rotated.
    pub(crate) fn backward_data<T: Element>(
        &self,
        &Layer { shape, kernels, parallelism }: &Layer<'_, T>,
        [grad_output, weight]: [&[T]; 2],
        grad_input: &mut [T],
        write: Write,
    ) {
        let (taps, pixels) = (shape.kernel_taps(), shape.output_pixels());
        let (inputs, many) = (shape.input_pixels(), shape.group_out());
        let together = if many == 1 { self.together(shape) } else { 1 };
        let blocks = blocks(grad_input, [shape.in_channels(), inputs], together);
        parallelism.for_all(
            shape.batch() * shape.in_channels().div_ceil(together),
            blocks,
            |(n, c, grad_input)| {
                if write == Write::Overwrite && !self.fills {
                    grad_input.fill(T::ZERO);
                }
                let planes = grad_input.len() / inputs;
                for k in c * many..(c + 1) * many {
                    let start = (n * shape.out_channels() + k) * pixels;
                    let sources = [&grad_output[start..], &weight[k * taps..]];
                    let accumulate = write == Write::Accumulate || k > c * many;
                    let epilogue = Epilogue::new(accumulate);
                    let pitches = [pixels, taps, inputs];
                    for [first, twin] in &self.backward_data {
                        let both = [first.as_ref(), twin.as_ref()];
                        let stencils = &kernels.stencils;
                        stencils.apply(both, planes, pitches, sources, grad_input, epilogue);
                    }
                }
            },
        );
    }

    /// The gradient of each filter, summed over its plane of every image.
    pub(crate) fn backward_weight<T: Element>(
        &self,
        &Layer { shape, kernels, parallelism }: &Layer<'_, T>,
        [input, grad_output]: [&[T]; 2],
        grad_weight: &mut [T],
        write: Write,
    ) {
        let (inputs, outputs) = (shape.input_pixels(), shape.output_pixels());
        let (taps, many) = (shape.kernel_taps(), shape.group_out());
        let together = self.together(shape);
        let blocks = grad_weight.chunks_mut(together * taps).enumerate();
        parallelism.for_all(blocks.len(), blocks, |(block, grad_weight)| {
            let (k, filters) = (block * together, grad_weight.len() / taps);
            let sources = [&input[k / many * inputs..], &grad_output[k * outputs..]];
            let pitches = [if many == 1 { inputs } else { 0 }, outputs, taps];
            let plane_pitches = [shape.image_len(), shape.out_channels() * outputs];
            let accumulate = write == Write::Accumulate;
            kernels.stencils.correlate(
                &self.forward,
                [filters, shape.batch()],
                pitches,
                plane_pitches,
                sources,
                grad_weight,
                accumulate,
            );
        });
    }
}

/// The planes of a batch in blocks of `together`, none of them of two images: each with its image, its
/// first channel and its elements.
fn blocks<T>(
    batch: &mut [T],
    [channels, plane]: [usize; 2],
    together: usize,
) -> impl Iterator<Item = (usize, usize, &mut [T])> {
    batch.chunks_mut(channels * plane).enumerate().flat_map(move |(n, image)| {
        let blocks = image.chunks_mut(together * plane).enumerate();
        blocks.map(move |(block, planes)| (n, block * together, planes))
    })
}
