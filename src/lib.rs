//! The convolution layer on CPUs: forward, gradient of the weights, gradient of the input,
//! gradient of the bias. Each is a matrix product over the image's patches ("cols").
//!
//! | pass | product | call |
//! |---|---|---|
//! | forward | `Y = W · cols` | [`Plan::forward`] |
//! | gradient of the weights | `dW = dGᵀ · cols` | [`Plan::backward_weight`] |
//! | gradient of the input | `dV = col2im(dG · W)` | [`Plan::backward_data`] |
//! | gradient of the bias | `db = Σ dG` | [`Plan::backward_bias`] |
//!
//! A layer is described as torch prints it, planned once, and used from any number of threads:
//!
//! ```
//! use im2col::Conv2d;
//! let (n, c, h, w, k) = (2, 3, 8, 8, 4);
//! let conv = Conv2d::<f32>::new([n, c, h, w], [k, c, 3, 3]).stride(2).padding(1).plan()?;
//! let (input, weight) = (vec![1.0; n * c * h * w], vec![0.5; k * c * 9]);
//! assert_eq!(conv.output_shape(), [2, 4, 4, 4]);
//! let mut output = vec![0.0; conv.shape().output_len()];
//! conv.forward(&input, &weight).bias(&[0.0; 4]).run(&mut output)?;
//!
//! let grad_output = output; // of E = Σ output² / 2
//! let mut grad_weight = vec![0.0; weight.len()];
//! let mut grad_input = vec![0.0; input.len()];
//! let mut grad_bias = vec![0.0; k];
//! conv.backward_weight(&input, &grad_output).run(&mut grad_weight)?;
//! conv.backward_data(&weight, &grad_output).run(&mut grad_input)?;
//! conv.backward_bias(&grad_output).run(&mut grad_bias)?;
//! # Ok::<(), im2col::Error>(())
//! ```
//!
//! One, two or three spatial axes, any stride, dilation, per-side padding and groups, f32 and
//! f64, channels first and channels last. [`mod@reference`] holds the naive loops that judge
//! everything else; [`im2col()`] and [`col2im()`] are the patch matrix and its adjoint;
//! [`Shape::patches`] says which input element each of its elements is.

#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

mod activation;
mod call;
#[cfg(feature = "capi")]
#[allow(unsafe_code, reason = "raw pointers from C: every block says why it is sound")]
pub mod capi;
mod choose;
mod conv;
mod element;
mod engine;
mod error;
#[allow(unsafe_code, reason = "raw matrices: every block says why it is sound")]
mod gemm;
#[allow(unsafe_code, reason = "intrinsics and raw tiles: every block says why it is sound")]
#[allow(clippy::needless_range_loop, reason = "indices are register numbers")]
mod kernel;
mod options;
mod packed;
mod parallel;
mod pass;
mod plan;
#[cfg(feature = "std")]
mod plans;
pub mod reference;
mod scratch;
mod shape;
#[cfg(feature = "testing")]
pub mod testing;
mod transposed;
mod view;

pub use activation::Activation;
pub use call::{BackwardBias, BackwardData, BackwardWeight, Forward, Output};
pub use choose::schedule::{Corner, Engine, Padding, ParseScheduleError, Schedule, Staging};
pub use conv::{Conv, Conv1d, Conv2d, Conv3d, PerAxis};
pub use element::Element;
pub use error::{Error, Size};
pub use kernel::{Isa, ParseIsaError};
pub use options::{Accuracy, Algorithm, Options};
pub use packed::{PackedWeight, Weight};
#[cfg(feature = "rayon")]
#[cfg_attr(docsrs, doc(cfg(feature = "rayon")))]
pub use parallel::pools::Rayon;
pub use parallel::{Executor, Serial};
pub use pass::{Pass, Write};
pub use plan::Plan;
#[cfg(feature = "std")]
#[cfg_attr(docsrs, doc(cfg(feature = "std")))]
pub use plans::Plans;
pub use shape::{Axis, Dims, Layout, MAX_AXES, Params, Shape};
pub use transposed::{
    ConvTranspose, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d, TransposedPlan,
};
pub use view::im2col::{col2im, im2col};
pub use view::map::{PatchMap, Term};
