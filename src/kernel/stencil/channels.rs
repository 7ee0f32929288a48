//! Stencils over images whose pixels are rows of channels, each channel with a filter of its own.
//!
//! Here an element of a [`Stencil`] is a pixel, and a tap is as many weights as there are channels,
//! side by side: vectors lie along the channels. The job is one row of outputs. Pixels that meet
//! the same taps are a run: all of a row but its ends, which leave out the taps in the padding, so
//! that nothing is masked but the last channels.
//!
//! Several pixels of a run are summed at once, so that a vector of weights is read once for all of
//! them; the gradient of the weights sums several taps at once, so that a vector of errors is.

use super::{Stencil, Storing, write};
use crate::element::Element;
use crate::kernel::vector::Vector;
use core::ops::Range;

/// The most taps of a filter.
pub(crate) const MOST_TAPS: usize = 512;

/// Taps whose gradients are summed at once: all of a 3x3 filter.
const TOGETHER: usize = 9;

/// Some outputs of one row of a stencil: `x` of row `[z, y]`.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) at: [usize; 2],
    pub(crate) x: Range<usize>,
}

impl Row {
    /// # Panics
    /// If the stencil has no such row, or more taps than there may be.
    pub(super) fn check(&self, s: &Stencil) {
        assert!(s.taps.iter().product::<usize>() <= MOST_TAPS, "{s:?}");
        let inside = self.at[0] < s.outputs[0] && self.at[1] < s.outputs[1];
        assert!(inside && self.x.end <= s.outputs[2], "{self:?} of {s:?}");
    }
}

/// `output (+)= inits + source * weight` for the pixels of a row. The caller vouches for the ISA,
/// for the stencil in images of `channels` elements to a pixel, and for the outputs: the row's
/// first is at `output`, the others `pitch` elements apart.
pub(crate) struct ApplyRow<'a, T> {
    pub(super) stencil: &'a Stencil,
    pub(super) row: Row,
    pub(super) channels: usize,
    pub(super) source: *const T,
    pub(super) weight: *const T,
    pub(super) output: *mut T,
    pub(super) pitch: usize,
    /// One for each channel.
    pub(super) inits: Option<&'a [T]>,
    pub(super) storing: Storing<T>,
}

/// `sums += source * errors` for the pixels of a row and the first `width` channels at each of the
/// pointers. The caller vouches for the ISA, for the stencil in images of `channels` elements to a
/// pixel, for the errors, so far apart too, and for sums of `width` elements to a tap.
pub(crate) struct CorrelateRow<'a, T> {
    pub(super) stencil: &'a Stencil,
    pub(super) row: Row,
    pub(super) channels: usize,
    pub(super) width: usize,
    pub(super) source: *const T,
    /// Of the first pixel of the row.
    pub(super) errors: *const T,
    pub(super) sums: *mut T,
}

/// The taps that the pixels of a run meet: where each lies in the source for the first pixel, and
/// in the weights.
struct Meetings {
    taps: [[usize; 2]; MOST_TAPS],
    len: usize,
}

impl Meetings {
    /// Of the run from output `x` on, with the taps `cols` of each row of taps.
    #[inline(always)]
    fn find(
        &mut self,
        s: &Stencil,
        [z, y]: [usize; 2],
        x: usize,
        cols: &Range<usize>,
        [channels, width]: [usize; 2],
    ) {
        let [_, height, columns] = s.source;
        self.len = 0;
        for tap_z in 0..s.taps[0] {
            let Some(from_z) = s.meet(0, z, tap_z) else { continue };
            for tap_y in 0..s.taps[1] {
                let Some(from_y) = s.meet(1, y, tap_y) else { continue };
                let line = (from_z * height + from_y) * columns;
                let taps = s.tap_base as isize
                    + tap_z as isize * s.tap_pitches[0]
                    + tap_y as isize * s.tap_pitches[1];
                for tap_x in cols.start..cols.end {
                    let from = (x * s.stride[2] + tap_x * s.dilation[2]) as isize + s.origin[2];
                    let tap = (taps + tap_x as isize * s.tap_pitches[2]) as usize;
                    self.taps[self.len] = [(line + from as usize) * channels, tap * width];
                    self.len += 1;
                }
            }
        }
    }
}

/// The taps of a row of taps that output `x` meets.
#[inline(always)]
fn taps_of(s: &Stencil, x: usize) -> Range<usize> {
    let first = (x * s.stride[2]) as isize + s.origin[2];
    let before = (-first).max(0) as usize;
    let inside = (s.source[2] as isize - first).max(0) as usize;
    let dilation = s.dilation[2].max(1);
    let low = before.div_ceil(dilation).min(s.taps[2]);
    low..inside.div_ceil(dilation).clamp(low, s.taps[2])
}

/// The outputs that meet all taps of a row of taps.
#[inline(always)]
fn inner(s: &Stencil) -> Range<usize> {
    let reach = (s.source[2] as isize - s.origin[2]) - ((s.taps[2] - 1) * s.dilation[2]) as isize;
    let start = (-s.origin[2]).max(0) as usize;
    start.div_ceil(s.stride[2])..(reach.max(0) as usize).div_ceil(s.stride[2])
}

/// The outputs from `x` on that meet the same taps, and these taps.
#[inline(always)]
fn run(s: &Stencil, inner: &Range<usize>, x: usize, end: usize) -> (usize, Range<usize>) {
    if inner.start <= x && x < inner.end {
        return (inner.end.min(end) - x, 0..s.taps[2]);
    }
    let taps = taps_of(s, x);
    let mut len = 1;
    while x + len < end && x + len != inner.start {
        let other = taps_of(s, x + len);
        if (other.start, other.end) != (taps.start, taps.end) {
            break;
        }
        len += 1;
    }
    (len, taps)
}

/// The body of [`Stencils::apply_row`](super::Stencils).
///
/// # Safety
/// As [`ApplyRow`].
#[inline(always)]
pub(in crate::kernel) unsafe fn apply_row<V: Vector<Element: Element>>(
    job: &ApplyRow<'_, V::Element>,
) {
    let s = job.stencil;
    let step = s.stride[2].wrapping_mul(job.channels);
    let inner = inner(s);
    let mut meetings = Meetings { taps: [[0; 2]; MOST_TAPS], len: 0 };
    let (mut x, end) = (job.row.x.start, job.row.x.end);
    while x < end {
        let (mut left, cols) = run(s, &inner, x, end);
        meetings.find(s, job.row.at, x, &cols, [job.channels; 2]);
        let taps = &meetings.taps[..meetings.len];
        let mut source = job.source;
        // As even as may be.
        let together = left.div_ceil(left.div_ceil(8));
        while left > 0 {
            let pixels = together.min(left);
            // SAFETY: the caller vouches for the job; these are outputs of the row, and the taps
            // those that each of them meets.
            unsafe {
                let output = job.output.add((x - job.row.x.start) * job.pitch);
                match pixels {
                    1 => apply_pixels::<V, 1>(job, taps, source, output),
                    2 => apply_pixels::<V, 2>(job, taps, source, output),
                    3 => apply_pixels::<V, 3>(job, taps, source, output),
                    4 => apply_pixels::<V, 4>(job, taps, source, output),
                    5 => apply_pixels::<V, 5>(job, taps, source, output),
                    6 => apply_pixels::<V, 6>(job, taps, source, output),
                    7 => apply_pixels::<V, 7>(job, taps, source, output),
                    _ => apply_pixels::<V, 8>(job, taps, source, output),
                }
            }
            source = source.wrapping_add(pixels.wrapping_mul(step));
            x += pixels;
            left -= pixels;
        }
    }
}

/// `PIXELS` neighbouring outputs, all channels.
///
/// # Safety
/// As [`ApplyRow`]; the taps are those that every one of these pixels meets, `source` is stepped
/// to the first of them, `output` its place.
#[inline(always)]
unsafe fn apply_pixels<V: Vector<Element: Element>, const PIXELS: usize>(
    job: &ApplyRow<'_, V::Element>,
    taps: &[[usize; 2]],
    source: *const V::Element,
    output: *mut V::Element,
) {
    for channel in (0..job.channels).step_by(V::LANES) {
        let count = (job.channels - channel).min(V::LANES);
        // SAFETY: `count` channels from this one on exist.
        unsafe {
            if count == V::LANES {
                apply_vectors::<V, PIXELS, true>(job, taps, source, output, [channel, count]);
            } else {
                apply_vectors::<V, PIXELS, false>(job, taps, source, output, [channel, count]);
            }
        }
    }
}

/// [`apply_pixels`] for `count` channels, a vector if `WHOLE`.
///
/// # Safety
/// As there, and the channels exist.
#[inline(always)]
unsafe fn apply_vectors<V: Vector<Element: Element>, const PIXELS: usize, const WHOLE: bool>(
    job: &ApplyRow<'_, V::Element>,
    taps: &[[usize; 2]],
    source: *const V::Element,
    output: *mut V::Element,
    [channel, count]: [usize; 2],
) {
    let step = job.stencil.stride[2].wrapping_mul(job.channels);
    // SAFETY: the caller vouches for these channels of every pixel and tap.
    unsafe {
        let mut init = V::splat(V::Element::ZERO);
        if let Some(inits) = job.inits {
            init = load::<V, WHOLE>(inits.as_ptr().add(channel), count);
        }
        let mut sums = [init; PIXELS];
        for &[from, weight] in taps {
            let weight = load::<V, WHOLE>(job.weight.add(weight + channel), count);
            let from = source.wrapping_add(from + channel);
            for pixel in 0..PIXELS {
                let source = load::<V, WHOLE>(from.wrapping_add(pixel.wrapping_mul(step)), count);
                sums[pixel] = weight.mul_add(source, sums[pixel]);
            }
        }
        let to = output.add(channel);
        for pixel in 0..PIXELS {
            let count = if WHOLE { V::LANES } else { count };
            let to = to.wrapping_add(pixel.wrapping_mul(job.pitch));
            write(&job.storing, sums[pixel], to, count, 1);
        }
    }
}

/// The first `count` elements at `p`, a vector if `WHOLE`.
///
/// # Safety
/// `p` is good for them.
#[inline(always)]
unsafe fn load<V: Vector, const WHOLE: bool>(p: *const V::Element, count: usize) -> V {
    // SAFETY: as the caller says.
    unsafe { if WHOLE { V::load(p) } else { V::load_first(p, count) } }
}

/// The body of [`Stencils::correlate_row`](super::Stencils).
///
/// # Safety
/// As [`CorrelateRow`].
#[inline(always)]
pub(in crate::kernel) unsafe fn correlate_row<V: Vector<Element: Element>>(
    job: &CorrelateRow<'_, V::Element>,
) {
    let s = job.stencil;
    let inner = inner(s);
    let mut meetings = Meetings { taps: [[0; 2]; MOST_TAPS], len: 0 };
    let (mut x, end) = (job.row.x.start, job.row.x.end);
    while x < end {
        let (len, cols) = run(s, &inner, x, end);
        meetings.find(s, job.row.at, x, &cols, [job.channels, job.width]);
        let errors = job.errors.wrapping_add((x - job.row.x.start) * job.channels);
        for channel in (0..job.width).step_by(V::LANES) {
            let count = (job.width - channel).min(V::LANES);
            // SAFETY: the caller vouches for the job; the taps are those that the run meets.
            unsafe {
                let taps = &meetings.taps[..meetings.len];
                if count == V::LANES {
                    correlate_taps::<V, true>(job, taps, errors, len, [channel, count]);
                } else {
                    correlate_taps::<V, false>(job, taps, errors, len, [channel, count]);
                }
            }
        }
        x += len;
    }
}

/// The sums of all taps that a run of `len` pixels meets, for `count` channels, a vector if
/// `WHOLE`.
///
/// # Safety
/// As [`CorrelateRow`]; the taps are those that every pixel of the run meets, `errors` is its
/// first.
#[inline(always)]
unsafe fn correlate_taps<V: Vector<Element: Element>, const WHOLE: bool>(
    job: &CorrelateRow<'_, V::Element>,
    mut taps: &[[usize; 2]],
    errors: *const V::Element,
    len: usize,
    channels: [usize; 2],
) {
    // As even as may be.
    let together = taps.len().div_ceil(taps.len().div_ceil(TOGETHER).max(1));
    while !taps.is_empty() {
        let (some, rest) = taps.split_at(together.min(taps.len()));
        // SAFETY: as the caller says.
        unsafe {
            match some.len() {
                1 => correlate_some::<V, 1, WHOLE>(job, some, errors, len, channels),
                2 => correlate_some::<V, 2, WHOLE>(job, some, errors, len, channels),
                3 => correlate_some::<V, 3, WHOLE>(job, some, errors, len, channels),
                4 => correlate_some::<V, 4, WHOLE>(job, some, errors, len, channels),
                5 => correlate_some::<V, 5, WHOLE>(job, some, errors, len, channels),
                6 => correlate_some::<V, 6, WHOLE>(job, some, errors, len, channels),
                7 => correlate_some::<V, 7, WHOLE>(job, some, errors, len, channels),
                8 => correlate_some::<V, 8, WHOLE>(job, some, errors, len, channels),
                _ => correlate_some::<V, TOGETHER, WHOLE>(job, some, errors, len, channels),
            }
        }
        taps = rest;
    }
}

/// [`correlate_taps`] for `TAPS` of them.
///
/// # Safety
/// As there, and there are so many.
#[inline(always)]
unsafe fn correlate_some<V: Vector<Element: Element>, const TAPS: usize, const WHOLE: bool>(
    job: &CorrelateRow<'_, V::Element>,
    taps: &[[usize; 2]],
    errors: *const V::Element,
    len: usize,
    [channel, count]: [usize; 2],
) {
    let step = job.stencil.stride[2].wrapping_mul(job.channels);
    let mut from = [job.source; TAPS];
    for (from, tap) in from.iter_mut().zip(taps) {
        *from = from.wrapping_add(tap[0] + channel);
    }
    // SAFETY: the caller vouches for these channels of every pixel and tap.
    unsafe {
        let mut sums = [V::splat(V::Element::ZERO); TAPS];
        let mut errors = errors.wrapping_add(channel);
        let mut at = 0_usize;
        for _ in 0..len {
            let error = load::<V, WHOLE>(errors, count);
            for tap in 0..TAPS {
                let source = load::<V, WHOLE>(from[tap].wrapping_add(at), count);
                sums[tap] = source.mul_add(error, sums[tap]);
            }
            errors = errors.wrapping_add(job.channels);
            at = at.wrapping_add(step);
        }
        for tap in 0..TAPS {
            let to = job.sums.add(taps[tap][1] + channel);
            let sum = load::<V, WHOLE>(to, count).add(sums[tap]);
            let count = if WHOLE { V::LANES } else { count };
            sum.store_first(to, count);
        }
    }
}
