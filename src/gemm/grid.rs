//! Grids: how a matrix index becomes a place in memory.
//!
//! Every operand of our products is addressed by positions of a four-dimensional grid: the
//! pixels of a batch, the taps of a filter. A [`Grid`] walks its positions in row-major order and
//! cuts that order into runs of one shape, so that one small table of offsets serves them all:
//! position `i` of a run lies at `run.base + table[i]`.

use crate::error::Error;
use crate::scratch::room;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// Axes of a grid.
pub(crate) const AXES: usize = 4;

/// Offsets, and the largest of them: a product asks how far its tables reach, which for few rows would take
/// longer than to multiply by them if it had to look (512 channels, 3x3, 7x7 pixels: 13 %).
#[derive(Debug, Clone)]
pub(crate) struct Table {
    offsets: Vec<u32>,
    most: u32,
    /// None is less than the one before it.
    ascends: bool,
}

impl Table {
    /// Those of a box of positions, in row-major order.
    pub(crate) fn of_box(sizes: [usize; AXES], pitches: [usize; AXES]) -> Result<Self, Error> {
        assert!(sizes.contains(&0) || fits_table(sizes, pitches), "{sizes:?} x {pitches:?}");
        let mut offsets = room(sizes.iter().product())?;
        let (mut most, mut ascends) = (0, true);
        if !sizes.contains(&0) {
            offsets.push(0);
            for axis in (0..AXES).rev().filter(|&axis| sizes[axis] > 1) {
                repeat(&mut offsets, sizes[axis], pitches[axis]);
                ascends &= pitches[axis] >= most;
                most += (sizes[axis] - 1) * pitches[axis];
            }
        }
        Ok(Self { offsets, most: most as u32, ascends })
    }

    /// The first `len` of them.
    pub(crate) fn first(&self, len: usize) -> Offsets<'_> {
        let all = &self.offsets[..len];
        match all.last() {
            _ if len == self.offsets.len() => Offsets { all, most: self.most },
            Some(&most) if self.ascends => Offsets { all, most },
            _ => Offsets::new(all),
        }
    }
}

/// Some offsets of a [`Table`], or others.
#[derive(Clone, Copy)]
pub(crate) struct Offsets<'a> {
    all: &'a [u32],
    most: u32,
}

impl<'a> Offsets<'a> {
    /// These offsets, all of which are looked at.
    pub(crate) fn new(all: &'a [u32]) -> Self {
        Self { all, most: all.iter().fold(0, |most, &offset| most.max(offset)) }
    }

    /// The offsets.
    pub(super) fn all(self) -> &'a [u32] {
        self.all
    }

    /// The largest, or 0 if there are none.
    pub(super) fn most(self) -> usize {
        self.most as usize
    }
}

/// A strided four-dimensional index, cut into runs.
#[derive(Clone)]
pub(crate) struct Grid {
    sizes: [usize; AXES],
    pitches: [usize; AXES],
    /// The box that a run covers: full inner axes, a part of one axis, 1 of those outside it.
    run: [usize; AXES],
    table: Table,
}

impl fmt::Debug for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sizes, pitches, run, .. } = self;
        write!(f, "{sizes:?} by {pitches:?} in runs of {run:?}")
    }
}

/// A stretch of a grid's positions in row-major order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// The run's number among all runs: those at the ends of axes are shorter than others, so
    /// `first` doesn't tell.
    pub(crate) index: usize,
    /// The row-major number of the first position.
    pub(crate) first: usize,
    /// Positions in the run.
    pub(crate) len: usize,
    /// Where the first position lies.
    pub(crate) base: usize,
    /// The first position.
    pub(crate) start: [usize; AXES],
    /// The box that the run covers.
    pub(crate) sizes: [usize; AXES],
}

impl Run {
    /// The positions' row-major numbers.
    pub(crate) fn range(&self) -> Range<usize> {
        self.first..self.first + self.len
    }
}

/// How far the last position of a box lies from the first.
pub(crate) fn reach(sizes: [usize; AXES], pitches: [usize; AXES]) -> Option<usize> {
    (0..AXES).try_fold(0usize, |sum, axis| {
        (sizes[axis] - 1).checked_mul(pitches[axis]).and_then(|n| sum.checked_add(n))
    })
}

/// Whether the offsets of a box fit a table.
fn fits_table(sizes: [usize; AXES], pitches: [usize; AXES]) -> bool {
    reach(sizes, pitches).is_some_and(|n| u32::try_from(n).is_ok())
}

/// Cuts a run down until the offsets of all these grids fit their tables.
pub(crate) fn fit_tables(mut run: [usize; AXES], grids: &[[usize; AXES]]) -> [usize; AXES] {
    while let Some(outermost) = run.iter().position(|&size| size > 1) {
        if grids.iter().all(|pitches| fits_table(run, *pitches)) {
            break;
        }
        run[outermost] = run[outermost].div_ceil(2);
    }
    run
}

/// The largest box of at most `most` positions (at least one) that is a stretch of the row-major
/// order and repeats over the grid.
pub(crate) fn run_box(sizes: [usize; AXES], most: usize) -> [usize; AXES] {
    let mut run = [1; AXES];
    let mut left = most.max(1);
    for axis in (0..AXES).rev() {
        run[axis] = sizes[axis].min(left);
        if run[axis] < sizes[axis] {
            break;
        }
        left /= sizes[axis];
    }
    run
}

/// Repeats offsets until there are `count` times as many, each time `step` further on.
fn repeat(offsets: &mut Vec<u32>, count: usize, step: usize) {
    let (len, all) = (offsets.len(), offsets.len() * count);
    while offsets.len() < all {
        // All that there are so far, at once.
        let begin = offsets.len();
        let further = (begin / len * step) as u32;
        offsets.extend_from_within(..begin.min(all - begin));
        offsets[begin..].iter_mut().for_each(|offset| *offset += further);
    }
}

/// `pitches` of a dense row-major array.
pub(crate) fn dense(sizes: [usize; AXES]) -> [usize; AXES] {
    let mut pitches = [1; AXES];
    for axis in (0..AXES - 1).rev() {
        pitches[axis] = pitches[axis + 1] * sizes[axis + 1];
    }
    pitches
}

impl Grid {
    /// A grid with runs of the box `run`, as [`run_box`] makes it.
    pub(crate) fn new(
        sizes: [usize; AXES],
        pitches: [usize; AXES],
        run: [usize; AXES],
    ) -> Result<Self, Error> {
        let table = Table::of_box(run, pitches)?;
        Ok(Self { sizes, pitches, run, table })
    }

    /// A grid of which only the runs are wanted, not their tables.
    pub(crate) fn untabled(
        sizes: [usize; AXES],
        pitches: [usize; AXES],
        run: [usize; AXES],
    ) -> Self {
        let table = Table { offsets: Vec::new(), most: 0, ascends: true };
        Self { sizes, pitches, run, table }
    }

    /// A line of `len` positions, `pitch` apart, in runs of at most `most`.
    pub(crate) fn line(len: usize, pitch: usize, most: usize) -> Result<Self, Error> {
        let sizes = [1, 1, 1, len];
        Self::new(sizes, [0, 0, 0, pitch], run_box(sizes, most))
    }

    /// Positions in all.
    pub(crate) fn len(&self) -> usize {
        self.sizes.iter().product()
    }

    /// The offset of each position of a run from its base.
    pub(crate) fn table(&self) -> &[u32] {
        &self.table.offsets
    }

    /// The offsets of the first `len` positions of a run.
    pub(crate) fn offsets(&self, len: usize) -> Offsets<'_> {
        self.table.first(len)
    }

    /// The box that a run covers.
    pub(crate) fn run_sizes(&self) -> [usize; AXES] {
        self.run
    }

    /// Elements between neighbouring positions of each axis.
    pub(crate) fn pitches(&self) -> [usize; AXES] {
        self.pitches
    }

    /// Runs in all.
    pub(crate) fn runs(&self) -> usize {
        (0..AXES).map(|axis| self.sizes[axis].div_ceil(self.run[axis])).product()
    }

    /// Run number `index` in row-major order.
    pub(crate) fn run(&self, index: usize) -> Run {
        let mut start = [0; AXES];
        let mut left = index;
        for axis in (0..AXES).rev() {
            let count = self.sizes[axis].div_ceil(self.run[axis]);
            start[axis] = left % count * self.run[axis];
            left /= count;
        }
        let mut sizes = self.run;
        let mut first = 0;
        for axis in 0..AXES {
            sizes[axis] = sizes[axis].min(self.sizes[axis] - start[axis]);
            first = first * self.sizes[axis] + start[axis];
        }
        let (len, base) = (sizes.iter().product(), self.place(start));
        Run { index, first, len, base, start, sizes }
    }

    /// Whether the positions of every run are `pitch` apart.
    pub(crate) fn is_even(&self, pitch: usize) -> bool {
        let mut expected = pitch;
        (0..AXES).rev().all(|axis| {
            let even = self.run[axis] == 1 || self.pitches[axis] == expected;
            expected = expected.saturating_mul(self.run[axis]);
            even
        })
    }

    /// Where a position lies.
    pub(crate) fn place(&self, position: [usize; AXES]) -> usize {
        (0..AXES).map(|axis| position[axis] * self.pitches[axis]).sum()
    }

    /// The furthest place of any position.
    pub(crate) fn reach(&self) -> usize {
        reach(self.sizes, self.pitches).expect("the grid lies in memory")
    }

    /// Whether no two positions lie at the same place, nor at places of another grid's sum with
    /// this one: sorted by pitch, every axis steps over all that the smaller ones reach.
    pub(crate) fn is_distinct_with(&self, other: &Grid) -> bool {
        let mut axes = [(0, 0); 2 * AXES];
        for axis in 0..AXES {
            axes[axis] = (self.pitches[axis], self.sizes[axis]);
            axes[AXES + axis] = (other.pitches[axis], other.sizes[axis]);
        }
        axes.sort_unstable();
        let mut reach = 0;
        axes.iter().filter(|&&(_, size)| size > 1).all(|&(pitch, size)| {
            let apart = pitch > reach;
            reach += pitch * (size - 1);
            apart
        })
    }
}
