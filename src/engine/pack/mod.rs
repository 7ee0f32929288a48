//! Every packing of an operand, in the order in which the kernels read it: weights of the [implicit] engine, and of the
//! [direct] one, and channels of a tensor for `backward_weight`. Winograd's weights become points, in
//! `engine/winograd/weights.rs`.

mod direct;
mod implicit;

use crate::element::Element;
use crate::gemm::grid::Block;
use crate::gemm::pack::{Source as Columns, pack};
use crate::kernel::Kernel;
use crate::shape::{Layout, Shape};
use core::ops::Range;

/// Packs one panel: some of the channels of grad_output, or of an image with its pixels, for a block of pixels.
pub(super) fn pack_channels<T: Element>(
    shape: &Shape,
    kernel: &Kernel<T>,
    (data, channels): (&[T], usize),
    pixels: &Block,
    which: Range<usize>,
    to: &mut [T],
) {
    let per_image = shape.output_pixels();
    match shape.layout() {
        Layout::ChannelsFirst => {
            // A block is a part of one image or several whole ones.
            let cols = pixels.len / pixels.sizes[0];
            let start = pixels.start[0] * channels * per_image + pixels.first % per_image;
            let columns = Columns {
                data: &data[start + which.start * per_image..],
                lanes: which.len(),
                lane: per_image,
                cols,
                col: 1,
                blocks: pixels.sizes[0],
                block: channels * per_image,
            };
            pack(kernel, columns, to, false);
        }
        Layout::ChannelsLast => {
            let data = &data[pixels.first * channels + which.start..];
            let columns = Columns {
                data,
                lanes: which.len(),
                lane: 1,
                cols: pixels.len,
                col: channels,
                blocks: 1,
                block: 0,
            };
            pack(kernel, columns, to, false);
        }
    }
}
