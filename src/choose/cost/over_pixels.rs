//! What backward_weight costs as a matrix product, which sums over the pixels.

use super::{Costs, MANY, Panels};
use crate::axis::Walk;
use crate::choose::schedule::{Padding, Schedule};
use crate::choose::view::View;
use crate::element::{Element, ceil};
use crate::engine::implicit::steps::side_by_side;
use crate::gemm::SET_CONFLICT;
use crate::gemm::dot::Tile;
use crate::view::source::{Beside, Source};

impl<T: Element> Costs<'_, T> {
    /// Blocks of pixels.
    fn blocks(&self, s: &Schedule, view: &View) -> f64 {
        let touched = if s.touched == 0 { f64::INFINITY } else { s.touched as f64 };
        let [_, h, w] = &view.source.walks;
        let steps = h.stride as f64 * w.stride as f64;
        let taps = h.taps as f64 * w.taps as f64;
        let most = touched / (view.source.channels as f64 * steps.min(taps));
        ceil(view.pixels() / (s.pixels as f64).min(most).max(1.0))
    }

    /// Rows are taps, lanes are channels of the gradient of the output.
    pub(super) fn panels(&self, s: &Schedule) -> f64 {
        let Some(view) = self.q.views.first() else { return f64::INFINITY };
        let key = (s.width, s.padding == Padding::Skipped);
        let of = self.over_pixels.get(key, || self.products_of_panels(s, view));
        let copying = of.cells * self.copying(s, Beside::None);
        self.groups * (of.products * self.conflicts(s, view) + of.beside) + copying
    }

    fn products_of_panels(&self, s: &Schedule, view: &View) -> Panels {
        let q = self.q;
        let Some(kernel) = q.kernels.of_panels(s.width) else {
            return Panels { products: f64::INFINITY, beside: 0.0, cells: 0.0 };
        };
        let source = &view.source;
        let skipped = s.padding == Padding::Skipped;
        let neighbours =
            |taps: usize| kernel.neighbours.iter().any(|[len, _]| taps.is_multiple_of(*len));
        let beside = source.walks[2].dilation == 1 && neighbours(source.walks[2].taps);
        let lanes = self.lanes(kernel, q.channels, !skipped && (beside || !self.first));
        let channels = source.channels as f64;
        let pixels = view.pixels();
        let blocks = self.blocks(s, view);
        // Where padding is skipped, each tap of all channels is a product of its own.
        let (rows, tiles) = match skipped {
            true => {
                let met = source.walks.iter().map(Walk::met).product::<f64>();
                let taps = view.k / channels;
                let rows = taps * self.rows(kernel, channels) * met;
                (rows, taps * self.tiles(kernel, channels, self.n, pixels / blocks))
            }
            false => {
                let rows = self.rows(kernel, view.k);
                (rows, self.tiles(kernel, view.k, self.n, pixels / blocks))
            }
        };
        let vectors = ceil(self.n / self.v);
        let again = ceil(view.k / s.taps as f64);
        let packing = self.packing(pixels * vectors, q.shape.output_pixels(), !self.first);
        Panels {
            products: rows * pixels * lanes,
            beside: blocks * (tiles + view.k * vectors * self.machine.stored_across)
                + packing * again,
            cells: ceil(self.n / (8 * kernel.lanes) as f64),
        }
    }

    /// Pointwise layers: rows are output channels, lanes are channels of the image.
    pub(super) fn swapped(&self, s: &Schedule) -> f64 {
        let q = self.q;
        let Some(kernel) = q.kernels.of_panels(s.width) else { return f64::INFINITY };
        let Some(input) = q.views.first() else { return f64::INFINITY };
        let view = &View::new(Source::grad_output(&q.shape, input.source.walks));
        let inputs = q.shape.group_in();
        let lanes = self.lanes(kernel, inputs, false);
        let (pixels, vectors) = (view.pixels(), ceil(inputs as f64 / self.v));
        let blocks = self.blocks(s, view);
        let read = Schedule { cols: s.other, ..*s };
        let again = ceil(view.k / s.taps as f64);
        let packing = self.packing(pixels * vectors, q.shape.output_pixels(), !self.first);
        let copying = match self.is_in_place(&read, view, Beside::None) {
            true => 0.0,
            false => self.copying_of(s.touched, view, Beside::None),
        };
        self.groups
            * (self.rows(kernel, view.k) * pixels * lanes * self.conflicts(&read, view)
                + blocks * self.tiles(kernel, view.k, inputs as f64, pixels / blocks)
                + blocks * view.k * vectors * self.machine.stored
                + packing * again)
            + copying
    }

    /// Dot products along the rows of pixels.
    pub(super) fn dot_rows(&self, s: &Schedule, limit: f64) -> f64 {
        let (m, q) = (self.machine, self.q);
        let Some(view) = q.views.first() else { return f64::INFINITY };
        let [_, h, w] = view.source.walks.map(|walk| walk.outputs);
        let rows = view.planes * h as f64;
        let vectors = rows * ceil(w as f64 / self.v);
        let blocks = ceil(view.pixels() / s.pixels as f64);
        let sums = self.n * view.k;
        let conflicts = self.conflicts(s, view);
        let of = |each: f64| {
            let sum = vectors * each * m.product_of_dot * conflicts + blocks * m.reduced;
            self.groups * sums * (sum + rows / 12.0 * m.dot_row)
        };
        let least = of(1.0);
        if least >= limit {
            return least;
        }
        let taps = view.k.min(s.taps as f64) as usize;
        let each = Tile::cost(q.kernels.dots.columns, q.channels.min(MANY), taps);
        of(each) + self.copying(s, Beside::Rows)
    }

    /// Channels last: rows are output channels, lanes are rows of taps.
    pub(super) fn rows_of_taps(&self, s: &Schedule) -> f64 {
        let (m, q) = (self.machine, self.q);
        let Some(view) = q.views.first() else { return f64::INFINITY };
        let source = &view.source;
        let taps = source.walks.each_ref().map(|walk| walk.taps);
        let [len, steps] = side_by_side(taps, source.walks[2].dilation, source.channels);
        let vectors = steps as f64 * ceil(len as f64 / self.v);
        let blocks = self.blocks(s, view);
        let pixels = view.pixels();
        let rows = self.rows(&q.kernels.wide, self.n);
        let filled = steps as f64 * self.filled(len as f64);
        let meet = q.shape.out_channels().is_multiple_of(SET_CONFLICT);
        let conflicts = self.conflicts(s, view) * if meet { m.conflict } else { 1.0 };
        let products = filled * rows * m.product_of_taps * conflicts;
        let tiles = self.tiles_in_place(self.n, len as f64, pixels / blocks);
        self.groups
            * (pixels * (products + vectors * m.panel)
                + blocks * (steps as f64 * tiles + self.n * vectors * m.stored))
            + self.copying(s, Beside::None)
    }
}
