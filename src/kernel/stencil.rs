//! Stencils: one filter over one plane, for layers with a filter per channel.
//!
//! Such a layer reads each element as often as its filter has taps and no more, so there is no
//! matrix to speak of: the loops run over the plane as it lies, a vector of outputs at a time,
//! and lanes whose tap meets padding are masked. Nothing is copied or packed.

use super::body::MAX_LANES;
use super::vector::Vector;
use crate::element::Element;
use core::ops::Range;

/// How outputs, taps and the source meet, for three axes, outermost first: output `o` and tap `k`
/// meet at `o * stride + k * dilation + origin`, or in the padding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stencil {
    /// Elements of the source, which lies densely.
    pub(crate) source: [usize; 3],
    pub(crate) outputs: [usize; 3],
    pub(crate) taps: [usize; 3],
    pub(crate) stride: [usize; 3],
    pub(crate) dilation: [usize; 3],
    pub(crate) origin: [isize; 3],
    /// The place of the first output and the pitches of the others.
    pub(crate) output_base: usize,
    pub(crate) output_pitches: [usize; 3],
    /// The place of the first tap and the pitches of the others.
    pub(crate) tap_base: usize,
    pub(crate) tap_pitches: [isize; 3],
}

impl Stencil {
    /// Whether all that the stencil reaches lies within slices of these lengths.
    fn fits(&self, source: usize, weight: usize, output: usize) -> bool {
        let outputs: usize = (0..3).map(|a| (self.outputs[a] - 1) * self.output_pitches[a]).sum();
        let taps = |sign: isize| -> isize {
            let reach = |a: usize| (self.taps[a] - 1) as isize * self.tap_pitches[a];
            (0..3).map(reach).map(|r| if r * sign > 0 { r } else { 0 }).sum()
        };
        self.source.iter().product::<usize>() <= source
            && self.output_base + outputs < output
            && self.tap_base as isize + taps(-1) >= 0
            && self.tap_base as isize + taps(1) < weight as isize
    }

    /// Whether this is a dense square filter over one plane, its outputs side by side: the shapes
    /// worth unrolling.
    fn is_square(&self) -> bool {
        self.taps[0] == 1
            && self.outputs[0] == 1
            && self.source[0] == 1
            && self.origin[0] == 0
            && self.taps[1] == self.taps[2]
            && self.stride[1] == self.stride[2]
            && self.dilation[1] == 1
            && self.dilation[2] == 1
            && self.output_pitches[2] == 1
    }

    /// The source element of an axis at which an output and a tap meet, if it isn't padding.
    #[inline(always)]
    fn meet(&self, axis: usize, output: usize, tap: usize) -> Option<usize> {
        let at =
            (output * self.stride[axis] + tap * self.dilation[axis]) as isize + self.origin[axis];
        (at >= 0 && (at as usize) < self.source[axis]).then_some(at as usize)
    }
}

/// The stencils of one ISA for one element type.
#[derive(Debug)]
pub(crate) struct Stencils<T: 'static> {
    /// Outputs from a source and a filter.
    pub(crate) apply: unsafe fn(&Apply<'_, T>),
    /// The gradient of a filter from a source and the outputs' errors.
    pub(crate) correlate: unsafe fn(&Correlate<'_, T>),
}

/// `output (+)= init + source * weight`. The caller vouches for [`Stencil::fits`] and the ISA.
pub(crate) struct Apply<'a, T> {
    stencil: &'a Stencil,
    source: *const T,
    weight: *const T,
    output: *mut T,
    init: T,
    accumulate: bool,
    clamp: Option<[T; 2]>,
}

/// `weight (+)= source * output`. The caller vouches for [`Stencil::fits`] and the ISA.
pub(crate) struct Correlate<'a, T> {
    stencil: &'a Stencil,
    source: *const T,
    output: *const T,
    weight: *mut T,
    accumulate: bool,
}

impl<T: Element> Stencils<T> {
    /// Writes (or adds to) the outputs of one filter over one plane, which start at `init`, and keeps
    /// them within `clamp` at last.
    ///
    /// # Panics
    /// If the stencil leaves a slice: the caller's geometry is wrong.
    pub(crate) fn apply(
        &self,
        stencil: &Stencil,
        [source, weight]: [&[T]; 2],
        output: &mut [T],
        init: T,
        accumulate: bool,
        clamp: Option<[T; 2]>,
    ) {
        assert!(stencil.fits(source.len(), weight.len(), output.len()), "{stencil:?}");
        let (source, weight) = (source.as_ptr(), weight.as_ptr());
        let output = output.as_mut_ptr();
        let job = Apply { stencil, source, weight, output, init, accumulate, clamp };
        // SAFETY: having the stencils proves the ISA, and all that is reached fits the slices.
        unsafe { (self.apply)(&job) }
    }

    /// Writes (or adds to) the gradient of one filter, from one plane and its outputs' errors.
    ///
    /// # Panics
    /// If the stencil leaves a slice: the caller's geometry is wrong.
    pub(crate) fn correlate(
        &self,
        stencil: &Stencil,
        [source, output]: [&[T]; 2],
        weight: &mut [T],
        accumulate: bool,
    ) {
        assert!(stencil.fits(source.len(), weight.len(), output.len()), "{stencil:?}");
        let (source, output) = (source.as_ptr(), output.as_ptr());
        let job = Correlate { stencil, source, output, weight: weight.as_mut_ptr(), accumulate };
        // SAFETY: as above.
        unsafe { (self.correlate)(&job) }
    }
}

/// Where one tap of the innermost axis meets the lanes of a vector of outputs: the same for every
/// row, so it is found once.
#[derive(Clone, Copy, Default)]
struct Window {
    /// The source element of lane 0, perhaps in the padding.
    first: isize,
    /// The lanes that meet the source.
    low: usize,
    high: usize,
}

impl Window {
    #[inline(always)]
    fn new(s: &Stencil, x: usize, count: usize, tap: usize) -> Self {
        let (stride, source) = (s.stride[2], s.source[2]);
        let first = (x * stride + tap * s.dilation[2]) as isize + s.origin[2];
        let before = (-first).max(0) as usize;
        let inside = (source as isize - first).max(0) as usize;
        let (low, high) = (before.div_ceil(stride), inside.div_ceil(stride));
        Self { first, low: low.min(count), high: high.min(count) }
    }
}

/// The outputs in bands of rows, each walked a vector's width at a time: rows of a band share
/// their windows, and its part of the source stays in the L1 cache.
#[inline(always)]
fn bands(s: &Stencil, lanes: usize) -> impl Iterator<Item = (Range<usize>, usize)> {
    const ROWS: usize = 8;
    let [_, height, width] = s.outputs;
    let bands = (0..height).step_by(ROWS).map(move |y| y..height.min(y + ROWS));
    bands.flat_map(move |band| (0..width).step_by(lanes).map(move |x| (band.clone(), x)))
}

/// Taps of a row that are taken together.
const GROUP: usize = 8;

/// The body of [`Stencils::apply`].
///
/// # Safety
/// As [`Apply`].
#[inline(always)]
pub(super) unsafe fn apply<V: Vector<Element: Element>>(job: &Apply<'_, V::Element>) {
    let (taps, step) = (job.stencil.taps[2], job.stencil.stride[2]);
    let all = 0..taps;
    // SAFETY: the caller vouches for the job.
    unsafe {
        match (taps, step) {
            (3, 1) if job.stencil.is_square() => apply_square::<V, 3, 1>(job),
            (5, 1) if job.stencil.is_square() => apply_square::<V, 5, 1>(job),
            (7, 1) if job.stencil.is_square() => apply_square::<V, 7, 1>(job),
            (3, 2) if job.stencil.is_square() => apply_square::<V, 3, 2>(job),
            (5, 2) if job.stencil.is_square() => apply_square::<V, 5, 2>(job),
            (3, 1) => apply_taps::<V, 3, 1>(job, all, job.init, job.accumulate),
            (5, 1) => apply_taps::<V, 5, 1>(job, all, job.init, job.accumulate),
            (7, 1) => apply_taps::<V, 7, 1>(job, all, job.init, job.accumulate),
            (3, 2) => apply_taps::<V, 3, 2>(job, all, job.init, job.accumulate),
            (5, 2) => apply_taps::<V, 5, 2>(job, all, job.init, job.accumulate),
            _ => {
                // Any other row of taps in groups, which add up in the destination.
                for first in all.step_by(GROUP) {
                    let group = first..taps.min(first + GROUP);
                    let init = if first == 0 { job.init } else { V::Element::ZERO };
                    apply_taps::<V, 0, 0>(job, group, init, job.accumulate || first > 0);
                }
            }
        }
    }
}

/// Rows of outputs that a square filter makes at once.
const ROWS: usize = 4;

/// [`apply`] for a dense square filter over one plane: `ROWS` rows of outputs share the rows of the
/// source that they read, so each element is loaded once for up to `TAPS` of them.
///
/// # Safety
/// As [`Apply`]; the stencil [is square](Stencil::is_square), of `TAPS` taps and stride `STEP`.
#[inline(always)]
unsafe fn apply_square<V: Vector<Element: Element>, const TAPS: usize, const STEP: usize>(
    job: &Apply<'_, V::Element>,
) {
    let s = job.stencil;
    let width = s.source[2];
    for (band, x) in bands(s, V::LANES) {
        let count = (s.outputs[2] - x).min(V::LANES);
        let mut windows = [Window::default(); TAPS];
        for (tap, window) in windows.iter_mut().enumerate() {
            *window = Window::new(s, x, count, tap);
        }
        let whole = STEP == 1 && windows.iter().all(|w| w.low == 0 && w.high == V::LANES);
        for first_y in band.clone().step_by(ROWS) {
            // SAFETY: rows outside the source are left out and windows keep lanes within a row;
            // taps and outputs are those of the stencil, which fits.
            unsafe {
                let weight = job.weight.add(s.tap_base);
                let mut sums = [V::splat(job.init); ROWS];
                for row in 0..(ROWS - 1) * STEP + TAPS {
                    let from_y = (first_y * STEP + row) as isize + s.origin[1];
                    if from_y < 0 || from_y as usize >= s.source[1] {
                        continue;
                    }
                    let from = job.source.add(from_y as usize * width);
                    for tap_x in 0..TAPS {
                        let Window { first, low, high } = windows[tap_x];
                        let from = from.wrapping_offset(first);
                        let pixels = if whole {
                            V::load(from)
                        } else {
                            V::load_between(from, STEP, low, high)
                        };
                        for y in 0..ROWS {
                            if row >= y * STEP && row - y * STEP < TAPS {
                                let tap_y = (row - y * STEP) as isize;
                                let place =
                                    tap_y * s.tap_pitches[1] + tap_x as isize * s.tap_pitches[2];
                                sums[y] = V::splat(*weight.offset(place)).mul_add(pixels, sums[y]);
                            }
                        }
                    }
                }
                for (y, &sum) in (first_y..band.end).zip(&sums) {
                    let mut sum = sum;
                    let to = job.output.add(s.output_base + y * s.output_pitches[1] + x);
                    if job.accumulate {
                        sum = V::load_first(to, count).add(sum);
                    }
                    if let Some([low, high]) = job.clamp {
                        sum = sum.clamp(V::splat(low), V::splat(high));
                    }
                    sum.store_first(to, count);
                }
            }
        }
    }
}

/// [`apply`] for some taps of each row of the filter: `TAPS` of them, `STEP` the stride, where
/// these are known (else 0).
///
/// # Safety
/// As [`Apply`]; the taps are the stencil's, at most [`GROUP`].
#[inline(always)]
unsafe fn apply_taps<V: Vector<Element: Element>, const TAPS: usize, const STEP: usize>(
    job: &Apply<'_, V::Element>,
    taps: Range<usize>,
    init: V::Element,
    accumulate: bool,
) {
    let s = job.stencil;
    let [_, height, width] = s.source;
    let step = if STEP > 0 { STEP } else { s.stride[2] };
    let number = if TAPS > 0 { TAPS } else { taps.len() };
    let last = taps.end == s.taps[2];
    for (band, x) in bands(s, V::LANES) {
        let count = (s.outputs[2] - x).min(V::LANES);
        let mut windows = [Window::default(); GROUP];
        for (window, tap) in windows.iter_mut().zip(taps.clone()) {
            *window = Window::new(s, x, count, tap);
        }
        let whole = STEP == 1 && windows[..number].iter().all(|w| w.low == 0 && w.high == V::LANES);
        for z in 0..s.outputs[0] {
            for y in band.clone() {
                let row = s.output_base + z * s.output_pitches[0] + y * s.output_pitches[1];
                // SAFETY: `meet` keeps rows within the source and windows keep lanes within a
                // row; taps and outputs are those of the stencil, which fits.
                unsafe {
                    let mut sum = V::splat(init);
                    for tap_z in 0..s.taps[0] {
                        let Some(from_z) = s.meet(0, z, tap_z) else { continue };
                        for tap_y in 0..s.taps[1] {
                            let Some(from_y) = s.meet(1, y, tap_y) else { continue };
                            let from = job.source.add((from_z * height + from_y) * width);
                            let weight = job.weight.offset(
                                s.tap_base as isize
                                    + tap_z as isize * s.tap_pitches[0]
                                    + tap_y as isize * s.tap_pitches[1]
                                    + taps.start as isize * s.tap_pitches[2],
                            );
                            for tap in 0..number {
                                let Window { first, low, high } = windows[tap];
                                let from = from.wrapping_offset(first);
                                let pixels = if whole {
                                    V::load(from)
                                } else {
                                    V::load_between(from, step, low, high)
                                };
                                let weight = *weight.offset(tap as isize * s.tap_pitches[2]);
                                sum = V::splat(weight).mul_add(pixels, sum);
                            }
                        }
                    }
                    let pitch = s.output_pitches[2];
                    let to = job.output.add(row + x * pitch);
                    if pitch == 1 {
                        if accumulate {
                            sum = V::load_first(to, count).add(sum);
                        }
                        if let (Some([low, high]), true) = (job.clamp, last) {
                            sum = sum.clamp(V::splat(low), V::splat(high));
                        }
                        sum.store_first(to, count);
                    } else {
                        let mut lanes = [V::Element::ZERO; MAX_LANES];
                        sum.store(lanes.as_mut_ptr());
                        for (lane, &sum) in lanes[..count].iter().enumerate() {
                            let to = to.add(lane * pitch);
                            let sum = if accumulate { *to + sum } else { sum };
                            *to = match job.clamp {
                                Some([low, high]) if last => sum.clamp_to(low, high),
                                _ => sum,
                            };
                        }
                    }
                }
            }
        }
    }
}

/// Vectors that a lane adds up before its sum joins those before it.
const STEPS: usize = 256;

/// The body of [`Stencils::correlate`].
///
/// # Safety
/// As [`Correlate`].
#[inline(always)]
pub(super) unsafe fn correlate<V: Vector<Element: Element>>(job: &Correlate<'_, V::Element>) {
    let s = job.stencil;
    if s.taps[2] == 3 && s.is_square() && s.stride[2] <= 2 {
        // SAFETY: the caller vouches for the job.
        return unsafe {
            match s.stride[2] {
                1 => correlate_square::<V, 3, 1>(job),
                _ => correlate_square::<V, 3, 2>(job),
            }
        };
    }
    for tap_z in 0..s.taps[0] {
        for tap_y in 0..s.taps[1] {
            let mut tap_x = 0;
            while tap_x < s.taps[2] {
                let at = [tap_z, tap_y, tap_x];
                // SAFETY: the taps are the stencil's, and the caller vouches for the job.
                unsafe {
                    tap_x += match (s.taps[2] - tap_x, s.stride[2]) {
                        (1, _) => correlate_taps::<V, 1, 0>(job, at),
                        (2, _) => correlate_taps::<V, 2, 0>(job, at),
                        (3 | 5 | 6, 1) => correlate_taps::<V, 3, 1>(job, at),
                        (3 | 5 | 6, 2) => correlate_taps::<V, 3, 2>(job, at),
                        (_, 1) => correlate_taps::<V, 4, 1>(job, at),
                        _ => correlate_taps::<V, 3, 0>(job, at),
                    };
                }
            }
        }
    }
}

/// Sums `N` neighbouring taps of a row of the filter over the whole plane; returns `N`.
///
/// # Safety
/// As [`Correlate`], and the taps are the stencil's.
#[inline(always)]
unsafe fn correlate_taps<V: Vector<Element: Element>, const N: usize, const STEP: usize>(
    job: &Correlate<'_, V::Element>,
    [tap_z, tap_y, tap_x]: [usize; 3],
) -> usize {
    let s = job.stencil;
    let [_, height, width] = s.source;
    let step = if STEP > 0 { STEP } else { s.stride[2] };
    // SAFETY: as in `apply_taps`.
    unsafe {
        let zero = V::splat(V::Element::ZERO);
        let (mut totals, mut sums, mut steps) = ([zero; N], [zero; N], 0);
        for (band, x) in bands(s, V::LANES) {
            let count = (s.outputs[2] - x).min(V::LANES);
            let mut windows = [Window::default(); N];
            for (n, window) in windows.iter_mut().enumerate() {
                *window = Window::new(s, x, count, tap_x + n);
            }
            let whole = STEP == 1 && windows.iter().all(|w| w.low == 0 && w.high == V::LANES);
            for z in 0..s.outputs[0] {
                let Some(from_z) = s.meet(0, z, tap_z) else { continue };
                for y in band.clone() {
                    let Some(from_y) = s.meet(1, y, tap_y) else { continue };
                    let from = job.source.add((from_z * height + from_y) * width);
                    let row = s.output_base + z * s.output_pitches[0] + y * s.output_pitches[1];
                    let errors = V::load_first(job.output.add(row + x), count);
                    for n in 0..N {
                        let Window { first, low, high } = windows[n];
                        let from = from.wrapping_offset(first);
                        let pixels = if whole {
                            V::load(from)
                        } else {
                            V::load_between(from, step, low, high)
                        };
                        sums[n] = errors.mul_add(pixels, sums[n]);
                    }
                    steps += 1;
                    if steps == STEPS {
                        for n in 0..N {
                            totals[n] = totals[n].add(sums[n]);
                            sums[n] = zero;
                        }
                        steps = 0;
                    }
                }
            }
        }
        for n in 0..N {
            finish(job, totals[n].add(sums[n]), [tap_z, tap_y, tap_x + n]);
        }
    }
    N
}

/// [`correlate`] for a dense square filter over one plane: every vector of errors meets all taps
/// at once.
///
/// # Safety
/// As [`Correlate`]; the stencil [is square](Stencil::is_square), of `TAPS` taps and stride `STEP`.
#[inline(always)]
unsafe fn correlate_square<V: Vector<Element: Element>, const TAPS: usize, const STEP: usize>(
    job: &Correlate<'_, V::Element>,
) {
    let s = job.stencil;
    let width = s.source[2];
    // SAFETY: as in `apply_square`.
    unsafe {
        let zero = [[V::splat(V::Element::ZERO); TAPS]; TAPS];
        let (mut totals, mut sums, mut steps) = (zero, zero, 0);
        for (band, x) in bands(s, V::LANES) {
            let count = (s.outputs[2] - x).min(V::LANES);
            let mut windows = [Window::default(); TAPS];
            for (tap, window) in windows.iter_mut().enumerate() {
                *window = Window::new(s, x, count, tap);
            }
            let whole = STEP == 1 && windows.iter().all(|w| w.low == 0 && w.high == V::LANES);
            for y in band {
                let row = s.output_base + y * s.output_pitches[1];
                let errors = V::load_first(job.output.add(row + x), count);
                for tap_y in 0..TAPS {
                    let from_y = (y * STEP + tap_y) as isize + s.origin[1];
                    if from_y < 0 || from_y as usize >= s.source[1] {
                        continue;
                    }
                    let from = job.source.add(from_y as usize * width);
                    for tap_x in 0..TAPS {
                        let Window { first, low, high } = windows[tap_x];
                        let from = from.wrapping_offset(first);
                        let pixels = if whole {
                            V::load(from)
                        } else {
                            V::load_between(from, STEP, low, high)
                        };
                        sums[tap_y][tap_x] = errors.mul_add(pixels, sums[tap_y][tap_x]);
                    }
                }
                steps += 1;
            }
            // A band has few rows: between two of them is soon enough.
            if steps >= STEPS {
                for tap_y in 0..TAPS {
                    for tap_x in 0..TAPS {
                        totals[tap_y][tap_x] = totals[tap_y][tap_x].add(sums[tap_y][tap_x]);
                    }
                }
                (sums, steps) = (zero, 0);
            }
        }
        for tap_y in 0..TAPS {
            for tap_x in 0..TAPS {
                finish(job, totals[tap_y][tap_x].add(sums[tap_y][tap_x]), [0, tap_y, tap_x]);
            }
        }
    }
}

/// Adds the lanes of a tap's sum, halves upon halves, and writes it.
///
/// # Safety
/// As [`Correlate`]; the tap is the stencil's.
#[inline(always)]
unsafe fn finish<V: Vector<Element: Element>>(
    job: &Correlate<'_, V::Element>,
    sum: V,
    tap: [usize; 3],
) {
    let s = job.stencil;
    let mut lanes = [V::Element::ZERO; MAX_LANES];
    let place: isize = (0..3).map(|a| tap[a] as isize * s.tap_pitches[a]).sum();
    // SAFETY: no vector has more than `MAX_LANES` lanes; the tap's place is within the weight.
    unsafe {
        sum.store(lanes.as_mut_ptr());
        let mut half = MAX_LANES / 2;
        while half > 0 {
            for lane in 0..half {
                let other = lanes[lane + half];
                lanes[lane] += other;
            }
            half /= 2;
        }
        let to = job.weight.offset(s.tap_base as isize + place);
        *to = if job.accumulate { *to + lanes[0] } else { lanes[0] };
    }
}
