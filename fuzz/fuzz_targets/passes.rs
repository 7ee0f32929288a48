//! Any small layer, with whole numbers for its tensors: every pass on every ISA, and the textbook,
//! answers exactly as the naive loops do, whatever its scratch and its outputs held before.

#![no_main]

use im2col::Element;
use im2col::testing::{Call, Tolerance, WRITES, calls};
use im2col_fuzz::{Small, plans};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Small, u8)| {
    let (small, extra) = input;
    if small.double { check::<f64>(&small, extra) } else { check::<f32>(&small, extra) }
});

fn check<T: Element>(small: &Small, extra: u8) {
    let Some(layer) = small.layer::<T>() else { return };
    for (pass, write) in calls() {
        let expected = layer.expected(Call::Pass(pass, write));
        for plan in plans(layer.shape) {
            let scratch = plan.min_scratch_len(pass) + usize::from(extra);
            let got = layer.run_with_scratch(&plan, pass, write, scratch).unwrap();
            expected.assert_close(&format!("{plan:?}"), &got, Tolerance::Exact);
        }
    }
    for write in WRITES {
        let expected = layer.expected(Call::Bias(write));
        plans(layer.shape).for_each(|plan| expected.assert_plan(&plan, Tolerance::Exact));
    }
}
