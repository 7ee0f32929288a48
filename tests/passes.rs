//! Every pass against the naive loops: every family of layers, both layouts, both types, both
//! ways to write, every algorithm. What the passes promise beyond numbers is in
//! `promises.rs`.

mod common;

use common::layers::{for_families, for_layers, tiny};
use common::{
    EXACT, Expected, Fill, Layer, PASSES, ROUNDED, WRITES, assert_within, check_pass, contract,
    dot, nan, numbers, plans,
};
use im2col::{Element, Params, Pass, Plan, Write, reference};

/// All passes, writes and cases of a layer against the naive loops.
fn check_layer<T: Element>(params: Params, fill: Fill, factor: impl Fn(usize) -> f64) {
    let layer = Layer::<T>::new(params, fill);
    let plans = plans(layer.shape);
    for pass in PASSES {
        for write in WRITES {
            let expected = layer.expected(pass, write);
            for plan in &plans {
                check_pass(&layer, plan, (pass, write), &expected, factor(expected.terms));
            }
        }
    }
    plans.iter().for_each(|plan| check_bias(&layer, plan, &factor));
}

fn check_bias<T: Element>(layer: &Layer<T>, plan: &Plan<T>, factor: impl Fn(usize) -> f64) {
    let (shape, dg) = (&layer.shape, &layer.grad_output);
    for write in WRITES {
        let old: &[T] = if write == Write::Accumulate { &layer.bias } else { &[] };
        let sum = |layer: &Layer<T>, old: &[T]| {
            let mut sums = reference::backward_bias(shape, &layer.grad_output).unwrap();
            sums.iter_mut().zip(old).for_each(|(sum, &x)| *sum += x.into());
            sums
        };
        let absolute = layer.map(|x| T::from_f64(x.into().abs()));
        let expected = Expected {
            values: sum(layer, old),
            magnitudes: sum(&absolute, &absolute.bias[..old.len()]),
            terms: shape.batch() * shape.output_pixels() + 1,
        };
        let mut got = vec![nan(); shape.out_channels()];
        got[..old.len()].copy_from_slice(old);
        plan.backward_bias(dg, &mut got, write).unwrap();
        let what = format!("backward_bias {write:?} of {plan:?}");
        assert_within(&what, &got, &expected, factor(expected.terms));
    }
}

fn check_exact<T: Element>() {
    for_families(24, |params| EXACT.iter().for_each(|&f| check_layer::<T>(params, f, |_| 0.0)));
}

fn check_rounded<T: Element>() {
    for_families(16, |params| ROUNDED.iter().for_each(|&f| check_layer::<T>(params, f, contract)));
}

#[test]
fn f32_integers_are_exact() {
    check_exact::<f32>();
}

#[test]
fn f64_integers_are_exact() {
    check_exact::<f64>();
}

#[test]
fn f32_is_within_the_contract() {
    check_rounded::<f32>();
}

#[test]
fn f64_is_within_the_contract() {
    check_rounded::<f64>();
}

/// `<conv(x, w), g> = <w, dW> = <x, dV>`: with integers, to the last bit.
fn check_adjoints<T: Element>(params: Params) {
    let layer = Layer::<T>::new(params, Fill::Integers);
    for plan in plans(layer.shape) {
        let [y, dv, dw] = PASSES.map(|pass| layer.run(&plan, pass, Write::Overwrite));
        let product = dot(&y, &layer.grad_output);
        assert_eq!(product, dot(&layer.weight, &dw), "<y, g> = <w, dW> of {plan:?}");
        assert_eq!(product, dot(&layer.input, &dv), "<y, g> = <x, dV> of {plan:?}");
    }
}

#[test]
fn gradients_are_adjoints_of_forward() {
    for_families(24, |params| {
        check_adjoints::<f32>(params);
        check_adjoints::<f64>(params);
    });
}

/// `E = Σ y² / 2`, so that `dE/dy = y`.
fn energy(layer: &Layer<f64>, plan: &Plan<f64>) -> (f64, Vec<f64>) {
    let y = layer.run(plan, Pass::Forward, Write::Accumulate);
    (dot(&y, &y) / 2.0, y)
}

/// The gradients against what a small step of each number does to the energy, through the
/// library's own forward alone. `E` is a square, so central differences have no error of their
/// own and whole steps stay exact.
#[test]
fn gradients_are_finite_differences() {
    for_layers(&tiny(), 24, |params| {
        let mut layer = Layer::<f64>::new(params, Fill::Integers);
        for plan in plans(layer.shape) {
            let (_, y) = energy(&layer, &plan);
            layer.grad_output = y;
            let mut db = vec![f64::NAN; layer.bias.len()];
            plan.backward_bias(&layer.grad_output, &mut db, Write::Overwrite).unwrap();
            let dv = layer.run(&plan, Pass::BackwardData, Write::Overwrite);
            let dw = layer.run(&plan, Pass::BackwardWeight, Write::Overwrite);
            type Field = fn(&mut Layer<f64>) -> &mut Vec<f64>;
            let fields: [(&str, &[f64], Field); 3] = [
                ("grad_input", &dv, |layer| &mut layer.input),
                ("grad_weight", &dw, |layer| &mut layer.weight),
                ("grad_bias", &db, |layer| &mut layer.bias),
            ];
            for (name, gradient, field) in fields {
                for (i, &slope) in gradient.iter().enumerate() {
                    let mut at = |step: f64| {
                        field(&mut layer)[i] += step;
                        let (energy, _) = energy(&layer, &plan);
                        field(&mut layer)[i] -= step;
                        energy
                    };
                    let difference = (at(1.0) - at(-1.0)) / 2.0;
                    assert_eq!(slope, difference, "{name}[{i}] of {plan:?}");
                }
            }
        }
    });
}

/// Accumulating twice is the gradient twice, on top of what was there.
#[test]
fn accumulating_twice_doubles() {
    for_families(4, |params| {
        let layer = Layer::<f32>::new(params, Fill::Integers);
        for plan in plans(layer.shape) {
            for pass in [Pass::BackwardData, Pass::BackwardWeight] {
                let once = layer.run(&plan, pass, Write::Overwrite);
                let mut twice: Vec<f32> = numbers(Fill::Integers, 9, once.len());
                let sum: Vec<f32> = twice.iter().zip(&once).map(|(a, b)| a + 2.0 * b).collect();
                for _ in 0..2 {
                    layer.run_into(&plan, pass, Write::Accumulate, None, &mut twice).unwrap();
                }
                assert_eq!(twice, sum, "{pass:?} of {plan:?}");
            }
        }
    });
}
