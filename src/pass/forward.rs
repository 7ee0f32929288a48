//! `Y = W · cols`: every output is the product of a filter and the patch it lies on.

use super::{Storing, cols_piece, groups, image};
use crate::element::Element;
use crate::gemm::textbook::multiply;
use crate::im2col::im2col_channels;
use crate::parallel::Parallelism;
use crate::scratch::Need;
use crate::shape::{Layout, Shape};

/// One group's patch matrix for each worker.
pub(crate) fn explicit_need(shape: &Shape) -> Need {
    Need { units: shape.batch(), shared: 0, piece: cols_piece(shape) }
}

/// The textbook: write cols, multiply. A unit of work is an image.
pub(crate) fn explicit<T: Element>(
    shape: &Shape,
    parallelism: Parallelism,
    [input, weight]: [&[T]; 2],
    Storing { bias, clamp, .. }: Storing<'_, T>,
    output: &mut [T],
    scratch: &mut [T],
) {
    let images = output.chunks_mut(output.len() / shape.batch()).enumerate();
    parallelism.for_each(explicit_need(shape), images, scratch, |(n, output), cols, _: &mut ()| {
        if let Some(bias) = bias {
            fill_with_bias(shape, bias, output);
        }
        for group in groups(shape) {
            let input = image(input, n, shape.image_len());
            im2col_channels(shape, group.channels(), input, cols);
            let y = group.output(&mut output[group.output_start()..]);
            multiply(group.sizes(), group.weight(weight), group.cols(&*cols), y, bias.is_some());
        }
        if let Some([low, high]) = clamp {
            output.iter_mut().for_each(|y| *y = y.clamp_to(low, high));
        }
    });
}

/// Sets every pixel of one image of the output to its channel's bias.
fn fill_with_bias<T: Element>(shape: &Shape, bias: &[T], output: &mut [T]) {
    match shape.layout() {
        Layout::ChannelsFirst => {
            let channels = output.chunks_exact_mut(shape.output_pixels());
            channels.zip(bias).for_each(|(pixels, &bias)| pixels.fill(bias));
        }
        Layout::ChannelsLast => {
            output.chunks_exact_mut(bias.len()).for_each(|pixel| pixel.copy_from_slice(bias));
        }
    }
}
