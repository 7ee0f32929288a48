//! One filter per channel: no sum over channels, so no matrix product, but a stencil per plane.
//!
//! Channels first, with any number of output channels for each input channel; `channels_last.rs`
//! has the others. A unit of work is a plane: an output channel of an image (forward), an input
//! channel of an image (backward_data), a filter (backward_weight).

pub(crate) mod channels_last;

use super::STENCIL_TERMS;
use super::phases::phases;
use super::{Layer, Storing, Write};
use crate::element::Element;
use crate::error::Error;
use crate::kernel::stencil::{self, Stencil};
use crate::scratch::{Need, room};
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
    /// The layer's stencils, if it is one filter per channel.
    pub(crate) fn new(shape: &Shape) -> Result<Option<Self>, Error> {
        // Larger filters, and many images of few pixels, would be sums without blocks.
        let blocked = shape.kernel_taps() <= STENCIL_TERMS
            && shape.batch() / STENCIL_TERMS <= shape.output_pixels();
        let depthwise = shape.group_in() == 1 && shape.groups() > 1;
        if !depthwise || !blocked || shape.layout() != Layout::ChannelsFirst {
            return Ok(None);
        }
        let (forward, backward_data) = (forward_stencil(shape), backward_stencils(shape)?);
        let mut stencils = backward_data.iter().flatten().flatten();
        if !forward.is_modest() || !stencils.all(Stencil::is_modest) {
            return Ok(None);
        }
        let outputs = |s: &Stencil| s.outputs.iter().product::<usize>();
        let filled: usize = backward_data.iter().flatten().flatten().map(outputs).sum();
        Ok(Some(Self { forward, backward_data, fills: filled == shape.input_pixels() }))
    }

    /// `output = source * weight + bias`, plane by plane.
    pub(crate) fn forward<T: Element>(
        &self,
        &Layer { shape, kernels, parallelism }: &Layer<'_, T>,
        [input, weight]: [&[T]; 2],
        store: Storing<'_, T>,
        output: &mut [T],
    ) {
        let (taps, pixels) = (shape.kernel_taps(), shape.input_pixels());
        let planes = output.chunks_mut(shape.output_pixels()).enumerate();
        let need = Need::of_units(planes.len());
        let none: &mut [T] = &mut [];
        parallelism.for_each(need, planes, none, |(plane, output), _, _: &mut ()| {
            let (n, k) = (plane / shape.out_channels(), plane % shape.out_channels());
            let channel = n * shape.in_channels() + k / shape.group_out();
            let sources = [&input[channel * pixels..][..pixels], &weight[k * taps..][..taps]];
            let init = store.bias.map_or(T::ZERO, |bias| bias[k]);
            let storing = stencil::Storing { init, accumulate: false, clamp: store.clamp };
            kernels.stencils.apply([Some(&self.forward), None], sources, output, storing);
        });
    }

    /// The errors of the input: the filters of its outputs, turned round.
    pub(crate) fn backward_data<T: Element>(
        &self,
        &Layer { shape, kernels, parallelism }: &Layer<'_, T>,
        [weight, grad_output]: [&[T]; 2],
        grad_input: &mut [T],
        write: Write,
    ) {
        let (taps, pixels) = (shape.kernel_taps(), shape.output_pixels());
        let outputs = shape.group_out();
        let planes = grad_input.chunks_mut(shape.input_pixels()).enumerate();
        let need = Need::of_units(planes.len());
        let none: &mut [T] = &mut [];
        parallelism.for_each(need, planes, none, |(plane, grad_input), _, _: &mut ()| {
            let (n, c) = (plane / shape.in_channels(), plane % shape.in_channels());
            if write == Write::Overwrite && !self.fills {
                grad_input.fill(T::ZERO);
            }
            for k in c * outputs..(c + 1) * outputs {
                let start = (n * shape.out_channels() + k) * pixels;
                let sources = [&grad_output[start..][..pixels], &weight[k * taps..][..taps]];
                let accumulate = write == Write::Accumulate || k > c * outputs;
                let storing = stencil::Storing { init: T::ZERO, accumulate, clamp: None };
                for [first, twin] in &self.backward_data {
                    let stencils = [first.as_ref(), twin.as_ref()];
                    kernels.stencils.apply(stencils, sources, grad_input, storing);
                }
            }
        });
    }

    /// The errors of each filter, summed over its plane of every image.
    pub(crate) fn backward_weight<T: Element>(
        &self,
        &Layer { shape, kernels, parallelism }: &Layer<'_, T>,
        [input, grad_output]: [&[T]; 2],
        grad_weight: &mut [T],
        write: Write,
    ) {
        let (inputs, outputs) = (shape.input_pixels(), shape.output_pixels());
        let filters = grad_weight.chunks_mut(shape.kernel_taps()).enumerate();
        let need = Need::of_units(filters.len());
        let none: &mut [T] = &mut [];
        parallelism.for_each(need, filters, none, |(k, grad_weight), _, _: &mut ()| {
            let (channel, planes) = (k / shape.group_out(), shape.batch());
            let sources = [&input[channel * inputs..], &grad_output[k * outputs..]];
            let pitches = [shape.image_len(), shape.out_channels() * outputs];
            let accumulate = write == Write::Accumulate;
            kernels.stencils.correlate(
                &self.forward,
                planes,
                sources,
                pitches,
                grad_weight,
                accumulate,
            );
        });
    }
}

/// How outputs, taps and one plane of the input meet.
pub(super) fn forward_stencil(shape: &Shape) -> Stencil {
    let axes = shape.axes3();
    let [_, h, w] = axes;
    let tap_pitches = [h.kernel * w.kernel, w.kernel, 1];
    Stencil {
        source: axes.map(|axis| axis.input),
        outputs: axes.map(|axis| axis.output),
        taps: axes.map(|axis| axis.kernel),
        stride: axes.map(|axis| axis.stride),
        dilation: axes.map(|axis| axis.dilation),
        origin: axes.map(|axis| -(axis.pad_begin as isize)),
        output_base: 0,
        output_pitches: [h.output * w.output, w.output, 1],
        tap_base: 0,
        tap_pitches: tap_pitches.map(|pitch| pitch as isize),
    }
}

/// How the input, taps and one plane of the outputs' errors meet: a stencil for each phase that
/// meets a tap; with a stride of 2, the two that share the phases of all axes but the innermost
/// are twins.
pub(super) fn backward_stencils(shape: &Shape) -> Result<Vec<[Option<Stencil>; 2]>, Error> {
    let axes = shape.axes3();
    let [d, h, w] = axes;
    let tap_pitches = [h.kernel * w.kernel, w.kernel, 1];
    let pitches = [h.input * w.input, w.input, 1];
    let (planes, rows, mut columns) = (phases(d)?, phases(h)?, phases(w)?);
    // Unstable, as the stable sort allocates; no two have the same first.
    columns.sort_unstable_by_key(|phase| phase.first);
    let together = if w.stride == 2 { 2 } else { 1 };
    let count = planes.len() * rows.len() * columns.len().div_ceil(together);
    let mut backward_data = room(count)?;
    for z in &planes {
        for y in &rows {
            for x in columns.chunks(together) {
                let stencil = |x| {
                    let phase = [z, y, x];
                    // Taps are walked last to first, so that the outputs ascend.
                    let last = |a: usize| axes[a].kernel - 1 - phase[a].last;
                    let sum = |f: &dyn Fn(usize) -> usize| (0..3).map(f).sum();
                    // A step that is never taken, of a phase with one tap, may have any size.
                    let step = |a: usize| match phase[a].walk.taps {
                        1 => 0,
                        _ => -((phase[a].step * tap_pitches[a]) as isize),
                    };
                    let each = [0, 1, 2];
                    Stencil {
                        source: axes.map(|axis| axis.output),
                        outputs: each.map(|a| phase[a].walk.outputs),
                        taps: each.map(|a| phase[a].walk.taps),
                        stride: [1; 3],
                        dilation: each.map(|a| phase[a].walk.dilation),
                        origin: each.map(|a| phase[a].walk.origin),
                        output_base: sum(&|a| phase[a].first * pitches[a]),
                        output_pitches: each.map(|a| axes[a].stride.saturating_mul(pitches[a])),
                        tap_base: sum(&|a| last(a) * tap_pitches[a]),
                        tap_pitches: each.map(step),
                    }
                };
                backward_data.push([x.first().map(stencil), x.get(1).map(stencil)]);
            }
        }
    }
    Ok(backward_data)
}
