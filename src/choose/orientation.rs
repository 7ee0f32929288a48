//! Which operand of a product has the vectors: what each way costs.

use crate::element::Element;
use crate::engine::regions::Cut;
use crate::error::Error;
use crate::kernel::{Isa, Kernels};
use crate::view::source::{Beside, Source};

/// Which operand has the vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lanes {
    Channels,
    Pixels,
    /// Both: what is summed lies side by side. Channels last, where the destination has few.
    Terms,
}

/// What the parts of a product cost, where one vector of its products costs 1.
struct Costs {
    /// A cycle: of copying, and of packing a weight.
    cycle: f64,
    /// A vector of products whose lanes are pixels: weights are broadcast as they lie.
    broadcast: f64,
    /// The same with lanes that are channels, where no two taps share a line of the cache.
    lone_taps: f64,
    /// Copying the lanes of a panel of pixels side by side, for all channels.
    gathering: f64,
    /// Storing a row of a tile, with lanes that are pixels, and transposed with lanes that are
    /// channels: where pixels follow each other.
    stored: [f64; 2],
    /// The same where they are those of a phase.
    scattered: [f64; 2],
    /// Pixels that lie apart, read as they lie by lanes that are channels: fewer of them to a line of the cache.
    apart: f64,
}

impl Costs {
    fn of<T: Element>(kernels: &Kernels<T>) -> Self {
        // Measured on Zen 4 with AVX-512, where a vector of products takes one cycle.
        let wide = Self {
            cycle: 1.0,
            broadcast: 1.03,
            lone_taps: 0.0,
            gathering: 0.0,
            stored: [5.0, 11.0],
            scattered: [24.0, 28.0],
            apart: 0.03,
        };
        match kernels.isa {
            // Fitted to both ways of 408 products on Zen 5: 18 of them take the way that is more than 10 % slower,
            // and all together 1.1 % more time than the better ones would.
            Isa::Avx512 if kernels.narrow.is_some() => Self {
                cycle: 1.28,
                broadcast: 1.07,
                lone_taps: 0.01,
                gathering: 2.3,
                stored: [1.0, 20.0],
                scattered: [22.0, 32.0],
                apart: 0.0,
            },
            // Fitted to both ways of 150 layers on Zen 3: 12 of them take the way that is more than 10 %
            // slower, and all together 2 % more time than the better ones would.
            Isa::Avx2 => Self {
                cycle: 2.0,
                broadcast: 1.0,
                lone_taps: 0.18,
                gathering: 3.4,
                stored: [6.0, 35.0],
                scattered: [39.0, 79.0],
                apart: 0.03,
            },
            // Counted: by lane 192 of 224 instructions are products, else 24 of 37; a panel's copy
            // costs 3 %.
            Isa::Neon => Self { broadcast: 0.78, ..wide },
            _ => wide,
        }
    }
}

impl Lanes {
    /// The cheaper for products of so many channels, at `most` so many pixels at a time, which are
    /// `scattered` or follow each other.
    pub(super) fn of<T: Element>(
        kernels: &Kernels<T>,
        channels: usize,
        sources: &[Source],
        most: usize,
        scattered: bool,
    ) -> Result<Self, Error> {
        let Some(first) = sources.first() else { return Ok(Lanes::Channels) };
        let costs = Costs::of(kernels);
        let (vector, depth, products) =
            (kernels.wide.vector, channels as f64, sources.len() as f64);
        let (tall, cost) = kernels.tall_for(channels);
        let [d, h, w] = first.walks.map(|walk| walk.outputs);
        let (images, pixels) = (first.batch * d, h * w);
        // Of the products, on average.
        let of_each = |value: &dyn Fn(&Source) -> f64| sources.iter().map(value).sum::<f64>();
        let terms = of_each(&|s| s.tap_sizes().iter().product::<usize>() as f64) / products;
        let copying = |beside| {
            let cycles = of_each(&|s| s.copying(beside, vector) * s.channels as f64) / products;
            costs.cycle * cycles / (pixels as f64 * terms * depth / vector as f64)
        };

        let share = |n: usize, step: usize| n.next_multiple_of(step) as f64 / n as f64;
        let [straight, transposed] = if scattered { costs.scattered } else { costs.stored };
        let packing = costs.cycle * tall.vector as f64 / (pixels * images) as f64;
        let lone = if first.walks[2].taps == 1 { costs.lone_taps } else { 0.0 };
        let rows = copying(Beside::None);
        let apart = if rows == 0.0 && first.walks[2].stride > 1 { costs.apart } else { 0.0 };
        let of_channels = |kept: f64| {
            let sum = cost * kept + lone + transposed / terms;
            share(channels, tall.lanes) * sum + packing + rows + apart
        };
        // A lone row waits for its broadcasts.
        let broadcast = if channels == 1 { 1.25 } else { costs.broadcast };
        let of_pixels = share(pixels, vector) * (broadcast + straight / terms)
            + costs.gathering / depth
            + copying(Beside::Planes);
        let cheaper = |kept: f64| {
            if of_pixels < of_channels(kept) { Lanes::Pixels } else { Lanes::Channels }
        };
        // What is left of a product that is cut is asked only where it matters: as many stretches take as long as the rest.
        let either = cheaper(Cut::least(first));
        if either == cheaper(1.0) {
            return Ok(either);
        }
        let most = most.min(first.pixel_sizes().iter().product());
        Ok(cheaper(Cut::best(first, channels, most, tall.rows)?.cost))
    }
}
