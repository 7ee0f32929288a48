//! What a C plan holds: a layer, plain or transposed, in either element type.

use super::boundary::{Failure, invalid, unknown};
use super::numbers::*;
use crate::{
    Accuracy, Activation, Algorithm, BackwardBias, BackwardData, BackwardWeight, Dims, Element,
    Error, Executor, Forward, Layout, Options, PackedWeight, PaddingMode, Params, Pass, Plan,
    Shape, TransposedPlan, Weight, Write,
};
use std::any::Any;

/// An immutable, validated plan of one layer. Any number of threads may use it at once.
pub struct im2col_conv(pub(super) Layer);

/// Weights in the order in which one pass of a layer reads them. Immutable, as plans are.
pub struct im2col_packed(pub(super) Packed);

/// A layer in the element type that `dtype` names.
pub(super) enum Layer {
    F32(Of<f32>),
    F64(Of<f64>),
}

/// Packed weights, and the pass that the caller packed them for.
pub(super) enum Packed {
    F32(Pass, PackedWeight<f32>),
    F64(Pass, PackedWeight<f64>),
}

/// A layer of one element type.
pub(super) enum Of<T: 'static> {
    Plain(Plan<T>),
    Transposed(TransposedPlan<T>),
}

/// A tensor of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tensor {
    Input,
    Weight,
    Output,
}

/// Runs `$call` with `$layer` of the element type that the plan at `$conv` was made for.
macro_rules! with_layer {
    ($conv:expr, $layer:ident => $call:expr) => {{
        $crate::capi::boundary::check_pointer("conv", $conv)?;
        // SAFETY: neither NULL nor misaligned, so by contract a live plan, and none is ever
        // changed after its creation.
        match unsafe { &(*$conv).0 } {
            $crate::capi::layer::Layer::F32($layer) => $call,
            $crate::capi::layer::Layer::F64($layer) => $call,
        }
    }};
}
pub(super) use with_layer;

/// The pass that a number stands for.
pub(super) fn pass_of(pass: i32) -> Result<Pass, Failure> {
    match pass {
        IM2COL_FORWARD => Ok(Pass::Forward),
        IM2COL_BACKWARD_DATA => Ok(Pass::BackwardData),
        IM2COL_BACKWARD_WEIGHT => Ok(Pass::BackwardWeight),
        _ => Err(unknown("pass", pass, "0 (forward), 1 (data) or 2 (weight)")),
    }
}

/// The tensor that a number stands for.
pub(super) fn tensor_of(tensor: u32) -> Result<Tensor, Failure> {
    match tensor {
        IM2COL_INPUT => Ok(Tensor::Input),
        IM2COL_WEIGHT => Ok(Tensor::Weight),
        IM2COL_OUTPUT => Ok(Tensor::Output),
        _ => Err(unknown("tensor", tensor, "0 (input), 1 (weight) or 2 (output)")),
    }
}

impl Layer {
    pub(super) fn new(
        p: im2col_conv_params,
        more: Option<im2col_conv_options>,
    ) -> Result<Self, Failure> {
        match p.dtype {
            IM2COL_F32 => Ok(Layer::F32(Of::new(p, more)?)),
            IM2COL_F64 => Ok(Layer::F64(Of::new(p, more)?)),
            found => Err(unknown("dtype", found, "0 (f32) or 1 (f64)")),
        }
    }
}

impl Packed {
    /// The weights of an element type.
    pub(super) fn of<T: Element>(&self) -> Result<(Pass, &PackedWeight<T>), Failure> {
        let (pass, weight) = match self {
            Packed::F32(pass, weight) => (*pass, weight as &dyn Any),
            Packed::F64(pass, weight) => (*pass, weight as &dyn Any),
        };
        let weight = weight.downcast_ref().ok_or_else(|| {
            invalid("the packed weights are of the other dtype: it must be the layer's")
        })?;
        Ok((pass, weight))
    }
}

impl<T: Element> Of<T> {
    fn new(p: im2col_conv_params, more: Option<im2col_conv_options>) -> Result<Self, Failure> {
        let (params, options) = (params(&p, &more)?, options(&p, &more)?);
        let Some(more) = more else {
            return Ok(Of::Plain(Plan::new(Shape::new(params)?, options)?));
        };
        let activation = match more.activation {
            IM2COL_ACTIVATION_NONE => Activation::None,
            IM2COL_ACTIVATION_RELU => Activation::Relu,
            IM2COL_ACTIVATION_CLAMP => {
                Activation::Clamp(T::from_f64(more.low), T::from_f64(more.high))
            }
            found => return Err(unknown("activation", found, "0 (none), 1 (relu) or 2 (clamp)")),
        };
        Ok(match more.transposed {
            0 if more.output_padding != [0; 3] => {
                return Err(invalid("output_padding is not 0: it must be 0 in a plain layer"));
            }
            0 => {
                let plan = Plan::new(Shape::new(params)?, options)?;
                Of::Plain(plan.with_activation(activation)?)
            }
            1 => {
                let plan = TransposedPlan::new(params, more.output_padding, options)?;
                Of::Transposed(plan.with_activation(activation)?)
            }
            found => return Err(unknown("transposed", found, "0 or 1")),
        })
    }

    /// The layer's shape, of a plain one: what im2col and col2im take.
    pub(super) fn image(&self) -> Result<&Shape, Failure> {
        match self {
            Of::Plain(plan) => Ok(plan.shape()),
            Of::Transposed(_) => {
                let what = "the patch matrix of a transposed layer";
                Err(Error::Unsupported { what }.into())
            }
        }
    }

    /// The patch matrix of an image.
    pub(super) fn im2col(&self, image: &[T], cols: &mut [T]) -> Result<(), Failure> {
        Ok(crate::im2col(self.image()?, image, cols)?)
    }

    /// Its adjoint.
    pub(super) fn col2im(&self, cols: &[T], image: &mut [T], write: Write) -> Result<(), Failure> {
        Ok(crate::col2im(self.image()?, cols, image, write)?)
    }

    /// A tensor's sizes.
    pub(super) fn sizes(&self, tensor: Tensor) -> Dims {
        match (self, tensor) {
            (Of::Plain(plan), Tensor::Input) => plan.input_shape(),
            (Of::Plain(plan), Tensor::Weight) => plan.weight_shape(),
            (Of::Plain(plan), Tensor::Output) => plan.output_shape(),
            (Of::Transposed(plan), Tensor::Input) => plan.input_shape(),
            (Of::Transposed(plan), Tensor::Weight) => plan.weight_shape(),
            (Of::Transposed(plan), Tensor::Output) => plan.output_shape(),
        }
    }

    pub(super) fn input_len(&self) -> usize {
        self.sizes(Tensor::Input).iter().product()
    }

    pub(super) fn weight_len(&self) -> usize {
        self.sizes(Tensor::Weight).iter().product()
    }

    pub(super) fn output_len(&self) -> usize {
        self.sizes(Tensor::Output).iter().product()
    }

    /// Channels of the output.
    pub(super) fn channels(&self) -> usize {
        self.sizes(Tensor::Output)[1]
    }

    pub(super) fn forward<'a>(
        &'a self,
        input: &'a [T],
        weight: impl Into<Weight<'a, T>>,
    ) -> Forward<'a, T> {
        match self {
            Of::Plain(plan) => plan.forward(input, weight),
            Of::Transposed(plan) => plan.forward(input, weight),
        }
    }

    pub(super) fn backward_data<'a>(
        &'a self,
        weight: impl Into<Weight<'a, T>>,
        grad_output: &'a [T],
    ) -> BackwardData<'a, T> {
        match self {
            Of::Plain(plan) => plan.backward_data(weight, grad_output),
            Of::Transposed(plan) => plan.backward_data(weight, grad_output),
        }
    }

    pub(super) fn backward_weight<'a>(
        &'a self,
        input: &'a [T],
        grad_output: &'a [T],
    ) -> BackwardWeight<'a, T> {
        match self {
            Of::Plain(plan) => plan.backward_weight(input, grad_output),
            Of::Transposed(plan) => plan.backward_weight(input, grad_output),
        }
    }

    pub(super) fn backward_bias<'a>(&'a self, grad_output: &'a [T]) -> BackwardBias<'a, T> {
        match self {
            Of::Plain(plan) => plan.backward_bias(grad_output),
            Of::Transposed(plan) => plan.backward_bias(grad_output),
        }
    }

    pub(super) fn scratch_len_on(&self, pass: Pass, executor: &dyn Executor) -> usize {
        match self {
            Of::Plain(plan) => plan.scratch_len_on(pass, executor),
            Of::Transposed(plan) => plan.scratch_len_on(pass, executor),
        }
    }

    pub(super) fn min_scratch_len(&self, pass: Pass) -> usize {
        match self {
            Of::Plain(plan) => plan.min_scratch_len(pass),
            Of::Transposed(plan) => plan.min_scratch_len(pass),
        }
    }

    pub(super) fn pack_weight(
        &self,
        pass: Pass,
        weight: &[T],
        executor: &dyn Executor,
    ) -> Result<PackedWeight<T>, Error> {
        match self {
            Of::Plain(plan) => plan.pack_weight_on(pass, weight, executor),
            Of::Transposed(plan) => plan.pack_weight_on(pass, weight, executor),
        }
    }

    pub(super) fn with_batch(&self, batch: usize) -> Result<Self, Error> {
        Ok(match self {
            Of::Plain(plan) => Of::Plain(plan.with_batch(batch)?),
            Of::Transposed(plan) => Of::Transposed(plan.with_batch(batch)?),
        })
    }

    pub(super) fn with_input(&self, input: &[usize]) -> Result<Self, Error> {
        Ok(match self {
            Of::Plain(plan) => Of::Plain(plan.with_input(input)?),
            Of::Transposed(plan) => Of::Transposed(plan.with_input(input)?),
        })
    }

    pub(super) fn explain(&self) -> String {
        match self {
            Of::Plain(plan) => plan.explain(),
            Of::Transposed(plan) => plan.conv().explain(),
        }
    }
}

fn params(p: &im2col_conv_params, more: &Option<im2col_conv_options>) -> Result<Params, Failure> {
    let layout = match p.layout {
        IM2COL_CHANNELS_FIRST => Layout::ChannelsFirst,
        IM2COL_CHANNELS_LAST => Layout::ChannelsLast,
        found => return Err(unknown("layout", found, "0 (channels first) or 1 (last)")),
    };
    let padding_mode = match more.map_or(IM2COL_PADDING_ZEROS, |more| more.padding_mode) {
        IM2COL_PADDING_ZEROS => PaddingMode::Zeros,
        IM2COL_PADDING_REFLECT => PaddingMode::Reflect,
        IM2COL_PADDING_REPLICATE => PaddingMode::Replicate,
        IM2COL_PADDING_CIRCULAR => PaddingMode::Circular,
        found => {
            let allowed = "0 (zeros), 1 (reflect), 2 (replicate) or 3 (circular)";
            return Err(unknown("padding_mode", found, allowed));
        }
    };
    Ok(Params {
        axes: p.spatial_dims as usize,
        layout,
        batch: p.batch,
        in_channels: p.in_channels,
        out_channels: p.out_channels,
        groups: p.groups,
        input: p.input,
        kernel: p.kernel,
        stride: p.stride,
        dilation: p.dilation,
        pad_begin: p.pad_begin,
        pad_end: p.pad_end,
        padding_mode,
    })
}

fn options(p: &im2col_conv_params, more: &Option<im2col_conv_options>) -> Result<Options, Failure> {
    let (algorithm, accuracy) = match p.algorithm {
        IM2COL_ALGORITHM_AUTO => (Algorithm::Auto, Accuracy::Element),
        IM2COL_ALGORITHM_EXPLICIT => (Algorithm::Explicit, Accuracy::Element),
        IM2COL_ALGORITHM_IMPLICIT => (Algorithm::Implicit, Accuracy::Element),
        IM2COL_ALGORITHM_TILE2 => (Algorithm::Auto, Accuracy::Tile2),
        IM2COL_ALGORITHM_TILE => (Algorithm::Auto, Accuracy::Tile),
        found => {
            let allowed = "0 (auto), 1 (explicit), 2 (implicit), 3 (tile2) or 4 (tile)";
            return Err(unknown("algorithm", found, allowed));
        }
    };
    let options = Options::default().algorithm(algorithm).accuracy(accuracy);
    match more.map_or(0, |more| more.inference) {
        0 => Ok(options),
        1 => Ok(options.inference()),
        found => Err(unknown("inference", found, "0 or 1")),
    }
}
