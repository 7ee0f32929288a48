//! The function that a layer's outputs go through, where it is cheap enough to ride along.

use crate::element::Element;
use crate::error::{Bound, Error};

/// What `forward` does to each output as it stores it.
///
/// ```
/// use im2col::{Activation, Conv1d};
/// let conv = Conv1d::<f32>::new([1, 1, 3], [1, 1, 1]).activation(Activation::Relu).plan()?;
/// let mut output = [0.0; 3];
/// conv.forward(&[-1.0, 0.5, 2.0], &[2.0]).run(&mut output)?;
/// assert_eq!(output, [0.0, 1.0, 4.0]);
/// # Ok::<(), im2col::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Activation<T> {
    /// Nothing.
    #[default]
    None,
    /// `max(0, x)`; NaN stays NaN.
    Relu,
    /// `x` kept between the two, of which the first is the lower; NaN stays NaN. `Clamp(0.0, 6.0)` is ReLU6.
    #[doc(alias("relu6", "hardtanh"))]
    Clamp(T, T),
}

impl<T: Element> Activation<T> {
    /// It, if something is between its bounds.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        match self.bounds() {
            Some([low, high]) if low <= high => Ok(self),
            // Bounds in the wrong order, or NaN.
            Some([low, high]) => Err(Error::Clamp { low: Bound::new(low), high: Bound::new(high) }),
            None => Ok(self),
        }
    }

    /// The lowest and the highest output, if any.
    pub(crate) fn bounds(self) -> Option<[T; 2]> {
        match self {
            Activation::None => None,
            Activation::Relu => Some([T::ZERO, T::INFINITY]),
            Activation::Clamp(low, high) => Some([low, high]),
        }
    }
}
