//! Which pixels each tap meets inside the image: its products with padding are left out.
//!
//! What [`regions`](super::regions) are where k are the taps, this is for backward_weight, where it is the
//! pixels: the first tap of a padded 3x3 filter meets neither the first row of outputs nor the first column. So each
//! tap has pixels of its own, those of all channels are multiplied together, and as nobody reads the padding, the image
//! needs no copy that has it.

use crate::axis::Walk;
use crate::error::Error;
use crate::gemm::classes::{Class, Room};
use crate::gemm::grid::{AXES, Block, Boxes, Offsets, Table, dense};
use crate::kernel::Kernel;
use crate::scratch::room;
use crate::shape::{Layout, MAX_AXES};
use crate::view::cols::Cols;
use crate::view::source::Source;
use alloc::vec::Vec;
use core::ops::Range;

/// The pixels of a block that each tap of a channel meets.
#[derive(Debug, Clone)]
pub(crate) struct Classes {
    source: Source,
    /// The axis of pixels that blocks have a part of: they have one position of those outside it, and all of those
    /// within it. The last, if they have one of each.
    cut: usize,
    /// The box of such a block.
    run: [usize; AXES],
    /// Elements from one pixel to the next of each axis, in the view and in a panel.
    pitches: [[usize; AXES]; 2],
    /// Where the channels of a block lie in the view, and each tap of the first of them.
    channels: Table,
    taps: Table,
    /// What taps of the axes within `cut` meet in all steps of it, in the view and in a panel.
    k: Boxes,
}

impl Classes {
    /// Whether each tap can have pixels of its own: channels first, and there is room for the sums of all taps.
    pub(crate) fn is_possible<T>(source: &Source, kernel: &Kernel<T>) -> bool {
        let taps = source.walks.iter().fold(1, |taps: usize, walk| taps.saturating_mul(walk.taps));
        let first = source.layout == Layout::ChannelsFirst;
        first && taps > 1 && Room::of(kernel, taps) != Room::None
    }

    /// Taps of a block with no more than so many: all of each channel, of as many as make the blocks even.
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

    /// Those of a view whose padding nobody else reads; none if its blocks of taps haven't all of each channel.
    pub(super) fn new(
        source: &Source,
        cols: &mut Cols,
        width: usize,
        in_place: bool,
    ) -> Result<Option<Self>, Error> {
        let counts = source.walks.map(|walk| walk.taps);
        let [channels, of_run @ ..] = cols.taps.block_sizes();
        if of_run != counts {
            return Ok(None);
        }
        if in_place {
            cols.in_place();
        }
        cols.without_padding([true; 2]);
        let run = cols.pixels.block_sizes();
        let cut = run.iter().position(|&size| size > 1).unwrap_or(AXES - 1);
        let mut lens = [const { Vec::new() }; MAX_AXES];
        for (a, (lens, walk)) in lens.iter_mut().zip(&source.walks).enumerate() {
            // Of the other axes, all taps have the same.
            let within = a + 1 > cut;
            *lens = room(if within { walk.taps } else { 1 })?;
            match within {
                true => lens.extend((0..walk.taps).map(|tap| walk.inside(tap).len())),
                false => lens.push(run[a + 1]),
            }
        }
        let pitches = [cols.pixels.pitches(), dense(run).map(|pitch| pitch * width)];
        let of_taps = cols.taps.pitches();
        Ok(Some(Self {
            source: *source,
            cut,
            run,
            pitches,
            channels: Table::of_box([channels, 1, 1, 1], of_taps)?,
            taps: Table::of_box([1, of_run[0], of_run[1], of_run[2]], of_taps)?,
            k: Boxes::new(lens, pitches, |[d, h, w]| [run[0], d, h, w])?,
        }))
    }

    /// Where the channels of a block of so many taps lie.
    pub(super) fn channels(&self, taps: usize) -> Offsets<'_> {
        self.channels.first(taps / self.taps.all().len())
    }

    /// What each tap of a channel meets in a block of pixels, which lies in the view from `first` on, modulo a word.
    pub(super) fn each(&self, pixels: &Block, first: usize) -> impl Iterator<Item = Class<'_>> {
        let walks = &self.source.walks;
        let (cut, [_, h, w]) = (self.cut, walks.map(|walk| walk.taps));
        self.taps.all().iter().enumerate().map(move |(tap, &place)| {
            let tap = [tap / (h * w), tap / w % h, tap % w];
            // The positions of an axis that the tap meets, within the block.
            let met = |axis: usize| {
                let (start, size) = (pixels.start[axis], pixels.sizes[axis]);
                let Range { start: from, end } = match axis.checked_sub(1) {
                    Some(a) => walks[a].inside(tap[a]),
                    None => start..start + size,
                };
                from.clamp(start, start + size) - start..end.clamp(start, start + size) - start
            };
            let met = [0, 1, 2, 3].map(met);
            let sizes = met.each_ref().map(|axis| axis.len());
            let len = sizes.iter().product();
            // Only where pixels are met, they have a place.
            let start = met.map(|axis| if len == 0 { 0 } else { axis.start });
            let places =
                self.pitches.map(|p| start.iter().zip(p).map(|(start, p)| start * p).sum());
            let [of_view, of_panel]: [usize; 2] = places;
            let within = |axis: usize| if axis > cut { sizes[axis] } else { self.run[axis] };
            let k = self.k.of([1, 2, 3].map(within));
            Class {
                first: [first.wrapping_add(place as usize + of_view), of_panel],
                k: k.each_ref().map(|table| table.first(len)),
            }
        })
    }
}
