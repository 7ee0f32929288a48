//! Where a call writes.

use crate::element::Element;
use crate::error::{Error, check_len};
use core::mem::MaybeUninit;

/// Where a call writes: a slice, a vector or an array, that may be uninitialised unless the call accumulates.
///
/// Anything that a call's `run` takes becomes one by `Into`.
#[derive(Debug)]
pub struct Output<'a, T>(Memory<'a, T>);

#[derive(Debug)]
enum Memory<'a, T> {
    Initialised(&'a mut [T]),
    Uninitialised(&'a mut [MaybeUninit<T>]),
}

impl<'a, T: Element> Output<'a, T> {
    /// The memory as engines take it, checked: they read it only where the call accumulates.
    pub(super) fn checked(
        self,
        what: &'static str,
        expected: usize,
        accumulate: bool,
    ) -> Result<&'a mut [T], Error> {
        let memory = match self.0 {
            Memory::Initialised(memory) => memory,
            Memory::Uninitialised(_) if accumulate => return Err(Error::Uninitialised { what }),
            Memory::Uninitialised(memory) => crate::kernel::uninit::to_be_written(memory),
        };
        check_len(what, expected, memory.len())?;
        Ok(memory)
    }
}

impl<'a, T> From<&'a mut [T]> for Output<'a, T> {
    fn from(memory: &'a mut [T]) -> Self {
        Self(Memory::Initialised(memory))
    }
}

impl<'a, T> From<&'a mut alloc::vec::Vec<T>> for Output<'a, T> {
    fn from(memory: &'a mut alloc::vec::Vec<T>) -> Self {
        Self(Memory::Initialised(memory))
    }
}

impl<'a, T, const N: usize> From<&'a mut [T; N]> for Output<'a, T> {
    fn from(memory: &'a mut [T; N]) -> Self {
        Self(Memory::Initialised(memory))
    }
}

impl<'a, T> From<&'a mut [MaybeUninit<T>]> for Output<'a, T> {
    fn from(memory: &'a mut [MaybeUninit<T>]) -> Self {
        Self(Memory::Uninitialised(memory))
    }
}

impl<'a, T, const N: usize> From<&'a mut [MaybeUninit<T>; N]> for Output<'a, T> {
    fn from(memory: &'a mut [MaybeUninit<T>; N]) -> Self {
        Self(Memory::Uninitialised(memory))
    }
}
