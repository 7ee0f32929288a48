//! Several planes at once: the filters of a group of few channels.
//!
//! As a [strip](super::strip), walked down the rows; each vector of the source meets every row of
//! its taps in a block of filters. The weights don't fit the registers: they are packed in the
//! order in which they are read, and each is broadcast by the multiplication that uses it.

#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "for ISAs with masks"))]

use super::windows::{Window, shifted, write};
use super::{Group, Stencil};
use crate::axis::Walk;
use crate::element::Element;
use crate::kernel::vector::{Task, Vector, read};

/// The most taps of a row.
pub(super) const MOST_COLS: usize = 9;

/// What decides how a group is summed: whether there is a twin, rows of taps, stride, filters of a block.
pub(super) type Shape = (bool, usize, usize, usize);

/// The loops for a shape, if its sums, a vector of the source and a weight fit the registers.
fn form<V: Vector>(shape: Shape) -> Option<unsafe fn(&Group<'_, V::Element>)> {
    let form: unsafe fn(&Group<'_, V::Element>) = match shape {
        (false, 3, 1, 1) => strips::<V, 1, 3, 1, 3, 1>,
        (false, 3, 1, 2) => strips::<V, 1, 3, 1, 3, 2>,
        (false, 3, 1, 3) => strips::<V, 1, 3, 1, 3, 3>,
        (false, 3, 1, 4) => strips::<V, 1, 3, 1, 3, 4>,
        (false, 3, 2, 4) => strips::<V, 1, 3, 2, 2, 4>,
        (false, 5, 1, 1) => strips::<V, 1, 5, 1, 5, 1>,
        (false, 7, 1, 1) => strips::<V, 1, 7, 1, 7, 1>,
        (false, 9, 1, 1) => strips::<V, 1, 9, 1, 9, 1>,
        (true, 1, 1, 1) => strips::<V, 2, 1, 1, 1, 1>,
        (true, 1, 1, 3) => strips::<V, 2, 1, 1, 1, 3>,
        (true, 1, 1, 4) => strips::<V, 2, 1, 1, 1, 4>,
        (true, 2, 1, 1) => strips::<V, 2, 2, 1, 2, 1>,
        (true, 2, 1, 3) => strips::<V, 2, 2, 1, 2, 3>,
        (true, 2, 1, 4) => strips::<V, 2, 2, 1, 2, 4>,
        (true, 3, 1, 1) => strips::<V, 2, 3, 1, 3, 1>,
        (true, 4, 1, 1) => strips::<V, 2, 4, 1, 4, 1>,
        _ if const { V::REGISTERS >= 32 } => return of_32::<V>(shape),
        (false, 5, 1, 2) => strips::<V, 1, 5, 1, 5, 2>,
        _ => return None,
    };
    Some(form)
}

/// Those that need 32 registers.
fn of_32<V: Vector>(shape: Shape) -> Option<unsafe fn(&Group<'_, V::Element>)> {
    let form: unsafe fn(&Group<'_, V::Element>) = match shape {
        (false, 3, 1, 8) => strips::<V, 1, 3, 1, 3, 8>,
        (false, 3, 2, 8) => strips::<V, 1, 3, 2, 2, 8>,
        (false, 5, 1, 3) => strips::<V, 1, 5, 1, 5, 3>,
        (false, 5, 1, 4) => strips::<V, 1, 5, 1, 5, 4>,
        (false, 7, 1, 3) => strips::<V, 1, 7, 1, 7, 3>,
        (true, 3, 1, 3) => strips::<V, 2, 3, 1, 3, 3>,
        (true, 4, 1, 3) => strips::<V, 2, 4, 1, 4, 3>,
        _ => return None,
    };
    Some(form)
}

/// Whether [`group`] sums blocks of this shape.
pub(in crate::kernel) fn takes<V: Vector>(shape: Shape) -> bool {
    form::<V>(shape).is_some()
}

/// The body of [`Stencils::group`](super::Stencils).
///
/// # Safety
/// As [`Group`].
#[inline(always)]
pub(in crate::kernel) unsafe fn group<V: Vector>(job: &Group<'_, V::Element>) {
    let (s, twin) = job.stencils;
    let form = form::<V>((twin.is_some(), s.walks[1].taps, s.walks[1].stride, job.block));
    // SAFETY: the caller vouches for the job, and `takes` has let it through.
    unsafe { form.expect("a shape that is taken")(job) }
}

/// Runs [`Strips`] over the job's stencil, and its twin if there are two `COMBS`.
///
/// # Safety
/// As they say, and the caller runs with the vector's target features.
unsafe fn strips<
    V: Vector,
    const COMBS: usize,
    const ROWS: usize,
    const STEP: usize,
    const HELD: usize,
    const BLOCK: usize,
>(
    job: &Group<'_, V::Element>,
) {
    let (s, twin) = job.stencils;
    let mut combs = [s; COMBS];
    combs[COMBS - 1] = twin.unwrap_or(s);
    // SAFETY: as the caller says.
    unsafe { V::outlined(Strips::<V, COMBS, ROWS, STEP, HELD, BLOCK> { job, combs }) }
}

/// [`group`] for filters of `ROWS` rows of taps, `STEP` the stride, `HELD` the rows of outputs that
/// meet in one row of the source, in blocks of `BLOCK`; `COMBS` stencils whose outputs alternate. To be
/// run with what [`Group`] asks for; the stencils are flat, and as said.
struct Strips<
    'a,
    V: Vector,
    const COMBS: usize,
    const ROWS: usize,
    const STEP: usize,
    const HELD: usize,
    const BLOCK: usize,
> {
    job: &'a Group<'a, V::Element>,
    combs: [&'a Stencil; COMBS],
}

impl<
    V: Vector,
    const COMBS: usize,
    const ROWS: usize,
    const STEP: usize,
    const HELD: usize,
    const BLOCK: usize,
> Task for Strips<'_, V, COMBS, ROWS, STEP, HELD, BLOCK>
{
    #[inline(always)]
    unsafe fn run(self) {
        let Self { job, combs } = self;
        let (s, epilogue) = (combs[0], job.epilogue.changes());
        let [_, height, width] = s.sources();
        for x in (0..s.walks[2].outputs).step_by(V::LANES) {
            // SAFETY: windows keep lanes within a row, rows outside the source are left out; outputs
            // are those of the stencils, `outputs` planes of them; the caller vouches for the weights.
            unsafe {
                let mut windows = [[Window::<V>::new::<STEP>(s, x, 0, 0); MOST_COLS]; COMBS];
                for (s, windows) in combs.iter().zip(&mut windows) {
                    let count = s.walks[2].outputs.saturating_sub(x).min(V::LANES);
                    for (col, window) in windows.iter_mut().enumerate().take(s.walks[2].taps) {
                        *window = Window::new::<STEP>(s, x, count, col);
                    }
                }
                let last = COMBS - 1;
                let count = s.walks[2].outputs + last * combs[last].walks[2].outputs - COMBS * x;
                let mut init = [V::splat(V::Element::ZERO); BLOCK];
                if let Some(bias) = job.epilogue.bias {
                    for k in 0..BLOCK {
                        if k < job.outputs.len() {
                            init[k] = V::splat(*bias.as_ptr().add(k));
                        }
                    }
                }
                let mut sums = [[init; COMBS]; HELD];
                for y in 0..s.walks[1].outputs + HELD - 1 {
                    for phase in 0..STEP {
                        // Rows of taps follow each other.
                        let at = Walk { stride: STEP, dilation: 1, ..s.walks[1] }.at(y, phase);
                        // Negative rows are large ones.
                        if at as usize >= height {
                            continue;
                        }
                        let from = job.source.add(at as usize * width);
                        // A constant, or the sums would be an array in memory.
                        if const { STEP == 1 } || phase == 0 {
                            add_row::<V, COMBS, ROWS, STEP, HELD, BLOCK, 0>(
                                job, combs, from, &windows, &mut sums,
                            );
                        } else {
                            add_row::<V, COMBS, ROWS, STEP, HELD, BLOCK, 1>(
                                job, combs, from, &windows, &mut sums,
                            );
                        }
                    }
                    if y + 1 >= HELD {
                        let row = (y + 1 - HELD) * s.output_pitches[1];
                        let place = s.output_base + COMBS * x + row;
                        let done = sums[HELD - 1];
                        for k in 0..BLOCK {
                            if k >= job.outputs.len() {
                                continue;
                            }
                            let to = (*job.outputs.as_ptr().add(k)).add(place);
                            if COMBS == 1 {
                                write(epilogue, done[0][k], to, count.min(V::LANES), 1);
                            } else {
                                let [a, b] = done[0][k].interleave(done[last][k]);
                                write(epilogue, a, to, count.min(V::LANES), 1);
                                if count > V::LANES {
                                    let count = (count - V::LANES).min(V::LANES);
                                    write(epilogue, b, to.add(V::LANES), count, 1);
                                }
                            }
                        }
                    }
                    sums = shifted(sums, [init; COMBS]);
                }
            }
        }
    }
}

/// Adds the products of a row of all planes: the `PHASE`-th of those that come into reach with a row
/// of outputs.
///
/// # Safety
/// As [`Strips`]; `from` is a row of the first plane.
#[inline(always)]
unsafe fn add_row<
    V: Vector,
    const COMBS: usize,
    const ROWS: usize,
    const STEP: usize,
    const HELD: usize,
    const BLOCK: usize,
    const PHASE: usize,
>(
    job: &Group<'_, V::Element>,
    combs: [&Stencil; COMBS],
    mut from: *const V::Element,
    windows: &[[Window<V>; MOST_COLS]; COMBS],
    sums: &mut [[[V; BLOCK]; COMBS]; HELD],
) {
    let mut weights = job.weights;
    // SAFETY: the caller vouches for the row, in every plane, and for the weights.
    unsafe {
        // The row after it will be read only when those of all planes have been, and each plane is a
        // stream of its own.
        let next =
            windows[0][0].first + (STEP * job.stencils.0.walks[2].source + V::LANES) as isize;
        for _ in 0..job.inputs {
            V::prefetch(from.wrapping_offset(next));
            let columns = combs[0].walks[2].taps;
            weights[0] = add_columns::<V, COMBS, ROWS, STEP, HELD, BLOCK, PHASE, 0>(
                (&windows[0], columns),
                weights[0],
                from,
                sums,
            );
            if const { COMBS == 2 } {
                let last = COMBS - 1;
                weights[last] = add_columns::<V, COMBS, ROWS, STEP, HELD, BLOCK, PHASE, 1>(
                    (&windows[last], combs[last].walks[2].taps),
                    weights[last],
                    from,
                    sums,
                );
            }
            from = from.wrapping_add(job.source_pitch);
        }
    }
}

/// Adds the products of a row of one plane to the sums of one stencil; where the weights go on.
///
/// # Safety
/// As [`add_row`].
#[inline(always)]
unsafe fn add_columns<
    V: Vector,
    const COMBS: usize,
    const ROWS: usize,
    const STEP: usize,
    const HELD: usize,
    const BLOCK: usize,
    const PHASE: usize,
    const COMB: usize,
>(
    (windows, columns): (&[Window<V>; MOST_COLS], usize),
    mut weight: *const V::Element,
    from: *const V::Element,
    sums: &mut [[[V; BLOCK]; COMBS]; HELD],
) -> *const V::Element {
    // SAFETY: the caller vouches for the row and for the weights.
    unsafe {
        for col in 0..columns {
            let pixels = windows[col].load::<STEP, false>(from);
            for row in (PHASE..ROWS).step_by(STEP) {
                for k in 0..BLOCK {
                    // `COMB` is a constant, or these would be in memory.
                    let sum = &mut sums[(row - PHASE) / STEP][COMB][k];
                    let weight = V::splat(read(weight.add(row * BLOCK + k)));
                    *sum = weight.mul_add(pixels, *sum);
                }
            }
            weight = weight.add(ROWS * BLOCK);
        }
    }
    weight
}
