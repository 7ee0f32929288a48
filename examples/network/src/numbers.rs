//! Random weights and inputs, the same for a seed whatever the layout; and all of a network in files, for others to run.

use crate::graph::{After, Conv, Graph, Kind};
use im2col::Layout;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

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

    /// A convolution's weight and bias, channels first, which keep the numbers at one size: by
    /// He's rule, as a uniform number's variance is a third of its largest square.
    pub(crate) fn layer(&mut self, conv: &Conv, channels: usize) -> [Vec<f32>; 2] {
        let taps = channels / conv.groups * conv.kernel * conv.kernel;
        [self.next(conv.out * taps, (6.0 / taps as f32).sqrt()), self.next(conv.out, 0.1)]
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
pub(crate) fn dump(folder: &Path, graph: &Graph, batch: usize, seed: u64) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut numbers = Numbers::new(seed);
    let mut bin = BufWriter::new(File::create(folder.join("numbers.bin"))?);
    let mut write =
        |values: &[f32]| values.iter().try_for_each(|value| bin.write_all(&value.to_le_bytes()));
    let mut steps = Vec::new();
    for step in &graph.steps {
        if let Kind::Conv(conv) = &step.kind {
            numbers.layer(conv, graph.channels(step.input)).iter().try_for_each(|v| write(v))?;
        }
        steps.push(json(&step.name, &step.kind, step.input));
    }
    write(&numbers.next(batch * graph.sizes[0].iter().product::<usize>(), 1.0))?;
    let mut text = String::new();
    let _ = write!(text, "{{\"batch\":{batch},\"sizes\":{:?},\"steps\":[", graph.sizes);
    text += &steps.join(",\n");
    fs::write(folder.join("graph.json"), text + "]}\n")
}

fn json(name: &str, kind: &Kind, input: usize) -> String {
    let rest = match kind {
        Kind::Mean => "\"kind\":\"mean\"".to_owned(),
        Kind::MaxPool { kernel, stride, padding } => format!(
            "\"kind\":\"max_pool\",\"kernel\":{kernel},\"stride\":{stride},\"padding\":{padding}"
        ),
        Kind::Conv(Conv { out, kernel, stride, padding, groups, residual, after }) => {
            let residual = residual.map_or_else(|| "null".to_owned(), |r| r.to_string());
            let after = match after {
                After::Nothing => "none",
                After::Relu => "relu",
                After::Relu6 => "relu6",
            };
            format!(
                "\"kind\":\"conv\",\"out\":{out},\"kernel\":{kernel},\"stride\":{stride},\"padding\":{padding},\
                 \"groups\":{groups},\"residual\":{residual},\"after\":\"{after}\""
            )
        }
    };
    format!("{{\"name\":\"{name}\",\"input\":{input},{rest}}}")
}
