//! Products whose terms lie side by side in both operands: tiles of dot products.
//!
//! Nothing is packed. Lanes are terms, so a sum's lanes are added up at the end, which pays where
//! terms are many; how few rows and columns there are doesn't matter.

use super::target::Cell;
use crate::element::Element;
use crate::kernel::{DOTS, Dot, Kernels};

/// An operand: row (or column) `r` and term `i` of step `s` meet at `data[rows[r] + steps[s] + i]`.
#[derive(Clone, Copy)]
pub(crate) struct Operand<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) rows: &'a [u32],
    pub(crate) steps: &'a [u32],
}

/// What happens to a sum as it is stored.
#[derive(Clone, Copy)]
pub(crate) struct Finish<'a, T> {
    /// Added to every element of a row, one for each row of the cell.
    pub(crate) row_bias: Option<&'a [T]>,
    /// Add to the destination rather than overwrite it.
    pub(crate) accumulate: bool,
    /// The bounds of the activation.
    pub(crate) clamp: Option<[T; 2]>,
}

/// Fills `cell` with the products of the rows of `left` and of `right`, which are the cell's lanes;
/// every step has `len` terms.
///
/// # Panics
/// If an operand leaves its slice: the caller's tables are wrong.
pub(crate) fn dots<T: Element>(
    kernels: &Kernels<T>,
    cell: &mut Cell<'_, T>,
    left: Operand<'_, T>,
    right: Operand<'_, T>,
    len: usize,
    finish: Finish<'_, T>,
) {
    let kernel = &kernels.dots;
    let (rows, lanes) = (cell.row_count(), cell.lanes().len);
    let most = |table: &[u32]| table.iter().copied().max().unwrap_or(0) as usize;
    assert!(len > 0 && left.steps.len() == right.steps.len() && !left.steps.is_empty());
    assert!(left.rows.len() == rows && right.rows.len() == lanes);
    for operand in [&left, &right] {
        assert!(most(operand.rows) + most(operand.steps) + len <= operand.data.len());
    }
    assert!(finish.row_bias.is_none_or(|bias| bias.len() == rows));
    assert!(kernel.columns.len() <= DOTS && kernel.columns.iter().all(|&most| most <= DOTS));

    // Tiles are as even as may be.
    let even = |count: usize, most: usize| count.div_ceil(count.div_ceil(most));
    let height = even(rows, kernel.columns.len());
    let width = even(lanes, kernel.columns[height - 1]);
    let offsets = cell.row_offsets();
    assert!(cell.is_even());
    let (start, lane_pitch) = (cell.start(), cell.lane_pitch());
    for first_row in (0..rows).step_by(height) {
        let row_count = height.min(rows - first_row);
        let row_pointers = pointers(left, first_row, row_count);
        for first_lane in (0..lanes).step_by(width) {
            let col_count = width.min(lanes - first_lane);
            let col_pointers = pointers(right, first_lane, col_count);
            let mut sums = [T::ZERO; DOTS * DOTS];
            let job = Dot {
                row_count,
                col_count,
                rows: row_pointers.as_ptr(),
                columns: col_pointers.as_ptr(),
                steps_a: left.steps.as_ptr(),
                steps_b: right.steps.as_ptr(),
                steps: left.steps.len(),
                len,
                sums: sums.as_mut_ptr(),
            };
            // SAFETY: having the kernel proves its ISA. The asserts above hold `len` elements at
            // every row plus every step within both slices; tables have `steps` entries.
            unsafe { (kernel.sum)(&job) };
            for (r, &offset) in offsets[first_row..][..row_count].iter().enumerate() {
                let bias = finish.row_bias.map_or(T::ZERO, |bias| bias[first_row + r]);
                for c in 0..col_count {
                    let mut sum = sums[r * DOTS + c];
                    if finish.row_bias.is_some() {
                        sum = bias + sum;
                    }
                    // SAFETY: the cell alone may write its rows and lanes, which are initialised.
                    unsafe {
                        let at = start.add(offset as usize + (first_lane + c) * lane_pitch);
                        if finish.accumulate {
                            sum = *at + sum;
                        }
                        *at = finish.clamp.map_or(sum, |[low, high]| sum.clamp_to(low, high));
                    }
                }
            }
        }
    }
}

/// Where `count` rows from `first` on begin; those past them repeat the last.
fn pointers<T>(operand: Operand<'_, T>, first: usize, count: usize) -> [*const T; DOTS] {
    core::array::from_fn(|i| {
        let row = operand.rows[first + i.min(count - 1)] as usize;
        operand.data[row..].as_ptr()
    })
}
