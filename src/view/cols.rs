//! Cols as a view: the patch matrix of an image without the matrix.
//!
//! Tap `k` of output `o` reads the image at `o * stride + k * dilation - padding` on every axis:
//! a part that depends on the output plus a part that depends on the tap. So the element
//! `cols[tap][pixel]` lies at `taps[tap] + pixels[pixel]`, an outer sum of two small tables:
//!
//! ```text
//!                pixels   0   1   .. O-1      (rows of forward, k of backward_weight)
//!        taps           +---------------+
//!         0             |               |
//!         1             |  image[ taps[tap] + pixels[pixel] ]
//!         :             |               |
//!        C·R-1          +---------------+     (k of forward, rows of backward_weight)
//! ```
//!
//! The image is read as it lies. Where a tap can meet padding, or where the image's pitch would
//! conflict in a few sets of the cache, the part that a block of pixels needs is first copied, with its
//! zeros, into scratch of a fixed size; the tables then describe the copy.

use super::copy::Copy;
use super::source::{Beside, Source};
use crate::axis::Walk;
use crate::element::Element;
use crate::gemm::grid::{self, Block, Grid, fit_tables, largest_block};
use crate::kernel::Kernels;
use core::fmt;

/// The patch matrix of an image as two grids over it, or over a copy of the part that a block of
/// pixels and a block of taps need.
#[derive(Debug, Clone)]
pub(crate) struct Cols {
    source: Source,
    /// Where each output position reads with the first tap.
    pub(crate) pixels: Grid,
    /// How far each tap reads from the first.
    pub(crate) taps: Grid,
    copy: Option<Copy>,
    /// Nobody reads the padding of the rows, and of the columns.
    unread: [bool; 2],
    /// Pixels of a block of as many images as the source is weighed by.
    weighed_block: usize,
}

impl fmt::Display for Cols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pixels, taps) = (self.pixels.block_len(), self.taps.block_len());
        write!(f, "{pixels} pixels by {taps} taps at a time, ")?;
        match &self.copy {
            Some(copy) => write!(f, "from a copy of {} elements", copy.len),
            None => write!(f, "from the image as it lies"),
        }
    }
}

/// Which part of the image a worker's scratch holds: group, first pixel, first tap.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Held(Option<[usize; 3]>);

/// A copy that a worker has: its memory, and what is in it already.
pub(crate) struct InScratch<'a, T> {
    /// [`copy_len`](Cols::copy_len) elements.
    pub(crate) data: &'a mut [T],
    pub(crate) held: &'a mut Held,
}

/// At most how many positions the blocks of a view may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Pixels of a block.
    pub(crate) pixels: usize,
    /// Taps of a block.
    pub(crate) taps: usize,
    /// Elements that a block of pixels by a block of taps touches.
    pub(crate) touched: usize,
    /// Pixels that a block keeps where the touched elements are too many, if there are taps that can give way.
    pub(crate) kept: usize,
    /// Which pixels of a block lie side by side, so that they can be the lanes of a vector.
    pub(crate) beside: Beside,
    /// The image is read as it lies where that is possible; else it is always copied.
    pub(crate) in_place: bool,
}

impl Cols {
    /// A view whose blocks keep the limits, without tables yet: not all readers want both. `with_pixels` and
    /// `with_taps` are pitches of further grids that will be cut in the same blocks.
    pub(crate) fn new(
        source: Source,
        limits: Limits,
        with_pixels: &[[usize; 4]],
        with_taps: &[[usize; 4]],
    ) -> Self {
        let (pixel_sizes, tap_sizes) = (source.pixel_sizes(), source.tap_sizes());
        // How the taps are cut decides the order of sums: it must not depend on the batch at hand.
        let [_, d, h, w] = pixel_sizes;
        let weighed_sizes = [source.weighed, d, h, w];
        let flat = limits.beside == Beside::Planes;
        let beside = match limits.beside {
            Beside::None => true,
            Beside::Rows => source.walks[2].stride == 1,
            Beside::Planes => source.is_side_by_side(),
        };
        let direct = limits.in_place && source.walks.iter().all(Walk::is_inside) && beside;

        // Lanes follow each other in one image, and in one plane of it.
        let [mut most_pixels, mut most_taps] = [limits.pixels, limits.taps];
        if flat {
            most_pixels = most_pixels.min(pixel_sizes[2] * pixel_sizes[3]);
        }
        let (mut pixel_block, mut tap_block, mut copy);
        loop {
            pixel_block = largest_block(weighed_sizes, most_pixels);
            tap_block = largest_block(tap_sizes, most_taps);
            copy = Copy::new(&source, pixel_block, tap_block, limits.beside);
            // 64 by 64 is small enough whatever the strides are.
            let (pixels, taps) = (most_pixels > 64, most_taps > 64);
            if copy.len <= limits.touched || !(pixels || taps) {
                break;
            }
            if pixels && (most_pixels > limits.kept || !taps) {
                let kept = if taps { limits.kept } else { 0 };
                most_pixels = (most_pixels.min(pixel_block.iter().product()) * 7 / 8).max(kept);
            } else {
                most_taps = most_taps.min(tap_block.iter().product()) * 7 / 8;
            }
        }
        let weighed_block = pixel_block.iter().product();
        if pixel_sizes != weighed_sizes {
            // The same taps for the images that there are: of these, as many pixels as the copy has room for.
            let mut most = if flat { limits.pixels.min(h * w) } else { limits.pixels };
            loop {
                pixel_block = largest_block(pixel_sizes, most);
                let touched = Copy::new(&source, pixel_block, tap_block, limits.beside).len;
                if touched <= limits.touched || most <= weighed_block {
                    break;
                }
                most = (most.min(pixel_block.iter().product()) * 7 / 8).max(weighed_block);
            }
        }
        let cut = (0..4).rfind(|&axis| tap_block[axis] < tap_sizes[axis]);
        if let Some(axis) = cut.filter(|_| flat) {
            // Else the last block is shorter, and the others touch more than they need to.
            let parts = tap_sizes[axis].div_ceil(tap_block[axis]);
            tap_block[axis] = tap_sizes[axis].div_ceil(parts);
        }
        let (direct_pixels, direct_taps) = source.direct_pitches();
        if direct {
            let pixel_block = fit_tables(fit_tables(pixel_block, with_pixels), &[direct_pixels]);
            let tap_block = fit_tables(fit_tables(tap_block, with_taps), &[direct_taps]);
            let pixels = Grid::untabled(pixel_sizes, direct_pixels, pixel_block);
            let taps = Grid::untabled(tap_sizes, direct_taps, tap_block);
            let unread = [false; 2];
            return Self { source, pixels, taps, copy: None, unread, weighed_block };
        }
        let pixel_block = fit_tables(pixel_block, with_pixels);
        let tap_block = fit_tables(tap_block, with_taps);
        let copy = Copy::new(&source, pixel_block, tap_block, limits.beside);
        let point = |a: usize| copy.slots[a].point.saturating_mul(copy.pitches.axes[a]);
        let tap = |a: usize| copy.slots[a].tap.saturating_mul(copy.pitches.axes[a]);
        let pixel_pitches = [copy.pitches.image, point(0), point(1), point(2)];
        let tap_pitches = source.by_layout(copy.pitches.channel, [0, 1, 2].map(tap));
        let pixels = Grid::untabled(pixel_sizes, pixel_pitches, pixel_block);
        let taps = Grid::untabled(tap_sizes, tap_pitches, tap_block);
        Self { source, pixels, taps, copy: Some(copy), unread: [false; 2], weighed_block }
    }

    /// Leaves the padding out of copies: whoever reads them leaves out the taps that meet padding
    /// between rows, or between columns.
    pub(crate) fn without_padding(&mut self, unread: [bool; 2]) {
        self.unread = unread;
    }

    /// Reads the image as it lies where the tables allow it, which are made afterwards: whoever reads it leaves out all
    /// taps that meet padding, and what the tables count from may lie before it.
    pub(crate) fn in_place(&mut self) {
        let (pixels, taps) = self.source.direct_pitches();
        let (pixel_block, tap_block) = (self.pixels.block_sizes(), self.taps.block_sizes());
        let fit = |run, pitches| fit_tables(run, &[pitches]) == run;
        // Outputs that meet nothing may lie anywhere: no pitch between them may have been cut off.
        let reach = |sizes, pitches| grid::reach(sizes, pitches).unwrap_or(usize::MAX);
        let all = reach(self.source.pixel_sizes(), pixels)
            .saturating_add(reach(self.source.tap_sizes(), taps));
        let near = all <= isize::MAX as usize;
        if !near || !fit(pixel_block, pixels) || !fit(tap_block, taps) {
            return;
        }
        self.pixels = Grid::untabled(self.source.pixel_sizes(), pixels, pixel_block);
        self.taps = Grid::untabled(self.source.tap_sizes(), taps, tap_block);
        self.copy = None;
    }

    /// Pixels of a block of as many images as the source is weighed by.
    pub(crate) fn weighed_block(&self) -> usize {
        self.weighed_block
    }

    /// Blocks of the pixels of so many images.
    pub(crate) fn weighed_blocks(&self) -> usize {
        let blocks = self.pixels.blocks().saturating_mul(self.source.weighed);
        blocks.div_ceil(self.source.batch.max(1))
    }

    /// Elements of scratch for a copy; 0 where the image is read as it lies.
    pub(crate) fn copy_len(&self) -> usize {
        self.copy.map_or(0, |copy| copy.len)
    }

    /// The slice that the tables of these blocks index, from the channels of `group` on, and the place in
    /// it from which they count, modulo a word if that lies [before the image](Self::in_place).
    pub(crate) fn part<'a, T: Element>(
        &self,
        kernels: &Kernels<T>,
        image: &'a [T],
        group: usize,
        [pixels, taps]: [&Block; 2],
        copied: &'a mut InScratch<'_, T>,
    ) -> (&'a [T], usize) {
        let pitches = self.source.pitches();
        let first = group * self.source.channels * pitches.channel;
        let Some(copy) = &self.copy else {
            let origin = |a: usize| self.source.walks[a].origin * pitches.axes[a] as isize;
            let origin = origin(0) + origin(1) + origin(2);
            // The blocks may be another grid's, of the same positions.
            let place = self.pixels.place(pixels.start) + self.taps.place(taps.start);
            return (image, (first + place).wrapping_add_signed(origin));
        };
        let wanted = Held(Some([group, pixels.first, taps.first]));
        let InScratch { data, held } = copied;
        if **held != wanted {
            let view = (&self.source, self.unread);
            copy.fill(view, kernels, &image[first..], [pixels, taps], data);
            **held = wanted;
        }
        (data, 0)
    }
}
