//! Forward and backward_data: tiles of the image into points, a product for each point, and back into pixels.
//!
//! A unit of work makes a box of pixels of some channels. For one block of the summed channels after the other, its tiles
//! are transformed into V, and the products `M[p] += V[p] * U[p]` are made; then M is transformed into pixels.

use super::geometry::{Image, Place, Tiling, backward, form, forward};
use super::reader::{From, Pixels, Points, Reader};
use super::words::Words;
use crate::axis::Walk;
use crate::choose::schedule::Schedule;
use crate::element::Element;
use crate::engine::layer::{Layer, Weights};
use crate::error::Error;
use crate::gemm::grid::Grid;
use crate::gemm::target::{CBlock, Order, Target};
use crate::gemm::tiles::{self, Kind, MOST, Part, Products, Tile};
use crate::kernel::winograd::{Form, Stage};
use crate::kernel::{Epilogue, Kernel, Kernels};
use crate::scratch::{Need, aligned, room};
use crate::shape::{Layout, Shape};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// Elements of a line of the cache, of f32: rows of V begin at one.
pub(super) const LINE: usize = 16;

/// Bytes of V and M that a worker may have: with the strips, less than 2 MiB.
const POINTS: usize = 7 << 18;

/// The passes that write a plane.
#[derive(Debug, Clone)]
pub(crate) struct Plane {
    pub(super) form: Form,
    /// Taps are met last to first: backward_data.
    pub(super) flipped: bool,
    pub(super) groups: usize,
    /// Channels of a group that are summed.
    pub(super) terms: usize,
    /// Channels of a group that are made.
    pub(super) channels: usize,
    /// Lanes of a panel.
    pub(super) width: usize,
    pub(super) reader: Reader,
    pub(super) block: Sizes,
    phases: Vec<Target>,
}

/// What a unit of work does at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// The box of pixels.
    pixels: [usize; 4],
    /// Its tiles.
    tiles: usize,
    /// Channels that are made.
    pub(super) lanes: usize,
    /// Channels that are summed at once.
    pub(super) terms: usize,
}

/// A block of what is summed: a tap of the depth, and some channels.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) depth: usize,
    pub(super) terms: Range<usize>,
}

/// What all units of a call share.
struct Call<'a, T: 'static> {
    kernels: &'a Kernels<T>,
    image: &'a [T],
    /// Weights in points.
    weight: &'a [T],
    epilogue: Epilogue<'a, T>,
}

/// A unit's memory.
struct Memory<'a, T> {
    v: &'a mut [T],
    m: &'a mut [T],
    strip: &'a mut [T],
}

impl Plane {
    /// Forward.
    pub(crate) fn forward<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        schedule: Schedule,
    ) -> Result<Option<Self>, Error> {
        let walks = forward(shape);
        let images = [Image::input(shape), Image::output(shape)];
        Self::new(shape, kernels, schedule, (walks, false), images)
    }

    /// Backward_data.
    pub(crate) fn backward_data<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        schedule: Schedule,
    ) -> Result<Option<Self>, Error> {
        let walks = backward(shape);
        let images = [Image::output(shape), Image::input(shape)];
        Self::new(shape, kernels, schedule, (walks, true), images)
    }

    fn new<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        schedule: Schedule,
        (walks, flipped): ([Walk; 3], bool),
        [source, target]: [Image; 2],
    ) -> Result<Option<Self>, Error> {
        let (terms, channels) = match flipped {
            false => (shape.group_in(), shape.group_out()),
            true => (shape.group_out(), shape.group_in()),
        };
        let Some(kernel) = kernels.of_panels(schedule.width) else { return Ok(None) };
        let (Some(form), groups) = (form(shape, schedule.tile), shape.groups()) else {
            return Ok(None);
        };
        if !(1..=MOST).contains(&schedule.pixels) || !(1..=kernel.block).contains(&schedule.taps) {
            return Ok(None);
        }
        let tiling = Tiling::new(form, &walks[2]);
        let [d, h, w] = [0, 1, 2].map(|axis: usize| walks[axis].outputs);
        let step = walks[1].dilation.min(h);
        // The first phase has the most rows.
        let pixels = [shape.batch(), d, h.div_ceil(step), w];
        let most = (schedule.pixels, schedule.taps);
        let block = Sizes::new::<T>(form, kernel.lanes, most, &tiling, (pixels, [terms, channels]));
        let (layout, stage) = (shape.layout(), Stage::Input);
        let reader = Reader { form, stage, layout, image: source, walks, tiling };
        if block.tiles > schedule.pixels {
            return Ok(None);
        }
        // Weights in points are more than the weights that are known to fit.
        let lanes = channels.next_multiple_of(kernel.lanes) + LINE;
        let all = [groups, walks[0].taps, form.points(), terms + LINE, lanes];
        let bytes = all.iter().try_fold(size_of::<T>(), |all, &n| all.checked_mul(n));
        if bytes.is_none_or(|bytes| bytes > isize::MAX as usize) {
            return Ok(None);
        }
        let mut phases = room(step)?;
        for phase in 0..step {
            let sizes = [shape.batch(), d, (h - phase).div_ceil(step), w];
            let [z, y, x] = target.axes;
            let pitches = [target.image, z, y * step, x];
            let run = [0, 1, 2, 3].map(|axis: usize| block.pixels[axis].min(sizes[axis]));
            let rows = Grid::untabled(sizes, pitches, run);
            let lanes = Grid::untabled(
                [1, 1, groups, channels],
                [0, 0, channels * target.channel, target.channel],
                [1, 1, 1, block.lanes.min(channels)],
            );
            let order = Order::ColumnsOutside;
            phases.push(Target::new(rows, lanes, phase * y, target.channel, order));
        }
        Ok(Some(Self {
            form,
            flipped,
            groups,
            terms,
            channels,
            width: kernel.lanes,
            reader,
            block,
            phases,
        }))
    }

    /// The kernel with panels of its width.
    pub(super) fn kernel<'a, T>(&self, kernels: &'a Kernels<T>) -> &'a Kernel<T> {
        kernels.of_panels(self.width).expect("the kernels that it was made for")
    }

    /// What the order of the weights depends on, beside the layer.
    pub(crate) fn order(&self) -> [usize; 4] {
        let outputs = self.form.sizes().map(|sizes| sizes.outputs);
        [outputs[0].max(outputs[1]), self.width, self.block.lanes, self.block.terms]
    }

    /// The blocks of the sum, in order.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Block> + Clone + use<> {
        let (depths, terms, most) = (self.reader.walks[0].taps, self.terms, self.block.terms);
        (0..depths).flat_map(move |depth| {
            let starts = (0..terms).step_by(most);
            starts.map(move |start| Block { depth, terms: start..terms.min(start + most) })
        })
    }

    /// Elements between the rows of V, its points, and the points of M.
    fn pitches(&self, kernel_rows: usize, vector: usize) -> [usize; 3] {
        let row = self.block.terms.next_multiple_of(vector);
        let rows = self.block.tiles + kernel_rows;
        // A line more than that may be, so that points don't share the cache's sets.
        [row, self.block.tiles * row + 16, rows * self.block.lanes + 16]
    }

    /// Elements of the strip that lies between an image or output whose pixels are the lanes, and V or M.
    fn strip_len(&self) -> usize {
        self.reader.strip_len(self.block.pixels, self.width)
    }

    /// What the pass wants: weights in points for all, V, M and a strip for each worker.
    pub(crate) fn need<T: Element>(&self, kernels: &Kernels<T>) -> Need {
        let kernel = self.kernel(kernels);
        let [_, v, m] = self.pitches(kernel.row_step, kernel.vector);
        let points = self.form.points();
        let piece = points * (v + m) + self.strip_len() + 48;
        let units = self.phases.iter().map(Target::blocks).sum();
        let piece = piece.max(self.panel_len()).next_multiple_of(16);
        Need { units, shared: self.packed_len() + 16, piece }
    }

    /// One line: how the pass is computed.
    pub(crate) fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sizes { tiles, lanes, terms, .. } = self.block;
        let blocks = self.blocks().count();
        let words = Words { form: self.form, sum: terms.min(self.terms) + blocks + 1 };
        write!(f, "{words}; {tiles} tiles by {lanes} channels, summed {terms} at a time")
    }

    /// Runs the pass.
    pub(crate) fn run<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        image: &[T],
        weights: Weights<'_, T>,
        epilogue: Epilogue<'_, T>,
        destination: &mut [T],
        scratch: &mut [T],
    ) {
        let &Layer { kernels, parallelism, .. } = layer;
        let need = self.need(kernels);
        let (shared, scratch) = scratch.split_at_mut(need.shared);
        let weight = match weights {
            Weights::Raw(weight) => {
                let packed = &mut aligned(shared)[..self.packed_len()];
                self.pack(layer, weight, packed, scratch);
                &*packed
            }
            Weights::Packed(weight) => weight,
        };
        let call = Call { kernels, image, weight, epilogue };
        for (phase, target) in self.phases.iter().enumerate() {
            let need = Need { units: target.blocks(), ..need };
            parallelism.for_each(
                need,
                target.over(destination),
                scratch,
                |c, scratch, _: &mut ()| {
                    self.unit(&call, phase, c, scratch);
                },
            );
        }
    }

    /// Makes a block.
    fn unit<T: Element>(
        &self,
        call: &Call<'_, T>,
        phase: usize,
        mut c: CBlock<'_, T>,
        scratch: &mut [T],
    ) {
        let kernel = self.kernel(call.kernels);
        let [v_row, v_point, m_point] = self.pitches(kernel.row_step, kernel.vector);
        let count = self.form.points();
        let (v, rest) = aligned(scratch).split_at_mut(count * v_point);
        let (m, strip) = rest.split_at_mut(count * m_point);
        let memory = &mut Memory { v, m, strip };
        let lanes = c.columns();
        let (group, channel) = (lanes.start[2], lanes.start[3]);
        let computed = lanes.len.next_multiple_of(self.width);
        let mut weight = &call.weight[self.weights_start(group, channel)..];
        let tiles = self.reader.tiling.count(c.rows().sizes);
        let from = From { kernels: call.kernels, kernel, data: call.image };
        let pixels = Pixels { phase, start: c.rows().start, sizes: c.rows().sizes };
        for (index, block) in self.blocks().enumerate() {
            let terms = block.terms.len();
            let first = group * self.terms + block.terms.start;
            let mut points =
                Points { data: &mut *memory.v, pitch: [v_point, v_row], strip: &mut *memory.strip };
            self.reader.read(from, &pixels, first..first + terms, block.depth, &mut points);
            let of_panel = terms * self.width;
            let products = Products {
                count,
                rows: tiles,
                panels: computed / self.width,
                terms,
                a: [v_point, v_row, 1],
                b: [Self::point_len(computed, &block), of_panel, self.width],
                c: [m_point, computed],
            };
            tiles::multiply(kernel, &products, [&*memory.v, weight], memory.m, index > 0);
            weight = &weight[self.block_len(computed, &block)..];
        }
        self.output(call, &mut c, computed, memory);
    }

    /// Transforms points into the pixels of a block.
    fn output<T: Element>(
        &self,
        call: &Call<'_, T>,
        c: &mut CBlock<'_, T>,
        computed: usize,
        memory: &mut Memory<'_, T>,
    ) {
        let kernel = self.kernel(call.kernels);
        let [_, _, m_point] = self.pitches(kernel.row_step, kernel.vector);
        let (rows, lanes) = (c.rows(), c.columns());
        let [images, planes, _, width] = rows.sizes;
        let [row_sizes, column_sizes] = self.reader.tiling.sizes;
        let points = [row_sizes.points(), column_sizes.points()];
        let pitch = [points[1] * m_point, m_point];
        let bias = call.epilogue.bias.map(|bias| &bias[lanes.range()]);
        let kind = Kind { form: self.form, stage: Stage::Output, lanes: lanes.len, scale: T::ONE };
        for (n, d) in (0..images).flat_map(|n| (0..planes).map(move |d| (n, d))) {
            if self.reader.layout == Layout::ChannelsLast {
                let epilogue = Epilogue { bias, ..call.epilogue };
                for Place { index, at, count } in self.reader.tiling.tiles(rows.sizes, [n, d]) {
                    let tile = Tile::whole(index * computed, pitch, points);
                    let part = Part {
                        position: at,
                        count,
                        step: [1, self.reader.tiling.step],
                        first_lane: 0,
                    };
                    tiles::finish(call.kernels, kind, (&*memory.m, &tile), c, &part, &epilogue);
                }
                continue;
            }
            let epilogue = Epilogue { bias: None, ..call.epilogue };
            let row = self.reader.tiling.padded(width) * self.width;
            for chunk in (0..lanes.len).step_by(self.width) {
                let some = self.width.min(lanes.len - chunk);
                let kind = Kind { lanes: some, ..kind };
                let bias = bias.map(|bias| &bias[chunk..chunk + some]);
                for Place { index, at: [.., y, x], .. } in
                    self.reader.tiling.tiles(rows.sizes, [n, d])
                {
                    let tile = Tile::whole(index * computed + chunk, pitch, points);
                    let to = &mut memory.strip[y * row + x * self.width..];
                    let to_pitch = [row, self.reader.tiling.step * self.width];
                    tiles::transform(call.kernels, kind, (&*memory.m, &tile), (to, to_pitch), bias);
                }
                for y in 0..rows.sizes[2] {
                    let tile = (&memory.strip[y * row..], self.width);
                    let part = ([n, d, y, 0], width);
                    tiles::store(kernel, tile, c, part, (chunk, some), &epilogue);
                }
            }
        }
    }
}

impl Sizes {
    fn new<T>(
        form: Form,
        width: usize,
        (most, terms): (usize, usize),
        tiling: &Tiling,
        (pixels, [all_terms, channels]): ([usize; 4], [usize; 2]),
    ) -> Self {
        let even = |all: usize, most: usize| all.div_ceil(all.div_ceil(most));
        let terms = even(all_terms, terms).next_multiple_of(LINE).min(all_terms);
        let pixels = tiling.cut(pixels, most);
        let tiles = tiling.count(pixels);
        // Tiles times terms, and tiles times lanes: as many for images of any size, so that packed weights serve all.
        let budget = POINTS / size_of::<T>() / form.points();
        let lanes = (budget / (most + 2)).saturating_sub(terms.next_multiple_of(LINE)) / width;
        let lanes = even(channels.div_ceil(width), lanes.max(1)) * width;
        Self { pixels, tiles, lanes, terms }
    }
}
