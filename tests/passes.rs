//! Every pass against the naive loops: a test for each family of layers on each ISA, and on the
//! textbook. Both layouts, both types, both ways to write. What the passes promise beyond numbers
//! is in `promises.rs`.
//!
//! The names are made as the tests run: `cargo test --test passes depthwise/avx2` runs those of
//! one family on one ISA. There are none for an ISA that this machine lacks; `isa.rs` fails where
//! one is missing that has to be there.

use im2col::testing::{
    Call, EXACT, Family, Layer, PASSES, ROUNDED, Tolerance, WRITES, assert_adjoint,
    assert_gradient, bits, dot, families, for_layers, numbers,
};
use im2col::testing::{Fill, nan};
use im2col::{Algorithm, Element, Isa, Options, Params, Pass, Plan, Shape, Write};
use libtest_mimic::{Arguments, Failed, Trial};

/// What computes a layer.
#[derive(Debug, Clone, Copy)]
enum Way {
    Textbook,
    Kernels(Isa),
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Way::Textbook => "textbook",
            Way::Kernels(isa) => isa.name(),
        }
    }

    fn plan<T: Element>(self, shape: Shape) -> Plan<T> {
        match self {
            Way::Textbook => Plan::new(shape, Algorithm::Explicit.into()),
            Way::Kernels(isa) => Plan::new(shape, Options::from(Algorithm::Implicit).isa(isa)),
        }
        .unwrap_or_else(|error| panic!("{shape:?}: {error}"))
    }
}

/// A check of one layer on one way.
type Check = fn(Way, Params);

/// Every check with its name, and the layers that it takes of each family.
const CHECKS: [(&str, u32, Check); 5] = [
    ("exact", 20, |way, params| {
        check_fills::<f32>(way, params, &EXACT, Tolerance::Exact);
        check_fills::<f64>(way, params, &EXACT, Tolerance::Exact);
    }),
    ("contract", 12, |way, params| {
        check_fills::<f32>(way, params, &ROUNDED, Tolerance::Contract);
        check_fills::<f64>(way, params, &ROUNDED, Tolerance::Contract);
    }),
    ("adjoint", 20, |way, params| {
        check_adjoints::<f32>(way, params);
        check_adjoints::<f64>(way, params);
    }),
    ("accumulates", 4, check_accumulating),
    ("schedules", 6, |way, params| {
        check_schedules::<f32>(way, params);
        check_schedules::<f64>(way, params);
    }),
];

fn main() {
    let mut arguments = Arguments::from_args();
    // Calls spread over rayon's pool: its threads and the machine's are the same ones.
    arguments.test_threads = arguments.test_threads.or(Some(available_threads()));
    libtest_mimic::run(&arguments, trials()).exit();
}

fn available_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let isas = Isa::ALL.iter().copied().filter(|isa| isa.is_available());
    let ways = isas.map(Way::Kernels).chain([Way::Textbook]);
    for way in ways {
        for family in families() {
            for (name, count, check) in CHECKS {
                trials.push(trial(way, family.clone(), name, count, check));
            }
        }
        let (family, check) = (Family::tiny(), check_finite_differences);
        trials.push(trial(way, family, "finite-differences", 24, check));
    }
    trials
}

fn trial(way: Way, family: Family, name: &str, count: u32, check: Check) -> Trial {
    let name = format!("{}/{}/{name}", family.name, way.name());
    let run = move || {
        for_layers(&family, count, |params| check(way, params));
        Ok::<(), Failed>(())
    };
    Trial::test(name, run)
}

/// All passes and writes of a layer against the naive loops.
fn check_fills<T: Element>(way: Way, params: Params, fills: &[Fill], tolerance: Tolerance) {
    for &fill in fills {
        let layer = Layer::<T>::new(params, fill);
        let plan = way.plan(layer.shape);
        let biases = WRITES.map(|write| layer.expected(Call::Bias(write)));
        for expected in layer.all_answers().chain(biases) {
            expected.assert_plan(&plan, tolerance);
        }
    }
}

/// Every schedule that is possible for a pass, whether it would be chosen or not, as it is printed.
fn check_schedules<T: Element>(way: Way, params: Params) {
    let layer = Layer::<T>::new(params, Fill::Integers);
    let plan = way.plan::<T>(layer.shape);
    for pass in PASSES {
        let answers = layer.answers(pass);
        let schedules = plan.candidates(pass).unwrap();
        for schedule in schedules.iter().chain(&plan.schedule(pass)) {
            let printed = schedule.to_string();
            assert_eq!(printed.parse().as_ref(), Ok(schedule), "{printed}");
            let forced = plan.clone().with_schedule(pass, *schedule).unwrap();
            for expected in &answers {
                expected.assert_plan(&forced, Tolerance::Exact);
            }
        }
    }
}

/// `<conv(x, w), g> = <w, dW> = <x, dV>`: with integers, to the last bit.
fn check_adjoints<T: Element>(way: Way, params: Params) {
    let layer = Layer::<T>::new(params, Fill::Integers);
    let plan = way.plan::<T>(layer.shape);
    let run = |pass| layer.run(&plan, pass, Write::Overwrite);
    let (x, w, g) = (&layer.input, &layer.weight, &layer.grad_output);
    let forward = |_: &[T]| run(Pass::Forward);
    let what = format!("{plan:?}");
    assert_adjoint(&what, x, g, forward, |_| run(Pass::BackwardData), 0.0);
    assert_adjoint(&what, w, g, forward, |_| run(Pass::BackwardWeight), 0.0);
}

/// Accumulating twice is the gradient twice, on top of what was there.
fn check_accumulating(way: Way, params: Params) {
    let layer = Layer::<f32>::new(params, Fill::Integers);
    let plan = way.plan(layer.shape);
    for pass in [Pass::BackwardData, Pass::BackwardWeight] {
        let once = layer.run(&plan, pass, Write::Overwrite);
        let mut twice: Vec<f32> = numbers(Fill::Integers, 9, once.len());
        let sum: Vec<f32> = twice.iter().zip(&once).map(|(a, b)| a + 2.0 * b).collect();
        for _ in 0..2 {
            layer.run_into(&plan, pass, Write::Accumulate, None, &mut twice).unwrap();
        }
        assert_eq!(bits(&twice), bits(&sum), "{pass:?} of {plan:?}");
    }
}

/// `E = Σ y² / 2`, so that `dE/dy = y`.
fn energy(layer: &Layer<f64>, plan: &Plan<f64>) -> (f64, Vec<f64>) {
    let y = layer.run(plan, Pass::Forward, Write::Accumulate);
    (dot(&y, &y) / 2.0, y)
}

/// The gradients against what a small step of each number does to the energy, through the
/// library's own forward alone. `E` is a square, so central differences have no error of their
/// own and whole steps stay exact.
fn check_finite_differences(way: Way, params: Params) {
    let mut layer = Layer::<f64>::new(params, Fill::Integers);
    let plan = way.plan(layer.shape);
    let (_, y) = energy(&layer, &plan);
    layer.grad_output = y;
    let mut db = vec![nan(); layer.bias.len()];
    plan.backward_bias(&layer.grad_output).run(&mut db).unwrap();
    let [dv, dw] = [PASSES[1], PASSES[2]].map(|pass| layer.run(&plan, pass, Write::Overwrite));
    type Field = fn(&mut Layer<f64>) -> &mut Vec<f64>;
    let fields: [(&str, &[f64], Field); 3] = [
        ("grad_input", &dv, |layer| &mut layer.input),
        ("grad_weight", &dw, |layer| &mut layer.weight),
        ("grad_bias", &db, |layer| &mut layer.bias),
    ];
    for (name, gradient, field) in fields {
        let mut moved = layer.clone();
        let x = field(&mut moved).clone();
        let at = |x: &[f64]| {
            field(&mut moved).copy_from_slice(x);
            energy(&moved, &plan).0
        };
        assert_gradient(&format!("{name} of {plan:?}"), &x, gradient, at, 1.0, 0.0);
    }
}
