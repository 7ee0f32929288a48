//! A product panel by panel of b: up to [`ROWS`] of a's rows at a time, tile after tile of which meets the same block
//! of a panel before the next block.

use super::grid::Offsets;
use super::operands::{Aligned, End, Left, Panel, ROWS, Right, SUMS, begin, height, store};
use super::target::CBlock;
use crate::element::Element;
use crate::kernel::cpu::l2;
use crate::kernel::{Epilogue, Kernel, MAX_TILE, Multiply, are_consecutive, even_pitch};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::slice;

/// Fills these panels of `c`.
///
/// # Safety
/// The machine has the ISA of the kernel. Every row and every offset of k of `left` is within its data, and so is every
/// vector of these panels, ended so, at every offset of k of `right`; both have as many, which are consecutive in
/// `left` if `beside_a`. `c` has the rows of `left`, and a bias
/// an element for each row or lane.
pub(super) unsafe fn multiply<T: Element>(
    kernel: &Kernel<T>,
    c: &mut CBlock<'_, T>,
    left: Left<'_, T>,
    right: Right<'_, T>,
    epilogue: Epilogue<'_, T>,
    (panels, end, beside_a): (Range<usize>, End, bool),
) {
    let (rows, lanes) = (c.row_count(), c.columns().len);
    let [row_steps, steps_a, steps_b] = [left.rows, left.k, right.k].map(Offsets::all);
    let neighbours = kernel.neighbours.iter().find(|[len, _]| are_neighbours(row_steps, *len));
    let height = height(rows, *neighbours.unwrap_or(&[kernel.row_step, kernel.rows]));
    // The last tile may have more rows than are wanted.
    let mut sums = MaybeUninit::<Aligned<([T; SUMS], [T; MAX_TILE])>>::uninit();
    let sums = sums.as_mut_ptr().cast::<T>();
    let column_pitch = c.column_pitch();
    let biased = epilogue.bias.is_some();
    let k = kernel.block;
    let chunks = steps_a.len().div_ceil(k).max(1);
    // Lanes that lie apart are stored in lines, which are longer than a tile has rows.
    let stored = if column_pitch == 1 { height } else { 4 * height };
    let together =
        if chunks > 1 { ROWS.min(SUMS / kernel.lanes) / height * height } else { stored };
    // A sum of one part that nothing else is done to is made in its place.
    let at_once = chunks == 1 && !biased && column_pitch == 1 && c.is_even() && epilogue.is_plain();
    // Panels that the L2 cache holds are near enough.
    let far = right.panel_pitch.is_some() && size_of_val(right.data) > l2() / 2;
    for panel in panels {
        let panel = Panel::new(kernel, &right, lanes, panel, end);
        let Panel { from, vectors, first, width, .. } = panel;
        let tile_pitch = vectors * kernel.vector;
        let start = c.start().wrapping_add(c.column_place(first));
        let offsets = c.row_offsets();
        // One job is changed from tile to tile: making it anew takes as long as 10 products.
        let mut job = Multiply {
            vectors,
            a: left.data.as_ptr(),
            neighbours: neighbours.map_or(1, |[len, _]| *len),
            beside_a,
            b: right.data[from..].as_ptr(),
            tile_pitch,
            prefetch: start,
            prefetch_pitch: column_pitch,
            ..Multiply::IDLE
        };
        for first_row in (0..rows).step_by(together) {
            let some = first_row..rows.min(first_row + together);
            let mut done = some.start;
            for chunk in 0..chunks {
                let steps = chunk * k..steps_a.len().min((chunk + 1) * k);
                job.steps_a = steps_a[steps.clone()].as_ptr();
                job.steps_b = steps_b[steps.clone()].as_ptr();
                (job.k, job.accumulate) = (steps.len(), chunk > 0 || biased);
                let fours = || steps_a[steps.clone()].chunks_exact(4).all(are_consecutive);
                job.fours_a = kernel.fours && fours();
                // The tiles of this part of b fetch the next one, each its share: else the first would wait for it.
                let next = match chunk + 1 {
                    next if next < chunks => steps_b[next * k] as usize,
                    _ if some.end == rows => right.panel_pitch.unwrap_or(0),
                    _ => 0,
                };
                let next = right.data.as_ptr().wrapping_add(from + next);
                if far {
                    job.ahead_step = kernel.lanes.div_ceil(some.len().div_ceil(height));
                }
                for (tile, row) in some.clone().step_by(height).enumerate() {
                    let count = height.min(some.end - row);
                    (job.count, job.rows) = (count, row_steps[row..].as_ptr());
                    let whole = width == tile_pitch && count.is_multiple_of(kernel.row_step);
                    let pitch = match at_once && whole {
                        true => even_pitch(&offsets[row..row + count]),
                        false => None,
                    };
                    let place = start.wrapping_add(offsets[row] as usize);
                    (job.tile, job.tile_pitch) = match pitch {
                        Some(pitch) => (place, pitch.max(tile_pitch)),
                        None => (sums.wrapping_add((row - some.start) * tile_pitch), tile_pitch),
                    };
                    job.ahead = next.wrapping_add(tile * job.ahead_step * steps.len());
                    if chunk == 0 && biased {
                        // SAFETY: from each of the `together` rows on, `sums` has `MAX_TILE` elements.
                        let tile = unsafe { slice::from_raw_parts_mut(job.tile.cast(), MAX_TILE) };
                        begin(tile, kernel.rows, &panel, tile_pitch, &epilogue, row..row + count);
                    }
                    // The lines of the destination are fetched while the last sums are made, but for whole vectors along
                    // them: those are stored without a wait, and so many lines at once would hold up the products.
                    if chunk + 1 == chunks && (column_pitch != 1 || width < tile_pitch) {
                        job.prefetch = place;
                        (job.prefetch_pitch, job.prefetch_lines) = match column_pitch {
                            1 if count > 1 => ((offsets[row + 1] - offsets[row]) as usize, count),
                            1 => (0, 1),
                            pitch => (pitch, width),
                        };
                    }
                    // SAFETY: having the kernel proves its ISA. The asserts above hold every row
                    // plus every step within a, and every step plus a panel's vectors within b;
                    // both tables have `k` entries; the tile is a part of `sums`, which has room
                    // for `together` rows and a tile more, and was written before it is accumulated to:
                    // rows of it that aren't wanted, too. Or it is `count` rows of the block with all lanes of a panel,
                    // `pitch` apart, which the block alone may write; no more rows are computed, and none is
                    // accumulated to. Where all rows have neighbours, so have those of a tile, which has whole ones.
                    unsafe { (kernel.multiply)(&job) };
                    let end = row + count;
                    if pitch.is_none()
                        && chunk + 1 == chunks
                        && (end - done >= stored || end == some.end)
                    {
                        let tile = sums.wrapping_add((done - some.start) * tile_pitch);
                        let rows = &offsets[done..end];
                        // SAFETY: these rows have `skip + width` lanes each, all of them summed.
                        unsafe { store(kernel, c, &panel, (tile, tile_pitch), rows, &epilogue) };
                        done = end;
                    }
                }
                job.prefetch_lines = 0;
            }
        }
    }
}

/// Whether `len` rows lie side by side, then as many others.
fn are_neighbours(rows: &[u32], len: usize) -> bool {
    let neighbours = rows.chunks_exact(len);
    neighbours.remainder().is_empty() && neighbours.into_iter().all(are_consecutive)
}
