//! The stencils of a layer: how its planes and filters meet, forward and in each phase of backward_data.

use crate::axis::{Phase, Phases};
use crate::error::Error;
use crate::kernel::stencil::Stencil;
use crate::scratch::room;
use crate::shape::Shape;
use alloc::vec::Vec;

/// How outputs, taps and one plane of the input meet.
pub(super) fn forward_stencil(shape: &Shape) -> Stencil {
    let axes = shape.axes3();
    let [_, h, w] = axes;
    let tap_pitches = [h.kernel * w.kernel, w.kernel, 1];
    Stencil {
        walks: axes.map(|axis| axis.walk()),
        output_base: 0,
        output_pitches: [h.output * w.output, w.output, 1],
        tap_base: 0,
        tap_pitches: tap_pitches.map(|pitch| pitch as isize),
    }
}

/// How the input, taps and one plane of grad_output meet: a stencil for each phase that
/// meets a tap; with a stride of 2, the two that share the phases of all axes but the innermost
/// are twins.
pub(super) fn backward_stencils(shape: &Shape) -> Result<Vec<[Option<Stencil>; 2]>, Error> {
    let axes = shape.axes3();
    let [_, h, w] = axes;
    let tap_pitches = [h.kernel * w.kernel, w.kernel, 1];
    let pitches = [h.input * w.input, w.input, 1];
    let phases = Phases::new(axes)?;
    let mut columns = room(phases.columns().len())?;
    columns.extend(phases.columns());
    // Unstable, as the stable sort allocates; no two have the same first.
    columns.sort_unstable_by_key(|phase| phase.first);
    let together = if w.stride == 2 { 2 } else { 1 };
    let mut backward_data = room(phases.rows().count() * columns.len().div_ceil(together))?;
    for [z, y] in phases.rows() {
        for x in columns.chunks(together) {
            let stencil = |&x| {
                let phase: [&Phase; 3] = [z, y, x];
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
                    walks: phase.map(|axis| axis.walk),
                    output_base: sum(&|a| phase[a].first * pitches[a]),
                    output_pitches: each.map(|a| axes[a].stride.saturating_mul(pitches[a])),
                    tap_base: sum(&|a| last(a) * tap_pitches[a]),
                    tap_pitches: each.map(step),
                }
            };
            backward_data.push([x.first().map(stencil), x.get(1).map(stencil)]);
        }
    }
    Ok(backward_data)
}
