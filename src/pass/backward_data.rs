//! `dV = col2im(dG · W)`: the error of a pixel is the sum over the patches that it lies in.

use super::{Write, cols_piece, groups, image};
use crate::element::Element;
use crate::gemm::textbook::multiply;
use crate::im2col::add_col2im_channels;
use crate::parallel::Parallelism;
use crate::scratch::Need;
use crate::shape::Shape;

/// The gradient of one group's patch matrix for each worker.
pub(crate) fn explicit_need(shape: &Shape) -> Need {
    Need { units: shape.batch(), shared: 0, piece: cols_piece(shape) }
}

/// The textbook: multiply, then sum the patches back. A unit of work is an image.
pub(crate) fn explicit<T: Element>(
    shape: &Shape,
    parallelism: Parallelism,
    [weight, grad_output]: [&[T]; 2],
    grad_input: &mut [T],
    write: Write,
    scratch: &mut [T],
) {
    let images = grad_input.chunks_mut(shape.image_len()).enumerate();
    parallelism.for_each(
        explicit_need(shape),
        images,
        scratch,
        |(n, grad_input), grad_cols, _: &mut ()| {
            if write == Write::Overwrite {
                grad_input.fill(T::ZERO);
            }
            for group in groups(shape) {
                let grad_output = image(grad_output, n, grad_output.len() / shape.batch());
                let dg = group.output(&grad_output[group.output_start()..]);
                let [outputs, patch, pixels] = group.sizes();
                let w = group.weight(weight).t();
                multiply([patch, outputs, pixels], w, dg, group.cols(&mut *grad_cols), false);
                add_col2im_channels(shape, group.channels(), grad_cols, grad_input);
            }
        },
    );
}
