//! The layers that are not convolutions, forward and backward: plain loops that the compiler
//! turns into vectors, over memory that the caller holds.

use std::array::{from_fn, from_mut};

/// Outputs of the pooling that are made at once: a row of pooled 8x8 digits, and few enough to
/// be registers. Rows are short, so the compiler needs to be told that there is a whole block.
const BLOCK: usize = 4;

/// Two neighbours in a row: the part of a pooling window that lies in that row.
type Pair = [f32; 2];

/// Negative values become 0.
pub(crate) fn relu(values: &mut [f32]) {
    values.iter_mut().for_each(|x| *x = if *x > 0.0 { *x } else { 0.0 });
}

/// Only where the output was positive does the error pass.
pub(crate) fn relu_backward(output: &[f32], grad: &mut [f32]) {
    for (grad, &y) in grad.iter_mut().zip(output) {
        *grad = if y > 0.0 { *grad } else { 0.0 };
    }
}

/// The largest of each window of 2x2 pixels, or 0 if that is negative: ReLU commutes with the
/// maximum, and costs a quarter after it. An odd row or column at the end is left out.
pub(crate) fn max_pool_relu(input: &[f32], [height, width]: [usize; 2], output: &mut [f32]) {
    let pooled = width / 2;
    let planes = input.chunks_exact(height * width);
    for (plane, output) in planes.zip(output.chunks_exact_mut(height / 2 * pooled)) {
        let windows = plane.chunks_exact(2 * width).map(|rows| rows.split_at(width));
        for ((top, bottom), output) in windows.zip(output.chunks_exact_mut(pooled)) {
            let (top, top_end) = top.as_chunks().0.as_chunks::<BLOCK>();
            let (bottom, bottom_end) = bottom.as_chunks().0.as_chunks::<BLOCK>();
            let (blocks, end) = output.as_chunks_mut::<BLOCK>();
            for ((top, bottom), block) in top.iter().zip(bottom).zip(blocks) {
                pool(top, bottom, block);
            }
            pool(top_end, bottom_end, end);
        }
    }
}

#[inline(always)]
fn pool(top: &[Pair], bottom: &[Pair], output: &mut [f32]) {
    // `f32::max` looks out for NaN, which costs three instructions more.
    let max = |a: f32, b: f32| if a > b { a } else { b };
    for ((top, bottom), y) in top.iter().zip(bottom).zip(output) {
        *y = max(max(max(top[0], top[1]), max(bottom[0], bottom[1])), 0.0);
    }
}

/// Turns the input of [`max_pool_relu`] into its error, in place: the error of an output goes
/// to the first pixel of its window that is as large as the output, and to no other.
pub(crate) fn max_pool_relu_backward(
    input: &mut [f32],
    [height, width]: [usize; 2],
    output: &[f32],
    grad_output: &[f32],
) {
    let pooled = width / 2;
    let len = height / 2 * pooled;
    let outputs = output.chunks_exact(len).zip(grad_output.chunks_exact(len));
    for (plane, (output, grad)) in input.chunks_exact_mut(height * width).zip(outputs) {
        let outputs = output.chunks_exact(pooled).zip(grad.chunks_exact(pooled));
        let mut windows = plane.chunks_exact_mut(2 * width);
        for (rows, (output, grad)) in windows.by_ref().zip(outputs) {
            let (top, bottom) = rows.split_at_mut(width);
            let ((top, top_odd), (bottom, bottom_odd)) =
                (top.as_chunks_mut(), bottom.as_chunks_mut());
            let (top, top_end) = top.as_chunks_mut::<BLOCK>();
            let (bottom, bottom_end) = bottom.as_chunks_mut::<BLOCK>();
            let (output, output_end) = output.as_chunks::<BLOCK>();
            let (grad, grad_end) = grad.as_chunks::<BLOCK>();
            let outputs = output.iter().zip(grad);
            for ((top, bottom), (output, grad)) in top.iter_mut().zip(bottom).zip(outputs) {
                unpool(top, bottom, output, grad);
            }
            let outputs = output_end.iter().zip(grad_end);
            for ((top, bottom), (&y, &grad)) in top_end.iter_mut().zip(bottom_end).zip(outputs) {
                unpool(from_mut(top), from_mut(bottom), &[y], &[grad]);
            }
            top_odd.fill(0.0);
            bottom_odd.fill(0.0);
        }
        windows.into_remainder().fill(0.0);
    }
}

/// A loop over the windows for each step, and not all steps for each window; and masks of bits
/// where one would write `if`: only so does the compiler see vectors, and no branches that nobody
/// can predict.
#[inline(always)]
fn unpool<const N: usize>(
    top: &mut [Pair; N],
    bottom: &mut [Pair; N],
    output: &[f32; N],
    grad: &[f32; N],
) {
    let mask = |keep: bool| u32::from(keep).wrapping_neg();
    let mut left: [u32; N] = from_fn(|i| grad[i].to_bits() & mask(output[i] > 0.0));
    for row in [top, bottom] {
        for side in [0, 1] {
            let wins: [u32; N] = from_fn(|i| mask(row[i][side] == output[i]));
            (0..N).for_each(|i| row[i][side] = f32::from_bits(left[i] & wins[i]));
            (0..N).for_each(|i| left[i] &= !wins[i]);
        }
    }
}

/// Turns each row of `classes` scores into probabilities.
pub(crate) fn softmax(scores: &mut [f32], classes: usize) {
    for row in scores.chunks_exact_mut(classes) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        row.iter_mut().for_each(|x| *x = (*x - largest).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|x| *x /= sum);
    }
}

/// The cross entropy to smoothed labels, summed over the batch: of each image's truth, a share of
/// `smoothing` is spread evenly over all classes and the rest is its label's. Turns the
/// probabilities into the error of the scores that [`softmax`] made them from, for the mean over
/// the batch.
pub(crate) fn cross_entropy(
    probabilities: &mut [f32],
    classes: usize,
    labels: &[u8],
    smoothing: f32,
) -> f64 {
    let scale = 1.0 / labels.len() as f32;
    let (even, rest) = (smoothing / classes as f32, 1.0 - smoothing);
    let mut loss = 0.0;
    for (row, &label) in probabilities.chunks_exact_mut(classes).zip(labels) {
        for (class, p) in row.iter_mut().enumerate() {
            let truth = if class == usize::from(label) { rest + even } else { even };
            // A probability can vanish; its logarithm must not be infinite.
            loss -= f64::from(truth) * f64::from(p.max(f32::MIN_POSITIVE)).ln();
            *p = (*p - truth) * scale;
        }
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_sends_the_error_to_the_first_of_equals() {
        let mut input = [1.0, 3.0, -1.0, -2.0, 3.0, 2.0, -3.0, -4.0];
        let mut output = [f32::NAN; 2];
        max_pool_relu(&input, [2, 4], &mut output);
        assert_eq!(output, [3.0, 0.0]);
        max_pool_relu_backward(&mut input, [2, 4], &output, &[5.0, 6.0]);
        assert_eq!(input, [0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }

    /// Every width up to two blocks and an odd column, against the definition.
    #[test]
    fn pooling_of_any_size() {
        for (height, width) in (2..6).flat_map(|height| (2..20).map(move |w| (height, w))) {
            let (rows, columns) = (height / 2, width / 2);
            let len = height * width;
            let value = |i: usize| (i * 37 % 101) as f32 - 50.0;
            let mut input: Vec<f32> = (0..3 * len).map(value).collect();
            let (mut expected, mut expected_grad) = (vec![], vec![0.0; 3 * len]);
            for (plane, y, x) in (0..3 * rows * columns)
                .map(|i| (i / (rows * columns), i / columns % rows, i % columns))
            {
                let at = |dy, dx| plane * len + (2 * y + dy) * width + 2 * x + dx;
                let window = [at(0, 0), at(0, 1), at(1, 0), at(1, 1)];
                let largest = window.iter().fold(0.0, |max: f32, &i| max.max(input[i]));
                if let Some(&i) = window.iter().find(|&&i| input[i] == largest && largest > 0.0) {
                    expected_grad[i] = expected.len() as f32 + 1.0;
                }
                expected.push(largest);
            }
            let mut output = vec![f32::NAN; expected.len()];
            max_pool_relu(&input, [height, width], &mut output);
            assert_eq!(output, expected, "{height} x {width}");
            let grad: Vec<f32> = (0..output.len()).map(|i| i as f32 + 1.0).collect();
            max_pool_relu_backward(&mut input, [height, width], &output, &grad);
            assert_eq!(input, expected_grad, "{height} x {width}");
        }
    }
}
