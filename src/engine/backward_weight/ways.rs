//! Which way backward_weight is summed: in panels, in dot products, or by rows of taps.

use crate::element::Element;
use crate::kernel::{Isa, Kernels};
use crate::engine::steps::side_by_side;
use crate::shape::{Axis, Layout, Shape};

/// The shortest row of pixels that is worth a vector.
const DOT_ROW: usize = 6;

/// Taps that are few for so many output channels, and for any number.
const FEW_TAPS: usize = 48;
const FEW_OUTPUTS: usize = 64;
const FEWEST_TAPS: usize = 16;

/// How much larger the errors have to be than the image to be the ones that are read as they lie:
/// packing an element takes a cycle of AVX2's two vectors of products.
const TURNED: usize = 2;

/// Whether dot products along the pixels are better than panels of output channels, which would be empty in part, or met
/// by few taps: channels first, where pixels lie side by side in both operands.
pub(super) fn dots_pay<T: Element>(shape: &Shape, kernels: &Kernels<T>) -> bool {
    let kernel = kernels.tall_for(shape.group_out()).0;
    let [.., row] = shape.axes3();
    // More of them, where nearly all vectors are whole (AVX2, 6 of 64x64 pixels, 3x3: 37 GFLOP/s in panels, 68 in
    // dot products; 7 of 28x28: 45 and 32).
    let whole = row.output.is_multiple_of(kernel.vector) || row.output >= 8 * kernel.vector;
    let outputs = shape.group_out();
    // On AVX-512, too, where a lane of a panel is empty, or where errors that were packed would meet few taps
    // (Zen 5, 64 of 64x64 to 12, 3x3: 126 GFLOP/s in panels, 175 in dot products; 3 of 224x224 to 64: 119 and 178).
    let taps = shape.patch_len();
    let thin = kernels.isa == Isa::Avx512
        && (outputs < kernel.vector
            || taps <= FEWEST_TAPS
            || (taps <= FEW_TAPS && outputs <= FEW_OUTPUTS));
    let some = (outputs <= kernel.vector.min(8) || thin) && row.stride == 1 && whole;
    let few = 2 * outputs <= kernel.lanes || some;
    few && row.output >= DOT_ROW && shape.layout() == Layout::ChannelsFirst
}

/// Whether rows are better output channels than taps, channels last, where lanes are rows of taps as they lie: where
/// fewer of their vectors are empty than of a panel's. Of 324 layers from 4 to 256 channels to 2 to 96 on Zen 5 16 would be
/// more than 10 % faster the other way with AVX-512, 13 with AVX2 (64 of 256x256 to 2: 19 GFLOP/s in panels, 76 so; 128 of
/// 32x32 to 12, 3x3: 66 and 202).
pub(super) fn rows_pay<T: Element>(shape: &Shape, kernels: &Kernels<T>) -> bool {
    if shape.layout() != Layout::ChannelsLast {
        return false;
    }
    let taps = shape.axes3().map(|axis| axis.kernel);
    let dilation = shape.axes3()[2].dilation;
    let [len, _] = side_by_side(taps, dilation, shape.group_in());
    let whole = len.next_multiple_of(kernels.wide.vector) as f64 / len as f64;
    let (tall, cost) = kernels.tall_for(shape.group_out());
    let in_panels = shape.group_out().next_multiple_of(tall.lanes) as f64 * cost;
    shape.group_out() as f64 * whole < in_panels
}

/// Whether image and errors change their places: every pixel meets one tap, so that both are read alike,
/// and the image has fewer channels to pack, which fill panels.
pub(super) fn is_turned(shape: &Shape) -> bool {
    let same = |a: &Axis| a.kernel == 1 && a.stride == 1 && a.input == a.output;
    shape.axes3().iter().all(same)
        && shape.group_in().is_multiple_of(16)
        && shape.group_out() >= TURNED * shape.group_in()
}
