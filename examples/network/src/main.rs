//! Whole networks on nothing but this crate, timed layer by layer.
//!
//! ```text
//! cargo run --release -p network -- resnet50
//! cargo run --release -p network -- vgg16 --accuracy tile --threads 2
//! ```
//!
//! Weights and input are random numbers from a seed: speed doesn't depend on them. Batch norm is
//! folded into the weights; bias, residual and activation are applied as a layer stores its output.
//!
//! | file | holds |
//! |---|---|
//! | `layer.rs` | a convolution: all calls of the library |
//! | `graph.rs`, `models.rs` | what a network is, and four of them |
//! | `network.rs` | memory and the loop over the steps |
//! | `numbers.rs` | random weights, and all of it in files for other libraries |
//! | `pool.rs` | what isn't a convolution |
//! | `report.rs` | the table |

mod graph;
mod layer;
mod models;
mod network;
mod numbers;
mod pool;
mod report;

use clap::{Parser, ValueEnum};
use im2col::{Accuracy, Executor, Layout, Rayon, Serial};
use layer::Setting;
use network::Network;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

/// Runs a network and says how long each layer takes.
#[derive(Parser)]
#[command(name = "network")]
struct Args {
    /// Which network
    #[arg(value_parser = names())]
    name: String,
    /// Images at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: u16,
    /// Height and width of the images
    #[arg(long, default_value_t = 224, value_parser = clap::value_parser!(u16).range(32..=1024))]
    size: u16,
    /// Threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Which Winograd tiles may be used: none, those of 2 outputs, those of up to 4
    #[arg(long, value_enum, default_value_t = Tiles::Element)]
    accuracy: Tiles,
    /// How the tensors lie in memory
    #[arg(long, value_enum, default_value_t = Order::Nchw)]
    layout: Order,
    /// How often the network is run; the fastest run counts
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// What the random numbers start from
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Also say what the library chose for each layer
    #[arg(long)]
    schedules: bool,
    /// Write the network, its weights, its input and its output here, for benches/peers/networks.py
    #[arg(long, value_name = "DIR")]
    dump: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Tiles {
    Element,
    Tile2,
    Tile,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    Nchw,
    Nhwc,
}

fn names() -> Vec<&'static str> {
    models::ALL.iter().map(|(name, _)| *name).collect()
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let (_, model) = models::ALL
        .into_iter()
        .find(|(name, _)| *name == args.name)
        .ok_or_else(|| format!("no network is called {}", args.name))?;
    let setting = Setting {
        batch: args.batch.into(),
        layout: match args.layout {
            Order::Nchw => Layout::ChannelsFirst,
            Order::Nhwc => Layout::ChannelsLast,
        },
        accuracy: match args.accuracy {
            Tiles::Element => Accuracy::Element,
            Tiles::Tile2 => Accuracy::Tile2,
            Tiles::Tile => Accuracy::Tile,
        },
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads.into()).build()?;
    let executor: &(dyn Executor + Sync) = if args.threads == 1 { &Serial } else { &Rayon };
    let network = pool.install(|| -> Result<Network<'_>, im2col::Error> {
        let graph = model(args.size.into());
        let mut network = Network::new(graph, setting, executor, args.seed)?;
        let steps = network.graph.steps.len();
        let (mut best, mut seconds) = (f64::INFINITY, vec![0.0; steps]);
        for _ in 0..args.rounds {
            let mut round = vec![0.0; steps];
            network.run(|step, time| round[step] = time)?;
            let total = round.iter().sum();
            if total < best {
                (best, seconds) = (total, round);
            }
        }
        report::print(&network, &seconds, args.schedules);
        Ok(network)
    })?;
    if let Some(folder) = &args.dump {
        numbers::dump(folder, &network.graph, setting.batch, args.seed)?;
        let bytes: Vec<u8> = network.output().iter().flat_map(|x| x.to_le_bytes()).collect();
        std::fs::write(folder.join("output.bin"), bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }
}
