//! Every use of im2col's calls is here, so that a change of theirs is a change of this file.

use crate::Activation;
use crate::op::Pass;
use candle_core::{CpuStorage, Error, Layout, Result, WithDType, bail};
use im2col::{Element, Params, Plan, Plans, Shape};
use std::sync::{Arc, LazyLock};

/// The element types: `f32` and `f64`.
pub(crate) trait Real: Element + WithDType {
    /// The plan of a layer, from a cache that all threads share.
    fn plan(params: &Params) -> Result<Arc<Plan<Self>>>;
}

impl Real for f32 {
    fn plan(params: &Params) -> Result<Arc<Plan<Self>>> {
        static PLANS: LazyLock<Plans<f32>> = LazyLock::new(Plans::new);
        PLANS.get(params).map_err(Error::wrap)
    }
}

impl Real for f64 {
    fn plan(params: &Params) -> Result<Arc<Plan<Self>>> {
        static PLANS: LazyLock<Plans<f64>> = LazyLock::new(Plans::new);
        PLANS.get(params).map_err(Error::wrap)
    }
}

/// A tensor's storage and how it lies there.
pub(crate) type Stored<'a> = (&'a CpuStorage, &'a Layout);

fn dense<'a, T: Real>((storage, layout): Stored<'a>) -> Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => bail!("im2col reads contiguous tensors: found strides {:?}", layout.stride()),
    }
}

/// One pass of a layer: the third edge of its triangle from the two others, in the order of im2col's arguments.
///
/// A bias has one element per channel of the result; an activation belongs to a forward pass.
pub(crate) fn run<T: Real>(
    params: &Params,
    pass: Pass,
    [a, b]: [Stored<'_>; 2],
    bias: Option<Stored<'_>>,
    activation: Activation,
) -> Result<CpuStorage> {
    let plan = T::plan(params)?;
    let shape = plan.shape();
    let (a, b) = (dense::<T>(a)?, dense::<T>(b)?);
    let bias = bias.map(dense::<T>).transpose()?;
    let zeros = |len| vec![<T as Element>::ZERO; len];
    let (out, done) = match pass {
        Pass::Forward => {
            let mut output = zeros(shape.output_len());
            let call = plan.forward(a, b).maybe_bias(bias).activation(elements(activation));
            let done = call.run(&mut output);
            (output, done)
        }
        Pass::BackwardData => {
            let mut grad_input = zeros(shape.input_len());
            let mut call = plan.backward_data(a, b);
            if let Some(bias) = bias {
                spread(bias, shape, &mut grad_input)?;
                call = call.accumulate();
            }
            let done = call.run(&mut grad_input);
            (grad_input, done)
        }
        Pass::BackwardWeight => {
            let mut grad_weight = zeros(shape.weight_len());
            let done = plan.backward_weight(a, b).run(&mut grad_weight);
            (grad_weight, done)
        }
    };
    done.map_err(Error::wrap)?;
    Ok(T::to_cpu_storage_owned(out))
}

fn elements<T: Real>(activation: Activation) -> im2col::Activation<T> {
    let element = <T as Element>::from_f64;
    match activation {
        Activation::None => im2col::Activation::None,
        Activation::Relu => im2col::Activation::Relu,
        Activation::Clamp(low, high) => im2col::Activation::Clamp(element(low), element(high)),
    }
}

/// What the output of a transposed layer starts from: the bias in all pixels. That output is the convolution's
/// `grad_input`.
fn spread<T: Real>(bias: &[T], shape: &Shape, output: &mut [T]) -> Result<()> {
    if bias.len() != shape.in_channels() {
        bail!("the bias has {} elements: this layer wants {}", bias.len(), shape.in_channels())
    }
    let channels = output.chunks_exact_mut(shape.input_pixels().max(1));
    channels.zip(bias.iter().cycle()).for_each(|(pixels, &bias)| pixels.fill(bias));
    Ok(())
}

/// The gradient of a bias: `grad_output` `[batch, channels, pixels]` summed over images and pixels.
pub(crate) fn backward_bias<T: Real>(
    grad_output: Stored<'_>,
    [batch, channels, pixels]: [usize; 3],
) -> Result<CpuStorage> {
    // Any layer with this output has this gradient.
    let input = [pixels, 1, 1];
    let params = Params { axes: 1, batch, out_channels: channels, input, ..Params::default() };
    let mut grad_bias = vec![<T as Element>::ZERO; channels];
    let done = T::plan(&params)?.backward_bias(dense::<T>(grad_output)?).run(&mut grad_bias);
    done.map_err(Error::wrap)?;
    Ok(T::to_cpu_storage_owned(grad_bias))
}
