//! [`multiply`](super::multiply) for kernels that pack_b: the lanes of a panel are first copied side
//! by side, so that no tile reads a step of b nor makes an address of it, and where the destination
//! lets it a tile is summed in its place.
//!
//! What is left beside the products was counted on aarch64 (docs/counts.md): that is the order of
//! the loops. Each part of a panel is copied for up to [`ROWS`] rows at once, and one job is changed from
//! tile to tile.

use super::grid::Offsets;
use super::operands::{Aligned, End, Left, Panel, Right, SUMS, biases, store};
use super::target::CBlock;
use crate::element::Element;
use crate::kernel::{Epilogue, Kernel, Multiply, PackB, PackedB, are_consecutive};
use crate::numerics::KC;
use core::mem::MaybeUninit;

/// Rows that meet one part of a panel before the next part; fewer where their sums would be more than [`SUMS`].
const ROWS: usize = 192;

/// Rows that a block should have, where there are so many: copying a panel then costs little beside the products. Also
/// panels that are read as they lie come from the L2 cache for each block anew.
pub(crate) const ROWS_OF_BLOCK: usize = 96;

/// Bytes of the part of a panel that is copied at once: half of a L1 cache of 48 KiB.
const PART: usize = 24 << 10;

/// Terms up to which [`PackedB::fewest`] is the first of its two.
const FEW_TERMS: usize = 256;

/// Tiles of rows from which on panels of so large a k are copied.
pub(crate) fn fewest<T>(packed_b: &PackedB<T>, k: usize) -> usize {
    packed_b.fewest[usize::from(k > FEW_TERMS)]
}

/// What copies the panels of this product, if it would be faster with them copied; `beside_a` is that of
/// the left operand.
pub(super) fn pays<'a, T>(
    kernel: &'a Kernel<T>,
    left: &Left<'_, T>,
    right: &Right<'_, T>,
    beside_a: bool,
) -> Option<&'a PackedB<T>> {
    let pays = |packed_b: &&PackedB<T>| {
        let fewest = fewest(packed_b, left.k.all().len());
        let many = left.weighed.div_ceil(kernel.rows) >= fewest;
        right.panel_pitch.is_none() && many && (!packed_b.by_lane || beside_a)
    };
    kernel.packed_b.as_ref().filter(pays)
}

/// Whether the kernel asks for it, and each step is one more than the one before it.
pub(super) fn beside<T>(kernel: &Kernel<T>, steps: &[u32]) -> bool {
    let asked = kernel.packed_b.as_ref().is_some_and(|packed_b| packed_b.by_lane);
    asked && are_consecutive(steps)
}

/// Elements between neighbouring rows, if they are the same between all.
pub(super) fn even_pitch(offsets: &[u32]) -> Option<usize> {
    let pitch = |pair: &[u32]| (pair[1] - pair[0]) as usize;
    let first = offsets.get(..2).map_or(0, pitch);
    offsets.windows(2).all(|pair| pitch(pair) == first).then_some(first)
}

/// Fills `c`, in `panels` panels.
///
/// # Safety
/// The machine has the ISA of the kernel, whose `packed_b` this is, and which [`pays`] for these
/// operands. Every row and step of `left` is within its data, and for each panel so is every vector
/// and step of `right`. Biases have an element for each lane or row of the block.
pub(super) unsafe fn multiply<T: Element>(
    kernel: &Kernel<T>,
    packed_b: &PackedB<T>,
    c: &mut CBlock<'_, T>,
    left: Left<'_, T>,
    right: Right<'_, T>,
    epilogue: Epilogue<'_, T>,
    (panels, end): (usize, End),
) {
    let PackedB { pack_b, by_lane, rows_of_one, .. } = *packed_b;
    let together = ROWS.min(SUMS / kernel.lanes);
    let part = KC.min(PART / (kernel.lanes * size_of::<T>()));
    assert!(together > 0 && part > 0);
    let (rows, lanes) = (c.row_count(), c.columns().len);
    let mut sums = MaybeUninit::<Aligned<[T; SUMS]>>::uninit();
    let mut packed = MaybeUninit::<Aligned<[u8; PART]>>::uninit();
    let (sums, packed) = (sums.as_mut_ptr().cast::<T>(), packed.as_mut_ptr().cast::<T>());
    let (biased, [row_bias, lane_bias]) = (epilogue.bias.is_some(), biases(&epilogue));
    let [row_steps, steps_a, steps_b] = [left.rows, left.k, right.k].map(Offsets::all);
    let chunks = steps_a.len().div_ceil(part);
    // A sum is made in its place if it is stored as it is made, and added to what was there only
    // once.
    let in_place = c.column_pitch() == 1
        && c.is_even()
        && epilogue.clamp.is_none()
        && epilogue.residual.is_none()
        && (!epilogue.accumulate || (chunks == 1 && !biased));
    let pitch = even_pitch(c.row_offsets()).filter(|_| in_place);
    for first_row in (0..rows).step_by(together) {
        let count = together.min(rows - first_row);
        let offsets = &c.row_offsets()[first_row..][..count];
        let rows = &row_steps[first_row..][..count];
        for panel in 0..panels {
            let panel = Panel::new(kernel, &right, lanes, panel, end);
            let Panel { from, vectors, skip, first, width } = panel;
            let computed = vectors * kernel.vector;
            // The tiles' rows are as even as may be.
            let most = if vectors == 1 { rows_of_one } else { kernel.rows };
            let height = count.div_ceil(count.div_ceil(most));
            let start = c.start().wrapping_add(c.column_place(first));
            // Lanes before those wanted are some that were done, and become what they were; or another's.
            let done = skip <= first && !epilogue.accumulate;
            let own = skip + width == computed && (skip == 0 || done);
            let (tile, tile_pitch) = match pitch.filter(|_| own) {
                Some(pitch) => (start.wrapping_add(offsets[0] as usize).wrapping_sub(skip), pitch),
                None => (sums, computed),
            };
            let in_place = tile != sums;
            if biased {
                for r in 0..count {
                    let of_row = row_bias.map_or(T::ZERO, |bias| bias[first_row + r]);
                    for lane in 0..computed {
                        let wanted = lane.wrapping_sub(skip);
                        let bias = match lane_bias {
                            Some(bias) if in_place => bias[first + lane - skip],
                            Some(bias) if wanted < width => bias[first + wanted],
                            _ => of_row,
                        };
                        // SAFETY: the tile has `count` rows of `computed` lanes, which are ours:
                        // those of `sums`, or lanes of the block's rows.
                        unsafe { tile.add(r * tile_pitch + lane).write(bias) };
                    }
                }
            }
            let both = steps_a.chunks(part).zip(steps_b.chunks(part));
            let first_taken = chunks.max(1) - 1;
            for (chunk, (steps_a, steps_b)) in both.enumerate() {
                let k = steps_a.len();
                let data = &right.data[from..];
                // SAFETY: the caller vouches for these vectors at every step. `packed` has room
                // for `part` vectors of k of a panel.
                unsafe {
                    pack_b(&PackB {
                        from: data.as_ptr(),
                        steps: steps_b.as_ptr(),
                        k,
                        vectors,
                        to: packed,
                    });
                }
                let mut job = Multiply {
                    vectors,
                    a: left.data.as_ptr(),
                    steps_a: steps_a.as_ptr(),
                    beside_a: by_lane,
                    b: packed,
                    steps_b: steps_b.as_ptr(),
                    packed_b: true,
                    k,
                    tile_pitch,
                    accumulate: chunk > 0 || biased || (in_place && epilogue.accumulate),
                    prefetch: tile,
                    prefetch_pitch: tile_pitch,
                    ..Multiply::IDLE
                };
                for row in (0..count).step_by(height) {
                    job.count = height.min(count - row);
                    job.rows = rows[row..].as_ptr();
                    job.tile = tile.wrapping_add(row * tile_pitch);
                    // The lines of the destination are fetched while the first sums are made.
                    if in_place && chunk == 0 {
                        (job.prefetch, job.prefetch_lines) = (job.tile, job.count);
                    } else if !in_place && c.column_pitch() == 1 && first_taken == chunk {
                        let next = offsets[(row + 1).min(count - 1)];
                        job.prefetch = start.wrapping_add(offsets[row] as usize);
                        job.prefetch_pitch = (next - offsets[row]) as usize;
                        job.prefetch_lines = job.count;
                    }
                    // SAFETY: the caller vouches for the ISA, for `count` rows and for all of
                    // their products, side by side if the kernel asks for that; b was packed. The rows of the tile
                    // are ours, and were written before they are accumulated to.
                    unsafe { (kernel.multiply)(&job) };
                }
            }
            if !in_place {
                // SAFETY: `sums` has `skip + width` lanes in each row, all of them summed.
                unsafe { store(kernel, c, &panel, (sums, tile_pitch), offsets, &epilogue) };
            }
        }
    }
}
