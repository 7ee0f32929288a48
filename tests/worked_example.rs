//! The worked example, every equation spelled out: the 3x3 image V1..V9 under the 2x2 filter
//! W1..W4 makes the 2x2 output G1..G4.
//!
//! ```text
//! V1 V2 V3
//! V4 V5 V6   *   W1 W2   =   G1 G2
//! V7 V8 V9       W3 W4       G3 G4
//! ```
//!
//! All numbers are primes, so that no two sums coincide and no index can be mistaken.

use im2col::testing::plans;
use im2col::{Conv1d, Conv2d, Element, Layout, Plan};

const V: [f64; 9] = [2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0, 19.0, 23.0];
const W: [f64; 4] = [29.0, 31.0, 37.0, 41.0];
/// dE/dG1..4.
const DG: [f64; 4] = [43.0, 47.0, 53.0, 59.0];

/// Calls `test` with every plan of the layer in both layouts: one channel, so both agree.
fn for_plans<T: Element>(test: impl Fn(&Plan<T>)) {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let layer = Conv2d::<T>::new([1, 1, 3, 3], [1, 1, 2, 2]).layout(layout);
        plans(*layer.plan().unwrap().shape()).iter().for_each(&test);
    }
}

fn of<T: Element>(numbers: &[f64]) -> Vec<T> {
    numbers.iter().map(|&x| T::from_f64(x)).collect()
}

fn check_forward<T: Element>() {
    let [v1, v2, v3, v4, v5, v6, v7, v8, v9] = V;
    let [w1, w2, w3, w4] = W;
    let bias = 61.0;
    let g1 = v1 * w1 + v2 * w2 + v4 * w3 + v5 * w4;
    let g2 = v2 * w1 + v3 * w2 + v5 * w3 + v6 * w4;
    let g3 = v4 * w1 + v5 * w2 + v7 * w3 + v8 * w4;
    let g4 = v5 * w1 + v6 * w2 + v8 * w3 + v9 * w4;
    let (v, w) = (of::<T>(&V), of::<T>(&W));
    for_plans::<T>(|plan| {
        let mut g = of(&[f64::NAN; 4]);
        plan.forward(&v, &w).run(&mut g).unwrap();
        assert_eq!(g, of(&[g1, g2, g3, g4]));
        plan.forward(&v, &w).bias(&of(&[bias])).run(&mut g).unwrap();
        assert_eq!(g, of(&[g1 + bias, g2 + bias, g3 + bias, g4 + bias]));
    });
}

fn check_backward_weight<T: Element>() {
    let [v1, v2, v3, v4, v5, v6, v7, v8, v9] = V;
    let [dg1, dg2, dg3, dg4] = DG;
    // A weight's error is the sum over every output that it helped to make.
    let dw1 = dg1 * v1 + dg2 * v2 + dg3 * v4 + dg4 * v5;
    let dw2 = dg1 * v2 + dg2 * v3 + dg3 * v5 + dg4 * v6;
    let dw3 = dg1 * v4 + dg2 * v5 + dg3 * v7 + dg4 * v8;
    let dw4 = dg1 * v5 + dg2 * v6 + dg3 * v8 + dg4 * v9;
    let (v, dg) = (of::<T>(&V), of::<T>(&DG));
    for_plans::<T>(|plan| {
        let mut dw = of(&[f64::NAN; 4]);
        plan.backward_weight(&v, &dg).run(&mut dw).unwrap();
        assert_eq!(dw, of(&[dw1, dw2, dw3, dw4]));
        plan.backward_weight(&v, &dg).accumulate().run(&mut dw).unwrap();
        assert_eq!(dw, of(&[2.0 * dw1, 2.0 * dw2, 2.0 * dw3, 2.0 * dw4]));
    });
}

fn check_backward_data<T: Element>() {
    let [w1, w2, w3, w4] = W;
    let [dg1, dg2, dg3, dg4] = DG;
    // A pixel's error is the sum over the patches that it lies in: corners in one, the middle
    // in all four.
    let dv1 = dg1 * w1;
    let dv2 = dg1 * w2 + dg2 * w1;
    let dv3 = dg2 * w2;
    let dv4 = dg1 * w3 + dg3 * w1;
    let dv5 = dg1 * w4 + dg2 * w3 + dg3 * w2 + dg4 * w1;
    let dv6 = dg2 * w4 + dg4 * w2;
    let dv7 = dg3 * w3;
    let dv8 = dg3 * w4 + dg4 * w3;
    let dv9 = dg4 * w4;
    let once = [dv1, dv2, dv3, dv4, dv5, dv6, dv7, dv8, dv9];
    let (w, dg) = (of::<T>(&W), of::<T>(&DG));
    for_plans::<T>(|plan| {
        let mut dv = of(&[f64::NAN; 9]);
        plan.backward_data(&w, &dg).run(&mut dv).unwrap();
        assert_eq!(dv, of(&once));
        plan.backward_data(&w, &dg).accumulate().run(&mut dv).unwrap();
        assert_eq!(dv, of(&once.map(|x| 2.0 * x)));
    });
}

fn check_backward_bias<T: Element>() {
    let [dg1, dg2, dg3, dg4] = DG;
    let dg = of::<T>(&DG);
    for_plans::<T>(|plan| {
        let mut db = of(&[f64::NAN]);
        plan.backward_bias(&dg).run(&mut db).unwrap();
        assert_eq!(db, of(&[dg1 + dg2 + dg3 + dg4]));
    });
}

#[test]
fn outputs() {
    check_forward::<f32>();
    check_forward::<f64>();
}

#[test]
fn errors_of_the_weights() {
    check_backward_weight::<f32>();
    check_backward_weight::<f64>();
}

#[test]
fn errors_of_the_pixels() {
    check_backward_data::<f32>();
    check_backward_data::<f64>();
}

#[test]
fn error_of_the_bias() {
    check_backward_bias::<f32>();
    check_backward_bias::<f64>();
}

/// Two zeros before and none after, told apart by numbers: the naive loops can't judge this,
/// because they read their padding from the same shape.
#[test]
fn padding_before_is_not_padding_after() {
    let ([v1, v2, v3], [w1, w2], [dg1, dg2, dg3, dg4]) = ([2.0, 3.0, 5.0], [29.0, 31.0], DG);
    let layer = Conv1d::<f64>::new([1, 1, 3], [1, 1, 2]).padding_per_side([2], [0]);
    for plan in plans::<f64>(*layer.plan().unwrap().shape()) {
        let (mut g, mut dv, mut dw) = ([f64::NAN; 4], [f64::NAN; 3], [f64::NAN; 2]);
        plan.forward(&[v1, v2, v3], &[w1, w2]).run(&mut g).unwrap();
        assert_eq!(g, [0.0, v1 * w2, v1 * w1 + v2 * w2, v2 * w1 + v3 * w2]);
        plan.backward_data(&[w1, w2], &DG).run(&mut dv).unwrap();
        assert_eq!(dv, [dg2 * w2 + dg3 * w1, dg3 * w2 + dg4 * w1, dg4 * w2]);
        plan.backward_weight(&[v1, v2, v3], &DG).run(&mut dw).unwrap();
        assert_eq!(dw, [dg3 * v1 + dg4 * v2, dg2 * v1 + dg3 * v2 + dg4 * v3]);
        assert!(dg1 != 0.0, "the first output sees only padding");
    }
}
