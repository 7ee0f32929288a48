//! Sums that several workers make parts of: the parts are added up in one order, whoever made them.

use crate::element::Element;
use crate::pass::Write;

/// The most elements that partial sums may take: 8 MiB of f64.
pub(super) const PARTIALS: usize = 1 << 20;

/// Adds partial sums of `len` elements in a fixed tree: neighbours, then pairs of neighbours.
pub(super) fn join<T: Element>(
    partials: &mut [T],
    len: usize,
    destination: &mut [T],
    write: Write,
) {
    let add = |to: &mut [T], from: &[T]| to.iter_mut().zip(from).for_each(|(a, &b)| *a += b);
    let mut step = len;
    while step < partials.len() {
        for pair in partials.chunks_mut(2 * step).filter(|pair| pair.len() > step) {
            let (a, b) = pair.split_at_mut(step);
            add(&mut a[..len], &b[..len]);
        }
        step *= 2;
    }
    match write {
        Write::Overwrite => destination.copy_from_slice(&partials[..len]),
        Write::Accumulate => add(destination, &partials[..len]),
    }
}
