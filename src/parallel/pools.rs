//! Rayon's pools, each of the process that made it: the only file that names rayon.
//!
//! A `fork` copies a process with the one thread that called it: the child has the pool's memory but none
//! of its threads, and would wait for them for ever. So nothing is handed to a pool before it
//! is known to belong to this process; a child computes in a pool of its own.

use super::Executor;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::mem;
use std::sync::{Arc, Mutex};

/// Rayon's current pool: the one that the calling thread belongs to, or else the global one.
///
/// After `fork`, a child gets a pool of its own, as large as rayon's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rayon;

impl Executor for Rayon {
    fn workers(&self) -> usize {
        match Pool::current() {
            Pool::Current => rayon::current_num_threads(),
            Pool::OfChild(pool) => pool.current_num_threads(),
            Pool::None => 1,
        }
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        match Pool::current() {
            Pool::Current => fan_out(0, jobs, job),
            Pool::OfChild(pool) => pool.install(|| fan_out(0, jobs, job)),
            Pool::None => (0..jobs).for_each(job),
        }
    }

    fn enter(&self, call: &mut (dyn FnMut() + Send)) {
        match Pool::current() {
            Pool::Current if rayon::current_thread_index().is_none() => {
                rayon::join(call, || ());
            }
            Pool::OfChild(pool) => pool.install(call),
            Pool::Current | Pool::None => call(),
        }
    }
}

/// A pool of the caller's. It must belong to this process: a child of `fork` makes its own.
impl Executor for ThreadPool {
    fn workers(&self) -> usize {
        self.current_num_threads()
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        self.install(|| fan_out(0, jobs, job));
    }

    fn enter(&self, call: &mut (dyn FnMut() + Send)) {
        self.install(call);
    }
}

/// Halves the jobs until each stands alone. `join` rather than `spawn`, because it doesn't allocate.
fn fan_out(first: usize, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
    match jobs {
        0 => {}
        1 => job(first),
        _ => {
            let left = jobs / 2;
            let right = || fan_out(first + left, jobs - left, job);
            rayon::join(|| fan_out(first, left, job), right);
        }
    }
}

/// The pool that the calling thread may use.
enum Pool {
    /// What rayon takes for the current one.
    Current,
    /// A pool that was made because rayon's global one is the parent process's.
    OfChild(Arc<ThreadPool>),
    /// None: what would be the current pool belongs to the parent.
    None,
}

impl Pool {
    #[cfg(not(unix))]
    fn current() -> Self {
        Pool::Current
    }

    #[cfg(unix)]
    fn current() -> Self {
        use std::cell::Cell;
        use std::process::id;
        thread_local! {
            /// The process in which this worker of a pool was first met.
            static MET: Cell<u32> = const { Cell::new(0) };
        }
        if rayon::current_thread_index().is_some() {
            let met = MET.get();
            if met == 0 {
                MET.set(id());
            }
            return if met == 0 || met == id() { Pool::Current } else { Pool::None };
        }
        if is_global_pool_ours(id()) {
            return Pool::Current;
        }
        static OF_CHILD: Owned = Owned::new();
        OF_CHILD.get(0).map_or(Pool::None, Pool::OfChild)
    }
}

/// Whether rayon's global pool has its threads in this process. Asked of rayon once in each process.
#[cfg(unix)]
fn is_global_pool_ours(process: u32) -> bool {
    use std::sync::atomic::{AtomicU64, Ordering};
    /// The process that has asked last, and in the lowest bit the answer.
    static ANSWER: AtomicU64 = AtomicU64::new(0);
    let known = ANSWER.load(Ordering::Acquire);
    if known >> 1 == u64::from(process) {
        return known & 1 == 1;
    }
    // Another process has asked: this is its child. Otherwise whoever made the pool may be the parent or
    // this process, and only the pool's answer tells.
    let ours = ThreadPoolBuilder::new().build_global().is_ok() || (known == 0 && answers());
    ANSWER.store(u64::from(process) << 1 | u64::from(ours), Ordering::Release);
    ours
}

/// Whether the global pool does what it is given, within a time that a living one needs a hundredth of. One that is so
/// busy that it doesn't is left alone.
#[cfg(unix)]
fn answers() -> bool {
    let (sender, receiver) = std::sync::mpsc::channel();
    rayon::spawn(move || {
        // The receiver may have given up.
        let _ = sender.send(());
    });
    receiver.recv_timeout(std::time::Duration::from_millis(300)).is_ok()
}

/// A pool of this library's, made anew in each process that asks for it.
pub(crate) struct Owned(Mutex<Option<Entry>>);

/// A pool, the process that made it and the number of threads that was asked for.
struct Entry {
    process: u32,
    threads: usize,
    pool: Arc<ThreadPool>,
}

impl Owned {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The pool of so many threads, 0 for one per core; none where it can't be had. Another thread of the parent may have
    /// held the lock as the process was forked, so it isn't waited for.
    pub(crate) fn get(&self, threads: usize) -> Option<Arc<ThreadPool>> {
        let mut held = match self.0.try_lock() {
            Ok(held) => held,
            Err(std::sync::TryLockError::Poisoned(error)) => error.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return None,
        };
        let process = process();
        if let Some(entry) = &*held
            && entry.process == process
            && entry.threads == threads
        {
            return Some(entry.pool.clone());
        }
        let pool = Arc::new(ThreadPoolBuilder::new().num_threads(threads).build().ok()?);
        let old = held.replace(Entry { process, threads, pool: pool.clone() });
        drop(held);
        forget_a_parents(old);
        Some(pool)
    }

    #[cfg(feature = "capi")]
    /// Makes the pool of so many threads, or ends the one that there is.
    pub(crate) fn set(&self, threads: Option<usize>) -> Result<(), rayon::ThreadPoolBuildError> {
        let process = process();
        let entry = match threads {
            None => None,
            Some(threads) => {
                let pool = Arc::new(ThreadPoolBuilder::new().num_threads(threads).build()?);
                Some(Entry { process, threads, pool })
            }
        };
        let old = mem::replace(
            &mut *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner),
            entry,
        );
        forget_a_parents(old);
        Ok(())
    }
}

/// Ends a pool, but for a parent's, whose threads aren't there to be told.
fn forget_a_parents(entry: Option<Entry>) {
    if let Some(entry) = entry
        && entry.process != process()
    {
        mem::forget(entry);
    }
}

/// This process, where processes can be copied.
fn process() -> u32 {
    if cfg!(unix) { std::process::id() } else { 0 }
}
