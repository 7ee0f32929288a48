//! Plans of kernels that no plan chooses on this machine: those of an ISA of its own, for processors
//! with another number of multiplication units (AVX-512 has two sets). The tests of the interface
//! never meet them, so what those hold is held here in short: right answers, the bits of packed
//! weights, and nothing touched outside of a slice.

use super::Plan;
use crate::activation::Activation;
use crate::element::Element;
use crate::kernel::tests::others;
use crate::options::{Algorithm, Options};
use crate::parallel::Serial;
use crate::pass::{Pass, Write};
use crate::shape::Params;
use crate::testing::{
    Call, EDGES, Fill, Guarded, Layer, Tolerance, Unit, bits, calls, for_families, nan, plans,
};
use alloc::format;
use alloc::vec;

pub(crate) const TESTS: &[Unit] = &[
    ("plan::kernels_for_other_processors_of_the_isa", kernels_for_other_processors_of_the_isa),
    ("plan::every_part_of_the_epilogue_on_every_path", every_part_of_the_epilogue_on_every_path),
];

/// The layer on this machine's other kernels; none where every kernel is chosen by some plan.
fn other<T: Element>(layer: &Layer<T>) -> Option<Plan<T>> {
    let implicit = Options::from(Algorithm::Implicit);
    others().map(|kernels| Plan::with_kernels(layer.shape, implicit, kernels).unwrap())
}

fn check<T: Element>(params: Params) {
    let layer = Layer::<T>::new(params, Fill::Integers);
    let Some(plan) = other(&layer) else { return };
    let Layer { weight, grad_output: dg, .. } = &layer;
    for (pass, write) in calls() {
        let expected = layer.expected(Call::Pass(pass, write));
        expected.assert_plan(&plan, Tolerance::Exact);
        for edge in EDGES {
            let guarded = |tensor: &[T]| Guarded::new(edge, tensor);
            let (x, w) = (guarded(&layer.input), guarded(weight));
            let (g, b) = (guarded(dg), guarded(&layer.bias));
            let mut to = guarded(&layer.before(pass, write));
            let mut scratch = guarded(&vec![nan(); plan.min_scratch_len(pass)]);
            let s = &mut scratch;
            let accumulate = write == Write::Accumulate;
            match pass {
                Pass::Forward => {
                    let call = plan.forward(&x, &w[..]).scratch(s).executor(&Serial);
                    if accumulate { call.bias(&b).run(&mut to[..]) } else { call.run(&mut to[..]) }
                }
                Pass::BackwardData => {
                    let call = plan.backward_data(&w[..], &g).scratch(s).executor(&Serial);
                    if accumulate { call.accumulate() } else { call }.run(&mut to[..])
                }
                Pass::BackwardWeight => {
                    let call = plan.backward_weight(&x, &g).scratch(s).executor(&Serial);
                    if accumulate { call.accumulate() } else { call }.run(&mut to[..])
                }
            }
            .unwrap();
            expected.assert_close(&format!("{edge:?} of {plan:?}"), &to, Tolerance::Exact);
        }
    }
    let pass = Pass::Forward;
    let mut y = layer.before(pass, Write::Overwrite);
    let packed = plan.pack_weight(pass, weight).unwrap();
    plan.forward(&layer.input, &packed).run(&mut y).unwrap();
    assert_eq!(bits(&y), bits(&layer.run(&plan, pass, Write::Overwrite)), "{plan:?}");
    let (pass, write) = (Pass::BackwardData, Write::Accumulate);
    let mut dx = layer.before(pass, write);
    let packed = plan.pack_weight(pass, weight).unwrap();
    plan.backward_data(&packed, dg).accumulate().run(&mut dx).unwrap();
    assert_eq!(bits(&dx), bits(&layer.run(&plan, pass, write)), "{plan:?}");
}

fn kernels_for_other_processors_of_the_isa() {
    for_families(12, check::<f32>);
    for_families(4, check::<f64>);
}

/// `clamp(sums + bias + residual + what was there)`, each part there or not, by every algorithm on every ISA:
/// integers, so that the order of additions doesn't matter.
fn check_epilogue<T: Element>(params: Params) {
    let layer = Layer::<T>::new(params, Fill::Integers);
    let call = Call::Pass(Pass::Forward, Write::Overwrite);
    let (sums, biased) =
        (layer.expected(call), layer.expected(Call::Pass(Pass::Forward, Write::Accumulate)));
    // Any integers.
    let wrapped = |tensor: &[T], first: usize| -> alloc::vec::Vec<T> {
        tensor.iter().cycle().skip(first).take(sums.values.len()).copied().collect()
    };
    let (residual, old) = (wrapped(&layer.grad_output, 1), wrapped(&layer.input, 0));
    let (low, high) = (-3.0, 40.0);
    let others = other(&layer).into_iter();
    for (number, plan) in plans(layer.shape).into_iter().chain(others).enumerate() {
        for case in (0..16).filter(|case| (case + number) % 3 == 0) {
            let [with_bias, added, accumulate, clamped] = [1, 2, 4, 8].map(|bit| case & bit != 0);
            let mut output = if accumulate { old.clone() } else { vec![nan(); old.len()] };
            let mut call = plan
                .forward(&layer.input, &layer.weight)
                .maybe_bias(with_bias.then_some(&layer.bias));
            if added {
                call = call.residual(&residual);
            }
            if accumulate {
                call = call.accumulate();
            }
            if clamped {
                call = call.activation(Activation::Clamp(T::from_f64(low), T::from_f64(high)));
            }
            let mut scratch = vec![nan(); plan.scratch_len(Pass::Forward)];
            call.scratch(&mut scratch).run(&mut output).unwrap();
            for (i, &got) in output.iter().enumerate() {
                let mut expected = if with_bias { biased.values[i] } else { sums.values[i] };
                expected += if added { residual[i].into() } else { 0.0 };
                expected += if accumulate { old[i].into() } else { 0.0 };
                let expected = if clamped { expected.clamp(low, high) } else { expected };
                assert_eq!(got.into(), expected, "{params:?}, {plan:?}, case {case}: element {i}");
            }
        }
    }
}

fn every_part_of_the_epilogue_on_every_path() {
    for_families(10, check_epilogue::<f32>);
    for_families(4, check_epilogue::<f64>);
}
