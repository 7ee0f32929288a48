//! One layer's forward pass, called as often as asked: what `benches/counts/count.py` runs under
//! an emulator that counts instructions.
//!
//! ```text
//! counts LAYER implicit|explicit|gemm CALLS
//! ```
//!
//! The difference of two counts is what the calls between them execute, and nothing else.

#![allow(unsafe_code, reason = "calls the crate gemm")]

#[path = "../conv/layers.rs"]
mod layers;
#[allow(dead_code, reason = "the benches' textbook has three passes")]
#[path = "../conv/textbook.rs"]
mod textbook;

use im2col::{Algorithm, Parallelism, Pass, Plan};
use std::hint::black_box;

fn main() {
    let args: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let [layer, way, calls] = &args[..] else {
        println!("usage: counts LAYER implicit|explicit|gemm CALLS");
        return;
    };
    let layers = layers::all();
    let shape = layers.iter().find(|l| l.name == layer).expect("a layer of layers.csv").shape;
    let numbers = |len: usize| (0..len).map(|i| (i % 7) as f32 - 3.0).collect::<Vec<f32>>();
    let (input, weight) = (numbers(shape.input_len()), numbers(shape.weight_len()));
    let mut output = vec![0.0; shape.output_len()];
    let algorithm = if way == "implicit" { Algorithm::Implicit } else { Algorithm::Explicit };
    let plan = Plan::<f32>::new(shape, algorithm, Parallelism::Serial).expect("a small layer");
    let mut scratch = match way.as_str() {
        "gemm" => vec![0.0; textbook::scratch_len(&shape)],
        _ => vec![0.0; plan.scratch_len(Pass::Forward)],
    };
    println!("{}", plan.explain());
    for _ in 0..calls.parse().expect("a number of calls") {
        let (input, weight) = (black_box(&input[..]), black_box(&weight[..]));
        if way == "gemm" {
            textbook::run(&shape, Pass::Forward, [input, weight], &mut output, &mut scratch);
        } else {
            plan.forward_with_scratch(input, weight, None, &mut output, &mut scratch)
                .expect("the plan's own lengths");
        }
    }
    // Whole numbers: the same sum whichever way, on any machine.
    let sum: f64 =
        output.iter().zip((0..11).cycle()).map(|(&x, i)| f64::from(x) * f64::from(i)).sum();
    println!("sum {sum}");
}
