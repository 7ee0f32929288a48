//! What was computed here and what was left to PyTorch, counted.

use crate::layer::Reason;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Clone, Copy)]
pub(crate) enum Pass {
    Forward,
    Backward,
}

const REASONS: usize = Reason::ALL.len();

/// Calls computed here, by pass; calls left to PyTorch, by pass and reason.
pub(crate) const COUNTS: usize = 2 + 2 * REASONS;

static CALLS: [AtomicU64; COUNTS] = [const { AtomicU64::new(0) }; COUNTS];

pub(crate) fn ours(pass: Pass) {
    CALLS[pass as usize].fetch_add(1, Relaxed);
}

pub(crate) fn left(pass: Pass, reason: Reason) {
    CALLS[2 + pass as usize * REASONS + reason as usize].fetch_add(1, Relaxed);
}

pub(crate) fn read() -> [u64; COUNTS] {
    std::array::from_fn(|index| CALLS[index].load(Relaxed))
}

pub(crate) fn reset() {
    CALLS.iter().for_each(|count| count.store(0, Relaxed));
}
