//! Whole networks on nothing but this crate, timed layer by layer.
//!
//! ```text
//! cargo run --release -p network -- resnet50
//! cargo run --release -p network -- vgg16 --accuracy tile --threads 2
//! cargo run --release -p network -- resnet18 --train --svg step.svg
//! cargo run --release -p network -- resnet18 --onnx resnet18.onnx
//! ```
//!
//! Weights, images and labels are random numbers from a seed, unless an ONNX file gives the weights: speed doesn't
//! depend on them. For
//! inference batch norm is folded into the weights; bias, residual and activation are applied as a layer stores its
//! output.
//!
//! | file | holds |
//! |---|---|
//! | `layer.rs` | a convolution: all calls of the library |
//! | `graph.rs`, `models.rs` | what a network is, and five of them |
//! | `network.rs` | inference: memory and the loop over the steps |
//! | `train/` | a training step: forward, loss, backward, gradient descent |
//! | `pool.rs` | what isn't a convolution |
//! | `numbers.rs`, `onnx.rs` | weights: random ones, those of a file, and all of it in files for other libraries |
//! | `report.rs`, `svg.rs` | the table and the picture |

mod graph;
mod layer;
mod models;
mod network;
mod numbers;
mod onnx;
mod options;
#[path = "../../../benches/conv/peak.rs"]
#[allow(unsafe_code, reason = "instructions beyond the baseline")]
mod peak;
mod pool;
mod report;
mod svg;
mod train;

use clap::Parser;
use graph::Graph;
use im2col::{Executor, Rayon, Serial};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use layer::Setting;
use network::Network;
use numbers::Parameters;
use options::Options;
use report::{Peak, Report, Row};
use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;
use train::Training;

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let model = models::ALL
        .into_iter()
        .find(|model| model.name == options.name)
        .ok_or_else(|| format!("no network is called {}", options.name))?;
    let (size, multiple) = (usize::from(options.size), model.multiple);
    if !size.is_multiple_of(multiple) {
        return Err(format!("--size {size}: {} takes multiples of {multiple}", model.name).into());
    }
    let graph = (model.graph)(size);
    let setting =
        Setting { batch: options.batch(), layout: options.layout(), accuracy: options.accuracy() };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads.into()).build()?;
    let executor: &(dyn Executor + Sync) = if options.threads == 1 { &Serial } else { &Rayon };
    let report = pool.install(|| match options.train {
        true => train(options, graph, setting, executor).map_err(|error| error.to_string()),
        false => infer(options, graph, setting, executor).map_err(|error| error.to_string()),
    })?;
    report.print();
    if let Some(path) = &options.svg {
        std::fs::write(path, svg::draw(&report))
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// Runs the network and reports the fastest run.
fn infer(
    options: &Options,
    graph: Graph,
    setting: Setting,
    executor: &dyn Executor,
) -> Result<Report, Box<dyn Error>> {
    let parameters = || -> Result<Parameters, Box<dyn Error>> {
        let mut parameters = Parameters::random(&graph, setting.batch, options.seed);
        if let Some(path) = &options.onnx {
            parameters.weights = onnx::load(path, &graph)?;
        }
        Ok(parameters)
    };
    let mut network = Network::new(graph.clone(), setting, executor, parameters()?)?;
    let (mut best, mut seconds) = (f64::INFINITY, Vec::new());
    let bar = progress(options);
    for _ in 0..options.rounds {
        let mut round = vec![0.0; graph.steps.len()];
        network.run(|step, time| round[step] = time)?;
        let total = round.iter().sum();
        if total < best {
            (best, seconds) = (total, round);
        }
        bar.inc(1);
        bar.set_message(format!("{:.1} ms", total * 1e3));
    }
    bar.finish_and_clear();
    if let Some(folder) = &options.dump {
        numbers::dump(folder, &graph, setting.batch, &parameters()?)?;
        let bytes: Vec<u8> = network.output().iter().flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(folder.join("output.bin"), bytes)?;
    }
    let rows = graph.steps.iter().enumerate().map(|(n, step)| {
        let layer = network.layers[n].as_ref();
        let schedule = layer.filter(|_| options.schedules).map(|layer| layer.planned.schedule());
        let flops = layer.map(|layer| layer.planned.flops());
        Row::new(&step.name, graph.sizes[n + 1], vec![seconds[n]], flops, schedule)
    });
    let rows = rows.collect();
    let [tensors, scratch, packed] =
        network.memory().map(|len| len as f64 * 4.0 / (1 << 20) as f64);
    // So that nothing is left out as unused, and two runs can be compared.
    let sum: f64 = network.output().iter().map(|&x| f64::from(x)).sum();
    let notes = vec![
        format!("MiB: tensors {tensors:.1}, scratch {scratch:.1}, packed weights {packed:.1}"),
        format!("sum of the outputs {sum:.4}"),
    ];
    Ok(Report { title: title(options), parts: vec!["forward"], rows, peak: peak(options), notes })
}

/// Trains the network on one batch and reports the fastest step.
fn train(
    options: &Options,
    graph: Graph,
    setting: Setting,
    executor: &dyn Executor,
) -> Result<Report, Box<dyn Error>> {
    let parameters = Parameters::random(&graph, setting.batch, options.seed);
    let mut net = Training::new(graph, setting, executor, parameters, options.seed)?;
    let (mut best, mut seconds) = (f64::INFINITY, Vec::new());
    let bar = progress(options);
    let mut losses = Vec::new();
    for step in 1..=options.rounds {
        let start = Instant::now();
        let loss = net.learn(options.rate)?;
        let total = start.elapsed().as_secs_f64();
        if total < best {
            (best, seconds) = (total, net.seconds().to_vec());
        }
        let speed = setting.batch as f64 / total;
        bar.suspend(|| println!("step {step:>3}  loss {loss:.4}  {speed:.1} images/s"));
        bar.inc(1);
        losses.push(loss);
    }
    bar.finish_and_clear();
    println!();
    let rows = net.graph.steps.iter().enumerate().map(|(n, step)| {
        let size = net.graph.sizes[n + 1];
        Row::new(&step.name, size, seconds[n].to_vec(), net.flops(n), None)
    });
    let rows = rows.collect();
    let [first, last] = [losses.first(), losses.last()].map(|loss| loss.copied().unwrap_or(0.0));
    let notes = vec![format!("loss {first:.4} -> {last:.4} in {} steps", losses.len())];
    if !last.is_finite() {
        return Err("the loss grew without bound: try a smaller --rate".into());
    }
    let parts = train::PARTS.to_vec();
    Ok(Report { title: title(options), parts, rows, peak: peak(options), notes })
}

fn title(options: &Options) -> String {
    let (name, size, batch) = (&options.name, options.size, options.batch());
    let what = if options.train { "a training step" } else { "forward" };
    let threads = if options.threads == 1 { "thread" } else { "threads" };
    format!("{name}, {what}, batch {batch}, {size}x{size}, {} {threads}", options.threads)
}

/// Operations a second that as many threads can reach; `None` where nobody knows.
fn peak(options: &Options) -> Option<Peak> {
    let peak = peak::best()?;
    let seconds = (0..20).map(|_| {
        let start = Instant::now();
        peak.run();
        start.elapsed().as_secs_f64()
    });
    let best = seconds.fold(f64::INFINITY, f64::min);
    let speed = f64::from(options.threads) * peak.flops() as f64 / best;
    Some(Peak { name: peak.name, speed })
}

/// A bar on a terminal; elsewhere nothing.
fn progress(options: &Options) -> ProgressBar {
    let rounds = options.rounds.into();
    let bar = ProgressBar::with_draw_target(Some(rounds), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:32}] {pos}/{len}  {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.with_prefix(options.name.clone())
}
