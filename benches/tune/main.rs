//! How well schedules are chosen on this machine: every schedule of a list of layers is timed, on one thread.
//!
//! ```text
//! cargo bench --bench tune                              # all layers: a quarter of an hour
//! cargo bench --bench tune -- --budget 120 --every 7    # a sample of them, in two minutes
//! cargo bench --bench tune -- --only depthwise          # layers with this in their name, list, layout or pass
//! cargo bench --bench tune -- --keep times.csv          # keeps what was measured
//! cargo bench --bench tune -- --from times.csv --fit    # fits the machine's row to what was kept, and prints it
//! cargo bench --bench tune -- --layers my.csv --show    # every schedule of layers of your own
//! cargo bench --bench tune -- --accuracy tile           # with the schedules that this accuracy allows
//! cargo bench --bench tune -- --planning --drawn 0      # what making a plan takes, for the layers of the files
//! ```
//!
//! **Regret** is the time of the schedule that is chosen over that of the fastest. It is printed as a geometric mean and
//! for the ten passes where it is worst. `docs/tuning.md` says what to do with it.

mod fit;
mod measure;
mod planning;
mod report;

use bench_tune::Layer;
use clap::Parser;
use im2col::{Accuracy, Layout, Schedule};
use indicatif::{ProgressBar, ProgressStyle};
use measure::{Bench, PASSES};
use report::{Record, Timed};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Times every schedule of many layers, and prints how much slower the chosen ones are than the fastest.
#[derive(Parser)]
struct Options {
    /// Only passes with this in `list,name,layout,pass`.
    #[arg(long, default_value = "")]
    only: String,
    /// Only every so many-th pass.
    #[arg(long, default_value_t = 1)]
    every: usize,
    /// Passes to leave out at first.
    #[arg(long, default_value_t = 0)]
    skip: usize,
    /// Seconds after which no further pass begins.
    #[arg(long, default_value_t = f64::INFINITY)]
    budget: f64,
    /// Layers to draw beside those of the files.
    #[arg(long, default_value_t = 300)]
    drawn: usize,
    /// What they are drawn by.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The layers of this file, which looks like `benches/layers.csv`, instead of all others.
    #[arg(long)]
    layers: Option<PathBuf>,
    /// Every schedule with blocks of so many pixels, too, where it allows them.
    #[arg(long, value_delimiter = ',')]
    pixels: Vec<usize>,
    /// Prints the time of every schedule, the fastest first.
    #[arg(long)]
    show: bool,
    /// How many passes are named whose chosen schedule loses most.
    #[arg(long, default_value_t = 10)]
    worst: usize,
    /// Appends all times to this file.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Takes the times from this file instead of measuring; the choice is today's.
    #[arg(long)]
    from: Option<PathBuf>,
    /// Fits this machine's row to the times, and prints it.
    #[arg(long)]
    fit: bool,
    /// Changes that the fit tries to lower the regret by.
    #[arg(long, default_value_t = 6000)]
    rounds: usize,
    /// The error bound that schedules have to keep: element, tile2 or tile.
    #[arg(long, default_value = "element", value_parser = accuracy)]
    accuracy: Accuracy,
    /// Prints what making a plan takes, instead.
    #[arg(long)]
    planning: bool,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let mut layers = match &options.layers {
        Some(file) => bench_tune::other(&std::fs::read_to_string(file)?),
        None => bench_tune::all(options.drawn, options.seed),
    };
    if options.planning {
        layers.retain(|layer| layer.name.contains(&options.only));
        planning::print(&layers, im2col::Options::default().accuracy(options.accuracy))?;
        return Ok(());
    }
    let records = match &options.from {
        Some(file) => report::read(file, &layers, options.accuracy)?,
        None => measure(&options, &layers)?,
    };
    if options.fit {
        let mut machine = fit::fit(&records, options.rounds)?;
        report::print_fitted(&records, &machine, options.worst)?;
        for (name, number) in machine.numbers() {
            println!("    {name}: {number:.3},");
        }
    }
    if options.show {
        report::print_all(&records)?;
    }
    report::print(&records, options.worst);
    Ok(())
}

/// Every pass of the layers with its name.
fn passes(layers: &[Layer]) -> impl Iterator<Item = (String, &Layer, usize)> {
    layers.iter().flat_map(|layer| {
        let layout = match layer.shape.layout() {
            Layout::ChannelsLast => "last",
            _ => "first",
        };
        (0..PASSES.len()).map(move |pass| {
            let name = format!("{},{},{layout},{}", layer.list, layer.name, PASSES[pass].1);
            (name, layer, pass)
        })
    })
}

fn measure(options: &Options, layers: &[Layer]) -> Result<Vec<Record>, Box<dyn std::error::Error>> {
    let wanted = passes(layers).filter(|(name, ..)| name.contains(&options.only));
    let wanted: Vec<_> = wanted.skip(options.skip).step_by(options.every.max(1)).collect();
    let mut keep = match &options.keep {
        Some(file) => Some(OpenOptions::new().create(true).append(true).open(file)?),
        None => None,
    };
    let style = "{bar:30} {pos}/{len} {elapsed} left {eta} {msg}";
    let bar =
        ProgressBar::new(wanted.len() as u64).with_style(ProgressStyle::with_template(style)?);
    let start = Instant::now();
    let mut records = Vec::new();
    for (name, layer, pass) in wanted {
        if start.elapsed().as_secs_f64() > options.budget {
            break;
        }
        bar.set_message(name.clone());
        let mut bench = Bench::new(layer, PASSES[pass].0, options.accuracy)?;
        let mut schedules = bench.candidates()?;
        for pixels in &options.pixels {
            schedules.extend(bench.in_blocks(&schedules, *pixels));
        }
        let Some(chosen) = bench.chosen() else { continue };
        if !schedules.contains(&chosen) {
            schedules.push(chosen);
        }
        let seconds = bench.times(&schedules)?;
        let pairs = schedules.into_iter().zip(seconds);
        let times: Vec<_> = pairs.map(|(schedule, seconds)| Timed { schedule, seconds }).collect();
        if let Some(file) = &mut keep {
            for Timed { schedule, seconds } in &times {
                writeln!(file, "{},{name},{schedule},{seconds:e}", bench.isa())?;
            }
        }
        let isa = bench.isa().to_string();
        records.push(Record { name, isa, shape: layer.shape, pass, chosen, times });
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(records)
}

/// An accuracy by its name.
fn accuracy(name: &str) -> Result<Accuracy, String> {
    let all = [Accuracy::Element, Accuracy::Tile2, Accuracy::Tile];
    let known = all.into_iter().find(|accuracy| accuracy.to_string() == name);
    known.ok_or_else(|| format!("{name:?} is none of element, tile2, tile"))
}

/// A schedule as it was printed.
fn parse(text: &str) -> Result<Schedule, im2col::ParseScheduleError> {
    text.parse()
}
