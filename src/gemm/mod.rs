//! Matrix products. Knows nothing of convolution: only grids of places, panels and blocks.
//!
//! [`multiply`] fills one block of a [`Target`](target::Target): panel by panel of b, up to [`ROWS`] of
//! a's rows at a time, tile after tile of which meets the same part of b before the next part.

pub(crate) mod classes;
pub(crate) mod copy;
pub(crate) mod dot;
pub(crate) mod grid;
pub(crate) mod pack;
pub(crate) mod packed_b;
mod streaming;
pub(crate) mod target;
#[cfg(feature = "testing")]
pub(crate) mod tests;
pub(crate) mod textbook;
pub(crate) mod tiles;

use crate::element::Element;
use crate::kernel::{
    Epilogue, Kernel, Kernels, MAX_LANES, MAX_TILE, Multiply, Side, Store, are_consecutive, reach,
    total,
};
use core::mem::MaybeUninit;
use core::ops::Range;
use core::slice;
use grid::Offsets;
use target::CBlock;

/// Elements of f32 in 2 KiB: places a multiple of that apart meet in the same few sets of the caches.
pub(crate) const SET_CONFLICT: usize = 512;

/// Begins a line of the cache.
#[repr(align(64))]
struct Aligned<T>(T);

/// Rows that meet one part of b before the next part: tiles of 28, 14 or 6. Channels first, rows
/// that follow each other read the same lines of the image, and all meet b in the L1 cache.
pub(crate) const ROWS: usize = 504;

/// Their sums, in panels of so many lanes; wider ones have fewer rows.
const SUMS: usize = ROWS * MAX_LANES;

/// The left operand: row `r` and index `i` of k meet at `data[rows[r] + k[i]]`.
#[derive(Clone, Copy)]
pub(crate) struct Left<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) rows: Offsets<'a>,
    pub(crate) k: Offsets<'a>,
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
struct Panel {
    /// Where its first lane lies in the right operand.
    from: usize,
    /// Vectors computed.
    vectors: usize,
    /// Lanes computed before those wanted.
    skip: usize,
    /// The first lane wanted, and how many.
    first: usize,
    width: usize,
}

/// How the last of some lanes side by side are read if they fill no vector.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// With lanes before them that were done already, or else with some past the end.
    Open,
    /// The data ends with them, and so that a lone panel's can be read with others, it is made two.
    Split,
    /// The data ends with them, but there is some before the first.
    Back,
}

impl End {
    fn new<T>(kernel: &Kernel<T>, right: &Right<'_, T>, lanes: usize, reach: usize) -> Self {
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
    fn new<T>(
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
fn biases<'a, T>(epilogue: &Epilogue<'a, T>) -> [Option<&'a [T]>; 2] {
    match epilogue.channels {
        Side::Rows => [epilogue.bias, None],
        Side::Columns => [None, epilogue.bias],
    }
}

/// Whether there is a bias for each row or lane of a block, and a residual for each of its elements.
fn fits<T: Element>(epilogue: &Epilogue<'_, T>, c: &CBlock<'_, T>) -> bool {
    let (data, len) = c.destination();
    let channels = match epilogue.channels {
        Side::Rows => c.row_count(),
        Side::Columns => c.columns().len,
    };
    epilogue.bias.is_none_or(|bias| bias.len() == channels) && epilogue.covers_from(data, len)
}

/// Begins a tile with the bias of its rows or lanes.
fn begin<T: Element>(
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

/// Fills `c` with the product of `left` and `right`.
///
/// # Panics
/// If an operand leaves its slice: the caller's tables are wrong.
pub(crate) fn multiply<T: Element>(
    kernel: &Kernel<T>,
    c: &mut CBlock<'_, T>,
    left: Left<'_, T>,
    right: Right<'_, T>,
    epilogue: Epilogue<'_, T>,
) {
    let (rows, lanes) = (c.row_count(), c.columns().len);
    let most = right.k.most();
    let end = End::new(kernel, &right, lanes, most);
    let panels = if end == End::Split { 2 } else { lanes.div_ceil(kernel.lanes) };
    let [row_steps, steps_a, steps_b] = [left.rows, left.k, right.k].map(Offsets::all);
    assert!(row_steps.len() == rows && steps_a.len() == steps_b.len());
    assert!(total([left.rows.most(), left.k.most()]) < left.data.len());
    let last = Panel::new(kernel, &right, lanes, panels - 1, end);
    // Panels before the last are whole and end before it does.
    let past = reach([(panels, right.panel_pitch.unwrap_or(0))]);
    assert!(total([right.first, past]) < usize::MAX);
    assert!(total([last.from, last.vectors * kernel.vector, most]) <= right.data.len());
    assert!(fits(&epilogue, c));

    let beside_a = packed_b::beside(kernel, steps_a);
    let streaming = kernel.stream.zip(streaming::pays(kernel, c, &right, &epilogue));
    if let Some((stream, streaming)) = &streaming {
        // SAFETY: having the kernel proves its ISA, and it streams. The asserts above hold every row plus
        // every step within a, and every step plus all panels' vectors within b; the bias has its length.
        unsafe { streaming::multiply((kernel, *stream), c, left, right, epilogue, streaming) };
    } else if let Some(packed_b) = packed_b::pays(kernel, &left, &right, beside_a) {
        // SAFETY: as above, but that it packs b; the offsets of k were looked at.
        unsafe {
            packed_b::multiply(kernel, packed_b, c, left, right, epilogue, (panels, end));
        }
        return;
    }
    let streaming = streaming.map_or(0, |(_, streaming)| streaming.panels);
    let neighbours = kernel.neighbours.iter().find(|[len, _]| are_neighbours(row_steps, *len));
    let height = height(rows, *neighbours.unwrap_or(&[kernel.row_step, kernel.rows]));
    // The last tile may have more rows than are wanted.
    let mut sums = MaybeUninit::<Aligned<([T; SUMS], [T; MAX_TILE])>>::uninit();
    let sums = sums.as_mut_ptr().cast::<T>();
    let column_pitch = c.column_pitch();
    let biased = epilogue.bias.is_some();
    let k = kernel.block;
    let chunks = steps_a.len().div_ceil(k).max(1);
    // Lanes that lie apart are stored in lines, which are longer than a tile has rows.
    let stored = if column_pitch == 1 { height } else { 4 * height };
    let together =
        if chunks > 1 { ROWS.min(SUMS / kernel.lanes) / height * height } else { stored };
    for panel in streaming..panels {
        let panel = Panel::new(kernel, &right, lanes, panel, end);
        let Panel { from, vectors, first, width, .. } = panel;
        let tile_pitch = vectors * kernel.vector;
        let start = c.start().wrapping_add(c.column_place(first)).cast_const();
        let offsets = c.row_offsets();
        // One job is changed from tile to tile: making it anew takes as long as 10 products.
        let mut job = Multiply {
            count: 0,
            vectors,
            a: left.data.as_ptr(),
            rows: row_steps.as_ptr(),
            neighbours: neighbours.map_or(1, |[len, _]| *len),
            steps_a: steps_a.as_ptr(),
            beside_a,
            b: right.data[from..].as_ptr(),
            steps_b: steps_b.as_ptr(),
            packed_b: false,
            k: 0,
            tile: sums,
            tile_pitch,
            accumulate: biased,
            prefetch: start,
            prefetch_pitch: column_pitch,
            prefetch_lines: 0,
        };
        for first_row in (0..rows).step_by(together) {
            let some = first_row..rows.min(first_row + together);
            let mut done = some.start;
            for chunk in 0..chunks {
                let steps = chunk * k..steps_a.len().min((chunk + 1) * k);
                job.steps_a = steps_a[steps.clone()].as_ptr();
                job.steps_b = steps_b[steps.clone()].as_ptr();
                (job.k, job.accumulate) = (steps.len(), chunk > 0 || biased);
                for row in some.clone().step_by(height) {
                    let count = height.min(some.end - row);
                    (job.count, job.rows) = (count, row_steps[row..].as_ptr());
                    job.tile = sums.wrapping_add((row - some.start) * tile_pitch);
                    if chunk == 0 && biased {
                        // SAFETY: from each of the `together` rows on, `sums` has `MAX_TILE` elements.
                        let tile = unsafe { slice::from_raw_parts_mut(job.tile.cast(), MAX_TILE) };
                        begin(tile, kernel.rows, &panel, tile_pitch, &epilogue, row..row + count);
                    }
                    // The lines of the destination are fetched while the last sums are made.
                    if chunk + 1 == chunks {
                        job.prefetch = start.wrapping_add(offsets[row] as usize);
                        (job.prefetch_pitch, job.prefetch_lines) = match column_pitch {
                            1 if count > 1 => ((offsets[row + 1] - offsets[row]) as usize, count),
                            1 => (0, 1),
                            pitch => (pitch, width),
                        };
                    }
                    // SAFETY: having the kernel proves its ISA. The asserts above hold every row
                    // plus every step within a, and every step plus a panel's vectors within b;
                    // both tables have `k` entries; the tile is a part of `sums`, which has room
                    // for `together` rows and a tile more, and was written before it is accumulated to:
                    // rows of it that aren't wanted, too. Where all rows have neighbours, so have those of
                    // a tile, which has whole ones.
                    unsafe { (kernel.multiply)(&job) };
                    let end = row + count;
                    if chunk + 1 == chunks && (end - done >= stored || end == some.end) {
                        let tile = sums.wrapping_add((done - some.start) * tile_pitch);
                        let rows = &offsets[done..end];
                        // SAFETY: these rows have `skip + width` lanes each, all of them summed.
                        unsafe { store(kernel, c, &panel, (tile, tile_pitch), rows, &epilogue) };
                        done = end;
                    }
                }
                job.prefetch_lines = 0;
            }
        }
    }
}

/// [`multiply`] of packed panels: what is left of the last one by the narrow kernel, where that is enough. 48 channels are a
/// panel of 32 and one of 16.
pub(crate) fn multiply_panels<T: Element>(
    kernels: &Kernels<T>,
    kernel: &Kernel<T>,
    c: &mut CBlock<'_, T>,
    left: Left<'_, T>,
    right: Right<'_, T>,
    epilogue: Epilogue<'_, T>,
) {
    for (narrower, lanes) in kernels.shared(kernel, c.columns().len) {
        if !lanes.is_empty() {
            let panels = lanes.start / kernel.lanes;
            let first = right.first + panels * right.panel_pitch.unwrap_or(0);
            let (right, epilogue) = (Right { first, ..right }, epilogue.of_channels(lanes.clone()));
            multiply(narrower, &mut c.some_columns(lanes), left, right, epilogue);
        }
    }
}

/// Rows of each tile but the last: no more than `most`, and as even as the kernel's steps allow.
fn height(rows: usize, [step, most]: [usize; 2]) -> usize {
    rows.div_ceil(rows.div_ceil(most)).next_multiple_of(step).min(most)
}

/// Whether `len` rows lie side by side, then as many others.
fn are_neighbours(rows: &[u32], len: usize) -> bool {
    let neighbours = rows.chunks_exact(len);
    neighbours.remainder().is_empty() && neighbours.into_iter().all(are_consecutive)
}

/// Writes the lanes wanted of a tile's rows to their places, line by line.
///
/// # Safety
/// Having the kernel proves its ISA. `offsets` are of rows of the block; the tile has a row for each,
/// `tile_pitch` elements apart, whose lanes are initialised up to the last of the panel.
unsafe fn store<T: Element>(
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
