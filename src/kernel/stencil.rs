//! Stencils: one filter over one plane, for layers with a filter per channel.
//!
//! Such a layer reads each element as often as its filter has taps and no more, so there is no
//! matrix to speak of: the loops run over the plane as it lies, a vector of outputs at a time,
//! and lanes whose tap meets padding are masked. Nothing is copied or packed.

use super::vector::Vector;
use crate::element::Element;

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
pub struct Apply<'a, T> {
    stencil: &'a Stencil,
    source: *const T,
    weight: *const T,
    output: *mut T,
    init: T,
    accumulate: bool,
}

/// `weight (+)= source * output`. The caller vouches for [`Stencil::fits`] and the ISA.
pub struct Correlate<'a, T> {
    stencil: &'a Stencil,
    source: *const T,
    output: *const T,
    weight: *mut T,
    accumulate: bool,
}

impl<T: Element> Stencils<T> {
    /// Writes (or adds to) the outputs of one filter over one plane, which start at `init`.
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
    ) {
        assert!(stencil.fits(source.len(), weight.len(), output.len()), "{stencil:?}");
        let (source, weight) = (source.as_ptr(), weight.as_ptr());
        let job = Apply { stencil, source, weight, output: output.as_mut_ptr(), init, accumulate };
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

/// The lanes of a vector of outputs that meet the row, for a vector that begins at `first`.
#[inline(always)]
fn lanes(first: isize, stride: usize, source: usize, count: usize) -> (usize, usize) {
    let before = (-first).max(0) as usize;
    let inside = (source as isize - first).max(0) as usize;
    match stride {
        1 => (before.min(count), inside.min(count)),
        _ => (before.div_ceil(stride).min(count), inside.div_ceil(stride).min(count)),
    }
}

/// The body of [`Stencils::apply`].
///
/// # Safety
/// As [`Apply`].
#[inline(always)]
pub(super) unsafe fn apply<V: Vector<Element: Element>>(job: &Apply<'_, V::Element>) {
    let s = job.stencil;
    let [_, height, width] = s.source;
    for z in 0..s.outputs[0] {
        for y in 0..s.outputs[1] {
            let row = s.output_base + z * s.output_pitches[0] + y * s.output_pitches[1];
            for x in (0..s.outputs[2]).step_by(V::LANES) {
                let count = (s.outputs[2] - x).min(V::LANES);
                // SAFETY: `meet` keeps rows within the source and `lanes` keeps lanes within a
                // row; taps and outputs are those of the stencil, which fits.
                unsafe {
                    let mut sum = V::splat(job.init);
                    for tap_z in 0..s.taps[0] {
                        let Some(from_z) = s.meet(0, z, tap_z) else { continue };
                        for tap_y in 0..s.taps[1] {
                            let Some(from_y) = s.meet(1, y, tap_y) else { continue };
                            let from = job.source.add((from_z * height + from_y) * width);
                            let taps = s.tap_base as isize
                                + tap_z as isize * s.tap_pitches[0]
                                + tap_y as isize * s.tap_pitches[1];
                            let taps = job.weight.offset(taps);
                            for tap_x in 0..s.taps[2] {
                                let first = (x * s.stride[2] + tap_x * s.dilation[2]) as isize
                                    + s.origin[2];
                                let (low, high) = lanes(first, s.stride[2], width, count);
                                let pixels = V::load_between(
                                    from.wrapping_offset(first),
                                    s.stride[2],
                                    low,
                                    high,
                                );
                                let tap = *taps.offset(tap_x as isize * s.tap_pitches[2]);
                                sum = V::splat(tap).mul_add(pixels, sum);
                            }
                        }
                    }
                    let pitch = s.output_pitches[2];
                    let to = job.output.add(row + x * pitch);
                    if pitch == 1 {
                        if job.accumulate {
                            sum = V::load_first(to, count).add(sum);
                        }
                        sum.store_first(to, count);
                    } else {
                        let mut lanes = [V::Element::ZERO; super::body::MAX_LANES];
                        sum.store(lanes.as_mut_ptr());
                        for (lane, &sum) in lanes[..count].iter().enumerate() {
                            let to = to.add(lane * pitch);
                            *to = if job.accumulate { *to + sum } else { sum };
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
    for tap_z in 0..s.taps[0] {
        for tap_y in 0..s.taps[1] {
            let mut tap_x = 0;
            while tap_x < s.taps[2] {
                let left = s.taps[2] - tap_x;
                // SAFETY: the taps are the stencil's, and the caller vouches for the job.
                unsafe {
                    tap_x += match left {
                        1 => correlate_taps::<V, 1>(job, [tap_z, tap_y, tap_x]),
                        2 => correlate_taps::<V, 2>(job, [tap_z, tap_y, tap_x]),
                        3 | 5 | 6 => correlate_taps::<V, 3>(job, [tap_z, tap_y, tap_x]),
                        _ => correlate_taps::<V, 4>(job, [tap_z, tap_y, tap_x]),
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
unsafe fn correlate_taps<V: Vector<Element: Element>, const N: usize>(
    job: &Correlate<'_, V::Element>,
    [tap_z, tap_y, tap_x]: [usize; 3],
) -> usize {
    let s = job.stencil;
    let [_, height, width] = s.source;
    // SAFETY: as in `apply`.
    unsafe {
        let zero = V::splat(V::Element::ZERO);
        let (mut totals, mut sums, mut steps) = ([zero; N], [zero; N], 0);
        for z in 0..s.outputs[0] {
            let Some(from_z) = s.meet(0, z, tap_z) else { continue };
            for y in 0..s.outputs[1] {
                let Some(from_y) = s.meet(1, y, tap_y) else { continue };
                let from = job.source.add((from_z * height + from_y) * width);
                let row = s.output_base + z * s.output_pitches[0] + y * s.output_pitches[1];
                for x in (0..s.outputs[2]).step_by(V::LANES) {
                    let count = (s.outputs[2] - x).min(V::LANES);
                    let errors = V::load_first(job.output.add(row + x), count);
                    for (n, sum) in sums.iter_mut().enumerate() {
                        let tap = tap_x + n;
                        let first = (x * s.stride[2] + tap * s.dilation[2]) as isize + s.origin[2];
                        let (low, high) = lanes(first, s.stride[2], width, count);
                        let from = from.wrapping_offset(first);
                        let pixels = V::load_between(from, s.stride[2], low, high);
                        *sum = errors.mul_add(pixels, *sum);
                    }
                    steps += 1;
                }
                if steps >= STEPS {
                    for n in 0..N {
                        totals[n] = totals[n].add(sums[n]);
                        sums[n] = zero;
                    }
                    steps = 0;
                }
            }
        }
        for n in 0..N {
            let mut lanes = [V::Element::ZERO; super::body::MAX_LANES];
            totals[n].add(sums[n]).store(lanes.as_mut_ptr());
            let mut half = super::body::MAX_LANES / 2;
            while half > 0 {
                for lane in 0..half {
                    let other = lanes[lane + half];
                    lanes[lane] += other;
                }
                half /= 2;
            }
            let place = s.tap_base as isize
                + tap_z as isize * s.tap_pitches[0]
                + tap_y as isize * s.tap_pitches[1]
                + (tap_x + n) as isize * s.tap_pitches[2];
            let to = job.weight.offset(place);
            *to = if job.accumulate { *to + lanes[0] } else { lanes[0] };
        }
    }
    N
}
