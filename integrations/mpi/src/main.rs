//! Data-parallel training on any number of machines: every process has the whole network and sees its share of each batch;
//! the gradients are summed over all processes before each step.
//!
//! ```text
//! cargo build --release
//! mpirun -n 2 target/release/mpi_digits 16     # two processes, 16 images each in a step
//! target/release/mpi_digits 32                 # the same steps in one process
//! ```
//!
//! Both print the same losses, but for the rounding of sums in another order. The network, its layers and its images are
//! those of `examples/train_digits`; what is new for several machines is [`train`].

// The example's own files, of which not everything is wanted here.
#[allow(dead_code)]
#[path = "../../../examples/train_digits/src/data.rs"]
mod data;
#[path = "../../../examples/train_digits/src/idx.rs"]
mod idx;
#[path = "../../../examples/train_digits/src/layers.rs"]
mod layers;
#[allow(dead_code)]
#[path = "../../../examples/train_digits/src/net.rs"]
mod net;

use data::{Batch, Dataset};
use im2col::Accuracy;
use mpi::collective::SystemOperation;
use mpi::traits::{Communicator, CommunicatorCollectives};
use net::{Network, Sizes, Tapes};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use std::error::Error;
use std::path::Path;

const DIGITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/data");
const EPOCHS: usize = 3;
const LEARNING_RATE: f32 = 0.05;

fn main() -> Result<(), Box<dyn Error>> {
    let images = std::env::args().nth(1).map_or(Ok(32), |argument| argument.parse())?;
    if images == 0 {
        return Err("a process sees at least one image in a step".into());
    }
    let universe = mpi::initialize().ok_or("MPI is already in use")?;
    train(&universe.world(), images)
}

/// Trains with `images` images in each process and step.
fn train(world: &impl Communicator, images: usize) -> Result<(), Box<dyn Error>> {
    let [rank, processes] = [world.rank() as usize, world.size() as usize];
    let data = Dataset::load(Path::new(DIGITS))?;
    let sizes = Sizes { image: data.train.size, classes: data.classes };
    // One seed for all: they start from the same network and agree on the order of the images.
    let mut rng = SmallRng::seed_from_u64(0);
    let mut network = Network::new(sizes, &mut rng);
    let (mut tapes, mut batch) = (Tapes::new(sizes, Accuracy::Element), Batch::default());
    let (mut mine, mut sum) = (Vec::new(), Vec::new());
    let mut order: Vec<usize> = (0..data.train.labels.len()).collect();
    for epoch in 1..=EPOCHS {
        order.shuffle(&mut rng);
        let mut loss = 0.0;
        // A last batch that would not give every process as many images is left out.
        for picks in order.chunks_exact(images * processes) {
            batch.fill(&data.train, &picks[rank * images..][..images], [0, 0]);
            loss += tapes.of(images)?.learn(&mut network, &batch)?;
            sum_gradients(world, &mut network, &mut mine, &mut sum);
            network.step(LEARNING_RATE);
        }
        let seen = order.len() / (images * processes) * images * processes;
        let mut all = 0.0;
        world.all_reduce_into(&loss, &mut all, SystemOperation::sum());
        if rank == 0 {
            println!("epoch {epoch}: mean loss {:.6} of {seen} images", all / seen as f64);
        }
    }
    Ok(())
}

/// Gives every process the mean of all processes' gradients: all arrays in one message.
fn sum_gradients(
    world: &impl Communicator,
    network: &mut Network,
    mine: &mut Vec<f32>,
    sum: &mut Vec<f32>,
) {
    mine.clear();
    network.parameters().for_each(|parameter| mine.extend_from_slice(&parameter.grad));
    sum.resize(mine.len(), 0.0);
    world.all_reduce_into(&mine[..], &mut sum[..], SystemOperation::sum());
    let (mut rest, share) = (&sum[..], 1.0 / world.size() as f32);
    for parameter in network.parameters() {
        let (of_this, after) = rest.split_at(parameter.grad.len());
        let means = of_this.iter().map(|sum| sum * share);
        parameter.grad.iter_mut().zip(means).for_each(|(grad, mean)| *grad = mean);
        rest = after;
    }
}
