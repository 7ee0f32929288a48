//! Which operand of a product has the vectors: what each way costs, in cycles.
//!
//! The figures are measured on Zen 4 with AVX-512, where a vector of products takes one cycle.

use super::bands::Cut;
use crate::element::Element;
use crate::error::Error;
use crate::kernel::Kernels;
use crate::patches::{Beside, Source};

/// Which operand has the vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lanes {
    Channels,
    Pixels,
}

/// What storing a row of a tile costs with lanes that are pixels, and transposed with lanes that are
/// channels: where pixels follow each other, and where they are those of a phase.
const STORED: [f64; 2] = [5.0, 11.0];
const SCATTERED: [f64; 2] = [24.0, 28.0];

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
        let (vector, depth, products) =
            (kernels.wide.vector, channels as f64, sources.len() as f64);
        let (tall, cost) = kernels.tall_for(channels);
        let most = most.min(first.pixel_sizes().iter().product());
        let kept = Cut::best(first, channels, most, tall.rows)?.cost;
        let [d, h, w] = first.walks.map(|walk| walk.outputs);
        let (images, pixels) = (first.batch * d, h * w);
        // Of the products, on average.
        let of_each = |value: &dyn Fn(&Source) -> f64| sources.iter().map(value).sum::<f64>();
        let terms = of_each(&|s| s.tap_sizes().iter().product::<usize>() as f64) / products;
        let copying = |beside| {
            let cycles = of_each(&|s| s.copying(beside, vector) * s.channels as f64) / products;
            cycles / (pixels as f64 * terms * depth / vector as f64)
        };

        let share = |n: usize, step: usize| n.next_multiple_of(step) as f64 / n as f64;
        let [straight, transposed] = if scattered { SCATTERED } else { STORED };
        // A weight is packed in a cycle.
        let packing = tall.vector as f64 / (pixels * images) as f64;
        let sum = cost * kept + transposed / terms;
        let rows = copying(Beside::None);
        // Pixels that lie apart, read as they lie: fewer of them to a line of the cache.
        let apart = if rows == 0.0 && first.walks[2].stride > 1 { 0.03 } else { 0.0 };
        let of_channels = share(channels, tall.lanes) * sum + packing + rows + apart;
        // A lone row waits for its broadcasts.
        let broadcast = if channels == 1 { 1.25 } else { kernels.broadcast_cost() };
        let of_pixels =
            share(pixels, vector) * (broadcast + straight / terms) + copying(Beside::Planes);
        Ok(if of_pixels < of_channels { Lanes::Pixels } else { Lanes::Channels })
    }
}
