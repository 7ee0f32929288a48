//! Winograd's schedules.

use super::candidates::Question;
use super::schedule::Schedule;
use crate::element::Element;
use crate::engine::winograd::form;
use crate::kernel::winograd::Form;
use crate::kernel::{Kernel, Kernels};
use crate::options::Accuracy;
use crate::pass::Pass;
use crate::shape::Axis;

/// Tiles of a block, few of which leave room in the cache for what else a block reads; and where weights in points
/// are so large that each block reads them from beyond the cache. Images of 32x32, 16x16 and 8x8 have a whole share
/// of them.
const TILES: usize = 32;
const TILES_OF_FAR: usize = 64;

/// Tiles of a block of `backward_weight`, which adds a sum over them to all weights of a block.
const TILES_OF_SUM: usize = 56;

/// Bytes of weights in points that stay in the cache.
const NEAR: usize = 1 << 20;

/// Channels that are summed at once. An error grows with them.
const TERMS: usize = 64;

/// Output channels that `backward_weight` makes at once.
const OUTPUTS: usize = 64;

impl<T: Element> Question<'_, T> {
    /// The schedules that the accuracy allows. Where an output or a tap meets only padding, what is exactly zero by plain
    /// products would be rounded among its neighbours in a tile: there are none.
    pub(super) fn in_points(&self, add: &mut impl FnMut(Schedule)) {
        if !self.shape.axes3().iter().all(meets_everywhere) {
            return;
        }
        let tiles: &[usize] = match self.accuracy {
            Accuracy::Element => &[],
            Accuracy::Tile2 => &[2],
            Accuracy::Tile => &[4, 2],
        };
        for &tile in tiles {
            // Tiles of two outputs under five taps have an error as large as those of four.
            let is_allowed = |form: &Form| self.accuracy == Accuracy::Tile || *form == Form::F2x2;
            if let Some(form) = form(&self.shape, tile).filter(is_allowed) {
                add(schedule(self, tile, form));
            }
        }
    }
}

/// Whether every output meets an element of the input by some tap, and every tap by some output, with a stride of 1.
fn meets_everywhere(axis: &Axis) -> bool {
    let reach = axis.dilation.saturating_mul(axis.kernel - 1);
    let steps = axis.kernel == 1 || axis.dilation <= axis.input;
    steps
        && axis.pad_begin.max(axis.pad_end) <= reach
        && !axis.inside(0).is_empty()
        && !axis.inside(axis.kernel - 1).is_empty()
}

/// The schedule by tiles of `tile` outputs along an axis.
fn schedule<T: Element>(q: &Question<'_, T>, tile: usize, form: Form) -> Schedule {
    let lanes = match q.pass {
        Pass::Forward | Pass::BackwardData => q.channels,
        Pass::BackwardWeight => q.shape.group_in(),
    };
    let kernel = kernel(q.kernels, lanes);
    let (pixels, taps) = match q.pass {
        Pass::BackwardWeight => (TILES_OF_SUM, OUTPUTS),
        Pass::Forward | Pass::BackwardData => {
            let pairs = q.shape.group_in().saturating_mul(q.shape.group_out());
            let weights = pairs.saturating_mul(form.points() * size_of::<T>());
            (if weights > NEAR { TILES_OF_FAR } else { TILES }, TERMS)
        }
    };
    Schedule { width: kernel.lanes, pixels, taps, ..Schedule::winograd(tile) }
}

/// The kernel for panels of so many lanes: the narrow one, whose panels take a fifth more of their time, where enough
/// lanes would be empty.
fn kernel<T>(kernels: &Kernels<T>, lanes: usize) -> &Kernel<T> {
    let Some(narrow) = &kernels.narrow else { return &kernels.tall };
    let padded = |kernel: &Kernel<T>| lanes.next_multiple_of(kernel.lanes);
    if 6 * padded(narrow) < 5 * padded(&kernels.tall) { narrow } else { &kernels.tall }
}
