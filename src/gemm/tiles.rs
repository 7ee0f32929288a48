//! Winograd's products and transforms, in slices: as many products of the same sizes as a tile has points, and tiles
//! that become points, or are made of them.

use super::operands::height;
use super::target::CBlock;
use crate::element::Element;
use crate::kernel::winograd::{Form, Stage, Transform};
use crate::kernel::{Epilogue, Kernel, Kernels, Multiply, Store};
use crate::numerics::KC;
use core::ops::Range;

/// The most rows, and the most terms, of a [`Products`].
pub(crate) const MOST: usize = KC;

/// The sizes of products `c[p] = a[p] * b[p]`, and where their operands lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Products {
    /// How many there are: points.
    pub(crate) count: usize,
    pub(crate) rows: usize,
    /// Panels of b, each as wide as the kernel's.
    pub(crate) panels: usize,
    pub(crate) terms: usize,
    /// Elements between points, rows and terms of a.
    pub(crate) a: [usize; 3],
    /// Elements between points, panels and terms of b.
    pub(crate) b: [usize; 3],
    /// Elements between points and rows of c.
    pub(crate) c: [usize; 2],
}

/// `0, pitch, 2 * pitch, ..` in the first `len` of a table.
fn table(len: usize, pitch: usize) -> [u32; MOST] {
    assert!(len <= MOST && len * pitch <= u32::MAX as usize, "{len} by {pitch}");
    let mut table = [0; MOST];
    for (i, offset) in table[..len].iter_mut().enumerate() {
        *offset = (i * pitch) as u32;
    }
    table
}

/// Multiplies; with `accumulate`, adds to what c has.
///
/// # Panics
/// If an operand leaves its slice, or rows of c overlap: the caller's sizes are wrong.
pub(crate) fn multiply<T: Element>(
    kernel: &Kernel<T>,
    products: &Products,
    [a, b]: [&[T]; 2],
    c: &mut [T],
    accumulate: bool,
) {
    let &Products { count, rows, panels, terms, a: of_a, b: of_b, c: of_c } = products;
    assert!(count > 0 && rows > 0 && panels > 0 && (1..=kernel.block).contains(&terms));
    let lanes = panels * kernel.lanes;
    let height = height(rows, [kernel.row_step, kernel.rows]);
    let last = |sizes: [usize; 3], pitches: [usize; 3]| {
        (0..3).map(|i| (sizes[i] - 1) * pitches[i]).sum::<usize>()
    };
    assert!(last([count, rows, terms], of_a) < a.len());
    assert!(last([count, panels, terms], of_b) + kernel.lanes <= b.len());
    // Rows that complete a step are written, too.
    let written = rows.next_multiple_of(kernel.row_step);
    assert!(last([count, written, 1], [of_c[0], of_c[1], 0]) + lanes <= c.len());
    assert!(of_c[1] >= lanes);
    let [row_steps, steps_a, steps_b] =
        [(rows, of_a[1]), (terms, of_a[2]), (terms, of_b[2])].map(|(len, pitch)| table(len, pitch));
    let gathers = |by_lane: bool| !by_lane || of_a[2] == 1;
    let packed_b = of_b[2] == kernel.lanes
        && kernel.packed_b.as_ref().is_some_and(|packed_b| gathers(packed_b.by_lane));
    let mut job = Multiply {
        vectors: kernel.lanes / kernel.vector,
        steps_a: steps_a.as_ptr(),
        beside_a: of_a[2] == 1,
        steps_b: steps_b.as_ptr(),
        packed_b,
        k: terms,
        tile_pitch: of_c[1],
        accumulate,
        prefetch_pitch: of_c[1],
        ..Multiply::IDLE
    };
    let tiles = rows.div_ceil(height);
    for point in 0..count {
        for panel in 0..panels {
            job.b = b[point * of_b[0] + panel * of_b[1]..].as_ptr();
            // The next panel comes from afar: each tile of this one fetches a part of it.
            let next = match panel + 1 < panels {
                true => job.b.wrapping_add(of_b[1]),
                false => b.as_ptr().wrapping_add((point + 1) * of_b[0]),
            };
            let is_last = point + 1 == count && panel + 1 == panels;
            job.ahead_step = if is_last { 0 } else { of_b[2].div_ceil(tiles) };
            for (tile, row) in (0..rows).step_by(height).enumerate() {
                job.count = height.min(rows - row);
                job.ahead = next.wrapping_add(tile * job.ahead_step * terms);
                job.a = a[point * of_a[0]..].as_ptr();
                job.rows = row_steps[row..].as_ptr();
                job.tile = c[point * of_c[0] + row * of_c[1] + panel * kernel.lanes..].as_mut_ptr();
                (job.prefetch, job.prefetch_lines) = (job.tile.cast_const(), job.count);
                // SAFETY: having the kernel proves its ISA. The asserts above hold every row plus every term of each
                // point within a, a panel's vectors at every term within b, and all rows of the tile within c, those
                // that complete a step, too; the tables have `rows` and `terms` entries; c is borrowed for all of this.
                unsafe { (kernel.multiply)(&job) };
            }
        }
    }
}

/// Where the elements of a tile lie in a slice: `(i, j)` at `start + i * pitch[0] + j * pitch[1]`. Those outside of `inside`
/// are zeros, wherever they would lie.
#[derive(Debug, Clone)]
pub(crate) struct Tile {
    pub(crate) start: isize,
    pub(crate) pitch: [isize; 2],
    pub(crate) inside: [Range<usize>; 2],
}

impl Tile {
    /// All elements of a tile of this size.
    pub(crate) fn whole(start: usize, pitch: [usize; 2], sizes: [usize; 2]) -> Self {
        let inside = sizes.map(|size| 0..size);
        Self { start: start as isize, pitch: pitch.map(|pitch| pitch as isize), inside }
    }

    /// Whether each element that is inside has `lanes` elements within `len`.
    fn fits(&self, lanes: usize, len: usize) -> bool {
        let [rows, columns] = &self.inside;
        if rows.is_empty() || columns.is_empty() {
            return true;
        }
        let place = |i: usize, j: usize| {
            let rows = self.pitch[0].checked_mul(i as isize)?;
            self.start.checked_add(rows)?.checked_add(self.pitch[1].checked_mul(j as isize)?)
        };
        let fits = |place: Option<isize>| {
            let end = place.filter(|&at| at >= 0).and_then(|at| (at as usize).checked_add(lanes));
            end.is_some_and(|end| end <= len)
        };
        // The places of a rectangle lie between those of its corners.
        [rows.start, rows.end - 1]
            .into_iter()
            .all(|i| fits(place(i, columns.start)) && fits(place(i, columns.end - 1)))
    }
}

/// Which transform, of how many channels side by side, multiplied by what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind<T> {
    pub(crate) form: Form,
    pub(crate) stage: Stage,
    pub(crate) lanes: usize,
    pub(crate) scale: T,
}

/// Transforms a tile of one slice into one of another, whose elements are vectors of lanes, the last of them whole.
///
/// # Panics
/// If either leaves its slice: the caller's sizes are wrong.
pub(crate) fn transform<T: Element>(
    kernels: &Kernels<T>,
    kind: Kind<T>,
    (from, tile): (&[T], &Tile),
    (to, to_pitch): (&mut [T], [usize; 2]),
    bias: Option<&[T]>,
) {
    let Kind { form, stage, lanes, scale } = kind;
    let [_, wanted] = stage.sizes(form);
    let room = lanes.next_multiple_of(kernels.tall.vector);
    assert!(lanes > 0 && tile.fits(lanes, from.len()));
    assert!((wanted[0] - 1) * to_pitch[0] + (wanted[1] - 1) * to_pitch[1] + room <= to.len());
    assert!(bias.is_none_or(|bias| bias.len() == lanes));
    let job = Transform {
        form,
        stage,
        lanes,
        from: from.as_ptr().wrapping_offset(tile.start),
        from_pitch: tile.pitch,
        inside: tile.inside.clone(),
        to: to.as_mut_ptr(),
        to_pitch,
        wanted,
        scale,
        epilogue: &Epilogue { bias, ..Epilogue::new(false) },
    };
    // SAFETY: having the kernels proves their ISA. The asserts hold every element that is read, and all vectors that are
    // written, within their slices, and the bias has an element for each lane.
    unsafe { (kernels.transform)(&job) };
}

/// Makes outputs of a tile of points: some rows of a block whose lanes lie side by side, from `position` of its box on.
///
/// # Panics
/// If the tile leaves its slice or the block, or the block's lanes are apart: the caller's sizes are wrong.
pub(crate) fn finish<T: Element>(
    kernels: &Kernels<T>,
    kind: Kind<T>,
    (from, tile): (&[T], &Tile),
    c: &mut CBlock<'_, T>,
    part: &Part,
    epilogue: &Epilogue<'_, T>,
) {
    let Kind { form, lanes, .. } = kind;
    let &Part { position, count, step, first_lane } = part;
    assert!(kind.stage == Stage::Output && lanes > 0 && tile.fits(lanes, from.len()));
    assert!(c.is_even() && c.column_pitch() == 1 && first_lane + lanes <= c.columns().len);
    let (data, len) = c.destination();
    assert!(
        epilogue.bias.is_none_or(|bias| bias.len() == lanes) && epilogue.covers_from(data, len)
    );
    let reach = |axis: usize| (count[axis] - 1) * step[axis] + 1;
    let row = c.row_place(position, [1, 1, reach(0), reach(1)]);
    let to_pitch = [c.row_pitch(2) * step[0], c.row_pitch(3) * step[1]];
    let job = Transform {
        form,
        stage: kind.stage,
        lanes,
        from: from.as_ptr().wrapping_offset(tile.start),
        from_pitch: tile.pitch,
        inside: tile.inside.clone(),
        // SAFETY: the row is the block's.
        to: unsafe { c.start().add(row + first_lane) },
        to_pitch,
        wanted: count,
        scale: kind.scale,
        epilogue,
    };
    // SAFETY: having the kernels proves their ISA. The asserts hold every element that is read within its slice, and all
    // rows and lanes that are written within the block, which alone may write them; `over` took a `&mut [T]`, so they are
    // initialised. The bias has an element for each lane.
    unsafe { (kernels.transform)(&job) };
}

/// Some rows of a block's box: `count` along its last two axes, each `step` positions from the next, and lanes from
/// `first_lane` on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) position: [usize; 4],
    pub(crate) count: [usize; 2],
    pub(crate) step: [usize; 2],
    pub(crate) first_lane: usize,
}

/// Stores `count` rows of a tile, `pitch` elements apart, to as many rows along the last axis of a block's box, from
/// `position` on: `lanes` of them, from the block's lane `first` on.
///
/// # Panics
/// If the tile leaves its slice, the rows or the lanes their block: the caller's sizes are wrong.
pub(crate) fn store<T: Element>(
    kernel: &Kernel<T>,
    (tile, pitch): (&[T], usize),
    c: &mut CBlock<'_, T>,
    (position, count): ([usize; 4], usize),
    (first, lanes): (usize, usize),
    epilogue: &Epilogue<'_, T>,
) {
    assert!(count > 0 && lanes > 0 && lanes <= pitch && (count - 1) * pitch + lanes <= tile.len());
    assert!(c.is_even() && first + lanes <= c.columns().len && epilogue.bias.is_none());
    let (data, len) = c.destination();
    assert!(epilogue.covers_from(data, len));
    let start = c.row_place(position, [1, 1, 1, count]) + c.column_place(first);
    for row in (0..count).step_by(MOST) {
        let rows = MOST.min(count - row);
        let offsets = table(rows, c.row_pitch(3));
        let job = Store {
            tile: tile[row * pitch..].as_ptr(),
            tile_pitch: pitch,
            rows,
            lanes,
            // SAFETY: the row and the lane are the block's.
            c: unsafe { c.start().add(start + row * c.row_pitch(3)) },
            row_offsets: offsets.as_ptr(),
            lane_stride: c.column_pitch(),
            epilogue,
        };
        // SAFETY: having the kernel proves its ISA. The block alone may write its rows and lanes, which are initialised; the
        // tile has `lanes` lanes in each of its rows, and the offsets ascend.
        unsafe { (kernel.store)(&job) };
    }
}
