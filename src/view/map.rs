//! Cols as a map: for a tap and an output position, which input element, or padding.
//!
//! This is what one asks who wants to draw a layer, to check one, or to write another algorithm
//! for it. The passes don't use it: they walk along whole rows of cols (`patches`, `im2col`).
//! Those, the naive loops and this map all rest on [`Axis::source`](crate::Axis::source), and
//! the tests hold them against each other element by element.

use crate::error::{Error, check_index};
use crate::shape::{Layout, MAX_AXES, Shape, flat};

/// One product of a layer: `output[output] += input[input] * weight[weight]`.
///
/// By the chain rule the same product gives `grad_weight[weight] += grad_output[output] *
/// input[input]` and `grad_input[input] += grad_output[output] * weight[weight]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Term {
    /// Element of `output` and `grad_output`.
    pub output: usize,
    /// Element of `weight` and `grad_weight`.
    pub weight: usize,
    /// Element of `input` and `grad_input`; `None` where the tap reads padding, a zero.
    pub input: Option<usize>,
}

/// The patch matrix as a map, made by [`Shape::patches`]: every product of a layer, by place.
///
/// A product has three coordinates: an output channel (of `K`), a tap (of `C / groups * kernel`,
/// the elements of one filter in the order in which `weight` holds them) and an output position
/// (of `N * output pixels`, image by image). All indices are those of the dense tensors in the
/// shape's layout.
///
/// ```
/// use im2col::{Conv2d, Term};
/// // The 3x3 image V1..V9 under the 2x2 filter W1..W4 makes the 2x2 output G1..G4.
/// let conv = Conv2d::<f32>::new([1, 1, 3, 3], [1, 1, 2, 2]).plan()?;
/// let patches = conv.shape().patches();
/// assert_eq!((patches.taps(), patches.positions()), (4, 4));
/// // For G2 the third weight lies on V5. Indices count from 0.
/// assert_eq!(patches.term(0, 2, 1)?, Term { output: 1, weight: 2, input: Some(4) });
/// // The gradient of W1 has a term for each place where W1 lies: V1, V2, V4, V5.
/// let places = patches.terms().filter(|term| term.weight == 0);
/// assert!(places.map(|term| term.input).eq([Some(0), Some(1), Some(3), Some(4)]));
///
/// // With padding, the first tap of the first output lies outside of the image.
/// let conv = Conv2d::<f32>::new([1, 1, 3, 3], [1, 1, 2, 2]).padding([1, 1]).plan()?;
/// assert_eq!(conv.shape().patches().term(0, 0, 0)?.input, None);
/// # Ok::<(), im2col::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PatchMap<'a> {
    shape: &'a Shape,
}

impl Shape {
    /// Which input element each tap reads at each output position.
    #[doc(alias("unfold", "im2col", "receptive_field"))]
    pub fn patches(&self) -> PatchMap<'_> {
        PatchMap { shape: self }
    }
}

impl PatchMap<'_> {
    /// Elements of one filter: `C / groups * kernel`, the terms of one output.
    pub fn taps(&self) -> usize {
        self.shape.patch_len()
    }

    /// Places where a filter lies: `N * output pixels`.
    pub fn positions(&self) -> usize {
        self.shape.batch() * self.shape.output_pixels()
    }

    /// The product of one tap of one output channel's filter at one output position.
    ///
    /// # Errors
    /// [`Error::Index`] names the coordinate that the layer doesn't have.
    pub fn term(&self, channel: usize, tap: usize, position: usize) -> Result<Term, Error> {
        check_index("output channel", self.shape.out_channels(), channel)?;
        check_index("tap", self.taps(), tap)?;
        check_index("output position", self.positions(), position)?;
        Ok(self.term_of(channel, tap, position))
    }

    /// Every product of the layer: channel by channel, position by position, tap by tap.
    pub fn terms(self) -> impl Iterator<Item = Term> {
        let positions = move |channel| (0..self.positions()).map(move |at| (channel, at));
        (0..self.shape.out_channels()).flat_map(positions).flat_map(move |(channel, at)| {
            (0..self.taps()).map(move |tap| self.term_of(channel, tap, at))
        })
    }

    fn term_of(&self, channel: usize, tap: usize, position: usize) -> Term {
        let shape = self.shape;
        let axes = shape.axes3();
        let (image, pixel) = (position / shape.output_pixels(), position % shape.output_pixels());
        let taps = shape.kernel_taps();
        let (group_channel, kernel_tap) = match shape.layout() {
            Layout::ChannelsFirst => (tap / taps, tap % taps),
            Layout::ChannelsLast => (tap % shape.group_in(), tap / shape.group_in()),
        };
        let at = unflat(pixel, axes.map(|a| a.output));
        let kernel_at = unflat(kernel_tap, axes.map(|a| a.kernel));
        let mut source = [Some(0); MAX_AXES];
        for (a, axis) in axes.iter().enumerate() {
            source[a] = axis.source(at[a], kernel_at[a]);
        }
        let input = match source {
            [Some(z), Some(y), Some(x)] => {
                let in_channel = channel / shape.group_out() * shape.group_in() + group_channel;
                let pixel = flat([z, y, x], axes.map(|a| a.input));
                Some(shape.index(
                    [image, in_channel, pixel],
                    shape.in_channels(),
                    shape.input_pixels(),
                ))
            }
            _ => None,
        };
        Term {
            output: shape.index(
                [image, channel, pixel],
                shape.out_channels(),
                shape.output_pixels(),
            ),
            weight: channel * self.taps() + tap,
            input,
        }
    }
}

/// The position whose row-major number among `sizes` is `flat`.
fn unflat(flat: usize, [_, h, w]: [usize; MAX_AXES]) -> [usize; MAX_AXES] {
    [flat / w / h, flat / w % h, flat % w]
}
