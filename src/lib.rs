//! The convolution layer on CPUs: the forward pass and the gradients of the weights, the input and the bias.
//!
//! Each is a matrix product over **cols**, the patch matrix: it has a row for each output pixel and a column for each
//! *tap*, a weight of one filter. With V for the input, W for the weight, G for the output, and dG for the gradient
//! that arrives from the next layer:
//!
//! | pass | product | call |
//! |---|---|---|
//! | forward | `G = cols·Wᵀ` | [`Plan::forward`] |
//! | gradient of the weights | `dW = dGᵀ·cols` | [`Plan::backward_weight`] |
//! | gradient of the input | `dV = col2im(dG·W)` | [`Plan::backward_data`] |
//! | gradient of the bias | `db = Σ dG` | [`Plan::backward_bias`] |
//!
//! cols is never written to memory: the kernels read the image where it lies.
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
//! Layers have one, two or three spatial axes, any stride, dilation, padding on each side ([`PaddingMode`]) and groups.
//! Elements are `f32` or `f64`, tensors lie channels first or channels last ([`Layout`]).
//!
//! # Where to begin
//!
//! - **Inference.** [`Conv2d`] (or [`Conv1d`], [`Conv3d`], [`ConvTranspose2d`]) describes a layer, and `plan` checks it
//!   and chooses how to compute. Pack the weights once with [`Plan::pack_weight`], and let bias, residual and activation
//!   ride along with the store: [`Forward`].
//! - **Training.** [`Plan::backward_weight`] and [`Plan::backward_data`] overwrite their gradients, or add to them with
//!   `accumulate`. With `mask` they read the gradient through the layer's activation, and `grad_bias` gives that of the bias as well.
//! - **Varying batches.** [`Plan::with_batch`] and [`Plan::with_input`] cost a fraction of a plan and keep its schedules; an image
//!   has the same bits in a batch of any size.
//! - **Your own framework.** [`Params`], [`Shape`] and [`Plan::new`] take sizes as numbers, for any number of axes; a
//!   [`Shape`] is `Copy`, `Eq` and `Hash`, so that it can be the key of a cache of plans. A call allocates nothing if it is
//!   lent [`Plan::scratch_len`] elements, and it runs on the [`Executor`] that it is lent.
//! - **Your own kernel.** The feature `testing` has a kit of property tests; [`mod@reference`] holds the loops that
//!   judge everything, and [`Shape::patches`] says which input element each element of cols is. [`im2col()`] and
//!   [`col2im()`] write cols out, and add it up.
//! - **Numbers.** By default every element keeps a proven bound. [`Accuracy`] allows Winograd's algorithms, which are
//!   faster and less exact. The same plan gives the same bits at any number of threads.
//! - **Tuning.** [`Plan::explain`] says what was chosen. The variable `IM2COL_ISA` lowers the instruction set.
//!
//! # Habits from torch
//!
//! Sizes, strides, padding, dilation and groups mean what they mean in torch. Weights are `[K, C/groups, R, S]` channels
//! first, and `[K, R, S, C/groups]` channels last. Padding may differ on each side. Results are written into
//! slices of the caller's; nothing is returned.

#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(docsrs, feature(doc_cfg))]

extern crate alloc;

mod activation;
mod axis;
mod batch_norm;
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
mod numerics;
mod options;
mod packed;
mod padding;
mod parallel;
mod params;
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
pub use batch_norm::{BatchNorm, fold_batch_norm, fold_batch_norm_transposed};
pub use call::{BackwardBias, BackwardData, BackwardWeight, Forward, Output};
pub use choose::schedule::{Corner, Engine, Padding, ParseScheduleError, Schedule, Staging};
pub use conv::{Conv, Conv1d, Conv2d, Conv3d, PerAxis};
pub use element::Element;
pub use error::{Error, Size};
pub use kernel::{Isa, ParseIsaError};
pub use options::{Accuracy, Algorithm, Options};
pub use packed::{PackedWeight, Weight};
pub use padding::{PaddingMode, ParsePaddingModeError};
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
