//! Memory between two pages that fault: whatever touches an element too many dies of it.

#![allow(unsafe_code, dead_code, unreachable_pub, reason = "pages come from the system")]

use core::ptr::{null_mut, slice_from_raw_parts_mut};
use core::slice::{from_raw_parts, from_raw_parts_mut};

/// Where the elements lie among the pages.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Edge {
    /// The first element follows a page that faults.
    Start,
    /// The last element precedes a page that faults.
    End,
}

pub const EDGES: [Edge; 2] = [Edge::Start, Edge::End];

/// Elements that reach an edge of their pages.
pub struct Guarded<T> {
    map: *mut u8,
    bytes: usize,
    elements: *mut [T],
}

impl<T: Copy> Guarded<T> {
    pub fn new(edge: Edge, from: &[T]) -> Self {
        // SAFETY: a question about the system.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let inner = size_of_val(from).max(1).next_multiple_of(page);
        let bytes = inner + 2 * page;
        // SAFETY: a new mapping; of its pages, all but the first and the last are made writable.
        let map = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let map = libc::mmap(null_mut(), bytes, libc::PROT_NONE, flags, -1, 0);
            assert!(map != libc::MAP_FAILED, "{bytes} bytes");
            let map = map.cast::<u8>();
            let access = libc::PROT_READ | libc::PROT_WRITE;
            assert!(libc::mprotect(map.add(page).cast(), inner, access) == 0);
            map
        };
        let skip = if edge == Edge::End { inner - size_of_val(from) } else { 0 };
        let start = map.wrapping_add(page + skip).cast::<T>();
        let mut guarded =
            Self { map, bytes, elements: slice_from_raw_parts_mut(start, from.len()) };
        guarded.copy_from_slice(from);
        guarded
    }
}

impl<T> core::ops::Deref for Guarded<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the elements are ours, mapped, and any bits of zeroed pages are a number.
        unsafe { from_raw_parts(self.elements.cast::<T>(), self.elements.len()) }
    }
}

impl<T> core::ops::DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above.
        unsafe { from_raw_parts_mut(self.elements.cast::<T>(), self.elements.len()) }
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and ends here.
        unsafe { libc::munmap(self.map.cast(), self.bytes) };
    }
}
