//! The epilogue of a pass whose engine adds to its destination bit by bit: what it adds to comes before, bounds come
//! after.
//!
//! `backward_data` needs it where some pixels meet no tap, or where col2im sums the cols; and a layer of no
//! input, whose sums are zero. Where every element is stored once, the store itself does all of this.

use crate::element::Element;
use crate::kernel::Epilogue;
use crate::parallel::Parallelism;
use crate::shape::{Layout, Shape};

/// A tensor that is written, an image at a time.
#[derive(Clone, Copy)]
pub(crate) struct Images {
    layout: Layout,
    channels: usize,
    pixels: usize,
}

impl Images {
    /// Those of the input's shape.
    pub(crate) fn of_input(shape: &Shape) -> Self {
        let (channels, pixels) = (shape.in_channels(), shape.input_pixels());
        Self { layout: shape.layout(), channels, pixels }
    }

    /// Those of the output's shape.
    pub(crate) fn of_output(shape: &Shape) -> Self {
        let (channels, pixels) = (shape.out_channels(), shape.output_pixels());
        Self { layout: shape.layout(), channels, pixels }
    }

    /// Writes what the sums are added to: the bias, the residual, and what was there.
    pub(crate) fn before<T: Element>(
        self,
        parallelism: Parallelism<'_>,
        epilogue: Epilogue<'_, T>,
        destination: &mut [T],
    ) {
        self.for_each(parallelism, destination, |image| {
            if !epilogue.accumulate {
                image.fill(T::ZERO);
            }
            match (epilogue.bias, self.layout) {
                (None, _) => {}
                (Some(bias), Layout::ChannelsFirst) => {
                    let channels = image.chunks_exact_mut(self.pixels);
                    for (pixels, &bias) in channels.zip(bias) {
                        pixels.iter_mut().for_each(|to| *to += bias);
                    }
                }
                (Some(bias), Layout::ChannelsLast) => {
                    for pixel in image.chunks_exact_mut(self.channels) {
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
        self,
        parallelism: Parallelism<'_>,
        epilogue: Epilogue<'_, T>,
        destination: &mut [T],
    ) {
        let Some([low, high]) = epilogue.clamp else { return };
        self.for_each(parallelism, destination, |image| {
            image.iter_mut().for_each(|to| *to = to.clamp_to(low, high));
        });
    }

    /// Calls `work` for every image: for none where images have no elements.
    fn for_each<T: Element>(
        self,
        parallelism: Parallelism<'_>,
        tensor: &mut [T],
        work: impl Fn(&mut [T]) + Sync,
    ) {
        let len = self.channels * self.pixels;
        if len == 0 {
            return;
        }
        parallelism.for_all(tensor.len() / len, tensor.chunks_mut(len), |image| {
            work(image);
        });
    }
}
