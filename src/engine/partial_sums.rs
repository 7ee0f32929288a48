//! Sums that several workers make parts of: the parts are added up in one order, whoever made them.

use crate::element::Element;
use crate::pass::Write;

/// The most elements that partial sums may take: 8 MiB of f64.
pub(super) const PARTIALS: usize = 1 << 20;

/// Elements of partial sums of a destination of `len` elements: none if there is one part, which is summed in its
/// place.
pub(super) fn elements(parts: usize, len: usize) -> usize {
    if parts == 1 { 0 } else { parts * len }
}

/// Writes a destination that is the sum of some parts. `sum` writes all of them, or adds to what is there: each as long
/// as the destination, one after the other in `partials`; or the only one in the destination itself.
pub(super) fn in_parts<T: Element>(
    parts: usize,
    partials: &mut [T],
    destination: &mut [T],
    write: Write,
    sum: impl FnOnce(&mut [T], Write),
) {
    if parts == 1 {
        return sum(destination, write);
    }
    sum(partials, Write::Overwrite);
    let total = join(partials, destination.len());
    match write {
        Write::Overwrite => destination.copy_from_slice(total),
        Write::Accumulate => add(destination, total),
    }
}

/// Adds partial sums of `len` elements in a fixed tree, neighbours, then pairs of neighbours, and returns the sum.
pub(super) fn join<T: Element>(partials: &mut [T], len: usize) -> &[T] {
    let mut step = len;
    while step < partials.len() {
        for pair in partials.chunks_mut(2 * step).filter(|pair| pair.len() > step) {
            let (a, b) = pair.split_at_mut(step);
            add(&mut a[..len], &b[..len]);
        }
        step *= 2;
    }
    &partials[..len]
}

fn add<T: Element>(to: &mut [T], from: &[T]) {
    to.iter_mut().zip(from).for_each(|(a, &b)| *a += b);
}
