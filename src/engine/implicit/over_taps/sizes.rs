//! How large the blocks of a product are: work for all threads.

use super::{OverTaps, Packing};
use crate::choose::schedule::Corner;
use crate::gemm::packed_b::ROWS_OF_BLOCK;
use crate::kernel::Kernels;

/// Multiplications that a block should have, so that there are more blocks than threads but each is
/// worth handing out.
const BLOCK_WORK: usize = 3 << 20;

/// Cells that a layer should have, where its rows are enough.
const BLOCKS: usize = 8;

impl OverTaps {
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
