//! Few channels, channels last: back to the three of an image, or a head's one or two.
//!
//! Too few to fill a vector, but the channels that they are summed over lie side by side in both operands, those of
//! neighbouring taps, too: lanes are taps, and each sum is a dot product.

use super::{Call, Implicit, Product};
use crate::element::Element;
use crate::engine::steps::Steps;
use crate::gemm::dot::{Operand, Tile, dots};
use crate::gemm::grid::Offsets;
use crate::gemm::target::CBlock;
use crate::numerics::DOT_TAPS;
use crate::view::cols::InScratch;

impl Implicit {
    /// Fills a block whose rows are pixels, and whose lanes are a few channels.
    pub(super) fn taps_block<T: Element>(
        &self,
        product: &Product,
        (steps, tile): &(Steps, Tile),
        call: &Call<'_, T>,
        mut c: CBlock<'_, T>,
        copied: &mut InScratch<'_, T>,
    ) {
        let Product { cols, weights, weights_base, rows, .. } = product;
        let (pixels, channels) = (c.rows(), c.columns());
        let epilogue = call.epilogue.of_channels(channels.range());
        let mut is_first = true;
        let runs = cols.taps.blocks();
        for run in 0..runs {
            let taps = cols.taps.block(run);
            let ([of_view, of_weights], len) = steps.of(&taps);
            let group = channels.start[2];
            let (image, first) =
                cols.part(call.kernels, call.image, group, [&pixels, &taps], copied);
            let place = rows.place(channels.start) + weights_base + weights.block(run).base;
            // As many whole steps at once as there may be taps, or a part of one.
            let at_once = (DOT_TAPS / len).max(1);
            let both = of_view.all().chunks(at_once).zip(of_weights.all().chunks(at_once));
            let last = both.len() - 1;
            for (part, (of_view, of_weights)) in both.enumerate() {
                for from in (0..len).step_by(DOT_TAPS) {
                    let left = Operand {
                        data: &image[first + from..],
                        rows: cols.pixels.offsets(pixels.len),
                        steps: Offsets::new(of_view),
                    };
                    let right = Operand {
                        data: &call.weight[place + from..],
                        rows: rows.offsets(channels.len),
                        steps: Offsets::new(of_weights),
                    };
                    let is_last = run + 1 == runs && part == last && len - from <= DOT_TAPS;
                    let epilogue = epilogue.part(is_first, is_last);
                    let len = DOT_TAPS.min(len - from);
                    dots(call.kernels, &mut c, [left, right], len, *tile, epilogue);
                    is_first = false;
                }
            }
        }
    }
}
