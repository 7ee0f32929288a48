//! Weights and inputs: random ones, the same for a seed whatever the layout; and all of a network in files, for others
//! to run.

use crate::graph::{After, Conv, Graph, Kind};
use im2col::Layout;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// A convolution's weight and bias, channels first.
pub(crate) type Weights = [Vec<f32>; 2];

/// Numbers one after the other.
pub(crate) struct Numbers(SmallRng);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Self {
        Self(SmallRng::seed_from_u64(seed))
    }

    /// Numbers between `-size` and `size`.
    pub(crate) fn next(&mut self, len: usize, size: f32) -> Vec<f32> {
        (0..len).map(|_| self.0.random_range(-size..=size)).collect()
    }

    /// One of `classes` for each of `len` things.
    pub(crate) fn labels(&mut self, len: usize, classes: usize) -> Vec<usize> {
        (0..len).map(|_| self.0.random_range(0..classes)).collect()
    }

    /// Weight and bias that keep the numbers of a network at one size: by He's rule, as the variance of a uniform
    /// number is a third of its largest square.
    fn layer(&mut self, conv: &Conv, sums_over: usize, weight_len: usize) -> Weights {
        let size = (6.0 / sums_over as f32).sqrt();
        [self.next(weight_len, size), self.next(conv.out, 0.1)]
    }
}

/// `[outer, inner, height, width]` of a step's weight, channels first; `None` if the step has none.
pub(crate) fn weight_dims(kind: &Kind, channels: usize) -> Option<[usize; 4]> {
    match kind {
        Kind::Conv(conv) => Some([conv.out, channels / conv.groups, conv.kernel, conv.kernel]),
        Kind::Up(conv) => Some([channels, conv.out, conv.kernel, conv.kernel]),
        Kind::MaxPool { .. } | Kind::Mean | Kind::Concat(_) => None,
    }
}

/// What a network computes with: the weights of each step that has some, and images.
#[derive(Clone)]
pub(crate) struct Parameters {
    pub(crate) weights: Vec<Option<Weights>>,
    /// `[batch, channels, height, width]`.
    pub(crate) input: Vec<f32>,
}

impl Parameters {
    /// Random ones.
    pub(crate) fn random(graph: &Graph, batch: usize, seed: u64) -> Self {
        let mut numbers = Numbers::new(seed);
        let mut layer = |step: &crate::graph::Step| {
            let channels = graph.channels(step.input);
            let (conv, dims) = (step.kind.conv()?, weight_dims(&step.kind, channels)?);
            let sums_over = match step.kind {
                Kind::Up(_) => channels,
                _ => dims[1] * dims[2] * dims[3],
            };
            Some(numbers.layer(conv, sums_over, dims.iter().product()))
        };
        let weights = graph.steps.iter().map(&mut layer).collect();
        let input = numbers.next(batch * graph.sizes[0].iter().product::<usize>(), 1.0);
        Self { weights, input }
    }
}

/// Tensors `[outer, channels, pixels]` in the order of a layout.
pub(crate) fn arranged(numbers: Vec<f32>, channels: usize, pixels: usize, to: Layout) -> Vec<f32> {
    if to == Layout::ChannelsFirst {
        return numbers;
    }
    let mut arranged = Vec::with_capacity(numbers.len());
    for outer in numbers.chunks_exact(channels * pixels) {
        for pixel in 0..pixels {
            arranged.extend((0..channels).map(|channel| outer[channel * pixels + pixel]));
        }
    }
    arranged
}

/// Writes `graph.json` and `numbers.bin` into a folder: for each convolution its weight and bias, then the
/// input, little-endian f32, channels first.
pub(crate) fn dump(
    folder: &Path,
    graph: &Graph,
    batch: usize,
    parameters: &Parameters,
) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut bin = BufWriter::new(File::create(folder.join("numbers.bin"))?);
    let mut write =
        |values: &[f32]| values.iter().try_for_each(|value| bin.write_all(&value.to_le_bytes()));
    parameters.weights.iter().flatten().flatten().try_for_each(|values| write(values))?;
    write(&parameters.input)?;
    let steps: Vec<_> =
        graph.steps.iter().map(|step| json(&step.name, &step.kind, step.input)).collect();
    let text = format!(
        "{{\"batch\":{batch},\"sizes\":{:?},\"steps\":[{}]}}\n",
        graph.sizes,
        steps.join(",\n")
    );
    fs::write(folder.join("graph.json"), text)
}

fn json(name: &str, kind: &Kind, input: usize) -> String {
    let rest = match kind {
        Kind::Mean => "\"kind\":\"mean\"".to_owned(),
        Kind::Concat(other) => format!("\"kind\":\"concat\",\"other\":{other}"),
        Kind::MaxPool { kernel, stride, padding } => format!(
            "\"kind\":\"max_pool\",\"kernel\":{kernel},\"stride\":{stride},\"padding\":{padding}"
        ),
        Kind::Conv(conv) => format!("\"kind\":\"conv\",{}", json_of_conv(conv)),
        Kind::Up(conv) => format!("\"kind\":\"up\",{}", json_of_conv(conv)),
    };
    format!("{{\"name\":\"{name}\",\"input\":{input},{rest}}}")
}

fn json_of_conv(conv: &Conv) -> String {
    let Conv { out, kernel, stride, padding, groups, residual, after, norm: _ } = conv;
    let residual = residual.map_or_else(|| "null".to_owned(), |r| r.to_string());
    let after = match after {
        After::Nothing => "none",
        After::Relu => "relu",
        After::Relu6 => "relu6",
    };
    format!(
        "\"out\":{out},\"kernel\":{kernel},\"stride\":{stride},\"padding\":{padding},\
         \"groups\":{groups},\"residual\":{residual},\"after\":\"{after}\""
    )
}
