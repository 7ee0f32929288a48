//! Stencils over images whose pixels are rows of channels, each with a filter of its own or in groups of
//! a few.
//!
//! Here an element of a [`Stencil`] is a pixel, and a tap is as many weights as there are channels,
//! side by side: vectors lie along the channels. The job is one row of outputs. Pixels that meet
//! the same taps are a run: all of a row but its ends, which leave out the taps in the padding, so
//! that nothing is masked but the last channels.
//!
//! Several pixels of a run are summed at once, so that a vector of weights is read once for all of
//! them; the gradient of the weights sums several taps at once, so that a vector of grad_output is.
//! [`lanes`] has how the lanes of outputs meet those of the source.

use super::{Epilogue, Stencil};
use crate::element::Element;
use crate::kernel::vector::{Task, Vector};
use crate::numerics::DIRECT_TERMS;
use core::marker::PhantomData;
use core::ops::Range;
use lanes::{Each, Places, Reach, Spread};
use pixels::Pixels;
use runs::{Meetings, run};

mod lanes;
mod pixels;
mod runs;

pub(crate) use lanes::Channels;

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
        assert!(s.tap_count() <= DIRECT_TERMS, "{s:?}");
        let inside = self.at[0] < s.walks[0].outputs && self.at[1] < s.walks[1].outputs;
        assert!(inside && self.x.end <= s.walks[2].outputs, "{self:?} of {s:?}");
    }
}

/// `output (+)= inits + source * weight` for the pixels of a row. The caller vouches for the ISA,
/// for channels that [fit](Channels::fit) its vectors, for the stencil in images of such pixels,
/// and for the outputs: the row's first is at `output`, the others `pitch` elements apart. A tap has
/// the weights of each term side by side.
pub(crate) struct ApplyRow<'a, T> {
    pub(super) stencil: &'a Stencil,
    pub(super) row: Row,
    pub(super) channels: Channels,
    pub(super) source: *const T,
    pub(super) weight: *const T,
    pub(super) output: *mut T,
    pub(super) pitch: usize,
    /// With a bias for each channel.
    pub(super) epilogue: Epilogue<'a, T>,
}

/// `sums += source * grad_output` for the pixels of a row and the first channels at each of the pointers: for
/// `width` outputs. The caller vouches for the ISA, for channels that [fit](Channels::fit) its vectors,
/// `width` being whole groups, for the stencil in images of such pixels, for the grad_output, and for
/// sums of `width` elements to a term of a tap.
pub(crate) struct CorrelateRow<'a, T> {
    pub(super) stencil: &'a Stencil,
    pub(super) row: Row,
    pub(super) channels: Channels,
    pub(super) width: usize,
    pub(super) source: *const T,
    /// Of the first pixel of the row.
    pub(super) grad_output: *const T,
    pub(super) sums: *mut T,
}

/// What is done for the outputs of one vector after the other.
trait Part<V: Vector>: Sized {
    /// Does it for the outputs of one vector.
    ///
    /// # Safety
    /// What the part says; the channels from `channel` on exist, and those that they meet from `source` on.
    unsafe fn sum<L: Reach<V>>(&self, lanes: L, source: *const V::Element, channel: usize);

    /// Does it for all channels of the groups that have these places: outlined.
    ///
    /// # Safety
    /// What the part says; all these channels exist.
    #[inline(always)]
    unsafe fn sum_groups(&self, places: &Places<V>, source: *const V::Element) {
        // SAFETY: as the caller says.
        unsafe { V::outlined(PartOfGroups { part: self, places, source }) }
    }

    /// Does it for `outputs` channels with a filter each, which meet those from `source` on.
    ///
    /// # Safety
    /// What the part says; all these channels exist.
    #[inline(always)]
    unsafe fn sum_each(&self, source: *const V::Element, outputs: usize) {
        for channel in (0..outputs).step_by(V::LANES) {
            let (left, source) = (outputs - channel, source.wrapping_add(channel));
            // SAFETY: so many channels of the source and outputs exist from there on.
            unsafe {
                if left >= V::LANES {
                    self.sum(Each::<true>(V::LANES), source, channel);
                } else {
                    self.sum(Each::<false>(left), source, channel);
                }
            }
        }
    }
}

/// A part, for all channels of groups: as [`sum_groups`](Part::sum_groups) says.
struct PartOfGroups<'a, V: Vector, P> {
    part: &'a P,
    places: &'a Places<V>,
    source: *const V::Element,
}

impl<V: Vector, P: Part<V>> Task for PartOfGroups<'_, V, P> {
    #[inline(always)]
    unsafe fn run(self) {
        let Self { part, places: Places { within, each, all, .. }, mut source } = self;
        let places = self.places.of_terms();
        let (mut channel, mut left) = (0, *all);
        while left[1] > 0 {
            let counts = [0, 1].map(|i| each[i].min(left[i]));
            // SAFETY: so many channels of the source and outputs exist from there on.
            unsafe {
                if const { V::WITHIN } && *within {
                    part.sum(Spread::<V, true> { places, counts }, source, channel);
                } else {
                    part.sum(Spread::<V, false> { places, counts }, source, channel);
                }
            }
            source = source.wrapping_add(counts[0]);
            channel += counts[1];
            left = [0, 1].map(|i| left[i] - counts[i]);
        }
    }
}

/// How many of `count` pixels, or taps, are summed at once where channels are in groups: for these there are loops of 1, 2,
/// 3, 4, 6 and the most.
fn of_groups(count: usize) -> usize {
    match count {
        5 => 3,
        7 => 4,
        count => count,
    }
}

/// The body of [`Stencils::apply_row`](super::Stencils).
///
/// # Safety
/// As [`ApplyRow`].
#[inline(always)]
pub(in crate::kernel) unsafe fn apply_row<V: Vector<Element: Element>>(
    job: &ApplyRow<'_, V::Element>,
) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        if const { V::LANES < 4 } || job.channels.group == [1, 1] {
            apply_runs::<V>(job, None);
        } else {
            V::outlined(RowOfGroups::<V, _> { job, vectors: PhantomData });
        }
    }
}

/// A row of groups: in a function of its own, which leaves the other as fast as without it.
struct RowOfGroups<'a, V, J> {
    job: &'a J,
    vectors: PhantomData<V>,
}

impl<V: Vector<Element: Element>> Task for RowOfGroups<'_, V, ApplyRow<'_, V::Element>> {
    #[inline(always)]
    unsafe fn run(self) {
        // SAFETY: the caller vouches for the job.
        unsafe {
            let channels = self.job.channels;
            apply_runs(self.job, Some(&Places::<V>::new(channels, channels.count)));
        }
    }
}

impl<V: Vector<Element: Element>> Task for RowOfGroups<'_, V, CorrelateRow<'_, V::Element>> {
    #[inline(always)]
    unsafe fn run(self) {
        // SAFETY: the caller vouches for the job.
        unsafe {
            correlate_runs(self.job, Some(&Places::<V>::new(self.job.channels, self.job.width)));
        }
    }
}

/// Run by run.
///
/// # Safety
/// As [`ApplyRow`]; the places are those of its groups, if it has any.
#[inline(always)]
unsafe fn apply_runs<V: Vector<Element: Element>>(
    job: &ApplyRow<'_, V::Element>,
    places: Option<&Places<V>>,
) {
    let (s, channels) = (job.stencil, job.channels);
    let pixel = if places.is_some() { channels.sources(channels.count) } else { channels.count };
    let (step, weights) =
        (s.walks[2].stride.wrapping_mul(pixel), channels.count * channels.group[0]);
    let inner = s.walks[2].whole();
    let mut meetings = Meetings::new();
    // Pixels of groups are kept in registers from term to term.
    let most = match places {
        _ if const { V::FEW_FORMS } => 4,
        Some(_) if V::REGISTERS < 32 => 6,
        _ => 8,
    };
    let (mut x, end) = (job.row.x.start, job.row.x.end);
    while x < end {
        let (mut left, cols) = run(s, &inner, x, end);
        meetings.find(s, job.row.at, x, &cols, [pixel, weights]);
        let taps = meetings.taps();
        let mut source = job.source;
        // As even as may be.
        let together = match left.div_ceil(left.div_ceil(most)) {
            pixels @ (5 | 7) if places.is_some() => left.min(pixels + 1),
            pixels => pixels,
        };
        while left > 0 {
            let pixels = match together.min(left) {
                pixels if places.is_some() => of_groups(pixels),
                pixels => pixels,
            };
            // SAFETY: the caller vouches for the job; these are outputs of the row, and the taps
            // those that each of them meets.
            unsafe {
                let output = job.output.add((x - job.row.x.start) * job.pitch);
                let some = Pixels::<V, 8> { job, step, taps, output };
                match (pixels, places) {
                    (1, Some(places)) => some.of::<1>().sum_groups(places, source),
                    (2, Some(places)) => some.of::<2>().sum_groups(places, source),
                    (3, Some(places)) => some.of::<3>().sum_groups(places, source),
                    (4, Some(places)) => some.of::<4>().sum_groups(places, source),
                    (1, None) => some.of::<1>().sum_each(source, channels.count),
                    (2, None) => some.of::<2>().sum_each(source, channels.count),
                    (3, None) => some.of::<3>().sum_each(source, channels.count),
                    (4, None) => some.of::<4>().sum_each(source, channels.count),
                    _ if const { V::FEW_FORMS } => unreachable!("{pixels} pixels"),
                    (6, Some(places)) => some.of::<6>().sum_groups(places, source),
                    (_, Some(places)) => some.sum_groups(places, source),
                    (5, None) => some.of::<5>().sum_each(source, channels.count),
                    (6, None) => some.of::<6>().sum_each(source, channels.count),
                    (7, None) => some.of::<7>().sum_each(source, channels.count),
                    (_, None) => some.sum_each(source, channels.count),
                }
            }
            source = source.wrapping_add(pixels.wrapping_mul(step));
            x += pixels;
            left -= pixels;
        }
    }
}

/// The body of [`Stencils::correlate_row`](super::Stencils).
///
/// # Safety
/// As [`CorrelateRow`].
#[inline(always)]
pub(in crate::kernel) unsafe fn correlate_row<V: Vector<Element: Element>>(
    job: &CorrelateRow<'_, V::Element>,
) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        if const { V::LANES < 4 } || job.channels.group == [1, 1] {
            correlate_runs::<V>(job, None);
        } else {
            V::outlined(RowOfGroups::<V, _> { job, vectors: PhantomData });
        }
    }
}

/// Run by run.
///
/// # Safety
/// As [`CorrelateRow`]; the places are those of its groups, if it has any.
#[inline(always)]
unsafe fn correlate_runs<V: Vector<Element: Element>>(
    job: &CorrelateRow<'_, V::Element>,
    places: Option<&Places<V>>,
) {
    let (s, channels) = (job.stencil, job.channels);
    let pixel = if places.is_some() { channels.sources(channels.count) } else { channels.count };
    let (step, weights) = (s.walks[2].stride.wrapping_mul(pixel), job.width * channels.group[0]);
    let inner = s.walks[2].whole();
    let mut meetings = Meetings::new();
    let (mut x, end) = (job.row.x.start, job.row.x.end);
    while x < end {
        let (len, cols) = run(s, &inner, x, end);
        meetings.find(s, job.row.at, x, &cols, [pixel, weights]);
        let mut taps = meetings.taps();
        let grad_output = job.grad_output.wrapping_add((x - job.row.x.start) * channels.count);
        // As even as may be.
        let together = taps.len().div_ceil(taps.len().div_ceil(TOGETHER).max(1));
        while !taps.is_empty() {
            let count = match together.min(taps.len()) {
                9 => 9,
                3.. if const { V::FEW_FORMS } => 3,
                2 if const { V::FEW_FORMS } => 1,
                8 if places.is_some() => 4,
                count if places.is_some() => of_groups(count),
                count => count,
            };
            let (some, rest) = taps.split_at(count);
            let some = Taps::<V, TOGETHER> { job, step, taps: some, grad_output, len };
            // SAFETY: the caller vouches for the job; the taps are those that the run meets.
            unsafe {
                match (count, places) {
                    (1, Some(places)) => some.of::<1>().sum_groups(places, job.source),
                    (3, Some(places)) => some.of::<3>().sum_groups(places, job.source),
                    (9, Some(places)) => some.sum_groups(places, job.source),
                    (1, None) => some.of::<1>().sum_each(job.source, job.width),
                    (3, None) => some.of::<3>().sum_each(job.source, job.width),
                    (9, None) => some.sum_each(job.source, job.width),
                    _ if const { V::FEW_FORMS } => unreachable!("{count} taps"),
                    (2, Some(places)) => some.of::<2>().sum_groups(places, job.source),
                    (4, Some(places)) => some.of::<4>().sum_groups(places, job.source),
                    (_, Some(places)) => some.of::<6>().sum_groups(places, job.source),
                    (2, None) => some.of::<2>().sum_each(job.source, job.width),
                    (4, None) => some.of::<4>().sum_each(job.source, job.width),
                    (5, None) => some.of::<5>().sum_each(job.source, job.width),
                    (6, None) => some.of::<6>().sum_each(job.source, job.width),
                    (7, None) => some.of::<7>().sum_each(job.source, job.width),
                    (_, None) => some.of::<8>().sum_each(job.source, job.width),
                }
            }
            taps = rest;
        }
        x += len;
    }
}

/// The sums of `TAPS` taps that a run of `len` pixels meets. To be run with what [`CorrelateRow`] asks for;
/// every pixel of the run meets the taps, `grad_output` are its first's, and places are those of the job's
/// groups.
struct Taps<'a, V: Vector, const TAPS: usize> {
    job: &'a CorrelateRow<'a, V::Element>,
    /// Elements from the source of an output to that of the next.
    step: usize,
    taps: &'a [[usize; 2]],
    grad_output: *const V::Element,
    len: usize,
}

impl<'a, V: Vector<Element: Element>, const TAPS: usize> Taps<'a, V, TAPS> {
    /// The same for another number of taps.
    #[inline(always)]
    fn of<const OTHER: usize>(self) -> Taps<'a, V, OTHER> {
        let Self { job, step, taps, grad_output, len } = self;
        Taps { job, step, taps, grad_output, len }
    }
}

impl<V: Vector<Element: Element>, const TAPS: usize> Part<V> for Taps<'_, V, TAPS> {
    #[inline(always)]
    unsafe fn sum<L: Reach<V>>(&self, lanes: L, source: *const V::Element, channel: usize) {
        let Self { job, step, taps, .. } = *self;
        let channels = job.channels;
        let mut from = [source; TAPS];
        for (from, tap) in from.iter_mut().zip(taps) {
            *from = from.wrapping_add(tap[0]);
        }
        for term in 0..lanes.terms() {
            // SAFETY: the caller vouches for these channels of every pixel and tap.
            unsafe {
                let mut sums = [V::splat(V::Element::ZERO); TAPS];
                let mut grad_output = self.grad_output.wrapping_add(channel);
                let mut at = 0_usize;
                for _ in 0..self.len {
                    let error = lanes.load(grad_output);
                    for tap in 0..TAPS {
                        let source = lanes.source(from[tap].wrapping_add(at), term);
                        sums[tap] = source.mul_add(error, sums[tap]);
                    }
                    grad_output = grad_output.wrapping_add(channels.count);
                    at = at.wrapping_add(step);
                }
                for tap in 0..TAPS {
                    let to = job.sums.add(taps[tap][1] + term * job.width + channel);
                    lanes.load(to).add(sums[tap]).store_first(to, lanes.count());
                }
            }
        }
    }
}
