//! The epilogue of a pass whose engine adds to its destination bit by bit: what it adds to comes before, bounds come after.
//!
//! `backward_data` needs it where some pixels meet no tap, or where col2im sums the patches. Where every element is stored
//! once, the store itself does all of this.

use crate::element::Element;
use crate::kernel::Epilogue;
use crate::parallel::Parallelism;
use crate::scratch::Need;
use crate::shape::{Layout, Shape};

/// Writes to a tensor of the input's shape what the sums are added to: the bias, the residual, and what was there.
pub(crate) fn before<T: Element>(
    shape: &Shape,
    parallelism: Parallelism<'_>,
    epilogue: Epilogue<'_, T>,
    destination: &mut [T],
) {
    let images = destination.chunks_mut(shape.image_len());
    let none: &mut [T] = &mut [];
    let need = Need::of_units(shape.batch());
    parallelism.for_each(need, images, none, |image, _, _: &mut ()| {
        if !epilogue.accumulate {
            image.fill(T::ZERO);
        }
        match (epilogue.bias, shape.layout()) {
            (None, _) => {}
            (Some(bias), Layout::ChannelsFirst) => {
                let channels = image.chunks_exact_mut(shape.input_pixels());
                for (pixels, &bias) in channels.zip(bias) {
                    pixels.iter_mut().for_each(|to| *to += bias);
                }
            }
            (Some(bias), Layout::ChannelsLast) => {
                for pixel in image.chunks_exact_mut(bias.len()) {
                    pixel.iter_mut().zip(bias).for_each(|(to, &bias)| *to += bias);
                }
            }
        }
        if let Some(residual) = epilogue.residual {
            let residual = residual.of(image);
            image.iter_mut().zip(residual).for_each(|(to, &residual)| *to += residual);
        }
    });
}

/// Keeps every element within the activation's bounds.
pub(crate) fn after<T: Element>(
    shape: &Shape,
    parallelism: Parallelism<'_>,
    epilogue: Epilogue<'_, T>,
    destination: &mut [T],
) {
    let Some([low, high]) = epilogue.clamp else { return };
    let images = destination.chunks_mut(shape.image_len());
    let none: &mut [T] = &mut [];
    let need = Need::of_units(shape.batch());
    parallelism.for_each(need, images, none, |image, _, _: &mut ()| {
        image.iter_mut().for_each(|to| *to = to.clamp_to(low, high));
    });
}
