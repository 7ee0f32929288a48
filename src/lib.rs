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
//! # Inference
//!
//! [`Conv2d`] (or [`Conv1d`], [`Conv3d`], [`ConvTranspose2d`]) describes a layer; `plan` checks it and chooses how to
//! compute. Say that the plan is for inference, pack the weights once, and let the call add the bias and apply the
//! activation as it stores its sums:
//!
//! ```
//! use im2col::{Activation, Conv2d, Pass};
//! let layer = Conv2d::<f32>::new([1, 3, 8, 8], [4, 3, 3, 3]).same().activation(Activation::Relu);
//! let layer = layer.inference().plan()?;
//! let packed = layer.pack_weight(Pass::Forward, &[0.5; 4 * 3 * 9])?;
//! let mut output = vec![0.0; layer.shape().output_len()];
//! layer.forward(&[1.0; 3 * 8 * 8], &packed).bias(&[0.1; 4]).run(&mut output)?;
//!
//! // Another batch: the same packed weights.
//! let layer = layer.with_batch(5)?;
//! let mut output = vec![0.0; layer.shape().output_len()];
//! layer.forward(&[1.0; 5 * 3 * 8 * 8], &packed).bias(&[0.1; 4]).run(&mut output)?;
//! # Ok::<(), im2col::Error>(())
//! ```
//!
//! [`Plan::with_batch`] and [`Plan::with_input`] cost a fraction of a plan, and an image has the same bits in a batch of any
//! size. Weights that one of these plans packed serve all of them. [`fold_batch_norm`] makes a trained normalisation a part
//! of the weights.
//!
//! # Training
//!
//! The backward calls overwrite their gradients, or add to them with `accumulate`. With `mask` they read the gradient
//! through the layer's fused activation, and `grad_bias` gives the bias's gradient in the same call. A step of gradient descent:
//!
//! ```
//! use im2col::{Activation, Conv1d};
//! let layer = Conv1d::<f32>::new([1, 1, 4], [1, 1, 2]).activation(Activation::Relu).plan()?;
//! let (input, target, rate) = ([1.0, 2.0, 3.0, 4.0], [3.0, 5.0, 7.0], 0.02);
//! let (mut weight, mut bias) = ([0.5, 0.5], [0.0]);
//! let (mut output, mut grad_weight, mut grad_bias) = ([0.0; 3], [0.0; 2], [0.0]);
//! for _ in 0..200 {
//!     layer.forward(&input, &weight).bias(&bias).run(&mut output)?;
//!     // The gradient of half the sum of the squared differences.
//!     let grad_output: Vec<f32> = output.iter().zip(target).map(|(y, t)| y - t).collect();
//!     let call = layer.backward_weight(&input, &grad_output).mask(&output);
//!     call.grad_bias(&mut grad_bias).run(&mut grad_weight)?;
//!     weight.iter_mut().zip(grad_weight).for_each(|(w, dw)| *w -= rate * dw);
//!     bias[0] -= rate * grad_bias[0];
//! }
//! assert!(output.iter().zip(target).all(|(y, t)| (y - t).abs() < 0.1));
//! # Ok::<(), im2col::Error>(())
//! ```
//!
//! [`Plan::backward_data`] gives the gradient that the layer before receives.
//!
//! # Your own framework
//!
//! [`Params`], [`Shape`] and [`Plan::new`] take sizes as numbers, for any number of axes; [`Plans`] keeps plans by their
//! `Params`. A call allocates nothing if it is lent [`Plan::scratch_len`] elements, it runs on the [`Executor`] that it is
//! lent, and it writes to uninitialised memory ([`Output`]) as well:
//!
//! ```
//! # #[cfg(feature = "std")] {
//! use im2col::{Params, Pass, Plans, Serial};
//! let plans = Plans::<f32>::new();
//! // Two axes, as by default: what is past them is ignored.
//! let params = Params { in_channels: 3, out_channels: 4, input: [8, 8, 1], kernel: [3, 3, 1], ..Params::default() };
//! let plan = plans.get(&params)?;
//! let mut scratch = vec![0.0; plan.scratch_len(Pass::Forward)];
//! let mut output = Vec::with_capacity(plan.shape().output_len());
//! let call = plan.forward(&[1.0; 3 * 8 * 8], &[0.5; 4 * 3 * 9]).scratch(&mut scratch).executor(&Serial);
//! call.run(&mut output.spare_capacity_mut()[..plan.shape().output_len()])?;
//! # }
//! # Ok::<(), im2col::Error>(())
//! ```
//!
//! # Your own kernel
//!
//! The feature `testing` has a kit of property tests. [`mod@reference`] holds the plain loops that every result is
//! compared with, [`Shape::patches`] says which element of the input each element of cols is, and [`im2col()`] and
//! [`col2im()`] write cols to memory and add it up:
//!
//! ```
//! use im2col::{Conv2d, Write, col2im, im2col};
//! // Four pixels of four taps each.
//! let shape = Conv2d::<f32>::new([1, 1, 3, 3], [1, 1, 2, 2]).shape()?;
//! let image = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
//! let (mut cols, mut sums) = (vec![0.0; shape.cols_len()?], [0.0; 9]);
//! im2col(&shape, &image, &mut cols)?;
//! col2im(&shape, &cols, &mut sums, Write::Overwrite)?;
//! assert_eq!(sums[4], 4.0 * image[4]); // the middle belongs to all four
//! # Ok::<(), im2col::Error>(())
//! ```
//!
//! # Numerics
//!
//! By default every element keeps a proven bound, and whole numbers whose sums stay below 2²⁴ are exact in `f32`. [`Accuracy`]
//! allows Winograd's algorithms, which are faster and less exact. The same plan gives the same bits at any number of threads.
//!
//! # Tuning
//!
//! [`Plan::explain`] says in words what was chosen, and [`Plan::schedule`] as data that can be kept, printed and
//! [given back](Plan::with_schedule). The environment variable `IM2COL_ISA` lowers the instruction set ([`Isa::best`]). In debug
//! builds of your program let cargo optimise this crate, by these lines in `Cargo.toml`:
//!
//! ```toml
//! [profile.dev.package."*"]
//! opt-level = 3
//! debug-assertions = false
//! ```
//!
//! # Habits from torch
//!
//! Sizes, strides, padding, dilation and groups mean what they mean in torch. Weights are `[K, C/groups, R, S]` channels
//! first, and `[K, R, S, C/groups]` channels last; TensorFlow's, `[R, S, C/groups, K]`, have to be permuted. Padding may differ on each side. Sizes are always given in torch's order,
//! batch and channels first, whichever way the tensors lie. A tensor in the other order has the same length, so nothing can
//! notice it: permute it first. Results are written into the slice that `run` is given.

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
pub use error::{Bound, Error, Size};
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
