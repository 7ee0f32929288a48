//! Few channels, channels last: back to the three of an image, or a head's one or two.
//!
//! Too few to fill a vector, but the channels that they are summed over lie side by side in both operands, those of
//! neighbouring taps, too: lanes are terms, and each sum is a dot product.

use super::sizes::PIXELS;
use super::{Call, Gathering, Product};
use crate::element::Element;
use crate::gemm::Finish;
use crate::gemm::dot::{Operand, Tile, dots};
use crate::gemm::grid::Offsets;
use crate::gemm::target::Cell;
use crate::kernel::Kernels;
use crate::pass::bands::Cut;
use crate::pass::steps::{Steps, side_by_side};
use crate::patches::{Held, Source};

/// Terms of a sum between two visits of the destination: its lanes add them up one after the other (docs/numerics.md).
const TERMS: usize = 4096;

/// The most channels that may be few.
const MOST_CHANNELS: usize = 16;

/// Vectors of products that take as long as a sum's lanes to be added up and stored, and a vector's share of the time that
/// one takes in panels. Fitted to both ways of 210 layers from 8 to 512 channels to 1 to 16 on Zen 5: with AVX-512 5 of
/// them take the way that is more than 10 % slower, with AVX2 3, and all together half a percent more time.
const SUMMED: f64 = 6.0;
const SHARE: f64 = 0.85;

/// Whether dot products are faster to so many channels than panels of them, most of whose lanes are empty.
pub(super) fn pay<T: Element>(kernels: &Kernels<T>, channels: usize, sources: &[Source]) -> bool {
    if channels > MOST_CHANNELS {
        return false;
    }
    let (tall, cost) = kernels.tall_for(channels);
    let vector = kernels.wide.vector;
    let each = Tile::cost(kernels.dots.columns, PIXELS, channels);
    let in_panels = (channels.next_multiple_of(tall.lanes) / vector) as f64 * cost;
    let [mut in_panels_of_all, mut dots] = [0.0; 2];
    for source in sources {
        let taps = source.walks.each_ref().map(|walk| walk.taps);
        let [len, steps] = side_by_side(taps, source.walks[2].dilation, source.channels);
        let vectors = steps as f64 * len.div_ceil(vector) as f64;
        let pixels = source.walks.iter().map(|walk| walk.outputs as f64).product::<f64>();
        // Panels leave out taps in the padding, where there are enough.
        let left = steps as f64 * len as f64 * Cut::least(source);
        in_panels_of_all += pixels * left * in_panels;
        let sum = SHARE * (vectors * each + SUMMED);
        dots += pixels * channels as f64 * sum;
    }
    dots < in_panels_of_all
}

impl Gathering {
    /// Fills a cell whose rows are pixels, and whose lanes are a few channels.
    pub(super) fn terms_cell<T: Element>(
        &self,
        product: &Product,
        (steps, tile): &(Steps, Tile),
        call: &Call<'_, T>,
        mut cell: Cell<'_, T>,
        scratch: &mut [T],
        held: &mut Held,
    ) {
        let Product { patches, weights, weights_base, rows, .. } = product;
        let (pixels, channels) = (cell.rows(), cell.lanes());
        let mut bias = call.store.bias.map(|bias| &bias[channels.range()]);
        let mut accumulate = call.store.accumulate;
        let runs = patches.taps.runs();
        for run in 0..runs {
            let taps = patches.taps.run(run);
            let ([of_view, of_weights], len) = steps.of(&taps);
            let group = channels.start[2];
            let (image, first) =
                patches.part(call.kernels, call.image, group, &pixels, &taps, scratch, held);
            let place = rows.place(channels.start) + weights_base + weights.run(run).base;
            // As many whole steps at once as there may be terms, or a part of one.
            let at_once = (TERMS / len).max(1);
            let both = of_view.all().chunks(at_once).zip(of_weights.all().chunks(at_once));
            let last = both.len() - 1;
            for (part, (of_view, of_weights)) in both.enumerate() {
                for from in (0..len).step_by(TERMS) {
                    let left = Operand {
                        data: &image[first + from..],
                        rows: patches.pixels.offsets(pixels.len),
                        steps: Offsets::new(of_view),
                    };
                    let right = Operand {
                        data: &call.weight[place + from..],
                        rows: rows.offsets(channels.len),
                        steps: Offsets::new(of_weights),
                    };
                    let is_last = run + 1 == runs && part == last && len - from <= TERMS;
                    let clamp = call.store.clamp.filter(|_| is_last);
                    let finish = Finish { lane_bias: bias, row_bias: None, accumulate, clamp };
                    let len = TERMS.min(len - from);
                    dots(call.kernels, &mut cell, [left, right], len, *tile, finish);
                    (bias, accumulate) = (None, true);
                }
            }
        }
    }
}
