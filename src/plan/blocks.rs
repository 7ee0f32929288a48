//! Gradients that are read through a mask: block by block of images, as many as stay in a cache once they are masked.
//!
//! A block is masked into scratch, and every engine reads it there as it would read the caller's tensor. Each block is a layer of
//! fewer images with the schedule of the whole: its tables belong to the plan, so that a call allocates nothing.

use super::Plan;
use super::chosen::Chosen;
use super::passes::passes;
use crate::activation::Activation;
use crate::element::Element;
use crate::engine::layer::{Layer, Weights};
use crate::engine::mask::Mask;
use crate::error::Error;
use crate::kernel::Epilogue;
use crate::pass::{Pass, Write};
use crate::scratch::Need;
use crate::shape::Shape;
use core::ops::Range;

/// Elements that a block should not exceed, unless one image does: 2 MiB of f32.
const BLOCK: usize = 512 << 10;

/// How a batch is cut.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    /// Images of a block, but for the last, which may have fewer.
    images: usize,
    /// The layers of so many images, and of those that are left; none where one block is the whole batch.
    parts: [Option<(Shape, Chosen)>; 2],
}

/// What backward_weight reads and what it does with the sums.
pub(crate) struct OverPixels<'a, T> {
    /// The convolution's input and the gradient of its output.
    pub(crate) sources: [&'a [T]; 2],
    /// The mask of one of them.
    pub(crate) mask: Option<Mask<'a, T>>,
    /// Which one is the gradient: the input, of a transposed layer, or the output.
    pub(crate) of_input: bool,
    pub(crate) grad_bias: Option<&'a mut [T]>,
    pub(crate) write: Write,
}

impl Blocks {
    /// The blocks of a plan; none if no gradient is ever masked.
    pub(super) fn new<T: Element>(plan: &Plan<T>) -> Result<Option<Self>, Error> {
        let &Plan { shape, options, kernels, .. } = plan;
        if plan.activation == Activation::None || options.inference || shape.is_empty() {
            return Ok(None);
        }
        let batch = shape.batch();
        let most = (BLOCK / plan.gradient_len()).clamp(1, batch);
        // As even as can be.
        let images = batch.div_ceil(batch.div_ceil(most));
        let whole = Self { images: batch, parts: [None, None] };
        if images == batch {
            return Ok(Some(whole));
        }
        let mut parts = [None, None];
        for (part, images) in parts.iter_mut().zip([images, batch % images]) {
            if images > 0 {
                let shape = shape.with_batch(images)?.weighed_as(&plan.planned);
                let of = plan.masked_passes();
                let chosen =
                    (passes::<T>().for_shape)(&plan.chosen, &shape, options, kernels, &of)?;
                // Packed weights are in the order of the plan's schedule.
                if of.iter().any(|&pass| chosen.schedule(pass) != plan.chosen.schedule(pass)) {
                    return Ok(Some(whole));
                }
                *part = Some((shape, chosen));
            }
        }
        Ok(Some(Self { images, parts }))
    }
}

impl<T: Element> Plan<T> {
    /// The passes that may read a gradient through a mask.
    fn masked_passes(&self) -> [Pass; 2] {
        let over_taps = if self.is_transposed { Pass::Forward } else { Pass::BackwardData };
        [over_taps, Pass::BackwardWeight]
    }

    /// Elements of the gradient of one image.
    fn gradient_len(&self) -> usize {
        match self.is_transposed {
            true => self.shape.image_len(),
            false => self.shape.out_channels() * self.shape.output_pixels(),
        }
    }

    /// Elements of a masked block, in whole cache lines.
    fn block_len(&self) -> usize {
        let images = self.blocks.as_ref().map_or(0, |blocks| blocks.images);
        (images * self.gradient_len()).next_multiple_of(16)
    }

    /// What a pass wants whose gradient may be masked.
    pub(crate) fn masked_need(&self, pass: Pass) -> Result<Need, Error> {
        let whole = self.need(pass)?;
        let Some(blocks) = self.blocks.as_ref().filter(|_| self.masked_passes().contains(&pass))
        else {
            return Ok(whole);
        };
        let mut need = whole;
        for (shape, chosen) in blocks.parts.iter().flatten() {
            let of_part = chosen.need(shape, self.kernels, pass)?;
            need.units = need.units.max(of_part.units);
            need.shared = need.shared.max(of_part.shared);
            need.piece = need.piece.max(of_part.piece);
        }
        Ok(Need { shared: need.shared.saturating_add(self.block_len()), ..need })
    }

    /// Calls `run` for each block: with its images, and the layer of so many.
    fn for_each_block<'a>(
        &'a self,
        layer: &Layer<'a, T>,
        mut run: impl FnMut(Range<usize>, &Chosen, &Layer<'_, T>),
    ) {
        let batch = self.shape.batch();
        let Some(Blocks { images, parts: [block, rest] }) = &self.blocks else { return };
        for first in (0..batch).step_by(*images) {
            let end = batch.min(first + images);
            let part = if end - first == *images { block } else { rest };
            match part {
                None => run(first..end, &self.chosen, layer),
                Some((shape, chosen)) => run(first..end, chosen, &Layer { shape, ..*layer }),
            }
        }
    }

    /// Runs backward_data, or forward as a transposed layer's backward_data, on a gradient that is read through its mask.
    pub(crate) fn over_masked_taps(
        &self,
        layer: &Layer<'_, T>,
        pass: Pass,
        (gradient, mask, weights): (&[T], Mask<'_, T>, Weights<'_, T>),
        epilogue: Epilogue<'_, T>,
        destination: &mut [T],
        scratch: &mut [T],
    ) {
        let (block, scratch) = scratch.split_at_mut(self.block_len());
        let from = self.gradient_len();
        let to = destination.len() / self.shape.batch();
        let passes = passes();
        let run = if pass == Pass::Forward { passes.forward } else { passes.backward_data };
        self.for_each_block(layer, |images, chosen, layer| {
            let (first, len) = (images.start * from, images.len() * from);
            let block = &mut block[..len];
            let gradient = &gradient[first..][..len];
            (passes.masked)(layer.parallelism, gradient, mask.part(first, len), block);
            let destination = &mut destination[images.start * to..images.end * to];
            run(chosen, layer, block, weights, epilogue, destination, scratch);
        });
    }

    /// Runs backward_weight, and sums the gradient's channels where that is asked for.
    pub(crate) fn over_pixels(
        &self,
        layer: &Layer<'_, T>,
        call: &mut OverPixels<'_, T>,
        grad_weight: &mut [T],
        scratch: &mut [T],
    ) {
        let &mut OverPixels { sources, mask, of_input, write, .. } = call;
        let passes = passes();
        let (gradient, other) = if of_input { (0, 1) } else { (1, 0) };
        let Some(mask) = mask else {
            if let Some(sums) = &mut call.grad_bias {
                let gradient = (sources[gradient], None);
                (passes.backward_bias)(
                    layer.shape,
                    of_input,
                    layer.parallelism,
                    gradient,
                    sums,
                    write,
                );
            }
            (passes.backward_weight)(&self.chosen, layer, sources, grad_weight, write, scratch);
            return;
        };
        let (block, scratch) = scratch.split_at_mut(self.block_len());
        let of_image = sources.map(|tensor| tensor.len() / self.shape.batch());
        self.for_each_block(layer, |images, chosen, layer| {
            let part = |tensor: usize| {
                let len = of_image[tensor];
                &sources[tensor][images.start * len..images.end * len]
            };
            let first = images.start * of_image[gradient];
            let from = part(gradient);
            let block = &mut block[..from.len()];
            let parallelism = layer.parallelism;
            (passes.masked)(parallelism, from, mask.part(first, from.len()), block);
            let block = &*block;
            let write = if images.start > 0 { Write::Accumulate } else { write };
            if let Some(sums) = &mut call.grad_bias {
                (passes.backward_bias)(
                    layer.shape,
                    of_input,
                    parallelism,
                    (block, None),
                    sums,
                    write,
                );
            }
            let mut sources = [block; 2];
            sources[other] = part(other);
            (passes.backward_weight)(chosen, layer, sources, grad_weight, write, scratch);
        });
    }
}
