//! How the lanes of a vector of outputs come by the channels of the source that they meet.
//!
//! An output with a filter by itself meets one channel, in its own lane. One of a group meets several: the
//! terms. One vector of the source has all channels of some groups, and for each term its lanes are
//! permuted to where the outputs of their groups are: a matrix product would fill as many lanes of a
//! vector as a group has channels.

use crate::kernel::vector::{MAX_LANES, Vector};

/// The most channels of a group, if it has more than one: two groups fill the longest vector.
const MOST_OF_GROUP: usize = MAX_LANES / 2;

/// The channels of a pixel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Channels {
    /// Of the outputs: whole groups.
    pub(crate) count: usize,
    /// Those of one group, of the source and of the outputs.
    pub(crate) group: [usize; 2],
}

impl Channels {
    /// Whether there are stencils with vectors of so many `lanes` for groups of so many channels: each
    /// channel by itself, or two groups and more to a vector.
    pub(crate) fn fit(group: [usize; 2], lanes: usize) -> bool {
        let most = group[0].max(group[1]);
        group == [1, 1] || most <= (lanes / 2).min(MOST_OF_GROUP)
    }

    /// Of the source, where the outputs have `count`.
    pub(crate) fn sources(self, count: usize) -> usize {
        count / self.group[1] * self.group[0]
    }

    /// # Panics
    /// If there are no such stencils.
    pub(in crate::kernel::stencil) fn check(self, lanes: usize) {
        let Self { count, group } = self;
        let whole = group[0] > 0 && group[1] > 0 && count > 0 && count % group[1] == 0;
        // With it neither the source's channels nor a tap's weights overflow.
        let modest = count.checked_mul(group[0]).is_some();
        assert!(whole && modest && Self::fit(group, lanes), "{self:?} in {lanes} lanes");
    }
}

/// Where the vectors of `V` have the channels of groups, worked out once for a row.
pub(super) struct Places<V: Vector> {
    /// For each term, which lane of the source an output's lane takes it from.
    places: [V::Places; MOST_OF_GROUP],
    terms: usize,
    /// No lane leaves its 16 bytes on the way.
    pub(super) within: bool,
    /// Channels of the source and outputs: of a vector, and of all that are wanted.
    pub(super) each: [usize; 2],
    pub(super) all: [usize; 2],
}

impl<V: Vector> Places<V> {
    /// For the outputs `..width`.
    ///
    /// # Safety
    /// The caller runs with the vector's target features, and vouches that the channels fit.
    #[inline(always)]
    pub(super) unsafe fn new(channels: Channels, width: usize) -> Self {
        const { V::FITS };
        let [inputs, outputs] = channels.group;
        let groups = V::LANES / inputs.max(outputs);
        // SAFETY: the caller runs with the features.
        let mut places = unsafe { [V::places([0; MAX_LANES]); MOST_OF_GROUP] };
        for (term, places) in places.iter_mut().enumerate().take(inputs) {
            let mut lanes = [0; MAX_LANES];
            for (group, lanes) in lanes.chunks_exact_mut(outputs).take(groups).enumerate() {
                lanes.fill((group * inputs + term) as u8);
            }
            // SAFETY: the caller runs with the features; groups that fit have all of their channels
            // in one vector.
            *places = unsafe { V::places(lanes) };
        }
        Self {
            places,
            terms: inputs,
            within: inputs == outputs && (16 / size_of::<V::Element>()).is_multiple_of(inputs),
            each: [groups * inputs, groups * outputs],
            all: [channels.sources(width), width],
        }
    }

    /// Those of each term.
    ///
    /// The compiler mustn't know that there are few: it would unroll a loop over them and spill the sums.
    #[inline(always)]
    pub(super) fn of_terms(&self) -> &[V::Places] {
        core::hint::black_box(&self.places[..self.terms])
    }
}

/// How the lanes of outputs come by what is summed in them.
pub(super) trait Reach<V: Vector>: Copy {
    /// Channels of the source are permuted for each term.
    const SPREADS: bool;

    /// Products of an output and a tap.
    fn terms(self) -> usize;
    /// Outputs.
    fn count(self) -> usize;
    /// Reads an element for each output.
    ///
    /// # Safety
    /// `p` is good for them, and the caller runs with the vector's target features.
    unsafe fn load(self, p: *const V::Element) -> V;
    /// The channel of the source that each output meets in a term.
    ///
    /// # Safety
    /// `p` is good for the source's channels of these outputs; the caller runs with the features.
    unsafe fn source(self, p: *const V::Element, term: usize) -> V;
}

/// Channels with a filter each: a vector of them, `WHOLE`, or so many.
#[derive(Clone, Copy)]
pub(super) struct Each<const WHOLE: bool>(pub(super) usize);

impl<V: Vector, const WHOLE: bool> Reach<V> for Each<WHOLE> {
    const SPREADS: bool = false;

    #[inline(always)]
    fn terms(self) -> usize {
        1
    }
    #[inline(always)]
    fn count(self) -> usize {
        if WHOLE { V::LANES } else { self.0 }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const V::Element) -> V {
        // SAFETY: the caller vouches for so many.
        unsafe { if WHOLE { V::load(p) } else { V::load_first(p, self.0) } }
    }
    #[inline(always)]
    unsafe fn source(self, p: *const V::Element, _term: usize) -> V {
        // SAFETY: the caller vouches for so many, as many as there are outputs.
        unsafe { Reach::<V>::load(self, p) }
    }
}

/// Whole groups; `WITHIN` if the lanes of none reach out of 16 bytes.
#[derive(Clone, Copy)]
pub(super) struct Spread<'a, V: Vector, const WITHIN: bool> {
    /// Of each term, as [`Places`] has them.
    pub(super) places: &'a [V::Places],
    /// Channels of the source, and outputs.
    pub(super) counts: [usize; 2],
}

impl<V: Vector, const WITHIN: bool> Reach<V> for Spread<'_, V, WITHIN> {
    const SPREADS: bool = true;

    #[inline(always)]
    fn terms(self) -> usize {
        self.places.len()
    }
    #[inline(always)]
    fn count(self) -> usize {
        self.counts[1]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const V::Element) -> V {
        // SAFETY: the caller vouches for so many.
        unsafe { V::load_first(p, self.counts[1]) }
    }
    #[inline(always)]
    unsafe fn source(self, p: *const V::Element, term: usize) -> V {
        // SAFETY: the caller vouches for so many.
        unsafe {
            let (source, places) = (V::load_first(p, self.counts[0]), self.places[term]);
            if WITHIN { source.permute_within(places) } else { source.permute(places) }
        }
    }
}
