//! Memory that calls compute in: each thread keeps its own from call to call, as nothing has to be cleared for a call
//! and no page has to be had from the system again.

use crate::call::Float;
use std::cell::Cell;

/// Bytes that a thread keeps at most: a call that wants more has memory of its own.
const MOST: usize = 64 << 20;

thread_local! {
    static KEPT: Cell<Vec<f64>> = const { Cell::new(Vec::new()) };
}

/// Runs a call with `len` elements of scratch, or with none where it has to take memory of its own.
pub(crate) fn lend<T: Float, R>(len: usize, call: impl FnOnce(Option<&mut [T]>) -> R) -> R {
    let wide = len.saturating_mul(size_of::<T>()).div_ceil(size_of::<f64>());
    if len == 0 || wide > MOST / size_of::<f64>() {
        return call(None);
    }
    // A call within a call of the same thread finds nothing kept, and makes its own.
    let mut kept = KEPT.take();
    if kept.len() < wide {
        drop(kept);
        kept = vec![0.0; wide];
    }
    // SAFETY: `T` is f32 or f64, of no larger alignment than f64, and every bit pattern is one of its values; `len` of
    // them lie within the `wide` elements, which nobody else sees until the slice is gone.
    let scratch = unsafe { std::slice::from_raw_parts_mut(kept.as_mut_ptr().cast::<T>(), len) };
    let outcome = call(Some(scratch));
    KEPT.set(kept);
    outcome
}
