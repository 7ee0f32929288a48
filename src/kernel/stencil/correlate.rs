//! The gradient of a filter from a source and grad_output.

use super::windows::{Ends, Window, Windows, shifted};
use super::{Correlate, Stencil};
use crate::axis::Walk;
use crate::element::Element;
use crate::kernel::vector::{Task, Vector};
use crate::numerics::{DIRECT_BAND, DIRECT_STEPS};

/// The body of [`Stencils::correlate`](super::Stencils).
///
/// # Safety
/// As [`Correlate`].
#[inline(always)]
pub(in crate::kernel) unsafe fn correlate<V: Vector<Element: Element>>(
    job: &Correlate<'_, V::Element>,
) {
    if const { V::ROW > 0 } && job.stencil.is_narrow(V::ROW) {
        // SAFETY: the caller vouches for the job.
        return unsafe { correlate::<V::Narrow>(job) };
    }
    // SAFETY: the caller vouches for the job.
    unsafe {
        match [job.stencil.walks[1].stride, job.stencil.walks[2].stride] {
            [1, 1] => correlate_filter::<V, 1>(job),
            [2, 2] => correlate_filter::<V, 2>(job),
            _ => correlate_filter::<V, 0>(job),
        }
    }
}

/// [`correlate`], a patch of taps at a time: as many as have sums in registers.
///
/// # Safety
/// As [`Correlate`]; `STEP` is the stride of both inner axes, or 0 if that isn't known.
#[inline(always)]
unsafe fn correlate_filter<V: Vector<Element: Element>, const STEP: usize>(
    job: &Correlate<'_, V::Element>,
) {
    let s = job.stencil;
    let shared = s.walks[1].dilation == 1 && s.walks[1].outputs > 1;
    for tap_z in 0..s.walks[0].taps {
        let mut tap_y = 0;
        while tap_y < s.walks[1].taps {
            let rows = match s.walks[1].taps - tap_y {
                _ if !shared || const { STEP == 0 } => 1,
                7.. if const { !V::FEW_FORMS } => 7,
                5.. if const { !V::FEW_FORMS } => 5,
                3.. if s.walks[2].taps >= 3 => 3,
                _ => 1,
            };
            let mut tap_x = 0;
            while tap_x < s.walks[2].taps {
                let at = [tap_z, tap_y, tap_x];
                // SAFETY: the taps are the stencil's, and the caller vouches for the job.
                unsafe {
                    let left = s.walks[2].taps - tap_x;
                    tap_x += match (rows, left) {
                        _ if const { STEP == 0 } => match left {
                            4.. => correlate_taps::<V, 1, 4, STEP>(job, at),
                            _ => correlate_taps::<V, 1, 1, STEP>(job, at),
                        },
                        (3, 3..) => correlate_taps::<V, 3, 3, STEP>(job, at),
                        (3, _) => {
                            // Few filters have columns left over: these go row by row.
                            correlate_taps::<V, 1, 1, STEP>(job, at);
                            correlate_taps::<V, 1, 1, STEP>(job, [tap_z, tap_y + 1, tap_x]);
                            correlate_taps::<V, 1, 1, STEP>(job, [tap_z, tap_y + 2, tap_x])
                        }
                        _ if const { V::FEW_FORMS } => correlate_taps::<V, 1, 1, STEP>(job, at),
                        (7, _) => correlate_taps::<V, 7, 1, STEP>(job, at),
                        (5, _) => correlate_taps::<V, 5, 1, STEP>(job, at),
                        (_, 4..) => correlate_taps::<V, 1, 4, STEP>(job, at),
                        (_, 3) if const { STEP == 1 } => correlate_taps::<V, 1, 3, STEP>(job, at),
                        _ => correlate_taps::<V, 1, 1, STEP>(job, at),
                    };
                }
            }
            tap_y += rows;
        }
    }
}

/// Sums `ROWS` by `COLS` neighbouring taps of every filter over all planes.
///
/// The walk goes down the rows of the source. Each is read once for all rows of taps: it meets
/// the gradients of all rows of outputs that use it, which move along.
///
/// To be run with what [`Correlate`] asks for, and the taps are the stencil's; rows of taps that are
/// taken together lie side by side in the source, and `STEP` is known.
struct Taps<'a, V: Vector, const ROWS: usize, const COLS: usize, const STEP: usize> {
    job: &'a Correlate<'a, V::Element>,
    /// The first.
    tap: [usize; 3],
}

impl<V: Vector<Element: Element>, const ROWS: usize, const COLS: usize, const STEP: usize> Task
    for Taps<'_, V, ROWS, COLS, STEP>
{
    #[inline(always)]
    unsafe fn run(self) {
        let Self { job, tap } = self;
        // SAFETY: as the caller says.
        unsafe {
            let ends = Ends::<V, 1, COLS>::new::<STEP>([job.stencil], tap[2]);
            for filter in 0..job.filters {
                sum_taps::<V, ROWS, COLS, STEP>(job, filter, tap, &ends);
            }
        }
    }
}

/// Runs [`Taps`], and returns `COLS`.
///
/// # Safety
/// As they say.
#[inline(always)]
unsafe fn correlate_taps<
    V: Vector<Element: Element>,
    const ROWS: usize,
    const COLS: usize,
    const STEP: usize,
>(
    job: &Correlate<'_, V::Element>,
    tap: [usize; 3],
) -> usize {
    // SAFETY: as the caller says.
    unsafe { V::outlined(Taps::<V, ROWS, COLS, STEP> { job, tap }) };
    COLS
}

/// [`Taps`] of one filter.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn sum_taps<
    V: Vector<Element: Element>,
    const ROWS: usize,
    const COLS: usize,
    const STEP: usize,
>(
    job: &Correlate<'_, V::Element>,
    filter: usize,
    [tap_z, tap_y, tap_x]: [usize; 3],
    ends: &Ends<V, 1, COLS>,
) {
    let s = job.stencil;
    let [_, height, width] = s.sources();
    let origin = s.walks[1].at(0, tap_y);
    // SAFETY: rows outside the source are left out and windows keep lanes within a row; outputs
    // are those of the stencil, which fits every plane of every filter.
    unsafe {
        let (job_source, grad_output_of) =
            (job.source.add(filter * job.pitches[0]), job.output.add(filter * job.pitches[1]));
        let weight = job.weight.add(filter * job.pitches[2]);
        let zero = [[V::splat(V::Element::ZERO); COLS]; ROWS];
        let (mut totals, mut sums, mut steps) = (zero, zero, 0);
        for plane in 0..job.planes {
            for z in 0..s.walks[0].outputs {
                let Some(from_z) = s.walks[0].meet(z, tap_z) else { continue };
                let source = job_source.add(plane * job.source_pitch + from_z * height * width);
                let output = plane * job.output_pitch + s.output_base + z * s.output_pitches[0];
                for top in (0..s.walks[1].outputs).step_by(DIRECT_BAND) {
                    let bottom = s.walks[1].outputs.min(top + DIRECT_BAND);
                    for x in (0..s.walks[2].outputs).step_by(V::LANES) {
                        let count = (s.walks[2].outputs - x).min(V::LANES);
                        let made;
                        let windows = match ends.at(x) {
                            Some(windows) => windows,
                            None => {
                                made = Windows::new::<STEP>([s], x, tap_x);
                                &made
                            }
                        };
                        let grad_output = grad_output_of.add(output + x);
                        let column =
                            Column { source, grad_output, s, origin, rows: [top, bottom], count };
                        // Copies of what is held in registers; a copy of masks would cost more than it
                        // saves, but for steps of two.
                        let own = windows.each[0];
                        if const { STEP == 1 } && windows.whole {
                            column.add::<V, ROWS, COLS, STEP, true>(&own, &mut sums);
                        } else {
                            let [each] = &windows.each;
                            let windows = if const { STEP == 2 } { &own } else { each };
                            column.add::<V, ROWS, COLS, STEP, false>(windows, &mut sums);
                        }
                        steps += bottom - top;
                        if steps >= DIRECT_STEPS {
                            for row in 0..ROWS {
                                for col in 0..COLS {
                                    totals[row][col] = totals[row][col].add(sums[row][col]);
                                }
                            }
                            (sums, steps) = (zero, 0);
                        }
                    }
                }
            }
        }
        for row in 0..ROWS {
            for col in 0..COLS {
                let sum = totals[row][col].add(sums[row][col]).sum();
                let tap = [tap_z, tap_y + row, tap_x + col];
                let mut place = s.tap_base as isize;
                for axis in 0..3 {
                    place += tap[axis] as isize * s.tap_pitches[axis];
                }
                let to = weight.offset(place);
                *to = if job.accumulate { *to + sum } else { sum };
            }
        }
    }
}

/// A vector of outputs' columns in a band of a plane's rows.
struct Column<'a, T> {
    /// The plane.
    source: *const T,
    /// The columns in row 0 of grad_output.
    grad_output: *const T,
    s: &'a Stencil,
    /// Where the first row of taps reads for row 0.
    origin: isize,
    /// The rows of outputs that are summed: from the first to before the second.
    rows: [usize; 2],
    /// Columns.
    count: usize,
}

impl<T: Element> Column<'_, T> {
    /// Adds the products of the taps with the gradients of all rows.
    ///
    /// # Safety
    /// Source and grad_output are planes of the stencil's; windows and `STEP` are as in [`Taps`]; if
    /// `INNER`, there are as many columns as lanes, and all windows are whole.
    #[inline(always)]
    unsafe fn add<
        V: Vector<Element = T>,
        const ROWS: usize,
        const COLS: usize,
        const STEP: usize,
        const INNER: bool,
    >(
        &self,
        windows: &[Window<V>; COLS],
        sums: &mut [[V; COLS]; ROWS],
    ) {
        let &Self { grad_output: of_row, s, rows: [top, bottom], count, .. } = self;
        // How many rows of outputs back a row of the source may reach.
        let reach = (ROWS - 1) / if ROWS == 1 { 1 } else { STEP };
        let inner = bottom.min(top + reach)..bottom;
        // SAFETY: as the caller says; rows up to the last are those of the outputs.
        unsafe {
            let grad_output_of = |y: usize| {
                let row = of_row.add(y * s.output_pitches[1]);
                if INNER { V::load(row) } else { V::load_first(row, count) }
            };
            let mut grad_output = [V::splat(T::ZERO); ROWS];
            // Rows at either end meet some rows of taps only. With one loop for both ends the compiler keeps what
            // three rows of taps hold in 16 registers; other stencils lose by it.
            if const { ROWS == 3 && STEP == 1 && V::REGISTERS < 32 } {
                let (mut y, mut end) = (top, inner.start);
                loop {
                    while y < end {
                        let row = if y < bottom { grad_output_of(y) } else { V::splat(T::ZERO) };
                        grad_output = shifted(grad_output, row);
                        self.add_row::<V, ROWS, COLS, STEP, INNER, false>(
                            y,
                            windows,
                            &grad_output,
                            sums,
                        );
                        y += 1;
                    }
                    if end == bottom + reach {
                        return;
                    }
                    while y < bottom {
                        grad_output = shifted(grad_output, grad_output_of(y));
                        self.add_row::<V, ROWS, COLS, STEP, INNER, true>(
                            y,
                            windows,
                            &grad_output,
                            sums,
                        );
                        y += 1;
                    }
                    end = bottom + reach;
                }
            }
            for y in top..inner.start {
                grad_output = shifted(grad_output, grad_output_of(y));
                self.add_row::<V, ROWS, COLS, STEP, INNER, false>(y, windows, &grad_output, sums);
            }
            for y in inner {
                grad_output = shifted(grad_output, grad_output_of(y));
                self.add_row::<V, ROWS, COLS, STEP, INNER, true>(y, windows, &grad_output, sums);
            }
            for y in bottom..bottom + reach {
                grad_output = shifted(grad_output, V::splat(T::ZERO));
                self.add_row::<V, ROWS, COLS, STEP, INNER, false>(y, windows, &grad_output, sums);
            }
        }
    }

    /// Adds the products of the rows of the source that come into reach with row `y` of the outputs,
    /// with its gradients and those of the rows before it.
    ///
    /// # Safety
    /// As [`add`](Self::add); if `WHOLE`, all gradients are of the column's rows.
    #[inline(always)]
    unsafe fn add_row<
        V: Vector<Element = T>,
        const ROWS: usize,
        const COLS: usize,
        const STEP: usize,
        const INNER: bool,
        const WHOLE: bool,
    >(
        &self,
        y: usize,
        windows: &[Window<V>; COLS],
        grad_output: &[V; ROWS],
        sums: &mut [[V; COLS]; ROWS],
    ) {
        let &Self { source, s, origin, rows: [top, bottom], .. } = self;
        // Rows that are taken together need a known stride, a lone one any.
        let (step, stride) = if ROWS == 1 { (1, s.walks[1].stride) } else { (STEP, STEP) };
        for phase in 0..step {
            // Rows of taps that are taken together follow each other.
            let at = Walk { origin, stride, dilation: 1, ..s.walks[1] }.at(y, phase);
            // Negative rows are large ones.
            if at as usize >= s.walks[1].source {
                continue;
            }
            // SAFETY: the row is within the source, and windows keep lanes within it.
            unsafe {
                let from = source.add(at as usize * s.walks[2].source);
                // As in `strip`: the line that the next column will need.
                if const { ROWS == 3 && STEP == 2 } {
                    let next = windows[0].first + (2 * STEP * V::LANES - 1) as isize;
                    V::prefetch(from.wrapping_offset(next));
                }
                for col in 0..COLS {
                    let pixels = windows[col].load::<STEP, INNER>(from);
                    for row in 0..ROWS {
                        if row < phase || (row - phase) % step != 0 {
                            continue;
                        }
                        let back = (row - phase) / step;
                        // Zeros in place of grad_output would turn what isn't finite into NaN.
                        if WHOLE || (y >= top + back && y < bottom + back) {
                            sums[row][col] = grad_output[back].mul_add(pixels, sums[row][col]);
                        }
                    }
                }
            }
        }
    }
}
