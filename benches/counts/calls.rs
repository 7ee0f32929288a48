//! One layer's forward pass, called as often as asked: what `benches/counts/count.py` runs under
//! an emulator that counts instructions.
//!
//! The difference of two counts is what the calls between them execute, and nothing else.

#[path = "../conv/layers.rs"]
mod layers;

use im2col::Shape;
use std::hint::black_box;

/// The program: `LAYER WAY CALLS`. `plan` makes the pass of a layer from input and weight to output, or
/// nothing if it has no such way.
pub(crate) fn run<P>(ways: &str, plan: impl FnOnce(&str, Shape) -> Option<P>)
where
    P: FnMut(&[f32], &[f32], &mut [f32]),
{
    let args: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let usage = || println!("usage: LAYER {ways} CALLS");
    let [layer, way, calls] = &args[..] else { return usage() };
    let layers = layers::all();
    let shape = layers.iter().find(|l| l.name == layer).expect("a layer of layers.csv").shape;
    let Some(mut pass) = plan(way, shape) else { return usage() };
    let numbers = |len: usize| (0..len).map(|i| (i % 7) as f32 - 3.0).collect::<Vec<f32>>();
    let (input, weight) = (numbers(shape.input_len()), numbers(shape.weight_len()));
    let mut output = vec![0.0; shape.output_len()];
    for _ in 0..calls.parse().expect("a number of calls") {
        pass(black_box(&input), black_box(&weight), &mut output);
    }
    // Whole numbers: the same sum whichever way, on any machine.
    let sum: f64 =
        output.iter().zip((0..11).cycle()).map(|(&x, i)| f64::from(x) * f64::from(i)).sum();
    println!("sum {sum}");
}
