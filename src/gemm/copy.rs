//! Rows copied with zeros round them: what a part of an image becomes before a product reads it.

use crate::element::Element;
use crate::kernel::{CopyRows, Kernels, reach, total};

/// `count` rows: row `r` takes the elements `from[r * from_pitch + i * step]`, for `i < taken`, to
/// `to[r * to_pitch + before + i]`, with zeros before and after them, `len` elements in all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    pub(crate) count: usize,
    pub(crate) from_pitch: usize,
    pub(crate) to_pitch: usize,
    pub(crate) before: usize,
    pub(crate) taken: usize,
    pub(crate) len: usize,
    pub(crate) step: usize,
    /// From an element to where the rows that are copied next have theirs, or 0.
    pub(crate) next: usize,
}

/// Copies the rows.
///
/// # Panics
/// If they leave a slice, or `len` is less than is before and taken: the caller's shape is wrong.
pub(crate) fn copy_rows<T: Element>(kernels: &Kernels<T>, from: &[T], to: &mut [T], rows: Rows) {
    let Rows { count, from_pitch, to_pitch, before, taken, len, step, next } = rows;
    if count == 0 || len == 0 {
        return;
    }
    assert!(total([before, taken]) <= len && total([reach([(count, to_pitch)]), len]) <= to.len());
    if taken == 0 {
        if to_pitch == len {
            to[..count * len].fill(T::ZERO);
        } else {
            (0..count).for_each(|r| to[r * to_pitch..][..len].fill(T::ZERO));
        }
        return;
    }
    // With one row or element, a pitch or step is never taken, and may have any size.
    assert!(reach([(count, from_pitch), (taken, step)]) < from.len());
    let job = CopyRows {
        from: from.as_ptr(),
        from_pitch,
        to: to.as_mut_ptr(),
        to_pitch,
        count,
        before,
        taken,
        len,
        step,
        next,
    };
    // SAFETY: having the kernels proves their ISA. The asserts hold the last element of the last
    // row within both slices.
    unsafe { (kernels.copy)(&job) };
}
