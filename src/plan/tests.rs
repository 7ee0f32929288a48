//! Plans of kernels that no plan chooses on this machine: those of an ISA of its own, for processors
//! with another number of multiplication units (AVX-512 has two sets). The tests of the interface
//! never meet them, so what those hold is held here in short: right answers, the bits of packed
//! weights, and nothing touched outside of a slice.

use super::{Algorithm, Plan};
use crate::element::Element;
use crate::parallel::Parallelism;
use crate::pass::{Pass, Write};
use crate::shape::Params;
use crate::testing::{
    Call, EDGES, Fill, Guarded, Layer, Tolerance, Unit, bits, calls, for_families, nan,
};
use alloc::format;
use alloc::vec;

pub(crate) const TESTS: &[Unit] =
    &[("plan::kernels_for_other_processors_of_the_isa", kernels_for_other_processors_of_the_isa)];

/// The layer on this machine's other kernels; none where every kernel is chosen by some plan.
fn other<T: Element>(layer: &Layer<T>) -> Option<Plan<T>> {
    let (implicit, rayon) = (Algorithm::Implicit, Parallelism::Rayon);
    T::others().map(|kernels| Plan::with_kernels(layer.shape, implicit, rayon, kernels).unwrap())
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
            match pass {
                Pass::Forward => {
                    let bias = (write == Write::Accumulate).then_some(&*b);
                    plan.forward_with_scratch(&x, &w, bias, &mut to, s)
                }
                Pass::BackwardData => plan.backward_data_with_scratch(&w, &g, &mut to, write, s),
                Pass::BackwardWeight => {
                    plan.backward_weight_with_scratch(&x, &g, &mut to, write, s)
                }
            }
            .unwrap();
            expected.assert_close(&format!("{edge:?} of {plan:?}"), &to, Tolerance::Exact);
        }
    }
    let pass = Pass::Forward;
    let mut y = layer.before(pass, Write::Overwrite);
    let packed = plan.pack_weight(pass, weight).unwrap();
    plan.forward_packed(&layer.input, &packed, None, &mut y).unwrap();
    assert_eq!(bits(&y), bits(&layer.run(&plan, pass, Write::Overwrite)), "{plan:?}");
    let (pass, write) = (Pass::BackwardData, Write::Accumulate);
    let mut dx = layer.before(pass, write);
    let packed = plan.pack_weight(pass, weight).unwrap();
    plan.backward_data_packed(&packed, dg, &mut dx, write).unwrap();
    assert_eq!(bits(&dx), bits(&layer.run(&plan, pass, write)), "{plan:?}");
}

fn kernels_for_other_processors_of_the_isa() {
    for_families(12, check::<f32>);
    for_families(4, check::<f64>);
}
