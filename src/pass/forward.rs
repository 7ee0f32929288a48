//! `Y = W · cols`: every output is the product of a filter and the patch it lies on.

use super::{cols_piece, groups, image};
use crate::element::Element;
use crate::gemm::textbook::multiply;
use crate::im2col::im2col_channels;
use crate::kernel::Epilogue;
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
    epilogue: Epilogue<'_, T>,
    output: &mut [T],
    scratch: &mut [T],
) {
    let images = output.chunks_mut(output.len() / shape.batch()).enumerate();
    parallelism.for_each(explicit_need(shape), images, scratch, |(n, output), cols, _: &mut ()| {
        let Epilogue { bias, residual, accumulate, clamp, .. } = epilogue;
        if !accumulate && (bias.is_some() || residual.is_some()) {
            output.fill(T::ZERO);
        }
        if let Some(bias) = bias {
            add_bias(shape, bias, output);
        }
        if let Some(residual) = residual {
            let residual = residual.of(output);
            output.iter_mut().zip(residual).for_each(|(y, &r)| *y += r);
        }
        let accumulate = accumulate || bias.is_some() || residual.is_some();
        for group in groups(shape) {
            let input = image(input, n, shape.image_len());
            im2col_channels(shape, group.channels(), input, cols);
            let y = group.output(&mut output[group.output_start()..]);
            multiply(group.sizes(), group.weight(weight), group.cols(&*cols), y, accumulate);
        }
        if let Some([low, high]) = clamp {
            output.iter_mut().for_each(|y| *y = y.clamp_to(low, high));
        }
    });
}

/// Adds its channel's bias to every pixel of one image of the output.
fn add_bias<T: Element>(shape: &Shape, bias: &[T], output: &mut [T]) {
    match shape.layout() {
        Layout::ChannelsFirst => {
            let channels = output.chunks_exact_mut(shape.output_pixels());
            channels.zip(bias).for_each(|(pixels, &b)| pixels.iter_mut().for_each(|y| *y += b));
        }
        Layout::ChannelsLast => {
            let pixels = output.chunks_exact_mut(bias.len());
            pixels.for_each(|pixel| pixel.iter_mut().zip(bias).for_each(|(y, &b)| *y += b));
        }
    }
}
