//! What a schedule costs, in cycles of one thread: counted from sizes alone, in units that the machine's row holds.
//!
//! Each engine has a file. What it adds up is the same everywhere: vectors of products, vectors that are loaded,
//! copied, packed or stored beside them, and what a tile takes to begin and to end.
//!
//! A plan asks for the costs of some twenty schedules, so what several of them share is worked out once: the numbers
//! of a [`View`](super::view::View), copies, and the products of one width.

mod direct;
mod over_pixels;
mod over_taps;
mod winograd;

use super::candidates::{Question, writes_padding};
use super::machine::Machine;
use super::schedule::{Corner, Engine, Padding, Schedule, Staging};
use super::view::View;
use crate::element::{Element, ceil};
use crate::gemm::SET_CONFLICT;
use crate::kernel::Kernel;
use crate::kernel::cpu::l2;
use crate::pass::Pass;
use crate::shape::Layout;
use crate::view::source::Beside;
use core::cell::Cell;

/// Products that a processor begins before the first of them is done.
const IN_FLIGHT: f64 = 8.0;

/// Rows of so many tiles that more of them change nothing for each.
const MANY: usize = 4096;

/// The last value that was worked out, and what it was worked out for.
struct Last<K, V>(Cell<Option<(K, V)>>);

impl<K: Copy + PartialEq, V: Copy> Last<K, V> {
    const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// The value for `key`.
    fn get(&self, key: K, work_out: impl FnOnce() -> V) -> V {
        match self.0.get() {
            Some((last, value)) if last == key => value,
            _ => {
                let value = work_out();
                self.0.set(Some((key, value)));
                value
            }
        }
    }
}

/// What all schedules of one width share whose lanes are channels.
#[derive(Debug, Clone, Copy, Default)]
struct Channels {
    /// Products where zeros are multiplied, of a copy and of the image as it lies.
    products: [f64; 2],
    /// Those where padding is skipped, at least.
    least: f64,
    /// Tiles, stores and weights that are read.
    beside: f64,
    packing: f64,
}

/// What a copy of the image and the image as it lies share where lanes are channels of the output's gradient.
#[derive(Debug, Clone, Copy)]
struct Panels {
    products: f64,
    /// Tiles, packing and what is added up.
    beside: f64,
    /// How often the image is copied.
    cells: f64,
}

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
    /// Copies, by what lies beside what and by whether padding is read, if the image isn't always copied; each for
    /// the most that a block touches.
    copies: [[Last<usize, f64>; 3]; 3],
    /// Products over taps whose lanes are channels, of a width and a number of pixels.
    over_taps: Last<[usize; 2], Channels>,
    /// Products over pixels whose lanes are channels, of a width, by whether padding is skipped.
    over_pixels: Last<(usize, bool), Panels>,
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
            copies: [const { [const { Last::new() }; 3] }; 3],
            over_taps: Last::new(),
            over_pixels: Last::new(),
        }
    }

    /// What the pass costs by this schedule.
    #[cfg(feature = "testing")]
    pub(crate) fn cycles(&self, s: &Schedule) -> f64 {
        self.below(s, f64::INFINITY)
    }

    /// The same if it is less than `limit`; else perhaps some other number that isn't, which is sooner known.
    pub(crate) fn below(&self, s: &Schedule, limit: f64) -> f64 {
        let backward_weight = self.q.pass == Pass::BackwardWeight;
        let padded =
            if writes_padding(&self.q.shape, self.q.pass, s) { self.padded() } else { 0.0 };
        match (s.engine, s.lanes) {
            (Engine::Explicit, _) => f64::INFINITY,
            (Engine::Winograd, _) => self.winograd(s),
            (Engine::Direct, Corner::Channels) => padded + self.direct_last(),
            (Engine::Direct, _) if s.other == Staging::InPlace => padded + self.depthwise(),
            (Engine::Direct, _) => padded + self.direct(s),
            (Engine::Implicit, Corner::Taps) if s.cols == Staging::Written => self.written(limit),
            (Engine::Implicit, Corner::Taps) if s.cols == Staging::PackedPerBlock => {
                self.swapped(s)
            }
            (Engine::Implicit, _)
                if self.q.pass == Pass::BackwardData && s.other == Staging::InPlace =>
            {
                self.patches()
            }
            (Engine::Implicit, Corner::Channels) if backward_weight => self.panels(s),
            (Engine::Implicit, Corner::Pixels) if backward_weight => self.dot_rows(s, limit),
            (Engine::Implicit, Corner::Taps) if backward_weight => self.rows_of_taps(s),
            (Engine::Implicit, Corner::Channels) => self.channels(s, limit),
            (Engine::Implicit, Corner::Pixels) => self.pixels(s),
            (Engine::Implicit, Corner::Taps) => self.dots(s, limit),
        }
    }

    /// Whether this product reads the image as it lies.
    fn is_in_place(&self, s: &Schedule, view: &View, beside: Beside) -> bool {
        let inside = view.inside || s.padding == Padding::Skipped;
        let beside = match beside {
            Beside::None => true,
            Beside::Rows => view.source.walks[2].stride == 1,
            Beside::Planes => view.side_by_side,
        };
        s.cols == Staging::InPlace && inside && beside
    }

    /// Copying what all blocks of all products read, for all images and groups.
    fn copying(&self, s: &Schedule, beside: Beside) -> f64 {
        let read = match (s.cols, s.padding) {
            (Staging::InPlace, Padding::Skipped) => 1,
            (Staging::InPlace, _) => 2,
            _ => 0,
        };
        let of = |view: &View| match self.is_in_place(s, view, beside) {
            true => 0.0,
            false => self.copying_of(s.touched, view, beside),
        };
        let copies = &self.copies[beside as usize][read];
        copies.get(s.touched, || self.q.views.iter().map(of).sum())
    }

    /// Copying what one product reads, where a block touches so much at the most.
    fn copying_of(&self, touched: usize, view: &View, beside: Beside) -> f64 {
        let (m, source) = (self.machine, &view.source);
        let [rows, vectors, gaps] = source.copied(beside, self.q.kernels.wide.vector);
        let images = source.batch as f64 * self.groups;
        // Blocks of fewer rows copy those twice in which they overlap.
        let [_, h, w] = &source.walks;
        let mut again = 1.0;
        if h.taps > 1 {
            let of_row = source.channels as f64 * w.outputs as f64 * w.stride as f64;
            let most = if touched == 0 { f64::INFINITY } else { touched as f64 };
            let rows_of_block = (most / of_row / h.stride as f64).min(h.outputs as f64);
            let overlap = (h.taps - 1) as f64 * h.dilation as f64 / h.stride as f64;
            again = (1.0 + overlap / rows_of_block.max(1.0)) / (1.0 + overlap / h.outputs as f64);
        }
        images * again * (rows * m.copied_row + vectors * m.copied_vector + gaps * m.copied_gap)
    }

    /// Whether so many elements leave no room in the L2 cache for what else is read.
    fn are_far(elements: f64) -> bool {
        elements * size_of::<T>() as f64 > l2() as f64 / 2.0
    }

    /// What the reads of an image as it lies take more where they meet in a few sets of the cache.
    fn conflicts(&self, s: &Schedule, view: &View) -> f64 {
        let meet = view.set_conflicts && self.is_in_place(s, view, Beside::None);
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

    /// The vectors that lanes take which are read as they lie: a tile of one vector waits for its own sums.
    fn filled(&self, lanes: f64) -> f64 {
        let wide = &self.q.kernels.wide;
        let (panel, least) = (wide.lanes as f64, IN_FLIGHT / wide.rows as f64);
        let whole = ceil(lanes / panel) - 1.0;
        let rest = ceil((lanes - whole * panel) / self.v);
        whole * panel / self.v + if rest < least { least } else { rest }
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

    /// A vector stored to rows that lie a plane of the destination apart, so many of them at a time: planes that meet
    /// in a few sets of the cache are written line by line.
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
}
