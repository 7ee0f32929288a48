//! The loops that NEON has for itself: products with a register's lane for an operand, panels copied
//! for them, rows copied without masks. The others are those of [`body`].

use crate::element::Element;
use crate::kernel::vector::{Vector, read};
use crate::kernel::{CopyRows, Multiply, body};

/// Up to 6 rows of four vectors: 24 sums, four vectors of b, one of a.
///
/// # Safety
/// As [`Multiply`].
pub(super) unsafe fn multiply_tall<V: Vector<Element: Element>>(job: &Multiply<V::Element>) {
    // SAFETY: the caller vouches for the job.
    unsafe { body::multiply_rows::<V, 4, false>(job) }
}

/// Up to 6 rows of up to four vectors: by lane where the terms of a lie side by side, else
/// broadcast.
///
/// # Safety
/// As [`Multiply`].
pub(super) unsafe fn multiply_wide<V: ByLane>(job: &Multiply<V::Element>) {
    // SAFETY: the caller vouches for the job; each function is for the vectors and the steps that
    // it has.
    unsafe {
        match (job.beside_a, job.packed_b, job.vectors) {
            (true, true, 1) => multiply_one::<V>(job),
            (true, true, 2) => multiply_rows::<V, 2, true>(job),
            (true, true, 3) => multiply_rows::<V, 3, true>(job),
            (true, true, _) => multiply_rows::<V, 4, true>(job),
            (true, false, 1) => multiply_rows::<V, 1, false>(job),
            (true, false, 2) => multiply_rows::<V, 2, false>(job),
            (true, false, 3) => multiply_rows::<V, 3, false>(job),
            (true, false, _) => multiply_rows::<V, 4, false>(job),
            (false, _, 1) => body::multiply_rows::<V, 1, false>(job),
            (false, _, 2) => body::multiply_rows::<V, 2, false>(job),
            (false, _, 3) => body::multiply_rows::<V, 3, false>(job),
            (false, _, _) => body::multiply_rows::<V, 4, false>(job),
        }
    }
}

/// [`multiply`] for as many of 6 rows as the job wants.
///
/// # Safety
/// As [`multiply`].
#[inline(always)]
unsafe fn multiply_rows<V: ByLane, const N: usize, const PACKED: bool>(job: &Multiply<V::Element>) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        match job.count {
            1 => multiply::<V, 1, N, PACKED>(job),
            2 => multiply::<V, 2, N, PACKED>(job),
            3 => multiply::<V, 3, N, PACKED>(job),
            4 => multiply::<V, 4, N, PACKED>(job),
            5 => multiply::<V, 5, N, PACKED>(job),
            _ => multiply::<V, 6, N, PACKED>(job),
        }
    }
}

/// Up to 12 rows of one vector, which is what is left of the lanes of a block: twice the rows share the loads of b, so
/// that more of the loop's instructions multiply.
///
/// # Safety
/// As [`multiply`], packed.
#[inline(always)]
unsafe fn multiply_one<V: ByLane>(job: &Multiply<V::Element>) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        match job.count {
            7 => multiply::<V, 7, 1, true>(job),
            8 => multiply::<V, 8, 1, true>(job),
            9 => multiply::<V, 9, 1, true>(job),
            10 => multiply::<V, 10, 1, true>(job),
            11 => multiply::<V, 11, 1, true>(job),
            12 => multiply::<V, 12, 1, true>(job),
            _ => multiply_rows::<V, 1, true>(job),
        }
    }
}

/// [`body::multiply`] for terms of a that lie side by side: a vector of each row is loaded, and
/// its lanes meet the vectors of b one term after the other. The order of the sums is the same.
///
/// Where b is packed too, no step is read and no address made: of the 224 instructions for two
/// vectors of terms 192 are FMLA at 6x4 (80 of 105 with a table, at 5x4).
///
/// # Safety
/// As there; the steps of a are each one more than that before, and those of b, if it is `PACKED`,
/// so many vectors more. The tile has `R` rows of `N` vectors, `tile_pitch` apart.
#[inline(always)]
unsafe fn multiply<V: ByLane, const R: usize, const N: usize, const PACKED: bool>(
    job: &Multiply<V::Element>,
) {
    // What `in_order` might have changed would be read again.
    let &Multiply { k, tile, tile_pitch, accumulate, mut b, mut steps_b, .. } = job;
    // SAFETY: the caller vouches that each of the rows is good for every step of a; the
    // whole vectors of terms, and the terms after them, are so many. It vouches for N vectors at
    // every step of b, of which there are `k`, and for the rows of the tile.
    unsafe {
        let mut sums = [[V::splat(V::Element::ZERO); N]; R];
        if k > 0 {
            // Through a table a vector at a time: so few tiles aren't worth a second in code.
            let together = if PACKED { 2 * V::LANES } else { V::LANES };
            let whole = k - k % together;
            let rows = body::starts::<_, R>(job.a.add(*job.steps_a as usize + whole), job.rows);
            // The offset from where whole vectors end is counted up to 0.
            let mut at = (whole * size_of::<V::Element>()).wrapping_neg();
            while at != 0 {
                at = hidden(at);
                add_vector::<V, R, N, PACKED>(&mut sums, &rows, at, b, steps_b);
                after::<V, N, PACKED>(V::LANES, &mut b, &mut steps_b);
                at = at.wrapping_add(size_of::<V>());
                if PACKED {
                    at = hidden(at);
                    add_vector::<V, R, N, PACKED>(&mut sums, &rows, at, b, steps_b);
                    after::<V, N, PACKED>(V::LANES, &mut b, &mut steps_b);
                    at = at.wrapping_add(size_of::<V>());
                }
            }
            for term in 0..k - whole {
                // Row by row: all rows' elements at once would be spilled.
                let vectors = if PACKED { b } else { b.add(read::<_, u32>(steps_b) as usize) };
                let vectors: [V; N] = core::array::from_fn(|v| V::load(vectors.add(v * V::LANES)));
                for r in 0..R {
                    let a = V::splat(read(rows[r].add(term)));
                    for v in 0..N {
                        sums[r][v] = a.mul_add(vectors[v], sums[r][v]);
                    }
                }
                after::<V, N, PACKED>(1, &mut b, &mut steps_b);
            }
        }
        for r in 0..R {
            for v in 0..N {
                let at = tile.add(r * tile_pitch + v * V::LANES);
                let sum = if accumulate { sums[r][v].add(V::load(at)) } else { sums[r][v] };
                sum.store(at);
            }
        }
    }
}

/// Whether a tile needs so many registers that the compiler's schedule has to be held to its
/// order: `R * N` sums, a vector of each row, and two pairs of b.
const fn is_tight(rows: usize, vectors: usize) -> bool {
    rows * vectors + rows + 4 > 32
}

/// `x`, of which the compiler then knows nothing: it adds it to each row's pointer in the load, and
/// doesn't make a pointer of its own to step for each row (6 instructions of 120).
#[inline(always)]
fn hidden(x: usize) -> usize {
    #[cfg(not(miri))]
    {
        let mut x = x;
        // SAFETY: no instruction at all.
        unsafe {
            core::arch::asm!("/* {0} */", inout(reg) x, options(nomem, nostack, preserves_flags));
        }
        x
    }
    #[cfg(miri)]
    x
}

/// Steps over some terms of b.
///
/// # Safety
/// There are so many terms.
#[inline(always)]
unsafe fn after<V: Vector, const N: usize, const PACKED: bool>(
    k: usize,
    b: &mut *const V::Element,
    steps: &mut *const u32,
) {
    if PACKED {
        // After the last term this is the end of the panel, or past what it is part of.
        *b = b.wrapping_add(k * N * V::LANES);
    } else {
        // SAFETY: the caller vouches for the entries.
        *steps = unsafe { steps.add(k) };
    }
}

/// Adds a vector of terms: those of a `at` bytes after the rows, those of b from `b` or `steps` on.
///
/// # Safety
/// As [`multiply`]; there are so many terms.
#[inline(always)]
unsafe fn add_vector<V: ByLane, const R: usize, const N: usize, const PACKED: bool>(
    sums: &mut [[V; N]; R],
    rows: &[*const V::Element; R],
    at: usize,
    b: *const V::Element,
    steps: *const u32,
) {
    // SAFETY: the caller vouches for these terms.
    unsafe {
        if is_tight(R, N) {
            // Else the vectors of a are loaded before those that they take the place of are done.
            for sums in sums.iter_mut() {
                *sums = sums.map(|sum| sum.made());
            }
            V::in_order();
        }
        let a = rows.map(|row| V::load(row.wrapping_byte_add(at)));
        let (mut b, mut steps) = (b, steps);
        add_term::<V, R, N, PACKED, 0>(sums, &a, b, steps);
        after::<V, N, PACKED>(1, &mut b, &mut steps);
        add_term::<V, R, N, PACKED, 1>(sums, &a, b, steps);
        if V::LANES > 2 {
            after::<V, N, PACKED>(1, &mut b, &mut steps);
            add_term::<V, R, N, PACKED, 2>(sums, &a, b, steps);
            after::<V, N, PACKED>(1, &mut b, &mut steps);
            add_term::<V, R, N, PACKED, 3>(sums, &a, b, steps);
        }
    }
}

/// Adds one term: lane `LANE` of each row times `N` vectors of b; in tight tiles no more than two of
/// them are in registers at a time.
///
/// # Safety
/// As [`multiply`]; there is such a term.
#[inline(always)]
unsafe fn add_term<
    V: ByLane,
    const R: usize,
    const N: usize,
    const PACKED: bool,
    const LANE: i32,
>(
    sums: &mut [[V; N]; R],
    a: &[V; R],
    b: *const V::Element,
    steps: *const u32,
) {
    // SAFETY: the caller vouches for the N vectors of b at this term.
    unsafe {
        let b = if PACKED { b } else { b.add(read::<_, u32>(steps) as usize) };
        for first in (0..N).step_by(2) {
            if is_tight(R, N) {
                V::in_order();
            }
            let pair = [first, (first + 1).min(N - 1)].map(|v| V::load(b.add(v * V::LANES)));
            for v in first..N.min(first + 2) {
                for r in 0..R {
                    sums[r][v] = sums[r][v].add_product::<LANE>(pair[v - first], a[r]);
                }
            }
        }
    }
}

/// [`body::copy_rows`] without masks, which NEON would have to make element by element: whole
/// vectors from the first element taken on, and one that ends with the last. A vector of a layer
/// with stride 2 costs 4 instructions, where that was 19.
///
/// # Safety
/// As [`CopyRows`].
pub(super) unsafe fn copy_rows<V: ByLane>(job: &CopyRows<V::Element>) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        match job.step {
            1 => copy_stepped::<V, 1>(job),
            2 => copy_stepped::<V, 2>(job),
            _ => copy_stepped::<V, 0>(job),
        }
    }
}

/// # Safety
/// As [`CopyRows`]; `STEP` is the job's if that is 1 or 2, else 0.
#[inline(always)]
unsafe fn copy_stepped<V: ByLane, const STEP: usize>(job: &CopyRows<V::Element>) {
    let &CopyRows { from, from_pitch, to, to_pitch, count, before, taken, len, step, .. } = job;
    for r in 0..count {
        // Where nothing is taken, `from` need not be good, nor is it read.
        let from = from.wrapping_add(r.wrapping_mul(from_pitch));
        // SAFETY: the caller vouches for the `taken` elements of this row, `step` apart, and for
        // `len` elements of `to`, which those before, taken and after are. Two vectors from an
        // element on reach no further than the one `LANES` after it, which is taken too; and the last
        // element taken by twos is the last of two vectors, as more than `LANES` are.
        unsafe {
            let to = to.add(r * to_pitch);
            for i in 0..before {
                *to.add(i) = V::Element::ZERO;
            }
            let after = before + taken;
            for i in after..len {
                *to.add(i) = V::Element::ZERO;
            }
            let to = to.add(before);
            let fewest = if STEP == 2 { V::LANES + 1 } else { V::LANES };
            if STEP == 0 || taken < fewest {
                for i in 0..taken {
                    *to.add(i) = *from.add(i * step);
                }
                continue;
            }
            let last = taken - V::LANES;
            let load = |at| if STEP == 1 { V::load(at) } else { V::load_alternate(at)[0] };
            // Two at a time, and by pointers: 3 instructions a vector.
            let (mut source, mut place) = (from, to);
            let vectors = last.div_ceil(V::LANES);
            for _ in 0..vectors / 2 {
                let first = load(source);
                source = source.add(V::LANES * STEP);
                let second = load(source);
                source = source.add(V::LANES * STEP);
                first.store(place);
                second.store(place.add(V::LANES));
                place = place.add(2 * V::LANES);
            }
            if vectors % 2 == 1 {
                load(source).store(place);
            }
            // By twos its elements end with the last taken: they are the odd ones of two vectors.
            let rest = from.add(last * STEP);
            let rest = if STEP == 1 { V::load(rest) } else { V::load_alternate(rest.sub(1))[1] };
            rest.store(to.add(last));
        }
    }
}

/// A register whose lanes can be operands.
///
/// # Safety
/// As [`Vector`].
pub(super) unsafe trait ByLane: Vector<Element: Element> {
    /// `self + b * a[LANE]`, rounded once; `LANE` is one of the register's.
    unsafe fn add_product<const LANE: i32>(self, b: Self, a: Self) -> Self;

    /// `self`, which the compiler then has to have made before anything after this call that it
    /// may not move either.
    unsafe fn made(self) -> Self;

    /// Of the `2 * LANES` elements at `p` every second, from the first on and from the second on.
    unsafe fn load_alternate(p: *const Self::Element) -> [Self; 2];
}
