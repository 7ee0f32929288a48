//! How large the blocks of a product are: work for all threads.

use super::{OverTaps, Packing};
use crate::choose::schedule::{Corner, Padding, Schedule, Staging};
use crate::gemm::packed_b::ROWS_OF_BLOCK;
use crate::kernel::Kernels;
use crate::numerics::KC;

/// Multiplications that a block should have, so that there are more blocks than threads but each is
/// worth handing out.
const BLOCK_WORK: usize = 3 << 20;

/// Cells that a layer should have, where its rows are enough.
const BLOCKS: usize = 8;

/// Pixels of a block that has all channels, at least.
const PIXELS_ACROSS: usize = 112;

impl OverTaps {
    /// The most pixels of a block: those of the schedule. Or where a sum is of one part and the image is read as it lies, so
    /// few that a block has all channels, if these lie side by side: then what is written of a pixel is written at once.
    pub(super) fn pixels_of_block(&self, beside_channels: bool) -> usize {
        let Schedule { lanes, cols, padding, pixels, .. } = self.schedule;
        let in_place = cols == Staging::InPlace && padding == Padding::Zeros;
        let shared = lanes == Corner::Channels && self.packing == Packing::Shared;
        if !(beside_channels && in_place && shared && self.k <= KC) {
            return pixels;
        }
        let of_pixel = self.k.saturating_mul(self.channels).max(1);
        pixels.min(PIXELS_ACROSS.max(BLOCK_WORK / 2 / of_pixel))
    }

    /// Whether pixels are lanes, and one block has all channels: more blocks of taps cost it no more copies.
    fn is_shallow<T>(&self, kernels: &Kernels<T>) -> bool {
        self.schedule.lanes == Corner::Pixels && self.channels <= 2 * kernels.wide.rows
    }

    /// Channels of a block, whose products each have so many multiplications, for each of so many blocks of
    /// pixels: few, until there is work for everybody.
    pub(super) fn channels_of_block<T>(
        &self,
        kernels: &Kernels<T>,
        of_channel: usize,
        runs: usize,
    ) -> usize {
        let step = match self.schedule.lanes {
            Corner::Pixels if self.is_shallow(kernels) => self.channels,
            Corner::Pixels => kernels.wide.rows,
            Corner::Channels => self.width,
            Corner::Taps => self.channels,
        };
        let work = if self.packing == Packing::PerBlock { 0 } else { BLOCK_WORK };
        let most = (work / of_channel.max(1)).next_multiple_of(step).max(step);
        // Panels of pixels are copied, or come from the L2 cache, for each block anew: more blocks have half as many.
        match self.schedule.lanes {
            Corner::Pixels => {
                let parts = self.channels.div_ceil(ROWS_OF_BLOCK);
                let enough = runs.saturating_mul(self.groups).saturating_mul(parts) >= BLOCKS;
                let parts =
                    if enough { parts } else { parts.max(self.channels / (ROWS_OF_BLOCK / 2)) };
                most.max(self.channels.div_ceil(parts).next_multiple_of(step))
            }
            Corner::Channels | Corner::Taps => most,
        }
    }
}
