//! The command line.

use crate::models;
use clap::{Parser, ValueEnum};
use im2col::{Accuracy, Layout};
use std::path::PathBuf;

/// Runs or trains a network and says how long each layer takes.
#[derive(Parser)]
#[command(name = "network")]
pub(crate) struct Options {
    /// Which network
    #[arg(value_parser = names())]
    pub(crate) name: String,
    /// Images at once [default: 1, with --train 8]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: Option<u16>,
    /// Height and width of the images
    #[arg(long, default_value_t = 224, value_parser = clap::value_parser!(u16).range(32..=1024))]
    pub(crate) size: u16,
    /// Threads
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
    /// Which Winograd tiles may be used: none, those of 2 outputs, those of up to 4
    #[arg(long, value_enum, default_value_t = Tiles::Element)]
    accuracy: Tiles,
    /// How the tensors lie in memory
    #[arg(long, value_enum, default_value_t = Order::Nchw)]
    layout: Order,
    /// How often the network is run, or how many steps it is trained; the fastest counts
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) rounds: u16,
    /// What the random numbers start from
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Train on one batch of random images and labels instead, by steps of gradient descent with momentum
    #[arg(long, conflicts_with_all = ["onnx", "dump"])]
    pub(crate) train: bool,
    /// How far a step of training goes along the gradient
    #[arg(long, default_value_t = 0.01, requires = "train")]
    pub(crate) rate: f32,
    /// Take the weights from an ONNX file of this network, its batch normalisations folded
    #[arg(long, value_name = "FILE")]
    pub(crate) onnx: Option<PathBuf>,
    /// Also say what the library chose for each layer
    #[arg(long)]
    pub(crate) schedules: bool,
    /// Draw the times of the layers into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Write the network, its weights, its input and its output here, for benches/peers/networks.py
    #[arg(long, value_name = "DIR")]
    pub(crate) dump: Option<PathBuf>,
}

impl Options {
    /// Images at once.
    pub(crate) fn batch(&self) -> usize {
        self.batch.map_or(if self.train { 8 } else { 1 }, usize::from)
    }

    pub(crate) fn layout(&self) -> Layout {
        match self.layout {
            Order::Nchw => Layout::ChannelsFirst,
            Order::Nhwc => Layout::ChannelsLast,
        }
    }

    pub(crate) fn accuracy(&self) -> Accuracy {
        match self.accuracy {
            Tiles::Element => Accuracy::Element,
            Tiles::Tile2 => Accuracy::Tile2,
            Tiles::Tile => Accuracy::Tile,
        }
    }
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
    models::ALL.iter().map(|model| model.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }
}
