//! What stands in the padding of an image.

use core::fmt;
use core::str::FromStr;

/// What a tap reads in the padding round an image: torch's `padding_mode`.
///
/// Of an axis with the elements `a b c d` and two elements of padding on each side:
///
/// | mode | padded | padding of a side |
/// |---|---|---|
/// | `Zeros` | `0 0 a b c d 0 0` | any |
/// | `Reflect` | `c b a b c d c b` | less than the input |
/// | `Replicate` | `a a a b c d d d` | any, of an input with elements |
/// | `Circular` | `c d a b c d a b` | at most the input |
///
/// Where a block of the image is copied for the kernels, its borders are filled so. The kernels of depthwise and of small
/// groups read the image in place: for them some images or channels at a time are written down with their padding, which
/// takes about as long as the layer itself, and several times as long where planes are tiny. The gradient of the input adds
/// to an element what all its copies get.
///
/// ```
/// use im2col::{Conv1d, PaddingMode};
/// let conv = Conv1d::<f32>::new([1, 1, 4], [1, 1, 3]).padding(1).padding_mode(PaddingMode::Reflect).plan()?;
/// let mut sums = [0.0; 4];
/// conv.forward(&[1.0, 2.0, 3.0, 4.0], &[1.0; 3]).run(&mut sums)?;
/// assert_eq!(sums, [2.0 + 1.0 + 2.0, 6.0, 9.0, 3.0 + 4.0 + 3.0]);
///
/// // Elements 2 and 3 are read once more than without the reflection.
/// let mut grad_input = [0.0; 4];
/// conv.backward_data(&[1.0; 3], &[1.0; 4]).run(&mut grad_input)?;
/// assert_eq!(grad_input, [2.0, 3.0 + 1.0, 3.0 + 1.0, 2.0]);
/// # Ok::<(), im2col::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
#[doc(alias("mirror", "edge", "wrap", "symmetric"))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum PaddingMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The image mirrored at its first and last element, which are not repeated.
    Reflect,
    /// The first and the last element, again and again.
    Replicate,
    /// The image once more: its end before its beginning.
    Circular,
}

impl PaddingMode {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Zeros, Self::Reflect, Self::Replicate, Self::Circular];

    /// Its name in torch.
    pub fn name(self) -> &'static str {
        match self {
            Self::Zeros => "zeros",
            Self::Reflect => "reflect",
            Self::Replicate => "replicate",
            Self::Circular => "circular",
        }
    }

    /// The most padding that a side of an axis with so many elements may have.
    pub(crate) fn most(self, input: usize) -> usize {
        match self {
            Self::Zeros => usize::MAX,
            Self::Reflect => input.saturating_sub(1),
            Self::Replicate if input == 0 => 0,
            Self::Replicate => usize::MAX,
            Self::Circular => input,
        }
    }
}

impl fmt::Display for PaddingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text isn't the name of a padding mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such padding mode: it must be zeros, reflect, replicate or circular")]
#[non_exhaustive]
pub struct ParsePaddingModeError;

/// From torch's names.
impl FromStr for PaddingMode {
    type Err = ParsePaddingModeError;

    fn from_str(text: &str) -> Result<Self, ParsePaddingModeError> {
        Self::ALL.iter().copied().find(|mode| mode.name() == text).ok_or(ParsePaddingModeError)
    }
}
