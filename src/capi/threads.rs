//! What a call is lent: threads, of this library or of the caller, and scratch.

use super::boundary::{Buffer, Failure, check_pointer, invalid, unknown};
use super::layer::Of;
#[cfg(feature = "rayon")]
use super::numbers::IM2COL_OUT_OF_MEMORY;
use super::types::im2col_executor;
use crate::error::Count;
use crate::parallel::DEFAULT;
#[cfg(feature = "rayon")]
use crate::parallel::pools::Owned;
use crate::{Element, Error, Executor, Pass, Serial, Size};
use std::any::Any;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Scratch begins on a cache line, wherever the caller's begins.
const LINE: usize = 64;

/// Bytes of scratch that a call of a layer can use with an executor.
pub(super) fn scratch_bytes<T: Element>(
    layer: &Of<T>,
    pass: Pass,
    executor: &dyn Executor,
) -> Result<usize, Failure> {
    match layer.scratch_len_on(pass, executor) {
        0 => Ok(0),
        len => {
            let bytes = len.checked_mul(size_of::<T>()).and_then(|n| n.checked_add(LINE));
            let size = Size { what: "scratch", axis: None };
            Ok(bytes.ok_or(Error::Overflow { size })?)
        }
    }
}

/// What the caller lends as scratch: nothing if NULL, or if the pass needs nothing.
pub(super) fn scratch<T: Element>(
    layer: &Of<T>,
    pass: Pass,
    data: *mut c_void,
    bytes: usize,
) -> Result<Buffer<T>, Failure> {
    let need = layer.min_scratch_len(pass);
    if data.is_null() || need == 0 {
        return Ok(Buffer::none());
    }
    let skipped = data.cast::<u8>().align_offset(LINE);
    // No memory is larger than isize::MAX bytes, whatever the caller says.
    let len = bytes.min(isize::MAX as usize).saturating_sub(skipped) / size_of::<T>();
    if len < need {
        let least = need.saturating_mul(size_of::<T>()).saturating_add(skipped);
        return Err(invalid(format_args!(
            "scratch has {}: at this address one thread needs at least {least}",
            Count(bytes, "byte")
        )));
    }
    Buffer::new("scratch", data.wrapping_byte_add(skipped), len)
}

/// The threads that `im2col_set_num_threads` has set last.
pub(super) struct Threads;

/// How many: 0 is rayon's global pool.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The pool of so many, of this process.
#[cfg(feature = "rayon")]
static POOL: Owned = Owned::new();

impl Threads {
    /// More than this is taken for a mistake, such as a negative number.
    const MOST: usize = 1024;

    /// Makes later calls run on a number of threads. Calls under way keep theirs.
    pub(super) fn set(threads: usize) -> Result<(), Failure> {
        if threads > Self::MOST {
            return Err(unknown("threads", threads, format_args!("at most {}", Self::MOST)));
        }
        #[cfg(feature = "rayon")]
        POOL.set(Some(threads).filter(|&threads| threads > 1)).map_err(|error| {
            let message = format_args!("could not start {threads} threads: {error}");
            Failure::new(IM2COL_OUT_OF_MEMORY, message)
        })?;
        THREADS.store(threads, Ordering::Release);
        Ok(())
    }

    /// Calls `on` with the threads that are set now.
    fn with<R>(&self, on: impl FnOnce(&dyn Executor) -> R) -> R {
        match THREADS.load(Ordering::Acquire) {
            0 => on(&DEFAULT),
            #[cfg(feature = "rayon")]
            threads if threads > 1 => match POOL.get(threads) {
                Some(pool) => on(&*pool),
                None => on(&Serial),
            },
            _ => on(&Serial),
        }
    }
}

impl Executor for Threads {
    fn workers(&self) -> usize {
        self.with(|executor| executor.workers())
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        self.with(|executor| executor.run(jobs, job));
    }

    fn enter(&self, call: &mut (dyn FnMut() + Send)) {
        self.with(|executor| executor.enter(call));
    }
}

/// The threads that a C program lends.
pub(super) struct Lent(im2col_executor);

// SAFETY: the context is only handed back to the caller's function, on the thread that makes the call.
unsafe impl Sync for Lent {}

impl Lent {
    /// An executor as C has it; none where it is NULL.
    ///
    /// # Safety
    /// NULL, misaligned or a live executor.
    pub(super) unsafe fn new(executor: *const im2col_executor) -> Result<Option<Self>, Failure> {
        if executor.is_null() {
            return Ok(None);
        }
        check_pointer("executor", executor)?;
        // SAFETY: neither NULL nor misaligned, so by contract a live executor.
        let executor = unsafe { executor.read() };
        if executor.run.is_none() {
            return Err(invalid("the executor's run is NULL: it must be a function"));
        }
        if executor.workers == 0 {
            return Err(invalid("the executor has 0 workers: it must have at least 1"));
        }
        Ok(Some(Self(executor)))
    }
}

/// The jobs of a call, as C hands them around.
struct Jobs<'a> {
    job: &'a (dyn Fn(usize) + Sync),
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// Runs one of the jobs. A panic waits for the call to end: it must not unwind through C.
unsafe extern "C" fn run_job(jobs: *mut c_void, index: usize) {
    // SAFETY: by the contract of `im2col_executor`, what `Lent::run` has handed out and is still waiting for.
    let jobs = unsafe { &*jobs.cast::<Jobs<'_>>() };
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (jobs.job)(index))) {
        *jobs.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
    }
}

impl Executor for Lent {
    fn workers(&self) -> usize {
        self.0.workers
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        let Some(run) = self.0.run else { return };
        let all = Jobs { job, panic: Mutex::new(None) };
        let context = (&raw const all).cast_mut().cast::<c_void>();
        // SAFETY: the caller's function, with the caller's context; it returns when all jobs have.
        unsafe { run(self.0.context, jobs, run_job, context) };
        if let Some(panic) = all.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }
}

/// So many workers, of which only the number is asked.
pub(super) struct Workers(pub(super) usize);

impl Executor for Workers {
    fn workers(&self) -> usize {
        self.0
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        Serial.run(jobs, job);
    }
}
