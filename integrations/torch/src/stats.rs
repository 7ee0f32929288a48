//! What was computed here and what was left to PyTorch, counted; and the accuracy that was asked for.

use crate::layer::Reason;
use im2col::Accuracy;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

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

static ACCURACY: AtomicU32 = AtomicU32::new(0);

/// The error bound that calls have to keep.
pub(crate) fn accuracy() -> Accuracy {
    crate::array::accuracy(ACCURACY.load(Relaxed))
}

pub(crate) fn set_accuracy(number: u32) {
    ACCURACY.store(number, Relaxed);
}
