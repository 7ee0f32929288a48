//! The naive loops: the judge of everything else.
//!
//! A convolution layer is a list of products: output `o` is the sum of `input[i] * weight[w]`
//! over the places where the filter lies on the image. `terms` walks through that list once,
//! and all passes follow from it by the chain rule: every product
//! `output[o] += input[i] * weight[w]` gives `grad_weight[w] += grad_output[o] * input[i]` and
//! `grad_input[i] += grad_output[o] * weight[w]`. A weight's gradient is therefore the sum over
//! every place where that weight is used.
//!
//! Everything is computed in f64, one term after the other, with no trick at all.
//!
//! ```
//! use im2col::{Params, Shape, reference};
//! // The 3x3 image V1..V9 under the 2x2 filter W1..W4 makes the 2x2 output G1..G4.
//! let shape = Shape::new(Params { input: [3, 3, 0], kernel: [2, 2, 0], ..Params::default() })?;
//! let v = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
//! let grad_g = [1.0, 10.0, 100.0, 1000.0];
//! // dE/dW1 = dE/dG1 V1 + dE/dG2 V2 + dE/dG3 V4 + dE/dG4 V5
//! let grad_w = reference::backward_weight(&shape, &v, &grad_g)?;
//! assert_eq!(grad_w[0], 1.0 * 1.0 + 10.0 * 2.0 + 100.0 * 4.0 + 1000.0 * 5.0);
//! # Ok::<(), im2col::Error>(())
//! ```

use crate::element::Element;
use crate::error::{Error, check_len};
use crate::shape::{Layout, Shape, flat, positions};
use alloc::vec;
use alloc::vec::Vec;

/// Calls `term(o, i, w)` for every product `input[i] * weight[w]` that is a term of `output[o]`.
///
/// Indices are those of the dense tensors in the shape's layout. Terms that meet padding are
/// left out: they are zero.
pub fn terms(shape: &Shape, mut term: impl FnMut(usize, usize, usize)) {
    // A layer without channels may still have any number of taps or images, each of which has no term.
    if [shape.input_len(), shape.weight_len(), shape.output_len()].contains(&0) {
        return;
    }
    let axes = shape.axes3();
    let (inputs, kernels) = (axes.map(|a| a.input), axes.map(|a| a.kernel));
    let outputs = axes.map(|a| a.output);
    let (pixels_in, pixels_out) = (shape.input_pixels(), shape.output_pixels());
    let (group_in, group_out) = (shape.group_in(), shape.group_out());
    for n in 0..shape.batch() {
        for k in 0..shape.out_channels() {
            for at in positions(outputs) {
                let o = shape.index([n, k, flat(at, outputs)], shape.out_channels(), pixels_out);
                for tap in positions(kernels) {
                    let source = |a: usize| axes[a].source(at[a], tap[a]);
                    let (Some(z), Some(y), Some(x)) = (source(0), source(1), source(2)) else {
                        continue;
                    };
                    for c in 0..group_in {
                        let pixel = [n, k / group_out * group_in + c, flat([z, y, x], inputs)];
                        let i = shape.index(pixel, shape.in_channels(), pixels_in);
                        let t = flat(tap, kernels);
                        let w = match shape.layout() {
                            Layout::ChannelsFirst => (k * group_in + c) * shape.kernel_taps() + t,
                            Layout::ChannelsLast => (k * shape.kernel_taps() + t) * group_in + c,
                        };
                        term(o, i, w);
                    }
                }
            }
        }
    }
}

/// The output: `output[o] = bias[channel of o] + Σ input[i] * weight[w]`.
///
/// # Errors
/// [`Error::Length`] if a slice doesn't fit the shape.
pub fn forward<T: Element>(
    shape: &Shape,
    input: &[T],
    weight: &[T],
    bias: Option<&[T]>,
) -> Result<Vec<f64>, Error> {
    check_len("input", shape.input_len(), input.len())?;
    check_len("weight", shape.weight_len(), weight.len())?;
    let mut output = vec![0.0; shape.output_len()];
    if let Some(bias) = bias {
        check_len("bias", shape.out_channels(), bias.len())?;
        for (o, y) in output.iter_mut().enumerate() {
            *y = bias[channel(shape, o)].into();
        }
    }
    terms(shape, |o, i, w| output[o] += input[i].into() * weight[w].into());
    Ok(output)
}

/// The gradient of the input: `grad_input[i] = Σ grad_output[o] * weight[w]`.
///
/// # Errors
/// [`Error::Length`] if a slice doesn't fit the shape.
pub fn backward_data<T: Element>(
    shape: &Shape,
    weight: &[T],
    grad_output: &[T],
) -> Result<Vec<f64>, Error> {
    check_len("weight", shape.weight_len(), weight.len())?;
    check_len("grad_output", shape.output_len(), grad_output.len())?;
    let mut grad_input = vec![0.0; shape.input_len()];
    terms(shape, |o, i, w| grad_input[i] += grad_output[o].into() * weight[w].into());
    Ok(grad_input)
}

/// The gradient of the weights: `grad_weight[w] = Σ grad_output[o] * input[i]`.
///
/// # Errors
/// [`Error::Length`] if a slice doesn't fit the shape.
pub fn backward_weight<T: Element>(
    shape: &Shape,
    input: &[T],
    grad_output: &[T],
) -> Result<Vec<f64>, Error> {
    check_len("input", shape.input_len(), input.len())?;
    check_len("grad_output", shape.output_len(), grad_output.len())?;
    let mut grad_weight = vec![0.0; shape.weight_len()];
    terms(shape, |o, i, w| grad_weight[w] += grad_output[o].into() * input[i].into());
    Ok(grad_weight)
}

/// The gradient of the bias: the sum of `grad_output` over each output channel.
///
/// # Errors
/// [`Error::Length`] if the slice doesn't fit the shape.
pub fn backward_bias<T: Element>(shape: &Shape, grad_output: &[T]) -> Result<Vec<f64>, Error> {
    check_len("grad_output", shape.output_len(), grad_output.len())?;
    let mut grad_bias = vec![0.0; shape.out_channels()];
    for (o, &g) in grad_output.iter().enumerate() {
        grad_bias[channel(shape, o)] += g.into();
    }
    Ok(grad_bias)
}

/// The output channel to which element `o` of the output belongs.
pub(crate) fn channel(shape: &Shape, o: usize) -> usize {
    match shape.layout() {
        Layout::ChannelsFirst => o / shape.output_pixels() % shape.out_channels(),
        Layout::ChannelsLast => o % shape.out_channels(),
    }
}
