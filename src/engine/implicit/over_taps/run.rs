//! A call: weights are packed, and workers fill the blocks of the destination, with their lanes along one of the three corners.

use super::{Direction, OverTaps, Packing, Product};
use crate::choose::schedule::Corner;
use crate::element::Element;
use crate::engine::implicit::steps::Steps;
use crate::engine::layer::{Layer, Weights};
use crate::gemm::dot::{Operand, Tile, dots};
use crate::gemm::grid::Offsets;
use crate::gemm::target::CBlock;
use crate::gemm::{Left, ROWS, Right, multiply, multiply_panels};
use crate::kernel::{Epilogue, Kernels, Side};
use crate::numerics::DOT_TAPS;
use crate::scratch::{Need, aligned};
use crate::shape::Shape;
use crate::view::cols::{Held, InScratch};

/// What all blocks of a call share.
struct Call<'a, T: 'static> {
    shape: &'a Shape,
    kernels: &'a Kernels<T>,
    image: &'a [T],
    /// The weights, packed where the pass or the caller packed them for all.
    weight: &'a [T],
    /// Whether they are packed.
    packed: bool,
    epilogue: Epilogue<'a, T>,
}

impl OverTaps {
    /// Runs all products over one destination; `bias` has an element for each channel.
    pub(crate) fn run<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        image: &[T],
        weights: Weights<'_, T>,
        epilogue: Epilogue<'_, T>,
        destination: &mut [T],
        scratch: &mut [T],
    ) {
        let &Layer { shape, kernels, parallelism } = layer;
        let is_backward = self.direction == Direction::BackwardData;
        if is_backward && !epilogue.accumulate && !self.fills(shape) {
            destination.fill(T::ZERO);
        }
        let Need { shared, piece, .. } = self.need();
        let (shared, scratch) = scratch.split_at_mut(shared);
        let (weight, packed) = match (weights, self.packing) {
            (Weights::Raw(weight), Packing::Shared) => {
                let packed = &mut aligned(shared)[..self.packed_len()];
                self.pack(layer, weight, packed);
                (&*packed, true)
            }
            (Weights::Raw(weight), _) => (weight, false),
            (Weights::Packed(weight), _) => (weight, true),
        };
        let call = Call { shape, kernels, image, weight, packed, epilogue };
        for product in &self.products {
            let need = Need { units: product.target.blocks(), shared: 0, piece };
            let blocks = product.target.over(destination);
            parallelism.for_each(need, blocks, scratch, |c, data, held| {
                match (self.schedule.lanes, &product.steps) {
                    (_, Some(steps)) => {
                        let copied = &mut InScratch { data, held };
                        self.taps_block(product, steps, &call, c, copied);
                    }
                    (Corner::Pixels, _) => {
                        self.pixels_block(product, &call, c, &mut InScratch { data, held });
                    }
                    _ => self.channels_block(product, &call, c, data, held),
                }
            });
        }
    }

    /// Fills a block whose rows are pixels and whose lanes are channels.
    fn channels_block<T: Element>(
        &self,
        product: &Product,
        call: &Call<'_, T>,
        mut c: CBlock<'_, T>,
        scratch: &mut [T],
        held: &mut Held,
    ) {
        let Product { cols, weights, weights_base, regions, .. } = product;
        let kernel = self.kernel(call.kernels);
        let (pixels, lanes) = (c.rows(), c.columns());
        let (group, channel) = (lanes.start[2], lanes.start[3]);
        let (data, own) = scratch.split_at_mut(cols.copy_len().next_multiple_of(16));
        let copied = &mut InScratch { data, held };
        let first = group * self.per_group() + channel / self.width;
        let panels = match self.packing {
            Packing::PerBlock if !call.packed => {
                let own = &mut aligned(own)[..self.panel()];
                self.pack_panel(call.shape, kernel, call.weight, first, own);
                &*own
            }
            _ => &call.weight[first * self.panel()..],
        };
        let epilogue = call.epilogue.of_channels(lanes.range());
        let last = cols.taps.blocks() - 1;
        for chunk in 0..=last {
            let taps = cols.taps.block(chunk);
            let (image, first) =
                cols.part(call.kernels, call.image, group, [&pixels, &taps], copied);
            let panels = &panels[weights_base + weights.block(chunk).base..];
            let epilogue = epilogue.part(chunk == 0, chunk == last);
            let panel_pitch = Some(self.panel());
            let Some(regions) = regions else {
                let k = cols.taps.offsets(taps.len);
                let rows = cols.pixels.offsets(pixels.len);
                let left = Left { data: &image[first..], rows, k, weighed: pixels.len };
                let right =
                    Right { data: panels, first: 0, panel_pitch, k: weights.offsets(taps.len) };
                multiply_panels(call.kernels, kernel, &mut c, left, right, epilogue);
                continue;
            };
            let places = cols.pixels.table();
            let mut buffers = [[0; ROWS]; 2];
            regions.for_each(&pixels, taps.len, kernel.rows, |numbers, first_taps, all_taps| {
                let ([tap, weight], [k, of_weights]) = (first_taps, all_taps);
                let [rows, offsets] = &mut buffers;
                let rows = &mut rows[..numbers.len()];
                // Pixels ascend; where the first of these meets the first of their taps is in the image.
                let pixel = places[numbers[0] as usize];
                let place = |&number: &u32| places[number as usize] - pixel;
                rows.iter_mut().zip(numbers).for_each(|(row, number)| *row = place(number));
                let data = &image[first.wrapping_add(pixel as usize + tap)..];
                let weighed = rows.len();
                let left = Left { data, rows: Offsets::new(rows), k, weighed };
                let right = Right { data: panels, first: weight, panel_pitch, k: of_weights };
                let mut c = c.part(numbers, offsets);
                multiply_panels(call.kernels, kernel, &mut c, left, right, epilogue);
            });
        }
    }

    /// Fills a block whose rows are channels and whose lanes are pixels.
    fn pixels_block<T: Element>(
        &self,
        product: &Product,
        call: &Call<'_, T>,
        mut c: CBlock<'_, T>,
        copied: &mut InScratch<'_, T>,
    ) {
        let Product { cols, weights, weights_base, rows, .. } = product;
        let (channels, pixels) = (c.rows(), c.columns());
        let epilogue = Epilogue { channels: Side::Rows, ..call.epilogue };
        let epilogue = epilogue.of_channels(channels.range());
        let last = cols.taps.blocks() - 1;
        for chunk in 0..=last {
            let taps = cols.taps.block(chunk);
            let place = rows.place(channels.start) + weights_base + weights.block(chunk).base;
            let left = Left {
                data: &call.weight[place..],
                rows: rows.offsets(channels.len),
                k: weights.offsets(taps.len),
                weighed: channels.len,
            };
            let group = channels.start[2];
            let (data, first) =
                cols.part(call.kernels, call.image, group, [&pixels, &taps], copied);
            let k = cols.taps.offsets(taps.len);
            let right = Right { data, first, panel_pitch: None, k };
            let epilogue = epilogue.part(chunk == 0, chunk == last);
            multiply(&call.kernels.wide, &mut c, left, right, epilogue);
        }
    }

    /// Fills a block whose rows are pixels, and whose columns are a few channels: too few to fill a vector. Channels last, the
    /// taps that they are summed over lie side by side in both operands: they have the lanes, and each sum is a dot product.
    fn taps_block<T: Element>(
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
