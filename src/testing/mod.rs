//! What judges this crate, for your own kernels and layers (feature `testing`).
//!
//! Convolution code is wrong at the edges: one tap of padding too many, a stride that a tail
//! forgets, a gradient that is right but for the last channel. This is the kit that our own tests
//! use, and they use nothing else: layers drawn from families that each go where the others rarely
//! are, numbers whose sums are exact, the naive loops in f64, the error that rounding may make, and
//! a report that names the products behind a wrong element.
//!
//! ```
//! use im2col::testing::{Call, Family, Fill, Layer, Tolerance, for_layers};
//! use im2col::{Pass, Shape, Write, reference};
//!
//! /// The kernel under test: yours.
//! fn forward(shape: &Shape, input: &[f32], weight: &[f32], output: &mut [f32]) {
//!     output.fill(0.0);
//!     reference::terms(shape, |o, i, w| output[o] += input[i] * weight[w]);
//! }
//!
//! // 20 grouped layers, the smallest that fails is the one that is reported.
//! for_layers(&Family::grouped(), 20, |params| {
//!     let layer = Layer::<f32>::new(params, Fill::Integers);
//!     let mut output = vec![f32::NAN; layer.shape.output_len()];
//!     forward(&layer.shape, &layer.input, &layer.weight, &mut output);
//!     let expected = layer.expected(Call::Pass(Pass::Forward, Write::Overwrite));
//!     expected.assert_close("my kernel", &output, Tolerance::Exact);
//! });
//! ```
//!
//! `examples/test_your_kernel.rs` tests a kernel of its own, all three passes of it, and shows what
//! the report on a broken one looks like.
//!
//! | to | use |
//! |---|---|
//! | draw layers | [`Family`], [`families`], [`for_layers`], [`for_families`] |
//! | draw them for a `proptest!` | [`Family::layers`], a strategy |
//! | fill tensors | [`Fill`], [`numbers`]; [`Special`], [`place`], [`sprinkle`] |
//! | know the answer | [`Layer::expected`], and [`mod@crate::reference`] below it |
//! | compare | [`Expected::assert_close`], [`Tolerance`], [`contract`], [`bits`] |
//! | check gradients | [`assert_adjoint`], [`assert_gradient`] |
//! | see what is touched | [`Guarded`]: tensors that end (or start) where memory does (on Unix) |
//! | run this crate's plans | [`Layer::run`], [`plans`], [`isas`] |

mod compare;
mod families;
mod gradients;
#[cfg(unix)]
#[allow(unsafe_code, reason = "pages come from the system: every block says why it is sound")]
mod guarded;
mod layer;
mod model;
mod numbers;
mod report;
mod units;

pub use compare::{Expected, Tolerance, bits, contract, dot};
pub use families::{Family, families, for_families, for_layers};
pub use gradients::{assert_adjoint, assert_gradient};
#[cfg(unix)]
pub use guarded::{EDGES, Edge, Guarded};
pub use layer::{Call, Layer, PASSES, WRITES, calls, isas, plans};
pub use model::{Machine, Model};
pub use numbers::{EXACT, Fill, ROUNDED, Special, nan, numbers, place, sprinkle};
pub use report::Mismatch;
#[doc(hidden)]
pub use units::{Unit, units};
