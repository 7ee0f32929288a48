//! Convolutions for [burn] on CPUs, with all gradients, computed by [`im2col`].
//!
//! Layers by the one changed line of a program, with the names, configurations and records of burn's:
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use burn_im2col::nn::{PaddingConfig2d, conv::Conv2dConfig}; // instead of burn::nn
//!
//! let device = Device::flex();
//! let layer = Conv2dConfig::new([3, 16], [3, 3]).with_padding(PaddingConfig2d::Same).init(&device);
//! assert_eq!(layer.forward(Tensor::ones([1, 3, 8, 8], &device)).dims(), [1, 16, 8, 8]);
//! ```
//!
//! and functions with the arguments of `burn::tensor::module`:
//!
//! ```
//! use burn::tensor::{Device, Tensor, ops::ConvOptions};
//!
//! let device = Device::flex().autodiff();
//! let x = Tensor::<4>::ones([2, 3, 8, 8], &device); // [N, C, H, W]
//! let w = Tensor::<4>::ones([4, 3, 3, 3], &device).require_grad(); // [K, C / groups, R, S]
//! let y = burn_im2col::conv2d(x.clone(), w.clone(), None, ConvOptions::new([2, 2], [1, 1], [1, 1], 1));
//! assert_eq!(y.dims(), [2, 4, 4, 4]);
//! let grads = y.sum().backward();
//! assert!(w.grad(&grads).is_some() && x.grad(&grads).is_none());
//! ```
//!
//! f32 and f64 tensors on the Flex backend come here, with and without autodiff; all others go to burn's own
//! convolutions, as does what burn refuses, so that its messages stay burn's. Only gradients that are asked for are
//! computed.

mod extension;
pub mod flex;
mod frozen;
pub mod nn;
mod product;

pub use extension::Im2col;
pub use product::{Pass, Product};

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{DType, Device, Tensor, module};

/// Whether im2col computes convolutions of tensors like this one: f32 or f64 on the Flex backend.
pub fn takes<const D: usize>(tensor: &Tensor<D>) -> bool {
    matches!(tensor.dtype(), DType::F32 | DType::F64) && is_flex(&tensor.device())
}

fn is_flex(device: &Device) -> bool {
    matches!(device.clone().inner().as_dispatch(), DispatchDevice::Flex(_))
}

/// A convolution over one axis: `x` `[N, C, L]`, `weight` `[K, C / groups, R]`, `bias` `[K]`.
///
/// # Panics
/// As [`burn::tensor::module::conv1d`].
pub fn conv1d(
    x: Tensor<3>,
    weight: Tensor<3>,
    bias: Option<Tensor<1>>,
    options: impl Into<ConvOptions<1>>,
) -> Tensor<3> {
    let options = options.into();
    match of_conv(&x, &weight, bias.as_ref(), &options) {
        Some(product) => run(product, x, weight, bias),
        None => module::conv1d(x, weight, bias, options),
    }
}

/// A convolution over two axes: `x` `[N, C, H, W]`, `weight` `[K, C / groups, R, S]`, `bias` `[K]`.
///
/// # Panics
/// As [`burn::tensor::module::conv2d`].
pub fn conv2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: impl Into<ConvOptions<2>>,
) -> Tensor<4> {
    let options = options.into();
    match of_conv(&x, &weight, bias.as_ref(), &options) {
        Some(product) => run(product, x, weight, bias),
        None => module::conv2d(x, weight, bias, options),
    }
}

/// A convolution over three axes: `x` `[N, C, D, H, W]`, `weight` `[K, C / groups, Q, R, S]`, `bias` `[K]`. Unlike
/// burn's own it takes padding that differs from side to side.
///
/// # Panics
/// As [`burn::tensor::module::conv3d`].
pub fn conv3d(
    x: Tensor<5>,
    weight: Tensor<5>,
    bias: Option<Tensor<1>>,
    options: impl Into<ConvOptions<3>>,
) -> Tensor<5> {
    let options = options.into();
    match of_conv(&x, &weight, bias.as_ref(), &options) {
        Some(product) => run(product, x, weight, bias),
        None => module::conv3d(x, weight, bias, options),
    }
}

/// A transposed convolution over one axis: `x` `[N, C, L]`, `weight` `[C, K / groups, R]`, `bias` `[K]`.
///
/// # Panics
/// As [`burn::tensor::module::conv_transpose1d`].
pub fn conv_transpose1d(
    x: Tensor<3>,
    weight: Tensor<3>,
    bias: Option<Tensor<1>>,
    options: ConvTransposeOptions<1>,
) -> Tensor<3> {
    match of_transposed(&x, &weight, bias.as_ref(), &options) {
        Some(product) => run(product, x, weight, bias),
        None => module::conv_transpose1d(x, weight, bias, options),
    }
}

/// A transposed convolution over two axes: `x` `[N, C, H, W]`, `weight` `[C, K / groups, R, S]`, `bias` `[K]`.
///
/// # Panics
/// As [`burn::tensor::module::conv_transpose2d`].
pub fn conv_transpose2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: ConvTransposeOptions<2>,
) -> Tensor<4> {
    match of_transposed(&x, &weight, bias.as_ref(), &options) {
        Some(product) => run(product, x, weight, bias),
        None => module::conv_transpose2d(x, weight, bias, options),
    }
}

/// A transposed convolution over three axes: `x` `[N, C, D, H, W]`, `weight` `[C, K / groups, Q, R, S]`, `bias` `[K]`.
///
/// # Panics
/// As [`burn::tensor::module::conv_transpose3d`].
pub fn conv_transpose3d(
    x: Tensor<5>,
    weight: Tensor<5>,
    bias: Option<Tensor<1>>,
    options: ConvTransposeOptions<3>,
) -> Tensor<5> {
    match of_transposed(&x, &weight, bias.as_ref(), &options) {
        Some(product) => run(product, x, weight, bias),
        None => module::conv_transpose3d(x, weight, bias, options),
    }
}

/// The product that im2col computes, where it takes all tensors and their sizes fit.
fn of_conv<const D: usize, const AXES: usize>(
    x: &Tensor<D>,
    weight: &Tensor<D>,
    bias: Option<&Tensor<1>>,
    options: &ConvOptions<AXES>,
) -> Option<Product> {
    let product = Product::conv(&x.dims(), &weight.dims(), options)?;
    (takes_all(x, weight, bias) && fits(bias, &product)).then_some(product)
}

fn of_transposed<const D: usize, const AXES: usize>(
    x: &Tensor<D>,
    weight: &Tensor<D>,
    bias: Option<&Tensor<1>>,
    options: &ConvTransposeOptions<AXES>,
) -> Option<Product> {
    let product = Product::transposed(&x.dims(), &weight.dims(), options)?;
    (takes_all(x, weight, bias) && fits(bias, &product)).then_some(product)
}

fn takes_all<const D: usize>(x: &Tensor<D>, weight: &Tensor<D>, bias: Option<&Tensor<1>>) -> bool {
    let same = |dtype: DType, device: &Device| dtype == x.dtype() && is_flex(device);
    takes(x)
        && same(weight.dtype(), &weight.device())
        && bias.is_none_or(|bias| same(bias.dtype(), &bias.device()))
}

fn fits(bias: Option<&Tensor<1>>, product: &Product) -> bool {
    bias.is_none_or(|bias| bias.dims() == [product.channels()])
}

fn run<const D: usize>(
    product: Product,
    x: Tensor<D>,
    weight: Tensor<D>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let [a, b] = product.in_order(x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(match bias {
        Some(bias) => Dispatch::im2col_product_with_bias(a, b, bias.into_dispatch(), product),
        None => Dispatch::im2col_product(a, b, product),
    })
}
