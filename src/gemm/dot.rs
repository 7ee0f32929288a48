//! Products whose k lies side by side in both operands: tiles of dot products.
//!
//! Nothing is packed. Lanes lie along k, so a sum's lanes are added up at the end, which pays where
//! k is large; how few rows and columns there are doesn't matter.

use super::grid::Offsets;
use super::operands::{SET_CONFLICT, fits};
use super::target::CBlock;
use crate::element::Element;
use crate::kernel::{DOTS, Dot, Epilogue, Kernels, Side, total};

/// Products that a processor of our days begins before the first of them is done.
const LATENCY: usize = 8;

/// An operand: row (or column) `r` and element `i` of step `s` meet at `data[rows[r] + steps[s] + i]`.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) rows: Offsets<'a>,
    pub(crate) steps: Offsets<'a>,
}

/// Fills `c` with the products of the rows of the left operand and of the right one, which are the block's lanes, tile
/// by tile; every step has `len` elements.
///
/// # Panics
/// If an operand leaves its slice, or the kernel has no such tile: the caller's tables are wrong.
pub(crate) fn dots<T: Element>(
    kernels: &Kernels<T>,
    c: &mut CBlock<'_, T>,
    [left, right]: [Operand<'_, T>; 2],
    len: usize,
    tile: Tile,
    epilogue: Epilogue<'_, T>,
) {
    let kernel = &kernels.dots;
    let (rows, lanes) = (c.row_count(), c.columns().len);
    assert!(len > 0 && left.steps.all().len() == right.steps.all().len());
    assert!(left.rows.all().len() == rows && right.rows.all().len() == lanes);
    for Operand { data, rows, steps } in [left, right] {
        assert!(!steps.all().is_empty() && total([rows.most(), steps.most(), len]) <= data.len());
    }
    assert!(fits(&epilogue, c));
    assert!(kernel.columns.len() <= DOTS && kernel.columns.iter().all(|&most| most <= DOTS));
    let [height, width] =
        if tile.turned { [tile.lanes, tile.rows] } else { [tile.rows, tile.lanes] };
    let most = height.checked_sub(1).and_then(|height| kernel.columns.get(height));
    assert!(most.is_some_and(|most| (1..=*most).contains(&width)), "{height} x {width}");

    let offsets = c.row_offsets();
    assert!(c.is_even());
    let (start, column_pitch) = (c.start(), c.column_pitch());
    for first_row in (0..rows).step_by(tile.rows) {
        let some_rows = tile.rows.min(rows - first_row);
        let row_pointers = pointers(left, first_row, some_rows);
        for first_lane in (0..lanes).step_by(tile.lanes) {
            let some_columns = tile.lanes.min(lanes - first_lane);
            let lane_pointers = pointers(right, first_lane, some_columns);
            let of_rows = (some_rows, row_pointers.as_ptr(), left.steps.all().as_ptr());
            let of_lanes = (some_columns, lane_pointers.as_ptr(), right.steps.all().as_ptr());
            let (a, b) = if tile.turned { (of_lanes, of_rows) } else { (of_rows, of_lanes) };
            let mut sums = [T::ZERO; DOTS * DOTS];
            let job = Dot {
                row_count: a.0,
                col_count: b.0,
                rows: a.1,
                columns: b.1,
                steps_a: a.2,
                steps_b: b.2,
                steps: left.steps.all().len(),
                len,
                sums: sums.as_mut_ptr(),
            };
            // SAFETY: having the kernel proves its ISA. The asserts above hold `len` elements at
            // every row plus every step within both slices; tables have `steps` entries.
            unsafe { (kernel.sum)(&job) };
            for (r, &offset) in offsets[first_row..][..some_rows].iter().enumerate() {
                for l in 0..some_columns {
                    let (row, lane) = (first_row + r, first_lane + l);
                    let [i, j] = if tile.turned { [l, r] } else { [r, l] };
                    let mut sum = sums[i * DOTS + j];
                    if let Some(bias) = epilogue.bias {
                        let of_rows = epilogue.channels == Side::Rows;
                        sum = bias[if of_rows { row } else { lane }] + sum;
                    }
                    // SAFETY: the block alone may write its rows and lanes, which are initialised; `fits` has asked for
                    // the residual.
                    unsafe {
                        epilogue.store_one(sum, start.add(offset as usize + lane * column_pitch));
                    }
                }
            }
        }
    }
}

/// How many rows and lanes of a block a tile has, and whether its columns are the rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tile {
    turned: bool,
    rows: usize,
    lanes: usize,
    /// Of all tiles: twice the products that would take as long.
    cost: usize,
}

impl Tile {
    /// The fastest for blocks with these rows and lanes; `columns` are what the kernel has for each number of rows.
    pub(crate) fn of(columns: &[usize], rows: Offsets<'_>, lanes: Offsets<'_>) -> Self {
        // Six columns that meet in a few sets of the cache are too many, where they aren't all the same few lines.
        let conflicting = |rows: Offsets<'_>| match rows.all() {
            &[first, second, ..] => (second.abs_diff(first) as usize).is_multiple_of(SET_CONFLICT),
            _ => false,
        };
        let [of_rows, of_lanes] = [rows.all().len(), lanes.all().len()];
        let may_turn = !conflicting(rows) && (of_rows >= of_lanes || !conflicting(lanes));
        Self::best(columns, of_rows, of_lanes, may_turn)
    }

    /// What a vector of products takes for each of so many rows and lanes, where one that waits for nothing takes 1.
    pub(crate) fn cost(columns: &[usize], rows: usize, lanes: usize) -> f64 {
        Self::best(columns, rows, lanes, true).cost as f64 / (2 * rows * lanes) as f64
    }

    fn best(columns: &[usize], rows: usize, lanes: usize, may_turn: bool) -> Self {
        // As even as may be.
        let even = |count: usize, most: usize| count.div_ceil(count.div_ceil(most));
        let mut best = Self { turned: false, rows: 1, lanes: 1, cost: usize::MAX };
        for (most, &columns) in (1..).zip(columns) {
            let upright = (false, [most, columns]);
            let turned = may_turn.then_some((true, [columns, most]));
            for (turned, most) in core::iter::once(upright).chain(turned) {
                let (height, width) = (even(rows, most[0]), even(lanes, most[1]));
                // A step of vectors waits for its products, or for the sums of the last one, and in part for its loads.
                let step = 2 * (height * width).max(LATENCY) + height + width;
                let cost = rows.div_ceil(height) * lanes.div_ceil(width) * step;
                if cost < best.cost {
                    best = Self { turned, rows: height, lanes: width, cost };
                }
            }
        }
        best
    }
}

/// Where `count` rows from `first` on begin; those past them repeat the last.
fn pointers<T>(operand: Operand<'_, T>, first: usize, count: usize) -> [*const T; DOTS] {
    core::array::from_fn(|i| {
        let row = operand.rows.all()[first + i.min(count - 1)] as usize;
        operand.data[row..].as_ptr()
    })
}
