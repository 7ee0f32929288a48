//! The loops of every kernel, written once over a [`Vector`]. An ISA's file gives the vector and
//! instantiates these inside functions that enable its target features.

#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, reason = "each ISA takes the shapes that fit its registers")
)]

use super::vector::{Between, Vector};
use super::{CopyRows, DOTS, Dot, Gather, Multiply, Pack, Store};
use crate::element::Element;
use core::mem::MaybeUninit;

/// Sums of the largest tile of dot products.
const MAX_DOTS: usize = 24;

/// Terms after which a vector of b will be read: its line is fetched, as rows of weights that lie far
/// apart aren't foreseen by the processor (kernel_is_image_16 backward_data: 54 GFLOP/s, 80 so).
const AHEAD: usize = 16;

/// The most lanes of any vector: f32 under AVX-512.
pub(super) const MAX_LANES: usize = 16;

/// Elements of a cache line, or of a vector if that is longer.
#[inline(always)]
const fn line_of<V: Vector>() -> usize {
    let line = 64 / size_of::<V::Element>();
    if line > V::LANES { line } else { V::LANES }
}

/// Up to 6 rows of `N` vectors, as many as the job wants.
///
/// # Safety
/// As [`Multiply`]; if `PACKED`, so is b.
#[inline(always)]
pub(super) unsafe fn multiply_rows<
    V: Vector<Element: Element>,
    const N: usize,
    const PACKED: bool,
>(
    job: &Multiply<V::Element>,
) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        match job.count {
            1 => multiply_exact::<V, 1, N, PACKED>(job),
            2 => multiply_exact::<V, 2, N, PACKED>(job),
            3 => multiply_exact::<V, 3, N, PACKED>(job),
            4 => multiply_exact::<V, 4, N, PACKED>(job),
            5 => multiply_exact::<V, 5, N, PACKED>(job),
            _ => multiply_exact::<V, 6, N, PACKED>(job),
        }
    }
}

/// Up to 10 rows of one vector, as many as the job wants.
///
/// # Safety
/// As [`Multiply`].
#[inline(always)]
pub(super) unsafe fn multiply_narrow<V: Vector<Element: Element>>(job: &Multiply<V::Element>) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        match job.count {
            ..=6 => multiply_rows::<V, 1, false>(job),
            7 => multiply_exact::<V, 7, 1, false>(job),
            8 => multiply_exact::<V, 8, 1, false>(job),
            9 => multiply_exact::<V, 9, 1, false>(job),
            _ => multiply_exact::<V, 10, 1, false>(job),
        }
    }
}

/// Where `R` rows begin, counted from `a`.
///
/// # Safety
/// There are so many, and `a` is good at each.
#[inline(always)]
pub(super) unsafe fn starts<T, const R: usize>(a: *const T, rows: *const u32) -> [*const T; R] {
    // SAFETY: the caller vouches for the rows.
    unsafe { (*rows.cast::<[u32; R]>()).map(|row| a.add(row as usize)) }
}

/// `R` rows of `N` vectors, all of them wanted.
///
/// # Safety
/// As [`Multiply`], for `R` rows; if `PACKED`, so is b.
#[inline(always)]
unsafe fn multiply_exact<
    V: Vector<Element: Element>,
    const R: usize,
    const N: usize,
    const PACKED: bool,
>(
    job: &Multiply<V::Element>,
) {
    // SAFETY: the caller vouches for the job.
    unsafe { multiply_of::<V, R, N, false, PACKED>(job, &starts(job.a, job.rows)) }
}

/// Whether there are `R` rows, each of which begins one element after the one before it.
///
/// # Safety
/// As [`Multiply`].
#[inline(always)]
unsafe fn are_beside<T, const R: usize>(job: &Multiply<T>) -> bool {
    if job.count != R {
        return false;
    }
    // SAFETY: there are `R` rows.
    let rows = unsafe { &*job.rows.cast::<[u32; R]>() };
    // All are looked at, which is done with vectors.
    (1..R).fold(true, |all, r| all & (rows[r] == rows[0].wrapping_add(r as u32)))
}

/// Up to `R` rows, which may lie side by side, and then need one pointer.
///
/// # Safety
/// As [`Multiply`]; the tile has `R` rows.
#[inline(always)]
pub(super) unsafe fn multiply_beside<
    V: Vector<Element: Element>,
    const R: usize,
    const N: usize,
>(
    job: &Multiply<V::Element>,
) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        if are_beside::<_, R>(job) {
            return multiply_of::<V, R, N, true, false>(job, &starts(job.a, job.rows));
        }
        // Those past the last that is wanted repeat it.
        let row = |r: usize| job.a.add(*job.rows.add(r.min(job.count - 1)) as usize);
        let rows = core::array::from_fn(row);
        // They stay in memory, from where they are read one by one: the compiler would move many of
        // them at once, with vectors that the sums need.
        multiply_of::<V, R, N, false, false>(job, core::hint::black_box(&rows));
    }
}

/// A tile of `R` rows by `N` vectors: for every term, `N` vectors of b meet `R` broadcast
/// elements of a. Both operands step through memory by tables, so a is an image as it lies.
///
/// Measured on Zen 4: reading the rows' pointers from memory costs nothing (28x1 in f32 runs at 97
/// to 100 % of the FMA peak); 8x3 doesn't spill. Tiles of two vectors do where the compiler loads
/// all of a first: [`Vector::in_order`] stops it.
///
/// # Safety
/// As [`Multiply`]; the tile has `R` rows of `N` vectors, and those of a begin at `rows`. If `BESIDE`,
/// row `r` begins `r` elements after the first; if `PACKED`, so is b.
#[inline(always)]
unsafe fn multiply_of<
    V: Vector<Element: Element>,
    const R: usize,
    const N: usize,
    const BESIDE: bool,
    const PACKED: bool,
>(
    job: &Multiply<V::Element>,
    rows: &[*const V::Element; R],
) {
    // SAFETY: the caller vouches for the job, and that the tile has R * N vectors.
    unsafe {
        for line in 0..job.prefetch_lines {
            for lane in (0..=N * V::LANES).step_by(line_of::<V>()) {
                let lane = line * job.prefetch_pitch + lane;
                V::prefetch_write(job.prefetch.wrapping_add(lane));
            }
        }
        let mut sums = [[V::splat(V::Element::ZERO); N]; R];
        // Not with tiles of one vector: there a second term spilled a sum that the next one waits for (AVX2
        // on Zen 3, 8 channels a group: 38 GFLOP/s, 51 one by one).
        let paired = if V::PAIRED && N > 1 { job.terms - job.terms % 2 } else { 0 };
        if const { V::PAIRED && N > 1 } {
            for term in (0..paired).step_by(2) {
                add_term::<V, R, N, BESIDE, PACKED>(job, rows, &mut sums, term);
                add_term::<V, R, N, BESIDE, PACKED>(job, rows, &mut sums, term + 1);
            }
        }
        for term in paired..job.terms {
            add_term::<V, R, N, BESIDE, PACKED>(job, rows, &mut sums, term);
        }
        for r in 0..R {
            for v in 0..N {
                let at = job.tile.add(r * job.tile_pitch + v * V::LANES);
                let sum = if job.accumulate { sums[r][v].add(V::load(at)) } else { sums[r][v] };
                sum.store(at);
            }
        }
    }
}

/// Adds one term to the sums of a tile.
///
/// # Safety
/// As [`multiply_of`], for `term < terms` and the rows that it begins with.
#[inline(always)]
unsafe fn add_term<
    V: Vector<Element: Element>,
    const R: usize,
    const N: usize,
    const BESIDE: bool,
    const PACKED: bool,
>(
    job: &Multiply<V::Element>,
    rows: &[*const V::Element; R],
    sums: &mut [[V; N]; R],
    term: usize,
) {
    // SAFETY: the caller vouches that each of the rows is good for every step of a, and that b is
    // good for N vectors at every step of b.
    unsafe {
        let step_a = *job.steps_a.add(term) as usize;
        let first = rows[0].add(step_a);
        let b = match PACKED {
            true => job.b.add(term * N * V::LANES),
            false => job.b.add(*job.steps_b.add(term) as usize),
        };
        let mut vectors = [V::splat(V::Element::ZERO); N];
        if N >= 3 {
            // Few rows are done before a line comes: there, that of the next panel.
            let ahead = if R > 2 {
                let later = (term + AHEAD).min(job.terms - 1);
                job.b.add(*job.steps_b.add(later) as usize)
            } else {
                b.wrapping_add(N * V::LANES)
            };
            for v in 0..N {
                V::prefetch(ahead.wrapping_add(v * V::LANES));
            }
        }
        if N == 2 && R <= 2 && !PACKED {
            // So few rows wait for the memory alone: the line of a panel to come (1 or 2 outputs of 32 to
            // 256 channels on Zen 3: 10 to 15 % faster).
            V::prefetch(b.wrapping_add(4 * N * V::LANES));
        }
        for v in 0..N {
            vectors[v] = V::load(b.add(v * V::LANES));
        }
        for r in 0..R {
            if N == 2 {
                V::in_order();
            }
            let a = V::splat(if BESIDE { *first.add(r) } else { *rows[r].add(step_a) });
            for v in 0..N {
                sums[r][v] = a.mul_add(vectors[v], sums[r][v]);
                if N == 1 {
                    sums[r][v].in_turn();
                }
            }
        }
    }
}

/// The largest tiles of [`dots_in_32`].
pub(super) const DOTS_IN_32: &[usize] = &[6, 6, 6, 6];

/// [`dots`] with 32 registers.
///
/// # Safety
/// As [`Dot`].
#[inline(always)]
pub(super) unsafe fn dots_in_32<V: Vector>(job: &Dot<V::Element>) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        match (job.row_count, job.col_count) {
            (1, 1..=2) => dots::<V, 1, 2>(job),
            (1, 3..=4) => dots::<V, 1, 4>(job),
            (1, _) => dots::<V, 1, 6>(job),
            (2, 1..=2) => dots::<V, 2, 2>(job),
            (2, 3..=4) => dots::<V, 2, 4>(job),
            (2, _) => dots::<V, 2, 6>(job),
            (3, 1..=2) => dots::<V, 3, 2>(job),
            (3, 3..=4) => dots::<V, 3, 4>(job),
            (3, _) => dots::<V, 3, 6>(job),
            (_, 1..=2) => dots::<V, 4, 2>(job),
            (_, 3..=4) => dots::<V, 4, 4>(job),
            _ => dots::<V, 4, 6>(job),
        }
    }
}

/// The largest tiles of [`dots_in_16`]: with a mask, a vector of each column and one of a row, no more
/// than 16 registers hold. 12 sums spilled two of them (AVX2 on Zen 3, 8 channels a group: 28 GFLOP/s,
/// 38 so).
pub(super) const DOTS_IN_16: &[usize] = &[6, 4, 3, 2];

/// [`dots`] with 16 registers.
///
/// # Safety
/// As [`Dot`].
#[inline(always)]
pub(super) unsafe fn dots_in_16<V: Vector>(job: &Dot<V::Element>) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        match (job.row_count, job.col_count) {
            (1, 1..=3) => dots::<V, 1, 3>(job),
            (1, _) => dots::<V, 1, 6>(job),
            (2, 1..=2) => dots::<V, 2, 2>(job),
            (2, _) => dots::<V, 2, 4>(job),
            (3, _) => dots::<V, 3, 3>(job),
            (_, 1) => dots::<V, 4, 1>(job),
            _ => dots::<V, 4, 2>(job),
        }
    }
}

/// Adds one vector of each row by one of each column to the sums.
///
/// # Safety
/// Each pointer is good, `a` (or `b`) elements further on, for what `load` reads.
#[inline(always)]
unsafe fn add_dots<V: Vector, const R: usize, const C: usize>(
    rows: &[*const V::Element; R],
    columns: &[*const V::Element; C],
    [a, b]: [usize; 2],
    sums: &mut [[V; C]; R],
    load: impl Fn(*const V::Element) -> V,
) {
    // SAFETY: the caller vouches for the pointers.
    unsafe {
        let vectors = columns.map(|column| load(column.add(b)));
        for r in 0..R {
            let row = load(rows[r].add(a));
            for c in 0..C {
                sums[r][c] = row.mul_add(vectors[c], sums[r][c]);
            }
        }
    }
}

/// `R` by `C` dot products: each vector of a row meets all columns.
///
/// # Safety
/// As [`Dot`].
#[inline(always)]
unsafe fn dots<V: Vector, const R: usize, const C: usize>(job: &Dot<V::Element>) {
    const { assert!(R <= DOTS && C <= DOTS && R * C <= MAX_DOTS) };
    // SAFETY: the caller vouches for `len` elements at every step of every pointer; the last
    // vector of a step reads only those that are left.
    unsafe {
        let rows = &*job.rows.cast::<[*const V::Element; R]>();
        let columns = &*job.columns.cast::<[*const V::Element; C]>();
        let mut sums = [[V::splat(V::Element::ZERO); C]; R];
        // One loop for whole vectors and the last where that costs nothing.
        let whole = if V::MASKED { 0 } else { job.len - job.len % V::LANES };
        for step in 0..job.steps {
            let a = *job.steps_a.add(step) as usize;
            let b = *job.steps_b.add(step) as usize;
            for at in (0..whole).step_by(V::LANES) {
                add_dots(rows, columns, [a + at, b + at], &mut sums, |p| V::load(p));
            }
            for at in (whole..job.len).step_by(V::LANES) {
                let count = (job.len - at).min(V::LANES);
                let load = |p| V::load_first(p, count);
                add_dots(rows, columns, [a + at, b + at], &mut sums, load);
            }
        }
        let mut all = [V::splat(V::Element::ZERO); MAX_DOTS];
        let mut each = [V::Element::ZERO; MAX_DOTS + MAX_LANES];
        for r in 0..R {
            for c in 0..C {
                all[r * C + c] = sums[r][c];
            }
        }
        V::sums(&all, each.as_mut_ptr());
        for r in 0..R {
            for c in 0..C {
                *job.sums.add(r * DOTS + c) = each[r * C + c];
            }
        }
    }
}

/// Writes panels: column `col` of lane `l` goes to `to[col * step + l]`, zeros where there are
/// fewer lanes.
///
/// Lanes may lie any power of two apart, which no processor foresees: lines are fetched ahead, and
/// each is used up for all lanes before the next, as few of them fit one set of the L1 cache.
///
/// # Safety
/// As [`Pack`].
#[inline(always)]
pub(super) unsafe fn pack<V: Vector<Element: Element>, const N: usize>(job: &Pack<V::Element>) {
    const LINES_AHEAD: usize = 4;
    const BLOCKS_AHEAD: usize = 2;
    let zeros = [V::Element::ZERO; MAX_LANES];
    let line = line_of::<V>();
    let ahead = match job.cols {
        cols if cols > line => LINES_AHEAD * line,
        _ => job.block_pitch.wrapping_mul(BLOCKS_AHEAD),
    };
    for block in 0..job.blocks {
        let from = job.from.wrapping_add(block * job.block_pitch);
        for start in (0..job.cols).step_by(line) {
            let end = job.cols.min(start + line);
            for lane in 0..job.lanes {
                let next = from.wrapping_add((lane * job.lane_pitch + start).wrapping_add(ahead));
                // SAFETY: `next` need not be good.
                unsafe { V::prefetch(next) };
            }
            for first in (0..N * V::LANES).step_by(V::LANES) {
                let lanes = job.lanes.saturating_sub(first).min(V::LANES);
                let mut rows = [zeros.as_ptr(); MAX_LANES];
                // Where these lanes are none, their place may lie outside: it is never read.
                let from = from.wrapping_add(first * job.lane_pitch);
                // SAFETY: every lane that exists points at `cols` elements in each block, the others
                // at `LANES` zeros; the rows written are the caller's.
                unsafe {
                    let to = job.to.offset(block as isize * job.to_block).add(first);
                    for col in (start..end).step_by(V::LANES) {
                        for (lane, row) in rows[..lanes].iter_mut().enumerate() {
                            *row = from.add(lane * job.lane_pitch + col);
                        }
                        let to = to.offset(col as isize * job.step);
                        V::transpose(rows.as_ptr(), (end - col).min(V::LANES), to, job.step);
                    }
                }
            }
        }
    }
}

/// Copies a panel, term after term.
///
/// # Safety
/// As [`Gather`].
#[inline(always)]
pub(super) unsafe fn gather<V: Vector>(job: &Gather<V::Element>) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        match job.vectors {
            1 => gather_vectors::<V, 1>(job),
            2 => gather_vectors::<V, 2>(job),
            3 => gather_vectors::<V, 3>(job),
            _ => gather_vectors::<V, 4>(job),
        }
    }
}

/// # Safety
/// As [`Gather`], of `N` vectors.
#[inline(always)]
unsafe fn gather_vectors<V: Vector, const N: usize>(job: &Gather<V::Element>) {
    let &Gather { from, steps, terms, to, .. } = job;
    let copy = |term: usize, step: u32| {
        // SAFETY: the caller vouches for `N` vectors at this step, and for room for those of all
        // terms.
        unsafe {
            let from = from.add(step as usize);
            let vectors: [V; N] = core::array::from_fn(|v| V::load(from.add(v * V::LANES)));
            // The last of the next panel's, whose line is the only one that nothing has fetched (32 planes of
            // 42175 on AVX2, Zen 3: 45 GFLOP/s, the first of them, 69 so).
            V::prefetch(from.wrapping_add(2 * N * V::LANES - 1));
            for v in 0..N {
                vectors[v].store(to.add((term * N + v) * V::LANES));
            }
        }
    };
    let whole = terms - terms % 4;
    for first in (0..whole).step_by(4) {
        // Read before anything is written, these are two instructions: 6 in all for a term of four
        // vectors, 8 one by one.
        // SAFETY: the caller vouches for a step for each term.
        let some = unsafe { steps.add(first).cast::<[u32; 4]>().read() };
        for i in 0..4 {
            copy(first + i, some[i]);
        }
    }
    for term in whole..terms {
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
pub(super) unsafe fn copy_rows<V: Vector<Element: Element>>(job: &CopyRows<V::Element>) {
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

/// Writes a finished tile to its place in c, straight or transposed, clamped if asked.
///
/// # Safety
/// As [`Store`].
#[inline(always)]
pub(super) unsafe fn store<V: Vector<Element: Element>>(job: &Store<V::Element>) {
    let width = job.tile_pitch;
    // SAFETY: the caller vouches for `rows * lanes` elements of c at the offsets given and for
    // `rows` rows of the tile; masked reads and writes stay within the lanes and rows counted.
    unsafe {
        let plain = !job.accumulate && job.clamp.is_none();
        if job.lane_stride == 1 {
            let whole = if plain { job.lanes - job.lanes % V::LANES } else { 0 };
            for r in 0..job.rows {
                let c = job.c.add(*job.row_offsets.add(r) as usize);
                for first in (0..whole).step_by(V::LANES) {
                    V::load(job.tile.add(r * width + first)).store(c.add(first));
                }
                for first in (whole..job.lanes).step_by(V::LANES) {
                    let count = (job.lanes - first).min(V::LANES);
                    let sum = V::load_first(job.tile.add(r * width + first), count);
                    finish(job, sum, c.add(first), count);
                }
            }
            return;
        }
        if job.rows == 1 || (*job.row_offsets.add(1) - *job.row_offsets) as usize > job.lane_stride
        {
            // Lanes lie closer together than rows: nothing to transpose.
            for r in 0..job.rows {
                let c = job.c.add(*job.row_offsets.add(r) as usize);
                for lane in 0..job.lanes {
                    finish_one(job, *job.tile.add(r * width + lane), c.add(lane * job.lane_stride));
                }
            }
            return;
        }
        let mut square = MaybeUninit::<[V::Element; 256]>::uninit();
        let square = square.as_mut_ptr().cast::<V::Element>();
        let mut r = 0;
        while r < job.rows {
            let count = (job.rows - r).min(V::LANES);
            let offsets = job.row_offsets.add(r);
            let start = *offsets as usize;
            let contiguous = *offsets.add(count - 1) as usize == start + count - 1;
            for first in (0..job.lanes).step_by(V::LANES) {
                let mut rows = [job.tile; MAX_LANES];
                for (i, row) in rows[..V::LANES].iter_mut().enumerate() {
                    *row = job.tile.add((r + i.min(count - 1)) * width + first);
                }
                let lanes = (job.lanes - first).min(V::LANES);
                // Whole vectors need no stop on the way (lenet_2 on Zen 3: 82 GFLOP/s, 86 so).
                if plain && contiguous && count == V::LANES {
                    let c = job.c.add(first * job.lane_stride + start);
                    V::transpose(rows.as_ptr(), lanes, c, job.lane_stride as isize);
                    continue;
                }
                V::transpose(rows.as_ptr(), lanes, square, V::LANES as isize);
                for lane in 0..lanes {
                    let c = job.c.add((first + lane) * job.lane_stride);
                    let sums = square.add(lane * V::LANES);
                    if contiguous {
                        finish(job, V::load(sums), c.add(start), count);
                    } else {
                        for i in 0..count {
                            finish_one(job, *sums.add(i), c.add(*offsets.add(i) as usize));
                        }
                    }
                }
            }
            r += count;
        }
    }
}

/// Writes one element of a sum.
///
/// # Safety
/// `at` is good for an element, initialised if `job.accumulate`.
#[inline(always)]
unsafe fn finish_one<T: Element>(job: &Store<T>, mut sum: T, at: *mut T) {
    // SAFETY: the caller vouches for the element.
    unsafe {
        if job.accumulate {
            sum = *at + sum;
        }
        if let Some([low, high]) = job.clamp {
            sum = sum.clamp_to(low, high);
        }
        *at = sum;
    }
}

/// Writes the first `count` lanes of a sum.
///
/// # Safety
/// `at` is good for `count` elements, initialised if `job.accumulate`.
#[inline(always)]
unsafe fn finish<V: Vector<Element: Element>>(
    job: &Store<V::Element>,
    mut sum: V,
    at: *mut V::Element,
    count: usize,
) {
    // SAFETY: the caller vouches for `count` elements.
    unsafe {
        if job.accumulate {
            sum = V::load_first(at, count).add(sum);
        }
        if let Some([low, high]) = job.clamp {
            sum = sum.clamp(V::splat(low), V::splat(high));
        }
        sum.store_first(at, count);
    }
}
