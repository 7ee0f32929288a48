//! What a product is of: two operands, the panels and tiles that they are cut into, and how a tile gets to its place.

use super::grid::Offsets;
use super::target::CBlock;
use crate::element::Element;
use crate::kernel::{Epilogue, Kernel, MAX_LANES, Side, Store, total};
use core::mem::MaybeUninit;
use core::ops::Range;

/// Elements of f32 in 2 KiB: places a multiple of that apart meet in the same few sets of the caches.
pub(crate) const SET_CONFLICT: usize = 512;

/// Begins a line of the cache.
#[repr(align(64))]
pub(super) struct Aligned<T>(pub(super) T);

/// Rows that meet one part of b before the next part: tiles of 28, 14 or 6. Channels first, rows
/// that follow each other read the same lines of the image, and all meet b in the L1 cache.
pub(crate) const ROWS: usize = 504;

/// Their sums, in panels of so many lanes; wider ones have fewer rows.
pub(super) const SUMS: usize = ROWS * MAX_LANES;

/// The left operand: row `r` and index `i` of k meet at `data[rows[r] + k[i]]`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) rows: Offsets<'a>,
    pub(crate) k: Offsets<'a>,
    /// Rows by which the order of the sums is chosen: as many as there are, or as there are in another batch whose bits are
    /// wanted.
    pub(crate) weighed: usize,
}

/// The right operand: index `i` of k and lane `l` of panel `p` meet at
/// `data[first + p * panel_pitch + k[i] + l]`.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a, T> {
    pub(crate) data: &'a [T],
    /// Lanes may be read before it, as they may be read past the last, where that fills a vector.
    pub(crate) first: usize,
    /// Elements between panels that were packed; `None` where all lanes lie side by side.
    pub(crate) panel_pitch: Option<usize>,
    pub(crate) k: Offsets<'a>,
}

/// The lanes of one tile.
pub(super) struct Panel {
    /// Where its first lane lies in the right operand.
    pub(super) from: usize,
    /// Vectors computed.
    pub(super) vectors: usize,
    /// Lanes computed before those wanted.
    pub(super) skip: usize,
    /// The first lane wanted, and how many.
    pub(super) first: usize,
    pub(super) width: usize,
}

/// How the last of some lanes side by side are read if they fill no vector.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With lanes before them that were done already, or else with some past the end.
    Open,
    /// The data ends with them, and so that a lone panel's can be read with others, it is made two.
    Split,
    /// The data ends with them, but there is some before the first.
    Back,
}

impl End {
    pub(super) fn new<T>(
        kernel: &Kernel<T>,
        right: &Right<'_, T>,
        lanes: usize,
        reach: usize,
    ) -> Self {
        let vectors = lanes.next_multiple_of(kernel.vector);
        let fits = total([right.first, vectors, reach]) <= right.data.len();
        if right.panel_pitch.is_some() || lanes >= kernel.lanes || fits {
            End::Open
        } else if right.first >= vectors - lanes {
            End::Back
        } else {
            assert!(lanes >= kernel.vector, "{lanes} lanes with nothing before or after them");
            End::Split
        }
    }
}

impl Panel {
    /// Panel `index` of `lanes` lanes; where the lanes lie side by side, the last one is as narrow as
    /// it can be.
    pub(super) fn new<T>(
        kernel: &Kernel<T>,
        right: &Right<'_, T>,
        lanes: usize,
        index: usize,
        end: End,
    ) -> Self {
        let panel = if end == End::Split { lanes - lanes % kernel.vector } else { kernel.lanes };
        let first = index * panel;
        let width = panel.min(lanes - first);
        let Some(pitch) = right.panel_pitch else {
            let vectors = width.div_ceil(kernel.vector);
            let past = vectors * kernel.vector - width;
            let skip = if end == End::Back { past } else { past.min(first) };
            return Self { from: right.first + first - skip, vectors, skip, first, width };
        };
        let vectors = kernel.lanes / kernel.vector;
        Self { from: right.first + index * pitch, vectors, skip: 0, first, width }
    }
}

/// The biases of a product's rows and of its lanes, of which there is one at most.
pub(super) fn biases<'a, T>(epilogue: &Epilogue<'a, T>) -> [Option<&'a [T]>; 2] {
    match epilogue.channels {
        Side::Rows => [epilogue.bias, None],
        Side::Columns => [None, epilogue.bias],
    }
}

/// Whether there is a bias for each row or lane of a block, and a residual for each of its elements.
pub(super) fn fits<T: Element>(epilogue: &Epilogue<'_, T>, c: &CBlock<'_, T>) -> bool {
    let (data, len) = c.destination();
    let channels = match epilogue.channels {
        Side::Rows => c.row_count(),
        Side::Columns => c.columns().len,
    };
    epilogue.bias.is_none_or(|bias| bias.len() == channels) && epilogue.covers_from(data, len)
}

/// Begins a tile with the bias of its rows or lanes.
pub(super) fn begin<T: Element>(
    tile: &mut [MaybeUninit<T>],
    tile_rows: usize,
    panel: &Panel,
    tile_pitch: usize,
    epilogue: &Epilogue<'_, T>,
    rows: Range<usize>,
) {
    let [row_bias, lane_bias] = biases(epilogue);
    let wanted = panel.skip..panel.skip + panel.width;
    for (r, tile) in tile.chunks_exact_mut(tile_pitch).take(tile_rows).enumerate() {
        let row = (rows.start + r).min(rows.end - 1);
        let of_row = row_bias.map_or(T::ZERO, |bias| bias[row]);
        for (lane, sum) in tile.iter_mut().enumerate() {
            sum.write(match lane_bias {
                Some(bias) if wanted.contains(&lane) => bias[panel.first + lane - panel.skip],
                _ => of_row,
            });
        }
    }
}

/// Rows of each tile but the last: no more than `most`, and as even as the kernel's steps allow.
pub(super) fn height(rows: usize, [step, most]: [usize; 2]) -> usize {
    rows.div_ceil(rows.div_ceil(most)).next_multiple_of(step).min(most)
}

/// Writes the lanes wanted of a tile's rows to their places, line by line.
///
/// # Safety
/// Having the kernel proves its ISA. `offsets` are of rows of the block; the tile has a row for each,
/// `tile_pitch` elements apart, whose lanes are initialised up to the last of the panel.
pub(super) unsafe fn store<T: Element>(
    kernel: &Kernel<T>,
    c: &mut CBlock<'_, T>,
    panel: &Panel,
    (tile, tile_pitch): (*const T, usize),
    offsets: &[u32],
    epilogue: &Epilogue<'_, T>,
) {
    let &Panel { skip, first, width, .. } = panel;
    for lanes in c.lines(first..first + width) {
        // SAFETY: the block alone may write its rows and lanes, `offsets` has an entry for each row,
        // and the lanes of a line are `column_pitch` apart; `over` took a `&mut [T]`, so they are
        // initialised; `fits` has asked for the residual. The caller vouches for the tile.
        unsafe {
            (kernel.store)(&Store {
                tile: tile.add(skip + lanes.start - first),
                tile_pitch,
                rows: offsets.len(),
                lanes: lanes.len(),
                c: c.start().add(c.column_place(lanes.start)),
                row_offsets: offsets.as_ptr(),
                lane_stride: c.column_pitch(),
                epilogue,
            });
        }
    }
}
