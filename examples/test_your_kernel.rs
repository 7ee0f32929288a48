//! A kernel of your own under `im2col::testing`: a toy, all three passes of it, and a broken copy
//! to show what a failure says.
//!
//! ```sh
//! cargo run --example test_your_kernel     # tests the toy, then shows the report on a broken one
//! cargo test --example test_your_kernel    # the tests, as a crate of yours would have them
//! ```
//!
//! In your crate: `cargo add --dev im2col --features testing`.

use im2col::testing::{Call, Fill, Layer, Tolerance, assert_adjoint, for_families};
use im2col::{Params, Pass, Shape, Write, reference};

/// The kernel under test: f32, one axis, one group, channels first. Rows of taps slide over rows
/// of the image.
struct Toy {
    /// What a hurried author forgets: the last output of a row.
    forgets_the_tail: bool,
}

impl Toy {
    /// Calls `term(output, input, weight)` for every product.
    fn products(&self, shape: &Shape, mut term: impl FnMut(usize, usize, usize)) {
        let axis = shape.axes()[0];
        let (c, k) = (shape.in_channels(), shape.out_channels());
        let outputs = axis.output - usize::from(self.forgets_the_tail && axis.output > 4);
        for (n, channel_out) in (0..shape.batch()).flat_map(|n| (0..k).map(move |k| (n, k))) {
            for (channel_in, tap) in (0..c).flat_map(|c| (0..axis.kernel).map(move |t| (c, t))) {
                for at in 0..outputs {
                    let Some(from) = axis.source(at, tap) else { continue };
                    term(
                        (n * k + channel_out) * axis.output + at,
                        (n * c + channel_in) * axis.input + from,
                        (channel_out * c + channel_in) * axis.kernel + tap,
                    );
                }
            }
        }
    }

    fn forward(&self, shape: &Shape, input: &[f32], weight: &[f32]) -> Vec<f32> {
        let mut output = vec![0.0; shape.output_len()];
        self.products(shape, |o, i, w| output[o] += input[i] * weight[w]);
        output
    }

    fn backward_data(&self, shape: &Shape, weight: &[f32], grad_output: &[f32]) -> Vec<f32> {
        let mut grad_input = vec![0.0; shape.input_len()];
        self.products(shape, |o, i, w| grad_input[i] += grad_output[o] * weight[w]);
        grad_input
    }

    fn backward_weight(&self, shape: &Shape, input: &[f32], grad_output: &[f32]) -> Vec<f32> {
        let mut grad_weight = vec![0.0; shape.weight_len()];
        self.products(shape, |o, i, w| grad_weight[w] += grad_output[o] * input[i]);
        grad_weight
    }
}

/// What the toy can do of what a family draws.
fn of_the_toy(params: Params) -> Params {
    let groups = params.groups;
    Params {
        axes: 1,
        layout: im2col::Layout::ChannelsFirst,
        groups: 1,
        in_channels: params.in_channels / groups,
        out_channels: params.out_channels / groups,
        ..params
    }
}

/// Whole numbers have to be exact, random ones within the contract; the gradients are adjoints.
fn test(toy: &Toy, params: Params) {
    for (fill, tolerance) in
        [(Fill::Integers, Tolerance::Exact), (Fill::Normal, Tolerance::Contract)]
    {
        let layer = Layer::<f32>::new(params, fill);
        let Layer { shape, input, weight, grad_output, .. } = &layer;
        let answers = [
            (Pass::Forward, toy.forward(shape, input, weight)),
            (Pass::BackwardData, toy.backward_data(shape, weight, grad_output)),
            (Pass::BackwardWeight, toy.backward_weight(shape, input, grad_output)),
        ];
        for (pass, answer) in answers {
            let expected = layer.expected(Call::Pass(pass, Write::Overwrite));
            expected.assert_close("the toy", &answer, tolerance);
        }
        let forward = |x: &[f32]| toy.forward(shape, x, weight);
        let backward = |g: &[f32]| toy.backward_data(shape, weight, g);
        assert_adjoint("the toy", input, grad_output, forward, backward, 16.0);
    }
}

fn main() {
    for_families(10, |params| test(&Toy { forgets_the_tail: false }, of_the_toy(params)));
    println!("the toy is right, on 10 layers of each family\n");

    // A broken one: without `for_layers`, so that the report stands alone.
    let toy = Toy { forgets_the_tail: true };
    let params = Params { axes: 1, in_channels: 2, input: [7, 1, 1], ..Params::default() };
    let params = Params { kernel: [3, 1, 1], pad_end: [1, 0, 0], ..params };
    let layer = Layer::<f32>::new(params, Fill::Painted);
    let answer = toy.forward(&layer.shape, &layer.input, &layer.weight);
    let expected = layer.expected(Call::Pass(Pass::Forward, Write::Overwrite));
    let mismatch = expected.check("the broken toy", &answer, Tolerance::Exact);
    println!("{}", mismatch.expect_err("it forgets the tail"));
    // The naive loops are the same products, one after the other.
    let right = reference::forward(&layer.shape, &layer.input, &layer.weight, None);
    println!("the whole row should be {:?}", right.expect("the layer's own lengths"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use im2col::testing::{Family, for_layers};

    #[test]
    fn the_toy_is_right() {
        for_families(10, |params| test(&Toy { forgets_the_tail: false }, of_the_toy(params)));
    }

    #[test]
    #[should_panic = "is wrong at output"]
    fn a_forgotten_tail_is_found() {
        let toy = Toy { forgets_the_tail: true };
        for_layers(&Family::dense(), 50, |params| test(&toy, of_the_toy(params)));
    }
}
