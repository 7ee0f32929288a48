//! `db = Σ dG`: a bias is used at every pixel of its channel, so its error is their sum.

use super::mask::Mask;
use crate::element::Element;
use crate::numerics::{BIAS_LANES, BIAS_ROWS};
use crate::parallel::Parallelism;
use crate::pass::Write;
use crate::shape::{Layout, Shape};
use core::ops::Range;

/// Sums every channel of `grad_output`, which has the output's shape or, of a transposed layer, the input's, and is
/// read through its mask. A unit of work are `BIAS_LANES` channels.
pub(crate) fn backward_bias<T: Element>(
    shape: &Shape,
    of_input: bool,
    parallelism: Parallelism<'_>,
    (grad_output, mask): (&[T], Option<Mask<'_, T>>),
    grad_bias: &mut [T],
    write: Write,
) {
    match mask {
        None => {
            let row = |sum: &mut [T; BIAS_LANES], row: Range<usize>| add(sum, &grad_output[row]);
            sum_channels(shape, of_input, parallelism, (grad_output, row), grad_bias, write);
        }
        Some(mask) => {
            let row = |sum: &mut [T; BIAS_LANES], row: Range<usize>| {
                let mut lanes = [T::ZERO; BIAS_LANES];
                let lanes = &mut lanes[..row.len()];
                mask.part(row.start, row.len()).copy(&grad_output[row], lanes);
                add(sum, lanes);
            };
            sum_channels(shape, of_input, parallelism, (grad_output, row), grad_bias, write);
        }
    }
}

/// The same, where `add_row` adds up to `BIAS_LANES` elements to the lanes of a sum.
fn sum_channels<T: Element>(
    shape: &Shape,
    of_input: bool,
    parallelism: Parallelism<'_>,
    (grad_output, add_row): (&[T], impl Fn(&mut [T; BIAS_LANES], Range<usize>) + Sync),
    grad_bias: &mut [T],
    write: Write,
) {
    let (channels, pixels) = match of_input {
        false => (shape.out_channels(), shape.output_pixels()),
        true => (shape.in_channels(), shape.input_pixels()),
    };
    if grad_output.is_empty() {
        if write == Write::Overwrite {
            grad_bias.fill(T::ZERO);
        }
        return;
    }
    let images = grad_output.len() / (channels * pixels);
    let units = grad_bias.chunks_mut(BIAS_LANES).enumerate();
    parallelism.for_all(channels.div_ceil(BIAS_LANES), units, |(unit, sums)| {
        let mut put = |lane: usize, sum| match write {
            Write::Overwrite => sums[lane] = sum,
            Write::Accumulate => sums[lane] += sum,
        };
        let first = unit * BIAS_LANES;
        let width = BIAS_LANES.min(channels - first);
        match shape.layout() {
            Layout::ChannelsFirst => {
                for lane in 0..width {
                    let planes = (0..images).map(|n| (n * channels + first + lane) * pixels);
                    let rows = planes.flat_map(|plane| {
                        let end = plane + pixels;
                        (plane..end).step_by(BIAS_LANES).map(move |at| at..end.min(at + BIAS_LANES))
                    });
                    put(lane, sum_tree(sum_rows(rows, &add_row)));
                }
            }
            Layout::ChannelsLast => {
                let rows = (0..images * pixels).map(|pixel| pixel * channels + first);
                let lanes = sum_rows(rows.map(|at| at..at + width), &add_row);
                (0..width).for_each(|lane| put(lane, lanes[lane]));
            }
        }
    });
}

/// Adds rows of up to `BIAS_LANES` elements lane by lane: blocks of `BIAS_ROWS` rows in order, blocks in
/// a binary tree (as a counter counts), so the error grows with `BIAS_ROWS + log2(rows)` and not
/// with the number of rows.
fn sum_rows<T: Element>(
    rows: impl Iterator<Item = Range<usize>>,
    add_row: impl Fn(&mut [T; BIAS_LANES], Range<usize>),
) -> [T; BIAS_LANES] {
    // tree[i] holds the sum of 2^i blocks where bit i of `blocks` is set.
    let mut tree = [[T::ZERO; BIAS_LANES]; usize::BITS as usize];
    let mut blocks = 0usize;
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let mut sum = [T::ZERO; BIAS_LANES];
        for row in rows.by_ref().take(BIAS_ROWS) {
            add_row(&mut sum, row);
        }
        let full = blocks.trailing_ones() as usize;
        tree[..full].iter().for_each(|part| add(&mut sum, part));
        tree[full] = sum;
        blocks += 1;
    }
    let mut sum = [T::ZERO; BIAS_LANES];
    for (bit, part) in tree.iter().enumerate() {
        if blocks >> bit & 1 == 1 {
            add(&mut sum, part);
        }
    }
    sum
}

/// Adds a row to the lanes that it has.
fn add<T: Element>(sum: &mut [T; BIAS_LANES], row: &[T]) {
    sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
}

/// Adds the lanes, halves upon halves.
fn sum_tree<T: Element>(mut lanes: [T; BIAS_LANES]) -> T {
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
