//! Which taps meet nothing but padding: they are left out.
//!
//! The outputs in the first row of a padded 3x3 layer meet two rows of taps, not three; with a
//! large dilation most outputs meet one or two. So an axis is cut into stretches of outputs that
//! meet the same taps, where enough is saved, and each stretch multiplies its own taps only.

use crate::error::Error;
use crate::gemm::grid::{Grid, Run};
use crate::patches::Walk;
use crate::scratch::room;
use crate::shape::Layout;
use alloc::vec::Vec;
use core::ops::Range;

/// Taps of an axis that is worth a look: each may begin two stretches.
const MOST_TAPS: usize = 8;

/// The part of an axis' products that must be saved, in percent. Cutting rows costs more tiles with
/// fewer rows (14x14, 3x3: 4.8 % of the products, 3 % faster); cutting columns makes
/// each row of a stretch a tile of its own.
const SAVED_BY_ROWS: usize = 2;
const SAVED_BY_COLUMNS: usize = 10;

/// The narrowest image whose rows are cut: a row alone is a tile then, which has to have as many rows
/// as a multiplication takes cycles.
const NARROWEST: usize = 6;

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

/// The taps of stretches that meet, channel by channel: where they lie in both operands.
#[derive(Debug, Clone)]
struct Terms {
    left: Vec<u32>,
    right: Vec<u32>,
    /// Taps of a channel.
    taps: usize,
}

impl Bands {
    /// The stretches of these walks, where they save enough; `taps` and `weights` are the grids
    /// that a whole product multiplies.
    pub(super) fn new(
        layout: Layout,
        walks: &[Walk; 3],
        taps: &Grid,
        weights: &Grid,
    ) -> Result<Option<Self>, Error> {
        let [channels, kernel @ ..] = taps.run_sizes();
        let all = walks.map(|walk| walk.taps);
        // Channels last, a run may end within a row of taps; a run without all taps has other rows.
        if layout == Layout::ChannelsLast || kernel != all || walks[2].outputs < NARROWEST {
            return Ok(None);
        }
        let planes = stretches(&walks[0], SAVED_BY_ROWS)?;
        let rows = stretches(&walks[1], SAVED_BY_ROWS)?;
        let columns = stretches(&walks[2], SAVED_BY_COLUMNS)?;
        let pairs = planes.iter().flat_map(|plane| rows.iter().map(move |row| (plane, row)));
        let triples =
            pairs.flat_map(|(plane, row)| columns.iter().map(move |column| [plane, row, column]));
        let count = planes.len() * rows.len() * columns.len();
        if count == 1 {
            return Ok(None);
        }
        let mut tables = room(count)?;
        for stretches in triples {
            let [z, y, x] = stretches.map(|stretch| stretch.taps.clone());
            let count = z.len() * y.len() * x.len();
            let (mut left, mut right) = (room(channels * count)?, room(channels * count)?);
            for channel in 0..channels {
                for plane in z.clone() {
                    for row in y.clone() {
                        let first = ((channel * all[0] + plane) * all[1] + row) * all[2];
                        let of_row = first + x.start..first + x.end;
                        left.extend_from_slice(&taps.table()[of_row.clone()]);
                        right.extend_from_slice(&weights.table()[of_row]);
                    }
                }
            }
            tables.push(Terms { left, right, taps: count });
        }
        let taps = all.iter().product();
        Ok(Some(Self { planes, rows, columns, tables, taps }))
    }

    /// Whether the rows are cut, and the columns: whether padding between them is never read.
    pub(super) fn cut(&self) -> [bool; 2] {
        [self.rows.len() > 1, self.columns.len() > 1]
    }

    /// Calls `multiply` for each stretch of a run's pixels: their numbers within the run, and where
    /// the first `taps` taps of the run lie that they meet, in both operands.
    pub(super) fn for_each(
        &self,
        pixels: &Run,
        taps: usize,
        mut multiply: impl FnMut(Range<usize>, [&[u32]; 2]),
    ) {
        let [images, depths, height, width] = pixels.sizes;
        let [_, front, top, left] = pixels.start;
        let channels = taps / self.taps;
        let within = |stretch: &Stretch, first: usize, len: usize| {
            let Range { start, end } = stretch.outputs;
            start.clamp(first, first + len) - first..end.clamp(first, first + len) - first
        };
        let mut tables = self.tables.iter();
        for plane in &self.planes {
            let of_image = within(plane, front, depths);
            for row in &self.rows {
                let rows = within(row, top, height);
                for (column, terms) in self.columns.iter().zip(&mut tables) {
                    let columns = within(column, left, width);
                    let terms = [&terms.left, &terms.right].map(|t| &t[..channels * terms.taps]);
                    if rows.is_empty() || columns.is_empty() {
                        continue;
                    }
                    for z in (0..images).flat_map(|n| of_image.clone().map(move |z| n * depths + z))
                    {
                        let first = z * height * width;
                        if columns.len() == width {
                            // Whole rows follow each other.
                            multiply(first + rows.start * width..first + rows.end * width, terms);
                            continue;
                        }
                        for y in rows.clone() {
                            let first = first + y * width;
                            multiply(first + columns.start..first + columns.end, terms);
                        }
                    }
                }
            }
        }
    }
}

/// The stretches of one axis; a single one, of all taps, where less than `saved` percent of the
/// products is saved, or an output meets no tap at all.
fn stretches(walk: &Walk, saved: usize) -> Result<Vec<Stretch>, Error> {
    let &Walk { outputs, taps, .. } = walk;
    let whole = Stretch { outputs: 0..outputs, taps: 0..taps };
    let mut cuts = room(2 * MOST_TAPS + 1)?;
    let mut stretches: Vec<Stretch> = room(2 * MOST_TAPS)?;
    if (2..=MOST_TAPS).contains(&taps) {
        cuts.push(0);
        for tap in 0..taps {
            let inside = walk.inside(tap);
            cuts.extend([inside.start, inside.end]);
        }
        cuts.sort_unstable();
        cuts.dedup();
    }
    let mut products = 0;
    for (i, &start) in cuts.iter().enumerate() {
        let end = cuts.get(i + 1).copied().unwrap_or(outputs);
        // Taps that meet the image follow each other.
        let meets = |&tap: &usize| walk.inside(tap).contains(&start);
        let (first, count) = ((0..taps).find(meets), (0..taps).filter(meets).count());
        match (first, start < end) {
            (Some(first), true) => {
                stretches.push(Stretch { outputs: start..end, taps: first..first + count });
                products = (end - start).saturating_mul(count).saturating_add(products);
            }
            (None, true) => products = usize::MAX,
            _ => {}
        }
        if products == usize::MAX {
            break;
        }
    }
    let all = outputs.saturating_mul(taps);
    let enough = products.saturating_mul(100) <= all.saturating_mul(100 - saved);
    if stretches.is_empty() || products == usize::MAX || !enough {
        stretches.clear();
        stretches.push(whole);
    }
    Ok(stretches)
}
