//! `burn::nn`, all of it, with convolutions that im2col computes where it [takes](crate::takes) the input.

pub use burn::nn::*;

// What is named here goes before what the glob brings.
pub mod conv;
