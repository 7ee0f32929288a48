//! Grids: how a matrix index becomes a place in memory.
//!
//! Every operand of our products is addressed by positions of a four-dimensional grid: the
//! pixels of a batch, the taps of a filter. A [`Grid`] walks its positions in row-major order and
//! cuts that order into blocks of one shape, so that one small table of offsets serves them all:
//! position `i` of a block lies at `block.base + table[i]`.

use crate::error::Error;
use crate::kernel::{self, total};
use crate::scratch::room;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// Axes of a grid.
pub(crate) const AXES: usize = 4;

/// Offsets, and the largest of them: a product asks how far its tables reach, which for few rows would take
/// longer than to multiply by them if it had to look.
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
        let len = sizes.iter().product();
        let mut offsets = room(len)?;
        offsets.resize(len, 0);
        let (mut filled, mut most, mut ascends) = (1, 0, true);
        let mut axes = (0..AXES).rev().filter(|&axis| sizes[axis] > 1 && len > 0).peekable();
        while let Some(axis) = axes.next() {
            let pitch = pitches[axis];
            // Axes that go on as the one within them does are one.
            let (from, mut count) = (filled, sizes[axis]);
            while let Some(outer) = axes.next_if(|&outer| pitches[outer] == pitch * count) {
                count *= sizes[outer];
            }
            filled *= count;
            repeat(&mut offsets[..filled], from, pitch as u32);
            ascends &= pitch >= most;
            most += (count - 1) * pitch;
        }
        Ok(Self { offsets, most: most as u32, ascends })
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[u32] {
        &self.offsets
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

/// The tables of boxes that lie in two operands: one for each choice of the sizes of three axes, as parts of many
/// taps or pixels have few different ones.
#[derive(Debug, Clone)]
pub(crate) struct Boxes {
    sizes: [Vec<usize>; 3],
    tables: Vec<[Table; 2]>,
}

impl Boxes {
    /// Those of all these sizes, which may be there more than once; `whole` makes a box of three.
    pub(crate) fn new(
        mut sizes: [Vec<usize>; 3],
        pitches: [[usize; AXES]; 2],
        whole: impl Fn([usize; 3]) -> [usize; AXES],
    ) -> Result<Self, Error> {
        for sizes in &mut sizes {
            sizes.sort_unstable();
            sizes.dedup();
        }
        let mut tables = room(sizes.iter().map(Vec::len).product())?;
        for &a in &sizes[0] {
            for &b in &sizes[1] {
                for &c in &sizes[2] {
                    let whole = whole([a, b, c]);
                    let table = |operand: usize| Table::of_box(whole, pitches[operand]);
                    tables.push([table(0)?, table(1)?]);
                }
            }
        }
        Ok(Self { sizes, tables })
    }

    /// Those of the box with these sizes.
    pub(crate) fn of(&self, sizes: [usize; 3]) -> &[Table; 2] {
        let number = |index: usize, axis: usize| {
            let all = &self.sizes[axis];
            let found = all.iter().position(|&size| size == sizes[axis]);
            index * all.len() + found.expect("a size that tables were made for")
        };
        &self.tables[(0..3).fold(0, number)]
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
    pub(crate) fn all(self) -> &'a [u32] {
        self.all
    }

    /// The largest, or 0 if there are none.
    pub(super) fn most(self) -> usize {
        self.most as usize
    }
}

/// A strided four-dimensional index, cut into blocks.
#[derive(Clone)]
pub(crate) struct Grid {
    sizes: [usize; AXES],
    pitches: [usize; AXES],
    /// The box that a block covers: full inner axes, a part of one axis, 1 of those outside it.
    block: [usize; AXES],
    table: Table,
}

impl fmt::Debug for Grid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sizes, pitches, block, .. } = self;
        write!(f, "{sizes:?} by {pitches:?} in blocks of {block:?}")
    }
}

/// Some of a grid's positions, which follow each other in row-major order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block {
    /// The block's number among all blocks: those at the ends of axes are shorter than others, so
    /// `first` doesn't tell.
    pub(crate) index: usize,
    /// The row-major number of the first position.
    pub(crate) first: usize,
    /// Positions in the block.
    pub(crate) len: usize,
    /// Where the first position lies.
    pub(crate) base: usize,
    /// The first position.
    pub(crate) start: [usize; AXES],
    /// The box that the block covers.
    pub(crate) sizes: [usize; AXES],
}

impl Block {
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

/// Offsets of the longest table: no block of a layer that one would compute has as many, and a plan for one that
/// nobody could is still made at once.
pub(crate) const LONGEST_TABLE: usize = 1 << 18;

/// Cuts a block down until the offsets of all these grids fit their tables.
pub(crate) fn fit_tables(mut block: [usize; AXES], grids: &[[usize; AXES]]) -> [usize; AXES] {
    while let Some(outermost) = block.iter().position(|&size| size > 1) {
        let is_short = block.into_iter().fold(1, usize::saturating_mul) <= LONGEST_TABLE;
        if is_short && grids.iter().all(|pitches| fits_table(block, *pitches)) {
            break;
        }
        block[outermost] = block[outermost].div_ceil(2);
    }
    block
}

/// The largest box of at most `most` positions (at least one) that is a part of the row-major
/// order and repeats over the grid.
pub(crate) fn largest_block(sizes: [usize; AXES], most: usize) -> [usize; AXES] {
    let mut block = [1; AXES];
    let mut left = most.max(1);
    for axis in (0..AXES).rev() {
        block[axis] = sizes[axis].min(left);
        if block[axis] < sizes[axis] {
            break;
        }
        left /= sizes[axis];
    }
    block
}

/// Repeats the first `len` offsets until there are no more to fill, each time `step` further on.
fn repeat(offsets: &mut [u32], len: usize, step: u32) {
    let (mut filled, mut further) = (len, step);
    while filled < offsets.len() {
        // All that there are so far, at once.
        let (done, rest) = offsets.split_at_mut(filled);
        for (offset, done) in rest.iter_mut().zip(&*done) {
            *offset = done + further;
        }
        // After the last time nobody asks how far that is.
        (filled, further) = (2 * filled, further.wrapping_mul(2));
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
    /// A grid with blocks of the box `run`, as [`largest_block`] makes it.
    pub(crate) fn new(
        sizes: [usize; AXES],
        pitches: [usize; AXES],
        block: [usize; AXES],
    ) -> Result<Self, Error> {
        let mut grid = Self::untabled(sizes, pitches, block);
        grid.make_table()?;
        Ok(grid)
    }

    /// A grid of which only the blocks are wanted, or wanted first, not their table.
    pub(crate) fn untabled(
        sizes: [usize; AXES],
        pitches: [usize; AXES],
        block: [usize; AXES],
    ) -> Self {
        let table = Table { offsets: Vec::new(), most: 0, ascends: true };
        Self { sizes, pitches, block, table }
    }

    /// Makes the table of its blocks.
    pub(crate) fn make_table(&mut self) -> Result<(), Error> {
        self.table = Table::of_box(self.block, self.pitches)?;
        Ok(())
    }

    /// A line of `len` positions, `pitch` apart, in blocks of at most `most`.
    pub(crate) fn line(len: usize, pitch: usize, most: usize) -> Result<Self, Error> {
        let sizes = [1, 1, 1, len];
        Self::new(sizes, [0, 0, 0, pitch], largest_block(sizes, most))
    }

    /// Positions in all.
    pub(crate) fn len(&self) -> usize {
        self.sizes.iter().product()
    }

    /// The offset of each position of a block from its base.
    pub(crate) fn table(&self) -> &[u32] {
        &self.table.offsets
    }

    /// The offsets of the first `len` positions of a block.
    pub(crate) fn offsets(&self, len: usize) -> Offsets<'_> {
        self.table.first(len)
    }

    /// Whether no offset of a block is less than the one before it.
    pub(super) fn ascends(&self) -> bool {
        self.table.ascends
    }

    /// Positions of each axis.
    pub(crate) fn sizes(&self) -> [usize; AXES] {
        self.sizes
    }

    /// Positions of a block, those at the ends of axes apart.
    pub(crate) fn block_len(&self) -> usize {
        self.block.iter().product()
    }

    /// The offsets of all positions of a block.
    pub(crate) fn block_offsets(&self) -> Offsets<'_> {
        self.offsets(self.block_len())
    }

    /// The box that a block covers.
    pub(crate) fn block_sizes(&self) -> [usize; AXES] {
        self.block
    }

    /// Elements between neighbouring positions of each axis.
    pub(crate) fn pitches(&self) -> [usize; AXES] {
        self.pitches
    }

    /// Runs in all.
    pub(crate) fn blocks(&self) -> usize {
        (0..AXES).map(|axis| self.sizes[axis].div_ceil(self.block[axis])).product()
    }

    /// Block number `index` in row-major order.
    pub(crate) fn block(&self, index: usize) -> Block {
        let mut start = [0; AXES];
        let mut left = index;
        for axis in (0..AXES).rev() {
            let count = self.sizes[axis].div_ceil(self.block[axis]);
            start[axis] = left % count * self.block[axis];
            left /= count;
        }
        let mut sizes = self.block;
        let mut first = 0;
        for axis in 0..AXES {
            sizes[axis] = sizes[axis].min(self.sizes[axis] - start[axis]);
            first = first * self.sizes[axis] + start[axis];
        }
        let (len, base) = (sizes.iter().product(), self.place(start));
        Block { index, first, len, base, start, sizes }
    }

    /// Whether the positions of every block are `pitch` apart.
    pub(crate) fn is_even(&self, pitch: usize) -> bool {
        let mut expected = pitch;
        (0..AXES).rev().all(|axis| {
            let even = self.block[axis] == 1 || self.pitches[axis] == expected;
            expected = expected.saturating_mul(self.block[axis]);
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
        let (mut axes, mut count) = ([(0, 0); 2 * AXES], 0);
        for grid in [self, other] {
            for (&pitch, &size) in
                grid.pitches.iter().zip(&grid.sizes).filter(|(_, size)| **size > 1)
            {
                axes[count] = (pitch, size);
                count += 1;
            }
        }
        let axes = &mut axes[..count];
        axes.sort_unstable();
        let mut reach = 0;
        axes.iter().all(|&(pitch, size)| {
            let apart = pitch > reach;
            reach = total([reach, kernel::reach([(size, pitch)])]);
            apart
        })
    }
}
