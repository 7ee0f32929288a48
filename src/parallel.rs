//! How a call spreads over threads.
//!
//! Work is a queue of units that the shape alone decides. However many workers there are, each
//! takes the next unit when it is done with its last, with a scratch of its own: the results
//! are the same bits at any number of workers, and a core that another process holds takes fewer.

use crate::scratch::Need;

#[cfg(feature = "rayon")]
pub(crate) mod pools;

/// Threads that a call may be lent: rayon's, OpenMP's, a game engine's, or none but the caller's own.
///
/// A call cuts its work into jobs, one for each worker, and hands them to
/// [`run`](Self::run). Results are the same bits whatever the executor does: the jobs share a queue
/// of units of work, and what no job has done when `run` returns is done by the calling thread.
///
/// # Busy machines
///
/// A call returns when the last of its threads does. Where other programs keep the cores busy, that thread may first have to
/// wait for a core: on a pool with a thread for each core, such as rayon's own, a layer of a fraction of a millisecond can
/// then take several milliseconds. Where a pool leaves those programs their cores this is rare, and [`Serial`] waits for no
/// other thread at all.
///
/// ```
/// use im2col::{Conv2d, Executor};
///
/// /// Threads of the standard library, made for each call.
/// struct Threads(usize);
///
/// impl Executor for Threads {
///     fn workers(&self) -> usize {
///         self.0
///     }
///
///     fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
///         std::thread::scope(|scope| {
///             (1..jobs).for_each(|index| {
///                 scope.spawn(move || job(index));
///             });
///             job(0);
///         });
///     }
/// }
///
/// let conv = Conv2d::<f32>::new([8, 4, 32, 32], [4, 4, 3, 3]).plan()?;
/// let (x, w) = (vec![1.0; 8 * 4 * 32 * 32], vec![1.0; 4 * 4 * 9]);
/// let mut y = vec![0.0; conv.shape().output_len()];
/// conv.forward(&x, &w).executor(&Threads(2)).run(&mut y)?;
/// assert_eq!(y[0], 36.0);
/// # Ok::<(), im2col::Error>(())
/// ```
#[doc(alias("threads", "thread pool"))]
pub trait Executor: Sync {
    /// How many jobs can run at the same time; 0 counts as 1. A call asks for no more.
    fn workers(&self) -> usize;

    /// Calls `job(0)`, `job(1)`, .., `job(jobs - 1)`, each once, on any threads and in any order, and
    /// returns when all of them have returned. Jobs don't wait for each other.
    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync));

    /// Runs a whole call that is going to [`run`](Self::run) jobs, once. An executor whose own
    /// threads reach each other more cheaply than a stranger reaches them may run it on one of
    /// them; by default it runs where it is.
    fn enter(&self, call: &mut (dyn FnMut() + Send)) {
        call();
    }
}

/// No threads: a call stays on the thread that makes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Serial;

impl Executor for Serial {
    fn workers(&self) -> usize {
        1
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        (0..jobs).for_each(job);
    }
}

/// Where calls run that are lent no executor.
#[cfg(feature = "rayon")]
pub(crate) static DEFAULT: pools::Rayon = pools::Rayon;
#[cfg(not(feature = "rayon"))]
pub(crate) static DEFAULT: Serial = Serial;

/// The workers of one call.
#[derive(Clone, Copy)]
pub(crate) struct Parallelism<'a> {
    executor: &'a dyn Executor,
    most: usize,
}

impl<'a> Parallelism<'a> {
    /// The workers of an executor; or the calling thread alone, for what isn't worth waking another.
    pub(crate) fn new(executor: &'a dyn Executor, is_small: bool) -> Self {
        let most =
            if is_small || cfg!(not(feature = "std")) { 1 } else { executor.workers().max(1) };
        Self { executor, most }
    }

    /// Workers that this pass can use: never more than there are units of work.
    pub(crate) fn workers(self, need: Need) -> usize {
        self.most.min(need.units)
    }

    /// Runs a pass that has so much scratch. One that several workers share is run where the executor likes it best: a
    /// thread that isn't of rayon's pool would sleep and be woken for each part of its work.
    pub(crate) fn within(self, need: Need, scratch: usize, pass: impl FnOnce() + Send) {
        if self.workers(need) > 1 && scratch >= need.len(2) {
            let mut pass = Some(pass);
            self.executor.enter(&mut || {
                if let Some(pass) = pass.take() {
                    pass();
                }
            });
            // An executor that didn't enter has only lost its choice of the thread.
            if let Some(pass) = pass {
                pass();
            }
        } else {
            pass();
        }
    }

    /// Calls `work` for every one of `count` units, which take no scratch.
    pub(crate) fn for_all<U: Send>(
        self,
        count: usize,
        units: impl Iterator<Item = U> + Send,
        work: impl Fn(U) + Sync,
    ) {
        let none: &mut [u8] = &mut [];
        self.for_each(Need::of_units(count), units, none, |unit, _, _: &mut ()| work(unit));
    }

    /// Calls `work(unit, piece, state)` for every unit: as many workers as there are whole pieces
    /// in `scratch`, but no more than [`workers`](Self::workers), each with a piece and a state
    /// of its own, which tells it what its last unit left in the piece.
    pub(crate) fn for_each<U: Send, T: Send, S: Default>(
        self,
        need: Need,
        units: impl Iterator<Item = U> + Send,
        scratch: &mut [T],
        work: impl Fn(U, &mut [T], &mut S) + Sync,
    ) {
        let piece = need.piece;
        let fits = scratch.len().checked_div(piece).unwrap_or(usize::MAX);
        let workers = self.workers(need).min(fits);
        #[cfg(feature = "std")]
        let units = if workers > 1 {
            let pieces = &mut scratch[..workers * piece];
            // What the executor has left, if it hasn't run all of its jobs.
            fan_out(self.executor, workers, piece, (units, pieces), &work)
        } else {
            units
        };
        let _ = workers;
        let mut state = S::default();
        for unit in units {
            work(unit, &mut scratch[..piece], &mut state);
        }
    }
}

/// Lets every worker empty the queue, and gives back what is left of it.
#[cfg(feature = "std")]
fn fan_out<U: Send, T: Send, S: Default, I: Iterator<Item = U> + Send>(
    executor: &dyn Executor,
    workers: usize,
    piece: usize,
    (units, scratch): (I, &mut [T]),
    work: &(impl Fn(U, &mut [T], &mut S) + Sync),
) -> I {
    use std::sync::{Mutex, PoisonError};
    let queue = Mutex::new((units, scratch, workers));
    executor.run(workers, &|_| {
        // A poisoned lock means that `next` panicked: leave, the panic is on its way.
        let Ok(mut first) = queue.lock() else { return };
        let (_, scratch, left) = &mut *first;
        // No more jobs than were asked for.
        let Some(fewer) = left.checked_sub(1) else { return };
        *left = fewer;
        let (own, others) = core::mem::take(scratch).split_at_mut(piece);
        *scratch = others;
        drop(first);
        let mut state = S::default();
        loop {
            let Ok(mut units) = queue.lock() else { return };
            let Some(unit) = units.0.next() else { return };
            drop(units);
            work(unit, own, &mut state);
        }
    });
    queue.into_inner().unwrap_or_else(PoisonError::into_inner).0
}
