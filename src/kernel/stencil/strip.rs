//! [`apply`](super::apply) for small filters over one plane, where all taps fit the registers.
//!
//! A strip is a vector's width of a plane, walked down its rows. Each row of the source meets all
//! taps at once: the sums of the rows of outputs that use it move along with the walk, and each
//! is written when its last row has passed.

use super::{Apply, Stencil, Window, shifted, write};
use crate::element::Element;
use crate::kernel::vector::Vector;

/// Whether the taps lie in one dense plane: what strips can do.
pub(super) fn is_flat(s: &Stencil) -> bool {
    let square = s.stride[1] == s.stride[2] && s.dilation[1] == 1;
    square && s.taps[0] == 1 && s.outputs[0] == 1 && s.meet(0, 0, 0) == Some(0)
}

/// Writes all outputs of one stencil, or of two whose outputs alternate (`combs`): filters of
/// `ROWS` rows of at most `COLS` taps, `STEP` the stride, `HELD` the rows of outputs that meet in
/// one row of the source, `1 + (ROWS - 1) / STEP`.
///
/// # Safety
/// As [`Apply`]; the stencils [are flat](is_flat), and as said.
#[inline(always)]
pub(super) unsafe fn strips<
    V: Vector<Element: Element>,
    const COMBS: usize,
    const ROWS: usize,
    const COLS: usize,
    const STEP: usize,
    const HELD: usize,
>(
    job: &Apply<'_, V::Element>,
    combs: [&Stencil; COMBS],
) {
    // Loops, not closures: those are compiled without the caller's target features.
    // SAFETY: as the caller says; windows keep lanes within a row, and taps that a filter lacks
    // weigh and meet nothing.
    unsafe {
        let mut weights = [[[V::splat(V::Element::ZERO); COLS]; ROWS]; COMBS];
        for (s, weights) in combs.iter().zip(&mut weights) {
            for row in 0..ROWS {
                for col in 0..COLS.min(s.taps[2]) {
                    let place = row as isize * s.tap_pitches[1] + col as isize * s.tap_pitches[2];
                    let weight = job.weight.offset(s.tap_base as isize + place);
                    weights[row][col] = V::splat(*weight);
                }
            }
        }
        for x in (0..combs[0].outputs[2]).step_by(V::LANES) {
            let mut windows = [[Window::<V>::new::<STEP>(combs[0], x, 0, 0); COLS]; COMBS];
            let mut whole = true;
            for (s, windows) in combs.iter().zip(&mut windows) {
                let count = s.outputs[2].saturating_sub(x).min(V::LANES);
                for (col, window) in windows.iter_mut().enumerate() {
                    let count = if col < s.taps[2] { count } else { 0 };
                    *window = Window::new::<STEP>(s, x, count, col);
                    whole &= window.whole;
                }
            }
            if whole {
                strip::<V, COMBS, ROWS, COLS, STEP, HELD, true>(job, combs, x, windows, weights);
            } else {
                strip::<V, COMBS, ROWS, COLS, STEP, HELD, false>(job, combs, x, windows, weights);
            }
        }
    }
}

/// One strip, from output `x` on.
///
/// # Safety
/// As [`strips`]; the windows are those of `x`, and are whole if `WHOLE`.
#[inline(always)]
unsafe fn strip<
    V: Vector<Element: Element>,
    const COMBS: usize,
    const ROWS: usize,
    const COLS: usize,
    const STEP: usize,
    const HELD: usize,
    const WHOLE: bool,
>(
    job: &Apply<'_, V::Element>,
    combs: [&Stencil; COMBS],
    x: usize,
    windows: [[Window<V>; COLS]; COMBS],
    weights: [[[V; COLS]; ROWS]; COMBS],
) {
    let s = combs[0];
    let [_, height, width] = s.source;
    let count = s.outputs[2] + (COMBS - 1) * combs[COMBS - 1].outputs[2] - COMBS * x;
    // SAFETY: rows outside the source are left out; outputs are those of the stencils.
    unsafe {
        let init = V::splat(job.storing.init);
        let mut sums = [[init; HELD]; COMBS];
        let mut to = job.output.add(s.output_base + COMBS * x);
        let mut from = job.source.wrapping_offset(s.origin[1] * width as isize);
        for y in 0..s.outputs[1] + HELD - 1 {
            for phase in 0..STEP {
                let at = (y * STEP + phase) as isize + s.origin[1];
                // Negative rows are large ones.
                if (at as usize) < height {
                    for comb in 0..COMBS {
                        for col in 0..COLS {
                            let pixels: V = windows[comb][col].load::<STEP, WHOLE>(from);
                            for row in (phase..ROWS).step_by(STEP) {
                                let sum = &mut sums[comb][(row - phase) / STEP];
                                *sum = weights[comb][row][col].mul_add(pixels, *sum);
                            }
                        }
                    }
                }
                from = from.wrapping_add(width);
            }
            if y + 1 >= HELD {
                if COMBS == 1 {
                    write(&job.storing, sums[0][HELD - 1], to, count.min(V::LANES), 1);
                } else {
                    let [a, b] = sums[0][HELD - 1].interleave(sums[COMBS - 1][HELD - 1]);
                    write(&job.storing, a, to, count.min(V::LANES), 1);
                    if count > V::LANES {
                        write(
                            &job.storing,
                            b,
                            to.add(V::LANES),
                            (count - V::LANES).min(V::LANES),
                            1,
                        );
                    }
                }
                to = to.wrapping_add(s.output_pitches[1]);
            }
            for sums in &mut sums {
                *sums = shifted(*sums, init);
            }
        }
    }
}
