//! Which taps meet nothing but padding: they are left out.
//!
//! The outputs in the first row of a padded 3x3 layer meet two rows of taps, not three; with a
//! large dilation most outputs meet one or two. So an axis is cut into stretches of outputs that
//! meet the same taps, where enough is saved, and each stretch multiplies its own taps only.

use crate::error::Error;
use crate::gemm::ROWS;
use crate::gemm::grid::{Grid, Offsets, Run, Table};
use crate::patches::{Source, Walk};
use crate::scratch::room;
use crate::shape::Layout;
use alloc::vec::Vec;
use core::ops::Range;

/// Taps of an axis that is worth a look: each may begin two stretches.
const MOST_TAPS: usize = 8;

/// The cheapest cut has to save one part in so many: tables grow with it.
const SAVED: f64 = 1.0 / 50.0;

/// Terms of all bands that a plan may have for one product.
const MOST_TERMS: f64 = 262144.0;

/// Multiplications for each term of all bands: making a plan takes less than 5 % of a pass (0.6 ns for a
/// term in both passes' tables, 0.02 ns for a multiplication).
const WORTH: f64 = 1000.0;

/// A tile with fewer rows takes as long as one with these: its sums wait for themselves, or for the
/// weights where those of a panel have more than so many terms and come from beyond the L2 cache.
const LOW: f64 = 6.0;
const LOW_AFAR: f64 = 16.0;
const NEAR: f64 = 2048.0;

/// Cycles that it takes to multiply a band at all.
const CALL: f64 = 400.0;

/// Cycles that a row of a tile takes more to be stored where columns are cut: its neighbours aren't the
/// pixel's.
const GAPS: f64 = 17.0;

/// Outputs of an axis that meet the same taps.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stretch {
    outputs: Range<usize>,
    taps: Range<usize>,
}

/// The stretches of the three axes, and the tables of terms where they meet.
#[derive(Debug, Clone)]
pub(super) struct Bands {
    planes: Vec<Stretch>,
    rows: Vec<Stretch>,
    columns: Vec<Stretch>,
    /// For each stretch of planes those of rows, and for each of these those of columns.
    tables: Vec<Terms>,
    /// Taps of a channel.
    taps: usize,
}

/// The taps of stretches that meet, in the order of the layout: where the first of them lies in both operands, and all of
/// them from there on.
#[derive(Debug, Clone)]
struct Terms {
    first: [usize; 2],
    places: [Table; 2],
    /// Taps of a channel.
    taps: usize,
}

/// How three axes are cut: into these stretches.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    axes: [Vec<Stretch>; 3],
    /// What a product costs that is cut so, beside one that isn't.
    pub(super) cost: f64,
}

impl Cut {
    /// The cheapest for a view, to so many channels, `pixels` of which are multiplied in one go by a
    /// kernel with so many rows. Bands with fewer pixels than rows fill no tile, so cutting may cost more
    /// than it saves.
    pub(super) fn best(
        source: &Source,
        outputs: usize,
        pixels: usize,
        rows: usize,
    ) -> Result<Self, Error> {
        let &Source { batch, channels, ref walks, .. } = source;
        let [d, h, w] = walks;
        let all = walks.iter().map(|walk| walk.outputs as f64).product::<f64>();
        let work = batch as f64 * all * outputs as f64;
        let cut = [stretches(d)?, stretches(h)?, stretches(w)?];
        let images = pixels as f64 / all;
        let channels = channels as f64;
        let taps = walks.iter().map(|walk| walk.taps as f64).product::<f64>();
        let low = if channels * taps > NEAR { LOW_AFAR } else { LOW };
        let cost = |axes: [&[Stretch]; 3]| {
            let [planes, rows_of, columns] = axes;
            let gaps = if columns.len() > 1 { GAPS } else { 0.0 };
            let mut sum = gaps / channels * pixels as f64;
            for plane in planes {
                for row in rows_of {
                    let (outputs, taps) = (plane.area(row), plane.taps_with(row));
                    for column in columns {
                        let count = images * outputs * column.outputs.len() as f64;
                        let tiles = (count as usize).div_ceil(rows).max(1) as f64;
                        let height = tiles * (count / tiles).max(low);
                        sum += taps * column.taps.len() as f64 * height + CALL / channels;
                    }
                }
            }
            sum
        };
        let uncut = [whole(d), whole(h), whole(w)];
        let base = cost([&uncut[0..1], &uncut[1..2], &uncut[2..3]]);
        let (mut best, mut least) = ([false; 3], base * (1.0 - SAVED));
        for choice in 1..8 {
            let chosen = [choice & 1 > 0, choice & 2 > 0, choice & 4 > 0];
            let axis = |a: usize| if chosen[a] { &cut[a] } else { &uncut[a..a + 1] };
            let axes = [axis(0), axis(1), axis(2)];
            let of_axis = |axis: &[Stretch]| axis.iter().map(|s| s.taps.len() as f64).sum::<f64>();
            let of_all = axes.into_iter().map(of_axis).product::<f64>();
            if (0..3).any(|a| chosen[a] && cut[a].len() == 1)
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
        let cost = if best == [false; 3] { 1.0 } else { least / base };
        let mut axes = cut;
        for ((axis, whole), chosen) in axes.iter_mut().zip(uncut).zip(best) {
            if !chosen {
                axis.clear();
                axis.push(whole);
            }
        }
        Ok(Self { axes, cost })
    }

    /// Whether it leaves out every tap that meets padding.
    pub(super) fn is_inside(&self, source: &Source) -> bool {
        let inside = |(walk, axis): (&Walk, &Vec<Stretch>)| axis.len() > 1 || walk.is_inside();
        source.walks.iter().zip(&self.axes).all(inside)
    }

    /// Whether runs of these taps can be cut so, and are.
    pub(super) fn is_taken(&self, source: &Source, taps: &Grid) -> bool {
        let all = source.walks.map(|walk| walk.taps);
        // A run of taps that hasn't all of a channel's has other rows; channels last, so has one of some
        // channels.
        let whole = match (source.layout, taps.run_sizes()) {
            (Layout::ChannelsFirst, [_, kernel @ ..]) => kernel == all,
            (Layout::ChannelsLast, run) => run == source.tap_sizes(),
        };
        whole && self.axes.iter().any(|axis| axis.len() > 1)
    }
}

impl Stretch {
    fn area(&self, other: &Stretch) -> f64 {
        self.outputs.len() as f64 * other.outputs.len() as f64
    }

    fn taps_with(&self, other: &Stretch) -> f64 {
        self.taps.len() as f64 * other.taps.len() as f64
    }
}

impl Bands {
    /// The bands of a cut that [is taken](Cut::is_taken); `taps` and `weights` are the grids that a whole product
    /// of the view multiplies.
    pub(super) fn new(
        cut: Cut,
        source: &Source,
        taps: &Grid,
        weights: &Grid,
    ) -> Result<Self, Error> {
        let [planes, rows, columns] = cut.axes;
        let count = planes.len() * rows.len() * columns.len();
        let pairs = planes.iter().flat_map(|plane| rows.iter().map(move |row| (plane, row)));
        let triples =
            pairs.flat_map(|(plane, row)| columns.iter().map(move |column| [plane, row, column]));
        let mut tables = room(count)?;
        for stretches in triples {
            let met = stretches.map(|stretch| stretch.taps.clone());
            let channels = source.split_layout(taps.run_sizes()).0;
            let sizes = source.by_layout(channels, met.each_ref().map(|taps| taps.len()));
            let start = source.by_layout(0, met.each_ref().map(|taps| taps.start));
            let place = |grid: &Grid| grid.place(start);
            let table = |grid: &Grid| Table::of_box(sizes, grid.pitches());
            tables.push(Terms {
                first: [place(taps), place(weights)],
                places: [table(taps)?, table(weights)?],
                taps: met.iter().map(|taps| taps.len()).product(),
            });
        }
        let taps = source.walks.map(|walk| walk.taps).iter().product();
        Ok(Self { planes, rows, columns, tables, taps })
    }

    /// Whether the rows are cut, and the columns: whether padding between them is never read.
    pub(super) fn unread(&self) -> [bool; 2] {
        [self.rows.len() > 1, self.columns.len() > 1]
    }

    /// Calls `multiply` for the pixels of a run that meet the same taps, some [`ROWS`] at a time:
    /// their numbers within the run, where the first tap of the run that they meet lies in both operands, and where
    /// from there on all of the first `taps` lie that they meet. Pixels come in multiples of `step`, but for the last of each kind.
    pub(super) fn for_each(
        &self,
        pixels: &Run,
        taps: usize,
        step: usize,
        mut multiply: impl FnMut(&[u32], [usize; 2], [Offsets<'_>; 2]),
    ) {
        let [images, depths, height, width] = pixels.sizes;
        let [_, front, top, left] = pixels.start;
        let channels = taps / self.taps;
        let within = |stretch: &Stretch, first: usize, len: usize| {
            let Range { start, end } = stretch.outputs;
            start.clamp(first, first + len) - first..end.clamp(first, first + len) - first
        };
        let mut tables = self.tables.iter();
        let mut numbers = [0; ROWS];
        for plane in &self.planes {
            let planes = within(plane, front, depths);
            for row in &self.rows {
                let rows = within(row, top, height);
                for (column, terms) in self.columns.iter().zip(&mut tables) {
                    let columns = within(column, left, width);
                    let len = channels * terms.taps;
                    let place = terms.first;
                    let terms = terms.places.each_ref().map(|places| places.first(len));
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
                                    multiply(&numbers[..filled], place, terms);
                                    filled = 0;
                                }
                            }
                        }
                    }
                    if filled > 0 {
                        multiply(&numbers[..filled], place, terms);
                    }
                }
            }
        }
    }
}

/// All of an axis.
fn whole(walk: &Walk) -> Stretch {
    Stretch { outputs: 0..walk.outputs, taps: 0..walk.taps }
}

/// The stretches of one axis; a single one, of all taps, where there are too many, or an output meets
/// no tap at all.
fn stretches(walk: &Walk) -> Result<Vec<Stretch>, Error> {
    let &Walk { outputs, taps, .. } = walk;
    let mut cuts = room(2 * MOST_TAPS + 1)?;
    let mut stretches: Vec<Stretch> = room(2 * MOST_TAPS + 1)?;
    if (2..=MOST_TAPS).contains(&taps) {
        cuts.push(0);
        for tap in 0..taps {
            let inside = walk.inside(tap);
            cuts.extend([inside.start, inside.end]);
        }
        cuts.sort_unstable();
        cuts.dedup();
    }
    for (i, &start) in cuts.iter().enumerate() {
        let end = cuts.get(i + 1).copied().unwrap_or(outputs);
        // Taps that meet the image follow each other.
        let meets = |&tap: &usize| walk.inside(tap).contains(&start);
        let count = (0..taps).filter(meets).count();
        match (0..taps).find(meets) {
            _ if start >= end => {}
            Some(first) => {
                stretches.push(Stretch { outputs: start..end, taps: first..first + count });
            }
            None => {
                stretches.clear();
                break;
            }
        }
    }
    if stretches.is_empty() {
        stretches.push(whole(walk));
    }
    Ok(stretches)
}
