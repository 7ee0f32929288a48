//! Other devices and types: candle's own convolutions, as far as they go.

use crate::options::{ConvOptions, ConvTransposeOptions};
use candle_core::{Result, Tensor, bail};

/// The one value that all entries have.
fn one(what: &str, values: &[usize]) -> Result<usize> {
    if values.iter().any(|value| *value != values[0]) {
        bail!(
            "candle's own convolution has one {what} for all axes; im2col's, of f32 and f64 on the CPU, has one each"
        )
    }
    Ok(values[0])
}

pub(crate) fn conv<const AXES: usize>(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvOptions<AXES>,
) -> Result<Tensor> {
    let (stride, dilation) = (one("stride", &options.stride)?, one("dilation", &options.dilation)?);
    // Unequal padding is an operation of its own.
    let (mut input, mut padding) = (input.clone(), options.padding[0].0);
    if options.padding.iter().any(|sides| *sides != (padding, padding)) {
        for (axis, (begin, end)) in options.padding.into_iter().enumerate() {
            input = input.pad_with_zeros(2 + axis, begin, end)?;
        }
        padding = 0;
    }
    let output = match AXES {
        1 => input.conv1d(weight, padding, stride, dilation, options.groups)?,
        2 => input.conv2d(weight, padding, stride, dilation, options.groups)?,
        _ => bail!(
            "candle has no convolution over {AXES} axes; im2col's is of f32 and f64 on the CPU"
        ),
    };
    with_bias(output, bias)
}

pub(crate) fn conv_transpose<const AXES: usize>(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvTransposeOptions<AXES>,
) -> Result<Tensor> {
    let (stride, dilation) = (one("stride", &options.stride)?, one("dilation", &options.dilation)?);
    let added = one("output padding", &options.output_padding)?;
    let padding = one("padding", options.padding.map(|(begin, end)| [begin, end]).as_flattened())?;
    let output = match (AXES, options.groups) {
        (1, groups) => input.conv_transpose1d(weight, padding, added, stride, dilation, groups)?,
        (2, 1) => input.conv_transpose2d(weight, padding, added, stride, dilation)?,
        (axes, groups) => bail!(
            "candle has no transposed convolution over {axes} axes in {groups} groups; im2col's is of f32 and f64 on the CPU"
        ),
    };
    with_bias(output, bias)
}

fn with_bias(output: Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let Some(bias) = bias else { return Ok(output) };
    let mut shape = vec![1; output.rank()];
    shape[1] = bias.dims1()?;
    output.broadcast_add(&bias.reshape(shape)?)
}
