//! What a plan costs, and a call of a layer that has nothing to compute: `cargo bench --bench overhead`.
//!
//! Each line is the least time of many rounds, on one thread. With `-- bias` and `-- padding`, what the gradient of the
//! bias and reflected padding add to the public layers.

#[path = "../conv/layers.rs"]
mod layers;
mod options;

use im2col::{Conv2d, Params, Pass, Plans, Serial};
use std::hint::black_box;
use std::time::Instant;

/// Nanoseconds of one of `count` calls, the least of 200 rounds.
fn least<R>(count: u32, mut call: impl FnMut() -> R) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..200 {
        let start = Instant::now();
        for _ in 0..count {
            black_box(call());
        }
        least = least.min(start.elapsed().as_secs_f64() / f64::from(count));
    }
    least * 1e9
}

fn line(what: &str, nanoseconds: f64) {
    println!("{what:<62} {nanoseconds:>10.0} ns");
}

fn main() {
    match std::env::args().find(|argument| ["bias", "padding"].contains(&argument.as_str())) {
        Some(argument) if argument == "bias" => options::bias(),
        Some(_) => options::padding(),
        None => overhead(),
    }
}

fn overhead() {
    let layer = Conv2d::<f32>::new([32, 64, 56, 56], [64, 64, 3, 3]).padding(1);
    let plan = layer.plan().expect("a layer");
    line("plan of 32x64x56x56 -> 64, 3x3", least(20, || layer.plan()));
    line("the same for inference", least(20, || layer.inference().plan()));
    line("with_batch(31)", least(20, || plan.with_batch(31)));
    line("with_input([48, 40])", least(20, || plan.with_input(&[48, 40])));

    let plans = Plans::<f32>::new();
    let mut layers = Vec::new();
    for channels in 1..=50 {
        let sizes =
            Params { in_channels: channels, input: [8; 3], kernel: [3; 3], ..Params::default() };
        plans.get(&sizes).expect("a layer");
        layers.push(sizes);
    }
    let mut next = 0;
    let found = least(1000, || {
        next = (next + 7) % layers.len();
        plans.get(&layers[next])
    });
    line("a plan from a cache of 50", found);

    let tiny = Conv2d::<f32>::new([1, 1, 4, 4], [1, 1, 3, 3]).padding(1).plan().expect("a layer");
    let (x, w) = ([1.0f32; 16], [1.0f32; 9]);
    let (mut y, mut dx, mut dw) = ([0.0f32; 16], [0.0f32; 16], [0.0f32; 9]);
    let of = |pass| vec![0.0f32; tiny.scratch_len_on(pass, &Serial)];
    let mut scratch = of(Pass::Forward);
    let forward = least(1000, || tiny.forward(&x, &w).scratch(&mut scratch).run(&mut y));
    line("forward of 1x1x4x4, 3x3, scratch lent", forward);
    line("the same, no scratch lent", least(1000, || tiny.forward(&x, &w).run(&mut y)));
    let mut scratch = of(Pass::BackwardData);
    let data = least(1000, || tiny.backward_data(&w, &x).scratch(&mut scratch).run(&mut dx));
    line("backward_data, scratch lent", data);
    let mut scratch = of(Pass::BackwardWeight);
    let weight = least(1000, || tiny.backward_weight(&x, &x).scratch(&mut scratch).run(&mut dw));
    line("backward_weight, scratch lent", weight);
}
