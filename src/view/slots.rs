//! How one axis of a view lies in a copy.

use crate::axis::Walk;

/// How one axis lies in a copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slots {
    /// Elements held.
    pub(crate) len: usize,
    /// Slots between neighbouring outputs.
    pub(crate) point: usize,
    /// Slots between neighbouring taps.
    pub(crate) tap: usize,
    /// Image elements between neighbouring slots.
    pub(crate) step: usize,
    /// Pieces of evenly spaced slots: 1, or one for each tap.
    pub(crate) pieces: usize,
}

impl Slots {
    /// How a copy holds `outputs` by `taps` of an axis: every element between the first and
    /// the last once, or the outputs of each tap by themselves, whichever is smaller; by tap for
    /// sure if the outputs have to be neighbours.
    pub(crate) fn new(walk: &Walk, outputs: usize, taps: usize, neighbours: bool) -> Self {
        let points = (outputs - 1).saturating_mul(walk.stride);
        let reach = (taps - 1).saturating_mul(walk.dilation);
        let by_tap = outputs.saturating_mul(taps);
        match points.saturating_add(reach).saturating_add(1) {
            dense if dense <= by_tap && (!neighbours || walk.stride == 1 || outputs == 1) => {
                Self { len: dense, point: walk.stride, tap: walk.dilation, step: 1, pieces: 1 }
            }
            _ => Self { len: by_tap, point: 1, tap: outputs, step: walk.stride, pieces: taps },
        }
    }

    /// All outputs and taps of an axis.
    pub(crate) fn of_all(walk: &Walk, neighbours: bool) -> Self {
        Self::new(walk, walk.outputs, walk.taps, neighbours)
    }
}
