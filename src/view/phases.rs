//! Phases: what a stride does to backward_data.
//!
//! With a stride, neighbouring input elements meet different taps of the filter. Those that meet
//! the same ones, every `stride`-th, are a phase: its gradient is a product of its own, gathered
//! from the outputs with a stride of 1.

use crate::error::Error;
use crate::scratch::room;
use crate::shape::{Axis, Shape};
use crate::view::axis::Walk;
use alloc::vec::Vec;

/// The input elements of one axis that meet the same taps: every `stride`-th from `first` on.
#[derive(Debug)]
pub(crate) struct Phase {
    /// The first such element.
    pub(crate) first: usize,
    /// The view of the outputs that they gather, in ascending order of outputs.
    pub(crate) walk: Walk,
    /// Taps between those that the phase meets.
    pub(crate) step: usize,
    /// Taps after the last that it meets.
    pub(crate) last: usize,
}

/// The phases of one axis that meet a tap.
///
/// Input `i` and tap `k` meet at output `o` if `i + pad = o * stride + k * dilation`. So `i` meets
/// the taps for which `k * dilation` and `i + pad` leave the same remainder by the stride: every
/// `stride / gcd(stride, dilation)`-th, from `k0` on.
pub(crate) fn phases(axis: &Axis) -> Result<Vec<Phase>, Error> {
    let Axis { input, kernel, output, stride, dilation, pad_begin, .. } = *axis;
    let step = stride / gcd(stride, dilation);
    let firsts = (0..kernel.min(step)).filter_map(|k0| {
        // The smallest input that meets tap k0, which no smaller tap meets.
        let (tap, pad) = (k0 * dilation % stride, pad_begin % stride);
        let first = if tap >= pad { tap - pad } else { stride - (pad - tap) };
        if first >= input {
            return None;
        }
        let taps = (kernel - k0).div_ceil(step);
        let reach = dilation / gcd(stride, dilation);
        let (at, tap) = (first + pad_begin, k0 * dilation);
        let output0 = if at >= tap {
            ((at - tap) / stride) as isize
        } else {
            -(((tap - at) / stride) as isize)
        };
        let origin = output0 - ((taps - 1) * reach) as isize;
        let outputs = (input - first).div_ceil(stride);
        Some(Phase {
            first,
            walk: Walk { source: output, outputs, taps, stride: 1, dilation: reach, origin },
            step,
            last: kernel - 1 - k0 - (taps - 1) * step,
        })
    });
    let mut phases = room(kernel.min(step))?;
    phases.extend(firsts);
    Ok(phases)
}

/// Products that backward_data would take, each with tables of its own.
pub(crate) fn phase_count(shape: &Shape) -> usize {
    let per_axis = |axis: &Axis| {
        let step = axis.stride / gcd(axis.stride, axis.dilation);
        axis.kernel.min(step)
    };
    shape.axes3().iter().map(per_axis).fold(1, usize::saturating_mul)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
