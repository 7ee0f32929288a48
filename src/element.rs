//! The two element types, f32 and f64: what the passes ask of a number.

use core::fmt::{Debug, Display};
use core::ops::{Add, AddAssign, Mul};

/// `f32` or `f64`. Sealed: the kernels exist for these two.
pub trait Element:
    Copy
    + Default
    + Debug
    + Display
    + PartialOrd
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + AddAssign
    + Mul<Output = Self>
    + Into<f64>
    + sealed::Sealed
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Positive infinity.
    const INFINITY: Self;
    /// The distance from 1 to the next larger number.
    const EPSILON: f64;

    /// The nearest element to `x`.
    fn from_f64(x: f64) -> Self;

    /// The element kept between `low` and `high`; NaN stays NaN.
    fn clamp_to(self, low: Self, high: Self) -> Self {
        if self < low {
            low
        } else if self > high {
            high
        } else {
            self
        }
    }
}

impl Element for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const INFINITY: Self = f32::INFINITY;
    const EPSILON: f64 = f32::EPSILON as f64;

    fn from_f64(x: f64) -> Self {
        x as f32
    }
}

impl Element for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
    const INFINITY: Self = f64::INFINITY;
    const EPSILON: f64 = f64::EPSILON;

    fn from_f64(x: f64) -> Self {
        x
    }
}

pub(crate) mod sealed {
    //! Keeps [`super::Element`] to the types that have kernels and passes.
    use crate::gemm::textbook::Gemm;
    use crate::kernel::HasKernels;
    use crate::plan::HasPasses;

    /// Everything that kernels and passes need of their element type.
    #[allow(unreachable_pub, reason = "a supertrait must be as public as its trait")]
    pub trait Sealed: Gemm + HasKernels + HasPasses {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}
