//! What isn't a convolution: pooling and joining, in either layout, on the calling thread.

use im2col::Layout;
use std::ops::Range;

/// The steps between neighbouring channels, rows and columns of an image.
pub(crate) fn steps(layout: Layout, [channels, height, width]: [usize; 3]) -> [usize; 3] {
    if layout == Layout::ChannelsLast {
        return [1, width * channels, channels];
    }
    [height * width, width, 1]
}

/// The largest of each window.
pub(crate) fn max_pool(
    layout: Layout,
    [from, to]: [[usize; 3]; 2],
    window: [usize; 3],
    input: &[f32],
    output: &mut [f32],
) {
    let images = input.chunks_exact(from.iter().product());
    for (input, output) in images.zip(output.chunks_exact_mut(to.iter().product())) {
        if layout == Layout::ChannelsLast {
            max_of_pixels([from, to], window, input, output);
            continue;
        }
        let planes = input.chunks_exact(from[1] * from[2]);
        for (input, output) in planes.zip(output.chunks_exact_mut(to[1] * to[2])) {
            max_of_plane([from, to], window, input, output);
        }
    }
}

/// The places of the input that a window of the output meets.
pub(crate) fn meets(
    output: usize,
    [kernel, stride, padding]: [usize; 3],
    size: usize,
) -> Range<usize> {
    (output * stride).saturating_sub(padding)..(output * stride + kernel - padding).min(size)
}

/// The windows of one plane: first the largest of each column, over all of a row, then of neighbouring columns.
fn max_of_plane(
    [from, to]: [[usize; 3]; 2],
    window: [usize; 3],
    input: &[f32],
    output: &mut [f32],
) {
    let mut largest = vec![0.0; from[2]];
    for (y, output) in output.chunks_exact_mut(to[2]).enumerate() {
        largest.fill(f32::NEG_INFINITY);
        for row in meets(y, window, from[1]) {
            for (largest, x) in largest.iter_mut().zip(&input[row * from[2]..]) {
                *largest = largest.max(*x);
            }
        }
        for (x, output) in output.iter_mut().enumerate() {
            let columns = &largest[meets(x, window, from[2])];
            *output = columns.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        }
    }
}

/// The windows of an image whose channels lie side by side: those of a pixel at once.
fn max_of_pixels(
    [from, to]: [[usize; 3]; 2],
    window: [usize; 3],
    input: &[f32],
    output: &mut [f32],
) {
    for (place, output) in output.chunks_exact_mut(to[0]).enumerate() {
        output.fill(f32::NEG_INFINITY);
        for row in meets(place / to[2], window, from[1]) {
            for column in meets(place % to[2], window, from[2]) {
                let pixel = &input[(row * from[2] + column) * from[0]..][..from[0]];
                for (output, x) in output.iter_mut().zip(pixel) {
                    *output = output.max(*x);
                }
            }
        }
    }
}

/// The channels of two tensors, one after the other: each part is a tensor and how many channels it has.
pub(crate) fn concat(
    layout: Layout,
    pixels: usize,
    parts: [(&[f32], usize); 2],
    output: &mut [f32],
) {
    // What lies together in memory: all of an image's plane of a channel, or all channels of a pixel.
    let together = if layout == Layout::ChannelsLast { 1 } else { pixels };
    let [(first, a), (second, b)] = parts.map(|(part, channels)| (part, channels * together));
    let rows = first.chunks_exact(a).zip(second.chunks_exact(b));
    for ((first, second), output) in rows.zip(output.chunks_exact_mut(a + b)) {
        output[..a].copy_from_slice(first);
        output[a..].copy_from_slice(second);
    }
}

/// The mean of each channel of each image.
pub(crate) fn mean(layout: Layout, from: [usize; 3], input: &[f32], output: &mut [f32]) {
    let ([channels, height, width], [ic, iy, ix]) = (from, steps(layout, from));
    let images = input.chunks_exact(from.iter().product());
    for (input, output) in images.zip(output.chunks_exact_mut(channels)) {
        output.fill(0.0);
        for y in 0..height {
            for x in 0..width {
                for (c, sum) in output.iter_mut().enumerate() {
                    *sum += input[c * ic + y * iy + x * ix];
                }
            }
        }
        output.iter_mut().for_each(|sum| *sum /= (height * width) as f32);
    }
}
