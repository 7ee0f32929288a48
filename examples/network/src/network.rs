//! A network ready to run: planned layers, packed weights, and memory for its tensors.

use crate::graph::{Conv, Graph, Kind, TensorId};
use crate::layer::{Layer, Residual, Setting};
use crate::numbers::{Numbers, arranged};
use crate::pool;
use im2col::{Error, Executor};
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
    /// Plans all layers, with random weights that keep the numbers at one size.
    pub(crate) fn new(
        graph: Graph,
        setting: Setting,
        executor: &'a dyn Executor,
        seed: u64,
    ) -> Result<Self, Error> {
        let mut numbers = Numbers::new(seed);
        let mut layers = Vec::new();
        for step in &graph.steps {
            let Kind::Conv(conv) = &step.kind else {
                layers.push(None);
                continue;
            };
            let from = graph.sizes[step.input];
            let [weight, bias] = numbers.layer(conv, from[0]);
            let channels = from[0] / conv.groups;
            let weight = arranged(weight, channels, conv.kernel * conv.kernel, setting.layout);
            layers.push(Some(Layer::new(conv, from, setting, &weight, bias)?));
        }
        let scratch = layers.iter().flatten().map(|layer| layer.scratch_len(executor)).max();
        let (places, lengths) = places(&graph, setting.batch);
        let mut buffers: Vec<Vec<f32>> = lengths.into_iter().map(|len| vec![0.0; len]).collect();
        let input = numbers.next(len(&graph, 0, setting.batch), 1.0);
        let [channels, height, width] = graph.sizes[0];
        let input = arranged(input, channels, height * width, setting.layout);
        buffers[places[0]][..input.len()].copy_from_slice(&input);
        let scratch = vec![0.0; scratch.unwrap_or(0)];
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
            (Kind::Conv(conv), layer) => {
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
mod tests {
    use super::*;
    use crate::graph::After;
    use crate::models;
    use im2col::{Accuracy, Layout, Serial};

    /// No two tensors that are alive at once share a buffer.
    #[test]
    fn tensors_do_not_overwrite_what_is_still_read() {
        for (name, model) in models::ALL {
            let graph = model(64);
            let (last, (places, _)) = (graph.last_uses(), places(&graph, 1));
            for made in 1..graph.sizes.len() {
                for earlier in 0..made {
                    let summed = summed_in_place(&graph, &last, made - 1) == Some(earlier);
                    let alive = earlier == 0 || (last[earlier] >= made - 1 && !summed);
                    assert!(!alive || places[earlier] != places[made], "{name}: {earlier}, {made}");
                }
            }
        }
    }

    /// What a graph makes by loops, one for each index, channels first.
    fn by_loops(graph: &Graph, seed: u64) -> Vec<f32> {
        let mut numbers = Numbers::new(seed);
        let weights: Vec<_> = graph
            .steps
            .iter()
            .map(|step| match &step.kind {
                Kind::Conv(conv) => Some(numbers.layer(conv, graph.channels(step.input))),
                _ => None,
            })
            .collect();
        let mut tensors = vec![numbers.next(len(graph, 0, 1), 1.0)];
        for (n, step) in graph.steps.iter().enumerate() {
            let (from, to) = (graph.sizes[step.input], graph.sizes[n + 1]);
            let input = &tensors[step.input];
            let made = match (step.kind, &weights[n]) {
                (Kind::Conv(conv), Some([weight, bias])) => {
                    let params = im2col::Params {
                        axes: 2,
                        in_channels: from[0],
                        out_channels: conv.out,
                        groups: conv.groups,
                        input: [from[1], from[2], 1],
                        kernel: [conv.kernel, conv.kernel, 1],
                        stride: [conv.stride, conv.stride, 1],
                        pad_begin: [conv.padding, conv.padding, 0],
                        pad_end: [conv.padding, conv.padding, 0],
                        ..im2col::Params::default()
                    };
                    let shape = im2col::Shape::new(params).unwrap();
                    let sums = im2col::reference::forward(&shape, input, weight, Some(bias));
                    let after = |(i, sum): (usize, f64)| {
                        let all = sum as f32 + conv.residual.map_or(0.0, |r| tensors[r][i]);
                        match conv.after {
                            After::Nothing => all,
                            After::Relu => all.max(0.0),
                            After::Relu6 => all.clamp(0.0, 6.0),
                        }
                    };
                    sums.unwrap().into_iter().enumerate().map(after).collect()
                }
                (Kind::MaxPool { kernel, stride, padding }, _) => {
                    let mut made = vec![0.0; to.iter().product()];
                    let (sizes, window) = ([from, to], [kernel, stride, padding]);
                    pool::max_pool(Layout::ChannelsFirst, sizes, window, input, &mut made);
                    made
                }
                _ => {
                    let mut made = vec![0.0; to[0]];
                    pool::mean(Layout::ChannelsFirst, from, input, &mut made);
                    made
                }
            };
            tensors.push(made);
        }
        tensors.pop().unwrap()
    }

    /// Both layouts and every accuracy make what loops make, one for each index.
    #[test]
    fn a_small_network_makes_what_plain_loops_make() {
        let mut graph = Graph::new([3, 17, 17]);
        let stem = graph.conv("stem", 0, Conv::new(8, 3).stride(2));
        let pooled = graph.max_pool(stem, [3, 2, 1]);
        let deep = graph.conv("deep", pooled, Conv::new(8, 3).groups(8).after(After::Relu6));
        let sum = graph.conv("sum", deep, Conv::new(8, 3).residual(pooled));
        graph.mean(sum);
        let wanted = by_loops(&graph, 3);
        assert!(wanted.iter().any(|x| *x > 0.01), "{wanted:?}");
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            for accuracy in [Accuracy::Element, Accuracy::Tile2, Accuracy::Tile] {
                let setting = Setting { batch: 1, layout, accuracy };
                let mut network = Network::new(graph.clone(), setting, &Serial, 3).unwrap();
                // Twice: what a run leaves behind changes nothing.
                for _ in 0..2 {
                    network.run(|_, _| ()).unwrap();
                    for (found, wanted) in network.output().iter().zip(&wanted) {
                        let off = (found - wanted).abs();
                        assert!(
                            off <= 1e-4 * wanted.abs().max(1.0),
                            "{setting:?}: {found}, {wanted}"
                        );
                    }
                }
            }
        }
    }
}
