//! A call: workers add block after block of pixels to their blocks of the weights' gradient.

use super::{Dots, OverPixels, Panels, Rows, Sums};
use crate::element::Element;
use crate::engine::implicit::pack::pack_channels;
use crate::engine::layer::Layer;
use crate::engine::partial_sums::in_parts;
use crate::gemm::classes::{self, Operands};
use crate::gemm::dot::{Operand, dots};
use crate::gemm::grid::Block;
use crate::gemm::target::CBlock;
use crate::gemm::{Left, Right, multiply, multiply_panels};
use crate::kernel::Epilogue;
use crate::pass::Write;
use crate::scratch::aligned;
use crate::view::cols::{Held, InScratch};

/// What all blocks of a call share.
struct Call<'a, T: 'static> {
    layer: &'a Layer<'a, T>,
    input: &'a [T],
    grad_output: &'a [T],
    write: Write,
}

impl OverPixels {
    /// Runs the product.
    pub(crate) fn run<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        [input, grad_output]: [&[T]; 2],
        grad_weight: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) {
        let (partials, scratch) = scratch.split_at_mut(self.partials());
        let len = grad_weight.len();
        in_parts(self.parts, partials, grad_weight, write, |sums, write| {
            let call = Call { layer, input, grad_output, write };
            let parts = sums.chunks_mut(len).enumerate();
            let blocks =
                parts.flat_map(|(part, sums)| self.target.over(sums).map(move |c| (part, c)));
            layer.parallelism.for_each(self.need(), blocks, scratch, |unit, scratch, held| {
                self.fill(&call, unit, scratch, held);
            });
        });
    }

    /// Sums one part into one block of C.
    fn fill<T: Element>(
        &self,
        call: &Call<'_, T>,
        (part, mut c): (usize, CBlock<'_, T>),
        scratch: &mut [T],
        held: &mut Held,
    ) {
        let blocks = self.cols.pixels.blocks();
        let first = part * blocks / self.parts;
        let (panels, data) = scratch.split_at_mut(self.panels_len());
        for index in first..(part + 1) * blocks / self.parts {
            let pixels = self.cols.pixels.block(index);
            let accumulate = index > first || call.write == Write::Accumulate;
            let epilogue = Epilogue::new(accumulate);
            let copy = &mut InScratch { data: &mut *data, held: &mut *held };
            match &self.sums {
                Sums::Panels(sums) => {
                    self.sum_panels(sums, call, &mut c, &pixels, epilogue, (&mut *panels, copy));
                }
                Sums::Rows(sums) => self.sum_rows(sums, call, &mut c, &pixels, epilogue, copy),
                Sums::Dots(sums) => self.sum_dots(sums, call, &mut c, &pixels, epilogue, copy),
            }
        }
    }

    /// Adds a block of pixels, of which the channels that have the lanes are packed first.
    fn sum_panels<T: Element>(
        &self,
        sums: &Panels,
        call: &Call<'_, T>,
        c: &mut CBlock<'_, T>,
        pixels: &Block,
        epilogue: Epilogue<'_, T>,
        (panels, copy): (&mut [T], &mut InScratch<'_, T>),
    ) {
        let &Panels { ref in_panel, width, swapped, ref classes, .. } = sums;
        let &Layer { shape, kernels, .. } = call.layer;
        let (taps, lanes) = (c.rows(), c.columns());
        let (view, other, all) = match swapped {
            true => (call.grad_output, call.input, shape.in_channels()),
            false => (call.input, call.grad_output, shape.out_channels()),
        };
        let kernel = kernels.of_panels(width).unwrap_or(&kernels.tall);
        let panels = aligned(panels);
        let panel_pitch = pixels.len * width;
        for (panel, to) in (0..lanes.len).step_by(width).zip(panels.chunks_mut(panel_pitch)) {
            let channels = lanes.first + panel..lanes.first + lanes.len.min(panel + width);
            pack_channels(shape, kernel, (other, all), pixels, channels, to);
        }
        let (image, first) = self.cols.part(kernels, view, lanes.start[2], [pixels, &taps], copy);
        if let Some(classes) = classes {
            let rows = classes.channels(taps.len);
            for (narrower, lanes) in kernels.shared(kernel, lanes.len) {
                if !lanes.is_empty() {
                    let panels = &panels[lanes.start / width * panel_pitch..];
                    let operands = Operands { data: image, rows, panels, panel_pitch };
                    let (each, mut c) = (classes.each(pixels, first), c.some_columns(lanes));
                    classes::multiply(narrower, &mut c, operands, each, epilogue.accumulate);
                }
            }
            return;
        }
        let left = Left {
            data: &image[first..],
            rows: self.cols.taps.offsets(taps.len),
            k: self.cols.pixels.offsets(pixels.len),
            weighed: taps.len,
        };
        let k = in_panel.offsets(pixels.len);
        let right = Right { data: &*panels, first: 0, panel_pitch: Some(panel_pitch), k };
        multiply_panels(kernels, kernel, c, left, right, epilogue);
    }

    /// Adds a block of pixels to rows of taps as they lie.
    fn sum_rows<T: Element>(
        &self,
        sums: &Rows,
        call: &Call<'_, T>,
        c: &mut CBlock<'_, T>,
        pixels: &Block,
        epilogue: Epilogue<'_, T>,
        copy: &mut InScratch<'_, T>,
    ) {
        let Rows { channels, of_output, steps } = sums;
        let kernels = call.layer.kernels;
        let (outputs, taps) = (c.rows(), c.columns());
        let place = channels.place(outputs.start) + of_output.place(pixels.start);
        let left = Left {
            data: &call.grad_output[place..],
            rows: channels.offsets(outputs.len),
            k: of_output.offsets(pixels.len),
            weighed: outputs.len,
        };
        let group = outputs.start[2];
        let (data, first) = self.cols.part(kernels, call.input, group, [pixels, &taps], copy);
        let k = self.cols.pixels.offsets(pixels.len);
        let ([of_view, of_weights], len) = steps.of(&taps);
        for (&from, &to) in of_view.all().iter().zip(of_weights.all()) {
            let right = Right { data, first: first + from as usize, panel_pitch: None, k };
            let mut row = c.some_columns(to as usize..to as usize + len);
            multiply(&kernels.wide, &mut row, left, right, epilogue);
        }
    }

    /// Adds a block of pixels, row by row, to dot products.
    fn sum_dots<T: Element>(
        &self,
        sums: &Dots,
        call: &Call<'_, T>,
        c: &mut CBlock<'_, T>,
        pixels: &Block,
        epilogue: Epilogue<'_, T>,
        copy: &mut InScratch<'_, T>,
    ) {
        let &Dots { ref channels, ref of_output, ref of_view, tile } = sums;
        let kernels = call.layer.kernels;
        let (outputs, taps) = (c.rows(), c.columns());
        let [n, d, h, w] = pixels.start;
        let len = pixels.sizes[3];
        let steps = pixels.len / len;
        let place = channels.place(outputs.start) + of_output.place([n, d, h, 0]) + w;
        let left = Operand {
            data: &call.grad_output[place..],
            rows: channels.offsets(outputs.len),
            steps: of_output.offsets(steps),
        };
        let group = outputs.start[2];
        let (image, first) = self.cols.part(kernels, call.input, group, [pixels, &taps], copy);
        let right = Operand {
            data: &image[first..],
            rows: self.cols.taps.offsets(taps.len),
            steps: of_view.offsets(steps),
        };
        dots(kernels, c, [left, right], len, tile, epilogue);
    }
}
