//! The loops of every kernel, written once over a [`Vector`]. An ISA's file gives the vector and
//! instantiates these inside functions that enable its target features. Here are those that multiply.

#![cfg_attr(
    not(target_arch = "x86_64"),
    allow(dead_code, unused_imports, reason = "each ISA takes the shapes that fit its registers")
)]

use super::epilogue::{AddResidual, StoredTile};
use super::vector::{MAX_LANES, Vector, read};
use super::{DOTS, Dot, Multiply, Stream, even_pitch};
use crate::element::Element;

mod moves;
mod one_vector;

pub(super) use moves::{copy_rows, pack, pack_b, store};
pub(super) use one_vector::{
    multiply_beside, multiply_fours, multiply_narrow, multiply_neighbours,
};

/// Sums of the largest tile of dot products.
const MAX_DOTS: usize = 24;

/// Terms after which a vector of b will be read: its line is fetched, as rows of weights that lie far
/// apart aren't foreseen by the processor.
const AHEAD: usize = 16;

/// Panels after which a line of b will be read that is streamed once.
const PANELS_AHEAD: usize = 4;

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
    // More rows than are summed would be read uninitialised.
    debug_assert!((1..=6).contains(&job.count));
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

/// An entry of a table.
///
/// # Safety
/// The table has it.
#[inline(always)]
unsafe fn step(steps: *const u32, index: usize) -> usize {
    // SAFETY: the caller promises the entry.
    unsafe { read::<_, u32>(steps.add(index)) as usize }
}

/// Where `R` rows begin, counted from `a`.
///
/// # Safety
/// There are so many, and `a` is good at each.
#[inline(always)]
pub(super) unsafe fn starts<T, const R: usize>(a: *const T, rows: *const u32) -> [*const T; R] {
    // SAFETY: the caller vouches for the rows.
    unsafe { read::<_, [u32; R]>(rows).map(|row| a.add(row as usize)) }
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
    unsafe { multiply_of::<V, R, N, 1, PACKED>(job, &starts(job.a, job.rows), 1) }
}

/// Up to `R` rows, which may lie evenly apart, and then need a pointer for each five: with one for each row, those would be
/// half of what a tile loads.
///
/// # Safety
/// As [`Multiply`]; the tile has `R` rows.
#[inline(always)]
pub(super) unsafe fn multiply_even<V: Vector<Element: Element>, const R: usize, const N: usize>(
    job: &Multiply<V::Element>,
) {
    /// An address may be a register and one, two or four times another; three times it is a register of its own.
    const TOGETHER: usize = 5;
    // SAFETY: the caller vouches for the job, and that there are `count` rows.
    unsafe {
        if job.count == R
            && let Some(pitch) = even_pitch(&*job.rows.cast::<[u32; R]>())
        {
            let starts = starts(job.a, job.rows);
            if const { V::SHARES_POINTERS } {
                return multiply_of::<V, R, N, TOGETHER, false>(job, &starts, pitch);
            }
            if pitch == 1 {
                return multiply_of::<V, R, N, R, false>(job, &starts, 1);
            }
        }
        multiply_anywhere::<V, R, N>(job);
    }
}

/// Up to `R` rows, each of which needs a pointer.
///
/// # Safety
/// As [`Multiply`]; the tile has `R` rows.
#[inline(always)]
unsafe fn multiply_anywhere<V: Vector<Element: Element>, const R: usize, const N: usize>(
    job: &Multiply<V::Element>,
) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        // Those past the last that is wanted repeat it.
        let row = |r: usize| job.a.add(step(job.rows, r.min(job.count - 1)));
        let rows = core::array::from_fn(row);
        // They stay in memory, from where they are read one by one: the compiler would move many of
        // them at once, with vectors that the sums need.
        multiply_of::<V, R, N, 1, false>(job, core::hint::black_box(&rows), 1);
    }
}

/// A tile of `R` rows by `N` vectors: for every term, `N` vectors of b meet `R` broadcast
/// elements of a. Both operands step through memory by tables, so a is an image as it lies.
///
/// Where there is one FMA unit, reading the rows' pointers from memory costs nothing. A tile of two vectors spills where the
/// compiler loads all of a first: [`Vector::in_order`] stops it.
///
/// # Safety
/// As [`Multiply`]; the tile has `R` rows of `N` vectors, and those of a begin at `rows`. Of each
/// `TOGETHER` rows, one begins `pitch` elements after the one before it; if `PACKED`, so is b.
#[inline(always)]
unsafe fn multiply_of<
    V: Vector<Element: Element>,
    const R: usize,
    const N: usize,
    const TOGETHER: usize,
    const PACKED: bool,
>(
    job: &Multiply<V::Element>,
    rows: &[*const V::Element; R],
    pitch: usize,
) {
    // SAFETY: the caller vouches for the job, and that the tile has R * N vectors.
    unsafe {
        fetch::<V, N>(job);
        // What a later tile reads, or what is here, is fetched between products, where the memory has time for it. With
        // 16 registers the loop would spill: there all of it is fetched before.
        let ahead = if job.ahead_step == 0 { job.b } else { job.ahead };
        if const { V::REGISTERS < 32 } {
            for line in (0..job.k * job.ahead_step).step_by(line_of::<V>()) {
                V::prefetch_far(ahead.wrapping_add(line));
            }
        }
        let mut sums = [[V::splat(V::Element::ZERO); N]; R];
        // Not with tiles of one vector: there a second term spills a sum that the next one waits for.
        let paired = if V::PAIRED && N > 1 { job.k - job.k % 2 } else { 0 };
        if const { V::PAIRED && N > 1 } {
            for term in (0..paired).step_by(2) {
                add_term::<V, R, N, TOGETHER, PACKED>(job, (rows, pitch), ahead, &mut sums, term);
                add_term::<V, R, N, TOGETHER, PACKED>(
                    job,
                    (rows, pitch),
                    ahead,
                    &mut sums,
                    term + 1,
                );
            }
        }
        for term in paired..job.k {
            add_term::<V, R, N, TOGETHER, PACKED>(job, (rows, pitch), ahead, &mut sums, term);
        }
        put(job, &sums);
    }
}

/// Fetches the lines that a job says.
///
/// # Safety
/// As [`Multiply`].
#[inline(always)]
unsafe fn fetch<V: Vector, const N: usize>(job: &Multiply<V::Element>) {
    for line in 0..job.prefetch_lines {
        for lane in (0..=N * V::LANES).step_by(line_of::<V>()) {
            let lane = line * job.prefetch_pitch + lane;
            // SAFETY: the caller runs with the features.
            unsafe { V::prefetch_write(job.prefetch.wrapping_add(lane)) };
        }
    }
}

/// Writes sums to their tile, or adds them to it.
///
/// # Safety
/// As [`Multiply`]; the tile has `R` rows of `N` vectors.
#[inline(always)]
unsafe fn put<V: Vector, const R: usize, const N: usize>(
    job: &Multiply<V::Element>,
    sums: &[[V; N]; R],
) {
    // SAFETY: the caller vouches for the tile.
    unsafe {
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
    const TOGETHER: usize,
    const PACKED: bool,
>(
    job: &Multiply<V::Element>,
    (rows, pitch): (&[*const V::Element; R], usize),
    ahead: *const V::Element,
    sums: &mut [[V; N]; R],
    term: usize,
) {
    // SAFETY: the caller vouches that each of the rows is good for every step of a, those that follow
    // one of them too, and that b is good for N vectors at every step of b.
    unsafe {
        let step_a = step(job.steps_a, term);
        let b = match PACKED {
            true => job.b.add(term * N * V::LANES),
            false => job.b.add(step(job.steps_b, term)),
        };
        let mut vectors = [V::splat(V::Element::ZERO); N];
        // What was packed lies in the L1 cache.
        if N >= 3 && !PACKED {
            // Few rows are done before a line comes: there, that of the next panel.
            let ahead = if R > 2 {
                let later = (term + AHEAD).min(job.k - 1);
                job.b.add(step(job.steps_b, later))
            } else {
                b.wrapping_add(N * V::LANES)
            };
            for v in 0..N {
                V::prefetch(ahead.wrapping_add(v * V::LANES));
            }
        }
        for v in 0..N {
            vectors[v] = V::load(b.add(v * V::LANES));
        }
        if const { V::REGISTERS >= 32 && N <= 2 } {
            V::prefetch_far(ahead.wrapping_add(term * job.ahead_step));
        }
        for first in (0..R).step_by(TOGETHER) {
            let row = rows[first].add(step_a);
            for r in first..R.min(first + TOGETHER) {
                if N == 2 {
                    V::in_order();
                }
                let a = V::splat(read(row.add((r - first) * pitch)));
                for v in 0..N {
                    sums[r][v] = a.mul_add(vectors[v], sums[r][v]);
                    if N == 1 {
                        sums[r][v].in_turn();
                    }
                }
            }
        }
    }
}

/// Up to 6 rows of panels of `N` vectors, as many as the job wants.
///
/// # Safety
/// As [`Stream`].
#[inline(always)]
pub(super) unsafe fn stream<V: Vector<Element: Element>, const N: usize>(
    job: &Stream<'_, V::Element>,
) {
    debug_assert!((1..=6).contains(&job.count));
    // SAFETY: the caller vouches for the job.
    unsafe {
        match job.count {
            1 => stream_exact::<V, 1, N>(job),
            2 => stream_exact::<V, 2, N>(job),
            3 => stream_exact::<V, 3, N>(job),
            4 => stream_exact::<V, 4, N>(job),
            5 => stream_exact::<V, 5, N>(job),
            _ => stream_exact::<V, 6, N>(job),
        }
    }
}

/// `R` rows of panels of `N` vectors. These wait for memory: the lines of a panel to come are fetched.
///
/// # Safety
/// As [`Stream`], for `R` rows.
#[inline(always)]
unsafe fn stream_exact<V: Vector<Element: Element>, const R: usize, const N: usize>(
    job: &Stream<'_, V::Element>,
) {
    // SAFETY: the caller vouches for the job; what is fetched need not be good.
    unsafe {
        let rows = starts::<_, R>(job.a, job.rows);
        let (width, epilogue) = (N * V::LANES, job.epilogue);
        for panel in 0..job.panels {
            let (b, to) = (job.b.add(panel * width), job.to.add(panel * width));
            let mut sums = [[V::splat(V::Element::ZERO); N]; R];
            for term in 0..job.k {
                let step_a = step(job.steps_a, term);
                let b = b.add(step(job.steps_b, term));
                for line in (0..width).step_by(line_of::<V>()) {
                    V::prefetch(b.wrapping_add(PANELS_AHEAD * width + line));
                }
                let vectors: [V; N] = core::array::from_fn(|v| V::load(b.add(v * V::LANES)));
                for r in 0..R {
                    if N == 2 {
                        V::in_order();
                    }
                    let a = V::splat(read(rows[r].add(step_a)));
                    for v in 0..N {
                        sums[r][v] = a.mul_add(vectors[v], sums[r][v]);
                    }
                }
            }
            // One thing after the other: of a longer loop the compiler keeps the sums in memory.
            if let Some(bias) = epilogue.bias {
                for r in 0..R {
                    sums[r] = sums[r].map(|sum| sum.add(V::splat(read(bias.as_ptr().add(r)))));
                }
            }
            if epilogue.accumulate {
                for r in 0..R {
                    for v in 0..N {
                        let at = to.add(r * job.to_pitch + v * V::LANES);
                        sums[r][v] = sums[r][v].add(V::load(at));
                    }
                }
            }
            if let (Some([low, high]), None) = (epilogue.clamp, epilogue.residual) {
                for r in 0..R {
                    sums[r] = sums[r].map(|sum| sum.clamp(V::splat(low), V::splat(high)));
                }
            }
            for r in 0..R {
                for v in 0..N {
                    sums[r][v].store(to.add(r * job.to_pitch + v * V::LANES));
                }
            }
            if epilogue.residual.is_some() {
                let tile = StoredTile { to, to_pitch: job.to_pitch, rows: R, width };
                V::outlined(AddResidual::<V> { epilogue: &epilogue, tile });
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
/// than 16 registers hold. 12 sums would spill two of them.
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
    const { V::FITS };
    // SAFETY: the caller vouches for `len` elements at every step of every pointer; the last
    // vector of a step reads only those that are left.
    unsafe {
        let rows = &*job.rows.cast::<[*const V::Element; R]>();
        let columns = &*job.columns.cast::<[*const V::Element; C]>();
        let mut sums = [[V::splat(V::Element::ZERO); C]; R];
        // Two loops: with a mask for each vector, 4x6 tiles would be slower.
        let whole = job.len - job.len % V::LANES;
        for step in 0..job.steps {
            let a = self::step(job.steps_a, step);
            let b = self::step(job.steps_b, step);
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
