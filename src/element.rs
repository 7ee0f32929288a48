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
    //! Keeps [`super::Element`] to the two types, and lets other rooms keep something for each of them.

    /// One of the two element types.
    #[allow(unreachable_pub, reason = "a supertrait must be as public as its trait")]
    pub trait Sealed: Sized + 'static {
        /// What `of` has for this type.
        fn choose<C: super::ForElement>(of: C) -> C::Value<Self>;
    }

    impl Sealed for f32 {
        fn choose<C: super::ForElement>(of: C) -> C::Value<f32> {
            of.f32()
        }
    }

    impl Sealed for f64 {
        fn choose<C: super::ForElement>(of: C) -> C::Value<f64> {
            of.f64()
        }
    }
}

/// Something that there is for each element type, made by functions that aren't generic: kernels, a table of
/// compiled passes. So those who have it know of elements, and elements don't know of them.
pub trait ForElement {
    /// What there is for `T`.
    type Value<T: 'static>;
    /// For `f32`.
    fn f32(self) -> Self::Value<f32>;
    /// For `f64`.
    fn f64(self) -> Self::Value<f64>;
}

/// The smallest whole number that isn't less, for sizes that are exact.
pub(crate) fn ceil(x: f64) -> f64 {
    let whole = x as u64 as f64;
    if whole < x { whole + 1.0 } else { whole }
}
