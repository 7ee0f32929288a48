//! No memory: every allocation of every entry point fails in turn, alone and with all that follow.
//! Each ends in an error, nothing is written, nothing is leaked, and the plan works afterwards.
//!
//! What isn't ours can't be failed: `matrixmultiply` takes its packing buffers, and rayon its
//! queues, from allocations that end the process where there is no memory. So do `Clone` and
//! `explain`, whose signatures leave nothing else.

#![allow(unsafe_code, reason = "an allocator that fails; the C interface as C calls it")]

use im2col::testing::{Fill, Layer, calls, for_families, isas};
use im2col::{
    Activation, Algorithm, Conv2d, ConvTranspose2d, Engine, Error, Layout, Options, PaddingMode,
    Params, Pass, Plan, Shape,
};
use im2col::{Element, Serial, Write};
use std::alloc::{GlobalAlloc, Layout as Block, System};
use std::cell::Cell;
use std::fmt::Debug;

/// The system's allocator, which fails a thread on request and knows how much it holds.
struct Faulty;

#[global_allocator]
static FAULTY: Faulty = Faulty;

thread_local! {
    /// The number of the allocation of this thread that fails, counted down to 1; 0: none does.
    static LEFT: Cell<usize> = const { Cell::new(0) };
    /// From then on all of them fail.
    static ONWARD: Cell<bool> = const { Cell::new(false) };
    /// Allocations of this thread that failed.
    static FAILED: Cell<usize> = const { Cell::new(0) };
    /// Bytes that this thread allocated and hasn't freed.
    static HELD: Cell<isize> = const { Cell::new(0) };
}

fn may_allocate() -> bool {
    let fails = LEFT.try_with(|left| match left.get() {
        0 => false,
        1 => {
            left.set(usize::from(ONWARD.get()));
            FAILED.set(FAILED.get() + 1);
            true
        }
        more => {
            left.set(more - 1);
            false
        }
    });
    !fails.unwrap_or(false)
}

fn hold(bytes: isize) {
    // A thread at its very end counts no more.
    let _ = HELD.try_with(|held| held.set(held.get() + bytes));
}

// SAFETY: the system's allocator, or null.
unsafe impl GlobalAlloc for Faulty {
    unsafe fn alloc(&self, block: Block) -> *mut u8 {
        if !may_allocate() {
            return std::ptr::null_mut();
        }
        hold(block.size() as isize);
        // SAFETY: the caller vouches for the block.
        unsafe { System.alloc(block) }
    }

    unsafe fn dealloc(&self, at: *mut u8, block: Block) {
        hold(-(block.size() as isize));
        // SAFETY: every block is the system's.
        unsafe { System.dealloc(at, block) }
    }

    unsafe fn realloc(&self, at: *mut u8, block: Block, size: usize) -> *mut u8 {
        if !may_allocate() {
            return std::ptr::null_mut();
        }
        hold(size as isize - block.size() as isize);
        // SAFETY: as above.
        unsafe { System.realloc(at, block, size) }
    }
}

/// Calls `call` with its first allocation failing, then its second, until none is left to fail:
/// first each alone, then each with all that follow. `refused` sees every error. Returns how many
/// allocations the call makes.
fn fail_each<R, E: Debug>(
    what: &dyn Debug,
    mut call: impl FnMut() -> Result<R, E>,
    refused: impl Fn(E),
) -> usize {
    let mut allocations = 0;
    for onward in [false, true] {
        for n in 1.. {
            let held = HELD.get();
            ONWARD.set(onward);
            FAILED.set(0);
            LEFT.set(n);
            let result = call();
            LEFT.set(0);
            match result {
                Ok(done) => {
                    assert_eq!(FAILED.get(), 0, "allocation {n} failed unseen: {what:?}");
                    drop(done);
                    allocations = n - 1;
                }
                Err(error) => {
                    assert!(FAILED.get() > 0, "{error:?} with memory to be had: {what:?}");
                    refused(error);
                }
            }
            assert_eq!(HELD.get(), held, "leaked with allocation {n} failing: {what:?}");
            if FAILED.get() == 0 {
                break;
            }
        }
    }
    allocations
}

/// The only error that there may be.
fn out_of_memory(error: Error) {
    assert!(matches!(error, Error::OutOfMemory { bytes: 1.. }), "{error:?}");
}

/// Layers of every path that a family seldom takes: few pixels, whole images, several runs.
fn layers() -> Vec<Params> {
    let dense = Params {
        in_channels: 20,
        out_channels: 18,
        input: [20, 21, 1],
        kernel: [3, 3, 1],
        ..Params::default()
    };
    let padded = Params { pad_begin: [1, 1, 0], pad_end: [1, 1, 0], ..dense };
    let few_pixels = Params { out_channels: 70, input: [4, 5, 1], ..padded };
    let whole = Params { out_channels: 70, input: [3, 3, 1], ..dense };
    let few_channels = Params { in_channels: 4, out_channels: 4, groups: 2, ..padded };
    let depthwise = Params { in_channels: 18, groups: 18, ..padded };
    let large = Params { batch: 2, input: [70, 70, 1], ..padded };
    let reflected = Params { padding_mode: PaddingMode::Reflect, ..padded };
    let each = [dense, padded, few_pixels, whole, few_channels, depthwise, large, reflected];
    let strided = each.map(|p| Params { stride: [2, 3, 1], ..p });
    let all = each.into_iter().chain(strided);
    all.flat_map(|p| [p, Params { layout: Layout::ChannelsLast, ..p }]).collect()
}

fn check_plan<T: Element>(params: Params) -> usize {
    let shape = Shape::new(params).unwrap();
    let plan = |isa| Plan::<T>::new(shape, Options::from(Algorithm::Auto).isa(isa));
    isas().map(|isa| fail_each(&params, || plan(isa), out_of_memory)).sum()
}

#[test]
fn no_memory_for_a_plan_is_an_error() {
    let tabled = layers().into_iter().filter(|&p| check_plan::<f32>(p) > 0).count();
    assert!(tabled > layers().len() / 2, "most plans have tables");
    for_families(12, |params| {
        check_plan::<f32>(params);
        check_plan::<f64>(params);
    });
}

/// Whether `matrixmultiply` takes buffers for this pass.
fn is_textbook<T: Element>(plan: &Plan<T>, pass: Pass) -> bool {
    plan.schedule(pass).is_some_and(|schedule| schedule.engine == Engine::Explicit)
}

/// The `n`-th allocation of a call fails: an error for every `n` that it has, nothing written,
/// and the same plan works as soon as there is memory again.
fn check_passes<T: Element>(params: Params, algorithm: Algorithm) -> usize {
    let layer = Layer::<T>::new(params, Fill::Integers);
    let plan = Plan::new(layer.shape, algorithm.into()).unwrap();
    let mut allocations = 0;
    let ours = |&(pass, _): &(Pass, Write)| !is_textbook(&plan, pass);
    for (pass, write) in calls().filter(ours) {
        let old = vec![T::from_f64(7.0); layer.destination_len(pass)];
        let right = {
            let mut to = old.clone();
            let mut scratch = vec![T::ZERO; plan.min_scratch_len(pass)];
            layer.run_on(&plan, pass, write, &Serial, Some(&mut scratch), &mut to).unwrap();
            to
        };
        let to = std::cell::RefCell::new(old.clone());
        let call = || {
            let to = &mut *to.borrow_mut();
            to.copy_from_slice(&old);
            layer.run_on(&plan, pass, write, &Serial, None, to)
        };
        let refused = |error| {
            assert_eq!(*to.borrow(), old, "{pass:?} wrote, {plan:?}");
            let bytes = plan.min_scratch_len(pass) * size_of::<T>();
            assert_eq!(error, Error::OutOfMemory { bytes }, "{pass:?} of {plan:?}");
        };
        allocations += fail_each(&(pass, &plan), call, refused);
        assert_eq!(*to.borrow(), right, "{pass:?} after all those errors, {plan:?}");
    }
    allocations
}

#[test]
fn no_memory_for_scratch_is_an_error() {
    let scratched = layers().into_iter().filter(|&p| check_passes::<f32>(p, Algorithm::Auto) > 0);
    assert!(scratched.count() > layers().len() / 2, "most layers have scratch");
    for_families(6, |params| {
        check_passes::<f64>(params, Algorithm::Auto);
    });
}

/// The textbook's scratch, too; what `matrixmultiply` takes for itself is not ours to fail.
#[test]
fn no_memory_for_cols_is_an_error() {
    let layer = Layer::<f64>::new(layers()[0], Fill::Integers);
    let plan = Plan::new(layer.shape, Algorithm::Explicit.into()).unwrap();
    for (pass, write) in calls() {
        let mut to = vec![7.0; layer.destination_len(pass)];
        LEFT.set(1);
        let result = layer.run_on(&plan, pass, write, &Serial, None, &mut to);
        LEFT.set(0);
        assert_eq!(result, Err(Error::OutOfMemory { bytes: 8 * plan.min_scratch_len(pass) }));
        assert!(to.iter().all(|&x| x == 7.0));
    }
}

/// On a pool, scratch is taken before any work is handed out.
#[test]
#[cfg(feature = "rayon")]
fn no_memory_for_scratch_on_a_pool_is_an_error() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for params in layers() {
        let layer = Layer::<f32>::new(params, Fill::Integers);
        let plan = Plan::new(layer.shape, Algorithm::Auto.into()).unwrap();
        for (pass, write) in calls() {
            let bytes = 4 * pool.install(|| plan.scratch_len(pass));
            if bytes == 0 {
                continue;
            }
            let mut to = vec![7.0; layer.destination_len(pass)];
            let result = pool.install(|| {
                LEFT.set(1);
                let result = layer.run_into(&plan, pass, write, None, &mut to);
                LEFT.set(0);
                result
            });
            assert_eq!(result, Err(Error::OutOfMemory { bytes }), "{pass:?} of {plan:?}");
            assert!(to.iter().all(|&x| x == 7.0), "{pass:?} wrote, {plan:?}");
            pool.install(|| layer.run_into(&plan, pass, write, None, &mut to)).unwrap();
        }
    }
}

#[test]
fn no_memory_for_packed_weights_is_an_error() {
    // Rayon makes its pool when it is first asked for it, and ends the process where it can't.
    #[cfg(feature = "rayon")]
    im2col::Executor::workers(&im2col::Rayon);
    for params in layers() {
        let layer = Layer::<f32>::new(params, Fill::Integers);
        for algorithm in [Algorithm::Auto, Algorithm::Explicit] {
            let plan = Plan::new(layer.shape, algorithm.into()).unwrap();
            for pass in [Pass::Forward, Pass::BackwardData] {
                let pack = || plan.pack_weight(pass, &layer.weight);
                assert_eq!(fail_each(&(pass, &plan), pack, out_of_memory), 1);
            }
        }
    }
}

#[test]
fn no_memory_for_a_transposed_layer_is_an_error() {
    let layer = ConvTranspose2d::<f32>::new([2, 6, 5, 5], [6, 20, 3, 3]);
    let layer = layer.stride([2, 2]).padding([1, 1]);
    assert!(fail_each(&layer, || layer.plan(), out_of_memory) > 0);
    let plan = layer.plan().unwrap();
    let (x, w) = (vec![1.0; plan.input_len()], vec![1.0; 6 * 20 * 9]);
    let (mut y, mut dx, mut dw) = (vec![0.0; plan.output_len()], x.clone(), w.clone());
    let forward = || plan.forward(&x, &w).bias(&[1.0; 20]).run(&mut y);
    assert_eq!(fail_each(&"forward", forward, out_of_memory), 1);
    let dy = y;
    let data = || plan.backward_data(&w, &dy).run(&mut dx);
    fail_each(&"backward_data", data, out_of_memory);
    let weight = || plan.backward_weight(&x, &dy).run(&mut dw);
    fail_each(&"backward_weight", weight, out_of_memory);
}

/// A plan with an activation has tables for the blocks of a masked gradient, and its calls have scratch for them.
#[test]
fn no_memory_for_a_masked_layer_is_an_error() {
    let layer = Conv2d::<f32>::new([5, 2, 64, 66], [64, 2, 1, 2]).activation(Activation::Relu);
    let plain = fail_each(&"plain", || layer.activation(Activation::None).plan(), out_of_memory);
    assert!(fail_each(&"plan", || layer.plan(), out_of_memory) > plain, "blocks have tables");
    let plan = layer.plan().unwrap();
    fail_each(&"with_batch", || plan.with_batch(4), out_of_memory);
    let (x, w) = (vec![1.0; plan.shape().input_len()], vec![1.0; 64 * 4]);
    let dy = vec![1.0; plan.shape().output_len()];
    let (mut dx, mut dw, mut db) = (x.clone(), w.clone(), [7.0; 64]);
    let data = || plan.backward_data(&w, &dy).mask(&dy).executor(&Serial).run(&mut dx);
    assert_eq!(fail_each(&"backward_data", data, out_of_memory), 1);
    let weight = || {
        let call = plan.backward_weight(&x, &dy).mask(&dy).grad_bias(&mut db);
        call.executor(&Serial).run(&mut dw)
    };
    assert_eq!(fail_each(&"backward_weight", weight, out_of_memory), 1);
}

/// As C sees it: a status and a message, and neither takes memory.
#[cfg(feature = "capi")]
mod capi {
    use super::{fail_each, layers};
    use im2col::capi::*;
    use im2col::{Layout, Params};
    use std::ffi::{CStr, c_void};
    use std::ptr::{null, null_mut};

    fn params(p: Params, dtype: u32) -> im2col_conv_params {
        im2col_conv_params {
            spatial_dims: p.axes as u32,
            dtype,
            layout: u32::from(p.layout == Layout::ChannelsLast),
            algorithm: IM2COL_ALGORITHM_AUTO,
            batch: p.batch,
            in_channels: p.in_channels,
            out_channels: p.out_channels,
            groups: p.groups,
            input: p.input,
            kernel: p.kernel,
            stride: p.stride,
            dilation: p.dilation,
            pad_begin: p.pad_begin,
            pad_end: p.pad_end,
        }
    }

    struct Conv(*mut im2col_conv);

    impl Drop for Conv {
        fn drop(&mut self) {
            // SAFETY: from `im2col_conv_create`, once.
            unsafe { im2col_conv_destroy(self.0) }
        }
    }

    fn create(params: &im2col_conv_params) -> Result<Conv, im2col_status> {
        let mut conv = std::ptr::dangling_mut();
        // SAFETY: both pointers come from references.
        match unsafe { im2col_conv_create(params, &mut conv) } {
            IM2COL_OK => Ok(Conv(conv)),
            status => {
                assert!(conv.is_null());
                Err(status)
            }
        }
    }

    fn refused(status: im2col_status) {
        assert_eq!(status, IM2COL_OUT_OF_MEMORY);
        // SAFETY: a string that lives until this thread's next failing call.
        let said = unsafe { CStr::from_ptr(im2col_last_error()) }.to_str().unwrap();
        assert!(said.starts_with("could not allocate "), "{said}");
    }

    #[test]
    fn no_memory_for_a_c_plan_is_a_status() {
        for layer in layers() {
            for dtype in [IM2COL_F32, IM2COL_F64] {
                let params = params(layer, dtype);
                assert!(fail_each(&params, || create(&params), refused) > 0);
            }
        }
    }

    #[test]
    fn no_memory_for_packed_weights_or_another_batch_is_a_status() {
        assert_eq!(im2col_set_num_threads(1), IM2COL_OK);
        for layer in layers() {
            let params = params(layer, IM2COL_F32);
            let conv = create(&params).unwrap_or_else(|status| panic!("{status}"));
            let weight = vec![1f32; im2col::Shape::new(layer).unwrap().weight_len()];
            let pack = || {
                let mut packed = std::ptr::dangling_mut();
                let (from, pass) = (weight.as_ptr().cast(), IM2COL_FORWARD);
                // SAFETY: a live plan, weights of its length, room for a pointer.
                match unsafe { im2col_packed_create(conv.0, pass, from, weight.len(), &mut packed) }
                {
                    IM2COL_OK => {
                        // SAFETY: made by the call, once.
                        unsafe { im2col_packed_destroy(packed) };
                        Ok(())
                    }
                    status => {
                        assert!(packed.is_null());
                        Err(status)
                    }
                }
            };
            assert!(fail_each(&params, pack, refused) > 0);
            let other = || {
                let mut other = std::ptr::dangling_mut();
                // SAFETY: a live plan, room for a pointer.
                match unsafe { im2col_conv_with_batch(conv.0, 3, &mut other) } {
                    IM2COL_OK => Ok(Conv(other)),
                    status => {
                        assert!(other.is_null());
                        Err(status)
                    }
                }
            };
            assert!(fail_each(&params, other, refused) > 0);
        }
    }

    #[test]
    fn no_memory_for_a_c_call_is_a_status() {
        // On threads of its own, rayon would allocate.
        assert_eq!(im2col_set_num_threads(1), IM2COL_OK);
        for layer in layers() {
            let conv =
                create(&params(layer, IM2COL_F32)).unwrap_or_else(|status| panic!("{status}"));
            let shape = im2col::Shape::new(layer).unwrap();
            let [x, w, dy] =
                [shape.input_len(), shape.weight_len(), shape.output_len()].map(|n| vec![1f32; n]);
            let (mut y, mut dx, mut dw) = (dy.clone(), x.clone(), w.clone());
            let from = |s: &[f32]| s.as_ptr().cast::<c_void>();
            let to = |s: &mut [f32]| s.as_mut_ptr().cast::<c_void>();
            let [x, w, dy, y, dx, dw] =
                [from(&x), from(&w), from(&dy), to(&mut y), to(&mut dx), to(&mut dw)]
                    .map(|p: *const c_void| p.cast_mut());
            let check = |call: &dyn Fn() -> im2col_status| {
                let result = || match call() {
                    IM2COL_OK => Ok(()),
                    status => Err(status),
                };
                fail_each(&layer, result, refused);
            };
            // SAFETY: a live plan and tensors of its lengths; no scratch is lent.
            check(&|| unsafe { im2col_conv_forward(conv.0, x, w, null(), y, null_mut(), 0) });
            let mode = IM2COL_OVERWRITE;
            // SAFETY: as above.
            check(&|| unsafe { im2col_conv_backward_data(conv.0, w, dy, dx, mode, null_mut(), 0) });
            // SAFETY: as above.
            check(&|| unsafe {
                im2col_conv_backward_weight(conv.0, x, dy, dw, mode, null_mut(), 0)
            });
        }
    }
}
