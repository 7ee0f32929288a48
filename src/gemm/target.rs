//! Where a product is written: C, a matrix in a slice, cut into blocks that threads may fill at once.

use super::grid::{AXES, Block, Grid};
use crate::kernel::total;
use core::marker::PhantomData;
use core::ops::Range;

/// The places of a product's elements: row `r` and column `l` meet at `base + rows(r) + columns(l)`.
///
/// Making one proves that no two elements share a place.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    rows: Grid,
    columns: Grid,
    base: usize,
    lines: Lines,
    order: Order,
}

/// How the columns of a block lie: `pitch` apart in lines of `len` columns, which are `line_pitch` apart.
#[derive(Debug, Clone, Copy)]
struct Lines {
    len: usize,
    line_pitch: usize,
    pitch: usize,
}

impl Lines {
    /// Those of a grid; a single line if all columns of a block are `pitch` apart.
    fn new(columns: &Grid, pitch: usize) -> Self {
        let (run, pitches) = (columns.block_sizes(), columns.pitches());
        if columns.is_even(pitch) {
            return Self { len: usize::MAX, line_pitch: 0, pitch };
        }
        // A step that is never taken may have any size.
        let pitch = if run[3] == 1 { 1 } else { pitch };
        let even = run[..2] == [1, 1] && (run[3] == 1 || pitches[3] == pitch);
        assert!(even, "{columns:?} are not {pitch} apart");
        Self { len: run[3], line_pitch: pitches[2], pitch }
    }

    /// Where a column lies from the first.
    fn place(&self, column: usize) -> usize {
        column / self.len * self.line_pitch + column % self.len * self.pitch
    }
}

/// Which blocks follow each other as blocks are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// All columns of a block of rows, then those of the next.
    RowsOutside,
    /// All rows of a block of columns, then those of the next.
    ColumnsOutside,
}

impl Target {
    /// A matrix whose rows and columns lie as the grids say; the columns of a line `column_pitch` apart.
    ///
    /// # Panics
    /// If two elements share a place or the columns of a line aren't evenly spaced: the caller's grids
    /// are wrong.
    pub(crate) fn new(
        rows: Grid,
        columns: Grid,
        base: usize,
        column_pitch: usize,
        order: Order,
    ) -> Self {
        assert!(rows.is_distinct_with(&columns), "{rows:?} and {columns:?} overlap");
        let lines = Lines::new(&columns, column_pitch);
        assert!(rows.ascends(), "rows descend");
        Self { rows, columns, base, lines, order }
    }

    /// The grid of rows.
    pub(crate) fn rows(&self) -> &Grid {
        &self.rows
    }

    /// The grid of columns.
    pub(crate) fn columns(&self) -> &Grid {
        &self.columns
    }

    /// Blocks of C in all: every block of rows with every block of columns.
    pub(crate) fn blocks(&self) -> usize {
        self.rows.blocks() * self.columns.blocks()
    }

    /// Hands out the blocks over `data`, each once.
    ///
    /// # Panics
    /// If `data` is too short.
    pub(crate) fn over<'a, T>(
        &'a self,
        data: &'a mut [T],
    ) -> impl Iterator<Item = CBlock<'a, T>> + Send + use<'a, T>
    where
        T: Send,
    {
        assert!(total([self.base, self.rows.reach(), self.columns.reach()]) < data.len());
        let data = Shared(data.as_mut_ptr(), PhantomData::<&'a mut [T]>);
        (0..self.blocks()).map(move |index| {
            let data = &data;
            let (rows, columns) = match self.order {
                Order::RowsOutside => {
                    (index / self.columns.blocks(), index % self.columns.blocks())
                }
                Order::ColumnsOutside => (index % self.rows.blocks(), index / self.rows.blocks()),
            };
            let (rows, columns) = (self.rows.block(rows), self.columns.block(columns));
            // A grid without a table has blocks that are written by their positions alone.
            let offsets = self.rows.table().get(..rows.len).unwrap_or(&[]);
            CBlock { target: self, data: Shared(data.0, PhantomData), rows, offsets, columns }
        })
    }
}

/// A pointer that blocks on many threads write through.
struct Shared<'a, T>(*mut T, PhantomData<&'a mut [T]>);

// SAFETY: blocks are disjoint (`Target::new` has seen to it, and each is handed out once), so
// sending one to another thread sends a part of a `&mut [T]`.
unsafe impl<T: Send> Send for Shared<'_, T> {}

/// A block of C: the sole right to write one block of rows by one block of columns of a [`Target`].
pub(crate) struct CBlock<'a, T> {
    target: &'a Target,
    data: Shared<'a, T>,
    rows: Block,
    /// Where its rows lie: the block's, or some of them.
    offsets: &'a [u32],
    columns: Block,
}

impl<'a, T> CBlock<'a, T> {
    /// Some of the block's rows, by their numbers within it; their places are kept in `offsets`.
    ///
    /// # Panics
    /// If the numbers don't ascend, one is too large, or `offsets` is too short: the caller's are wrong.
    pub(crate) fn part<'b>(&'b mut self, rows: &[u32], offsets: &'b mut [u32]) -> CBlock<'b, T> {
        // Otherwise a row would be there twice.
        assert!(rows.is_sorted_by(|a, b| a < b), "rows don't ascend");
        let offsets = &mut offsets[..rows.len()];
        for (offset, &row) in offsets.iter_mut().zip(rows) {
            *offset = self.offsets[row as usize];
        }
        let data = Shared(self.data.0, PhantomData);
        CBlock { target: self.target, data, rows: self.rows, offsets, columns: self.columns }
    }

    /// Some of the block's columns, by their numbers within it; [`columns`](Self::columns) says how many they are and
    /// where, its box is still the whole block's.
    ///
    /// # Panics
    /// If it has no such columns, or they aren't evenly spaced: the caller's are wrong.
    pub(crate) fn some_columns(&mut self, some: Range<usize>) -> CBlock<'_, T> {
        let mut columns = self.columns;
        assert!(self.is_even() && some.start <= some.end && some.end <= columns.len);
        columns.first += some.start;
        columns.base += some.start * self.column_pitch();
        columns.len = some.len();
        let data = Shared(self.data.0, PhantomData);
        CBlock { target: self.target, data, rows: self.rows, offsets: self.offsets, columns }
    }

    /// The block of rows that the block has, or has a part of.
    pub(crate) fn rows(&self) -> Block {
        self.rows
    }

    /// Rows of the block.
    pub(super) fn row_count(&self) -> usize {
        self.offsets.len()
    }

    /// The block's columns.
    pub(crate) fn columns(&self) -> Block {
        self.columns
    }

    /// Elements between neighbouring columns of a line.
    pub(super) fn column_pitch(&self) -> usize {
        self.target.lines.pitch
    }

    /// Whether all columns are [`column_pitch`](Self::column_pitch) apart.
    pub(super) fn is_even(&self) -> bool {
        self.target.lines.len == usize::MAX
    }

    /// Where a column lies from the first.
    pub(super) fn column_place(&self, column: usize) -> usize {
        self.target.lines.place(column)
    }

    /// Some columns, line by line: evenly spaced.
    pub(super) fn lines(
        &self,
        columns: Range<usize>,
    ) -> impl Iterator<Item = Range<usize>> + use<T> {
        let (len, mut left) = (self.target.lines.len, columns);
        core::iter::from_fn(move || {
            // A division takes as long as a small tile's row.
            let within = if len == usize::MAX { 0 } else { left.start % len };
            let line = left.start..left.end.min(left.start.saturating_add(len - within));
            left.start = line.end;
            (!line.is_empty()).then_some(line)
        })
    }

    /// The offsets of the block's rows from [`start`](Self::start).
    pub(super) fn row_offsets(&self) -> &'a [u32] {
        self.offsets
    }

    /// The destination of all blocks: where it begins, and as many elements of it as they reach.
    pub(super) fn destination(&self) -> (*const T, usize) {
        let Target { rows, columns, base, .. } = self.target;
        (self.data.0, base + rows.reach() + columns.reach() + 1)
    }

    /// The place, from [`start`](Self::start), of the block's row at a position of its box, if a box of `sizes` rows
    /// from there on is within it.
    ///
    /// # Panics
    /// If it isn't: the caller's position is wrong.
    pub(super) fn row_place(&self, position: [usize; AXES], sizes: [usize; AXES]) -> usize {
        let all = self.rows.sizes;
        assert!(
            (0..AXES)
                .all(|axis| sizes[axis] <= all[axis] && position[axis] <= all[axis] - sizes[axis])
        );
        self.target.rows.place(position)
    }

    /// Elements between neighbouring rows along an axis of the block's box.
    pub(super) fn row_pitch(&self, axis: usize) -> usize {
        self.target.rows.pitches()[axis]
    }

    /// The element of the first row and column: those of all rows and columns of the block are within
    /// the slice, and no other block has them.
    pub(super) fn start(&mut self) -> *mut T {
        // SAFETY: `Target::over` has checked the reach of both grids against the slice.
        unsafe { self.data.0.add(self.target.base + self.rows.base + self.columns.base) }
    }
}
