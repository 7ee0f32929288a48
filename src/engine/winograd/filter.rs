//! Backward_weight: tiles of the input and of the gradient of the output into points, a product for each point that is
//! summed over the tiles, and back into taps.
//!
//! A unit of work makes the weights of some output channels (rows) and some input channels (lanes). Box after box of
//! pixels is transformed into V and D, and `dU[p] += D[p]ᵀ * V[p]`.

use super::geometry::{Image, Tiling, form, forward};
use super::reader::{From, Pixels, Points, Reader};
use super::words::Words;
use crate::axis::Walk;
use crate::choose::schedule::Schedule;
use crate::element::Element;
use crate::engine::layer::Layer;
use crate::engine::partial_sums::{self, PARTIALS, in_parts};
use crate::error::Error;
use crate::gemm::grid::Grid;
use crate::gemm::target::{CBlock, Order, Target};
use crate::gemm::tiles::{self, Kind, MOST, Products, Tile};
use crate::kernel::winograd::{Form, Stage};
use crate::kernel::{Epilogue, Kernel, Kernels};
use crate::pass::Write;
use crate::scratch::{Need, aligned, room};
use crate::shape::{Layout, Shape};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// Bytes of V, D and dU that a worker may have: with a strip, less than 2 MiB.
const POINTS: usize = 7 << 18;

/// Units of work that a layer should have, where it can.
const UNITS: usize = 8;

/// The pass that writes the weight.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    form: Form,
    /// Lanes of a panel.
    width: usize,
    /// What V is read from, and D.
    input: Reader,
    output: Reader,
    /// Boxes of pixels, for each phase of the rows' dilation.
    boxes: Vec<Grid>,
    /// Tiles of the largest box.
    tiles: usize,
    /// Output channels and input channels of a unit.
    block: [usize; 2],
    /// Weights, for each tap of the depth.
    targets: Vec<Target>,
    /// Parts of the sum over the boxes that are summed by themselves.
    parts: usize,
}

/// Elements of a unit's memory.
struct Sizes {
    /// Between the points of V, D and dU.
    points: [usize; 3],
    /// Between the rows of V, D and dU.
    rows: [usize; 3],
    strip: usize,
}

impl Filter {
    /// None if the schedule isn't possible for this layer.
    pub(crate) fn new<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        schedule: Schedule,
    ) -> Result<Option<Self>, Error> {
        let (Some(kernel), Some(form)) =
            (kernels.of_panels(schedule.width), form(shape, schedule.tile))
        else {
            return Ok(None);
        };
        let most_rows = schedule.taps;
        if !(1..=kernel.block).contains(&schedule.pixels) || !(1..=MOST).contains(&most_rows) {
            return Ok(None);
        }
        let (layout, walks) = (shape.layout(), forward(shape));
        let tiling = Tiling::new(form, &walks[2]);
        let image = Image::input(shape);
        let input = Reader { form, stage: Stage::Input, layout, image, walks, tiling };
        // Each pixel of the output is read where it is.
        let walks = walks.map(|walk| Walk { source: walk.outputs, taps: 1, origin: 0, ..walk });
        let image = Image::output(shape);
        let output = Reader { form, stage: Stage::GradOutput, layout, image, walks, tiling };

        let [d, h, w] = [0, 1, 2].map(|axis: usize| walks[axis].outputs);
        let step = walks[1].dilation.min(h);
        let pixels = tiling.cut([shape.batch(), d, h.div_ceil(step), w], schedule.pixels);
        let tiles = tiling.count(pixels);
        if tiles > schedule.pixels {
            return Ok(None);
        }
        let mut boxes = room(step)?;
        for phase in 0..step {
            let sizes = [shape.batch(), d, (h - phase).div_ceil(step), w];
            let run = [0, 1, 2, 3].map(|axis: usize| pixels[axis].min(sizes[axis]));
            boxes.push(Grid::untabled(sizes, [0; 4], run));
        }

        let even = |all: usize, most: usize| all.div_ceil(all.div_ceil(most));
        let budget = POINTS / size_of::<T>() / form.points();
        let (rows, lanes) = (shape.group_out(), shape.group_in());
        let outputs = even(rows, most_rows);
        let left = (budget.saturating_sub(tiles * outputs)) / (tiles + outputs) / kernel.lanes;
        let block = [outputs, even(lanes.div_ceil(kernel.lanes), left.max(1)) * kernel.lanes];
        let targets = targets(shape, form, block)?;
        let units: usize = targets.iter().map(Target::blocks).sum();
        let all: usize = boxes.iter().map(Grid::blocks).sum();
        let fits = PARTIALS / shape.weight_len();
        let parts = UNITS.div_ceil(units).min(all).min(fits).max(1);
        let width = kernel.lanes;
        Ok(Some(Self { form, width, input, output, boxes, tiles, block, targets, parts }))
    }

    /// The kernel with panels of its width.
    fn kernel<'a, T>(&self, kernels: &'a Kernels<T>) -> &'a Kernel<T> {
        kernels.of_panels(self.width).expect("the kernels that it was made for")
    }

    fn sizes<T: Element>(&self, kernels: &Kernels<T>) -> Sizes {
        let kernel = self.kernel(kernels);
        let ([outputs, inputs], tiles) = (self.block, self.tiles);
        let (v, d) = (inputs, outputs.next_multiple_of(kernel.vector));
        let rows = outputs.next_multiple_of(kernel.row_step);
        let pixels = self.boxes.iter().map(Grid::block_sizes).next().unwrap_or([1; 4]);
        let strip = self.input.strip_len(pixels, self.width);
        let strip = strip
            .max(self.form.sizes().map(|size| size.taps).iter().product::<usize>() * self.width);
        // A line more, so that points don't share the cache's sets.
        Sizes { points: [tiles * v + 16, tiles * d + 16, rows * v + 16], rows: [v, d, v], strip }
    }

    /// What the pass wants: partial sums for all; V, D, dU and a strip for each worker.
    pub(crate) fn need<T: Element>(&self, kernels: &Kernels<T>) -> Need {
        let Sizes { points, strip, .. } = self.sizes(kernels);
        let piece = self.form.points() * points.iter().sum::<usize>() + strip + 16;
        let units = self.targets.iter().map(Target::blocks).sum::<usize>() * self.parts;
        Need { units, shared: self.partials(), piece: piece.next_multiple_of(16) }
    }

    /// Elements of partial sums.
    fn partials(&self) -> usize {
        let of_depth = |target: &Target| target.rows().len() * target.columns().len();
        partial_sums::elements(self.parts, self.targets.iter().map(of_depth).sum())
    }

    /// One line: how the pass is computed.
    pub(crate) fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tiles, [outputs, inputs]) = (self.tiles, self.block);
        let boxes = self.boxes.iter().map(Grid::blocks).sum::<usize>().div_ceil(self.parts);
        let words = Words { form: self.form, sum: tiles + boxes + 4 };
        write!(f, "{words}; {tiles} tiles by {outputs} by {inputs} channels")
    }

    /// Runs the pass.
    pub(crate) fn run<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        sources: [&[T]; 2],
        grad_weight: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) {
        let need = self.need(layer.kernels);
        let (partials, scratch) = scratch.split_at_mut(need.shared);
        let len = grad_weight.len();
        in_parts(self.parts, partials, grad_weight, write, |sums, write| {
            let accumulate = write == Write::Accumulate;
            for (depth, target) in self.targets.iter().enumerate() {
                let need = Need { units: target.blocks() * self.parts, ..need };
                let parts = sums.chunks_exact_mut(len).enumerate();
                let blocks =
                    parts.flat_map(|(part, sums)| target.over(sums).map(move |c| (part, c)));
                let work = |(part, c), scratch: &mut [T], _: &mut ()| {
                    let unit = Unit { depth, part: self.part(part), accumulate };
                    self.unit(layer, sources, unit, c, scratch);
                };
                layer.parallelism.for_each(need, blocks, scratch, work);
            }
        });
    }

    /// The boxes of a part.
    fn part(&self, part: usize) -> Range<usize> {
        let all: usize = self.boxes.iter().map(Grid::blocks).sum();
        part * all / self.parts..(part + 1) * all / self.parts
    }

    /// Box number `index`.
    fn pixels(&self, mut index: usize) -> Pixels {
        let mut phase = 0;
        while index >= self.boxes[phase].blocks() {
            index -= self.boxes[phase].blocks();
            phase += 1;
        }
        let run = self.boxes[phase].block(index);
        Pixels { phase, start: run.start, sizes: run.sizes }
    }

    /// Makes a block: all its boxes into dU, and that into weights.
    fn unit<T: Element>(
        &self,
        &Layer { kernels, .. }: &Layer<'_, T>,
        [input, grad_output]: [&[T]; 2],
        unit: Unit,
        mut c: CBlock<'_, T>,
        scratch: &mut [T],
    ) {
        let (kernel, count) = (self.kernel(kernels), self.form.points());
        let Sizes { points, rows, .. } = self.sizes(kernels);
        let (v, rest) = aligned(scratch).split_at_mut(count * points[0]);
        let (d, rest) = rest.split_at_mut(count * points[1]);
        let (u, strip) = rest.split_at_mut(count * points[2]);
        let (of_rows, lanes) = (c.rows(), c.columns());
        let [group, first, ..] = of_rows.start;
        let outputs = of_rows.sizes[1];
        let of_group = |channels: usize| group * channels;
        let first_output = of_group(self.targets[0].rows().sizes()[1]) + first;
        let first_input = of_group(self.targets[0].columns().sizes()[3]) + lanes.start[3];
        for (number, index) in unit.part.clone().enumerate() {
            let pixels = self.pixels(index);
            let from = From { kernels, kernel, data: input };
            let to = &mut Points { data: &mut *v, pitch: [points[0], rows[0]], strip: &mut *strip };
            self.input.read(from, &pixels, first_input..first_input + lanes.len, unit.depth, to);
            let from = From { kernels, kernel, data: grad_output };
            let to = &mut Points { data: &mut *d, pitch: [points[1], rows[1]], strip: &mut *strip };
            self.output.read(from, &pixels, first_output..first_output + outputs, 0, to);
            let products = Products {
                count,
                rows: outputs,
                panels: lanes.len.div_ceil(self.width),
                terms: self.input.tiling.count(pixels.sizes),
                a: [points[1], 1, rows[1]],
                b: [points[0], self.width, rows[0]],
                c: [points[2], rows[2]],
            };
            tiles::multiply(kernel, &products, [&*d, &*v], u, number > 0);
        }
        self.finish(kernels, &mut c, (u, [points[2], rows[2]]), strip, unit.accumulate);
    }

    /// Transforms dU into the weights of a block.
    fn finish<T: Element>(
        &self,
        kernels: &Kernels<T>,
        c: &mut CBlock<'_, T>,
        (u, [point, row]): (&[T], [usize; 2]),
        strip: &mut [T],
        accumulate: bool,
    ) {
        let (kernel, width) = (self.kernel(kernels), self.width);
        let [rows, columns] = self.form.sizes();
        let points = [rows.points(), columns.points()];
        let (outputs, lanes) = (c.rows().sizes[1], c.columns().len);
        let scale = T::from_f64(self.form.scale());
        let epilogue = Epilogue::new(accumulate);
        let taps = rows.taps * columns.taps;
        for output in 0..outputs {
            for first in (0..lanes).step_by(width) {
                let lanes = width.min(lanes - first);
                let kind = Kind { form: self.form, stage: Stage::GradWeight, lanes, scale };
                let tile = Tile::whole(output * row + first, [points[1] * point, point], points);
                let to = (&mut *strip, [columns.taps * width, width]);
                tiles::transform(kernels, kind, (u, &tile), to, None);
                let part = ([0, output, 0, 0], taps);
                tiles::store(kernel, (&*strip, width), c, part, (first, lanes), &epilogue);
            }
        }
    }
}

/// What a unit of work makes.
struct Unit {
    depth: usize,
    /// Its boxes.
    part: Range<usize>,
    accumulate: bool,
}

/// The weights of each tap of the depth: rows are output channels and taps, lanes are input channels.
fn targets(shape: &Shape, form: Form, [outputs, inputs]: [usize; 2]) -> Result<Vec<Target>, Error> {
    let depths = shape.axes3()[0].kernel;
    let taps: usize = form.sizes().map(|size| size.taps).iter().product();
    let (channels, count) = (shape.group_in(), shape.group_out());
    let [tap, channel, depth] = match shape.layout() {
        Layout::ChannelsFirst => [1, depths * taps, taps],
        Layout::ChannelsLast => [channels, 1, taps * channels],
    };
    let len = shape.patch_len();
    let mut targets = room(depths)?;
    for index in 0..depths {
        let rows = Grid::untabled(
            [shape.groups(), count, 1, taps],
            [count * len, len, 0, tap],
            [1, outputs, 1, taps],
        );
        let lanes = Grid::untabled(
            [1, 1, 1, channels],
            [0, 0, 0, channel],
            [1, 1, 1, inputs.min(channels)],
        );
        targets.push(Target::new(rows, lanes, index * depth, channel, Order::RowsOutside));
    }
    Ok(targets)
}
