//! Outputs that nobody has written yet.

use crate::element::Element;
use crate::error::Error;
use aligned_vec::{AVec, ConstAlign};
use alloc::vec::Vec;
use core::mem::MaybeUninit;

/// Memory that a call is about to write, as engines take it: as a slice of numbers, which may be any.
///
/// No engine reads what it overwrites, so that zeros would be written for nothing. But nothing rests on that: here the memory gets
/// values, although it costs nothing. An engine that did read it would get wrong numbers, and do no other harm.
pub(crate) fn to_be_written<T: Element>(memory: &mut [MaybeUninit<T>]) -> &mut [T] {
    give_values(memory);
    let (first, len) = (memory.as_mut_ptr().cast::<T>(), memory.len());
    // SAFETY: a `MaybeUninit<T>` has the size and the alignment of a `T`, and the slice is borrowed for as long as the one that
    // is made of it. Every element has a value, as it has just got one, and `T` is f32 or f64, of which every pattern of bits
    // is one.
    unsafe { core::slice::from_raw_parts_mut(first, len) }
}

/// A new vector of `len` elements, which a call writes.
///
/// # Errors
/// The call's own, and [`Error::OutOfMemory`] if there is no room.
pub(crate) fn written<T: Element>(
    len: usize,
    write: impl FnOnce(&mut [T]) -> Result<(), Error>,
) -> Result<Vec<T>, Error> {
    let mut vector = Vec::new();
    vector.try_reserve_exact(len).map_err(|_| no_room::<T>(len))?;
    write(to_be_written(&mut vector.spare_capacity_mut()[..len]))?;
    // SAFETY: there is room for `len` elements, as the slice has shown, and `to_be_written` has given each a value.
    unsafe { vector.set_len(len) };
    Ok(vector)
}

/// Memory from a cache line on whose elements have any values: scratch.
///
/// # Errors
/// [`Error::OutOfMemory`] if there is no room.
pub(crate) fn unwritten<T: Element>(len: usize) -> Result<AVec<T, ConstAlign<64>>, Error> {
    let mut memory: AVec<T, ConstAlign<64>> = AVec::new(64);
    memory.try_reserve_exact(len).map_err(|_| no_room::<T>(len))?;
    let first = memory.as_mut_ptr().cast::<MaybeUninit<T>>();
    // SAFETY: there is room for `len` elements from `first` on, as it has just been reserved in a vector that has none
    // yet and that nobody else has. `to_be_written` gives each a value before they become the vector's.
    unsafe {
        to_be_written(core::slice::from_raw_parts_mut(first, len));
        memory.set_len(len);
    }
    Ok(memory)
}

fn no_room<T>(len: usize) -> Error {
    Error::OutOfMemory { bytes: len.saturating_mul(size_of::<T>()) }
}

/// Whatever bits are there become values: assembly of no instructions is given the memory, and for all that the compiler knows has
/// written all of it.
#[cfg(all(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64"), not(miri)))]
fn give_values<T: Element>(memory: &mut [MaybeUninit<T>]) {
    // SAFETY: without an instruction nothing is done. It is allowed to write this memory (`nomem` isn't among its options), and
    // what is there is what it may have written.
    unsafe {
        core::arch::asm!("/* {0} */", in(reg) memory.as_mut_ptr(), options(nostack, preserves_flags));
    }
}

/// The same where there is no such assembly: with zeros.
#[cfg(not(all(
    any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64"),
    not(miri)
)))]
fn give_values<T: Element>(memory: &mut [MaybeUninit<T>]) {
    memory.iter_mut().for_each(|element| {
        element.write(T::ZERO);
    });
}
