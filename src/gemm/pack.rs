//! Panels: a matrix rewritten so that the lanes of each index of k lie side by side.

use crate::element::Element;
use crate::kernel::{Kernel, Pack, reach};

/// Matrices in a slice: lane `l` of column `c` of block `b` lies at
/// `l * lane + c * col + b * block`. One of `lane` and `col` is 1.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, T> {
    pub(crate) data: &'a [T],
    pub(crate) lanes: usize,
    pub(crate) lane: usize,
    pub(crate) cols: usize,
    pub(crate) col: usize,
    pub(crate) blocks: usize,
    pub(crate) block: usize,
}

/// Writes one panel, block after block: `to[c * kernel.lanes + l]` is lane `l` of column `c`
/// (`reversed`: of column `cols - 1 - c`), zero for lanes that the source lacks.
///
/// # Panics
/// If the source leaves its slice, has more lanes than a panel or a stride other than 1 in both
/// directions, or `to` isn't `blocks * cols * kernel.lanes` long: the caller's shape is wrong.
pub(crate) fn pack<T: Element>(
    kernel: &Kernel<T>,
    source: Source<'_, T>,
    to: &mut [T],
    reversed: bool,
) {
    let Source { data, lanes, lane, cols, col, blocks, block } = source;
    let width = kernel.lanes;
    assert!(lanes > 0 && cols > 0 && blocks > 0 && lanes <= width);
    let len = [cols, width].into_iter().fold(blocks, usize::saturating_mul);
    assert!(to.len() == len && reach([(lanes, lane), (cols, col), (blocks, block)]) < data.len());
    if lane == 1 && (col != 1 || cols == 1) {
        for (b, to) in to.chunks_exact_mut(cols * width).enumerate() {
            for (c, to) in to.chunks_exact_mut(width).enumerate() {
                let c = if reversed { cols - 1 - c } else { c };
                let (filled, rest) = to.split_at_mut(lanes);
                filled.copy_from_slice(&data[b * block + c * col..][..lanes]);
                rest.fill(T::ZERO);
            }
        }
        return;
    }
    assert!(col == 1, "lanes {lane} apart, columns {col} apart");
    let first = if reversed { (cols - 1) * width } else { 0 };
    let step = width as isize;
    let job = Pack {
        from: data.as_ptr(),
        blocks,
        block_pitch: block,
        lanes,
        column_pitch: lane,
        cols,
        width,
        // SAFETY: the first row of the first block lies within `to`.
        to: unsafe { to.as_mut_ptr().add(first) },
        to_block: (cols * width) as isize,
        step: if reversed { -step } else { step },
    };
    // SAFETY: having the kernel proves its ISA. The furthest element that is read lies within `data`; the rows
    // written are the `blocks * cols` rows of `to`, in each block from the last one downwards if
    // reversed.
    unsafe { (kernel.pack)(&job) };
}
