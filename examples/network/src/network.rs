//! A network ready to run: planned layers, packed weights, and memory for its tensors.

use crate::graph::{Conv, Graph, Kind, TensorId};
use crate::layer::{Layer, Planned, Residual, Setting};
use crate::numbers::{Parameters, arranged, weight_dims};
use crate::pool;
use im2col::{Error, Executor, Pass};
use std::time::Instant;

/// A network and all its memory.
pub(crate) struct Network<'a> {
    pub(crate) graph: Graph,
    setting: Setting,
    executor: &'a dyn Executor,
    /// One for each step; none where it isn't a convolution.
    pub(crate) layers: Vec<Option<Layer>>,
    /// Which of the buffers holds each tensor.
    places: Vec<usize>,
    buffers: Vec<Vec<f32>>,
    scratch: Vec<f32>,
}

impl<'a> Network<'a> {
    /// Plans all layers and packs their weights.
    pub(crate) fn new(
        graph: Graph,
        setting: Setting,
        executor: &'a dyn Executor,
        parameters: Parameters,
    ) -> Result<Self, Error> {
        let Setting { batch, layout, .. } = setting;
        let Parameters { weights, input } = parameters;
        let (mut layers, mut scratch_len) = (Vec::new(), 0);
        // One after the other, so that a weight is gone as soon as it is packed.
        for (step, weights) in graph.steps.iter().zip(weights) {
            let from = graph.sizes[step.input];
            let planned = Planned::new(&step.kind, from, setting, false)?;
            let dims = weight_dims(&step.kind, from[0]);
            let (Some(planned), Some(dims), Some([weight, bias])) = (planned, dims, weights) else {
                layers.push(None);
                continue;
            };
            scratch_len = scratch_len.max(planned.scratch_len(Pass::Forward, executor));
            let weight = arranged(weight, dims[1], dims[2] * dims[3], layout);
            layers.push(Some(Layer::new(planned, &weight, bias)?));
        }
        let (places, lengths) = places(&graph, batch);
        let mut buffers: Vec<Vec<f32>> = lengths.into_iter().map(|len| vec![0.0; len]).collect();
        let [channels, height, width] = graph.sizes[0];
        let input = arranged(input, channels, height * width, layout);
        buffers[places[0]][..input.len()].copy_from_slice(&input);
        let scratch = vec![0.0; scratch_len];
        Ok(Self { graph, setting, executor, layers, places, buffers, scratch })
    }

    /// Runs all steps and hands the seconds of each to `report`.
    pub(crate) fn run(&mut self, mut report: impl FnMut(usize, f64)) -> Result<(), Error> {
        for n in 0..self.graph.steps.len() {
            let start = Instant::now();
            self.step(n)?;
            report(n, start.elapsed().as_secs_f64());
        }
        Ok(())
    }

    fn step(&mut self, n: usize) -> Result<(), Error> {
        let (step, batch) = (&self.graph.steps[n], self.setting.batch);
        // A step writes where it reads only if that is its residual.
        let mut output = std::mem::take(&mut self.buffers[self.places[n + 1]]);
        let tensor = |t: TensorId| &self.buffers[self.places[t]][..len(&self.graph, t, batch)];
        let (input, made) = (tensor(step.input), len(&self.graph, n + 1, batch));
        let sizes = [self.graph.sizes[step.input], self.graph.sizes[n + 1]];
        let layout = self.setting.layout;
        match (step.kind, &self.layers[n]) {
            (Kind::MaxPool { kernel, stride, padding }, _) => {
                let window = [kernel, stride, padding];
                pool::max_pool(layout, sizes, window, input, &mut output[..made]);
            }
            (Kind::Mean, _) => pool::mean(layout, sizes[0], input, &mut output[..made]),
            (Kind::Concat(other), _) => {
                let channels = sizes[0][0];
                let parts = [(input, channels), (tensor(other), sizes[1][0] - channels)];
                pool::concat(layout, sizes[0][1] * sizes[0][2], parts, &mut output[..made]);
            }
            (Kind::Conv(conv) | Kind::Up(conv), layer) => {
                let layer = layer.as_ref().expect("each convolution has a layer");
                let residual = match conv.residual {
                    None => Residual::None,
                    Some(r) if self.places[r] == self.places[n + 1] => Residual::Output,
                    Some(r) => Residual::Tensor(tensor(r)),
                };
                let output = &mut output[..made];
                layer.run(input, residual, output, &mut self.scratch, self.executor)?;
            }
        }
        self.buffers[self.places[n + 1]] = output;
        Ok(())
    }

    /// What the last step made.
    pub(crate) fn output(&self) -> &[f32] {
        let last = self.graph.last();
        &self.buffers[self.places[last]][..len(&self.graph, last, self.setting.batch)]
    }

    /// Elements of all tensors, of the scratch, and of the packed weights.
    pub(crate) fn memory(&self) -> [usize; 3] {
        let packed = self.layers.iter().flatten().map(Layer::packed_len).sum();
        [self.buffers.iter().map(Vec::len).sum(), self.scratch.len(), packed]
    }
}

/// Elements of a tensor.
fn len(graph: &Graph, tensor: TensorId, batch: usize) -> usize {
    batch * graph.sizes[tensor].iter().product::<usize>()
}

/// The residual of a step that no later step reads and that the step reads for nothing else: the output is summed
/// where it lies, which saves the processor a third of what it would move.
fn summed_in_place(graph: &Graph, last: &[usize], step: usize) -> Option<TensorId> {
    let Kind::Conv(Conv { residual: Some(residual), .. }) = graph.steps[step].kind else {
        return None;
    };
    let alone = residual != 0 && residual != graph.steps[step].input && last[residual] == step;
    alone.then_some(residual)
}

/// A buffer for each tensor, and how long each buffer is. Tensors share one where the first was
/// read for the last time before the second is made, or is [what it is added to](summed_in_place); the network's
/// input keeps its own.
fn places(graph: &Graph, batch: usize) -> (Vec<usize>, Vec<usize>) {
    let last = graph.last_uses();
    let (mut places, mut lengths) = (vec![0], vec![len(graph, 0, batch)]);
    let mut free: Vec<usize> = Vec::new();
    for tensor in 1..graph.sizes.len() {
        let (step, wanted) = (tensor - 1, len(graph, tensor, batch));
        let summed = summed_in_place(graph, &last, step);
        // The one that fits best: the shortest that is long enough, or else the longest.
        let best = free.iter().copied().min_by_key(|&place| {
            let len: usize = lengths[place];
            if len >= wanted { (0, len) } else { (1, usize::MAX - len) }
        });
        let summed_at = summed.map(|residual: TensorId| places[residual]);
        let place = summed_at.or(best).unwrap_or(lengths.len());
        if place == lengths.len() {
            lengths.push(0);
        }
        lengths[place] = lengths[place].max(wanted);
        free.retain(|&other| other != place);
        places.push(place);
        let done = (1..tensor).filter(|&t| last[t] == step && Some(t) != summed);
        free.extend(done.map(|t| places[t]).filter(|&p| p != 0));
    }
    (places, lengths)
}

#[cfg(test)]
#[path = "network_tests.rs"]
mod tests;
