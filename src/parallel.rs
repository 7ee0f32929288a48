//! How a call spreads over threads: the only file that names rayon.
//!
//! Work is a queue of units that the shape alone decides. However many workers there are, each
//! takes the next unit when it is done with its last, with a scratch of its own: the results
//! are the same bits at any thread count, and a core that another process holds takes fewer.

use crate::scratch::Need;

/// Where the work of a plan may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Parallelism {
    /// On rayon's current pool (feature `rayon`; without it, as [`Serial`](Self::Serial)).
    #[default]
    Rayon,
    /// Never leave the calling thread.
    Serial,
}

impl Parallelism {
    /// Workers that this pass can use: never more than there are threads or units of work.
    pub(crate) fn workers(self, need: Need) -> usize {
        match self {
            #[cfg(feature = "rayon")]
            Parallelism::Rayon => rayon::current_num_threads().clamp(1, need.units.max(1)),
            _ => need.units.min(1),
        }
    }

    /// Runs a pass that has so much scratch. One that several workers share goes to a thread of the pool, so that no part of
    /// its work has to come there from outside: a thread that isn't of the pool would sleep and be woken for each (two
    /// threads on Zen 5, of one: cifar_3x3 backward_data 1.81, 1.89 so; r50_2c_1x1 1.81, 1.88).
    pub(crate) fn within(self, need: Need, scratch: usize, pass: impl FnOnce() + Send) {
        #[cfg(feature = "rayon")]
        if self.workers(need) > 1
            && scratch >= need.len(2)
            && rayon::current_thread_index().is_none()
        {
            rayon::join(pass, || ());
            return;
        }
        let _ = (need, scratch);
        pass();
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
        #[cfg(feature = "rayon")]
        if workers > 1 {
            let queue = std::sync::Mutex::new(units);
            return fan_out(&queue, &mut scratch[..workers * piece], piece, workers, &work);
        }
        let _ = workers;
        let mut state = S::default();
        for unit in units {
            work(unit, &mut scratch[..piece], &mut state);
        }
    }
}

/// Halves the workers until each stands alone, then lets each empty the queue. `join` rather
/// than `spawn`, because it doesn't allocate.
#[cfg(feature = "rayon")]
fn fan_out<U: Send, T: Send, S: Default>(
    queue: &std::sync::Mutex<impl Iterator<Item = U> + Send>,
    scratch: &mut [T],
    piece: usize,
    workers: usize,
    work: &(impl Fn(U, &mut [T], &mut S) + Sync),
) {
    if workers == 1 {
        let mut state = S::default();
        loop {
            // A poisoned lock means that `next` panicked: leave, the panic is on its way.
            let Ok(mut units) = queue.lock() else { return };
            let Some(unit) = units.next() else { return };
            drop(units);
            work(unit, scratch, &mut state);
        }
    }
    let left = workers / 2;
    let (a, b) = scratch.split_at_mut(left * piece);
    rayon::join(
        || fan_out(queue, a, piece, left, work),
        || fan_out(queue, b, piece, workers - left, work),
    );
}
