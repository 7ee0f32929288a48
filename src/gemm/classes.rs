//! [`multiply`](super::multiply) for rows of several classes, each of which has a k of its own.
//!
//! Row `r` is of class `r % classes`. A tile has rows of one class, so that products which only others have cost it
//! nothing. Its sums are kept where its rows have their places among all, and those of all classes are written
//! together, line by line.

use super::grid::Offsets;
use super::operands::{self, Aligned, Panel, height, store};
use super::target::CBlock;
use crate::element::Element;
use crate::kernel::{Epilogue, Kernel, Multiply, reach};
use crate::numerics::{KC, SUMMED_PIXELS};
use core::mem::MaybeUninit;

#[cfg(feature = "testing")]
pub(crate) mod tests;

/// Kinds at most.
const CLASSES: usize = 32;

/// Parts of a panel at most.
const PARTS: usize = 8;

// Panels of a block of pixels that are packed for one kernel may be met by another that is half as wide.
const _: () = assert!(2 * SUMMED_PIXELS <= PARTS * KC);

/// Bytes of the sums that there is room for.
const ROOM: usize = 2 * FEW;

/// No more are kept at once if they are enough for a tile of each class: with parts of both operands, what a L1 cache
/// holds.
const FEW: usize = operands::SUMS * size_of::<f32>();

/// How much room there is for the sums of so many classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// For tile after tile of each class.
    ForAll,
    /// For one tile of each, though that is more than is good for the L1 cache.
    ForOneTile,
    /// Not even that.
    None,
}

impl Room {
    pub(crate) fn of<T>(kernel: &Kernel<T>, classes: usize) -> Self {
        let bytes = classes.saturating_mul(kernel.rows * kernel.lanes * size_of::<T>());
        if classes > CLASSES || bytes > ROOM {
            Self::None
        } else if bytes > FEW {
            Self::ForOneTile
        } else {
            Self::ForAll
        }
    }
}

/// What is summed for the rows of one class.
#[derive(Clone, Copy)]
pub(crate) struct Class<'a> {
    /// Where its first row begins in the left operand, and its k in a panel.
    pub(crate) first: [usize; 2],
    /// The offsets of k from there on, in both; those in a panel ascend.
    pub(crate) k: [Offsets<'a>; 2],
}

/// Both operands: row `r` of a class and its index `i` of k meet at `data[first + rows[r] + k[i]]`, that index and
/// lane `l` of panel `p` at `panels[p * panel_pitch + first + k[i] + l]`.
#[derive(Clone, Copy)]
pub(crate) struct Operands<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) rows: Offsets<'a>,
    pub(crate) panels: &'a [T],
    pub(crate) panel_pitch: usize,
}

/// Fills `c` with the products of all classes, or adds them to it.
///
/// # Panics
/// If an operand leaves its slice, the classes have no [`Room`], or the block hasn't the rows of all: the caller's
/// tables are wrong.
pub(crate) fn multiply<'a, T: Element>(
    kernel: &Kernel<T>,
    c: &mut CBlock<'_, T>,
    operands: Operands<'_, T>,
    each: impl Iterator<Item = Class<'a>>,
    accumulate: bool,
) {
    let Operands { data, rows, panels, panel_pitch } = operands;
    let (count, lanes) = (rows.all().len(), c.columns().len);
    let part = KC * kernel.lanes;
    let parts = panel_pitch.div_ceil(part).max(1);
    assert!(parts <= PARTS && lanes > 0);
    let last_panel = reach([(lanes.div_ceil(kernel.lanes), panel_pitch)]);
    // All classes meet a part of a panel before the next part: each has so much of its k up to where it ends.
    let mut classes = [None; CLASSES];
    let mut number = 0;
    for class in each {
        let Class { first: [a, b], k: [left, right] } = class;
        let steps = right.all();
        assert!(left.all().len() == steps.len());
        if !steps.is_empty() {
            let last = a.saturating_add(rows.most()).saturating_add(left.most());
            assert!(last < data.len());
            let last = last_panel.saturating_add(b).saturating_add(right.most());
            assert!(last.saturating_add(kernel.lanes) <= panels.len());
        }
        let mut ends = [steps.len(); PARTS];
        for (index, end) in ends[..parts - 1].iter_mut().enumerate() {
            *end = steps.partition_point(|&step| b + (step as usize) < (index + 1) * part);
        }
        classes[number] = Some((class, ends));
        number += 1;
    }
    assert!(c.row_count() == count * number && Room::of(kernel, number) != Room::None);
    assert!(rows.most() < data.len());
    let height = height(count, [kernel.row_step, kernel.rows]);
    let tile_pitch = number * kernel.lanes;
    let together = (FEW / size_of::<T>() / tile_pitch / height).max(1) * height;
    let mut sums = MaybeUninit::<Aligned<[u8; ROOM]>>::uninit();
    let sums = sums.as_mut_ptr().cast::<T>();
    let epilogue = Epilogue::new(accumulate);
    let (row_steps, offsets) = (rows.all(), c.row_offsets());
    for (index, first) in (0..lanes).step_by(kernel.lanes).enumerate() {
        let width = kernel.lanes.min(lanes - first);
        let start = c.start().wrapping_add(c.column_place(first)).cast_const();
        let (from, vectors) = (index * panel_pitch, kernel.lanes / kernel.vector);
        let panel = Panel { from, vectors, skip: 0, first, width };
        // One job is changed from tile to tile.
        let mut job =
            Multiply { vectors, tile_pitch, prefetch_pitch: c.column_pitch(), ..Multiply::IDLE };
        for first_row in (0..count).step_by(together) {
            let some = together.min(count - first_row);
            let places = &offsets[first_row * number..][..some * number];
            // A tile fetches as much of each line as it is wide.
            let mut fetched = places.iter().step_by(kernel.lanes);
            for part in 0..parts {
                for (at, (class, ends)) in classes.iter().flatten().enumerate() {
                    let begin = if part == 0 { 0 } else { ends[part - 1] };
                    let k = begin..ends[part];
                    // Sums of a class without any products are zero.
                    if k.is_empty() && (begin > 0 || part + 1 < parts) {
                        continue;
                    }
                    let [a, b] = if k.is_empty() { [0; 2] } else { class.first };
                    (job.a, job.b) = (data[a..].as_ptr(), panels[from + b..].as_ptr());
                    let [steps_a, steps_b] = class.k.map(|steps| &steps.all()[k.clone()]);
                    (job.steps_a, job.steps_b) = (steps_a.as_ptr(), steps_b.as_ptr());
                    (job.k, job.accumulate) = (k.len(), begin > 0);
                    for row in (0..some).step_by(height) {
                        job.count = height.min(some - row);
                        job.rows = row_steps[first_row + row..].as_ptr();
                        job.tile = sums.wrapping_add(row * tile_pitch + at * kernel.lanes);
                        // The lines of the destination are fetched while the last sums are made.
                        let fetched = if part + 1 == parts { fetched.next() } else { None };
                        job.prefetch_lines = if fetched.is_some() { width } else { 0 };
                        job.prefetch =
                            start.wrapping_add(fetched.map_or(0, |&place| place as usize));
                        // SAFETY: having the kernel proves its ISA. The asserts above hold every row plus every step
                        // within a, and every step plus a panel within b, for a class that has products; both tables
                        // have so many. Rows `row..row + count` of all classes, and one more where a step of the
                        // kernel's rows ends with it, are fewer than `together`, or as many: `sums` has room for them.
                        // `accumulate` says that those of this class were written for an earlier part.
                        unsafe { (kernel.multiply)(&job) };
                    }
                }
            }
            // SAFETY: the sums of all classes were written, for `some` rows of each with all lanes of a panel, a row
            // after the other; `places` are those of as many rows of the block.
            unsafe { store(kernel, c, &panel, (sums, kernel.lanes), places, &epilogue) };
        }
    }
}
