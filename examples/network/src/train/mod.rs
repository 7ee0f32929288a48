//! A training step: forward, the loss, backward, and gradient descent.
//!
//! Batch normalisation uses the batch's own statistics, so here it stands between a layer and its activation. A layer
//! without one has its activation fused, and its gradients are read through the library's mask.

mod gradients;
mod norm;
mod parameter;

use crate::graph::{After, Conv, Graph, Kind, TensorId};
use crate::layer::{Added, Lent, Planned, Residual, Setting};
use crate::numbers::{Numbers, Parameters, arranged, weight_dims};
use crate::pool;
use im2col::{Error, Executor, Pass, Write};
use norm::Norm;
use parameter::Parameter;
use std::time::Instant;

/// What a step's seconds are split into: the three products, and all that isn't one.
pub(crate) const PARTS: [&str; 4] = ["forward", "grad_weight", "grad_input", "other"];

/// Seconds of each part of a step of the network.
pub(crate) type Seconds = [f64; PARTS.len()];

/// A layer that learns.
struct Layer {
    planned: Planned,
    weight: Parameter,
    bias: Parameter,
    norm: Option<Norm>,
}

/// A network that learns, with every tensor of a step kept for the way back.
pub(crate) struct Training<'a> {
    pub(crate) graph: Graph,
    setting: Setting,
    executor: &'a dyn Executor,
    layers: Vec<Option<Layer>>,
    tensors: Vec<Vec<f32>>,
    grads: Vec<Vec<f32>>,
    /// Whether a tensor's gradient has got its first part.
    begun: Vec<bool>,
    labels: Vec<usize>,
    scratch: Vec<f32>,
    /// Of the step that is being taken.
    seconds: Vec<Seconds>,
}

impl<'a> Training<'a> {
    /// Plans all passes of all layers; labels are random.
    pub(crate) fn new(
        graph: Graph,
        setting: Setting,
        executor: &'a dyn Executor,
        parameters: Parameters,
        seed: u64,
    ) -> Result<Self, Error> {
        let Parameters { weights, input } = parameters;
        let len = |t: TensorId| setting.batch * graph.sizes[t].iter().product::<usize>();
        let (mut layers, mut scratch_len) = (Vec::new(), 0);
        for (n, (step, weights)) in graph.steps.iter().zip(weights).enumerate() {
            let from = graph.sizes[step.input];
            let planned = Planned::new(&step.kind, from, setting, true)?;
            let dims = weight_dims(&step.kind, from[0]);
            let (Some(planned), Some(dims), Some([weight, bias])) = (planned, dims, weights) else {
                layers.push(None);
                continue;
            };
            for pass in [Pass::Forward, Pass::BackwardData, Pass::BackwardWeight] {
                scratch_len = scratch_len.max(planned.scratch_len(pass, executor));
            }
            let weight = arranged(weight, dims[1], dims[2] * dims[3], setting.layout);
            let normed = step.kind.conv().is_some_and(|conv| conv.norm);
            let norm = normed.then(|| Norm::new(bias.len(), len(n + 1)));
            let [weight, bias] = [weight, bias].map(Parameter::new);
            layers.push(Some(Layer { planned, weight, bias, norm }));
        }
        let [classes, height, width] = graph.sizes[graph.last()];
        let labels = Numbers::new(!seed).labels(setting.batch * height * width, classes);
        let [channels, height, width] = graph.sizes[0];
        let mut tensors: Vec<_> = (0..graph.sizes.len()).map(|t| vec![0.0; len(t)]).collect();
        tensors[0] = arranged(input, channels, height * width, setting.layout);
        let mut grads = tensors.clone();
        grads[0] = Vec::new();
        let (begun, scratch) = (vec![false; grads.len()], vec![0.0; scratch_len]);
        let seconds = vec![[0.0; PARTS.len()]; graph.steps.len()];
        Ok(Self {
            graph,
            setting,
            executor,
            layers,
            tensors,
            grads,
            begun,
            labels,
            scratch,
            seconds,
        })
    }

    /// The operations of a layer's forward pass, and of each of its gradients; none if a step isn't a layer.
    pub(crate) fn flops(&self, step: usize) -> Option<f64> {
        self.layers[step].as_ref().map(|layer| layer.planned.flops())
    }

    /// The seconds of each step in the last call of [`learn`](Self::learn).
    pub(crate) fn seconds(&self) -> &[Seconds] {
        &self.seconds
    }

    /// A step of training: the loss before it, and all parameters moved against their gradients.
    pub(crate) fn learn(&mut self, rate: f32) -> Result<f64, Error> {
        let loss = self.gradients()?;
        for (layer, seconds) in self.layers.iter_mut().zip(&mut self.seconds) {
            let start = Instant::now();
            for parameter in layer.iter_mut().flat_map(Layer::parameters) {
                parameter.step(rate);
            }
            seconds[3] += start.elapsed().as_secs_f64();
        }
        Ok(loss)
    }

    /// Forward and backward: the loss, and each parameter's gradient beside it.
    fn gradients(&mut self) -> Result<f64, Error> {
        self.seconds.fill([0.0; PARTS.len()]);
        for n in 0..self.graph.steps.len() {
            self.forward(n)?;
        }
        let last = self.graph.last();
        self.begun.fill(false);
        self.begun[last] = true;
        let mut scores = std::mem::take(&mut self.grads[last]);
        scores.copy_from_slice(&self.tensors[last]);
        let sizes = self.graph.sizes[last];
        let loss = gradients::cross_entropy(self.setting.layout, sizes, &self.labels, &mut scores);
        self.grads[last] = scores;
        for n in (0..self.graph.steps.len()).rev() {
            self.backward(n)?;
        }
        Ok(loss)
    }

    fn forward(&mut self, n: usize) -> Result<(), Error> {
        let (start, step, layout) = (Instant::now(), &self.graph.steps[n], self.setting.layout);
        let mut output = std::mem::take(&mut self.tensors[n + 1]);
        let (input, sizes) =
            (&self.tensors[step.input], [self.graph.sizes[step.input], self.graph.sizes[n + 1]]);
        let mut product = 0.0;
        match step.kind {
            Kind::MaxPool { kernel, stride, padding } => {
                pool::max_pool(layout, sizes, [kernel, stride, padding], input, &mut output);
            }
            Kind::Mean => pool::mean(layout, sizes[0], input, &mut output),
            Kind::Concat(other) => {
                let parts = [input, &self.tensors[other]].map(|tensor| &tensor[..]);
                let channels = [step.input, other].map(|t| self.graph.channels(t));
                let parts = [(parts[0], channels[0]), (parts[1], channels[1])];
                pool::concat(layout, sizes[0][1] * sizes[0][2], parts, &mut output);
            }
            Kind::Conv(conv) | Kind::Up(conv) => {
                let layer = self.layers[n].as_mut().expect("each convolution has a layer");
                let residual = conv.residual.map(|r| &self.tensors[r][..]);
                let lent = Lent { scratch: &mut self.scratch, executor: self.executor };
                let weight = &layer.weight.value[..];
                if let Some(norm) = &mut layer.norm {
                    let added = Added { bias: None, residual: Residual::None };
                    layer.planned.forward(input, weight, added, norm.input(), lent)?;
                    product = start.elapsed().as_secs_f64();
                    norm.forward(layout, sizes[1][1] * sizes[1][2], &mut output);
                    add_and_clip(conv.after, residual, &mut output);
                } else {
                    let residual = residual.map_or(Residual::None, Residual::Tensor);
                    let added = Added { bias: Some(&layer.bias.value), residual };
                    layer.planned.forward(input, weight, added, &mut output, lent)?;
                    product = start.elapsed().as_secs_f64();
                }
            }
        }
        self.tensors[n + 1] = output;
        self.seconds[n][0] += product;
        self.seconds[n][3] += start.elapsed().as_secs_f64() - product;
        Ok(())
    }

    fn backward(&mut self, n: usize) -> Result<(), Error> {
        let (start, layout) = (Instant::now(), self.setting.layout);
        let (kind, input) = (self.graph.steps[n].kind, self.graph.steps[n].input);
        let mut grad = std::mem::take(&mut self.grads[n + 1]);
        let sizes = [self.graph.sizes[input], self.graph.sizes[n + 1]];
        let pixels = sizes[1][1] * sizes[1][2];
        let mut products = [0.0; 2];
        match kind {
            Kind::MaxPool { kernel, stride, padding } => {
                let mut to = self.grad_to_add_to(input);
                let read = [&self.tensors[input][..], &grad];
                gradients::max_pool(layout, sizes, [kernel, stride, padding], read, &mut to);
                self.grads[input] = to;
            }
            Kind::Mean => {
                let mut to = self.grad_to_add_to(input);
                gradients::mean(layout, sizes[0], &grad, &mut to);
                self.grads[input] = to;
            }
            Kind::Concat(other) => {
                for (part, before) in [(input, 0), (other, sizes[0][0])] {
                    let mut to = self.grad_to_add_to(part);
                    let channels = [self.graph.channels(part), sizes[1][0]];
                    gradients::concat(layout, pixels, &grad, (&mut to, before, channels));
                    self.grads[part] = to;
                }
            }
            Kind::Conv(conv) | Kind::Up(conv) => {
                products = self.backward_of_layer(n, input, &conv, &mut grad)?;
            }
        }
        self.grads[n + 1] = grad;
        self.seconds[n][1] += products[0];
        self.seconds[n][2] += products[1];
        self.seconds[n][3] += start.elapsed().as_secs_f64() - products[0] - products[1];
        Ok(())
    }

    /// The gradients of a layer; the seconds of both products.
    fn backward_of_layer(
        &mut self,
        n: usize,
        input: TensorId,
        conv: &Conv,
        grad: &mut [f32],
    ) -> Result<[f64; 2], Error> {
        let [_, height, width] = self.graph.sizes[n + 1];
        let mut layer = self.layers[n].take().expect("each convolution has a layer");
        // Where the activation is fused the library reads the gradient through it.
        let is_masked = layer.norm.is_none() && conv.after != After::Nothing;
        if layer.norm.is_some() {
            clip(conv.after, &self.tensors[n + 1], grad);
        }
        if let Some(residual) = conv.residual {
            let mut to = self.grad_to_add_to(residual);
            to.iter_mut().zip(&*grad).for_each(|(to, grad)| *to += grad);
            self.grads[residual] = to;
        }
        if let Some(norm) = &mut layer.norm {
            norm.backward(self.setting.layout, height * width, grad);
        }
        let mask = is_masked.then_some(&self.tensors[n + 1][..]);
        let start = Instant::now();
        let bias = layer.norm.is_none().then_some(&mut layer.bias.grad[..]);
        let (read, to) = ([&self.tensors[input][..], grad], &mut layer.weight.grad);
        let lent = Lent { scratch: &mut self.scratch, executor: self.executor };
        layer.planned.backward_weight(read, mask, to, bias, lent)?;
        let mut seconds = [start.elapsed().as_secs_f64(), 0.0];
        // Nobody asks for the gradient of the images.
        if input != 0 {
            let start = Instant::now();
            let first = !std::mem::replace(&mut self.begun[input], true);
            let write = if first { Write::Overwrite } else { Write::Accumulate };
            let (read, to) = ([&layer.weight.value[..], grad], &mut self.grads[input]);
            let lent = Lent { scratch: &mut self.scratch, executor: self.executor };
            layer.planned.backward_data(read, mask, write, to, lent)?;
            seconds[1] = start.elapsed().as_secs_f64();
        }
        self.layers[n] = Some(layer);
        Ok(seconds)
    }

    /// The gradient of a tensor, to which a part is to be added: zeros where this is the first part.
    fn grad_to_add_to(&mut self, tensor: TensorId) -> Vec<f32> {
        let mut grad = std::mem::take(&mut self.grads[tensor]);
        if !std::mem::replace(&mut self.begun[tensor], true) {
            grad.fill(0.0);
        }
        grad
    }
}

impl Layer {
    /// What it learns: a normalisation makes a bias before it void.
    fn parameters(&mut self) -> impl Iterator<Item = &mut Parameter> {
        let Self { weight, bias, norm, .. } = self;
        let bias = norm.is_none().then_some(bias);
        let norm = norm.iter_mut().flat_map(|norm| [&mut norm.gamma, &mut norm.beta]);
        std::iter::once(weight).chain(bias).chain(norm)
    }
}

/// The largest number that an activation lets through.
fn limit(after: After) -> Option<f32> {
    match after {
        After::Nothing => None,
        After::Relu => Some(f32::INFINITY),
        After::Relu6 => Some(6.0),
    }
}

fn add_and_clip(after: After, residual: Option<&[f32]>, output: &mut [f32]) {
    if let Some(residual) = residual {
        output.iter_mut().zip(residual).for_each(|(y, r)| *y += r);
    }
    if let Some(limit) = limit(after) {
        output.iter_mut().for_each(|y| *y = y.clamp(0.0, limit));
    }
}

fn clip(after: After, output: &[f32], grad: &mut [f32]) {
    if let Some(limit) = limit(after) {
        gradients::clip(output, limit, grad);
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
