//! The view of a product, and the numbers that costs ask of it more than once.

use crate::axis::Walk;
use crate::engine::implicit::regions::Cut;
use crate::error::Error;
use crate::view::source::Source;
use core::cell::OnceCell;

/// What a product reads.
#[derive(Debug)]
pub(crate) struct View {
    pub(super) source: Source,
    /// Pixels of a plane, and planes of all images.
    pub(super) plane: f64,
    pub(super) planes: f64,
    /// Taps.
    pub(super) k: f64,
    /// Padding is never read.
    pub(super) inside: bool,
    /// Pixels of a plane lie side by side, for each tap.
    pub(super) side_by_side: bool,
    /// Rows of a tile meet in a few sets of the cache where they are read as they lie.
    pub(super) set_conflicts: bool,
    /// What is left of the product at least where taps that meet only padding are left out.
    pub(super) least: f64,
    /// What is left of it, once that is known, or asked for without memory to work it out.
    cut: OnceCell<Result<f64, Error>>,
}

impl View {
    pub(super) fn new(source: Source) -> Self {
        let [d, h, w] = source.walks.map(|walk| walk.outputs as f64);
        let taps = source.walks.iter().map(|walk| walk.taps as f64).product::<f64>();
        let inside = source.walks.iter().all(Walk::is_inside);
        Self {
            source,
            plane: h * w,
            planes: source.batch as f64 * d,
            k: taps * source.channels as f64,
            inside,
            side_by_side: source.is_side_by_side(),
            set_conflicts: source.has_set_conflicts(),
            least: if inside { 1.0 } else { Cut::least(&source) },
            cut: OnceCell::new(),
        }
    }

    /// Pixels of all images.
    pub(super) fn pixels(&self) -> f64 {
        self.plane * self.planes
    }

    /// What is left of the product where taps that meet only padding are left out, which takes some time to work out:
    /// of blocks of at most so many pixels, by a kernel with so many rows.
    pub(super) fn cut(&self, channels: usize, pixels: usize, rows: usize) -> f64 {
        let all = || self.source.pixel_sizes().into_iter().fold(1, usize::saturating_mul);
        let work_out = || Ok(Cut::best(&self.source, channels, all().min(pixels), rows)?.cost);
        if !Cut::is_worth(self.least) {
            return 1.0;
        }
        // Whoever chooses asks for the error in the end.
        *self.cut.get_or_init(work_out).as_ref().unwrap_or(&1.0)
    }

    /// Fails if a cost was asked for and there was no memory to work it out: what was chosen then isn't the choice.
    pub(super) fn checked(&self) -> Result<(), Error> {
        match self.cut.get() {
            Some(Err(error)) => Err(error.clone()),
            _ => Ok(()),
        }
    }
}
