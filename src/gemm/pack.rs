//! Panels: a matrix rewritten so that the lanes of each term lie side by side.

use crate::element::Element;
use crate::kernel::{Kernel, MAX_LANES, Pack};

/// A matrix in a slice: lane `l` of column `c` lies at `l * lane + c * col`; one of the two is 1.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) lanes: usize,
    pub(crate) lane: usize,
    pub(crate) cols: usize,
    pub(crate) col: usize,
}

/// Writes one panel: `to[(c or, reversed, cols - 1 - c) * kernel.lanes + l]` is lane `l` of column
/// `c`, zero for lanes that the source lacks.
///
/// # Panics
/// If the source leaves its slice, has more lanes than a panel or a stride other than 1 in both
/// directions, or `to` isn't `cols * kernel.lanes` long: the caller's shape is wrong.
pub(crate) fn pack<T: Element>(
    kernel: &Kernel<T>,
    source: Source<'_, T>,
    to: &mut [T],
    reversed: bool,
) {
    let Source { data, lanes, lane, cols, col } = source;
    assert!(lanes > 0 && cols > 0 && lanes <= kernel.lanes && to.len() == cols * kernel.lanes);
    assert!((lanes - 1) * lane + (cols - 1) * col < data.len() && kernel.lanes <= MAX_LANES);
    if lane == 1 && (col != 1 || cols == 1) {
        for (c, to) in to.chunks_exact_mut(kernel.lanes).enumerate() {
            let c = if reversed { cols - 1 - c } else { c };
            let (filled, rest) = to.split_at_mut(lanes);
            filled.copy_from_slice(&data[c * col..][..lanes]);
            rest.fill(T::ZERO);
        }
        return;
    }
    assert!(col == 1, "lanes {lane} apart, columns {col} apart");
    let mut rows = [data.as_ptr(); MAX_LANES];
    for (i, row) in rows[..lanes].iter_mut().enumerate() {
        *row = data[i * lane..].as_ptr();
    }
    pack_rows(kernel, &rows[..lanes], cols, to, reversed);
}

/// Writes one panel from lanes that lie anywhere.
fn pack_rows<T: Element>(
    kernel: &Kernel<T>,
    rows: &[*const T],
    cols: usize,
    to: &mut [T],
    reversed: bool,
) {
    let pitch = kernel.lanes as isize;
    let last = (cols - 1) * kernel.lanes;
    let (start, step) = if reversed { (last, -pitch) } else { (0, pitch) };
    // SAFETY: `start` is 0 or the last column's first lane.
    let to = unsafe { to.as_mut_ptr().add(start) };
    let job = Pack { lanes: rows.len(), rows: rows.as_ptr(), cols, to, step };
    // SAFETY: having the kernel proves its ISA. `pack` has checked that `cols` elements follow
    // each pointer, and that `to` has a panel's lanes for each, from the last one downwards if
    // reversed.
    unsafe { (kernel.pack)(&job) };
}
