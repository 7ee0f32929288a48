//! Batch normalisation in training: each channel's mean and variance are those of the batch.

use super::parameter::Parameter;
use im2col::Layout;

/// Keeps a variance of 0 from dividing, as in torch.
const EPSILON: f64 = 1e-5;

/// A normalisation, and what its forward pass leaves for its gradient.
pub(super) struct Norm {
    pub(super) gamma: Parameter,
    pub(super) beta: Parameter,
    /// One over the deviation of each channel.
    inverse: Vec<f32>,
    /// The normalised numbers, before gamma and beta.
    normal: Vec<f32>,
}

impl Norm {
    pub(super) fn new(channels: usize, len: usize) -> Self {
        Self {
            gamma: Parameter::new(vec![1.0; channels]),
            beta: Parameter::new(vec![0.0; channels]),
            inverse: vec![0.0; channels],
            normal: vec![0.0; len],
        }
    }

    /// Where a layer puts what is to be normalised.
    pub(super) fn input(&mut self) -> &mut [f32] {
        &mut self.normal
    }

    /// `output = gamma · (input - mean) / deviation + beta`.
    pub(super) fn forward(&mut self, layout: Layout, pixels: usize, output: &mut [f32]) {
        let channels = self.inverse.len();
        let count = (self.normal.len() / channels) as f64;
        let mean: Vec<f32> = sums(layout, pixels, channels, &self.normal, |x, _| x, &self.normal)
            .into_iter()
            .map(|sum| (sum / count) as f32)
            .collect();
        // In two passes: the square of a mean may be far larger than the variance.
        each(layout, pixels, &mean, &mut self.normal, |x, mean| *x -= mean);
        let squares = sums(layout, pixels, channels, &self.normal, |x, y| x * y, &self.normal);
        for (inverse, sum) in self.inverse.iter_mut().zip(squares) {
            *inverse = (1.0 / (sum / count + EPSILON).sqrt()) as f32;
        }
        each(layout, pixels, &self.inverse, &mut self.normal, |x, inverse| *x *= inverse);
        output.copy_from_slice(&self.normal);
        each(layout, pixels, &self.gamma.value, output, |x, gamma| *x *= gamma);
        each(layout, pixels, &self.beta.value, output, |x, beta| *x += beta);
    }

    /// Turns the gradient of the output into that of the input, in place:
    /// `gamma / deviation · (dy - mean(dy) - normal · mean(dy · normal))`.
    pub(super) fn backward(&mut self, layout: Layout, pixels: usize, grad: &mut [f32]) {
        let (channels, count) = (self.inverse.len(), (grad.len() / self.inverse.len()) as f64);
        let of_beta = sums(layout, pixels, channels, grad, |dy, _| dy, grad);
        let of_gamma = sums(layout, pixels, channels, grad, |dy, x| dy * x, &self.normal);
        for channel in 0..channels {
            self.beta.grad[channel] = of_beta[channel] as f32;
            self.gamma.grad[channel] = of_gamma[channel] as f32;
        }
        let mean = |sum: &f64| (sum / count) as f32;
        let along: Vec<f32> = of_gamma.iter().map(mean).collect();
        for (row, channel) in rows(layout, pixels, channels, grad.len()) {
            let normal = &self.normal[row.clone()];
            match channel {
                Some(c) => grad[row].iter_mut().zip(normal).for_each(|(dy, x)| *dy -= x * along[c]),
                None => {
                    let all = grad[row].iter_mut().zip(normal).zip(&along);
                    all.for_each(|((dy, x), along)| *dy -= x * along);
                }
            }
        }
        let even: Vec<f32> = of_beta.iter().map(mean).collect();
        each(layout, pixels, &even, grad, |dy, mean| *dy -= mean);
        let scale =
            self.gamma.value.iter().zip(&self.inverse).map(|(gamma, inverse)| gamma * inverse);
        let scale: Vec<f32> = scale.collect();
        each(layout, pixels, &scale, grad, |dy, scale| *dy *= scale);
    }
}

/// The stretches of a tensor that lie together, and their channel: `None` if a stretch is a pixel, with one
/// element for each channel.
fn rows(
    layout: Layout,
    pixels: usize,
    channels: usize,
    len: usize,
) -> impl Iterator<Item = (std::ops::Range<usize>, Option<usize>)> {
    let (size, last) = match layout {
        Layout::ChannelsLast => (channels, true),
        _ => (pixels, false),
    };
    (0..len / size).map(move |n| (n * size..(n + 1) * size, (!last).then_some(n % channels)))
}

/// Changes each element by its channel's number.
fn each(
    layout: Layout,
    pixels: usize,
    numbers: &[f32],
    values: &mut [f32],
    change: impl Fn(&mut f32, f32),
) {
    for (row, channel) in rows(layout, pixels, numbers.len(), values.len()) {
        match channel {
            Some(c) => values[row].iter_mut().for_each(|x| change(x, numbers[c])),
            None => values[row].iter_mut().zip(numbers).for_each(|(x, &number)| change(x, number)),
        }
    }
}

/// For each channel the sum of `term` over two tensors. Short sums are f32, which the compiler makes vectors of, and
/// these are
/// added up in f64.
fn sums(
    layout: Layout,
    pixels: usize,
    channels: usize,
    left: &[f32],
    term: impl Fn(f32, f32) -> f32,
    right: &[f32],
) -> Vec<f64> {
    const LANES: usize = 16;
    const SHORT: usize = 32 * LANES;
    let mut sums = vec![0.0; channels];
    for (row, channel) in rows(layout, pixels, channels, left.len()) {
        let (left, right) = (&left[row.clone()], &right[row]);
        let Some(channel) = channel else {
            let all = sums.iter_mut().zip(left).zip(right);
            all.for_each(|((sum, &l), &r)| *sum += f64::from(term(l, r)));
            continue;
        };
        for (left, right) in left.chunks(SHORT).zip(right.chunks(SHORT)) {
            let mut lanes = [0.0f32; LANES];
            let (left, left_end) = left.as_chunks::<LANES>();
            let (right, right_end) = right.as_chunks::<LANES>();
            for (left, right) in left.iter().zip(right) {
                for lane in 0..LANES {
                    lanes[lane] += term(left[lane], right[lane]);
                }
            }
            let end = left_end.iter().zip(right_end).map(|(&l, &r)| term(l, r));
            sums[channel] += lanes.into_iter().chain(end).map(f64::from).sum::<f64>();
        }
    }
    sums
}
