//! Which taps meet nothing but padding: they are left out.
//!
//! The outputs in the first row of a padded 3x3 layer meet two rows of taps, not three; with a
//! large dilation most outputs meet one or two. So an axis is cut into regions of outputs that
//! meet the same taps, where enough is saved, and each region multiplies its own taps only.

use crate::axis::{Region, Walk};
use crate::error::Error;
use crate::gemm::ROWS;
use crate::gemm::grid::{Block, Boxes, Grid, Offsets};
use crate::scratch::room;
use crate::shape::Layout;
use crate::view::source::Source;
use alloc::vec::Vec;
use core::ops::Range;

/// The cheapest cut has to save one part in so many: tables grow with it.
const SAVED: f64 = 1.0 / 50.0;

/// Terms of all regions that a plan may have for one product.
const MOST_TERMS: f64 = 262144.0;

/// Multiplications for each tap of all regions, as many taps once: making a plan takes little beside a pass.
const WORTH: f64 = 1000.0;

/// A tile with fewer rows takes as long as one with these: its sums wait for themselves, or for the
/// weights where those of a panel have more than so many taps and come from beyond the L2 cache.
const LOW: f64 = 6.0;
const LOW_AFAR: f64 = 16.0;
const NEAR: f64 = 2048.0;

/// Cycles that it takes to multiply a band at all.
const CALL: f64 = 400.0;

/// Cycles that a row of a tile takes more to be stored where columns are cut: its neighbours aren't the
/// pixel's.
const GAPS: f64 = 17.0;

/// The regions of the three axes, and the tables of taps where they meet.
#[derive(Debug, Clone)]
pub(super) struct Regions {
    axes: [Vec<Region>; 3],
    /// The taps of regions that meet, from the first of them on: where they lie in both operands.
    k: Boxes,
    /// In both, elements between neighbouring taps of each axis.
    pitches: [[usize; 3]; 2],
    /// Taps of a channel.
    taps: usize,
}

/// How three axes are cut: into these regions.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    /// None, where an axis isn't cut.
    axes: [Vec<Region>; 3],
    /// What a product costs that is cut so, beside one that isn't.
    pub(crate) cost: f64,
}

impl Cut {
    /// Nothing is cut.
    const NONE: Self = Self { axes: [const { Vec::new() }; 3], cost: 1.0 };

    /// Whether so little may be left of a product that cutting it is worth a look.
    pub(crate) fn is_worth(least: f64) -> bool {
        least <= 1.0 - SAVED
    }

    /// What a cut product of a view costs at least: that, if no tile has fewer rows than one that isn't cut.
    pub(crate) fn least(source: &Source) -> f64 {
        let met = |walk: &Walk| if walk.taps > Region::MOST_TAPS { 1.0 } else { walk.met() };
        source.walks.iter().map(met).product()
    }

    /// The cheapest for a view of as many images as it is weighed by, to so many channels, `pixels` of which are
    /// multiplied in one go by a kernel with so many rows. Regions with fewer pixels than rows fill no tile, so cutting may cost more
    /// than it saves.
    pub(crate) fn best(
        source: &Source,
        outputs: usize,
        pixels: usize,
        rows: usize,
    ) -> Result<Self, Error> {
        let &Source { weighed: batch, channels, ref walks, .. } = source;
        if !Self::is_worth(Self::least(source)) {
            return Ok(Self::NONE);
        }
        // The rows of a kernel, and the pixels of a block, are few.
        let rows = rows as u32;
        let [d, h, w] = walks;
        let all = walks.iter().map(|walk| walk.outputs as f64).product::<f64>();
        let work = batch as f64 * all * outputs as f64;
        let mut cut = [d.regions()?, h.regions()?, w.regions()?];
        let images = pixels as f64 / all;
        let channels = channels as f64;
        let taps = walks.iter().map(|walk| walk.taps as f64).product::<f64>();
        let low = if channels * taps > NEAR { LOW_AFAR } else { LOW };
        let cost = |axes: [&[Region]; 3]| {
            let [planes, rows_of, columns] = axes;
            let gaps = if columns.len() > 1 { GAPS } else { 0.0 };
            let mut sum = gaps / channels * pixels as f64;
            for plane in planes {
                for row in rows_of {
                    let outputs = plane.outputs.len() as f64 * row.outputs.len() as f64;
                    let taps = plane.taps.len() as f64 * row.taps.len() as f64;
                    for column in columns {
                        let count = images * outputs * column.outputs.len() as f64;
                        let tiles = (count as u32).div_ceil(rows).max(1);
                        let height = count.max(f64::from(tiles) * low);
                        sum += taps * column.taps.len() as f64 * height + CALL / channels;
                    }
                }
            }
            sum
        };
        let uncut = [d.all(), h.all(), w.all()];
        let base = cost([&uncut[0..1], &uncut[1..2], &uncut[2..3]]);
        let (mut best, mut least) = ([false; 3], base * (1.0 - SAVED));
        for choice in 1..8 {
            let chosen = [choice & 1 > 0, choice & 2 > 0, choice & 4 > 0];
            let axis = |a: usize| if chosen[a] { &cut[a] } else { &uncut[a..a + 1] };
            let axes = [axis(0), axis(1), axis(2)];
            let of_all = axes.into_iter().map(lengths).product::<f64>();
            if (0..3).any(|a| chosen[a] && cut[a].is_empty())
                || of_all * channels > MOST_TERMS
                || of_all * WORTH > work * taps
            {
                continue;
            }
            let cost = cost(axes);
            if cost < least {
                (best, least) = (chosen, cost);
            }
        }
        if best == [false; 3] {
            return Ok(Self::NONE);
        }
        for (axis, _) in cut.iter_mut().zip(best).filter(|(_, chosen)| !chosen) {
            axis.clear();
        }
        Ok(Self { axes: cut, cost: least / base })
    }

    /// Whether it leaves out every tap that meets padding.
    pub(crate) fn is_inside(&self, source: &Source) -> bool {
        let inside = |(walk, axis): (&Walk, &Vec<Region>)| !axis.is_empty() || walk.is_inside();
        source.walks.iter().zip(&self.axes).all(inside)
    }

    /// Whether the rows are cut, and the columns: whether padding between them is never read.
    pub(super) fn unread(&self) -> [bool; 2] {
        [1, 2].map(|axis| !self.axes[axis].is_empty())
    }

    /// Whether blocks of these taps can be cut so, and are.
    pub(super) fn is_taken(&self, source: &Source, taps: &Grid) -> bool {
        let all = source.walks.map(|walk| walk.taps);
        // A block of taps that hasn't all of a channel's has other rows; channels last, so has one of some
        // channels.
        let whole = match (source.layout, taps.block_sizes()) {
            (Layout::ChannelsFirst, [_, kernel @ ..]) => kernel == all,
            (Layout::ChannelsLast, run) => run == source.tap_sizes(),
        };
        whole && !self.axes.iter().all(Vec::is_empty)
    }
}

/// Taps of an axis' regions, those of as many once.
fn lengths(axis: &[Region]) -> f64 {
    let is_first = |&(i, region): &(usize, &Region)| {
        axis[..i].iter().all(|before| before.taps.len() != region.taps.len())
    };
    axis.iter().enumerate().filter(is_first).map(|(_, region)| region.taps.len() as f64).sum()
}

impl Regions {
    /// The regions of a cut that [is taken](Cut::is_taken); `taps` and `weights` are the grids that a whole product
    /// of the view multiplies.
    pub(super) fn new(
        cut: Cut,
        source: &Source,
        taps: &Grid,
        weights: &Grid,
    ) -> Result<Self, Error> {
        let Cut { mut axes, .. } = cut;
        let mut lens = [const { Vec::new() }; 3];
        for ((axis, walk), lens) in axes.iter_mut().zip(&source.walks).zip(&mut lens) {
            if axis.is_empty() {
                *axis = room(1)?;
                axis.push(walk.all());
            }
            *lens = room(axis.len())?;
            lens.extend(axis.iter().map(|region| region.taps.len()));
        }
        let (channels, _) = source.split_layout(taps.block_sizes());
        let pitches = [taps.pitches(), weights.pitches()];
        Ok(Self {
            axes,
            k: Boxes::new(lens, pitches, |taps| source.by_layout(channels, taps))?,
            pitches: pitches.map(|pitches| source.split_layout(pitches).1),
            taps: source.walks.map(|walk| walk.taps).iter().product(),
        })
    }

    /// Calls `multiply` for the pixels of a block that meet the same taps, some [`ROWS`] at a time:
    /// their numbers within the block, where the first tap of the block that they meet lies in both operands, and where
    /// from there on all of the first `taps` lie that they meet. Pixels come in multiples of `step`, but for the last
    /// of each kind.
    pub(super) fn for_each(
        &self,
        pixels: &Block,
        taps: usize,
        step: usize,
        mut multiply: impl FnMut(&[u32], [usize; 2], [Offsets<'_>; 2]),
    ) {
        let [images, depths, height, width] = pixels.sizes;
        let [_, front, top, left] = pixels.start;
        let channels = taps / self.taps;
        let within = |region: &Region, first: usize, len: usize| {
            let Range { start, end } = region.outputs;
            start.clamp(first, first + len) - first..end.clamp(first, first + len) - first
        };
        let mut numbers = [0; ROWS];
        let [planes_of, rows_of, columns_of] = &self.axes;
        for plane in planes_of {
            let planes = within(plane, front, depths);
            for row in rows_of {
                let rows = within(row, top, height);
                for column in columns_of {
                    let columns = within(column, left, width);
                    let met = [&plane.taps, &row.taps, &column.taps];
                    let lens = met.map(|taps| taps.len());
                    let len = channels * lens.iter().product::<usize>();
                    let k = self.k.of(lens).each_ref().map(|places| places.first(len));
                    let start =
                        |pitches: &[usize; 3]| (0..3).map(|a| met[a].start * pitches[a]).sum();
                    let place = self.pitches.each_ref().map(start);
                    // As even as the steps allow.
                    let count = images * planes.len() * rows.len() * columns.len();
                    let calls = count.div_ceil(ROWS / step * step).max(1);
                    let most = count.div_ceil(calls).next_multiple_of(step);
                    let mut filled = 0;
                    for z in (0..images).flat_map(|n| planes.clone().map(move |z| n * depths + z)) {
                        for y in rows.clone() {
                            let first = (z * height + y) * width;
                            for number in first + columns.start..first + columns.end {
                                numbers[filled] = number as u32;
                                filled += 1;
                                if filled == most {
                                    multiply(&numbers[..filled], place, k);
                                    filled = 0;
                                }
                            }
                        }
                    }
                    if filled > 0 {
                        multiply(&numbers[..filled], place, k);
                    }
                }
            }
        }
    }
}
