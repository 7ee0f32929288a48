//! The C interface, declared in `include/im2col.h` (generated from `capi/` by cbindgen).
//!
//! Everything here is translation, nothing computes: raw pointers become slices of the plan's
//! lengths, errors and panics become a status and a message, and the element type that C
//! passes as a number picks `Plan<f32>` or `Plan<f64>`. Types and constants bear their C
//! names; the doc comments are the header's comments, so they speak to a C programmer.
//!
//! # Safety
//! What can be checked is checked: NULL, alignment, numbers out of range, lengths, buffers that
//! share memory. Left to the caller of every function here is what C can't tell: a pointer that
//! is neither NULL nor misaligned must point to live memory, of the plan's length, that no other
//! thread writes (or, for what the call writes, touches) during the call; a plan must come from
//! [`im2col_conv_create`] and not have been destroyed.
#![allow(non_camel_case_types, reason = "types bear their C names")]
#![allow(clippy::missing_safety_doc, reason = "one contract for all, in the module's `# Safety`")]

mod boundary;
mod calls;
mod conv;
mod layer;
mod numbers;
mod plans;
mod threads;
mod types;

pub use calls::*;
pub use conv::{
    im2col_col2im, im2col_conv_backward_bias, im2col_conv_backward_data,
    im2col_conv_backward_weight, im2col_conv_create, im2col_conv_destroy, im2col_conv_forward,
    im2col_conv_output, im2col_conv_scratch_bytes, im2col_im2col, im2col_isa, im2col_last_error,
    im2col_set_num_threads, im2col_version,
};
pub use layer::{im2col_conv, im2col_packed};
pub use numbers::*;
pub use plans::*;
pub use types::*;
