//! The loops that multiply nothing: operands copied to where a product reads them fast, and tiles of sums
//! written to their places.

use super::line_of;
use crate::element::Element;
use crate::kernel::vector::{Between, MAX_LANES, Task, Vector};
use crate::kernel::{CopyRows, Pack, PackB, Store};
use core::mem::MaybeUninit;

/// Writes panels: column `col` of lane `l` goes to `to[col * step + l]`, zeros where there are
/// fewer lanes.
///
/// Lanes may lie any power of two apart, which no processor foresees: lines are fetched ahead, and
/// each is used up for all lanes before the next, as few of them fit one set of the L1 cache.
///
/// # Safety
/// As [`Pack`].
#[inline(always)]
pub(in crate::kernel) unsafe fn pack<V: Vector<Element: Element>>(job: &Pack<V::Element>) {
    const LINES_AHEAD: usize = 4;
    const BLOCKS_AHEAD: usize = 2;
    /// This part of a vector's columns is copied one by one.
    const FEW: usize = 8;
    const { V::FITS };
    let zeros = [V::Element::ZERO; MAX_LANES];
    let line = line_of::<V>();
    let ahead = match job.cols {
        cols if cols > line => LINES_AHEAD * line,
        _ => job.block_pitch.wrapping_mul(BLOCKS_AHEAD),
    };
    let mut rows = [job.from; 4 * MAX_LANES];
    for (lane, row) in rows[..job.lanes].iter_mut().enumerate() {
        *row = job.from.wrapping_add(lane * job.column_pitch);
    }
    // They stay in memory: the compiler would step each of them by itself, on the stack.
    let rows = core::hint::black_box(&rows);
    for block in 0..job.blocks {
        for start in (0..job.cols).step_by(line) {
            let end = job.cols.min(start + line);
            let at = block * job.block_pitch + start;
            for row in &rows[..job.lanes] {
                // SAFETY: what is fetched need not be good.
                unsafe { V::prefetch(row.wrapping_add(at.wrapping_add(ahead))) };
            }
            for first in (0..job.width).step_by(V::LANES) {
                let lanes = job.lanes.saturating_sub(first).min(V::LANES);
                let rows = &rows[first..][..V::LANES];
                // SAFETY: every lane that exists has `cols` elements in each block, and there are
                // `LANES` zeros for the others; the rows written are the caller's.
                unsafe {
                    let to = job.to.offset(block as isize * job.to_block).add(first);
                    for col in (start..end).step_by(V::LANES) {
                        let width = (end - col).min(V::LANES);
                        let at = block * job.block_pitch + col;
                        let to = to.offset(col as isize * job.step);
                        if lanes == V::LANES && width == V::LANES {
                            V::transpose(|lane| rows[lane].add(at), V::LANES, to, job.step);
                        } else if width * FEW <= V::LANES {
                            for c in 0..width {
                                let to = to.offset(c as isize * job.step);
                                for lane in 0..lanes {
                                    *to.add(lane) = *rows[lane].add(at + c);
                                }
                                for lane in lanes..V::LANES {
                                    *to.add(lane) = V::Element::ZERO;
                                }
                            }
                        } else {
                            let row = |lane: usize| match lane < lanes {
                                true => rows[lane].add(at),
                                false => zeros.as_ptr(),
                            };
                            V::transpose(row, width, to, job.step);
                        }
                    }
                }
            }
        }
    }
}

/// Copies a panel, term after term.
///
/// # Safety
/// As [`PackB`].
#[inline(always)]
pub(in crate::kernel) unsafe fn pack_b<V: Vector>(job: &PackB<V::Element>) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        match job.vectors {
            1 => pack_b_vectors::<V, 1>(job),
            2 => pack_b_vectors::<V, 2>(job),
            3 => pack_b_vectors::<V, 3>(job),
            _ => pack_b_vectors::<V, 4>(job),
        }
    }
}

/// # Safety
/// As [`PackB`], of `N` vectors.
#[inline(always)]
unsafe fn pack_b_vectors<V: Vector, const N: usize>(job: &PackB<V::Element>) {
    let &PackB { from, steps, k, to, .. } = job;
    let copy = |term: usize, step: u32| {
        // SAFETY: the caller vouches for `N` vectors at this step, and for room for those of all
        // terms.
        unsafe {
            let from = from.add(step as usize);
            let vectors: [V; N] = core::array::from_fn(|v| V::load(from.add(v * V::LANES)));
            // The last vector of the next panel: its line is the only one that nothing has fetched.
            V::prefetch(from.wrapping_add(2 * N * V::LANES - 1));
            for v in 0..N {
                vectors[v].store(to.add((term * N + v) * V::LANES));
            }
        }
    };
    let whole = k - k % 4;
    for first in (0..whole).step_by(4) {
        // Read before anything is written, these are two instructions: 6 in all for a term of four
        // vectors, 8 one by one.
        // SAFETY: the caller vouches for a step for each term.
        let some = unsafe { steps.add(first).cast::<[u32; 4]>().read() };
        for i in 0..4 {
            copy(first + i, some[i]);
        }
    }
    for term in whole..k {
        // SAFETY: as above.
        copy(term, unsafe { *steps.add(term) });
    }
}

/// Copies rows with zeros round them, vector by vector: the lanes of a mask outside the elements
/// taken are the zeros.
///
/// # Safety
/// As [`CopyRows`].
#[inline(always)]
pub(in crate::kernel) unsafe fn copy_rows<V: Vector<Element: Element>>(job: &CopyRows<V::Element>) {
    let together = job.from_pitch == job.to_pitch && job.len == job.to_pitch;
    // SAFETY: the caller vouches for the job.
    unsafe {
        match job.step {
            1 if together && job.taken > 0 && job.count > 1 => copy_together::<V>(job),
            1 if job.taken >= V::ROW => copy_stepped::<V, 1>(job),
            // The last of them has nothing after it.
            2 if job.taken > V::ROW => copy_stepped::<V, 2>(job),
            _ => copy_apart(job),
        }
    }
}

/// Rows that follow each other without a gap, on both sides: one copy, and then the zeros, over
/// what the copy took from the ends of the rows beside.
///
/// # Safety
/// As [`CopyRows`], with so many elements between rows as a row has.
#[inline(always)]
unsafe fn copy_together<V: Vector<Element: Element>>(job: &CopyRows<V::Element>) {
    let &CopyRows { from, to, count, before, taken, len, next, .. } = job;
    let all = (count - 1) * len + taken;
    // SAFETY: from the first element of the first row to the last of the last all lie in `from` and,
    // `before` further on, in the rows of `to`. Column after column: a loop along a row would be
    // compiled to a call.
    unsafe {
        if next > 0 {
            for at in (0..all).step_by(line_of::<V>()) {
                V::prefetch(from.wrapping_add(at).wrapping_add(next));
            }
        }
        to.add(before).copy_from_nonoverlapping(from, all);
        for i in (0..before).chain(before + taken..len) {
            for row in 0..count {
                *to.add(row * len + i) = V::Element::ZERO;
            }
        }
    }
}

/// Elements further apart than vectors can be put together from: one at a time.
///
/// # Safety
/// As [`CopyRows`].
#[inline(always)]
unsafe fn copy_apart<T: Element>(job: &CopyRows<T>) {
    let &CopyRows { from, from_pitch, to, to_pitch, count, before, taken, len, step, .. } = job;
    for row in 0..count {
        let (from, to) =
            (from.wrapping_add(row.wrapping_mul(from_pitch)), to.wrapping_add(row * to_pitch));
        // SAFETY: the caller vouches for `taken` elements of the row, and for all that it has in `to`.
        unsafe {
            for i in 0..before {
                *to.add(i) = T::ZERO;
            }
            for i in 0..taken {
                *to.add(before + i) = *from.add(i * step);
            }
            for i in before + taken..len {
                *to.add(i) = T::ZERO;
            }
        }
    }
}

/// # Safety
/// As [`CopyRows`], whose step is `STEP`, 1 or 2.
#[inline(always)]
unsafe fn copy_stepped<V: Vector, const STEP: usize>(job: &CopyRows<V::Element>) {
    // Rows that share a mask before the next: so many that they stay in the L1 cache.
    const BLOCK: usize = 16;
    let &CopyRows { from, from_pitch, to, to_pitch, count, before, taken, len, step, next } = job;
    for first in (0..count).step_by(BLOCK) {
        let rows = first..count.min(first + BLOCK);
        for at in (0..len).step_by(V::LANES) {
            let lanes = V::LANES.min(len - at);
            let low = before.saturating_sub(at).min(V::LANES);
            let high = (before + taken).saturating_sub(at).min(V::LANES);
            // Lane 0 may lie before the row, or past it: only lanes from low to high are read.
            let from = from.wrapping_add(at.wrapping_sub(before).wrapping_mul(step));
            // SAFETY: lanes from `low` to `high` are elements taken, and the first `lanes` of the
            // vector lie within the row's `len` elements.
            unsafe {
                let row = before as isize - at as isize;
                let row = row * STEP as isize..(row + taken as isize - 1) * STEP as isize + 1;
                let mask = V::mask(Between { step, low, high }, row);
                let to = to.add(at);
                if STEP == 1 && low == 0 && high == V::LANES {
                    for r in rows.clone() {
                        let from = from.wrapping_add(r.wrapping_mul(from_pitch));
                        V::prefetch(from.wrapping_add(next));
                        V::load(from).store(to.add(r * to_pitch));
                    }
                } else {
                    for r in rows.clone() {
                        let row = from.wrapping_add(r.wrapping_mul(from_pitch));
                        let row = V::load_masked::<STEP>(row, mask);
                        row.store_first(to.add(r * to_pitch), lanes);
                    }
                }
            }
        }
    }
}

/// Writes a finished tile to its place in c: straight, woven or transposed, clamped if asked.
///
/// # Safety
/// As [`Store`].
#[inline(always)]
pub(in crate::kernel) unsafe fn store<V: Vector<Element: Element>>(job: &Store<'_, V::Element>) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        match job.lane_stride {
            1 => store_straight::<V>(job),
            _ => V::outlined(StoreApart::<V>(job)),
        }
    }
}

/// A [`store`] of lanes that lie apart.
struct StoreApart<'a, V: Vector>(&'a Store<'a, V::Element>);

impl<V: Vector<Element: Element>> Task for StoreApart<'_, V> {
    #[inline(always)]
    unsafe fn run(self) {
        let job = self.0;
        // SAFETY: the caller vouches for the job, of which no more rows are woven than it has; woven are lanes that lie
        // as far apart as is said here.
        unsafe {
            let woven = match job.lane_stride {
                2 => store_woven::<V, 2>(job),
                4 => store_woven::<V, 4>(job),
                _ => 0,
            };
            store_across::<V>(job, woven);
        }
    }
}

/// Lanes that lie side by side.
///
/// # Safety
/// As [`Store`], whose lane stride is 1.
#[inline(always)]
unsafe fn store_straight<V: Vector<Element: Element>>(job: &Store<'_, V::Element>) {
    let width = job.tile_pitch;
    // SAFETY: the caller vouches for `rows * lanes` elements of c at the offsets given and for
    // `rows` rows of the tile; masked reads and writes stay within the lanes counted.
    unsafe {
        // A copy: what is stored doesn't change it.
        let epilogue = *job.epilogue;
        let whole = if epilogue.is_plain() { job.lanes - job.lanes % V::LANES } else { 0 };
        for r in 0..job.rows {
            let c = job.c.add(*job.row_offsets.add(r) as usize);
            for first in (0..whole).step_by(V::LANES) {
                V::load(job.tile.add(r * width + first)).store(c.add(first));
            }
            for first in (whole..job.lanes).step_by(V::LANES) {
                let count = (job.lanes - first).min(V::LANES);
                let sum = V::load_first(job.tile.add(r * width + first), count);
                epilogue.of(sum, c.add(first), count).store_first(c.add(first), count);
            }
        }
    }
}

/// Writes rows that fill the gaps between each other's lanes, `N` at a time, up to the first that don't; says how many.
///
/// # Safety
/// As [`Store`], whose lane stride is `N`: 2 or 4.
#[inline(always)]
unsafe fn store_woven<V: Vector<Element: Element>, const N: usize>(
    job: &Store<'_, V::Element>,
) -> usize {
    let mut r = 0;
    // SAFETY: the caller vouches for `rows * lanes` elements of c at the offsets given and for `rows` rows of the
    // tile. Of `N` rows at consecutive offsets whose lanes are `N` apart they are `N * lanes` elements side by side;
    // masked reads and writes stay within these.
    unsafe {
        let epilogue = *job.epilogue;
        while r + N <= job.rows {
            let offsets = job.row_offsets.add(r);
            if (*offsets.add(N - 1) - *offsets) as usize != N - 1 {
                break;
            }
            let c = job.c.add(*offsets as usize);
            for first in (0..job.lanes).step_by(V::LANES) {
                let lanes = (job.lanes - first).min(V::LANES);
                let row =
                    |i: usize| V::load_first(job.tile.add((r + i) * job.tile_pitch + first), lanes);
                let [a, b] = row(0).interleave(row(N / 2));
                let mut woven = [a, b, a, b];
                if N == 4 {
                    let [c, d] = row(1).interleave(row(3));
                    let ([a, c], [b, d]) = (a.interleave(c), b.interleave(d));
                    woven = [a, c, b, d];
                }
                for (part, &sum) in woven[..N].iter().enumerate() {
                    let done = part * V::LANES;
                    if done >= N * lanes {
                        break;
                    }
                    let (c, count) = (c.add(N * first + done), (N * lanes - done).min(V::LANES));
                    epilogue.of(sum, c, count).store_first(c, count);
                }
            }
            r += N;
        }
    }
    r
}

/// Writes the rows from `r` on of lanes that lie apart: transposed where rows lie closer together.
///
/// # Safety
/// As [`Store`], which has `r` rows.
#[inline(always)]
unsafe fn store_across<V: Vector<Element: Element>>(job: &Store<'_, V::Element>, mut r: usize) {
    let width = job.tile_pitch;
    if r == job.rows {
        return;
    }
    // SAFETY: the caller vouches for `rows * lanes` elements of c at the offsets given and for
    // `rows` rows of the tile; masked reads and writes stay within the lanes and rows counted.
    unsafe {
        // A copy: what is stored doesn't change it.
        let epilogue = *job.epilogue;
        let plain = epilogue.is_plain();
        let next = |r: usize| *job.row_offsets.add(r + 1) - *job.row_offsets.add(r);
        if job.rows - r == 1 || next(r) as usize > job.lane_stride {
            // Lanes lie closer together than rows: nothing to transpose.
            for r in r..job.rows {
                let (tile, c) =
                    (job.tile.add(r * width), job.c.add(*job.row_offsets.add(r) as usize));
                if plain {
                    for lane in 0..job.lanes {
                        *c.add(lane * job.lane_stride) = *tile.add(lane);
                    }
                } else {
                    for lane in 0..job.lanes {
                        epilogue.store_one(*tile.add(lane), c.add(lane * job.lane_stride));
                    }
                }
            }
            return;
        }
        const { V::FITS };
        let mut square = MaybeUninit::<[V::Element; MAX_LANES * MAX_LANES]>::uninit();
        let square = square.as_mut_ptr().cast::<V::Element>();
        while r < job.rows {
            let offsets = job.row_offsets.add(r);
            let start = *offsets as usize;
            let most = (job.rows - r).min(V::LANES);
            let lies_on = |i: usize| *offsets.add(i) as usize == start + i;
            // So many rows side by side are worth a square of their own.
            let few = most.min(V::LANES.div_ceil(2));
            let contiguous = lies_on(few - 1);
            let count = match contiguous {
                true if !lies_on(most - 1) => (few..most).take_while(|&i| lies_on(i)).count() + few,
                _ => most,
            };
            for first in (0..job.lanes).step_by(V::LANES) {
                let tile = job.tile.add(r * width + first);
                let lanes = (job.lanes - first).min(V::LANES);
                // Whole vectors need no stop on the way.
                let straight = plain && contiguous && count == V::LANES;
                let (to, step) = match straight {
                    true => (job.c.add(first * job.lane_stride + start), job.lane_stride),
                    false => (square, V::LANES),
                };
                V::transpose(|i| tile.add(i.min(count - 1) * width), lanes, to, step as isize);
                if straight {
                    continue;
                }
                for lane in 0..lanes {
                    let c = job.c.add((first + lane) * job.lane_stride);
                    let sums = square.add(lane * V::LANES);
                    if contiguous {
                        let to = c.add(start);
                        epilogue.of(V::load(sums), to, count).store_first(to, count);
                    } else {
                        for i in 0..count {
                            epilogue.store_one(*sums.add(i), c.add(*offsets.add(i) as usize));
                        }
                    }
                }
            }
            r += count;
        }
    }
}
