//! Which pixels each tap meets inside the image: its products with padding are left out.
//!
//! What [`bands`](super::bands) are where terms are taps, this is for backward_weight, where they are
//! pixels: the first tap of a padded 3x3 filter meets neither the first row of outputs nor the first column. So each
//! tap has terms of its own, those of all channels are multiplied together, and as nobody reads the padding, the image
//! needs no copy that has it (AVX-512 on Zen 5, of 269 GFLOP/s: r50_4b_3x3 225 -> 250, c3d_3 239 -> 278, aspp_d6
//! 238 -> 304).

use crate::error::Error;
use crate::gemm::grid::{AXES, Grid, Offsets, Run, Table, dense};
use crate::gemm::kinds::{Kind, Room};
use crate::kernel::Kernel;
use crate::patches::{Patches, Source, Walk};
use crate::scratch::room;
use crate::shape::{Layout, MAX_AXES};
use alloc::vec::Vec;
use core::ops::Range;

/// A tile with fewer rows takes as long as one with so many: its sums wait for themselves.
const LOW: f64 = 4.5;

/// How much of the work may be left in tiles of one vector, which are faster with taps side by side for rows; others
/// pay if only they needn't be copied, or even (Zen 5: whisper_s2 214 GFLOP/s with taps for rows, 242 so).
const LEFT_OF_ONE: f64 = 0.95;

/// The same where a tile of each tap has more sums than are kept else (with none left out 2 to 8 % slower).
const LEFT_OF_MANY: f64 = 0.97;

/// Both: 5 % slower with 0.89 left, 3 % with 0.86.
const LEFT_OF_BOTH: f64 = 0.83;

/// The same where the image is copied all the same (with 0.98 left 3 % slower).
const LEFT_OF_COPY: f64 = 0.97;

/// The pixels of a run that each tap of a channel meets.
#[derive(Debug, Clone)]
pub(super) struct Inside {
    source: Source,
    /// The axis of pixels that runs have a part of: they have one position of those outside it, and all of those
    /// within it. The last, if they have one of each.
    cut: usize,
    /// Elements of the view, and of a panel, from one step of that axis to the next.
    pitch: usize,
    panel_pitch: usize,
    /// Where the channels of a run lie in the view, and each tap of the first of them.
    channels: Table,
    taps: Vec<u32>,
    /// For the taps of the axes within `cut`: what they meet in all steps of it.
    terms: Vec<Terms>,
}

/// What a tap meets, in the view and in a panel: the first place, and all of them from there on.
#[derive(Debug, Clone)]
struct Terms {
    first: [usize; 2],
    places: [Table; 2],
    /// Terms of each step of the axis that runs have a part of.
    of_step: usize,
}

impl Inside {
    /// Whether it pays that each tap has terms of its own.
    pub(super) fn pays<T>(source: &Source, kernel: &Kernel<T>) -> bool {
        let walks = &source.walks;
        let taps = walks.iter().fold(1, |taps: usize, walk| taps.saturating_mul(walk.taps));
        let room = Room::of(kernel, taps);
        if source.layout != Layout::ChannelsFirst || taps == 1 || room == Room::None {
            return false;
        }
        let met = |walk: &Walk| {
            let met: usize = (0..walk.taps).map(|tap| walk.inside(tap).len()).sum();
            met as f64 / (walk.taps as f64 * walk.outputs as f64)
        };
        let height = source.channels.div_ceil(source.channels.div_ceil(kernel.rows));
        let left = walks.iter().map(met).product::<f64>() * (LOW / height as f64).max(1.0);
        let most = match (kernel.lanes == kernel.vector, room == Room::ForOneTile) {
            (true, true) => LEFT_OF_BOTH,
            (true, false) => LEFT_OF_ONE,
            (false, true) => LEFT_OF_MANY,
            (false, false) => 1.0,
        };
        left <= if source.is_crowded() { most * LEFT_OF_COPY } else { most }
    }

    /// Taps of a run with no more than so many: all of each channel, of as many as make the runs even.
    pub(super) fn taps_of_run<T>(source: &Source, kernel: &Kernel<T>, most: usize) -> usize {
        let of_channel: usize = source.walks.iter().map(|walk| walk.taps).product();
        let most = (most / of_channel).max(kernel.rows);
        let channels = source.channels.div_ceil(source.channels.div_ceil(most));
        channels.next_multiple_of(kernel.row_step) * of_channel
    }

    /// Whether anything is left out.
    pub(super) fn leaves_out(&self) -> bool {
        !self.source.walks.iter().all(Walk::is_inside)
    }

    /// Those of a view whose padding nobody else reads; none if its runs of taps haven't all of each channel.
    pub(super) fn new(
        source: &Source,
        patches: &mut Patches,
        width: usize,
    ) -> Result<Option<Self>, Error> {
        let counts = source.walks.map(|walk| walk.taps);
        let [channels, of_run @ ..] = patches.taps.run_sizes();
        if of_run != counts {
            return Ok(None);
        }
        patches.in_place()?;
        patches.without_padding([true; 2]);
        let pixels = &patches.pixels;
        let run = pixels.run_sizes();
        let cut = run.iter().position(|&size| size > 1).unwrap_or(AXES - 1);
        let of_channel = counts.iter().product();
        let mut taps = room(of_channel)?;
        taps.extend_from_slice(&patches.taps.table()[..of_channel]);
        // Of the other axes, all taps have the same.
        let [d, h, w] = [0, 1, 2].map(|a| if a + 1 > cut { counts[a] } else { 1 });
        let mut terms = room(d * h * w)?;
        for tap in (0..d * h * w).map(|tap| [tap / (h * w), tap / w % h, tap % w]) {
            let met = |axis: usize| match axis.checked_sub(1) {
                Some(a) if axis > cut => source.walks[a].inside(tap[a]),
                _ => 0..run[axis],
            };
            terms.push(Terms::new([0, 1, 2, 3].map(met), pixels, cut, width)?);
        }
        Ok(Some(Self {
            source: *source,
            cut,
            pitch: pixels.pitches()[cut],
            panel_pitch: dense(run)[cut] * width,
            channels: Table::of_box([channels, 1, 1, 1], patches.taps.pitches())?,
            taps,
            terms,
        }))
    }

    /// Where the channels of a run of so many taps lie.
    pub(super) fn channels(&self, taps: usize) -> Offsets<'_> {
        self.channels.first(taps / self.taps.len())
    }

    /// What each tap of a channel meets in a run of pixels, which lies in the view from `first` on, modulo a word.
    pub(super) fn kinds(&self, pixels: &Run, first: usize) -> impl Iterator<Item = Kind<'_>> {
        let walks = &self.source.walks;
        let counts = walks.map(|walk| walk.taps);
        self.taps.iter().enumerate().map(move |(tap, &place)| {
            let [_, h, w] = counts;
            let tap = [tap / (h * w), tap / w % h, tap % w];
            // The positions of an axis that the tap meets, within the run.
            let met = |axis: usize| {
                let (start, size) = (pixels.start[axis], pixels.sizes[axis]);
                let Range { start: from, end } = match axis.checked_sub(1) {
                    Some(a) => walks[a].inside(tap[a]),
                    None => start..start + size,
                };
                from.clamp(start, start + size) - start..end.clamp(start, start + size) - start
            };
            // Only where pixels are met, they have a place.
            let outside = (0..=self.cut).any(|axis| met(axis).is_empty());
            let steps = if outside { 0..0 } else { met(self.cut) };
            let within = (0..MAX_AXES).filter(|a| a + 1 > self.cut);
            let Terms { first: [from, from_panel], places, of_step } =
                &self.terms[within.fold(0, |index, a| index * counts[a] + tap[a])];
            let place = place as usize + from + steps.start * self.pitch;
            let len = steps.len() * of_step;
            Kind {
                first: [first.wrapping_add(place), from_panel + steps.start * self.panel_pitch],
                terms: [places[0].first(len), places[1].first(len)],
            }
        })
    }
}

impl Terms {
    /// The positions of a run that are `met`, in the view and in a panel of so many lanes.
    fn new(
        met: [Range<usize>; AXES],
        pixels: &Grid,
        cut: usize,
        width: usize,
    ) -> Result<Self, Error> {
        let sizes = met.each_ref().map(|axis| axis.len());
        let panel = dense(pixels.run_sizes()).map(|pitch| pitch * width);
        // Only if there are any, they have a place.
        let none = sizes.contains(&0);
        let start = met.each_ref().map(|axis| if none { 0 } else { axis.start });
        let first = |pitches: &[usize; AXES]| start.iter().zip(pitches).map(|(s, p)| s * p).sum();
        let pitches = [pixels.pitches(), panel];
        Ok(Self {
            first: pitches.each_ref().map(first),
            places: [Table::of_box(sizes, pitches[0])?, Table::of_box(sizes, pitches[1])?],
            of_step: sizes[cut + 1..].iter().product(),
        })
    }
}
