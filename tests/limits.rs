//! Limits: what a call allocates, how much scratch a plan asks for, how long it takes to plan. (When
//! there is no memory: `faults.rs`.)

#![allow(unsafe_code, reason = "an allocator that counts")]

use im2col::testing::{Fill, Layer, PASSES, WRITES, isas};
use im2col::{
    Algorithm, Element, Error, Layout, Options, PaddingMode, Params, Pass, Plan, Serial, Shape,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use std::alloc::{GlobalAlloc, Layout as Block, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The system's allocator, which counts what watched threads ask for.
struct Watch;

#[global_allocator]
static WATCH: Watch = Watch;

thread_local! {
    /// Allocations of this thread are counted.
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

static COUNT: AtomicUsize = AtomicUsize::new(0);

fn count() {
    if WATCHED.try_with(Cell::get).unwrap_or(false) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: the system's allocator.
unsafe impl GlobalAlloc for Watch {
    unsafe fn alloc(&self, block: Block) -> *mut u8 {
        count();
        // SAFETY: the caller vouches for the block.
        unsafe { System.alloc(block) }
    }

    unsafe fn dealloc(&self, at: *mut u8, block: Block) {
        // SAFETY: every block is the system's.
        unsafe { System.dealloc(at, block) }
    }

    unsafe fn realloc(&self, at: *mut u8, block: Block, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(at, block, size) }
    }
}

/// One test at a time: the count is everybody's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Allocations of this thread while `work` runs.
fn allocations(work: impl FnOnce()) -> usize {
    COUNT.store(0, Ordering::Relaxed);
    WATCHED.set(true);
    work();
    WATCHED.set(false);
    COUNT.load(Ordering::Relaxed)
}

/// Layers that take every way through the implicit algorithm: lanes of channels, lanes of pixels,
/// stencils, phases, groups, copies and images as they lie.
fn layers() -> Vec<Params> {
    let dense = Params {
        batch: 2,
        in_channels: 20,
        out_channels: 18,
        input: [12, 13, 1],
        kernel: [3, 3, 1],
        ..Params::default()
    };
    let same = Params { pad_begin: [1, 1, 0], pad_end: [1, 1, 0], ..dense };
    let each = |layer: Params| {
        let strided = Params { stride: [2, 2, 1], ..layer };
        let few = Params { in_channels: 3, out_channels: 3, ..layer };
        [layer, strided, few, Params { groups: 2, ..layer }]
    };
    let depthwise = Params { in_channels: 18, groups: 18, ..same };
    let first =
        each(dense).into_iter().chain(each(same)).chain(each(depthwise).into_iter().take(2));
    let reflected = Params { padding_mode: PaddingMode::Reflect, ..same };
    let first = first.chain([reflected, Params { groups: 2, ..reflected }]);
    first.flat_map(|p| [p, Params { layout: Layout::ChannelsLast, ..p }]).collect()
}

fn check_serial<T: Element>() {
    for params in layers() {
        let layer = Layer::<T>::new(params, Fill::Uniform);
        for isa in isas() {
            let algorithm = Algorithm::Implicit;
            let plan = Plan::<T>::new(layer.shape, Options::from(algorithm).isa(isa)).unwrap();
            for pass in PASSES {
                for write in WRITES {
                    let mut scratch = vec![T::ZERO; plan.min_scratch_len(pass)];
                    let mut to = vec![T::ZERO; layer.destination_len(pass)];
                    let count = allocations(|| {
                        let lent = Some(&mut scratch[..]);
                        layer.run_on(&plan, pass, write, &Serial, lent, &mut to).unwrap();
                    });
                    assert_eq!(count, 0, "{pass:?} {write:?} of {plan:?}");
                }
            }
            let mut sums = vec![T::ZERO; params.out_channels];
            let mut bias =
                || plan.backward_bias(&layer.grad_output).executor(&Serial).run(&mut sums);
            assert_eq!(allocations(|| bias().unwrap()), 0, "backward_bias of {plan:?}");
        }
    }
}

#[test]
fn serial_calls_with_scratch_allocate_nothing() {
    let _alone = alone();
    assert!(allocations(|| drop(vec![1u8; 100])) > 0, "the count works");
    check_serial::<f32>();
    check_serial::<f64>();
}

/// Neither does the caller's thread nor any of the pool, once the pool's own queues have grown.
#[test]
#[cfg(feature = "rayon")]
fn calls_on_a_pool_with_scratch_allocate_nothing() {
    let _alone = alone();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for params in layers() {
        let layer = Layer::<f32>::new(params, Fill::Uniform);
        let plan = Plan::new(layer.shape, Algorithm::Implicit.into()).unwrap();
        for pass in PASSES {
            let mut scratch = vec![0.0; pool.install(|| plan.scratch_len(pass))];
            let mut to = vec![0.0; layer.destination_len(pass)];
            let mut run = || {
                let scratch = Some(&mut *scratch);
                layer.run_into(&plan, pass, im2col::Write::Overwrite, scratch, &mut to).unwrap();
            };
            pool.install(|| (0..3).for_each(|_| run()));
            const CALLS: usize = 20;
            let watch = |on: bool| drop(pool.broadcast(|_| WATCHED.set(on)));
            pool.install(|| {
                watch(true);
                COUNT.store(0, Ordering::Relaxed);
                (0..CALLS).for_each(|_| run());
                let count = COUNT.load(Ordering::Relaxed);
                watch(false);
                // A block of rayon's queue of injected jobs may fall among them, no more.
                assert!(count < CALLS, "{count} in {CALLS} calls: {pass:?} of {plan:?}");
            });
        }
    }
}

/// The promise: packed weights, rounded up to panels, and so much for each thread.
const PER_THREAD: usize = 2 << 20;
/// Partial sums of backward_weight.
const PARTIALS: usize = 8 << 20;

/// The widest panel of any tall kernel in f32.
const PANEL: usize = 32;

/// What the layer asks for beyond the promise, for one thread and for four.
fn check_promise(params: Params) -> Vec<String> {
    let shape = match Shape::new(params) {
        // Where an address has 32 bits, some of the layers drawn at random don't fit.
        Err(Error::Overflow { .. }) if usize::BITS == 32 => return Vec::new(),
        shape => shape.unwrap(),
    };
    let mut broken = Vec::new();
    for isa in isas() {
        let algorithm = Algorithm::Implicit;
        let plan = Plan::<f32>::new(shape, Options::from(algorithm).isa(isa)).unwrap();
        if plan.algorithm() != Algorithm::Implicit {
            continue;
        }
        let groups = shape.groups();
        let panels = |channels: usize| groups * channels.next_multiple_of(PANEL) + PANEL;
        for pass in PASSES {
            let shared = 4 * match pass {
                Pass::Forward => panels(shape.group_out()) * shape.patch_len(),
                Pass::BackwardData => {
                    panels(shape.group_in()) * shape.group_out() * shape.kernel_taps()
                }
                _ => PARTIALS / 4,
            };
            let mut check = |threads: usize, len: usize| {
                if 4 * len > shared + threads * PER_THREAD {
                    let over = 4 * len - shared;
                    broken.push(format!(
                        "{pass:?} on {threads} threads of {isa}: {over} bytes beside {shared} shared, {params:?}"
                    ));
                }
            };
            check(1, plan.min_scratch_len(pass));
            #[cfg(feature = "rayon")]
            check(4, pool().install(|| plan.scratch_len(pass)));
        }
    }
    broken
}

#[cfg(feature = "rayon")]
fn pool() -> &'static rayon::ThreadPool {
    static POOL: std::sync::OnceLock<rayon::ThreadPool> = std::sync::OnceLock::new();
    POOL.get_or_init(|| rayon::ThreadPoolBuilder::new().num_threads(4).build().unwrap())
}

#[test]
fn scratch_keeps_its_promise_on_a_large_image() {
    // The larger one has no room where an address has 32 bits.
    let side = if usize::BITS == 32 { 1024 } else { 2048 };
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let layer = Params {
            layout,
            in_channels: 64,
            out_channels: 64,
            input: [side, side, 1],
            kernel: [3, 3, 1],
            ..Params::default()
        };
        let padded = Params { pad_begin: [1, 1, 0], pad_end: [1, 1, 0], ..layer };
        for params in [layer, padded] {
            assert_eq!(check_promise(params), [""; 0]);
        }
    }
}

#[test]
fn scratch_keeps_its_promise_whatever_the_geometry() {
    let mut rng = SmallRng::seed_from_u64(200);
    let mut broken = Vec::new();
    for _ in 0..200 {
        let axes = rng.random_range(1..=3);
        let groups = [1, 1, 1, 2, 8][rng.random_range(0..5)];
        let most = [0, 200_000, 3000, 150][axes];
        let mut params =
            Params { axes, groups, batch: rng.random_range(1..=64), ..Params::default() };
        if rng.random() {
            params.layout = Layout::ChannelsLast;
        }
        let channels = |rng: &mut SmallRng| groups * (1 << rng.random_range(0..=11)) + groups;
        params.in_channels = channels(&mut rng);
        params.out_channels = channels(&mut rng);
        for a in 0..axes {
            params.kernel[a] = rng.random_range(1..=[0, 33, 9, 5][axes]);
            params.stride[a] = rng.random_range(1..=4);
            params.dilation[a] = rng.random_range(1..=40);
            params.pad_begin[a] = rng.random_range(0..=params.kernel[a]);
            params.pad_end[a] = rng.random_range(0..=params.kernel[a]);
            params.input[a] = params.dilation[a] * params.kernel[a] + rng.random_range(0..=most);
        }
        broken.extend(check_promise(params));
    }
    assert!(broken.is_empty(), "{}:\n{}", broken.len(), broken.join("\n"));
}

/// Planning looks at a layer's numbers, not at its pixels: it asked each of 2²⁹ planes of an image whether it
/// meets a tap, which took seconds (found by the fuzz target `geometry`).
#[test]
fn planning_takes_no_longer_for_larger_images() {
    let _alone = alone();
    for axis in 0..3 {
        let mut params = Params { axes: 3, in_channels: 3, out_channels: 3, ..Params::default() };
        params.input[axis] = 1 << 29;
        params.kernel[axis] = 3;
        params.pad_begin[axis] = 1;
        params.pad_end[axis] = 1;
        for dilation in [1, 2] {
            params.dilation[axis] = dilation;
            let Ok(shape) = Shape::new(params) else { continue };
            for isa in isas() {
                let start = Instant::now();
                let implicit = Algorithm::Implicit;
                let plan = Plan::<f32>::new(shape, Options::from(implicit).isa(isa));
                let taken = start.elapsed();
                assert!(taken < Duration::from_secs(1), "{taken:?} for {plan:?}");
            }
        }
    }
}
