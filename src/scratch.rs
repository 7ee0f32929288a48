//! Memory that a call needs for its own use: lent by the caller, or taken and given back; and the
//! tables of a plan. Where there is none, that is an error: whatever would end the process
//! instead (`Vec::with_capacity`, `Box::new`, `collect`) is not used.

use crate::element::Element;
use crate::error::Error;
use aligned_vec::{AVec, ConstAlign};
use alloc::vec::Vec;
use core::ops::Deref;

/// What one pass wants, by its shape: units of work, some elements shared by all workers, and a
/// piece for each worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// Units of work: more workers than this are of no use.
    pub(crate) units: usize,
    /// Elements that all workers share.
    pub(crate) shared: usize,
    /// Elements of each worker's piece.
    pub(crate) piece: usize,
}

impl Need {
    /// Units of work that take no scratch.
    pub(crate) fn of_units(units: usize) -> Self {
        Self { units, shared: 0, piece: 0 }
    }

    /// Elements for a number of workers, as far as that fits the address space.
    pub(crate) fn len(self, workers: usize) -> usize {
        self.piece.saturating_mul(workers).saturating_add(self.shared)
    }
}

/// The part of `scratch` from its first cache line on.
pub(crate) fn aligned<T>(scratch: &mut [T]) -> &mut [T] {
    // Alignment is for speed only: where it can't be had, there is none.
    let skip = scratch.as_ptr().align_offset(64);
    let skip = if skip < 64 / size_of::<T>().max(1) && skip <= scratch.len() { skip } else { 0 };
    &mut scratch[skip..]
}

/// Zeroed scratch, aligned to a cache line.
pub(crate) fn allocate<T: Element>(len: usize) -> Result<AVec<T, ConstAlign<64>>, Error> {
    let mut scratch = AVec::new(64);
    let bytes = len.saturating_mul(size_of::<T>());
    scratch.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { bytes })?;
    scratch.resize(len, T::ZERO);
    Ok(scratch)
}

/// A copy, aligned to a cache line.
pub(crate) fn copied<T: Element>(data: &[T]) -> Result<AVec<T, ConstAlign<64>>, Error> {
    let mut copy = allocate(data.len())?;
    copy.copy_from_slice(data);
    Ok(copy)
}

/// An empty list with room for `len` elements: pushing so many doesn't allocate.
pub(crate) fn room<T>(len: usize) -> Result<Vec<T>, Error> {
    let mut list = Vec::new();
    let bytes = len.saturating_mul(size_of::<T>());
    list.try_reserve_exact(len).map_err(|_| Error::OutOfMemory { bytes })?;
    Ok(list)
}

/// A value on the heap, so that what holds it is small.
#[derive(Debug, Clone)]
pub(crate) struct Boxed<T>(Vec<T>);

impl<T> Boxed<T> {
    pub(crate) fn new(value: T) -> Result<Self, Error> {
        let mut one = room(1)?;
        one.push(value);
        Ok(Self(one))
    }
}

impl<T> Deref for Boxed<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0[0]
    }
}
