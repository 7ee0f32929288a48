//! Plans among threads: many at once, within the caller's own tasks, beside a neighbour that
//! panics. (The same bits on 1 to 7 threads: `promises.rs`.)
//!
//! What threads share, and why that is sound, is in docs/testing.md.

#![cfg(feature = "rayon")]

use im2col::testing::{Family, Fill, Layer, PASSES, bits, families};
use im2col::{Algorithm, Params, Pass, Plan, Write};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A plan with its tensors, and the bits of each pass on one thread.
struct Work {
    layer: Layer<f32>,
    plan: Plan<f32>,
    alone: [Vec<u64>; 3],
}

impl Work {
    fn new(params: Params, algorithm: Algorithm) -> Self {
        let layer = Layer::<f32>::new(params, Fill::Normal);
        let serial = Plan::new(layer.shape, algorithm.into()).unwrap();
        let alone = PASSES.map(|pass| bits(&layer.run(&serial, pass, Write::Overwrite)));
        let plan = Plan::new(layer.shape, algorithm.into()).unwrap();
        Self { layer, plan, alone }
    }

    fn check(&self) {
        for (pass, alone) in PASSES.iter().zip(&self.alone) {
            let got = bits(&self.layer.run(&self.plan, *pass, Write::Overwrite));
            assert!(*alone == got, "{pass:?} of {:?}", self.plan);
        }
    }
}

/// `count` layers from all families in turn.
fn draw(count: usize) -> Vec<Params> {
    let mut runner = TestRunner::deterministic();
    let families = families();
    let mut layer = |family: &Family| family.layers().new_tree(&mut runner).unwrap().current();
    families.iter().cycle().take(count).map(&mut layer).collect()
}

/// A hundred plans, all of them used by eight threads at once, each of which begins elsewhere.
#[test]
fn a_hundred_plans_serve_eight_threads() {
    let algorithms = [Algorithm::Implicit, Algorithm::Implicit, Algorithm::Explicit];
    let layers = draw(100).into_iter().enumerate();
    let work: Vec<_> = layers.map(|(i, layer)| Work::new(layer, algorithms[i % 3])).collect();
    const THREADS: usize = 8;
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (work, start) = (&work, &start);
            scope.spawn(move || {
                start.wait();
                let first = thread * work.len() / THREADS;
                work[first..].iter().chain(&work[..first]).for_each(Work::check);
            });
        }
    });
}

/// A layer with work for several threads in every pass.
fn large() -> Params {
    Params {
        batch: 4,
        in_channels: 12,
        out_channels: 24,
        input: [20, 20, 1],
        kernel: [3, 3, 1],
        pad_begin: [1, 1, 0],
        pad_end: [1, 1, 0],
        ..Params::default()
    }
}

/// A caller's own tasks call the library, which spreads its work over the same pool: more tasks
/// than threads, tasks within tasks, and a pool of one.
#[test]
fn a_call_inside_a_task_of_the_callers() {
    let work = Work::new(large(), Algorithm::Implicit);
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            rayon::scope(|scope| (0..12).for_each(|_| scope.spawn(|_| work.check())));
            rayon::join(|| rayon::join(|| work.check(), || work.check()), || work.check());
        });
        pool.broadcast(|_| work.check());
    }
}

/// A neighbour's tasks panic all the while on the same pool: they end nobody's call, and the plan
/// and the pool go on working.
#[test]
fn a_panicking_neighbour_harms_nobody() {
    let work = Work::new(large(), Algorithm::Implicit);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let panics = scope.spawn(|| {
            let mut panics = 0;
            while !done.load(Ordering::Relaxed) {
                // `resume_unwind` doesn't print.
                let panic = || pool.install(|| std::panic::resume_unwind(Box::new("neighbour")));
                panics += usize::from(catch_unwind(AssertUnwindSafe(panic)).is_err());
            }
            panics
        });
        for _ in 0..20 {
            pool.install(|| work.check());
        }
        done.store(true, Ordering::Relaxed);
        assert!(panics.join().unwrap() > 0, "the neighbour ran");
    });
    pool.install(|| work.check());
}

/// A call whose own caller's task is ended by a panic in its sibling: nothing hangs, and what it
/// lent can be used again.
#[test]
fn a_sibling_that_panics_ends_no_call_half_way() {
    let work = Work::new(large(), Algorithm::Implicit);
    let mut output = vec![f32::NAN; work.layer.destination_len(Pass::Forward)];
    let (pass, write) = (Pass::Forward, Write::Overwrite);
    for _ in 0..10 {
        let call = || work.layer.run_into(&work.plan, pass, write, None, &mut output);
        let sibling = || std::panic::resume_unwind(Box::new("sibling"));
        let joined = catch_unwind(AssertUnwindSafe(|| rayon::join(call, sibling)));
        assert!(joined.is_err(), "the sibling's panic comes through");
        // `join` waits for both: the call was finished, or never begun.
        let untouched = output.iter().all(|x| x.is_nan());
        assert!(untouched || bits(&output) == work.alone[0], "a call was left half way");
        output.fill(f32::NAN);
    }
    work.check();
}

/// A sum over so many pixels and so few weights that it is cut into parts, which threads add up at
/// once: into as many on any pool, each by itself, joined in one order.
#[test]
fn parts_of_a_sum_join_alike_on_any_pool() {
    let few = Params { out_channels: 5, in_channels: 3, input: [90, 90, 1], ..large() };
    let row = Params { axes: 1, input: [9000, 1, 1], pad_begin: [1, 0, 0], ..few };
    let row = Params { kernel: [3, 1, 1], pad_end: [1, 0, 0], ..row };
    for params in [few, Params { out_channels: 40, ..few }, row] {
        let layer = Layer::<f32>::new(params, Fill::Normal);
        let serial = Plan::new(layer.shape, Algorithm::Implicit.into()).unwrap();
        assert!(!serial.explain().contains("in 1 parts"), "{}", serial.explain());
        let alone = bits(&layer.run(&serial, Pass::BackwardWeight, Write::Overwrite));
        for threads in [1, 2, 3, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let plan = Plan::new(layer.shape, Algorithm::Implicit.into()).unwrap();
                for _ in 0..5 {
                    let got = bits(&layer.run(&plan, Pass::BackwardWeight, Write::Overwrite));
                    assert!(got == alone, "{threads} threads: {plan:?}");
                }
            });
        }
    }
}

/// While somebody else holds a core, a call finishes with what it gets of the others: a thread that
/// is held up takes fewer units, and nobody waits for a whole share of the work. Somebody else is a
/// thread of ours that never sleeps, which is all that a process is to a scheduler. The call on the
/// pool has at least as much of the machine as one thread beside the same neighbour, so it may not
/// take much longer than that one does: three times as long, so that a busy machine is no failure,
/// the best of three each, in turn, or of up to twenty. A scheduler takes a core away for some 4 ms
/// at a time, so a pass here takes many times that: with passes of 1 ms, a thread that lost its core
/// in each of the three made a call last 12 ms instead of 4, twenty times in a row.
#[test]
fn a_held_core_costs_a_call_no_more_than_its_share() {
    let work = Work::new(Params { batch: 128, ..large() }, Algorithm::Implicit);
    let serial = Plan::new(work.layer.shape, Algorithm::Implicit.into()).unwrap();
    let time = |plan: &Plan<f32>| {
        let start = Instant::now();
        PASSES.iter().for_each(|&pass| drop(work.layer.run(plan, pass, Write::Overwrite)));
        start.elapsed()
    };
    let done = AtomicBool::new(false);
    let [mut alone, mut together] = [Duration::MAX; 2];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        for round in 0..20 {
            alone = alone.min(time(&serial));
            together = together.min(time(&work.plan));
            if round >= 2 && together <= 3 * alone {
                break;
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(together <= 3 * alone, "{together:?} on the pool, {alone:?} on one thread");
}
