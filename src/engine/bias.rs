//! `db = Σ dG`: a bias is used at every pixel of its channel, so its error is their sum.

use crate::element::Element;
use crate::parallel::Parallelism;
use crate::pass::Write;
use crate::scratch::Need;
use crate::shape::{Layout, Shape};

/// Sums run side by side, so that the compiler adds a vector at a time.
const LANES: usize = 16;

/// Rows of lanes added one after the other before the sum joins the tree.
const BLOCK: usize = 16;

/// Sums every channel of `grad_output`, which has the output's shape or, of a transposed layer, the input's. A unit of work is a stretch of `LANES` channels.
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
    let units = grad_bias.chunks_mut(LANES).enumerate();
    let need = Need { units: channels.div_ceil(LANES), shared: 0, piece: 0 };
    parallelism.for_each(need, units, &mut [] as &mut [T], |(unit, sums), _, _: &mut ()| {
        let mut put = |lane: usize, sum| match write {
            Write::Overwrite => sums[lane] = sum,
            Write::Accumulate => sums[lane] += sum,
        };
        let first = unit * LANES;
        let width = LANES.min(channels - first);
        match shape.layout() {
            Layout::ChannelsFirst => {
                for lane in 0..width {
                    let images = grad_output.chunks_exact(channels * pixels);
                    let rows = images.map(|g| &g[(first + lane) * pixels..][..pixels]);
                    let lanes = sum_rows(rows.flat_map(|row| row.chunks(LANES)));
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

/// Adds rows of up to `LANES` elements lane by lane: blocks of `BLOCK` rows in order, blocks in
/// a binary tree (as a counter counts), so the error grows with `BLOCK + log2(rows)` and not
/// with the number of rows.
fn sum_rows<'a, T: Element>(rows: impl Iterator<Item = &'a [T]>) -> [T; LANES] {
    // tree[i] holds the sum of 2^i blocks where bit i of `blocks` is set.
    let mut tree = [[T::ZERO; LANES]; usize::BITS as usize];
    let mut blocks = 0usize;
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let mut sum = [T::ZERO; LANES];
        for row in rows.by_ref().take(BLOCK) {
            add(&mut sum, row);
        }
        let full = blocks.trailing_ones() as usize;
        tree[..full].iter().for_each(|part| add(&mut sum, part));
        tree[full] = sum;
        blocks += 1;
    }
    let mut sum = [T::ZERO; LANES];
    for (bit, part) in tree.iter().enumerate() {
        if blocks >> bit & 1 == 1 {
            add(&mut sum, part);
        }
    }
    sum
}

/// Adds a row to the lanes that it has.
fn add<T: Element>(sum: &mut [T; LANES], row: &[T]) {
    sum.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
}

/// Adds the lanes, halves upon halves.
fn sum_tree<T: Element>(mut lanes: [T; LANES]) -> T {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            let other = lanes[lane + width];
            lanes[lane] += other;
        }
    }
    lanes[0]
}
