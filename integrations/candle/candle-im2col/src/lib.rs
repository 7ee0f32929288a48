//! Convolutions for [candle](candle_core) on CPUs, with all gradients, computed by [`im2col`].
//!
//! ```
//! use candle_core::{DType, Device, Tensor, Var};
//! use candle_im2col::{ConvOptions, conv2d};
//!
//! let x = Tensor::ones((2, 3, 8, 8), DType::F32, &Device::Cpu)?; // [N, C, H, W]
//! let w = Var::ones((4, 3, 3, 3), DType::F32, &Device::Cpu)?; // [K, C / groups, R, S]
//! let options = ConvOptions::default().stride([2, 2]).padding([1, 1]);
//! let y = conv2d(&x, &w, None, &options)?;
//! assert_eq!(y.dims(), [2, 4, 4, 4]);
//! let grads = y.sqr()?.sum_all()?.backward()?;
//! assert!(grads.get(&w).is_some() && grads.get(&x).is_none());
//! # Ok::<(), candle_core::Error>(())
//! ```
//!
//! f32 and f64 tensors on the CPU come here; all others go to candle's own convolutions, where these can do what is
//! asked (one stride, padding and dilation for all axes, no third spatial axis), and are an error where they can't.
//! Only the gradients that something tracks are computed.
//!
//! Programs written against `candle-nn` need no change but a line of Cargo.toml: see `im2col-candle-nn`.

mod call;
mod frozen;
#[cfg(feature = "nn")]
pub mod nn;
mod op;
mod options;
mod other;
#[cfg(test)]
mod tests;

pub use options::{Activation, ConvOptions, ConvTransposeOptions};

use candle_core::{DType, Result, Tensor, bail};
use frozen::Frozen;
use im2col::{MAX_AXES, Params};
use op::{Pass, Product};

/// Whether im2col computes convolutions of this tensor: f32 or f64 on the CPU.
pub fn takes(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && matches!(tensor.dtype(), DType::F32 | DType::F64)
}

/// A convolution over one axis: `input` `[N, C, L]`, `weight` `[K, C / groups, R]`, `bias` `[K]`.
///
/// # Errors
/// Where shapes, types or devices don't fit together.
pub fn conv1d(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvOptions<1>,
) -> Result<Tensor> {
    conv(input, weight, bias, options)
}

/// A convolution over two axes: `input` `[N, C, H, W]`, `weight` `[K, C / groups, R, S]`, `bias` `[K]`.
///
/// # Errors
/// Where shapes, types or devices don't fit together.
pub fn conv2d(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvOptions<2>,
) -> Result<Tensor> {
    conv(input, weight, bias, options)
}

/// A convolution over three axes: `input` `[N, C, D, H, W]`, `weight` `[K, C / groups, Q, R, S]`, `bias` `[K]`.
///
/// # Errors
/// Where shapes, types or devices don't fit together.
pub fn conv3d(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvOptions<3>,
) -> Result<Tensor> {
    conv(input, weight, bias, options)
}

/// A transposed convolution over one axis: `input` `[N, C, L]`, `weight` `[C, K / groups, R]`, `bias` `[K]`.
///
/// # Errors
/// Where shapes, types or devices don't fit together.
pub fn conv_transpose1d(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvTransposeOptions<1>,
) -> Result<Tensor> {
    conv_transpose(input, weight, bias, options)
}

/// A transposed convolution over two axes: `input` `[N, C, H, W]`, `weight` `[C, K / groups, R, S]`, `bias` `[K]`.
///
/// # Errors
/// Where shapes, types or devices don't fit together.
pub fn conv_transpose2d(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvTransposeOptions<2>,
) -> Result<Tensor> {
    conv_transpose(input, weight, bias, options)
}

/// A transposed convolution over three axes: `input` `[N, C, D, H, W]`, `weight` `[C, K / groups, Q, R, S]`,
/// `bias` `[K]`.
///
/// # Errors
/// Where shapes, types or devices don't fit together.
pub fn conv_transpose3d(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvTransposeOptions<3>,
) -> Result<Tensor> {
    conv_transpose(input, weight, bias, options)
}

fn conv<const AXES: usize>(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvOptions<AXES>,
) -> Result<Tensor> {
    conv_of(input, weight, bias, options, None)
}

/// A convolution whose weight is kept packed where its layer is frozen and nothing tracks it.
fn conv_of<const AXES: usize>(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvOptions<AXES>,
    frozen: Option<&Frozen>,
) -> Result<Tensor> {
    check_ranks::<AXES>(input, weight)?;
    if !takes(input) {
        return options.activation.of(other::conv(input, weight, bias, options)?);
    }
    let (x, w) = (input.dims(), weight.dims());
    let params = Params {
        batch: x[0],
        in_channels: x[1],
        out_channels: w[0],
        groups: options.groups,
        input: sizes(&x[2..], 1),
        stride: sizes(&options.stride, 1),
        ..filter(w, &options.padding, &options.dilation)
    };
    let mut product = product(params, Pass::Forward)?;
    if w[1] != x[1] / options.groups {
        let groups = options.groups;
        bail!("the weight {w:?} in {groups} groups doesn't fit an input of {} channels", x[1])
    }
    // Where gradients are asked for, the activation is an operation of its own, with a gradient of its own.
    let tracked = [Some(input), Some(weight), bias].into_iter().flatten().any(Tensor::track_op);
    if !tracked {
        product.activation = options.activation;
    }
    if let Some(frozen) = frozen.filter(|_| !tracked && weight.dtype() == input.dtype()) {
        return frozen.forward(product, input, weight, bias);
    }
    let output = match bias {
        Some(bias) => product.with_bias(input, weight, bias)?,
        None => product.of(input, weight)?,
    };
    if tracked { options.activation.of(output) } else { Ok(output) }
}

fn conv_transpose<const AXES: usize>(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvTransposeOptions<AXES>,
) -> Result<Tensor> {
    check_ranks::<AXES>(input, weight)?;
    if !takes(input) {
        return options.activation.of(other::conv_transpose(input, weight, bias, options)?);
    }
    let (x, w) = (input.dims(), weight.dims());
    if x[1] != w[0] {
        bail!("the weight {w:?} doesn't fit an input of {} channels", x[1])
    }
    // The convolution whose gradient this is: its output is our input.
    let mut params = Params {
        batch: x[0],
        in_channels: w[1].saturating_mul(options.groups),
        out_channels: x[1],
        groups: options.groups,
        stride: sizes(&options.stride, 1),
        ..filter(w, &options.padding, &options.dilation)
    };
    for axis in 0..AXES {
        params.input[axis] = options.output_size(axis, x[2 + axis], w[2 + axis])?;
    }
    let product = product(params, Pass::BackwardData)?;
    let output = match bias {
        Some(bias) => product.with_bias(weight, input, bias),
        None => product.of(weight, input),
    };
    options.activation.of(output?)
}

fn check_ranks<const AXES: usize>(input: &Tensor, weight: &Tensor) -> Result<()> {
    let rank = AXES + 2;
    if [input.rank(), weight.rank()] != [rank; 2] {
        let (x, w) = (input.dims(), weight.dims());
        bail!(
            "a convolution over {AXES} axes wants {rank} dimensions: found input {x:?}, weight {w:?}"
        )
    }
    Ok(())
}

/// The part of a layer's sizes that its filter has.
fn filter<const AXES: usize>(
    weight: &[usize],
    padding: &[(usize, usize); AXES],
    dilation: &[usize; AXES],
) -> Params {
    Params {
        axes: AXES,
        kernel: sizes(&weight[2..], 1),
        dilation: sizes(dilation, 1),
        pad_begin: sizes(&padding.map(|(begin, _)| begin), 0),
        pad_end: sizes(&padding.map(|(_, end)| end), 0),
        ..Params::default()
    }
}

/// A product of a layer that im2col has checked.
fn product(params: Params, pass: Pass) -> Result<Product> {
    let shape = im2col::Shape::new(params).map_err(candle_core::Error::wrap)?;
    let mut output = [1; MAX_AXES];
    output.iter_mut().zip(shape.axes()).for_each(|(size, axis)| *size = axis.output);
    Ok(Product { params, output, pass, activation: Activation::None })
}

/// One entry per axis, `missing` for those that the layer lacks.
fn sizes(of: &[usize], missing: usize) -> [usize; MAX_AXES] {
    let mut all = [missing; MAX_AXES];
    all[..of.len()].copy_from_slice(of);
    all
}
