//! What forward and backward_data cost as matrix products, which sum over the taps.

use super::{Channels, Costs, MANY};
use crate::choose::schedule::{Padding, Schedule, Staging};
use crate::choose::view::View;
use crate::element::{Element, ceil};
use crate::engine::implicit::steps::side_by_side;
use crate::gemm::SET_CONFLICT;
use crate::gemm::dot::Tile;
use crate::kernel::Kernel;
use crate::pass::Pass;
use crate::view::source::Beside;

/// Elements of a line of the caches.
const LINE: usize = 16;

/// Taps of a row that are worth being transposed where their pixels are stored.
const MANY_TAPS: usize = 4;

impl<T: Element> Costs<'_, T> {
    /// A vector of weights that comes from beyond the L2 cache, or from it.
    pub(super) fn weight_read(&self, elements: f64) -> f64 {
        let m = self.machine;
        if Self::are_far(elements) { m.far } else { m.near }
    }

    /// Lanes are channels.
    pub(super) fn channels(&self, s: &Schedule, limit: f64) -> f64 {
        let key = [s.width, s.pixels];
        let of = self.over_taps.get(key, || self.products_of_channels(s));
        let skipped = s.padding == Padding::Skipped;
        let in_place = s.cols == Staging::InPlace;
        let own = if s.other == Staging::PackedPerBlock { self.machine.own } else { 1.0 };
        let beside = self.groups * (of.beside + of.packing * own) + self.copying(s, Beside::None);
        if !skipped {
            return beside + self.groups * of.products[usize::from(in_place)];
        }
        let least = beside + self.groups * of.least;
        if least >= limit {
            return least;
        }
        let Some(kernel) = self.q.kernels.of_panels(s.width) else { return f64::INFINITY };
        let lanes = self.lanes_of_rows(kernel);
        let mut products = 0.0;
        let mut cuts = false;
        for view in &self.q.views {
            let cut = self.q.cut(view);
            cuts |= cut < 1.0;
            let each = self.products(kernel, view, s.pixels) * lanes * self.conflicts(s, view);
            let lines = if in_place { self.far_lines(view) } else { 0.0 };
            products += (each + lines) * cut;
        }
        if cuts { beside + self.groups * products } else { f64::INFINITY }
    }

    /// Vectors of products of all channels, for each row and tap.
    fn lanes_of_rows(&self, kernel: &Kernel<T>) -> f64 {
        let row = self.q.views.first().map_or(1, |view| view.source.walks[2].outputs);
        let stretches = kernel.neighbours.iter().any(|[len, _]| row.is_multiple_of(*len));
        self.lanes(kernel, self.q.channels, self.first && stretches)
    }

    /// Rows of all tiles for all taps, where nothing is cut.
    fn products(&self, kernel: &Kernel<T>, view: &View, most: usize) -> f64 {
        let at_once = view.pixels().min(most as f64);
        view.pixels() / at_once * self.rows(kernel, at_once) * view.k
    }

    /// What tiles wait for that read the planes of channels as they lie: lines from beyond the L2 cache, of more planes
    /// than the processor can follow.
    fn far_lines(&self, view: &View) -> f64 {
        let source = &view.source;
        let elements =
            source.channels as f64 * view.pixels() * source.walks[2].stride.min(LINE) as f64;
        let apart = self.first && source.channels > 1;
        if apart && Self::are_far(elements) {
            elements / LINE as f64 * self.machine.far_line
        } else {
            0.0
        }
    }

    fn products_of_channels(&self, s: &Schedule) -> Channels {
        let q = self.q;
        let Some(kernel) = q.kernels.of_panels(s.width) else {
            return Channels { beside: f64::INFINITY, ..Channels::default() };
        };
        let lanes = self.lanes_of_rows(kernel);
        let vectors = ceil(self.n / self.v);
        let stored = self.stored(self.first);
        let mut all = Channels::default();
        let mut terms = 0.0;
        for view in &q.views {
            let pixels = view.pixels();
            let at_once = pixels.min(s.pixels as f64);
            let blocks = pixels / at_once;
            let products = self.products(kernel, view, s.pixels) * lanes;
            let conflict = if view.set_conflicts { self.machine.conflict } else { 1.0 };
            // Padding that isn't skipped is read from a copy.
            all.products[0] += products;
            all.products[1] += match view.inside {
                true => products * conflict + self.far_lines(view),
                false => products,
            };
            all.least += products * view.least * conflict.min(1.0);
            let weights = view.k * self.n;
            all.beside += blocks * self.tiles(kernel, at_once, self.n, view.k)
                + pixels * vectors * stored
                + blocks * weights / self.v * self.weight_read(weights * self.groups);
            terms += view.k;
        }
        let padded = self.n.max(ceil(self.n / kernel.vector as f64) * kernel.vector as f64);
        let straight = match q.pass {
            Pass::BackwardData => !self.first || q.shape.kernel_taps() == 1,
            _ => false,
        };
        if !q.packed {
            all.packing = self.packing(terms * padded / self.v, q.shape.patch_len(), straight);
        }
        all
    }

    /// Lanes are pixels.
    pub(super) fn pixels(&self, s: &Schedule) -> f64 {
        let q = self.q;
        let (m, kernel) = (self.machine, &q.kernels.wide);
        let rows = self.rows(kernel, self.n);
        let stored = self.n * self.stored_in_planes(self.n);
        let product =
            if q.channels == 1 { m.product_of_pixels * 1.25 } else { m.product_of_pixels };
        let mut cycles = 0.0;
        let mut terms = 0.0;
        for view in &q.views {
            let vectors = view.planes * ceil(view.plane / self.v);
            let filled = view.planes * self.filled(view.plane);
            cycles += view.k * (filled * rows * product + vectors * m.panel)
                + vectors * stored
                + view.planes * self.tiles_in_place(self.n, view.plane, view.k);
            terms += view.k;
        }
        let turned = if q.pass == Pass::BackwardData { self.turning(terms * self.n) } else { 0.0 };
        self.groups * (cycles + turned) + self.copying(s, Beside::Planes)
    }

    /// Writing the weights of backward_data element by element in another order.
    fn turning(&self, elements: f64) -> f64 {
        let meet = self.q.shape.patch_len().is_multiple_of(SET_CONFLICT);
        elements * self.machine.moved * if meet { self.machine.packed_conflict } else { 1.0 }
    }

    /// Dot products along the taps that lie side by side.
    pub(super) fn dots(&self, s: &Schedule, limit: f64) -> f64 {
        let (m, q) = (self.machine, self.q);
        // A vector of products for each sum, and what all add up to if tiles lost nothing.
        let of = |each: f64| {
            let mut cycles = 0.0;
            for view in &q.views {
                let taps = view.source.walks.each_ref().map(|walk| walk.taps);
                let dilation = view.source.walks[2].dilation;
                let channels = view.source.channels;
                let alone = channels == view.source.all_channels;
                // In place, the channels of other groups lie between those of two taps.
                let [len, steps] = match alone || !self.is_in_place(s, view, Beside::None) {
                    true => side_by_side(taps, dilation, channels),
                    false => [channels, taps.into_iter().product()],
                };
                let vectors = steps as f64 * ceil(len as f64 / self.v);
                let sum = vectors * each * m.product_of_dot * self.conflicts(s, view) + m.reduced;
                cycles += view.pixels() * self.n * sum;
            }
            self.groups * cycles
        };
        let least = of(1.0);
        if least >= limit {
            return least;
        }
        let terms = q.views.iter().map(|view| view.k).sum::<f64>();
        let turned = if q.pass == Pass::BackwardData { self.turning(terms * self.n) } else { 0.0 };
        let each = Tile::cost(q.kernels.dots.columns, s.pixels, q.channels.min(MANY));
        of(each) + self.groups * turned + self.copying(s, Beside::None)
    }

    /// Patches that lie apart, each written straight to its place.
    pub(super) fn patches(&self) -> f64 {
        let (m, shape, wide) = (self.machine, &self.q.shape, &self.q.kernels.wide);
        let [d, h, w] = shape.axes3();
        let (k, n) = (shape.patch_len() as f64, shape.group_out() as f64);
        let (batch, pixels) = (shape.batch() as f64, shape.output_pixels() as f64);
        let image = if self.first {
            let plane = h.output as f64 * w.output as f64;
            let vectors = ceil(plane / self.v);
            // The taps of a row fill the gaps between each other's pixels.
            let stored = match w.stride {
                1 => m.stored_of_pixels,
                2 | 4 if w.kernel == w.stride => m.stored_of_pixels,
                _ if w.kernel < MANY_TAPS => m.stored_apart,
                _ => m.stored_across,
            };
            let meet = shape.patch_len().is_multiple_of(SET_CONFLICT);
            let product = m.product_of_pixels * if meet { m.conflict } else { 1.0 };
            let products = self.filled(plane) * self.rows(wide, k) * product;
            d.output as f64
                * (n * (products + vectors * m.panel)
                    + vectors * k * stored
                    + self.tiles_in_place(k, plane, n))
        } else {
            let lines = (d.kernel * h.kernel) as f64;
            let vectors = lines * ceil(k / lines / self.v);
            self.rows(wide, pixels) * self.filled(k) * n * m.product_of_pixels
                + self.tiles_in_place(pixels, k, n)
                + pixels * vectors * m.stored
        };
        // Pixels in no patch are zeros.
        let filled = [d, h, w].iter().all(|axis| axis.output * axis.kernel == axis.input);
        let zeros = if filled { 0.0 } else { shape.input_len() as f64 / self.v * m.stored };
        let weights = n * ceil(k / self.v) * self.weight_read(n * k * self.groups);
        self.groups * (batch * image + weights) + zeros
    }

    /// Few pixels: cols, or its gradient, is written down. Also of backward_weight.
    pub(super) fn written(&self, limit: f64) -> f64 {
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
        let least = self.groups * (moved + weights);
        if least >= limit {
            return least;
        }
        let products = match q.pass {
            Pass::Forward => {
                let columns = q.kernels.dots.columns;
                let each = Tile::cost(columns, shape.group_out().min(MANY), pixels as usize);
                pixels * n * (vectors * each * m.product_of_dot + m.reduced)
            }
            Pass::BackwardData => {
                self.rows(wide, pixels) * self.filled(k) * n * m.product_of_pixels
                    + self.tiles_in_place(pixels, k, n)
                    + pixels * vectors * m.stored
            }
            Pass::BackwardWeight => {
                self.rows(wide, n) * self.filled(k) * pixels * m.product_of_pixels
                    + self.tiles_in_place(n, k, pixels)
                    + n * vectors * m.stored
            }
        };
        self.groups * (moved + weights + products)
    }
}
