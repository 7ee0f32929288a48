//! What isn't a convolution: pooling, in either layout, on the calling thread.

use im2col::Layout;

/// The steps between neighbouring channels, rows and columns of an image.
fn steps(layout: Layout, [channels, height, width]: [usize; 3]) -> [usize; 3] {
    if layout == Layout::ChannelsLast {
        return [1, width * channels, channels];
    }
    [height * width, width, 1]
}

/// The largest of each window.
pub(crate) fn max_pool(
    layout: Layout,
    [from, to]: [[usize; 3]; 2],
    [kernel, stride, padding]: [usize; 3],
    input: &[f32],
    output: &mut [f32],
) {
    let ([ic, iy, ix], [oc, oy, ox]) = (steps(layout, from), steps(layout, to));
    let images = input.chunks_exact(from.iter().product());
    for (input, output) in images.zip(output.chunks_exact_mut(to.iter().product())) {
        for y in 0..to[1] {
            for x in 0..to[2] {
                let range = |o: usize, size: usize| {
                    (o * stride).saturating_sub(padding)..(o * stride + kernel - padding).min(size)
                };
                let (rows, columns) = (range(y, from[1]), range(x, from[2]));
                for c in 0..to[0] {
                    let mut largest = f32::NEG_INFINITY;
                    for row in rows.clone() {
                        for column in columns.clone() {
                            largest = largest.max(input[c * ic + row * iy + column * ix]);
                        }
                    }
                    output[c * oc + y * oy + x * ox] = largest;
                }
            }
        }
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
