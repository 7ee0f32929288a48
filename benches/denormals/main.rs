//! What denormal numbers cost: how many times as long a pass takes where one number in ten of the
//! image (or of the outputs' errors) is denormal, and where all are. On each ISA of the machine, on
//! one thread: the fastest of many calls, the three sorts of data in turn.
//!
//! ```sh
//! cargo bench --bench denormals        # half a minute; the table of docs/numerics.md
//! ```

use im2col::testing::{Fill, Layer, PASSES, isas};
use im2col::{Algorithm, Options, Params, Pass, Plan, Serial, Write};
use std::time::{Duration, Instant};

/// A denormal f32, far from the smallest: what multiplies it stays denormal.
const DENORMAL: f32 = 1.0 / (1u128 << 127) as f32 / 64.0;

/// Time for each cell of the table.
const TIME: Duration = Duration::from_millis(400);

fn layers() -> [(&'static str, Params); 3] {
    let dense = Params {
        in_channels: 64,
        out_channels: 64,
        input: [28, 28, 1],
        kernel: [3, 3, 1],
        pad_begin: [1, 1, 0],
        pad_end: [1, 1, 0],
        ..Params::default()
    };
    let pointwise = Params { kernel: [1; 3], pad_begin: [0; 3], pad_end: [0; 3], ..dense };
    [
        ("dense 64x64, 3x3", dense),
        ("depthwise 64, 3x3", Params { groups: 64, ..dense }),
        ("pointwise 64x64", pointwise),
    ]
}

/// The layer with every `nth` number denormal in what the pass reads beside its weights (or, of
/// the weights' gradient, in the image).
fn with_denormals(clean: &Layer<f32>, pass: Pass, nth: usize) -> Layer<f32> {
    let mut layer = clean.clone();
    let numbers = match pass {
        Pass::BackwardData => &mut layer.grad_output,
        _ => &mut layer.input,
    };
    numbers.iter_mut().step_by(nth).for_each(|x| *x = DENORMAL.copysign(*x));
    layer
}

/// How many times as long the pass takes with some numbers denormal, and with all.
fn slower(params: Params, pass: Pass, plan: &Plan<f32>, time: Duration) -> [f64; 2] {
    let clean = Layer::<f32>::new(params, Fill::Normal);
    let layers = [clean.clone(), with_denormals(&clean, pass, 10), with_denormals(&clean, pass, 1)];
    let mut to = vec![0.0; clean.destination_len(pass)];
    let mut scratch = vec![0.0; plan.scratch_len(pass)];
    let mut best = [f64::INFINITY; 3];
    let start = Instant::now();
    loop {
        for (layer, best) in layers.iter().zip(&mut best) {
            let call = Instant::now();
            for _ in 0..3 {
                let lent = Some(&mut scratch[..]);
                layer.run_on(plan, pass, Write::Overwrite, &Serial, lent, &mut to).unwrap();
            }
            *best = best.min(call.elapsed().as_secs_f64());
        }
        if start.elapsed() >= time {
            return [best[1] / best[0], best[2] / best[0]];
        }
    }
}

fn main() {
    assert!(DENORMAL.is_subnormal());
    // `cargo bench -- --test` runs each once.
    let time = if std::env::args().any(|arg| arg == "--test") { Duration::ZERO } else { TIME };
    let isas: Vec<_> = isas().collect();
    let names: Vec<_> = isas.iter().rev().map(|isa| isa.name()).collect();
    println!("| layer | pass | {} |", names.join(" | "));
    println!("|---|---|{}", "--:|".repeat(isas.len()));
    for (name, params) in layers() {
        for pass in PASSES {
            let cell = |&isa| {
                let shape = im2col::Shape::new(params).unwrap();
                let how = Algorithm::Implicit;
                let plan = Plan::new(shape, Options::from(how).isa(isa)).unwrap();
                let [some, all] = slower(params, pass, &plan, time);
                format!("{some:.2} ({all:.2})")
            };
            let cells: Vec<_> = isas.iter().rev().map(cell).collect();
            println!("| {name} | {pass:?} | {} |", cells.join(" | "));
        }
    }
}
