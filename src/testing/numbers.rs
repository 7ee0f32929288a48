//! What tensors are filled with, and what is put among it to hurt.

use crate::element::Element;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// What the numbers of a tensor look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fill {
    /// Between -1 and 1.
    Uniform,
    /// Around 0, with a deviation of 1.
    Normal,
    /// Whole numbers from -4 to 4. The sum of a million products is exact in f32, in any order.
    Integers,
    /// 1, 2, .. up to a prime period, over and over: exact, and nothing looks like its neighbour,
    /// whatever the row is long.
    Painted,
}

/// Fills whose sums are exact in f32 for the layers of the [families](super::families).
pub const EXACT: [Fill; 2] = [Fill::Integers, Fill::Painted];
/// Fills whose sums are rounded.
pub const ROUNDED: [Fill; 2] = [Fill::Uniform, Fill::Normal];

/// `len` numbers, the same in every run; another `tensor` gets others.
///
/// ```
/// use im2col::testing::{Fill, numbers};
/// assert_eq!(numbers::<f32>(Fill::Painted, 3, 9), [1., 2., 3., 4., 5., 6., 7., 1., 2.]);
/// assert_ne!(numbers::<f32>(Fill::Normal, 0, 9), numbers::<f32>(Fill::Normal, 1, 9));
/// ```
pub fn numbers<T: Element>(fill: Fill, tensor: usize, len: usize) -> Vec<T> {
    let mut rng = SmallRng::seed_from_u64(0x5eed + tensor as u64);
    let period = [13, 11, 17, 7, 19][tensor % 5];
    let number = |i| match fill {
        Fill::Uniform => rng.random_range(-1.0..1.0),
        Fill::Normal => {
            let (a, b): (f64, f64) = (rng.random_range(f64::EPSILON..1.0), rng.random());
            (-2.0 * a.ln()).sqrt() * (core::f64::consts::TAU * b).cos()
        }
        Fill::Integers => f64::from(rng.random_range(-4..=4)),
        Fill::Painted => (i % period + 1) as f64,
    };
    (0..len).map(number).map(T::from_f64).collect()
}

/// A number that arithmetic treats in a way of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Special {
    /// Not a number.
    Nan,
    /// Positive infinity.
    Infinity,
    /// Negative infinity.
    NegativeInfinity,
    /// -0, which is equal to 0 but has other bits.
    NegativeZero,
    /// A number so small that it has lost digits: 2⁻¹³³ in f32, 2⁻¹⁰⁵⁰ in f64.
    Denormal,
}

impl Special {
    /// Those that aren't finite.
    pub const NON_FINITE: [Special; 3] =
        [Special::Nan, Special::Infinity, Special::NegativeInfinity];

    /// The number itself.
    pub fn number<T: Element>(self) -> T {
        let single = size_of::<T>() == size_of::<f32>();
        T::from_f64(match self {
            Special::Nan => f64::NAN,
            Special::Infinity => f64::INFINITY,
            Special::NegativeInfinity => f64::NEG_INFINITY,
            Special::NegativeZero => -0.0,
            Special::Denormal if single => 2f64.powi(-133),
            Special::Denormal => f64::from_bits(1 << 24),
        })
    }
}

/// Puts a special number at one place.
///
/// # Panics
/// If the tensor has no such element.
pub fn place<T: Element>(tensor: &mut [T], special: Special, index: usize) {
    tensor[index] = special.number();
}

/// Puts a special number in about one of `one_in` places, the same ones in every run.
pub fn sprinkle<T: Element>(tensor: &mut [T], special: Special, one_in: u32) {
    let mut rng = SmallRng::seed_from_u64(0x5eed);
    let hit = tensor.iter_mut().filter(|_| rng.random_ratio(1, one_in.max(1)));
    hit.for_each(|x| *x = special.number());
}

/// What a destination holds that must not be read, and scratch before a call.
pub fn nan<T: Element>() -> T {
    Special::Nan.number()
}
