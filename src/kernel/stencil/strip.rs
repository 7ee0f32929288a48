//! [`apply`](super::apply) for small filters over one plane, where all taps fit the registers.
//!
//! A strip is a vector's width of a plane, walked down its rows. Each row of the source meets all
//! taps at once: the sums of the rows of outputs that use it move along with the walk, and each
//! is written when its last row has passed.

use super::windows::{Ends, Window, Windows, shifted, write};
use super::{Apply, Plane, Stencil};
use crate::element::Element;
use crate::kernel::vector::{Task, Vector};
use core::hint::black_box;

/// The weights of some planes' filters.
type Filters<W, const COLS: usize, const ROWS: usize, const COMBS: usize, const PLANES: usize> =
    [[[[W; COLS]; ROWS]; COMBS]; PLANES];

/// Whether the taps lie in one dense plane: what strips can do.
pub(super) fn is_flat(s: &Stencil) -> bool {
    let square = s.walks[1].stride == s.walks[2].stride
        && (s.walks[1].dilation == 1 || s.walks[1].stride == 1);
    square && s.walks[0].taps == 1 && s.walks[0].outputs == 1 && s.walks[0].meet(0, 0) == Some(0)
}

/// Writes all outputs of one stencil, or of two whose outputs alternate (`combs`): filters of
/// `ROWS` rows of at most `COLS` taps, `STEP` the stride, `HELD` the rows of outputs that meet in
/// one row of the source, `1 + (ROWS - 1) / STEP`. To be run with what [`Apply`] asks for; the stencils
/// [are flat](is_flat), and as said.
pub(super) struct Strips<
    'a,
    V: Vector,
    const COMBS: usize,
    const ROWS: usize,
    const COLS: usize,
    const STEP: usize,
    const HELD: usize,
> {
    pub(super) job: &'a Apply<'a, V::Element>,
    pub(super) combs: [&'a Stencil; COMBS],
}

impl<
    V: Vector<Element: Element>,
    const COMBS: usize,
    const ROWS: usize,
    const COLS: usize,
    const STEP: usize,
    const HELD: usize,
> Task for Strips<'_, V, COMBS, ROWS, COLS, STEP, HELD>
{
    #[inline(always)]
    unsafe fn run(self) {
        let Self { job, combs } = self;
        // The sums of a strip wait for each other. Two planes at once don't, where there are registers for both filters.
        // SAFETY: as the caller says.
        unsafe {
            let ends = Ends::<V, COMBS, COLS>::new::<STEP>(combs, 0);
            let mut plane = 0;
            if const { V::REGISTERS >= 32 && COMBS * ROWS * COLS <= 9 } {
                while plane + 2 <= job.planes {
                    planes::<V, COMBS, ROWS, COLS, STEP, HELD, 2>(job, combs, plane, &ends);
                    plane += 2;
                }
            }
            while plane < job.planes {
                planes::<V, COMBS, ROWS, COLS, STEP, HELD, 1>(job, combs, plane, &ends);
                plane += 1;
            }
        }
    }
}

/// `PLANES` planes from `plane` on, strip by strip.
///
/// # Safety
/// As [`Strips`], and there are these planes.
#[inline(always)]
unsafe fn planes<
    V: Vector<Element: Element>,
    const COMBS: usize,
    const ROWS: usize,
    const COLS: usize,
    const STEP: usize,
    const HELD: usize,
    const PLANES: usize,
>(
    job: &Apply<'_, V::Element>,
    combs: [&Stencil; COMBS],
    plane: usize,
    ends: &Ends<V, COMBS, COLS>,
) {
    // Loops, not closures: those are compiled without the caller's target features.
    // SAFETY: as the caller says; windows keep lanes within a row, and taps that a filter lacks
    // weigh nothing.
    unsafe {
        let mut of_planes = [job.plane(plane); PLANES];
        let mut weights = [[[[V::Element::ZERO; COLS]; ROWS]; COMBS]; PLANES];
        for p in 0..PLANES {
            of_planes[p] = job.plane(plane + p);
            for (s, weights) in combs.iter().zip(&mut weights[p]) {
                for row in 0..ROWS {
                    for col in 0..COLS.min(s.walks[2].taps) {
                        let place =
                            row as isize * s.tap_pitches[1] + col as isize * s.tap_pitches[2];
                        weights[row][col] =
                            *of_planes[p].weight.offset(s.tap_base as isize + place);
                    }
                }
            }
        }
        // Where they can't all be held in registers, the compiler must not know them: it would
        // hold them in vectors on the stack, and each multiplication would read a vector.
        let weights = if COMBS * ROWS * COLS > 9 { black_box(&weights) } else { &weights };
        for x in (0..combs[0].walks[2].outputs).step_by(V::LANES) {
            let made;
            let windows = match ends.at(x) {
                Some(windows) => windows,
                None => {
                    made = Windows::new::<STEP>(combs, x, 0);
                    &made
                }
            };
            let each = &windows.each;
            // Rows that are dilated meet every so many rows only: those are walked by themselves.
            for turn in 0..combs[0].walks[1].dilation.min(combs[0].walks[1].outputs) {
                let at = [turn, x];
                if const { STEP == 1 } && windows.whole {
                    strip::<V, COMBS, ROWS, COLS, STEP, HELD, PLANES, true>(
                        job, combs, at, &of_planes, each, weights,
                    );
                } else {
                    strip::<V, COMBS, ROWS, COLS, STEP, HELD, PLANES, false>(
                        job, combs, at, &of_planes, each, weights,
                    );
                }
            }
        }
    }
}

/// One strip of some planes, from an output of the first rows on.
///
/// # Safety
/// As [`Strips`]; the windows are those of the output, and are whole if `WHOLE`.
#[inline(always)]
unsafe fn strip<
    V: Vector<Element: Element>,
    const COMBS: usize,
    const ROWS: usize,
    const COLS: usize,
    const STEP: usize,
    const HELD: usize,
    const PLANES: usize,
    const WHOLE: bool,
>(
    job: &Apply<'_, V::Element>,
    combs: [&Stencil; COMBS],
    [top, x]: [usize; 2],
    planes: &[Plane<V::Element>; PLANES],
    windows: &[[Window<V>; COLS]; COMBS],
    weights: &Filters<V::Element, COLS, ROWS, COMBS, PLANES>,
) {
    let s = combs[0];
    let [_, height, width] = s.sources();
    // Copies, and constants where all lanes are wanted: what is written might change the originals, for
    // all that the compiler knows.
    let windows = *windows;
    let epilogue = job.epilogue.changes();
    let count = s.walks[2].outputs + (COMBS - 1) * combs[COMBS - 1].walks[2].outputs - COMBS * x;
    let count = if WHOLE { COMBS * V::LANES } else { count };
    // Rows are `apart`: of outputs, and as `STEP` is 1 where it isn't 1, of the source.
    let apart = s.walks[1].dilation;
    let row_pitch = apart * s.output_pitches[1];
    let rows = (s.walks[1].outputs - top).div_ceil(apart);
    let first = s.walks[1].with_stride(STEP).at(top, 0);
    // SAFETY: rows outside the source are left out; outputs are those of the stencils.
    unsafe {
        let mut held = [[[[V::splat(V::Element::ZERO); COLS]; ROWS]; COMBS]; PLANES];
        let hold = COMBS * ROWS * COLS <= 9;
        let mut inits = [V::splat(V::Element::ZERO); PLANES];
        let mut to = [planes[0].output; PLANES];
        let mut from = [planes[0].source; PLANES];
        for p in 0..PLANES {
            inits[p] = V::splat(planes[p].init);
            to[p] = planes[p].output.add(s.output_base + top * s.output_pitches[1] + COMBS * x);
            from[p] = planes[p].source.wrapping_offset(first * width as isize);
            for comb in 0..COMBS {
                for row in 0..ROWS {
                    for col in 0..COLS {
                        if hold {
                            held[p][comb][row][col] = V::splat(weights[p][comb][row][col]);
                        }
                    }
                }
            }
        }
        let mut sums = [[inits; HELD]; COMBS];
        for y in 0..rows + HELD - 1 {
            for phase in 0..STEP {
                let at = ((y * STEP + phase) * apart) as isize + first;
                // Negative rows are large ones.
                if (at as usize) < height {
                    let weights = (&held, weights);
                    // A constant, so that the compiler keeps the sums in registers.
                    if const { STEP == 1 } || phase == 0 {
                        add_row::<V, COMBS, ROWS, COLS, STEP, HELD, PLANES, WHOLE, 0>(
                            &from, &windows, weights, &mut sums,
                        );
                    } else {
                        add_row::<V, COMBS, ROWS, COLS, STEP, HELD, PLANES, WHOLE, 1>(
                            &from, &windows, weights, &mut sums,
                        );
                    }
                }
                for from in &mut from {
                    *from = from.wrapping_add(apart * width);
                }
            }
            if y + 1 >= HELD {
                for p in 0..PLANES {
                    let (done, to) = (sums[0][HELD - 1][p], &mut to[p]);
                    if COMBS == 1 {
                        write(epilogue, done, *to, count.min(V::LANES), 1);
                    } else {
                        let [a, b] = done.interleave(sums[COMBS - 1][HELD - 1][p]);
                        write(epilogue, a, *to, count.min(V::LANES), 1);
                        if count > V::LANES {
                            let count = (count - V::LANES).min(V::LANES);
                            write(epilogue, b, to.add(V::LANES), count, 1);
                        }
                    }
                    *to = to.wrapping_add(row_pitch);
                }
            }
            for sums in &mut sums {
                *sums = shifted(*sums, inits);
            }
        }
    }
}

/// Adds the products of a row of the source: the `PHASE`-th of those that come into reach with a row
/// of outputs. Weights are vectors where all can be held, else scalars.
///
/// # Safety
/// As [`strip`]; the row is one of the source.
#[inline(always)]
unsafe fn add_row<
    V: Vector<Element: Element>,
    const COMBS: usize,
    const ROWS: usize,
    const COLS: usize,
    const STEP: usize,
    const HELD: usize,
    const PLANES: usize,
    const WHOLE: bool,
    const PHASE: usize,
>(
    from: &[*const V::Element; PLANES],
    windows: &[[Window<V>; COLS]; COMBS],
    (held, weights): (
        &Filters<V, COLS, ROWS, COMBS, PLANES>,
        &Filters<V::Element, COLS, ROWS, COMBS, PLANES>,
    ),
    sums: &mut [[[V; PLANES]; HELD]; COMBS],
) {
    let hold = COMBS * ROWS * COLS <= 9;
    // A strip meets a line or two of each row, far from those of the row before: no processor foresees the next
    // strip's. Larger filters have no time to spare for it.
    if const { STEP == 2 && ROWS == 3 } {
        for from in from {
            let next = windows[0][0].first + (2 * STEP * V::LANES - 1) as isize;
            // SAFETY: the caller runs with the vector's features.
            unsafe { V::prefetch(from.wrapping_offset(next)) };
        }
    }
    for comb in 0..COMBS {
        for col in 0..COLS {
            for p in 0..PLANES {
                // SAFETY: the caller vouches for the row; windows keep lanes within it.
                unsafe {
                    let pixels: V = windows[comb][col].load::<STEP, WHOLE>(from[p]);
                    for row in (PHASE..ROWS).step_by(STEP) {
                        let sum = &mut sums[comb][(row - PHASE) / STEP][p];
                        let weight = if hold {
                            held[p][comb][row][col]
                        } else {
                            V::splat(weights[p][comb][row][col])
                        };
                        *sum = weight.mul_add(pixels, *sum);
                    }
                }
            }
        }
    }
}
