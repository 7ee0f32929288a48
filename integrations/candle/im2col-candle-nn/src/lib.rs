//! `candle-nn`, all of it, with convolutions that [`im2col`](candle_im2col) computes on the CPU. In Cargo.toml:
//!
//! ```toml
//! candle-nn = { package = "im2col-candle-nn", version = "0.11" }
//! ```
//!
//! and no other line of a program changes: names, constructors, variables of checkpoints and devices are candle-nn's.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use im2col_candle_nn as candle_nn; // what the line in Cargo.toml does
//! use candle_nn::{Module, VarBuilder, VarMap};
//!
//! let vars = VarMap::new();
//! let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
//! let conv = candle_nn::conv2d(1, 8, 3, Default::default(), vb.pp("c1"))?;
//! let net = candle_nn::seq().add(conv).add(candle_nn::Activation::Relu);
//! assert_eq!(net.forward(&Tensor::ones((1, 1, 8, 8), DType::F32, &Device::Cpu)?)?.dims(), [1, 8, 6, 6]);
//! # Ok::<(), candle_core::Error>(())
//! ```

// What is named here goes before what the glob brings.
pub use candle_im2col::nn as conv;
pub use candle_im2col::nn::{
    Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, conv_transpose1d, conv_transpose1d_no_bias,
    conv_transpose2d, conv_transpose2d_no_bias, conv1d, conv1d_no_bias, conv2d, conv2d_no_bias,
};
pub use candle_nn::*;
