//! What a schedule costs, in cycles of one thread: counted from sizes alone, in units that the machine's row holds.
//!
//! Each engine has one function. What it adds up is the same everywhere: vectors of products, vectors that are loaded,
//! copied, packed or stored beside them, and what a tile takes to begin and to end.

use super::candidates::Question;
use super::machine::Machine;
use super::schedule::{Corner, Engine, Padding, Schedule, Staging};
use crate::axis::Walk;
use crate::element::{Element, ceil};
use crate::engine::steps::side_by_side;
use crate::engine::winograd::form;
use crate::gemm::SET_CONFLICT;
use crate::gemm::dot::Tile;
use crate::kernel::Kernel;
use crate::pass::Pass;
use crate::shape::Layout;
use crate::view::source::{Beside, Source};

/// Products that a processor begins before the first of them is done.
const IN_FLIGHT: f64 = 8.0;

/// Rows of so many tiles that more of them change nothing for each.
const MANY: usize = 4096;

/// A question with what its costs are made of.
pub(crate) struct Costs<'a, T: 'static> {
    q: &'a Question<'a, T>,
    machine: &'a Machine,
    /// Lanes of a vector.
    v: f64,
    groups: f64,
    /// Channels of a group that are made, or of the gradient of the output.
    n: f64,
    first: bool,
}

/// The sizes of one product.
#[derive(Clone, Copy)]
struct Sizes {
    /// Pixels of a plane, and planes of all images.
    plane: f64,
    planes: f64,
    /// Taps.
    k: f64,
}

impl Sizes {
    fn of(source: &Source) -> Self {
        let [d, h, w] = source.walks.map(|walk| walk.outputs as f64);
        let taps = source.walks.iter().map(|walk| walk.taps as f64).product::<f64>();
        Self { plane: h * w, planes: source.batch as f64 * d, k: taps * source.channels as f64 }
    }

    fn pixels(self) -> f64 {
        self.plane * self.planes
    }
}

impl<'a, T: Element> Costs<'a, T> {
    pub(crate) fn new(q: &'a Question<'a, T>, machine: &'a Machine) -> Self {
        Self {
            q,
            machine,
            v: q.kernels.wide.vector as f64,
            groups: q.shape.groups() as f64,
            n: q.channels as f64,
            first: q.shape.layout() == Layout::ChannelsFirst,
        }
    }

    /// What the pass costs by this schedule.
    pub(crate) fn cycles(&self, s: &Schedule) -> f64 {
        let backward_weight = self.q.pass == Pass::BackwardWeight;
        match (s.engine, s.lanes) {
            (Engine::Explicit, _) => f64::INFINITY,
            (Engine::Direct, Corner::Channels) => self.direct_last(),
            (Engine::Direct, _) if s.other == Staging::InPlace => self.depthwise(),
            (Engine::Direct, _) => self.direct(s),
            (Engine::Implicit, Corner::Taps) if s.cols == Staging::Written => self.written(),
            (Engine::Implicit, Corner::Taps) if s.cols == Staging::PackedPerBlock => {
                self.swapped(s)
            }
            (Engine::Implicit, Corner::Channels) if backward_weight => self.panels(s),
            (Engine::Implicit, Corner::Pixels) if backward_weight => self.dot_rows(s),
            (Engine::Implicit, Corner::Taps) if backward_weight => self.rows_of_taps(s),
            (Engine::Implicit, Corner::Channels) => self.channels(s),
            (Engine::Implicit, Corner::Pixels) => self.pixels(s),
            (Engine::Implicit, Corner::Taps) => self.dots(s),
            (Engine::Winograd, _) => form(&self.q.shape, s.tile)
                .map_or(f64::INFINITY, |form| super::winograd::cycles(self.q, form)),
        }
    }

    /// Whether this product reads the image as it lies.
    fn is_in_place(&self, s: &Schedule, source: &Source, beside: Beside) -> bool {
        let inside = source.walks.iter().all(Walk::is_inside) || s.padding == Padding::Skipped;
        let beside = match beside {
            Beside::None => true,
            Beside::Rows => source.walks[2].stride == 1,
            Beside::Planes => source.is_side_by_side(),
        };
        s.cols == Staging::InPlace && inside && beside
    }

    /// Copying what all blocks of an image's group read, `pixels` of a plane at a time, for all images and groups.
    fn copying(&self, s: &Schedule, source: &Source, beside: Beside) -> f64 {
        if self.is_in_place(s, source, beside) {
            return 0.0;
        }
        let m = self.machine;
        let [rows, vectors, gaps] = source.copied(beside, self.q.kernels.wide.vector);
        let images = source.batch as f64 * self.groups;
        // Blocks of fewer rows copy those twice in which they overlap.
        let [_, h, w] = &source.walks;
        let of_row = source.channels as f64 * w.outputs as f64 * w.stride as f64;
        let most = if s.touched == 0 { f64::INFINITY } else { s.touched as f64 };
        let rows_of_block = (most / of_row / h.stride as f64).min(h.outputs as f64);
        let overlap = (h.taps - 1) as f64 * h.dilation as f64 / h.stride as f64;
        let again = (1.0 + overlap / rows_of_block.max(1.0)) / (1.0 + overlap / h.outputs as f64);
        images * again * (rows * m.copied_row + vectors * m.copied_vector + gaps * m.copied_gap)
    }

    /// What the reads of an image as it lies take more where they meet in a few sets of the cache.
    fn conflicts(&self, s: &Schedule, source: &Source) -> f64 {
        let meet = source.has_set_conflicts() && self.is_in_place(s, source, Beside::None);
        if meet { self.machine.conflict } else { 1.0 }
    }

    /// Vectors of products of all lanes of panels, by their costs: `n` lanes in panels of this kernel.
    fn lanes(&self, kernel: &Kernel<T>, n: usize, side_by_side: bool) -> f64 {
        let m = self.machine;
        let cost = |kernel: &Kernel<T>| match kernel.lanes == kernel.vector {
            false => m.product,
            true if side_by_side => m.product_of_row,
            true => m.product_of_one,
        };
        let of = |(kernel, lanes): (&Kernel<T>, core::ops::Range<usize>)| {
            let lanes = lanes.len().next_multiple_of(kernel.lanes);
            cost(kernel) * (lanes / kernel.vector) as f64
        };
        self.q.kernels.shared(kernel, n).into_iter().map(of).sum()
    }

    /// The rows that so many take in tiles: a low tile waits for its own sums.
    fn rows(&self, kernel: &Kernel<T>, rows: f64) -> f64 {
        let tiles = ceil(rows / kernel.rows as f64);
        let low = IN_FLIGHT / (kernel.lanes / kernel.vector) as f64;
        rows.max(tiles * low)
    }

    /// What the tiles of a product begin and end with.
    fn tiles(&self, kernel: &Kernel<T>, rows: f64, lanes: f64, k: f64) -> f64 {
        let tiles = ceil(rows / kernel.rows as f64) * ceil(lanes / kernel.lanes as f64);
        tiles * ceil(k / kernel.block as f64) * self.machine.tile
    }

    /// Packing so many vectors of the weights, which lie so many elements apart.
    fn packing(&self, vectors: f64, pitch: usize, straight: bool) -> f64 {
        let m = self.machine;
        let each = if straight { m.packed_straight } else { m.packed };
        let meet = pitch.is_multiple_of(SET_CONFLICT) && !straight;
        vectors * if meet { each * m.packed_conflict } else { each }
    }

    /// A stored vector: of pixels or channels as they lie, or across.
    fn stored(&self, across: bool) -> f64 {
        let m = self.machine;
        let scattered = self.q.pass == Pass::BackwardData && self.q.shape.axes3()[2].stride > 1;
        match (across, scattered && self.first) {
            (false, false) => m.stored,
            (true, false) => m.stored_across,
            (false, true) => m.stored_apart,
            (true, true) => m.stored_across + m.stored_apart / 2.0,
        }
    }

    /// A vector stored to rows that lie a plane of the destination apart, so many of them at a time: planes that meet in a
    /// few sets of the cache are written line by line.
    fn stored_in_planes(&self, rows: f64) -> f64 {
        let (m, shape) = (self.machine, &self.q.shape);
        let plane = match self.q.pass {
            Pass::BackwardData => shape.input_pixels(),
            _ => shape.output_pixels(),
        };
        let meet = rows > 1.0 && plane.is_multiple_of(SET_CONFLICT);
        let scattered = self.q.pass == Pass::BackwardData && shape.axes3()[2].stride > 1;
        let each = if scattered { m.stored_apart } else { m.stored_of_pixels };
        each + if meet { m.stored_conflict } else { 0.0 }
    }

    /// What the tiles of a product begin and end with whose lanes are pixels or taps as they lie.
    fn tiles_in_place(&self, rows: f64, lanes: f64, k: f64) -> f64 {
        let kernel = &self.q.kernels.wide;
        let tiles = ceil(rows / kernel.rows as f64) * ceil(lanes / kernel.lanes as f64);
        tiles * ceil(k / kernel.block as f64) * self.machine.tile_of_pixels
    }

    /// A vector of weights that comes from beyond the L2 cache, or from it.
    fn weight_read(&self, elements: f64) -> f64 {
        let m = self.machine;
        let bytes = elements * size_of::<T>() as f64;
        if bytes > Machine::l2() as f64 / 2.0 { m.far } else { m.near }
    }

    /// Forward and backward_data, lanes are channels.
    fn channels(&self, s: &Schedule) -> f64 {
        let q = self.q;
        let Some(kernel) = q.kernels.of_panels(s.width) else { return f64::INFINITY };
        let row = q.sources.first().map_or(1, |source| source.walks[2].outputs);
        let neighbours = kernel.neighbours.iter().any(|[len, _]| row.is_multiple_of(*len));
        let lanes = self.lanes(kernel, q.channels, self.first && neighbours);
        let vectors = ceil(self.n / self.v);
        let stored = self.stored(self.first);
        let mut cycles = 0.0;
        let mut terms = 0.0;
        for (source, &cut) in q.sources.iter().zip(&q.cuts) {
            let of = Sizes::of(source);
            let pixels = of.pixels();
            let at_once = pixels.min(s.pixels as f64);
            let kept = if s.padding == Padding::Skipped { cut } else { 1.0 };
            let blocks = pixels / at_once;
            let rows = blocks * self.rows(kernel, at_once);
            let weights = of.k * self.n;
            cycles += rows * of.k * kept * lanes * self.conflicts(s, source)
                + blocks * self.tiles(kernel, at_once, self.n, of.k)
                + pixels * vectors * stored
                + blocks * weights / self.v * self.weight_read(weights * self.groups);
            cycles += self.copying(s, source, Beside::None) / self.groups;
            terms += of.k;
        }
        let padded = self.n.max(ceil(self.n / kernel.vector as f64) * kernel.vector as f64);
        let straight = match q.pass {
            Pass::BackwardData => !self.first || q.shape.kernel_taps() == 1,
            _ => false,
        };
        let packing = self.packing(terms * padded / self.v, q.shape.patch_len(), straight);
        let own = if s.other == Staging::PackedPerBlock { self.machine.own } else { 1.0 };
        self.groups * (cycles + packing * own)
    }

    /// Forward and backward_data, lanes are pixels.
    fn pixels(&self, s: &Schedule) -> f64 {
        let q = self.q;
        let (m, kernel) = (self.machine, &q.kernels.wide);
        let rows = self.rows(kernel, self.n);
        let mut cycles = 0.0;
        let mut terms = 0.0;
        for source in &q.sources {
            let of = Sizes::of(source);
            let vectors = of.planes * ceil(of.plane / self.v);
            let product =
                if q.channels == 1 { m.product_of_pixels * 1.25 } else { m.product_of_pixels };
            cycles += vectors * of.k * (rows * product + m.panel)
                + of.planes * self.tiles_in_place(self.n, of.plane, of.k)
                + vectors * self.n * self.stored_in_planes(self.n);
            cycles += self.copying(s, source, Beside::Planes) / self.groups;
            terms += of.k;
        }
        let turned = if q.pass == Pass::BackwardData { self.turning(terms * self.n) } else { 0.0 };
        self.groups * (cycles + turned)
    }

    /// Writing the weights of backward_data element by element in another order.
    fn turning(&self, elements: f64) -> f64 {
        let meet = self.q.shape.patch_len().is_multiple_of(SET_CONFLICT);
        elements * self.machine.moved * if meet { self.machine.packed_conflict } else { 1.0 }
    }

    /// Forward and backward_data in dot products along the taps that lie side by side.
    fn dots(&self, s: &Schedule) -> f64 {
        let (m, q) = (self.machine, self.q);
        let mut cycles = 0.0;
        let mut terms = 0.0;
        for source in &q.sources {
            let of = Sizes::of(source);
            let taps = source.walks.each_ref().map(|walk| walk.taps);
            let [len, steps] = side_by_side(taps, source.walks[2].dilation, source.channels);
            let vectors = steps as f64 * ceil(len as f64 / self.v);
            let each = Tile::cost(q.kernels.dots.columns, s.pixels, q.channels.min(MANY))
                * m.product_of_dot;
            let sum = vectors * each * self.conflicts(s, source) + m.reduced;
            cycles += of.pixels() * self.n * sum;
            cycles += self.copying(s, source, Beside::None) / self.groups;
            terms += of.k;
        }
        let turned = if q.pass == Pass::BackwardData { self.turning(terms * self.n) } else { 0.0 };
        self.groups * (cycles + turned)
    }

    /// Few pixels: cols, or its gradient, is written down.
    fn written(&self) -> f64 {
        let (m, q) = (self.machine, self.q);
        let shape = &q.shape;
        let pixels = shape.batch() as f64 * shape.output_pixels() as f64;
        let (k, n) = (shape.patch_len() as f64, shape.group_out() as f64);
        let whole = shape
            .axes3()
            .iter()
            .all(|axis| axis.output == 1 && axis.kernel == axis.input && axis.pad_begin == 0);
        let moved = if whole { 0.0 } else { pixels * k * m.moved };
        let vectors = ceil(k / self.v);
        let weights = n * vectors * self.weight_read(n * k * self.groups);
        let wide = &q.kernels.wide;
        self.groups
            * (moved
                + weights
                + match q.pass {
                    Pass::Forward => {
                        let columns = q.kernels.dots.columns;
                        let each =
                            Tile::cost(columns, shape.group_out().min(MANY), pixels as usize);
                        pixels * n * (vectors * each * m.product_of_dot + m.reduced)
                    }
                    Pass::BackwardData => {
                        self.rows(wide, pixels) * vectors * n * (m.product_of_pixels)
                            + self.tiles_in_place(pixels, k, n)
                            + pixels * vectors * m.stored
                    }
                    Pass::BackwardWeight => {
                        self.rows(wide, n) * vectors * pixels * m.product_of_pixels
                            + self.tiles_in_place(n, k, pixels)
                            + n * vectors * m.stored
                    }
                })
    }

    /// Blocks of pixels of backward_weight.
    fn blocks(&self, s: &Schedule, of: Sizes, source: &Source) -> f64 {
        let pixels = of.pixels();
        let touched = if s.touched == 0 { f64::INFINITY } else { s.touched as f64 };
        let [_, h, w] = &source.walks;
        let steps = h.stride as f64 * w.stride as f64;
        let taps = h.taps as f64 * w.taps as f64;
        let most = touched / (source.channels as f64 * steps.min(taps));
        ceil(pixels / (s.pixels as f64).min(most).max(1.0))
    }

    /// Backward_weight: rows are taps, lanes are channels of the gradient of the output.
    fn panels(&self, s: &Schedule) -> f64 {
        let q = self.q;
        let Some(kernel) = q.kernels.of_panels(s.width) else { return f64::INFINITY };
        let Some(source) = q.sources.first() else { return f64::INFINITY };
        let of = Sizes::of(source);
        let skipped = s.padding == Padding::Skipped;
        let neighbours =
            |taps: usize| kernel.neighbours.iter().any(|[len, _]| taps.is_multiple_of(*len));
        let beside = source.walks[2].dilation == 1 && neighbours(source.walks[2].taps);
        let lanes = self.lanes(kernel, q.channels, !skipped && (beside || !self.first));
        let channels = source.channels as f64;
        let (rows, kept) = match skipped {
            true => {
                let met = source.walks.iter().map(Walk::met).product::<f64>();
                (of.k / channels * self.rows(kernel, channels), met)
            }
            false => (self.rows(kernel, of.k), 1.0),
        };
        let blocks = self.blocks(s, of, source);
        let pixels = of.pixels();
        let vectors = ceil(self.n / self.v);
        let again = ceil(of.k / s.taps as f64);
        let tiles = match skipped {
            true => of.k / channels * self.tiles(kernel, channels, self.n, pixels / blocks),
            false => self.tiles(kernel, of.k, self.n, pixels / blocks),
        };
        let packing = self.packing(pixels * vectors, q.shape.output_pixels(), !self.first);
        let blocks = ceil(self.n / (8 * kernel.lanes) as f64);
        self.groups
            * (rows * pixels * kept * lanes * self.conflicts(s, source)
                + blocks * tiles
                + blocks * of.k * vectors * self.machine.stored_across
                + packing * again)
            + blocks * self.copying(s, source, Beside::None)
    }

    /// Backward_weight of pointwise layers: rows are output channels, lanes are channels of the image.
    fn swapped(&self, s: &Schedule) -> f64 {
        let q = self.q;
        let Some(kernel) = q.kernels.of_panels(s.width) else { return f64::INFINITY };
        let Some(source) = q.sources.first() else { return f64::INFINITY };
        let errors = Source::grad_output(&q.shape, source.walks);
        let of = Sizes::of(&errors);
        let inputs = q.shape.group_in();
        let lanes = self.lanes(kernel, inputs, false);
        let (pixels, vectors) = (of.pixels(), ceil(inputs as f64 / self.v));
        let blocks = self.blocks(s, of, &errors);
        let read = Schedule { cols: s.other, ..*s };
        let again = ceil(of.k / s.taps as f64);
        let packing = self.packing(pixels * vectors, q.shape.output_pixels(), !self.first);
        self.groups
            * (self.rows(kernel, of.k) * pixels * lanes * self.conflicts(&read, &errors)
                + blocks * self.tiles(kernel, of.k, inputs as f64, pixels / blocks)
                + blocks * of.k * vectors * self.machine.stored
                + packing * again)
            + self.copying(&read, &errors, Beside::None)
    }

    /// Backward_weight in dot products along the rows of pixels.
    fn dot_rows(&self, s: &Schedule) -> f64 {
        let (m, q) = (self.machine, self.q);
        let Some(source) = q.sources.first() else { return f64::INFINITY };
        let of = Sizes::of(source);
        let [_, h, w] = source.walks.map(|walk| walk.outputs);
        let vectors = of.planes * h as f64 * ceil(w as f64 / self.v);
        let taps = of.k.min(s.taps as f64) as usize;
        let each =
            Tile::cost(q.kernels.dots.columns, q.channels.min(MANY), taps) * m.product_of_dot;
        let blocks = ceil(of.pixels() / s.pixels as f64);
        let rows = of.planes * h as f64;
        let tiles = self.n * of.k / 12.0;
        self.groups
            * (self.n * of.k * (vectors * each * self.conflicts(s, source) + blocks * m.reduced)
                + rows * tiles * m.dot_row)
            + self.copying(s, source, Beside::Rows)
    }

    /// Backward_weight of channels last: rows are output channels, lanes are rows of taps.
    fn rows_of_taps(&self, s: &Schedule) -> f64 {
        let (m, q) = (self.machine, self.q);
        let Some(source) = q.sources.first() else { return f64::INFINITY };
        let of = Sizes::of(source);
        let taps = source.walks.each_ref().map(|walk| walk.taps);
        let [len, steps] = side_by_side(taps, source.walks[2].dilation, source.channels);
        let vectors = steps as f64 * ceil(len as f64 / self.v);
        let blocks = self.blocks(s, of, source);
        let wide = &q.kernels.wide;
        let rows = self.rows(wide, self.n);
        self.groups
            * (of.pixels()
                * vectors
                * (rows * m.product_of_pixels * self.conflicts(s, source) + m.panel)
                + blocks
                    * steps as f64
                    * self.tiles_in_place(self.n, len as f64, of.pixels() / blocks)
                + blocks * self.n * vectors * m.stored)
            + self.copying(s, source, Beside::None)
    }

    /// A filter per channel, channels first.
    fn depthwise(&self) -> f64 {
        let (m, shape) = (self.machine, &self.q.shape);
        let outputs = shape.out_channels() as f64;
        let stride = shape.axes3()[2].stride;
        let mut cycles = 0.0;
        for source in &self.q.sources {
            let of = Sizes::of(source);
            let [_, h, w] = source.walks.map(|walk| walk.outputs);
            // Lanes that lie apart are loaded one by one.
            let apart = match (self.q.pass, stride) {
                (_, 1) => 1.0,
                (Pass::BackwardData, 2) => 1.0,
                (Pass::BackwardData, _) => 1.0 + m.direct_apart * self.v / of.k,
                (_, 2) => m.direct_by_two,
                _ => m.direct_apart * self.v,
            };
            let taps = of.k / source.channels as f64;
            let rows = of.planes * h as f64;
            let vectors = rows * ceil(w as f64 / self.v);
            cycles += vectors * (taps * m.direct * apart + m.stored) + rows * m.direct_row;
        }
        outputs * (cycles + m.direct_plane)
    }

    /// Few channels to a filter, channels last.
    fn direct_last(&self) -> f64 {
        let (m, shape) = (self.machine, &self.q.shape);
        let group = [shape.group_in() as f64, shape.group_out() as f64];
        let (summed, made) = match self.q.pass {
            Pass::BackwardData => (group[1], group[0]),
            _ => (group[0], group[1]),
        };
        let vectors = ceil(self.groups * made / self.v);
        let mut cycles = 0.0;
        for source in &self.q.sources {
            let of = Sizes::of(source);
            let taps = source.walks.iter().map(|walk| walk.taps as f64).product::<f64>();
            let product = if summed > 1.0 { m.direct_group } else { m.direct_last };
            cycles += of.pixels() * vectors * (taps * summed * product + m.stored);
            cycles += of.planes * source.walks[1].outputs as f64 * m.direct_row;
        }
        cycles + shape.weight_len() as f64 * m.moved
    }

    /// Blocks of filters over few channels, channels first.
    fn direct(&self, s: &Schedule) -> f64 {
        let (m, shape) = (self.machine, &self.q.shape);
        let (inputs, outputs) = match self.q.pass {
            Pass::BackwardData => (shape.group_out() as f64, shape.group_in() as f64),
            _ => (shape.group_in() as f64, shape.group_out() as f64),
        };
        let by_twos = self.q.pass == Pass::Forward && shape.axes3()[2].stride == 2;
        let alternate = self.q.pass == Pass::BackwardData && shape.axes3()[2].stride == 2;
        let block = s.width as f64;
        let blocks = ceil(outputs / block);
        let mut cycles = 0.0;
        for source in &self.q.sources {
            let of = Sizes::of(source);
            let [_, h, w] = source.walks.map(|walk| walk.outputs as f64);
            let [d, r, c] = source.walks.map(|walk| walk.taps as f64);
            let load = if by_twos { m.direct_load * m.direct_by_two } else { m.direct_load };
            let vectors = of.planes * h * ceil(w / self.v);
            let stored = self.stored_in_planes(block);
            let stored = if alternate { 1.5 * m.stored_of_pixels } else { stored };
            // A strip of rows loads each vector once for all rows of taps.
            let column = (block * r).max(IN_FLIGHT / 2.0) * m.product_of_direct + load;
            let step = source.walks[1].stride as f64;
            let column = if step > 1.0 { column + (step - 1.0) * load } else { column };
            cycles += vectors * (d * c * inputs * column + block * stored)
                + of.planes * inputs * d * m.direct_row;
        }
        self.groups * (blocks * cycles + inputs * outputs * shape.kernel_taps() as f64 * m.moved)
    }
}
