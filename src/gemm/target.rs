//! Where a product is written: a matrix in a slice, cut into cells that threads may fill at once.

use super::grid::{AXES, Grid, Run};
use crate::kernel::total;
use core::marker::PhantomData;
use core::ops::Range;

/// The places of a product's elements: row `r` and lane `l` meet at `base + rows(r) + lanes(l)`.
///
/// Making one proves that no two elements share a place.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    rows: Grid,
    lanes: Grid,
    base: usize,
    lines: Lines,
    order: Order,
}

/// How the lanes of a run lie: `pitch` apart in lines of `len` lanes, which are `line_pitch` apart.
#[derive(Debug, Clone, Copy)]
struct Lines {
    len: usize,
    line_pitch: usize,
    pitch: usize,
}

impl Lines {
    /// Those of a grid; a single line if all lanes of a run are `pitch` apart.
    fn new(lanes: &Grid, pitch: usize) -> Self {
        let (run, pitches) = (lanes.run_sizes(), lanes.pitches());
        if lanes.is_even(pitch) {
            return Self { len: usize::MAX, line_pitch: 0, pitch };
        }
        // A step that is never taken may have any size.
        let pitch = if run[3] == 1 { 1 } else { pitch };
        let even = run[..2] == [1, 1] && (run[3] == 1 || pitches[3] == pitch);
        assert!(even, "{lanes:?} are not {pitch} apart");
        Self { len: run[3], line_pitch: pitches[2], pitch }
    }

    /// Where a lane lies from the first.
    fn place(&self, lane: usize) -> usize {
        lane / self.len * self.line_pitch + lane % self.len * self.pitch
    }
}

/// Which runs follow each other as cells are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// All lanes of a run of rows, then those of the next.
    RowsOutside,
    /// All rows of a run of lanes, then those of the next.
    LanesOutside,
}

impl Target {
    /// A matrix whose rows and lanes lie as the grids say; the lanes of a line `lane_pitch` apart.
    ///
    /// # Panics
    /// If two elements share a place or the lanes of a line aren't evenly spaced: the caller's grids
    /// are wrong.
    pub(crate) fn new(
        rows: Grid,
        lanes: Grid,
        base: usize,
        lane_pitch: usize,
        order: Order,
    ) -> Self {
        assert!(rows.is_distinct_with(&lanes), "{rows:?} and {lanes:?} overlap");
        let lines = Lines::new(&lanes, lane_pitch);
        assert!(rows.ascends(), "rows descend");
        Self { rows, lanes, base, lines, order }
    }

    /// The grid of rows.
    pub(crate) fn rows(&self) -> &Grid {
        &self.rows
    }

    /// The grid of lanes.
    pub(crate) fn lanes(&self) -> &Grid {
        &self.lanes
    }

    /// Cells in all: every run of rows with every run of lanes.
    pub(crate) fn cells(&self) -> usize {
        self.rows.runs() * self.lanes.runs()
    }

    /// Hands out the cells over `data`, each once.
    ///
    /// # Panics
    /// If `data` is too short.
    pub(crate) fn over<'a, T>(
        &'a self,
        data: &'a mut [T],
    ) -> impl Iterator<Item = Cell<'a, T>> + Send + use<'a, T>
    where
        T: Send,
    {
        assert!(total([self.base, self.rows.reach(), self.lanes.reach()]) < data.len());
        let data = Shared(data.as_mut_ptr(), PhantomData::<&'a mut [T]>);
        (0..self.cells()).map(move |index| {
            let data = &data;
            let (rows, lanes) = match self.order {
                Order::RowsOutside => (index / self.lanes.runs(), index % self.lanes.runs()),
                Order::LanesOutside => (index % self.rows.runs(), index / self.rows.runs()),
            };
            let (rows, lanes) = (self.rows.run(rows), self.lanes.run(lanes));
            // A grid without a table has cells that are written by their positions alone.
            let offsets = self.rows.table().get(..rows.len).unwrap_or(&[]);
            Cell { target: self, data: Shared(data.0, PhantomData), rows, offsets, lanes }
        })
    }
}

/// A pointer that cells on many threads write through.
struct Shared<'a, T>(*mut T, PhantomData<&'a mut [T]>);

// SAFETY: cells are disjoint (`Target::new` has seen to it, and each is handed out once), so
// sending one to another thread sends a part of a `&mut [T]`.
unsafe impl<T: Send> Send for Shared<'_, T> {}

/// The sole right to write one run of rows by one run of lanes of a [`Target`].
pub(crate) struct Cell<'a, T> {
    target: &'a Target,
    data: Shared<'a, T>,
    rows: Run,
    /// Where its rows lie: the run's, or some of them.
    offsets: &'a [u32],
    lanes: Run,
}

impl<'a, T> Cell<'a, T> {
    /// Some of the cell's rows, by their numbers within it; their places are kept in `offsets`.
    ///
    /// # Panics
    /// If the numbers don't ascend, one is too large, or `offsets` is too short: the caller's are wrong.
    pub(crate) fn part<'b>(&'b mut self, rows: &[u32], offsets: &'b mut [u32]) -> Cell<'b, T> {
        // Otherwise a row would be there twice.
        assert!(rows.is_sorted_by(|a, b| a < b), "rows don't ascend");
        let offsets = &mut offsets[..rows.len()];
        for (offset, &row) in offsets.iter_mut().zip(rows) {
            *offset = self.offsets[row as usize];
        }
        let data = Shared(self.data.0, PhantomData);
        Cell { target: self.target, data, rows: self.rows, offsets, lanes: self.lanes }
    }

    /// Some of the cell's lanes, by their numbers within it; [`lanes`](Self::lanes) says how many they are and where, its box
    /// is still the whole run's.
    ///
    /// # Panics
    /// If it has no such lanes, or they aren't evenly spaced: the caller's are wrong.
    pub(crate) fn some_lanes(&mut self, some: Range<usize>) -> Cell<'_, T> {
        let mut lanes = self.lanes;
        assert!(self.is_even() && some.start <= some.end && some.end <= lanes.len);
        lanes.first += some.start;
        lanes.base += some.start * self.lane_pitch();
        lanes.len = some.len();
        let data = Shared(self.data.0, PhantomData);
        Cell { target: self.target, data, rows: self.rows, offsets: self.offsets, lanes }
    }

    /// The run of rows that the cell has, or has a part of.
    pub(crate) fn rows(&self) -> Run {
        self.rows
    }

    /// Rows of the cell.
    pub(super) fn row_count(&self) -> usize {
        self.offsets.len()
    }

    /// The cell's lanes.
    pub(crate) fn lanes(&self) -> Run {
        self.lanes
    }

    /// Elements between neighbouring lanes of a line.
    pub(super) fn lane_pitch(&self) -> usize {
        self.target.lines.pitch
    }

    /// Whether all lanes are [`lane_pitch`](Self::lane_pitch) apart.
    pub(super) fn is_even(&self) -> bool {
        self.target.lines.len == usize::MAX
    }

    /// Where a lane lies from the first.
    pub(super) fn lane_place(&self, lane: usize) -> usize {
        self.target.lines.place(lane)
    }

    /// Some lanes, line by line: evenly spaced.
    pub(super) fn lines(&self, lanes: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<T> {
        let (len, mut left) = (self.target.lines.len, lanes);
        core::iter::from_fn(move || {
            // A division takes as long as a small tile's row.
            let within = if len == usize::MAX { 0 } else { left.start % len };
            let line = left.start..left.end.min(left.start.saturating_add(len - within));
            left.start = line.end;
            (!line.is_empty()).then_some(line)
        })
    }

    /// The offsets of the cell's rows from [`start`](Self::start).
    pub(super) fn row_offsets(&self) -> &'a [u32] {
        self.offsets
    }

    /// The destination of all cells: where it begins, and as many elements of it as they reach.
    pub(super) fn destination(&self) -> (*const T, usize) {
        let Target { rows, lanes, base, .. } = self.target;
        (self.data.0, base + rows.reach() + lanes.reach() + 1)
    }

    /// The place, from [`start`](Self::start), of the cell's row at a position of its box, if a box of `sizes` rows from
    /// there on is within it.
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

    /// Elements between neighbouring rows along an axis of the cell's box.
    pub(super) fn row_pitch(&self, axis: usize) -> usize {
        self.target.rows.pitches()[axis]
    }

    /// The element of the first row and lane: those of all rows and lanes of the cell are within
    /// the slice, and no other cell has them.
    pub(super) fn start(&mut self) -> *mut T {
        // SAFETY: `Target::over` has checked the reach of both grids against the slice.
        unsafe { self.data.0.add(self.target.base + self.rows.base + self.lanes.base) }
    }
}
