//! Cols as a real matrix: `im2col` writes it, `col2im` sums it back.
//!
//! The patch matrix has a row for every tap of the filter and a column for every place where
//! the filter lies (channels last: transposed). One function, [`runs`], says which elements of
//! cols belong to which elements of the image; `im2col` copies along it in one direction,
//! `col2im` adds along it in the other. That is why the two are exact adjoints:
//! `<im2col(x), c> = <x, col2im(c)>`.

use crate::element::Element;
use crate::error::{Error, check_len};
use crate::padding::PaddingMode;
use crate::pass::Write;
use crate::shape::{Axis, Layout, Shape, flat, positions};
use core::ops::Range;

/// Writes the patch matrix of one image.
///
/// `image` is one image of the input, all channels. `cols` has [`Shape::cols_len`] elements:
/// channels first `[C * kernel][output pixels]`, rows in the order C, then kernel axes (as
/// `torch.nn.functional.unfold`); channels last `[output pixels][kernel * C]`, columns in the
/// order kernel axes, then C. Elements that meet padding are what [stands there](crate::PaddingMode).
///
/// # Errors
/// [`Error::Length`] or [`Error::Overflow`] if a slice doesn't fit the shape; nothing is written.
///
/// ```
/// use im2col::{Params, Shape, im2col};
/// let shape = Shape::new(Params { input: [3, 3, 0], kernel: [2, 2, 0], ..Params::default() })?;
/// let mut cols = [0.0f32; 16];
/// im2col(&shape, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], &mut cols)?;
/// // A row for each weight, a column for each output: W1 meets V1 V2 V4 V5.
/// assert_eq!(cols[..4], [1.0, 2.0, 4.0, 5.0]);
/// # Ok::<(), im2col::Error>(())
/// ```
#[doc(alias("unfold", "im2row"))]
pub fn im2col<T: Element>(shape: &Shape, image: &[T], cols: &mut [T]) -> Result<(), Error> {
    check_len("image", shape.image_len(), image.len())?;
    check_len("cols", shape.cols_len()?, cols.len())?;
    im2col_channels(shape, 0..shape.in_channels(), image, cols);
    Ok(())
}

/// Sums a patch matrix back into an image: the adjoint of [`im2col`].
///
/// Every pixel of `image` becomes (or, with [`Write::Accumulate`], gains) the sum of the
/// elements of `cols` that `im2col` would have filled from it. Shapes as for [`im2col`].
///
/// # Errors
/// [`Error::Length`] or [`Error::Overflow`] if a slice doesn't fit the shape; nothing is written.
#[doc(alias("fold"))]
pub fn col2im<T: Element>(
    shape: &Shape,
    cols: &[T],
    image: &mut [T],
    write: Write,
) -> Result<(), Error> {
    check_len("cols", shape.cols_len()?, cols.len())?;
    check_len("image", shape.image_len(), image.len())?;
    if write == Write::Overwrite {
        image.fill(T::ZERO);
    }
    add_col2im_channels(shape, 0..shape.in_channels(), cols, image);
    Ok(())
}

/// [`im2col`] of some channels of the image: their patch matrix, as if there were no others.
pub(crate) fn im2col_channels<T: Element>(
    shape: &Shape,
    channels: Range<usize>,
    image: &[T],
    cols: &mut [T],
) {
    cols.fill(T::ZERO);
    runs(shape, channels, |run| {
        let cols = &mut cols[run.cols..][..run.len];
        if run.step == 1 {
            cols.copy_from_slice(&image[run.image..][..run.len]);
        } else {
            let image = image[run.image..].iter().step_by(run.step);
            cols.iter_mut().zip(image).for_each(|(col, &pixel)| *col = pixel);
        }
    });
}

/// [`col2im`] for some channels, added to the image.
pub(crate) fn add_col2im_channels<T: Element>(
    shape: &Shape,
    channels: Range<usize>,
    cols: &[T],
    image: &mut [T],
) {
    runs(shape, channels, |run| {
        let cols = &cols[run.cols..][..run.len];
        if run.step == 1 {
            let image = &mut image[run.image..][..run.len];
            image.iter_mut().zip(cols).for_each(|(pixel, &col)| *pixel += col);
        } else {
            let image = image[run.image..].iter_mut().step_by(run.step);
            image.zip(cols).for_each(|(pixel, &col)| *pixel += col);
        }
    });
}

/// `cols[cols + j]` is `image[image + j * step]` for every `j < len`.
struct Run {
    cols: usize,
    image: usize,
    step: usize,
    len: usize,
}

/// Visits every element of cols that isn't zero padding, in pieces as long as the layout gives:
/// along an output row (channels first) or along the channels (channels last).
fn runs(shape: &Shape, channels: Range<usize>, mut visit: impl FnMut(Run)) {
    let axes = shape.axes3();
    let (inputs, outputs) = (axes.map(|a| a.input), axes.map(|a| a.output));
    // An image without elements may have any number of outputs, each of which is padding.
    if channels.is_empty() || inputs.contains(&0) {
        return;
    }
    let kernels = axes.map(|a| a.kernel);
    let taps = shape.kernel_taps();
    // The outputs for which a tap reads an element, or the copy of one.
    let read = |axis: &Axis, tap| match axis.padding_mode {
        PaddingMode::Zeros => axis.inside(tap),
        _ => 0..axis.output,
    };
    let first_channel = channels.start;
    match shape.layout() {
        Layout::ChannelsFirst => {
            for (row, channel) in channels.enumerate() {
                for tap in positions(kernels) {
                    let row = row * taps + flat(tap, kernels);
                    let [depths, heights] = [0, 1].map(|a| read(&axes[a], tap[a]));
                    let widths = axes[2].inside(tap[2]);
                    for d in depths {
                        let Some(z) = axes[0].source(d, tap[0]) else { continue };
                        for h in heights.clone() {
                            let Some(y) = axes[1].source(h, tap[1]) else { continue };
                            let mut run = |w, len| {
                                let Some(x) = axes[2].source(w, tap[2]) else { return };
                                visit(Run {
                                    cols: row * shape.output_pixels() + flat([d, h, w], outputs),
                                    image: channel * shape.input_pixels() + flat([z, y, x], inputs),
                                    step: axes[2].stride,
                                    len,
                                });
                            };
                            if !widths.is_empty() {
                                run(widths.start, widths.len());
                            }
                            if shape.is_mirrored() {
                                let borders = (0..widths.start).chain(widths.end..outputs[2]);
                                borders.for_each(|w| run(w, 1));
                            }
                        }
                    }
                }
            }
        }
        Layout::ChannelsLast => {
            for at in positions(outputs) {
                for tap in positions(kernels) {
                    let source = |a: usize| axes[a].source(at[a], tap[a]);
                    let (Some(z), Some(y), Some(x)) = (source(0), source(1), source(2)) else {
                        continue;
                    };
                    let patch = flat(at, outputs) * taps + flat(tap, kernels);
                    visit(Run {
                        cols: patch * channels.len(),
                        image: flat([z, y, x], inputs) * shape.in_channels() + first_channel,
                        step: 1,
                        len: channels.len(),
                    });
                }
            }
        }
    }
}
