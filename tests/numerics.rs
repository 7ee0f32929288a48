//! Rounding on inputs chosen to hurt. On random numbers errors cancel; on a constant like 0.1
//! every addition to a large sum is rounded the same way, and a sum of `terms` terms in a row
//! is off by up to `terms * eps / 2`. The contract is blocked summation: an error of
//! `c * eps * Σ|a||b|` where c is about `block + terms / block`.

use im2col::testing::{Call, Expected, Fill, Layer, Tolerance, calls, plans};
use im2col::{Conv1d, Element, Layout, Params, Write};

/// c of the products: the depth of a block, plus a term for each block that is added.
fn blocked(terms: usize) -> f64 {
    512.0 + terms as f64 / 256.0
}

/// c of a sum of `n` numbers in 16 lanes: blocks of 16, joined in a binary tree.
fn tree(n: usize) -> f64 {
    32.0 + (n as f64).log2()
}

/// Numbers that don't cancel what rounding does to them.
#[derive(Debug, Clone, Copy)]
enum Hurt {
    /// 0.1, never exact: the sum grows past it and every addition rounds alike.
    Constant,
    /// From 1e-4 to 1e4 and back: late terms meet a small sum, early ones a large one.
    Growing,
    /// Large numbers that cancel in pairs and leave small ones.
    Cancelling,
    /// Falling powers: every term is below half an ulp of the sum after a while.
    Vanishing,
}

const HURT: [Hurt; 4] = [Hurt::Constant, Hurt::Growing, Hurt::Cancelling, Hurt::Vanishing];

fn hurtful<T: Element>(hurt: Hurt, len: usize) -> Vec<T> {
    let number = |i: usize| {
        let place = i as f64 / len as f64;
        match hurt {
            Hurt::Constant => 0.1,
            Hurt::Growing => 10f64.powf(8.0 * place - 4.0),
            Hurt::Cancelling => [1000.1, 0.1, -1000.1][i % 3],
            Hurt::Vanishing => {
                if i == 0 {
                    1.0
                } else {
                    T::EPSILON / 2.1
                }
            }
        }
    };
    (0..len).map(number).map(T::from_f64).collect()
}

/// Layers with long sums in every pass: many taps and channels for the outputs and the pixels,
/// many pixels and images for the weights.
fn long_sums() -> [Params; 4] {
    let layer = Params::default();
    let taps = Params { input: [5, 5, 1], kernel: [3, 3, 1], ..layer };
    [
        Params { in_channels: 600, out_channels: 5, ..taps },
        Params { in_channels: 5, out_channels: 600, layout: Layout::ChannelsLast, ..taps },
        Params { batch: 11, out_channels: 3, input: [70, 70, 1], kernel: [3, 3, 1], ..layer },
        Params { axes: 1, batch: 2, input: [30_000, 1, 1], kernel: [3, 1, 1], ..layer },
    ]
}

fn check_products<T: Element>() {
    for params in long_sums() {
        for hurt in HURT {
            let mut layer = Layer::<T>::new(params, Fill::Uniform);
            layer.input = hurtful(hurt, layer.input.len());
            layer.weight = hurtful(hurt, layer.weight.len());
            layer.grad_output = hurtful(hurt, layer.grad_output.len());
            for (pass, write) in calls() {
                let expected = layer.expected(Call::Pass(pass, write));
                // The judge sums in f64, one term after the other.
                let judge = if T::EPSILON == f64::EPSILON { expected.terms } else { 0 };
                let factor = blocked(expected.terms) + judge as f64;
                for plan in plans(layer.shape) {
                    expected.assert_plan(&plan, Tolerance::Factor(factor));
                }
            }
        }
    }
}

#[test]
fn f32_products_of_hurtful_numbers() {
    check_products::<f32>();
}

#[test]
fn f64_products_of_hurtful_numbers() {
    check_products::<f64>();
}

/// The sum of a sequence with the rounding of each addition kept and added at the end (Neumaier).
fn compensated(numbers: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0f64, 0.0);
    for x in numbers {
        let next = sum + x;
        lost += if sum.abs() >= x.abs() { (sum - next) + x } else { (x - next) + sum };
        sum = next;
    }
    sum + lost
}

/// A million errors in each of three channels: one after the other this would be off by a
/// thousandth of the sum in f32.
fn check_bias<T: Element>(layout: Layout) {
    let (batch, channels, pixels) = (4, 3, 250_000);
    let conv = Conv1d::<T>::new([batch, 1, pixels], [channels, 1, 1]).layout(layout);
    let plan = conv.plan().unwrap();
    let mut layer = Layer::new(*plan.shape().params(), Fill::Integers);
    for hurt in HURT {
        let dg: Vec<T> = hurtful(hurt, plan.shape().output_len());
        let channel = |o: usize| match layout {
            Layout::ChannelsFirst => o / pixels % channels,
            Layout::ChannelsLast => o % channels,
        };
        let sums = |of: fn(f64) -> f64| -> Vec<f64> {
            let numbers = |k| (0..dg.len()).filter(move |&o| channel(o) == k);
            (0..channels).map(|k| compensated(numbers(k).map(|o| of(dg[o].into())))).collect()
        };
        let (values, magnitudes) = (sums(|x| x), sums(f64::abs));
        layer.grad_output = dg;
        let naive = layer.expected(Call::Bias(Write::Overwrite));
        let expected = Expected { values, magnitudes, ..naive };
        expected.assert_plan(&plan, Tolerance::Factor(tree(batch * pixels)));
    }
}

#[test]
fn bias_of_a_million_hurtful_numbers() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        check_bias::<f32>(layout);
        check_bias::<f64>(layout);
    }
}
