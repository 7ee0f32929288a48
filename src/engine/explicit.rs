//! The textbook: cols is written to memory, an image and a group at a time, and multiplied by the crate
//! `matrixmultiply`.

use super::layer::Layer;
use super::partial_sums::{self, PARTIALS, in_parts};
use crate::element::Element;
use crate::gemm::textbook::{Matrix, multiply};
use crate::kernel::Epilogue;
use crate::numerics::PARTS;
use crate::parallel::Parallelism;
use crate::pass::{Pass, Write};
use crate::scratch::Need;
use crate::shape::{Layout, Shape};
use crate::view::im2col::{add_col2im_channels, im2col_channels};
use core::ops::Range;

/// What a pass wants.
pub(crate) fn need(shape: &Shape, pass: Pass) -> Need {
    match pass {
        Pass::Forward | Pass::BackwardData => image_need(shape),
        Pass::BackwardWeight => weight_need(shape),
    }
}

/// Of forward and backward_data: one group's patch matrix, or its gradient, for each worker.
fn image_need(shape: &Shape) -> Need {
    Need { units: shape.batch(), shared: 0, piece: cols_piece(shape) }
}

/// Runs forward, from the input and the weight, or backward_data, from grad_output and the weight.
pub(crate) fn over_taps<T: Element>(
    &Layer { shape, parallelism, .. }: &Layer<'_, T>,
    pass: Pass,
    sources: [&[T]; 2],
    epilogue: Epilogue<'_, T>,
    destination: &mut [T],
    scratch: &mut [T],
) {
    if pass == Pass::Forward {
        forward(shape, parallelism, sources, epilogue, destination, scratch);
    } else {
        backward_data(shape, parallelism, sources, destination, epilogue.write(), scratch);
    }
}

/// `G = cols·Wᵀ`: writes cols, multiplies. A unit of work is an image.
fn forward<T: Element>(
    shape: &Shape,
    parallelism: Parallelism,
    [input, weight]: [&[T]; 2],
    epilogue: Epilogue<'_, T>,
    output: &mut [T],
    scratch: &mut [T],
) {
    let images = output.chunks_mut(output.len() / shape.batch()).enumerate();
    parallelism.for_each(image_need(shape), images, scratch, |(n, output), cols, _: &mut ()| {
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

/// `dV = col2im(dG·W)`: multiplies, then sums the cols back. A unit of work is an image.
fn backward_data<T: Element>(
    shape: &Shape,
    parallelism: Parallelism,
    [grad_output, weight]: [&[T]; 2],
    grad_input: &mut [T],
    write: Write,
    scratch: &mut [T],
) {
    let images = grad_input.chunks_mut(shape.image_len()).enumerate();
    parallelism.for_each(
        image_need(shape),
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

/// Into how many chunks the sum over the images is cut, by shape alone, so that chunks can be
/// summed at once and the bits don't depend on who summed them.
fn chunks(shape: &Shape) -> usize {
    shape.batch().min(PARTS).min(PARTIALS / shape.weight_len()).max(1)
}

/// One group's patch matrix for each worker, and a gradient for each chunk but a lone one.
fn weight_need(shape: &Shape) -> Need {
    let partials = partial_sums::elements(chunks(shape), shape.weight_len());
    let units = chunks(shape) * shape.groups();
    Need { units, shared: partials, piece: cols_piece(shape) }
}

/// Backward_weight, `dW = dGᵀ·cols`: writes cols, multiplies by the gradient of the output, sums over the images. A
/// unit of work is one group of one chunk of the images.
pub(crate) fn over_pixels<T: Element>(
    &Layer { shape, parallelism, .. }: &Layer<'_, T>,
    [input, grad_output]: [&[T]; 2],
    grad_weight: &mut [T],
    write: Write,
    scratch: &mut [T],
) {
    let need = weight_need(shape);
    let (partials, scratch) = scratch.split_at_mut(need.shared);
    let chunks = chunks(shape);
    in_parts(chunks, partials, grad_weight, write, |sums, write| {
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
                let accumulate = write == Write::Accumulate || n > images.start;
                multiply([outputs, pixels, patch], dg, group.cols(&*cols).t(), dw, accumulate);
            }
        });
    });
}

/// Where the matrices of one group lie in the tensors of one image: the only place that knows
/// both layouts of the explicit algorithm.
#[derive(Clone, Copy)]
struct Group<'a> {
    shape: &'a Shape,
    index: usize,
}

impl<'a> Group<'a> {
    /// The group's input channels.
    fn channels(self) -> Range<usize> {
        let count = self.shape.group_in();
        self.index * count..(self.index + 1) * count
    }

    /// The elements of the group's weights within `weight`.
    fn weight_range(self) -> Range<usize> {
        let len = self.shape.group_out() * self.shape.patch_len();
        self.index * len..(self.index + 1) * len
    }

    /// The group's weights: a row for each output channel, a column for each element of a patch.
    fn weight<T>(self, weight: &[T]) -> Matrix<&[T]> {
        Matrix::rows(&weight[self.weight_range()], self.shape.patch_len())
    }

    /// The patch matrix: a row for each element of a patch, a column for each output pixel.
    fn cols<S>(self, cols: S) -> Matrix<S> {
        match self.shape.layout() {
            Layout::ChannelsFirst => Matrix::rows(cols, self.shape.output_pixels()),
            Layout::ChannelsLast => Matrix::rows(cols, self.shape.patch_len()).t(),
        }
    }

    /// Where the group's part of one image of the output begins.
    fn output_start(self) -> usize {
        let channel = self.index * self.shape.group_out();
        match self.shape.layout() {
            Layout::ChannelsFirst => channel * self.shape.output_pixels(),
            Layout::ChannelsLast => channel,
        }
    }

    /// One image of the output from [`output_start`](Self::output_start) on: a row for each of
    /// the group's output channels, a column for each output pixel.
    fn output<S>(self, output: S) -> Matrix<S> {
        match self.shape.layout() {
            Layout::ChannelsFirst => Matrix::rows(output, self.shape.output_pixels()),
            Layout::ChannelsLast => Matrix::rows(output, self.shape.out_channels()).t(),
        }
    }

    /// `[output channels, elements of a patch, output pixels]` of the group.
    fn sizes(self) -> [usize; 3] {
        [self.shape.group_out(), self.shape.patch_len(), self.shape.output_pixels()]
    }
}

/// The groups of a layer.
fn groups(shape: &Shape) -> impl Iterator<Item = Group<'_>> {
    (0..shape.groups()).map(move |index| Group { shape, index })
}

/// Elements of the patch matrix of one image and one group.
fn cols_piece(shape: &Shape) -> usize {
    shape.patch_len().saturating_mul(shape.output_pixels())
}

/// One image of a batch, where images have `len` elements.
fn image<T: Element>(tensor: &[T], n: usize, len: usize) -> &[T] {
    &tensor[n * len..][..len]
}
