//! A convolution of the network on im2col, plain or transposed: the one file that calls the library.
//!
//! For inference weights are packed once; bias, residual and activation are applied as the sums are stored.

use crate::graph::{After, Conv, Kind};
use im2col::{
    Accuracy, Activation, Conv2d, ConvTranspose2d, Error, Executor, Layout, PackedWeight, Pass,
    Plan, TransposedPlan, Weight, Write,
};

/// What all layers of a run have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) batch: usize,
    pub(crate) layout: Layout,
    pub(crate) accuracy: Accuracy,
}

/// What is added to a convolution before its activation.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Residual<'a> {
    None,
    Tensor(&'a [f32]),
    /// What the output holds: no other step reads the residual, so its memory becomes the output's.
    Output,
}

/// What is added to the sums.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Added<'a> {
    pub(crate) bias: Option<&'a [f32]>,
    pub(crate) residual: Residual<'a>,
}

/// What a call is lent.
pub(crate) struct Lent<'a> {
    pub(crate) scratch: &'a mut [f32],
    pub(crate) executor: &'a dyn Executor,
}

/// A layer that the library has planned.
pub(crate) enum Planned {
    Plain(Box<Plan<f32>>),
    Transposed(Box<TransposedPlan<f32>>),
}

impl Planned {
    /// Plans the step `kind` for a `[channels, height, width]`; `None` if it is no convolution.
    pub(crate) fn new(
        kind: &Kind,
        [channels, height, width]: [usize; 3],
        setting: Setting,
        for_training: bool,
    ) -> Result<Option<Self>, Error> {
        let input = [setting.batch, channels, height, width];
        Ok(match kind {
            Kind::Conv(conv) => {
                let filter = [conv.out, channels / conv.groups, conv.kernel, conv.kernel];
                let layer = Conv2d::<f32>::new(input, filter)
                    .stride(conv.stride)
                    .padding(conv.padding)
                    .groups(conv.groups)
                    .layout(setting.layout)
                    .accuracy(setting.accuracy)
                    .activation(activation(conv, for_training));
                let layer = if for_training { layer } else { layer.inference() };
                Some(Self::Plain(Box::new(layer.plan()?)))
            }
            Kind::Up(conv) => {
                let filter = [channels, conv.out, conv.kernel, conv.kernel];
                let layer = ConvTranspose2d::<f32>::new(input, filter)
                    .stride(conv.stride)
                    .layout(setting.layout)
                    .accuracy(setting.accuracy)
                    .activation(activation(conv, for_training));
                Some(Self::Transposed(Box::new(layer.plan()?)))
            }
            Kind::MaxPool { .. } | Kind::Mean | Kind::Concat(_) => None,
        })
    }

    /// Elements of scratch that a call can use.
    pub(crate) fn scratch_len(&self, pass: Pass, executor: &dyn Executor) -> usize {
        match self {
            Self::Plain(plan) => plan.scratch_len_on(pass, executor),
            Self::Transposed(plan) => plan.scratch_len_on(pass, executor),
        }
    }

    /// Operations of a call: two for each product, those with padding counted as well.
    pub(crate) fn flops(&self) -> f64 {
        self.conv().shape().flops()
    }

    /// What the library chose for the forward pass, in one line.
    pub(crate) fn schedule(&self) -> String {
        let pass = match self {
            Self::Plain(_) => Pass::Forward,
            // A transposed layer's forward pass is the input gradient of the convolution inside.
            Self::Transposed(_) => Pass::BackwardData,
        };
        self.conv().schedule(pass).map_or_else(String::new, |schedule| schedule.to_string())
    }

    /// The library's forward call with as much of bias and residual as there is.
    pub(crate) fn forward<'w>(
        &self,
        input: &[f32],
        weight: impl Into<Weight<'w, f32>>,
        added: Added<'_>,
        output: &mut [f32],
        lent: Lent<'_>,
    ) -> Result<(), Error> {
        let weight = weight.into();
        let call = match self {
            Self::Plain(plan) => plan.forward(input, weight),
            Self::Transposed(plan) => plan.forward(input, weight),
        };
        let call = call.maybe_bias(added.bias);
        let call = match added.residual {
            Residual::None => call,
            Residual::Tensor(residual) => call.residual(residual),
            Residual::Output => call.accumulate(),
        };
        call.scratch(lent.scratch).executor(lent.executor).run(output)
    }

    /// The gradients of weight and, where wanted, bias; `grad_output` is read through the activation if there is a
    /// mask.
    pub(crate) fn backward_weight(
        &self,
        [input, grad_output]: [&[f32]; 2],
        mask: Option<&[f32]>,
        grad_weight: &mut [f32],
        grad_bias: Option<&mut [f32]>,
        lent: Lent<'_>,
    ) -> Result<(), Error> {
        let mut call = match self {
            Self::Plain(plan) => plan.backward_weight(input, grad_output),
            Self::Transposed(plan) => plan.backward_weight(input, grad_output),
        };
        if let Some(mask) = mask {
            call = call.mask(mask);
        }
        if let Some(grad_bias) = grad_bias {
            call = call.grad_bias(grad_bias);
        }
        call.scratch(lent.scratch).executor(lent.executor).run(grad_weight)
    }

    /// The gradient of the input.
    pub(crate) fn backward_data(
        &self,
        [weight, grad_output]: [&[f32]; 2],
        mask: Option<&[f32]>,
        write: Write,
        grad_input: &mut [f32],
        lent: Lent<'_>,
    ) -> Result<(), Error> {
        let mut call = match self {
            Self::Plain(plan) => plan.backward_data(weight, grad_output),
            Self::Transposed(plan) => plan.backward_data(weight, grad_output),
        };
        if let Some(mask) = mask {
            call = call.mask(mask);
        }
        call.write(write).scratch(lent.scratch).executor(lent.executor).run(grad_input)
    }

    fn conv(&self) -> &Plan<f32> {
        match self {
            Self::Plain(plan) => plan,
            Self::Transposed(plan) => plan.conv(),
        }
    }
}

/// What is fused into the layer. In training a batch normalisation comes between.
fn activation(conv: &Conv, for_training: bool) -> Activation<f32> {
    match conv.after {
        _ if for_training && conv.norm => Activation::None,
        After::Nothing => Activation::None,
        After::Relu => Activation::Relu,
        After::Relu6 => Activation::Clamp(0.0, 6.0),
    }
}

/// A planned convolution with its weights, packed.
pub(crate) struct Layer {
    pub(crate) planned: Planned,
    weight: PackedWeight<f32>,
    bias: Vec<f32>,
}

impl Layer {
    /// Packs the weights of a planned layer, which lie in its layout.
    pub(crate) fn new(planned: Planned, weight: &[f32], bias: Vec<f32>) -> Result<Self, Error> {
        let weight = match &planned {
            Planned::Plain(plan) => plan.pack_weight(Pass::Forward, weight)?,
            Planned::Transposed(plan) => plan.pack_weight(Pass::Forward, weight)?,
        };
        Ok(Self { planned, weight, bias })
    }

    /// Elements of the packed weights.
    pub(crate) fn packed_len(&self) -> usize {
        self.weight.len()
    }

    pub(crate) fn run(
        &self,
        input: &[f32],
        residual: Residual<'_>,
        output: &mut [f32],
        scratch: &mut [f32],
        executor: &dyn Executor,
    ) -> Result<(), Error> {
        let added = Added { bias: Some(&self.bias), residual };
        let lent = Lent { scratch, executor };
        self.planned.forward(input, &self.weight, added, output, lent)
    }
}
