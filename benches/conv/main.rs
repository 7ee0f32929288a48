//! How fast the passes are, layer by layer, on one thread: the naive loops, the textbook on
//! `matrixmultiply` (explicit) and on the crate `gemm`, and the library's own product (implicit).
//!
//! ```text
//! cargo bench                             # everything, then the table
//! cargo bench -- forward                  # one pass
//! cargo bench -- "implicit/r50_3b_3x3$"   # one layer
//! cargo bench -- --test                   # each once, results checked, nothing measured
//! ```
//!
//! Every result is checked before it is timed. The table shows the fastest sample of each bench
//! and its share of the FMA peak that a loop without memory reaches in the same process.

#![allow(unsafe_code, reason = "calls the crate gemm and the instructions of the peak loop")]

mod check;
mod layers;
mod peak;
mod table;
mod textbook;

use check::Case;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput};
use im2col::{Algorithm, Parallelism, Pass, Plan};
use layers::Layer;
use std::cell::OnceCell;
use std::hint::black_box;
use std::time::{Duration, Instant};
use table::{Table, Way};

/// The naive loops are timed up to this many operations.
const NAIVE: f64 = 40e6;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .nresamples(1000)
        .without_plots()
        .configure_from_args();
    let mut table = Table::default();
    bench_peak(&mut criterion, &mut table);
    let layers = layers::all();
    bench_plan(&mut criterion, &layers);
    for pass in [Pass::Forward, Pass::BackwardData, Pass::BackwardWeight] {
        bench_pass(&mut criterion, &mut table, &layers, pass);
    }
    criterion.final_summary();
    if !std::env::args().any(|arg| arg == "--test" || arg == "--list") {
        print!("{table}");
    }
}

/// The most that the processor's FMA units do, which is what the table's shares refer to.
fn bench_peak(criterion: &mut Criterion, table: &mut Table) {
    let Some(peak) = peak::best() else { return };
    let mut group = criterion.benchmark_group("peak");
    group.throughput(Throughput::Elements(peak.flops()));
    let best = time(&mut group, BenchmarkId::from_parameter(peak.name), |_| peak.run());
    table.peak = best.is_finite().then(|| (peak.name, peak.flops() as f64 / best));
}

/// What making a plan costs.
fn bench_plan(criterion: &mut Criterion, layers: &[Layer]) {
    let mut group = criterion.benchmark_group("plan");
    for layer in layers {
        let id = BenchmarkId::from_parameter(layer.name);
        let plan = || Plan::<f32>::new(layer.shape, Algorithm::Auto, Parallelism::Serial);
        time(&mut group, id, |_| drop(black_box(plan())));
    }
}

/// One pass of all layers, in every way.
fn bench_pass(criterion: &mut Criterion, table: &mut Table, layers: &[Layer], pass: Pass) {
    let mut group = criterion.benchmark_group(table::name(pass));
    for layer in layers {
        // Only made if a bench of this layer is asked for.
        let case = OnceCell::new();
        let case = || case.get_or_init(|| Case::new(layer.shape, pass));
        group.throughput(Throughput::Elements(layer.shape.flops() as u64));
        for way in Way::ALL {
            if way == Way::Naive && layer.shape.flops() > NAIVE {
                continue;
            }
            let mut runner = None;
            let best = time(&mut group, BenchmarkId::new(way.name(), layer.name), |is_first| {
                let runner = runner.get_or_insert_with(|| case().runner(way));
                runner.call();
                if is_first {
                    runner.check(way.name(), layer.name);
                }
            });
            table.add(layer, pass, way, best);
        }
    }
}

/// Times `work` and returns the seconds of the fastest sample, infinity if a filter left the bench
/// out. The first call, which `work` learns from its argument, isn't timed.
fn time(
    group: &mut BenchmarkGroup<'_, WallTime>,
    id: BenchmarkId,
    mut work: impl FnMut(bool),
) -> f64 {
    let (mut best, mut is_first) = (f64::INFINITY, true);
    group.sampling_mode(SamplingMode::Flat);
    group.bench_function(id, |bencher| {
        bencher.iter_custom(|iterations| {
            if is_first {
                work(true);
                is_first = false;
            }
            let start = Instant::now();
            for _ in 0..iterations {
                work(false);
            }
            let elapsed = start.elapsed();
            best = best.min(elapsed.as_secs_f64() / iterations as f64);
            elapsed
        });
    });
    best
}
