//! Outputs that nobody has written yet.

use crate::element::Element;
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
