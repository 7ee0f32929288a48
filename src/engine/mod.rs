//! The engines: each computes passes in one way.
//!
//! [`implicit`] and [`backward_weight`] are matrix products over the view of cols, [`few_pixels`] the
//! same with a small cols that is written out, [`direct`] runs stencils where a group has few channels,
//! [`winograd`] multiplies less, in a basis without taps, [`explicit`] is the textbook, and [`bias`] sums the channels
//! of the gradient of the output.

pub(crate) mod around;
pub(crate) mod backward_weight;
pub(crate) mod bias;
pub(crate) mod classes;
pub(crate) mod direct;
pub(crate) mod explicit;
pub(crate) mod few_pixels;
pub(crate) mod implicit;
pub(crate) mod mask;
mod pack;
mod partial_sums;
pub(crate) mod regions;
pub(crate) mod steps;
pub(crate) mod winograd;

use crate::kernel::Kernels;
use crate::parallel::Parallelism;
use crate::shape::Shape;

/// A layer as the implicit passes run it.
pub(crate) struct Layer<'a, T: 'static> {
    pub(crate) shape: &'a Shape,
    pub(crate) kernels: &'static Kernels<T>,
    pub(crate) parallelism: Parallelism<'a>,
}

/// The weights of a product pass.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a, T> {
    /// As the caller's tensor.
    Raw(&'a [T]),
    /// As the pass packs them.
    Packed(&'a [T]),
}
