//! Pixels of a row that meet the same taps, and which those are.

use crate::kernel::stencil::Stencil;
use crate::numerics::DIRECT_TERMS;
use core::ops::Range;

/// The taps that the pixels of a run meet: where each lies in the source for the first pixel, and
/// in the weights.
pub(super) struct Meetings {
    taps: [[usize; 2]; DIRECT_TERMS],
    len: usize,
}

impl Meetings {
    #[inline(always)]
    pub(super) fn new() -> Self {
        Self { taps: [[0; 2]; DIRECT_TERMS], len: 0 }
    }

    /// All that were found last.
    #[inline(always)]
    pub(super) fn taps(&self) -> &[[usize; 2]] {
        &self.taps[..self.len]
    }

    /// Of the run from output `x` on, with the taps `cols` of each row of taps; a pixel has so many
    /// elements, and a tap.
    #[inline(always)]
    pub(super) fn find(
        &mut self,
        s: &Stencil,
        [z, y]: [usize; 2],
        x: usize,
        cols: &Range<usize>,
        [pixel, weights]: [usize; 2],
    ) {
        let [_, height, columns] = s.sources();
        self.len = 0;
        for tap_z in 0..s.walks[0].taps {
            let Some(from_z) = s.walks[0].meet(z, tap_z) else { continue };
            for tap_y in 0..s.walks[1].taps {
                let Some(from_y) = s.walks[1].meet(y, tap_y) else { continue };
                let line = (from_z * height + from_y) * columns;
                let taps = s.tap_base as isize
                    + tap_z as isize * s.tap_pitches[0]
                    + tap_y as isize * s.tap_pitches[1];
                for tap_x in cols.start..cols.end {
                    let from = s.walks[2].at(x, tap_x);
                    let tap = (taps + tap_x as isize * s.tap_pitches[2]) as usize;
                    self.taps[self.len] = [(line + from as usize) * pixel, tap * weights];
                    self.len += 1;
                }
            }
        }
    }
}

/// The outputs from `x` on that meet the same taps, and these taps.
#[inline(always)]
pub(super) fn run(
    s: &Stencil,
    inner: &Range<usize>,
    x: usize,
    end: usize,
) -> (usize, Range<usize>) {
    if inner.start <= x && x < inner.end {
        return (inner.end.min(end) - x, 0..s.walks[2].taps);
    }
    let taps = s.walks[2].taps_of(x);
    let mut len = 1;
    while x + len < end && x + len != inner.start {
        let other = s.walks[2].taps_of(x + len);
        if (other.start, other.end) != (taps.start, taps.end) {
            break;
        }
        len += 1;
    }
    (len, taps)
}
