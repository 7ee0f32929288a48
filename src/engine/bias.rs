//! `db = Σ dG`: a bias is used at every pixel of its channel, so its error is their sum.

use super::mask::Mask;
use crate::element::Element;
use crate::numerics::{BIAS_LANES, BIAS_ROWS};
use crate::parallel::Parallelism;
use crate::pass::Write;
use crate::shape::{Layout, Shape};
use core::array;
use core::ops::Range;

/// Sums of pixels that are added lane by lane.
type Lanes<T> = [T; BIAS_LANES];

/// Lanes of channels that a unit of work sums, channels last: so much of a pixel follows itself in memory.
const TOGETHER: usize = 4;

/// Sums every channel of `grad_output`, which has the output's shape or, of a transposed layer, the input's, and is
/// read through its mask.
pub(crate) fn backward_bias<T: Element>(
    shape: &Shape,
    of_input: bool,
    parallelism: Parallelism<'_>,
    (grad_output, mask): (&[T], Option<Mask<'_, T>>),
    grad_bias: &mut [T],
    write: Write,
) {
    let sums = Sums { shape, of_input, parallelism, write };
    match mask {
        None => sums.of_channels(grad_output.len(), grad_bias, |row: Range<usize>| {
            let row = &grad_output[row];
            // As many as there are lanes are known to be, and are a vector's load.
            row.try_into().unwrap_or_else(|_| padded(row))
        }),
        Some(mask) => sums.of_channels(grad_output.len(), grad_bias, |row: Range<usize>| {
            let mut lanes = [T::ZERO; BIAS_LANES];
            let read = &mut lanes[..row.len()];
            mask.part(row.start, row.len()).copy(&grad_output[row], read);
            lanes
        }),
    }
}

/// How the channels of a tensor are summed.
#[derive(Clone, Copy)]
struct Sums<'a> {
    shape: &'a Shape,
    of_input: bool,
    parallelism: Parallelism<'a>,
    write: Write,
}

impl Sums<'_> {
    /// Sums the channels of a tensor of `len` elements, of which `read` gives up to [`BIAS_LANES`] side by side.
    fn of_channels<T: Element>(
        self,
        len: usize,
        grad_bias: &mut [T],
        read: impl Fn(Range<usize>) -> Lanes<T> + Copy + Sync,
    ) {
        let Self { shape, of_input, parallelism, write } = self;
        let (channels, pixels) = match of_input {
            false => (shape.out_channels(), shape.output_pixels()),
            true => (shape.in_channels(), shape.input_pixels()),
        };
        if len == 0 {
            if write == Write::Overwrite {
                grad_bias.fill(T::ZERO);
            }
            return;
        }
        let images = len / (channels * pixels);
        let put = |to: &mut T, sum| match write {
            Write::Overwrite => *to = sum,
            Write::Accumulate => *to += sum,
        };
        let of_unit = match shape.layout() {
            Layout::ChannelsFirst => BIAS_LANES,
            Layout::ChannelsLast => TOGETHER * BIAS_LANES,
        };
        let units = grad_bias.chunks_mut(of_unit).enumerate();
        parallelism.for_all(channels.div_ceil(of_unit), units, |(unit, sums)| {
            let first = unit * of_unit;
            match shape.layout() {
                Layout::ChannelsFirst => {
                    let mut tree = Tree::new();
                    for (channel, sum) in (first..).zip(sums) {
                        for image in 0..images {
                            let plane = (image * channels + channel) * pixels;
                            tree.add_line(plane..plane + pixels, read);
                        }
                        put(sum, sum_of(tree.take()));
                    }
                }
                Layout::ChannelsLast => {
                    let mut trees: [_; TOGETHER] = array::from_fn(|_| Tree::new());
                    let all = images * pixels;
                    for block in (0..all).step_by(BIAS_ROWS) {
                        let block = block..all.min(block + BIAS_ROWS);
                        let lanes = (first..first + sums.len()).step_by(BIAS_LANES);
                        for (lanes, tree) in lanes.zip(&mut trees) {
                            // What lies behind the last channel is summed in lanes that nobody asks for.
                            let row = |pixel| pixel * channels + lanes;
                            let rows = block.clone().map(row);
                            let rows = rows.map(|at| at..len.min(at + BIAS_LANES));
                            tree.add_block(rows, read);
                        }
                    }
                    for (tree, sums) in trees.iter_mut().zip(sums.chunks_mut(BIAS_LANES)) {
                        sums.iter_mut().zip(tree.take()).for_each(|(to, sum)| put(to, sum));
                    }
                }
            }
        });
    }
}

/// Sums that are added lane by lane: blocks of [`BIAS_ROWS`] rows in order, blocks in a binary tree (as a counter counts),
/// so the error grows with `BIAS_ROWS + log2(rows)` and not with the number of rows.
struct Tree<T> {
    /// `parts[i]` holds the sum of 2^i blocks where bit i of `blocks` is set.
    parts: [Lanes<T>; usize::BITS as usize],
    blocks: usize,
}

impl<T: Element> Tree<T> {
    fn new() -> Self {
        Self { parts: [[T::ZERO; BIAS_LANES]; usize::BITS as usize], blocks: 0 }
    }

    /// Adds elements that follow each other, in blocks of whole rows and a last one.
    #[inline]
    fn add_line(&mut self, mut line: Range<usize>, read: impl Fn(Range<usize>) -> Lanes<T> + Copy) {
        while !line.is_empty() {
            let end = line.end.min(line.start + BIAS_LANES * BIAS_ROWS);
            let rows = (line.start..end).step_by(BIAS_LANES);
            self.add_block(rows.map(|at| at..end.min(at + BIAS_LANES)), read);
            line.start = end;
        }
    }

    /// Adds a block of rows.
    #[inline]
    fn add_block(
        &mut self,
        rows: impl Iterator<Item = Range<usize>>,
        read: impl Fn(Range<usize>) -> Lanes<T>,
    ) {
        let mut sum = [T::ZERO; BIAS_LANES];
        rows.for_each(|row| sum = added(sum, read(row)));
        let full = self.blocks.trailing_ones() as usize;
        self.parts[full] = self.parts[..full].iter().fold(sum, |sum, &part| added(sum, part));
        self.blocks += 1;
    }

    /// All that was added since it was last taken.
    fn take(&mut self) -> Lanes<T> {
        let mut sum = [T::ZERO; BIAS_LANES];
        while self.blocks > 0 {
            sum = added(sum, self.parts[self.blocks.trailing_zeros() as usize]);
            self.blocks &= self.blocks - 1;
        }
        sum
    }
}

/// Two sums, lane by lane.
#[inline(always)]
fn added<T: Element>(a: Lanes<T>, b: Lanes<T>) -> Lanes<T> {
    array::from_fn(|lane| a[lane] + b[lane])
}

/// A row that is shorter than there are lanes.
fn padded<T: Element>(row: &[T]) -> Lanes<T> {
    let mut lanes = [T::ZERO; BIAS_LANES];
    lanes[..row.len()].copy_from_slice(row);
    lanes
}

/// Adds the lanes, halves upon halves.
fn sum_of<T: Element>(mut lanes: Lanes<T>) -> T {
    let mut width = BIAS_LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            let other = lanes[lane + width];
            lanes[lane] += other;
        }
    }
    lanes[0]
}
