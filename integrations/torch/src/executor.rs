//! Threads for im2col's work: PyTorch's own, or the standard library's.

use crate::abi::abi;
use im2col::Executor;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// PyTorch's threads, as many as `torch.set_num_threads` says. No other pool runs beside them, so no idle threads of
/// one take a core from the other.
pub(crate) struct Torch;

/// What the threads of one call share.
struct Shared<'a> {
    job: &'a (dyn Fn(usize) + Sync),
    panicked: AtomicBool,
}

impl Executor for Torch {
    fn workers(&self) -> usize {
        let mut threads = 1;
        // SAFETY: a place for the answer.
        unsafe { (abi().torch_get_num_threads)(&mut threads) };
        threads as usize
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        let shared = Shared { job, panicked: AtomicBool::new(false) };
        let context = std::ptr::from_ref(&shared).cast_mut().cast();
        // SAFETY: `run_jobs` takes what `context` points to, which lives until the call returns: it waits for all.
        unsafe { (abi().torch_parallel_for)(0, jobs as i64, 1, run_jobs, context) };
        assert!(!shared.panicked.load(Relaxed), "a job has panicked");
    }
}

/// Runs a range of jobs on a thread of PyTorch's, which no panic may leave.
///
/// # Safety
/// `context` points to a `Shared` that outlives the call.
unsafe extern "C" fn run_jobs(begin: i64, end: i64, context: *mut c_void) {
    // SAFETY: as the caller says; all threads only read it.
    let shared = unsafe { &*context.cast::<Shared<'_>>() };
    for index in begin..end {
        if catch_unwind(AssertUnwindSafe(|| (shared.job)(index as usize))).is_err() {
            shared.panicked.store(true, Relaxed);
        }
    }
}

/// Threads of the standard library, made for each call that shares its work: nothing is left of them when a process
/// forks, and none of them ever spins.
pub(crate) struct Scoped(pub(crate) usize);

impl Executor for Scoped {
    fn workers(&self) -> usize {
        self.0
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for index in 1..jobs {
                scope.spawn(move || job(index));
            }
            if jobs > 0 {
                job(0);
            }
        });
    }
}
