//! The four passes: each says which product over the patches it is.
//!
//! | pass | product |
//! |---|---|
//! | [`forward`] | `Y = W · cols` |
//! | [`backward_weight`] | `dW = dGᵀ · cols` |
//! | [`backward_data`] | `dV = col2im(dG · W)` |
//! | [`backward_bias`] | `db = Σ dG` |

pub(crate) mod backward_bias;
pub(crate) mod backward_data;
pub(crate) mod backward_weight;
pub(crate) mod bands;
pub(crate) mod depthwise;
pub(crate) mod few_pixels;
pub(crate) mod forward;
pub(crate) mod gather;
pub(crate) mod grouped;
pub(crate) mod inside;
pub(crate) mod phases;
pub(crate) mod scatter;
pub(crate) mod steps;

use crate::element::Element;
use crate::gemm::textbook::Matrix;
use crate::kernel::Kernels;
use crate::parallel::Parallelism;
use crate::shape::{Layout, Shape};
use core::ops::Range;

/// Terms that a stencil adds up in a row: with more, sums go to a product, which cuts them.
pub(crate) const STENCIL_TERMS: usize = 512;

/// A pass that takes scratch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pass {
    /// `output` from `input` and `weight`.
    #[doc(alias = "fprop")]
    Forward,
    /// `grad_input` from `weight` and `grad_output`.
    #[doc(alias("dgrad", "backward_input"))]
    BackwardData,
    /// `grad_weight` from `input` and `grad_output`.
    #[doc(alias("wgrad", "backward_filter"))]
    BackwardWeight,
}

/// What happens to the destination of a backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Write {
    /// The result replaces the destination, which is never read.
    #[default]
    Overwrite,
    /// The result is added to the destination.
    Accumulate,
}

/// A layer as the implicit passes run it.
pub(crate) struct Layer<'a, T: 'static> {
    pub(crate) shape: &'a Shape,
    pub(crate) kernels: &'static Kernels<T>,
    pub(crate) parallelism: Parallelism,
}

/// The weights of a gathering pass.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a, T> {
    /// As the caller's tensor.
    Raw(&'a [T]),
    /// As the pass packs them.
    Packed(&'a [T]),
}

/// Where the matrices of one group lie in the tensors of one image: the only place that knows
/// both layouts of the explicit algorithm.
#[derive(Clone, Copy)]
struct Group<'a> {
    shape: &'a Shape,
    index: usize,
}

impl<'a> Group<'a> {
    /// The group's input channels.
    fn channels(self) -> Range<usize> {
        let count = self.shape.group_in();
        self.index * count..(self.index + 1) * count
    }

    /// The elements of the group's weights within `weight`.
    fn weight_range(self) -> Range<usize> {
        let len = self.shape.group_out() * self.shape.patch_len();
        self.index * len..(self.index + 1) * len
    }

    /// The group's weights: a row for each output channel, a column for each element of a patch.
    fn weight<T>(self, weight: &[T]) -> Matrix<&[T]> {
        Matrix::rows(&weight[self.weight_range()], self.shape.patch_len())
    }

    /// The patch matrix: a row for each element of a patch, a column for each output pixel.
    fn cols<S>(self, cols: S) -> Matrix<S> {
        match self.shape.layout() {
            Layout::ChannelsFirst => Matrix::rows(cols, self.shape.output_pixels()),
            Layout::ChannelsLast => Matrix::rows(cols, self.shape.patch_len()).t(),
        }
    }

    /// Where the group's part of one image of the output begins.
    fn output_start(self) -> usize {
        let channel = self.index * self.shape.group_out();
        match self.shape.layout() {
            Layout::ChannelsFirst => channel * self.shape.output_pixels(),
            Layout::ChannelsLast => channel,
        }
    }

    /// One image of the output from [`output_start`](Self::output_start) on: a row for each of
    /// the group's output channels, a column for each output pixel.
    fn output<S>(self, output: S) -> Matrix<S> {
        match self.shape.layout() {
            Layout::ChannelsFirst => Matrix::rows(output, self.shape.output_pixels()),
            Layout::ChannelsLast => Matrix::rows(output, self.shape.out_channels()).t(),
        }
    }

    /// `[output channels, elements of a patch, output pixels]` of the group.
    fn sizes(self) -> [usize; 3] {
        [self.shape.group_out(), self.shape.patch_len(), self.shape.output_pixels()]
    }
}

/// The groups of a layer.
fn groups(shape: &Shape) -> impl Iterator<Item = Group<'_>> {
    (0..shape.groups()).map(move |index| Group { shape, index })
}

/// Elements of the patch matrix of one image and one group.
fn cols_piece(shape: &Shape) -> usize {
    shape.patch_len().saturating_mul(shape.output_pixels())
}

/// One image of a batch, where images have `len` elements.
fn image<T: Element>(tensor: &[T], n: usize, len: usize) -> &[T] {
    &tensor[n * len..][..len]
}
