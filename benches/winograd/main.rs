//! Winograd beside the direct product, in one run: for each layer of `benches/winograd.csv`, both layouts and every pass,
//! with weights as the caller has them and packed before. Serial, f32; the least of several times, old and new in turn.
//!
//! `cargo bench --bench winograd [-- part of a layer's name]`; `IM2COL_ISA=avx2` for a lower ISA.

use im2col::{Accuracy, Conv2d, Layout, PackedWeight, Pass, Plan, Serial, Weight};
use std::time::Instant;

/// A plan with tensors and scratch of its own.
struct Way {
    plan: Plan<f32>,
    scratch: Vec<f32>,
    output: Vec<f32>,
}

/// What both ways read.
struct Tensors {
    input: Vec<f32>,
    weight: Vec<f32>,
    grad_output: Vec<f32>,
}

impl Way {
    fn new(conv: Conv2d<f32>, accuracy: Accuracy, pass: Pass) -> Self {
        let plan = conv.accuracy(accuracy).plan().expect("a layer");
        let len = match pass {
            Pass::Forward => plan.shape().output_len(),
            Pass::BackwardData => plan.shape().input_len(),
            _ => plan.shape().weight_len(),
        };
        Self {
            scratch: vec![0.0; plan.scratch_len_on(pass, &Serial)],
            output: vec![0.0; len],
            plan,
        }
    }

    /// Seconds of one call.
    fn time(&mut self, pass: Pass, tensors: &Tensors, packed: Option<&PackedWeight<f32>>) -> f64 {
        let Self { plan, scratch, output } = self;
        let Tensors { input, weight, grad_output } = tensors;
        let start = Instant::now();
        let weight = packed.map_or(Weight::Plain(weight), Weight::Packed);
        match pass {
            Pass::Forward => {
                plan.forward(input, weight).executor(&Serial).scratch(scratch).run(output)
            }
            Pass::BackwardData => plan
                .backward_data(weight, grad_output)
                .executor(&Serial)
                .scratch(scratch)
                .run(output),
            _ => plan
                .backward_weight(input, grad_output)
                .executor(&Serial)
                .scratch(scratch)
                .run(output),
        }
        .expect("slices that fit");
        start.elapsed().as_secs_f64()
    }
}

/// Numbers between -1 and 1, the same in every run.
fn numbers(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// The ratio of the times, direct by Winograd.
fn compare(name: &str, conv: impl Fn() -> Conv2d<f32>, pass: Pass, packed: bool) -> f64 {
    /// Operations that are timed at least.
    const WORK: f64 = 1.5e9;
    let mut ways = [Accuracy::Element, Accuracy::Tile].map(|a| Way::new(conv(), a, pass));
    let shape = *ways[0].plan.shape();
    let tensors = Tensors {
        input: numbers(shape.input_len(), 1),
        weight: numbers(shape.weight_len(), 2),
        grad_output: numbers(shape.output_len(), 3),
    };
    let weights = [0, 1].map(|i: usize| {
        let pack = || ways[i].plan.pack_weight(pass, &tensors.weight).expect("weights that fit");
        packed.then(pack)
    });
    let mut best = [f64::MAX; 2];
    for _ in 0..((WORK / shape.flops()).ceil() as usize).clamp(3, 60) {
        for ((way, best), weights) in ways.iter_mut().zip(&mut best).zip(&weights) {
            *best = best.min(way.time(pass, &tensors, weights.as_ref()));
        }
    }
    let [direct, winograd] = best.map(|seconds| shape.flops() / seconds / 1e9);
    let schedule = ways[1].plan.schedule(pass).expect("a pass").to_string();
    let engine = schedule.split(' ').next().unwrap_or_default();
    println!(
        "{name:12} {:13} {:14} {} direct {direct:4.0} GFLOP/s, {engine} {winograd:4.0}, ratio {:.2}",
        format!("{:?}", shape.layout()),
        format!("{pass:?}"),
        if packed { "packed" } else { "      " },
        best[0] / best[1]
    );
    best[0] / best[1]
}

fn main() {
    let name = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let layers = include_str!("../winograd.csv").lines().skip(1);
    let layers = layers.map(|line| line.split(',').collect::<Vec<_>>());
    let wanted = |fields: &Vec<&str>| name.as_ref().is_none_or(|name| fields[1].contains(name));
    let layers: Vec<_> = layers.filter(wanted).collect();
    let number = |text: &str| text.parse::<usize>().expect("a number");
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        for pass in [Pass::Forward, Pass::BackwardData, Pass::BackwardWeight] {
            for packed in [false, true] {
                if packed && pass == Pass::BackwardWeight {
                    continue;
                }
                let ratio = |fields: &Vec<&str>| {
                    let [batch, input, output] = [2, 4, 5].map(|i: usize| number(fields[i]));
                    let size: Vec<_> = fields[6].split('x').map(number).collect();
                    let conv = || {
                        Conv2d::new([batch, input, size[0], size[1]], [output, input, 3, 3])
                            .padding([1, 1])
                            .layout(layout)
                    };
                    compare(fields[1], conv, pass, packed).ln()
                };
                let sum: f64 = layers.iter().map(ratio).sum();
                let mean = (sum / layers.len().max(1) as f64).exp();
                let weights = if packed { ", weights packed" } else { "" };
                println!("{layout:?} {pass:?}{weights}: geometric mean {mean:.2}");
            }
        }
    }
}
