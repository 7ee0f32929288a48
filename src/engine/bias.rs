//! `db = Σ dG`: a bias is used at every pixel of its channel, so its error is their sum.

use crate::element::Element;
use crate::numerics::{BIAS_LANES, BIAS_ROWS};
use crate::parallel::Parallelism;
use crate::pass::Write;
use crate::shape::{Layout, Shape};

/// Sums every channel of `grad_output`, which has the output's shape or, of a transposed layer, the input's. A unit of
/// work are `BIAS_LANES` channels.
pub(crate) fn backward_bias<T: Element>(
    shape: &Shape,
    of_input: bool,
    parallelism: Parallelism<'_>,
    grad_output: &[T],
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
                    let images = grad_output.chunks_exact(channels * pixels);
                    let rows = images.map(|g| &g[(first + lane) * pixels..][..pixels]);
                    let lanes = sum_rows(rows.flat_map(|row| row.chunks(BIAS_LANES)));
                    put(lane, sum_tree(lanes));
                }
            }
            Layout::ChannelsLast => {
                let rows = grad_output.chunks_exact(channels);
                let lanes = sum_rows(rows.map(|row| &row[first..][..width]));
                (0..width).for_each(|lane| put(lane, lanes[lane]));
            }
        }
    });
}

/// Adds rows of up to `BIAS_LANES` elements lane by lane: blocks of `BIAS_ROWS` rows in order, blocks in
/// a binary tree (as a counter counts), so the error grows with `BIAS_ROWS + log2(rows)` and not
/// with the number of rows.
fn sum_rows<'a, T: Element>(rows: impl Iterator<Item = &'a [T]>) -> [T; BIAS_LANES] {
    // tree[i] holds the sum of 2^i blocks where bit i of `blocks` is set.
    let mut tree = [[T::ZERO; BIAS_LANES]; usize::BITS as usize];
    let mut blocks = 0usize;
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let mut sum = [T::ZERO; BIAS_LANES];
        for row in rows.by_ref().take(BIAS_ROWS) {
            add(&mut sum, row);
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
