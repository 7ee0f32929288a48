//! Gradients of what isn't a convolution, in either layout, on the calling thread.

use crate::pool::{meets, steps};
use im2col::Layout;

/// Where the activation let nothing through, no gradient passes: it passes where `output` is above 0 and below `limit`.
pub(super) fn clip(output: &[f32], limit: f32, grad: &mut [f32]) {
    for (grad, &y) in grad.iter_mut().zip(output) {
        *grad = if y > 0.0 && y < limit { *grad } else { 0.0 };
    }
}

/// Adds the gradient of each output to that of the first of the largest elements of its window.
pub(super) fn max_pool(
    layout: Layout,
    [from, to]: [[usize; 3]; 2],
    window: [usize; 3],
    [input, grad_output]: [&[f32]; 2],
    grad_input: &mut [f32],
) {
    let (image, made) = (from.iter().product::<usize>(), to.iter().product::<usize>());
    let ([fc, fy, fx], [tc, ty, tx]) = (steps(layout, from), steps(layout, to));
    for n in 0..input.len() / image {
        let (input, grad_output) = (&input[n * image..], &grad_output[n * made..]);
        let grad_input = &mut grad_input[n * image..];
        let mut add = |[c, y, x]: [usize; 3]| {
            let (mut largest, mut at) = (f32::NEG_INFINITY, 0);
            for row in meets(y, window, from[1]) {
                for column in meets(x, window, from[2]) {
                    let place = c * fc + row * fy + column * fx;
                    if input[place] > largest {
                        (largest, at) = (input[place], place);
                    }
                }
            }
            grad_input[at] += grad_output[c * tc + y * ty + x * tx];
        };
        // In the order of memory.
        let pixels = || (0..to[1]).flat_map(|y| (0..to[2]).map(move |x| [y, x]));
        if layout == Layout::ChannelsLast {
            pixels().for_each(|[y, x]| (0..to[0]).for_each(|c| add([c, y, x])));
        } else {
            (0..to[0]).for_each(|c| pixels().for_each(|[y, x]| add([c, y, x])));
        }
    }
}

/// Adds to each pixel's gradient its share of that of the mean.
pub(super) fn mean(layout: Layout, from: [usize; 3], grad_output: &[f32], grad_input: &mut [f32]) {
    let (channels, pixels) = (from[0], from[1] * from[2]);
    let share = 1.0 / pixels as f32;
    let images = grad_input.chunks_exact_mut(channels * pixels);
    for (image, grad) in images.zip(grad_output.chunks_exact(channels)) {
        for (n, x) in image.iter_mut().enumerate() {
            let channel = if layout == Layout::ChannelsLast { n % channels } else { n / pixels };
            *x += grad[channel] * share;
        }
    }
}

/// Adds to the gradients of two tensors what belongs to them of that of both together.
pub(super) fn concat(
    layout: Layout,
    pixels: usize,
    grad_output: &[f32],
    (part, before, channels): (&mut [f32], usize, [usize; 2]),
) {
    let together = if layout == Layout::ChannelsLast { 1 } else { pixels };
    let rows = grad_output.chunks_exact(channels[1] * together);
    for (part, grad) in part.chunks_exact_mut(channels[0] * together).zip(rows) {
        part.iter_mut().zip(&grad[before * together..]).for_each(|(part, grad)| *part += grad);
    }
}

/// The cross entropy of each image's or pixel's scores to its label, in the mean; the scores become their gradient.
pub(super) fn cross_entropy(
    layout: Layout,
    [classes, height, width]: [usize; 3],
    labels: &[usize],
    scores: &mut [f32],
) -> f64 {
    let (pixels, scale) = (height * width, 1.0 / labels.len() as f32);
    let [of_class, _, of_pixel] = steps(layout, [classes, height, width]);
    let (mut loss, mut row) = (0.0, vec![0.0; classes]);
    for (n, &label) in labels.iter().enumerate() {
        let first = n / pixels * classes * pixels + n % pixels * of_pixel;
        for (class, score) in row.iter_mut().enumerate() {
            *score = f64::from(scores[first + class * of_class]);
        }
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|score| (score - largest).exp()).sum();
        loss += sum.ln() - (row[label] - largest);
        for (class, score) in row.iter().enumerate() {
            let probability = (score - largest).exp() / sum;
            let truth = if class == label { 1.0 } else { 0.0 };
            scores[first + class * of_class] = (probability - truth) as f32 * scale;
        }
    }
    loss / labels.len() as f64
}
