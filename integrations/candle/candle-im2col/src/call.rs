//! Every use of im2col's calls is here, so that a change of theirs is a change of this file.

use crate::Activation;
use crate::op::Pass;
use candle_core::{CpuStorage, Error, Layout, Result, WithDType, bail};
use im2col::{Element, Options, PackedWeight, Params, Plan, Plans, Shape};
use std::sync::{Arc, LazyLock};

/// What is kept between calls for one type of elements: plans, of bounded number, shared by all threads.
pub(crate) struct Kept<T: 'static> {
    plans: LazyLock<Plans<T>>,
    /// Those for weights that are packed.
    inference: LazyLock<Plans<T>>,
}

impl<T: Element> Kept<T> {
    const fn new() -> Self {
        let inference = || Plans::with(Options::default().inference(), Plans::<T>::BOUND);
        Self { plans: LazyLock::new(Plans::new), inference: LazyLock::new(inference) }
    }
}

/// The element types: `f32` and `f64`.
pub(crate) trait Real: Element + WithDType {
    fn kept() -> &'static Kept<Self>;

    /// The plan of a layer.
    fn plan(params: &Params) -> Result<Arc<Plan<Self>>> {
        Self::kept().plans.get(params).map_err(Error::wrap)
    }
}

impl Real for f32 {
    fn kept() -> &'static Kept<f32> {
        static KEPT: Kept<f32> = Kept::new();
        &KEPT
    }
}

impl Real for f64 {
    fn kept() -> &'static Kept<f64> {
        static KEPT: Kept<f64> = Kept::new();
        &KEPT
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
    let (a, b) = (dense::<T>(a)?, dense::<T>(b)?);
    let bias = bias.map(dense::<T>).transpose()?;
    let out = match pass {
        Pass::Forward => {
            let activation = elements(activation);
            plan.forward(a, b).maybe_bias(bias).activation(activation).into_vec()
        }
        Pass::BackwardData => match bias {
            None => plan.backward_data(a, b).into_vec(),
            Some(bias) => {
                let mut grad_input = in_all_pixels(bias, plan.shape())?;
                let done = plan.backward_data(a, b).accumulate().run(&mut grad_input);
                done.map(|()| grad_input)
            }
        },
        Pass::BackwardWeight => plan.backward_weight(a, b).into_vec(),
    };
    Ok(T::to_cpu_storage_owned(out.map_err(Error::wrap)?))
}

/// A weight packed for a plan of its layer's forward pass.
pub(crate) struct Packed<T: Copy + 'static> {
    plan: Arc<Plan<T>>,
    weight: PackedWeight<T>,
}

impl<T: Real> Packed<T> {
    pub(crate) fn new(params: &Params, weight: Stored<'_>) -> Result<Self> {
        let plan = T::kept().inference.get(params).map_err(Error::wrap)?;
        let weight = plan.pack_weight(im2col::Pass::Forward, dense(weight)?);
        Ok(Self { plan, weight: weight.map_err(Error::wrap)? })
    }

    /// The forward pass.
    pub(crate) fn run(
        &self,
        input: Stored<'_>,
        bias: Option<Stored<'_>>,
        activation: Activation,
    ) -> Result<CpuStorage> {
        let bias = bias.map(dense::<T>).transpose()?;
        let call = self.plan.forward(dense(input)?, &self.weight).maybe_bias(bias);
        let output = call.activation(elements(activation)).into_vec();
        Ok(T::to_cpu_storage_owned(output.map_err(Error::wrap)?))
    }
}

fn elements<T: Real>(activation: Activation) -> im2col::Activation<T> {
    let element = <T as Element>::from_f64;
    match activation {
        Activation::None => im2col::Activation::None,
        Activation::Relu => im2col::Activation::Relu,
        Activation::Clamp(low, high) => im2col::Activation::Clamp(element(low), element(high)),
    }
}

/// What a transposed layer's output starts from: the bias of its channel in each pixel. That output is the
/// convolution's `grad_input`.
fn in_all_pixels<T: Real>(bias: &[T], shape: &Shape) -> Result<Vec<T>> {
    if bias.len() != shape.in_channels() {
        bail!("the bias has {} elements: this layer wants {}", bias.len(), shape.in_channels())
    }
    let pixels = shape.input_pixels();
    let mut output = Vec::with_capacity(shape.input_len());
    for _image in 0..shape.batch() {
        bias.iter().for_each(|&bias| output.extend(std::iter::repeat_n(bias, pixels)));
    }
    Ok(output)
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
