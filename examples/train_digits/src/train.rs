//! Training: the images in a new order each epoch, each batch moved by up to a pixel, with a
//! learning rate that falls to zero; then the test.

use crate::data::{Batch, Dataset, Split};
use crate::net::{Network, Sizes, Tapes};
use crate::progress::Progress;
use im2col::{Accuracy, Error};
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::time::Instant;

/// How to train.
#[derive(Clone, Copy)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    pub(crate) epochs: usize,
    /// Images in a step.
    pub(crate) batch: usize,
    /// Of the first epoch; it falls in a straight line to zero after the last.
    pub(crate) learning_rate: f32,
    /// What the convolutions may be computed with.
    pub(crate) accuracy: Accuracy,
}

/// A trained network and how it did.
pub(crate) struct Trained {
    pub(crate) network: Network,
    /// The first layer's filters before training.
    pub(crate) filters_before: Vec<f32>,
    /// Mean loss of each epoch.
    pub(crate) losses: Vec<f64>,
    pub(crate) test: Test,
    /// Of training and test.
    pub(crate) seconds: f64,
}

/// What the network makes of the images to test on.
pub(crate) struct Test {
    pub(crate) classes: usize,
    /// `[image, class]`.
    pub(crate) probabilities: Vec<f32>,
    /// Share of the images that were read right, 0 to 1.
    pub(crate) accuracy: f64,
}

impl Test {
    /// The probabilities of one image's classes.
    pub(crate) fn of(&self, image: usize) -> &[f32] {
        &self.probabilities[image * self.classes..][..self.classes]
    }

    /// The most probable class of one image.
    pub(crate) fn read(&self, image: usize) -> usize {
        let classes = self.of(image).iter().enumerate();
        classes.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(class, _)| class)
    }
}

/// Trains a network and tests it.
pub(crate) fn train(
    data: &Dataset,
    schedule: Schedule,
    progress: &Progress,
) -> Result<Trained, Error> {
    let Schedule { seed, epochs, batch: size, learning_rate, accuracy } = schedule;
    let sizes = Sizes { image: data.train.size, classes: data.classes };
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut network = Network::new(sizes, &mut rng);
    let filters_before = network.first_filters().0.to_vec();

    let start = Instant::now();
    let (mut tapes, mut batch) = (Tapes::new(sizes, accuracy), Batch::default());
    let mut order: Vec<usize> = (0..data.train.len()).collect();
    let mut losses = Vec::with_capacity(epochs);
    for epoch in 0..epochs {
        let epoch_start = Instant::now();
        let rate = learning_rate * (1.0 - epoch as f32 / epochs as f32);
        order.shuffle(&mut rng);
        let mut loss = 0.0;
        for picks in order.chunks(size) {
            let shift = [rng.random_range(-1..=1), rng.random_range(-1..=1)];
            batch.fill(&data.train, picks, shift);
            loss += tapes.of(picks.len())?.learn(&mut network, &batch)?;
            network.step(rate);
            progress.step(picks.len());
        }
        losses.push(loss / order.len() as f64);
        let speed = order.len() as f64 / epoch_start.elapsed().as_secs_f64();
        progress.epoch(epoch + 1, epochs, loss / order.len() as f64, speed);
    }
    let test = test(&network, &data.test, data.classes, &mut tapes, size)?;
    let seconds = start.elapsed().as_secs_f64();
    Ok(Trained { network, filters_before, losses, test, seconds })
}

fn test(
    network: &Network,
    split: &Split,
    classes: usize,
    tapes: &mut Tapes,
    size: usize,
) -> Result<Test, Error> {
    let mut probabilities = Vec::with_capacity(split.len() * classes);
    for images in split.pixels.chunks(size * split.image(0).len()) {
        let tape = tapes.of(images.len() / split.image(0).len())?;
        probabilities.extend_from_slice(tape.forward(network, images)?);
    }
    let mut test = Test { classes, probabilities, accuracy: 0.0 };
    let right = |&(image, &label): &(usize, &u8)| test.read(image) == usize::from(label);
    let right = split.labels.iter().enumerate().filter(right).count();
    test.accuracy = right as f64 / split.len() as f64;
    Ok(test)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DIGITS;
    use std::path::Path;

    /// Two epochs over a few of the digits: enough to be better than guessing.
    #[test]
    fn the_loss_falls_and_a_seed_repeats() {
        let mut data = Dataset::load(Path::new(DIGITS)).expect("the digits of this folder");
        for split in [&mut data.train, &mut data.test] {
            split.labels.truncate(400);
            split.pixels.truncate(400 * 64);
        }
        let accuracy = Accuracy::Element;
        let schedule = Schedule { seed: 3, epochs: 2, batch: 8, learning_rate: 0.05, accuracy };
        let run = || train(&data, schedule, &Progress::silent()).expect("a valid network");
        let (one, two) = (run(), run());
        assert!(one.losses[1] < 0.9 * one.losses[0], "{:?}", one.losses);
        assert!(one.test.accuracy > 0.3, "{}", one.test.accuracy);
        assert_eq!(one.losses, two.losses);
        assert_eq!(one.test.probabilities, two.test.probabilities);
    }
}
