//! Runs what was asked for and times it.

use crate::case::{Case, Runner};
use crate::layers::{self, Layer};
use crate::options::Options;
use crate::peak;
use crate::table::{self, Table};
use crate::way::Way;
use im2col::{Algorithm, Pass, Plan};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// The naive loops are timed up to this many operations.
const NAIVE: f64 = 40e6;

/// How long each way of a pass is timed, and how long one sample of it should last.
const TIME: Duration = Duration::from_millis(250);
const SAMPLE: Duration = Duration::from_millis(2);

/// Measures some ways of every pass of the layers that were asked for, and prints a table.
pub(crate) fn main(ways: &[Way]) {
    let options = Options::read();
    let peak = peak::best().map(|peak| {
        let mut best = f64::INFINITY;
        for _ in 0..if options.once { 1 } else { 200 } {
            best = best.min(seconds(1, || peak.run()));
        }
        (peak.name, peak.flops() as f64 / best)
    });
    let table = Table { ways: ways.iter().map(|way| way.name()).collect(), peak };
    let layers = layers::all();
    if !options.once {
        table.explain();
    }
    for pass in [Pass::Forward, Pass::BackwardData, Pass::BackwardWeight] {
        let mut titled = false;
        for layer in &layers {
            let name = |way: &Way| format!("{}/{}/{}", table::name(pass), way.name(), layer.name);
            let slow = |way| matches!(way, Way::Naive) && layer.shape.flops() > NAIVE;
            let wanted = |way: &Way| options.wants(&name(way)) && !slow(*way);
            let wanted: Vec<_> = ways.iter().map(wanted).collect();
            if !wanted.contains(&true) {
                continue;
            }
            let case = Case::new(layer.shape, pass);
            let runner = |(way, &wanted): (&Way, &bool)| wanted.then(|| case.runner(*way));
            let mut runners: Vec<_> = ways.iter().zip(&wanted).map(runner).collect();
            for runner in runners.iter_mut().flatten() {
                runner.call();
                runner.check(layer.name);
            }
            if options.once {
                println!("{} {}: right", table::name(pass), layer.name);
                continue;
            }
            if !titled {
                table.title(pass);
                titled = true;
            }
            table.row(layer, &fastest(&mut runners), planning(layer));
        }
    }
}

/// The seconds of the fastest sample of each, which take turns.
fn fastest(runners: &mut [Option<Runner<'_>>]) -> Vec<Option<f64>> {
    let time = |runner: &mut Option<Runner<'_>>| {
        let runner = runner.as_mut()?;
        let calls = calls_of_a_sample(|| runner.call());
        Some((f64::INFINITY, calls, Duration::ZERO))
    };
    let mut timed: Vec<_> = runners.iter_mut().map(time).collect();
    loop {
        let mut all_done = true;
        for (runner, timed) in runners.iter_mut().flatten().zip(timed.iter_mut().flatten()) {
            let (best, calls, spent) = timed;
            if *spent < TIME {
                let call = seconds(*calls, || runner.call());
                *best = best.min(call);
                *spent += Duration::from_secs_f64(call * *calls as f64);
                all_done = false;
            }
        }
        if all_done {
            return timed.into_iter().map(|timed| Some(timed?.0)).collect();
        }
    }
}

/// Calls that last as long as a sample should.
fn calls_of_a_sample(mut call: impl FnMut()) -> usize {
    let once = seconds(1, &mut call).max(1e-9);
    ((SAMPLE.as_secs_f64() / once) as usize).clamp(1, 100_000)
}

/// The seconds that making a plan of a layer takes.
fn planning(layer: &Layer) -> f64 {
    let plan = || {
        drop(black_box(Plan::<f32>::new(layer.shape, Algorithm::Auto.into())));
    };
    let calls = calls_of_a_sample(plan);
    (0..5).map(|_| seconds(calls, plan)).fold(f64::INFINITY, f64::min)
}

/// The seconds of one of some calls.
fn seconds(calls: usize, mut call: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        call();
    }
    start.elapsed().as_secs_f64() / calls as f64
}
