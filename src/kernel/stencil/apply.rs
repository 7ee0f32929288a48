//! Outputs from a source and a filter: forward, and the phases of backward_data.

use super::strip::{Strips, is_flat};
use super::windows::{Window, write};
use super::{Apply, Stencil};
use crate::element::Element;
use crate::kernel::vector::{Task, Vector, read};

/// The body of [`Stencils::apply`](super::Stencils).
///
/// # Safety
/// As [`Apply`].
#[inline(always)]
pub(in crate::kernel) unsafe fn apply<V: Vector<Element: Element>>(job: &Apply<'_, V::Element>) {
    if const { V::ROW > 0 } && job.stencil.is_narrow(V::ROW) {
        // SAFETY: the caller vouches for the job.
        return unsafe { apply::<V::Narrow>(job) };
    }
    // SAFETY: the caller vouches for the job.
    unsafe {
        if job.is_strip(V::FEW_FORMS) { apply_strips::<V>(job) } else { apply_blocks::<V>(job) }
    }
}

/// [`apply`] for filters that go down [strips](Apply::is_strip).
///
/// # Safety
/// As [`Apply`], and it is one.
#[inline(always)]
unsafe fn apply_strips<V: Vector<Element: Element>>(job: &Apply<'_, V::Element>) {
    let s = job.stencil;
    // SAFETY: the caller vouches for the job.
    unsafe {
        match (job.twin, s.walks[1].stride, s.walks[1].taps, s.walks[2].taps) {
            (None, 1, 3, _) => V::outlined(Strips::<V, 1, 3, 3, 1, 3> { job, combs: [s] }),
            (None, 2, 3, _) => V::outlined(Strips::<V, 1, 3, 3, 2, 2> { job, combs: [s] }),
            _ if const { V::FEW_FORMS } => unreachable!("not a strip"),
            (None, 1, 5, _) => V::outlined(Strips::<V, 1, 5, 5, 1, 5> { job, combs: [s] }),
            (None, 2, 5, _) => V::outlined(Strips::<V, 1, 5, 5, 2, 3> { job, combs: [s] }),
            (None, 1, ..) => V::outlined(Strips::<V, 1, 7, 7, 1, 7> { job, combs: [s] }),
            (None, ..) => V::outlined(Strips::<V, 1, 7, 7, 2, 4> { job, combs: [s] }),
            (Some(twin), _, 1, _) => {
                V::outlined(Strips::<V, 2, 1, 2, 1, 1> { job, combs: [s, twin] })
            }
            (Some(twin), _, 2, 1 | 2) if twin.walks[2].taps <= 2 => {
                V::outlined(Strips::<V, 2, 2, 2, 1, 2> { job, combs: [s, twin] })
            }
            (Some(twin), _, 2, _) => {
                V::outlined(Strips::<V, 2, 2, 3, 1, 2> { job, combs: [s, twin] })
            }
            (Some(twin), ..) => V::outlined(Strips::<V, 2, 3, 3, 1, 3> { job, combs: [s, twin] }),
        }
    }
}

/// [`apply`] for any filter.
///
/// # Safety
/// As [`Apply`].
#[inline(always)]
unsafe fn apply_blocks<V: Vector<Element: Element>>(job: &Apply<'_, V::Element>) {
    let s = job.stencil;
    for plane in 0..job.planes {
        // SAFETY: the caller vouches for the job.
        unsafe {
            let job = &job.alone(plane);
            let strides = [s.walks[1].stride, s.walks[2].stride];
            match (job.twin, s.walks[1].outputs, strides) {
                (None, ..) if const { V::FEW_FORMS } => V::outlined(Rows::<V, 4, 0> { job }),
                (Some(twin), ..) if const { V::FEW_FORMS } => {
                    V::outlined(Twins::<V, 4, 0> { job, twin })
                }
                (Some(twin), _, [1, 1]) => V::outlined(Twins::<V, 4, 1> { job, twin }),
                (Some(twin), ..) => V::outlined(Twins::<V, 4, 0> { job, twin }),
                // A lone row has no use for a stride.
                (None, 1, [.., 1]) => V::outlined(Rows::<V, 1, 1> { job }),
                (None, 1, [.., 2]) => V::outlined(Rows::<V, 1, 2> { job }),
                (None, _, [1, 1]) => V::outlined(Rows::<V, 8, 1> { job }),
                (None, _, [2, 2]) => V::outlined(Rows::<V, 8, 2> { job }),
                (None, ..) => V::outlined(Rows::<V, 4, 0> { job }),
            }
        }
    }
}

impl<T> Apply<'_, T> {
    /// Whether the filters go down strips: flat ones of 3, 5 or 7 rows and at most as many columns, in
    /// steps of 1 or 2, and twins of up to 3; of these only a lone one of 3 rows where there are `few` forms.
    fn is_strip(&self, few: bool) -> bool {
        let s = self.stencil;
        if !is_flat(s) || s.walks[1].outputs == 1 {
            return false;
        }
        let [_, rows, cols] = s.taps();
        if few && (rows != 3 || self.twin.is_some()) {
            return false;
        }
        match self.twin {
            Some(twin) => {
                let most = if rows == 1 { 2 } else { 3 };
                s.walks[1].stride == 1 && rows <= 3 && cols.max(twin.walks[2].taps) <= most
            }
            None => {
                let known = matches!(rows, 3 | 5 | 7) && cols <= rows && cols + 2 > rows;
                known && s.output_pitches[2] == 1 && s.walks[1].stride <= 2
            }
        }
    }
}

/// One plane in blocks of `ROWS` rows; `STEP` is the stride of both inner axes, or 0 if that isn't known.
/// To be run with what [`Apply`] asks for.
struct Rows<'a, V: Vector, const ROWS: usize, const STEP: usize> {
    job: &'a Apply<'a, V::Element>,
}

impl<V: Vector<Element: Element>, const ROWS: usize, const STEP: usize> Task
    for Rows<'_, V, ROWS, STEP>
{
    #[inline(always)]
    unsafe fn run(self) {
        let Self { job } = self;
        let s = job.stencil;
        let [depth, height, width] = s.outputs();
        for z in 0..depth {
            for y in (0..height).step_by(ROWS) {
                let mut x = 0;
                if const { ROWS == 1 && STEP == 1 } {
                    // SAFETY: the caller vouches for the job, and it has this row.
                    x = unsafe { apply_line::<V>(job, [z, y]) };
                }
                // Blocks follow each other along the rows: their source stays in the L1 cache.
                for x in (x..width).step_by(V::LANES) {
                    let count = (width - x).min(V::LANES);
                    // SAFETY: the caller vouches for the job; the block's first output exists.
                    unsafe {
                        let sums = sum::<V, ROWS, STEP>(job, s, [z, y, x]);
                        let to = s.output_base + z * s.output_pitches[0] + x * s.output_pitches[2];
                        let to = job.output.add(to + y * s.output_pitches[1]);
                        for row in 0..ROWS {
                            if row < height - y {
                                let to = to.add(row * s.output_pitches[1]);
                                write(
                                    Some(&job.epilogue),
                                    sums[row],
                                    to,
                                    count,
                                    s.output_pitches[2],
                                );
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The same of a stencil and its twin, which is the job's.
struct Twins<'a, V: Vector, const ROWS: usize, const STEP: usize> {
    job: &'a Apply<'a, V::Element>,
    twin: &'a Stencil,
}

impl<V: Vector<Element: Element>, const ROWS: usize, const STEP: usize> Task
    for Twins<'_, V, ROWS, STEP>
{
    #[inline(always)]
    unsafe fn run(self) {
        let Self { job, twin } = self;
        let s = job.stencil;
        let [depth, height, width] = s.outputs();
        for z in 0..depth {
            for y in (0..height).step_by(ROWS) {
                for x in (0..width).step_by(V::LANES) {
                    let count = (width + twin.walks[2].outputs - 2 * x).min(2 * V::LANES);
                    // SAFETY: the caller vouches for the job; the block's first output exists, and
                    // the twin has as many outputs in a row or one fewer.
                    unsafe {
                        let even = sum::<V, ROWS, STEP>(job, s, [z, y, x]);
                        let odd = sum::<V, ROWS, STEP>(job, twin, [z, y, x]);
                        let to = s.output_base + z * s.output_pitches[0] + 2 * x;
                        let to = job.output.add(to + y * s.output_pitches[1]);
                        for row in 0..ROWS {
                            if row < height - y {
                                let [a, b] = even[row].interleave(odd[row]);
                                let to = to.add(row * s.output_pitches[1]);
                                write(Some(&job.epilogue), a, to, count.min(V::LANES), 1);
                                if count > V::LANES {
                                    write(
                                        Some(&job.epilogue),
                                        b,
                                        to.add(V::LANES),
                                        count - V::LANES,
                                        1,
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The outputs of a row that one row of taps makes of one row of the source: several vectors at
/// once, as far as no tap meets padding. Returns how many outputs are done, from the first on.
///
/// One vector at a time has its taps wait for each other, and a mask for each.
///
/// # Safety
/// As [`Apply`], of steps of 1; `z` and `y` are those of an output.
#[inline(always)]
unsafe fn apply_line<V: Vector<Element: Element>>(
    job: &Apply<'_, V::Element>,
    [z, y]: [usize; 2],
) -> usize {
    const VECTORS: usize = 4;
    let s = job.stencil;
    let (Some(from_z), Some(from_y)) = (s.walks[0].meet(z, 0), s.walks[1].meet(y, 0)) else {
        return 0;
    };
    if s.walks[0].taps * s.walks[1].taps != 1 || s.output_pitches[2] != 1 {
        return 0;
    }
    // The first outputs meet padding: so many whole vectors of them.
    let whole = s.walks[2].with_stride(1).whole();
    let start = whole.start.next_multiple_of(V::LANES);
    let end = whole.end;
    if start + VECTORS * V::LANES > end {
        return 0;
    }
    // SAFETY: the rows exist, and from `start` to `end` every tap meets the source.
    unsafe {
        let plane = job.plane(0);
        let row = plane.source.add((from_z * s.walks[1].source + from_y) * s.walks[2].source);
        let to = s.output_base + z * s.output_pitches[0] + y * s.output_pitches[1];
        let to = plane.output.add(to);
        for x in (0..start).step_by(V::LANES) {
            let [sum] = sum::<V, 1, 1>(job, s, [z, y, x]);
            write(Some(&job.epilogue), sum, to.add(x), V::LANES, 1);
        }
        let mut x = start;
        while x + VECTORS * V::LANES <= end {
            let mut sums = [V::splat(plane.init); VECTORS];
            let from = row.offset(x as isize + s.walks[2].origin);
            for tap in 0..s.walks[2].taps {
                let place = s.tap_base as isize + tap as isize * s.tap_pitches[2];
                let weight = V::splat(read(plane.weight.offset(place)));
                let from = from.add(tap * s.walks[2].dilation);
                for v in 0..VECTORS {
                    sums[v] = weight.mul_add(V::load(from.add(v * V::LANES)), sums[v]);
                }
            }
            for v in 0..VECTORS {
                write(Some(&job.epilogue), sums[v], to.add(x + v * V::LANES), V::LANES, 1);
            }
            x += VECTORS * V::LANES;
        }
        x
    }
}

/// The outputs from `[z, y, x]` on: `ROWS` rows of a vector, those that don't exist of no meaning.
///
/// # Safety
/// As [`Apply`]; the first of these outputs is one of the stencil's or just past its row.
#[inline(always)]
unsafe fn sum<V: Vector<Element: Element>, const ROWS: usize, const STEP: usize>(
    job: &Apply<'_, V::Element>,
    s: &Stencil,
    [z, y, x]: [usize; 3],
) -> [V; ROWS] {
    let [_, height, width] = s.sources();
    // SAFETY: `meet` keeps planes within the source, taps are the stencil's, which fits.
    unsafe {
        let mut sums = [V::splat(job.plane(0).init); ROWS];
        let count = (s.walks[2].outputs - x).min(V::LANES);
        for tap_z in 0..s.walks[0].taps {
            let Some(from_z) = s.walks[0].meet(z, tap_z) else { continue };
            let source = job.source.add(from_z * height * width);
            let mut tap_y = 0;
            while tap_y < s.walks[1].taps {
                let first_row = s.walks[1].at(y, tap_y);
                let taps = s.tap_base as isize
                    + tap_z as isize * s.tap_pitches[0]
                    + tap_y as isize * s.tap_pitches[1];
                let strip =
                    Strip { s, source, first_row, weight: job.weight.offset(taps), x, count };
                tap_y += if const { ROWS > 1 && STEP > 0 } && s.walks[1].dilation == 1 {
                    match s.walks[1].taps - tap_y {
                        7.. if const { ROWS == 8 } => strip.add::<V, ROWS, 7, STEP>(&mut sums),
                        3.. => strip.add::<V, ROWS, 3, STEP>(&mut sums),
                        _ => strip.add::<V, ROWS, 1, STEP>(&mut sums),
                    }
                } else {
                    strip.add::<V, ROWS, 1, STEP>(&mut sums)
                };
            }
        }
        sums
    }
}

/// Some rows of taps over one plane of the source.
struct Strip<'a, T> {
    s: &'a Stencil,
    /// The plane.
    source: *const T,
    /// The row that the first row of outputs reads with the first row of taps.
    first_row: isize,
    /// The first tap.
    weight: *const T,
    /// The first output of a row, and how many are wanted.
    x: usize,
    count: usize,
}

impl<T: Element> Strip<'_, T> {
    /// Adds `TAPS` rows of taps; returns `TAPS`.
    ///
    /// # Safety
    /// The source is a plane of the stencil's, the weight good for `TAPS` rows of its taps.
    #[inline(always)]
    unsafe fn add<
        V: Vector<Element = T>,
        const ROWS: usize,
        const TAPS: usize,
        const STEP: usize,
    >(
        &self,
        sums: &mut [V; ROWS],
    ) -> usize {
        let s = self.s;
        let stride = if STEP > 0 { STEP } else { s.walks[1].stride };
        let last = self.first_row + ((ROWS - 1) * stride + TAPS - 1) as isize;
        let inside = self.first_row >= 0 && last < s.walks[1].source as isize;
        for tap_x in 0..s.walks[2].taps {
            // SAFETY: the caller vouches for the taps.
            unsafe {
                let weight = self.weight.offset(tap_x as isize * s.tap_pitches[2]);
                let whole = Window::<V>::is_whole::<STEP>(s, self.x, self.count, tap_x);
                if const { STEP < 2 } && inside && whole {
                    let window = Window::whole::<STEP>(s, self.x, tap_x);
                    self.add_column::<V, ROWS, TAPS, STEP, true>(window, weight, sums);
                } else {
                    let window = Window::new::<STEP>(s, self.x, self.count, tap_x);
                    self.add_column::<V, ROWS, TAPS, STEP, false>(window, weight, sums);
                }
            }
        }
        TAPS
    }

    /// Adds one column of `TAPS` taps: each row of the source is read once for all of them.
    ///
    /// # Safety
    /// As `add`; if `WHOLE`, all rows are in the source and the window is whole.
    #[inline(always)]
    unsafe fn add_column<
        V: Vector<Element = T>,
        const ROWS: usize,
        const TAPS: usize,
        const STEP: usize,
        const WHOLE: bool,
    >(
        &self,
        window: Window<V>,
        weight: *const T,
        sums: &mut [V; ROWS],
    ) {
        let s = self.s;
        // Rows of taps that are taken together need a known stride, a lone one any.
        let (step, stride) = if TAPS == 1 { (1, s.walks[1].stride) } else { (STEP, 1) };
        let pitch = stride * s.walks[2].source;
        let mut from = self.source.wrapping_offset(self.first_row * s.walks[2].source as isize);
        // SAFETY: rows outside the source are left out; the window keeps lanes within a row.
        unsafe {
            let mut weights = [V::splat(T::ZERO); TAPS];
            for tap in 0..TAPS {
                weights[tap] = V::splat(read(weight.offset(tap as isize * s.tap_pitches[1])));
            }
            for row in 0..(ROWS - 1) * step + TAPS {
                let at = self.first_row + (row * stride) as isize;
                // Negative rows are large ones.
                if WHOLE || (at as usize) < s.walks[1].source {
                    let pixels = window.load::<STEP, WHOLE>(from);
                    for tap in 0..TAPS {
                        if row >= tap && (row - tap) % step == 0 && (row - tap) / step < ROWS {
                            let sum = &mut sums[(row - tap) / step];
                            *sum = weights[tap].mul_add(pixels, *sum);
                        }
                    }
                }
                from = from.wrapping_add(pitch);
            }
        }
    }
}
