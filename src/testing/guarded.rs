//! Memory between two pages that fault: whatever touches an element too many dies of it.

use crate::element::Element;
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

/// Both edges.
pub const EDGES: [Edge; 2] = [Edge::Start, Edge::End];

/// Elements that reach an edge of their pages: a slice whose neighbour can't be touched.
///
/// A vector load that is one element too long reads a neighbour that is usually there; here it
/// ends the process.
///
/// ```
/// use im2col::testing::{Edge, Guarded};
/// let tensor = Guarded::new(Edge::End, &[1.0f32, 2.0, 3.0]);
/// assert_eq!(tensor.iter().sum::<f32>(), 6.0);
/// // One more would end the process: `tensor.as_ptr().add(3).read()`.
/// ```
pub struct Guarded<T> {
    map: *mut u8,
    bytes: usize,
    elements: *mut [T],
}

impl<T: Element> Guarded<T> {
    /// A copy of `from` at an edge of pages of its own.
    ///
    /// # Panics
    /// If the system has no such pages.
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
