//! What calls have beside their tensors: options that add up, lent executors, other batches, a child process.

use im2col::testing::{Call, Fill, Layer, for_families, isas, plans};
use im2col::{
    Activation, Element, Executor, Options, Params, Pass, Plan, Plans, Serial, Write, reference,
};
use std::mem::MaybeUninit;
use std::sync::Arc;

/// Threads of the standard library.
struct Threads(usize);

impl Executor for Threads {
    fn workers(&self) -> usize {
        self.0
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            (0..jobs).for_each(|index| drop(scope.spawn(move || job(index))))
        });
    }
}

/// Keeps none of an executor's promises: it runs some jobs twice, and others never.
struct Liar;

impl Executor for Liar {
    fn workers(&self) -> usize {
        5
    }

    fn run(&self, _: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..3).for_each(|_| job(7));
    }

    fn enter(&self, _: &mut (dyn FnMut() + Send)) {}
}

fn tensor<T: Element>(from: &[T], skip: usize, len: usize) -> Vec<T> {
    from.iter().cycle().skip(skip).take(len).copied().collect()
}

/// A transposed layer's forward with each part of its epilogue there or not: integers, so every sum is exact.
fn transposed<T: Element>(params: Params) {
    let layer = Layer::<T>::new(params, Fill::Integers);
    let (x, w, len) = (&layer.grad_output, &layer.weight, layer.shape.input_len());
    let sums = reference::backward_data(&layer.shape, w, x).unwrap();
    let residual = tensor(x, 1, len);
    let old = tensor(&layer.input, 2, len);
    let channels = layer.shape.in_channels();
    let bias = tensor(w, 3, channels);
    for (number, plan) in plans::<T>(layer.shape).into_iter().enumerate() {
        let plan = plan.transposed().unwrap();
        let packed = plan.pack_weight(Pass::Forward, w).unwrap();
        for case in (0..16).filter(|case| (case + number) % 3 == 0) {
            let [biased, added, accumulate, clamped] = [1, 2, 4, 8].map(|bit| case & bit != 0);
            let mut y = if accumulate { old.clone() } else { vec![T::from_f64(f64::NAN); len] };
            let mut call = plan.forward(x, &packed).maybe_bias(biased.then_some(&bias));
            let (low, high) = (T::from_f64(-3.0), T::from_f64(40.0));
            if added {
                call = call.residual(&residual);
            }
            if accumulate {
                call = call.accumulate();
            }
            if clamped {
                call = call.activation(Activation::Clamp(low, high));
            }
            call.run(&mut y).unwrap();
            for (i, &got) in y.iter().enumerate() {
                let channel = match layer.shape.layout() {
                    im2col::Layout::ChannelsFirst => i / layer.shape.input_pixels() % channels,
                    _ => i % channels,
                };
                let part = |there: bool, value: T| if there { value.into() } else { 0.0 };
                let sum = sums[i]
                    + part(biased, bias[channel])
                    + part(added, residual[i])
                    + part(accumulate, old[i]);
                let sum = if clamped { sum.clamp(-3.0, 40.0) } else { sum };
                assert_eq!(got.into(), sum, "{params:?}, {plan}, case {case}: element {i}");
            }
        }
        let mut db = vec![T::ZERO; channels];
        plan.backward_bias(&layer.input).run(&mut db).unwrap();
        let per_channel = |c: usize| {
            let of_channel = |i: &usize| match layer.shape.layout() {
                im2col::Layout::ChannelsFirst => i / layer.shape.input_pixels() % channels == c,
                _ => i % channels == c,
            };
            (0..len).filter(of_channel).map(|i| layer.input[i].into()).sum::<f64>()
        };
        (0..channels).for_each(|c| assert_eq!(db[c].into(), per_channel(c), "{plan}"));
    }
}

#[test]
fn transposed_layers_have_every_part_of_the_epilogue() {
    for_families(8, transposed::<f32>);
    for_families(3, transposed::<f64>);
}

#[test]
fn any_executor_gives_the_same_bits() {
    let params = Params {
        batch: 5,
        in_channels: 12,
        out_channels: 20,
        input: [33, 40, 0],
        kernel: [3, 3, 0],
        pad_begin: [1, 1, 0],
        ..Params::default()
    };
    let layer = Layer::<f32>::new(params, Fill::Uniform);
    for isa in isas() {
        let plan = Plan::<f32>::new(layer.shape, Options::default().isa(isa)).unwrap();
        for pass in [Pass::Forward, Pass::BackwardData, Pass::BackwardWeight] {
            let run = |executor: &dyn Executor| {
                let mut to = layer.before(pass, Write::Overwrite);
                layer.run_on(&plan, pass, Write::Overwrite, executor, None, &mut to).unwrap();
                to.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            };
            let alone = run(&Serial);
            for executor in [&Threads(2) as &dyn Executor, &Threads(7), &Liar] {
                assert!(run(executor) == alone, "{pass} of {plan}");
            }
        }
    }
}

/// Uninitialised outputs are written as others are. (Miri sees a read.)
#[test]
fn outputs_may_be_uninitialised() {
    for_families(3, |params| {
        let layer = Layer::<f32>::new(params, Fill::Integers);
        for plan in plans::<f32>(layer.shape) {
            let expected = layer.run(&plan, Pass::Forward, Write::Overwrite);
            let mut y = vec![MaybeUninit::<f32>::uninit(); expected.len()];
            plan.forward(&layer.input, &layer.weight).run(&mut y[..]).unwrap();
            let refused = plan.forward(&layer.input, &layer.weight).accumulate().run(&mut y[..]);
            assert!(matches!(refused, Err(im2col::Error::Uninitialised { what: "output" })));
            let got = y.iter().map(|y| {
                // SAFETY: the call has written all of them.
                #[allow(unsafe_code)]
                unsafe {
                    y.assume_init()
                }
            });
            assert!(got.eq(expected));
        }
    });
}

#[test]
fn a_call_makes_the_vector_that_it_would_write() {
    for_families(3, |params| {
        let layer = Layer::<f32>::new(params, Fill::Integers);
        for plan in plans::<f32>(layer.shape) {
            let expected = |pass| layer.run(&plan, pass, Write::Overwrite);
            let (x, w, dy) = (&layer.input, &layer.weight, &layer.grad_output);
            assert_eq!(plan.forward(x, w).into_vec().unwrap(), expected(Pass::Forward));
            assert_eq!(plan.backward_data(w, dy).into_vec().unwrap(), expected(Pass::BackwardData));
            let grad_weight = plan.backward_weight(x, dy).into_vec().unwrap();
            assert_eq!(grad_weight, expected(Pass::BackwardWeight));
            let refused = [
                plan.forward(x, w).accumulate().into_vec(),
                plan.backward_data(w, dy).accumulate().into_vec(),
                plan.backward_weight(x, dy).accumulate().into_vec(),
            ];
            for refused in refused {
                assert!(matches!(refused, Err(im2col::Error::Uninitialised { .. })));
            }
            let short = plan.forward(&x[1..], w).into_vec();
            assert!(matches!(short, Err(im2col::Error::Length { what: "input", .. })));
        }
    });
}

#[test]
fn other_batches_and_sizes_of_a_plan_are_right() {
    for_families(6, |params| {
        let layer = Layer::<f32>::new(params, Fill::Integers);
        for plan in plans::<f32>(layer.shape) {
            for batch in [1, 2, 5] {
                let other = Layer::<f32>::new(Params { batch, ..params }, Fill::Integers);
                let plan = plan.with_batch(batch).unwrap();
                for answer in [
                    other.expected(Call::Pass(Pass::Forward, Write::Overwrite)),
                    other.expected(Call::Pass(Pass::BackwardData, Write::Accumulate)),
                    other.expected(Call::Pass(Pass::BackwardWeight, Write::Overwrite)),
                ] {
                    answer.assert_plan(&plan, im2col::testing::Tolerance::Exact);
                }
            }
        }
    });
}

#[test]
fn a_cache_keeps_the_plans_that_were_asked_for_last() {
    let plans = Plans::<f32>::with(Options::default().inference(), 2);
    let layer = |batch| Params { batch, input: [4, 4, 9], kernel: [3, 3, 9], ..Params::default() };
    let first = plans.get(&layer(1)).unwrap();
    plans.get(&layer(2)).unwrap();
    // Entries past the axes take no part.
    let same = Params { input: [4, 4, 0], kernel: [3, 3, 0], ..layer(1) };
    assert!(Arc::ptr_eq(&first, &plans.get(&same).unwrap()));
    plans.get(&layer(3)).unwrap();
    assert_eq!(plans.len(), 2);
    assert!(Arc::ptr_eq(&first, &plans.get(&layer(1)).unwrap()), "the second was let go");
    assert!(plans.get(&Params { groups: 0, ..layer(1) }).is_err());
    let refused = first.backward_data(&[0.0; 9], &[0.0; 4]).run(&mut [0.0; 16]);
    assert!(matches!(refused, Err(im2col::Error::NotPlanned { pass: Pass::BackwardData })));
}
