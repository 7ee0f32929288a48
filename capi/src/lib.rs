//! `im2col` as a shared and a static library: what `im2col::capi` exports, linked for C.
#[cfg(feature = "capi")]
pub use im2col::capi::*;
