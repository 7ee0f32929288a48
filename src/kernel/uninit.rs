//! Outputs that nobody has written yet.

use crate::element::Element;
use core::mem::MaybeUninit;

/// Memory that a call is about to write, as engines take it.
///
/// What an engine overwrites it never reads: that is the contract of every engine and kernel where the epilogue doesn't
/// accumulate. The tests hold it with destinations full of NaN, and with uninitialised ones under Miri.
pub(crate) fn to_be_written<T: Element>(memory: &mut [MaybeUninit<T>]) -> &mut [T] {
    let (first, len) = (memory.as_mut_ptr().cast::<T>(), memory.len());
    // SAFETY: a `MaybeUninit<T>` has the size and the alignment of a `T`, the slice is borrowed for as long as the one that
    // is made of it, and `T` is f32 or f64, of which every pattern of bits is a value.
    unsafe { core::slice::from_raw_parts_mut(first, len) }
}
