//! `dW = dGᵀ · cols`: a weight's error is the sum over every place where the weight is used.

use super::{Group, Write, cols_piece, image};
use crate::element::Element;
use crate::gemm::textbook::{Matrix, multiply};
use crate::im2col::im2col_channels;
use crate::parallel::Parallelism;
use crate::scratch::Need;
use crate::shape::Shape;

/// The most elements that partial sums may take: 8 MiB of f64.
pub(super) const PARTIALS: usize = 1 << 20;

/// Into how many chunks the sum over the images is cut, by shape alone, so that chunks can be
/// summed at once and the bits don't depend on who summed them.
fn chunks(shape: &Shape) -> usize {
    shape.batch().min(8).min(PARTIALS / shape.weight_len()).max(1)
}

/// One group's patch matrix for each worker, and a gradient for each chunk but a lone one.
pub(crate) fn explicit_need(shape: &Shape) -> Need {
    let partials = if chunks(shape) == 1 { 0 } else { chunks(shape) * shape.weight_len() };
    let units = chunks(shape) * shape.groups();
    Need { units, shared: partials, piece: cols_piece(shape) }
}

/// The textbook: write cols, multiply by the outputs' errors, sum over the images. A unit of
/// work is one group of one chunk of the images.
pub(crate) fn explicit<T: Element>(
    shape: &Shape,
    parallelism: Parallelism,
    [input, grad_output]: [&[T]; 2],
    grad_weight: &mut [T],
    write: Write,
    scratch: &mut [T],
) {
    let need = explicit_need(shape);
    let (partials, scratch) = scratch.split_at_mut(need.shared);
    let chunks = chunks(shape);
    let alone = chunks == 1;
    let sums = if alone { &mut *grad_weight } else { &mut *partials };
    let keep = alone && write == Write::Accumulate;

    let units = sums.chunks_mut(shape.weight_len() / shape.groups()).enumerate();
    parallelism.for_each(need, units, scratch, |(unit, sum), cols, _: &mut ()| {
        let group = Group { shape, index: unit % shape.groups() };
        let chunk = unit / shape.groups();
        let images = chunk * shape.batch() / chunks..(chunk + 1) * shape.batch() / chunks;
        for n in images.clone() {
            let input = image(input, n, shape.image_len());
            im2col_channels(shape, group.channels(), input, cols);
            let grad_output = image(grad_output, n, grad_output.len() / shape.batch());
            let dg = group.output(&grad_output[group.output_start()..]);
            let [outputs, patch, pixels] = group.sizes();
            let dw = Matrix::rows(&mut *sum, patch);
            let accumulate = keep || n > images.start;
            multiply([outputs, pixels, patch], dg, group.cols(&*cols).t(), dw, accumulate);
        }
    });
    if !alone {
        join(partials, shape.weight_len(), grad_weight, write);
    }
}

/// Adds partial sums of `len` elements in a fixed tree: neighbours, then pairs of neighbours.
pub(super) fn join<T: Element>(
    partials: &mut [T],
    len: usize,
    destination: &mut [T],
    write: Write,
) {
    let add = |to: &mut [T], from: &[T]| to.iter_mut().zip(from).for_each(|(a, &b)| *a += b);
    let mut step = len;
    while step < partials.len() {
        for pair in partials.chunks_mut(2 * step).filter(|pair| pair.len() > step) {
            let (a, b) = pair.split_at_mut(step);
            add(&mut a[..len], &b[..len]);
        }
        step *= 2;
    }
    match write {
        Write::Overwrite => destination.copy_from_slice(&partials[..len]),
        Write::Accumulate => add(destination, &partials[..len]),
    }
}
