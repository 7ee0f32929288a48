//! How large the runs of a view are, and the cells of a product: what a cache holds, and work for all threads.

use super::{Gathering, Lanes, Packing};
use crate::gemm::gathered::ROWS_OF_CELL;
use crate::kernel::{Isa, Kernels};
use crate::patches::{Beside, Limits, Source};

/// Elements that a run may touch: with a panel of weights it has to stay in the L2 cache. AVX2's may have half a MiB, those
/// of AVX-512 have 1 MiB and more (aspp_d6 on Zen 5: 265 GFLOP/s with 160 Ki, 289 so; video_22 backward_data
/// 145 and 193).
const fn touched(isa: Isa) -> usize {
    match isa {
        Isa::Avx512 => 240 << 10,
        _ => 160 << 10,
    }
}

/// Taps of a run, which are the terms between two visits of the destination.
const TAPS: usize = 8192;

/// Pixels of a run, which are the rows of a cell.
pub(super) const PIXELS: usize = 1568;

/// Multiplications that a cell should have, so that there are more cells than threads but each is
/// worth handing out: some 50 µs.
const CELL_WORK: usize = 3 << 20;

/// Runs of pixels, of all images and groups, from which on taps give way: larger ones copy fewer rows twice, and read
/// their weights less often (alexnet_g2 backward_data on Zen 5: 228 GFLOP/s, 239 so; dense_32 106, 138).
const PARTS: usize = 4;

/// Terms that are worth being cut in two: sums of fewer come and go too often, counted for NEON (r50_conv1 takes 1.17 of a
/// perfect pass in two runs of taps, 1.13 in one; on Zen 5 with AVX2 it is 2 % faster in two).
const fn many_terms(isa: Isa) -> usize {
    match isa {
        Isa::Neon => 256,
        _ => 0,
    }
}

/// Cells that a layer should have, where its rows are enough.
const CELLS: usize = 8;

impl Gathering {
    /// Whether pixels are lanes, and one cell has all channels: more runs of taps cost it no more copies.
    fn is_shallow<T>(&self, kernels: &Kernels<T>) -> bool {
        self.lanes == Lanes::Pixels && self.channels <= 2 * kernels.wide.rows
    }

    /// What the runs of a product's view may be.
    pub(super) fn limits<T>(&self, source: &Source, kernels: &Kernels<T>, terms: usize) -> Limits {
        let flat = self.lanes == Lanes::Pixels;
        let [.., h, w] = source.pixel_sizes();
        let shallow = self.is_shallow(kernels);
        let tiles = self.channels.div_ceil(kernels.wide.rows);
        // Fewer pixels make more cells where those of a run have no others.
        let work = terms.saturating_mul(self.channels);
        let enough = (CELL_WORK / work).max(1).next_multiple_of(256);
        let pixels = match (flat, shallow) {
            (true, true) => enough.min(h * w),
            (true, false) => h * w,
            (false, _) => PIXELS,
        };
        // Where one cell has all channels, no other copies the same again for each run of taps.
        let others =
            source.batch.saturating_mul(source.walks[0].outputs).saturating_mul(self.groups);
        let kept = match (flat, shallow) {
            (true, true) => usize::MAX,
            (true, false) if self.channels < ROWS_OF_CELL && terms >= many_terms(kernels.isa) => {
                w * h.div_ceil(PARTS.div_ceil(others))
            }
            _ => 0,
        };
        Limits {
            pixels: pixels.min(PIXELS),
            taps: TAPS,
            touched: touched(kernels.isa),
            kept,
            beside: if flat { Beside::Planes } else { Beside::None },
            once: flat && (tiles == 1 || (tiles == 2 && source.is_far())),
        }
    }

    /// Channels of a cell, whose products each have so many multiplications, for each of so many runs of
    /// pixels: few, until there is work for everybody.
    pub(super) fn channels_of_cell<T>(
        &self,
        kernels: &Kernels<T>,
        of_channel: usize,
        runs: usize,
    ) -> usize {
        let step = match self.lanes {
            Lanes::Pixels if self.is_shallow(kernels) => self.channels,
            Lanes::Pixels => kernels.wide.rows,
            Lanes::Channels => self.width,
            Lanes::Terms => self.channels,
        };
        let work = if self.packing == Packing::PerCell { 0 } else { CELL_WORK };
        let most = (work / of_channel.max(1)).next_multiple_of(step).max(step);
        // Panels of pixels are copied, or come from the L2 cache, for each cell anew: more cells have half as many.
        match self.lanes {
            Lanes::Pixels => {
                let parts = self.channels.div_ceil(ROWS_OF_CELL);
                let enough = runs.saturating_mul(self.groups).saturating_mul(parts) >= CELLS;
                let parts =
                    if enough { parts } else { parts.max(self.channels / (ROWS_OF_CELL / 2)) };
                most.max(self.channels.div_ceil(parts).next_multiple_of(step))
            }
            Lanes::Channels | Lanes::Terms => most,
        }
    }
}
