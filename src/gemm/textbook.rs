//! The product of two strided matrices by the crate `matrixmultiply`, behind safe views.

use crate::element::{Element, ForElement};

/// `matrixmultiply`'s entry point for an element type: sizes m, k, n; alpha; a, b with their row
/// and column strides; beta (0: c is never read); c with its strides.
type GemmFn<T> = unsafe fn(
    usize,
    usize,
    usize,
    T,
    *const T,
    isize,
    isize,
    *const T,
    isize,
    isize,
    T,
    *mut T,
    isize,
    isize,
);

/// The two entry points of `matrixmultiply`.
struct Gemm;

impl ForElement for Gemm {
    type Value<T: 'static> = GemmFn<T>;

    fn f32(self) -> GemmFn<f32> {
        matrixmultiply::sgemm
    }

    fn f64(self) -> GemmFn<f64> {
        matrixmultiply::dgemm
    }
}

/// A matrix in a slice: element `(i, j)` lies at `i * row + j * col`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<S> {
    pub(crate) data: S,
    pub(crate) row: usize,
    pub(crate) col: usize,
}

impl<S> Matrix<S> {
    /// Rows one after the other, `pitch` elements apart.
    pub(crate) fn rows(data: S, pitch: usize) -> Self {
        Self { data, row: pitch, col: 1 }
    }

    /// The same matrix transposed.
    pub(crate) fn t(self) -> Self {
        Self { data: self.data, row: self.col, col: self.row }
    }

    /// Whether every element of a `rows` x `cols` matrix lies within `len` elements.
    fn fits(&self, rows: usize, cols: usize, len: usize) -> bool {
        let last = |n: usize, pitch: usize| (n - 1).checked_mul(pitch);
        match (last(rows, self.row), last(cols, self.col)) {
            (Some(a), Some(b)) => a.checked_add(b).is_some_and(|end| end < len),
            _ => false,
        }
    }
}

/// `c = a * b`, or `c += a * b` with `accumulate`, where c is `m` x `n` and the sums are over `k`.
///
/// # Panics
/// If a matrix leaves its slice or a size is 0: the caller's shape is wrong.
pub(crate) fn multiply<T: Element>(
    [m, k, n]: [usize; 3],
    a: Matrix<&[T]>,
    b: Matrix<&[T]>,
    c: Matrix<&mut [T]>,
    accumulate: bool,
) {
    assert!(m > 0 && k > 0 && n > 0, "{m} x {k} x {n}");
    assert!(a.fits(m, k, a.data.len()) && b.fits(k, n, b.data.len()), "{m} x {k} x {n}");
    // A c whose elements overlap would be written by two threads of matrixmultiply at once.
    let distinct = (c.row >= n && c.col == 1) || (c.col >= m && c.row == 1);
    assert!(c.fits(m, n, c.data.len()) && (distinct || n == 1 || m == 1), "{m} x {k} x {n}");
    let beta = if accumulate { T::ONE } else { T::ZERO };
    let signed = |n: usize| n as isize;
    let [ra, ca, rb, cb, rc, cc] = [a.row, a.col, b.row, b.col, c.row, c.col].map(signed);
    let (a, b, c) = (a.data.as_ptr(), b.data.as_ptr(), c.data.as_mut_ptr());
    let gemm = T::choose(Gemm);
    // SAFETY: `fits` has checked the furthest element of all three matrices against their
    // slices, `&mut` keeps c apart from a and b, and the elements of c are distinct.
    unsafe { gemm(m, k, n, T::ONE, a, ra, ca, b, rb, cb, beta, c, rc, cc) }
}
