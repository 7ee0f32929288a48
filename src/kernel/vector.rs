//! What a kernel asks of a SIMD register: the instruction set of the loops in `body`.

/// A register of `LANES` elements.
///
/// # Safety
/// An implementation does what its methods say, and touches no memory but what they name. All
/// methods share one contract: the caller runs with the target features that the implementation
/// needs, and pointers are good for the elements named.
pub(crate) unsafe trait Vector: Copy {
    /// `f32` or `f64`.
    type Element: Copy;

    /// Elements in a register.
    const LANES: usize;

    /// `x` in every lane.
    unsafe fn splat(x: Self::Element) -> Self;
    /// Reads `LANES` elements at `p`, of any alignment.
    unsafe fn load(p: *const Self::Element) -> Self;
    /// Writes `LANES` elements at `p`, of any alignment.
    unsafe fn store(self, p: *mut Self::Element);
    /// Reads the first `n <= LANES` elements at `p` and nothing else; the other lanes are 0.
    unsafe fn load_first(p: *const Self::Element, n: usize) -> Self;
    /// Reads lanes `low..high` of `LANES` elements `step` apart at `p`, and nothing else; the other
    /// lanes are 0. Nothing is read if `low >= high`; `p` itself need not be good.
    unsafe fn load_between(p: *const Self::Element, step: usize, low: usize, high: usize) -> Self;
    /// Writes the first `n <= LANES` elements at `p` and nothing else.
    unsafe fn store_first(self, p: *mut Self::Element, n: usize);
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self * b + c`, rounded once where the machine can.
    unsafe fn mul_add(self, b: Self, c: Self) -> Self;
    /// `self` kept between `low` and `high`; NaN stays NaN.
    unsafe fn clamp(self, low: Self, high: Self) -> Self;
    /// Transposes: reads `width <= LANES` elements at each of the `LANES` pointers and writes
    /// `width` rows of `LANES` elements, row `i` at `to + i * step`.
    unsafe fn transpose(
        rows: *const *const Self::Element,
        width: usize,
        to: *mut Self::Element,
        step: isize,
    );
    /// Tells the cache that `p`, which need not be good, will soon be written.
    #[inline(always)]
    unsafe fn prefetch_write(_p: *const Self::Element) {}
}
