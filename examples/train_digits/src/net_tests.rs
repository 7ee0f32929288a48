//! The errors of all parameters against finite differences of the loss, where the loss is
//! computed apart from the network, in f64, with the naive loops of `im2col::reference`.

use super::*;
use im2col::{Params, Shape, reference};
use rand::SeedableRng;
use rand::rngs::SmallRng;

const SIZES: Sizes = Sizes { image: [5, 6], classes: 3 };
const BATCH: usize = 3;

/// All parameters in a row, and the lengths of the six arrays.
type Values = [Vec<f64>; 6];

fn arrays(net: &Network) -> [&Parameter; 6] {
    let Network { conv1, conv2, linear, .. } = net;
    [&conv1.weight, &conv1.bias, &conv2.weight, &conv2.bias, &linear.weight, &linear.bias]
}

/// A convolution by the naive loops, with zeros to keep the size.
fn conv(channels: usize, filters: usize, x: &[f64], weight: &[f64], bias: &[f64]) -> Vec<f64> {
    let [height, width] = SIZES.image;
    let shape = Shape::new(Params {
        batch: BATCH,
        in_channels: channels,
        out_channels: filters,
        input: [height, width, 0],
        kernel: [KERNEL, KERNEL, 0],
        pad_begin: [1; 3],
        pad_end: [1; 3],
        ..Params::default()
    });
    let shape = shape.expect("a valid layer");
    reference::forward(&shape, x, weight, Some(bias)).expect("slices of the right length")
}

/// The mean loss, from the definition of each layer.
fn loss(values: &Values, batch: &Batch) -> f64 {
    let [w1, b1, w2, b2, w3, b3] = values;
    let images: Vec<f64> = batch.images.iter().map(|&x| x.into()).collect();
    let relu = |x: Vec<f64>| x.into_iter().map(|x| x.max(0.0)).collect::<Vec<_>>();
    let first = relu(conv(1, CHANNELS[0], &images, w1, b1));
    let second = relu(conv(CHANNELS[0], CHANNELS[1], &first, w2, b2));
    let ([height, width], [rows, columns]) = (SIZES.image, SIZES.pooled());
    let mut pooled = vec![];
    for plane in second.chunks(height * width) {
        for (y, x) in (0..rows * columns).map(|i| (i / columns * 2, i % columns * 2)) {
            let at = |dy, dx| plane[(y + dy) * width + x + dx];
            pooled.push(at(0, 0).max(at(0, 1)).max(at(1, 0)).max(at(1, 1)));
        }
    }
    let images = pooled.chunks(SIZES.features()).zip(&batch.labels);
    let losses = images.map(|(features, &label)| {
        let rows = w3.chunks(features.len()).zip(b3);
        let dot = |row: &[f64]| row.iter().zip(features).map(|(w, x)| w * x).sum::<f64>();
        let scores: Vec<f64> = rows.map(|(row, bias)| dot(row) + bias).collect();
        let total = scores.iter().map(|score| score.exp()).sum::<f64>().ln();
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        let smoothing = f64::from(SMOOTHING);
        total - (1.0 - smoothing) * scores[usize::from(label)] - smoothing * mean
    });
    losses.sum::<f64>() / BATCH as f64
}

#[test]
fn errors_of_all_parameters_match_finite_differences() {
    let mut rng = SmallRng::seed_from_u64(1);
    let mut net = Network::new(SIZES, &mut rng);
    let pixels = BATCH * SIZES.image.iter().product::<usize>();
    let images = (0..pixels).map(|_| rng.random_range(-1.0..1.0)).collect();
    let batch = Batch { images, labels: vec![2, 0, 1] };

    let mut tape = Tape::new(SIZES, BATCH, im2col::Accuracy::Element).expect("a valid network");
    let found = tape.learn(&mut net, &batch).expect("a valid batch") / BATCH as f64;
    let mut values =
        arrays(&net).map(|array| array.value.iter().map(|&x| x.into()).collect::<Vec<_>>());
    let expected = loss(&values, &batch);
    assert!((found - expected).abs() < 1e-6, "loss {found}, expected {expected}");

    // So small that no pixel crosses a kink of ReLU or pooling, and large enough for f64.
    const STEP: f64 = 1e-6;
    for (at, array) in arrays(&net).into_iter().enumerate() {
        // A stride that is prime to all sizes visits every filter, channel and tap.
        for i in (0..array.value.len()).step_by(if array.value.len() > 100 { 29 } else { 1 }) {
            let value = values[at][i];
            let mut moved = |to: f64| {
                values[at][i] = to;
                loss(&values, &batch)
            };
            let expected = (moved(value + STEP) - moved(value - STEP)) / (2.0 * STEP);
            moved(value);
            let found = f64::from(array.grad[i]);
            let error = (found - expected).abs();
            assert!(error < 1e-5 + 1e-4 * expected.abs(), "{at}[{i}]: {found}, not {expected}");
        }
    }
}

#[test]
fn momentum_carries_the_last_step_on() {
    let mut weight = Parameter { value: vec![1.0], grad: vec![2.0], velocity: vec![0.0] };
    weight.step(0.1);
    assert_eq!(weight.value, [1.0 - 0.1 * 2.0]);
    weight.grad = vec![0.0];
    weight.step(0.1);
    assert!((weight.value[0] - (0.8 - 0.1 * 0.9 * 2.0)).abs() < 1e-6);
}
