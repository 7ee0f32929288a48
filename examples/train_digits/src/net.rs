//! The network: two convolutions, ReLU after each, a pooling and a linear layer, trained by
//! gradient descent with momentum.
//!
//! The parameters ([`Network`]) are apart from what one batch size needs ([`Tape`]: plans,
//! activations, scratch), so that the last, smaller batch of an epoch has its own plans, and a
//! step allocates nothing.

use crate::data::Batch;
use crate::layers::{
    cross_entropy, max_pool_relu, max_pool_relu_backward, relu, relu_backward, softmax,
};
use aligned_vec::{AVec, avec};
use im2col::{Accuracy, Conv1d, Conv2d, Error, Layout, Pass, Plan};
use rand::Rng;

/// Output channels of the two convolutions.
const CHANNELS: [usize; 2] = [16, 32];
/// Height and width of their filters.
const KERNEL: usize = 3;
/// How much of the last step goes into the next.
const MOMENTUM: f32 = 0.9;
/// How much of an image's truth is not its label's, but all classes' alike: a network that must
/// not be sure reads the writers better whom it has never seen.
const SMOOTHING: f32 = 0.1;

/// What the network reads and how many kinds of it there are.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// Height and width of an image.
    pub(crate) image: [usize; 2],
    pub(crate) classes: usize,
}

impl Sizes {
    fn pooled(self) -> [usize; 2] {
        self.image.map(|len| len / 2)
    }

    /// Inputs of the linear layer for one image.
    fn features(self) -> usize {
        CHANNELS[1] * self.pooled().iter().product::<usize>()
    }
}

/// One array of parameters, its error and the direction in which it moves.
pub(crate) struct Parameter {
    value: Vec<f32>,
    /// What a batch leaves here, `step` takes.
    pub(crate) grad: Vec<f32>,
    velocity: Vec<f32>,
}

impl Parameter {
    fn new(len: usize, bound: f32, rng: &mut impl Rng) -> Self {
        let value = (0..len).map(|_| rng.random_range(-bound..bound)).collect();
        Self { value, grad: vec![0.0; len], velocity: vec![0.0; len] }
    }

    fn step(&mut self, rate: f32) {
        let Self { value, grad, velocity } = self;
        for ((value, &grad), velocity) in value.iter_mut().zip(&*grad).zip(velocity) {
            *velocity = MOMENTUM * *velocity + grad;
            *value -= rate * *velocity;
        }
    }
}

/// The parameters of one layer.
struct Layer {
    weight: Parameter,
    bias: Parameter,
}

impl Layer {
    /// Uniform within 1 / sqrt(inputs of one output), weights and biases alike, as PyTorch does.
    fn new(outputs: usize, inputs: usize, rng: &mut impl Rng) -> Self {
        let bound = 1.0 / (inputs as f32).sqrt();
        let weight = Parameter::new(outputs * inputs, bound, rng);
        Self { weight, bias: Parameter::new(outputs, bound, rng) }
    }
}

/// The parameters of the network.
pub(crate) struct Network {
    sizes: Sizes,
    conv1: Layer,
    conv2: Layer,
    linear: Layer,
}

impl Network {
    /// A network that knows nothing yet.
    pub(crate) fn new(sizes: Sizes, rng: &mut impl Rng) -> Self {
        let taps = KERNEL * KERNEL;
        Self {
            sizes,
            conv1: Layer::new(CHANNELS[0], taps, rng),
            conv2: Layer::new(CHANNELS[1], CHANNELS[0] * taps, rng),
            linear: Layer::new(sizes.classes, sizes.features(), rng),
        }
    }

    /// The filters of the first layer, one after the other, and their height and width.
    pub(crate) fn first_filters(&self) -> (&[f32], [usize; 2]) {
        (&self.conv1.weight.value, [KERNEL; 2])
    }

    /// All there is to learn.
    pub(crate) fn parameters(&mut self) -> impl Iterator<Item = &mut Parameter> {
        let layers = [&mut self.conv1, &mut self.conv2, &mut self.linear];
        layers.into_iter().flat_map(|layer| [&mut layer.weight, &mut layer.bias])
    }

    /// Moves every parameter against its error.
    pub(crate) fn step(&mut self, rate: f32) {
        self.parameters().for_each(|parameter| parameter.step(rate));
    }
}

/// One layer planned for one batch size.
struct Planned(Plan<f32>);

impl Planned {
    /// A convolution that keeps the size of the image.
    fn conv(
        batch: usize,
        channels: usize,
        filters: usize,
        image: [usize; 2],
        accuracy: Accuracy,
    ) -> Result<Self, Error> {
        let weight = [filters, channels, KERNEL, KERNEL];
        let conv = Conv2d::new([batch, channels, image[0], image[1]], weight);
        Ok(Self(conv.padding([KERNEL / 2; 2]).accuracy(accuracy).plan()?))
    }

    /// A linear layer is a convolution with a filter of one pixel, and a batch of rows is an
    /// image of that many pixels: one product for the whole batch.
    fn linear(batch: usize, inputs: usize, outputs: usize) -> Result<Self, Error> {
        let conv = Conv1d::new([1, inputs, batch], [outputs, inputs, 1]);
        Ok(Self(conv.layout(Layout::ChannelsLast).plan()?))
    }

    /// The most scratch that a pass can use.
    fn scratch_len(&self) -> usize {
        let passes = [Pass::Forward, Pass::BackwardData, Pass::BackwardWeight];
        passes.iter().map(|&pass| self.0.scratch_len(pass)).max().unwrap_or(0)
    }

    fn forward(
        &self,
        layer: &Layer,
        x: &[f32],
        y: &mut [f32],
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        self.0.forward(x, &layer.weight.value).bias(&layer.bias.value).scratch(scratch).run(y)
    }

    /// The errors of the parameters.
    fn backward(
        &self,
        layer: &mut Layer,
        x: &[f32],
        dy: &[f32],
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        let (weight, bias) = (&mut layer.weight.grad, &mut layer.bias.grad);
        self.0.backward_weight(x, dy).scratch(scratch).run(weight)?;
        self.0.backward_bias(dy).run(bias)
    }

    /// The error of the input.
    fn backward_data(
        &self,
        layer: &Layer,
        dy: &[f32],
        dx: &mut [f32],
        scratch: &mut [f32],
    ) -> Result<(), Error> {
        let weight = &layer.weight.value;
        self.0.backward_data(weight, dy).scratch(scratch).run(dx)
    }
}

/// The plans for one batch size, and what a forward pass leaves behind for the backward pass.
pub(crate) struct Tape {
    batch: usize,
    conv1: Planned,
    conv2: Planned,
    linear: Planned,
    /// First convolution after ReLU, and its error.
    first: AVec<f32>,
    grad_first: AVec<f32>,
    /// Second convolution; the backward pass turns it into its error.
    second: AVec<f32>,
    /// That after pooling and ReLU, and its error.
    pooled: AVec<f32>,
    grad_pooled: AVec<f32>,
    /// Probabilities of the classes; the backward pass turns them into the error of the scores.
    classes: AVec<f32>,
    scratch: AVec<f32>,
}

impl Tape {
    /// Plans for batches of `batch` images.
    pub(crate) fn new(sizes: Sizes, batch: usize, accuracy: Accuracy) -> Result<Self, Error> {
        let Sizes { image, classes } = sizes;
        let conv1 = Planned::conv(batch, 1, CHANNELS[0], image, accuracy)?;
        let conv2 = Planned::conv(batch, CHANNELS[0], CHANNELS[1], image, accuracy)?;
        let linear = Planned::linear(batch, sizes.features(), classes)?;
        let scratch = [&conv1, &conv2, &linear].map(Planned::scratch_len);
        // Aligned to cache lines, which spares the vector loads of the passes split lines.
        let zeros = |len: usize| avec![0.0; len];
        Ok(Self {
            batch,
            first: zeros(conv1.0.shape().output_len()),
            grad_first: zeros(conv1.0.shape().output_len()),
            second: zeros(conv2.0.shape().output_len()),
            pooled: zeros(batch * sizes.features()),
            grad_pooled: zeros(batch * sizes.features()),
            classes: zeros(batch * classes),
            scratch: zeros(scratch.into_iter().max().unwrap_or(0)),
            conv1,
            conv2,
            linear,
        })
    }

    /// The probabilities of the classes for each image of the batch.
    pub(crate) fn forward(&mut self, net: &Network, images: &[f32]) -> Result<&[f32], Error> {
        let scratch = &mut self.scratch;
        self.conv1.forward(&net.conv1, images, &mut self.first, scratch)?;
        relu(&mut self.first);
        self.conv2.forward(&net.conv2, &self.first, &mut self.second, scratch)?;
        max_pool_relu(&self.second, net.sizes.image, &mut self.pooled);
        self.linear.forward(&net.linear, &self.pooled, &mut self.classes, scratch)?;
        softmax(&mut self.classes, net.sizes.classes);
        Ok(&self.classes)
    }

    /// Forward and backward: the loss summed over the batch, and in the network the errors of
    /// its parameters, for the mean loss.
    pub(crate) fn learn(&mut self, net: &mut Network, batch: &Batch) -> Result<f64, Error> {
        self.forward(net, &batch.images)?;
        let Sizes { image, classes } = net.sizes;
        let loss = cross_entropy(&mut self.classes, classes, &batch.labels, SMOOTHING);

        let (grad, scratch) = (&self.classes, &mut self.scratch);
        self.linear.backward(&mut net.linear, &self.pooled, grad, scratch)?;
        self.linear.backward_data(&net.linear, grad, &mut self.grad_pooled, scratch)?;
        max_pool_relu_backward(&mut self.second, image, &self.pooled, &self.grad_pooled);

        let grad = &self.second;
        self.conv2.backward(&mut net.conv2, &self.first, grad, scratch)?;
        self.conv2.backward_data(&net.conv2, grad, &mut self.grad_first, scratch)?;
        relu_backward(&self.first, &mut self.grad_first);

        // Nobody asks for the error of the images.
        self.conv1.backward(&mut net.conv1, &batch.images, &self.grad_first, scratch)?;
        Ok(loss)
    }
}

/// A tape for each batch size that has come up.
pub(crate) struct Tapes {
    sizes: Sizes,
    accuracy: Accuracy,
    tapes: Vec<Tape>,
}

impl Tapes {
    pub(crate) fn new(sizes: Sizes, accuracy: Accuracy) -> Self {
        Self { sizes, accuracy, tapes: Vec::new() }
    }

    /// The tape for `batch` images; made if it's the first time.
    pub(crate) fn of(&mut self, batch: usize) -> Result<&mut Tape, Error> {
        let at = match self.tapes.iter().position(|tape| tape.batch == batch) {
            Some(at) => at,
            None => {
                self.tapes.push(Tape::new(self.sizes, batch, self.accuracy)?);
                self.tapes.len() - 1
            }
        };
        Ok(&mut self.tapes[at])
    }
}

#[cfg(test)]
#[path = "net_tests.rs"]
mod tests;
