//! A convolution of the network on im2col: the one file that calls the library.

use crate::graph::{After, Conv};
use im2col::{
    Accuracy, Activation, Conv2d, Error, Executor, Layout, PackedWeight, Pass, Plan, Weight,
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

/// A planned convolution with its weights, packed.
pub(crate) struct Layer {
    plan: Plan<f32>,
    weight: PackedWeight<f32>,
    bias: Vec<f32>,
}

impl Layer {
    /// Plans the convolution of a `[channels, height, width]` and packs its weights.
    pub(crate) fn new(
        conv: &Conv,
        [channels, height, width]: [usize; 3],
        setting: Setting,
        weight: &[f32],
        bias: Vec<f32>,
    ) -> Result<Self, Error> {
        let input = [setting.batch, channels, height, width];
        let filter = [conv.out, channels / conv.groups, conv.kernel, conv.kernel];
        let activation = match conv.after {
            After::Nothing => Activation::None,
            After::Relu => Activation::Relu,
            After::Relu6 => Activation::Clamp(0.0, 6.0),
        };
        let plan = Conv2d::<f32>::new(input, filter)
            .stride(conv.stride)
            .padding(conv.padding)
            .groups(conv.groups)
            .layout(setting.layout)
            .accuracy(setting.accuracy)
            .activation(activation)
            .inference()
            .plan()?;
        let weight = plan.pack_weight(Pass::Forward, weight)?;
        Ok(Self { plan, weight, bias })
    }

    /// Elements of scratch that a call can use.
    pub(crate) fn scratch_len(&self, executor: &dyn Executor) -> usize {
        self.plan.scratch_len_on(Pass::Forward, executor)
    }

    /// Elements of the packed weights.
    pub(crate) fn packed_len(&self) -> usize {
        self.weight.len()
    }

    /// Operations of a call: two for each product.
    pub(crate) fn flops(&self) -> f64 {
        self.plan.shape().flops()
    }

    /// What the library chose, in one line.
    pub(crate) fn schedule(&self) -> String {
        self.plan.schedule(Pass::Forward).map_or_else(String::new, |s| s.to_string())
    }

    /// Bias, residual and activation are applied as the sums are stored.
    pub(crate) fn run(
        &self,
        input: &[f32],
        residual: Residual<'_>,
        output: &mut [f32],
        scratch: &mut [f32],
        executor: &dyn Executor,
    ) -> Result<(), Error> {
        let call = self.plan.forward(input, Weight::from(&self.weight)).bias(&self.bias);
        let call = match residual {
            Residual::None => call,
            Residual::Tensor(residual) => call.residual(residual),
            Residual::Output => call.accumulate(),
        };
        call.scratch(scratch).executor(executor).run(output)
    }
}
