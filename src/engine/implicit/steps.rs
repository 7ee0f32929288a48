//! Rows of taps, channels last: the channels of a tap lie side by side in the image and in the weights, and those of a
//! row of taps, too, where the pixels of the view do.

use crate::error::Error;
use crate::gemm::grid::{AXES, Block, Offsets, Table};

/// The taps of a block, in steps of elements that lie side by side in two operands.
#[derive(Debug, Clone)]
pub(super) struct Steps {
    /// The sizes of a block.
    run: [usize; AXES],
    /// A step has a row of taps; else it has one.
    rows: bool,
    /// Where each step begins.
    places: [Table; 2],
}

impl Steps {
    /// Those of blocks of taps with these sizes, whose neighbours lie so far apart in both operands: planes, rows,
    /// columns and channels.
    pub(super) fn new(run: [usize; AXES], pitches: [[usize; AXES]; 2]) -> Result<Self, Error> {
        let [d, h, w, depth] = run;
        let rows = pitches.iter().all(|&[.., tap, _]| w == 1 || tap == depth);
        let sizes = [d, h, if rows { 1 } else { w }, 1];
        let [a, b] = pitches.map(|pitches| Table::of_box(sizes, pitches));
        Ok(Self { run, rows, places: [a?, b?] })
    }

    /// At least how many elements a step of any block has, of so many taps.
    pub(super) fn least(&self, taps: [usize; AXES]) -> usize {
        let ([.., w, depth], [.., columns, channels]) = (self.run, taps);
        match () {
            // The last block may have one channel, or one tap of a row.
            () if depth < channels => 1,
            () if self.rows && w == columns => w * depth,
            () => depth,
        }
    }

    /// Where the steps of a block begin in both operands, and how many elements each has.
    pub(super) fn of(&self, taps: &Block) -> ([Offsets<'_>; 2], usize) {
        let [d, h, w, depth] = taps.sizes;
        let (steps, len) = if self.rows { (d * h, w * depth) } else { (d * h * w, depth) };
        (self.places.each_ref().map(|places| places.first(steps)), len)
    }
}

/// Elements that lie side by side, and the steps of them, for so many taps of three axes and so many channels; where
/// the image is copied or has no other channels, as is assumed here.
pub(crate) fn side_by_side(taps: [usize; 3], dilation: usize, channels: usize) -> [usize; 2] {
    let [d, h, w] = taps;
    let planes = d.saturating_mul(h);
    if dilation == 1 || w == 1 {
        [w.saturating_mul(channels), planes]
    } else {
        [channels, planes.saturating_mul(w)]
    }
}
