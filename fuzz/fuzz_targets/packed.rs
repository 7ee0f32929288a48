//! Packed weights give the bits of unpacked ones, with an activation or without, and are refused
//! where they don't belong.

#![no_main]

use im2col::testing::{WRITES, bits, nan};
use im2col::{Activation, Element, Error, Layout, Pass, Shape};
use im2col_fuzz::{Small, plans};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Small, Small)| {
    let (small, other) = input;
    if small.double { check::<f64>(&small, &other) } else { check::<f32>(&small, &other) }
});

fn check<T: Element>(small: &Small, other: &Small) {
    let (Some(layer), Some(other)) = (small.layer::<T>(), other.layer::<T>()) else { return };
    let (x, w) = (layer.input.as_slice(), layer.weight.as_slice());
    let (g, bias) = (layer.grad_output.as_slice(), Some(layer.bias.as_slice()));
    for (plan, other) in plans::<T>(layer.shape).zip(plans::<T>(other.shape)) {
        let [forward, backward] =
            [Pass::Forward, Pass::BackwardData].map(|pass| plan.pack_weight(pass, w).unwrap());
        for activation in [Activation::None, Activation::Relu] {
            let plan = plan.clone().with_activation(activation).unwrap();
            let (mut raw, mut packed) = (vec![nan(); g.len()], vec![nan(); g.len()]);
            plan.forward(x, w).maybe_bias(bias).run(&mut raw).unwrap();
            plan.forward(x, &forward).maybe_bias(bias).run(&mut packed).unwrap();
            assert_eq!(bits::<T>(&raw), bits(&packed), "{plan:?}");
        }
        for write in WRITES {
            let before = layer.before(Pass::BackwardData, write);
            let (mut raw, mut packed) = (before.clone(), before);
            plan.backward_data(w, g).write(write).run(&mut raw).unwrap();
            plan.backward_data(&backward, g).write(write).run(&mut packed).unwrap();
            assert_eq!(bits::<T>(&raw), bits(&packed), "{write:?} of {plan:?}");
        }

        let mut to = vec![T::ONE; g.len()];
        let refused = |result| matches!(result, Err(Error::PackedFor { .. }));
        assert!(refused(plan.forward(x, &backward).maybe_bias(bias).run(&mut to)));
        // Batch, image, stride and padding have no part in the order of weights.
        if weight_of(other.shape()) != weight_of(plan.shape()) {
            let other = other.pack_weight(Pass::Forward, &vec![T::ONE; other.shape().weight_len()]);
            assert!(refused(plan.forward(x, &other.unwrap()).maybe_bias(bias).run(&mut to)));
        }
        assert!(to.iter().all(|&x| x == T::ONE), "written on error");
        assert!(matches!(plan.pack_weight(Pass::Forward, &w[1..]), Err(Error::Length { .. })));
    }
}

/// What decides whether two layers have weights of one order: sizes and layout, a missing axis as one of size 1.
fn weight_of(shape: &Shape) -> (Layout, usize, [usize; 5]) {
    let mut sizes = [1; 5];
    [sizes[0], sizes[1]] = [shape.out_channels(), shape.group_in()];
    let axes = shape.axes();
    for (size, axis) in sizes[5 - axes.len()..].iter_mut().zip(axes) {
        *size = axis.kernel;
    }
    (shape.layout(), shape.groups(), sizes)
}
