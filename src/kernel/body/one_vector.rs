//! Tiles of one vector. They load an element of a for each multiplication, so that a pointer for each would be half of what
//! they load: where rows or terms lie side by side, several share one.

use super::{
    add_term, fetch, multiply_anywhere, multiply_exact, multiply_of, multiply_rows, put, starts,
    step,
};
use crate::element::Element;
use crate::kernel::vector::{Vector, read};
use crate::kernel::{Multiply, are_consecutive};

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
    are_consecutive(unsafe { &*job.rows.cast::<[u32; R]>() })
}

/// Up to `R` rows of one vector, which may lie side by side, and then need one pointer.
///
/// # Safety
/// As [`Multiply`]; the tile has `R` rows.
#[inline(always)]
pub(in crate::kernel) unsafe fn multiply_beside<V: Vector<Element: Element>, const R: usize>(
    job: &Multiply<V::Element>,
) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        if are_beside::<_, R>(job) {
            return multiply_of::<V, R, 1, R, false>(job, &starts(job.a, job.rows), 1);
        }
        multiply_anywhere::<V, R, 1>(job);
    }
}

/// Up to 10 rows of one vector, as many as the job wants.
///
/// # Safety
/// As [`Multiply`].
#[inline(always)]
pub(in crate::kernel) unsafe fn multiply_narrow<V: Vector<Element: Element>>(
    job: &Multiply<V::Element>,
) {
    debug_assert!((1..=10).contains(&job.count));
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

/// `R` rows of one vector, all of them wanted, in groups of `S` that lie side by side and need one pointer each.
///
/// # Safety
/// As [`Multiply`], for `R` rows, of which `S` are neighbours, then as many others.
#[inline(always)]
pub(in crate::kernel) unsafe fn multiply_neighbours<
    V: Vector<Element: Element>,
    const R: usize,
    const S: usize,
>(
    job: &Multiply<V::Element>,
) {
    const { assert!(R.is_multiple_of(S)) };
    // SAFETY: the caller vouches for the job.
    unsafe {
        multiply_of::<V, R, 1, S, false>(job, core::hint::black_box(&starts(job.a, job.rows)), 1);
    }
}

/// Terms that a tile of one vector may meet one after the other.
const FOUR: usize = 4;

/// Up to `R` rows of one vector, where each four steps of a follow each other: a row's pointer is read once for four terms.
///
/// # Safety
/// As [`Multiply`], of at most `R` rows, whose `fours_a` is true.
#[inline(always)]
pub(in crate::kernel) unsafe fn multiply_fours<V: Vector<Element: Element>, const R: usize>(
    job: &Multiply<V::Element>,
) {
    // SAFETY: the caller vouches for the job, and for an element at each of four steps from every fourth on.
    unsafe {
        fetch::<V, 1>(job);
        let ahead = if job.ahead_step == 0 { job.b } else { job.ahead };
        let row = |r: usize| job.a.add(step(job.rows, r.min(job.count - 1)));
        let rows: [_; R] = core::array::from_fn(row);
        // They stay in memory, as in `multiply_anywhere`.
        let rows = core::hint::black_box(&rows);
        let mut sums = [[V::splat(V::Element::ZERO); 1]; R];
        let fours = job.k - job.k % FOUR;
        for term in (0..fours).step_by(FOUR) {
            let step_a = step(job.steps_a, term);
            let mut vectors = [V::splat(V::Element::ZERO); FOUR];
            for i in 0..FOUR {
                vectors[i] = V::load(job.b.add(step(job.steps_b, term + i)));
                V::prefetch_far(ahead.wrapping_add((term + i) * job.ahead_step));
            }
            for r in 0..R {
                let row = V::at(rows[r], step_a);
                for i in 0..FOUR {
                    sums[r][0] = V::splat(read(row.add(i))).mul_add(vectors[i], sums[r][0]);
                }
            }
        }
        for term in fours..job.k {
            add_term::<V, R, 1, 1, false>(job, (rows, 1), ahead, &mut sums, term);
        }
        put(job, &sums);
    }
}
