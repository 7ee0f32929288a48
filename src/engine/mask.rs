//! A gradient as it is read through an activation: zero where the activation's output is at a bound, where it doesn't change with
//! its input.

use crate::element::Element;
use crate::parallel::Parallelism;
use crate::scratch::Need;

/// Elements that a worker masks in one go.
const STRIP: usize = 16 << 10;

/// The output of an activation, which says where its gradient is zero.
#[derive(Clone, Copy)]
pub(crate) struct Mask<'a, T> {
    output: &'a [T],
    /// The bounds of the activation; NaN, which no output reaches, where there is none.
    bounds: [T; 2],
}

impl<'a, T: Element> Mask<'a, T> {
    /// The mask of an activation with these bounds.
    pub(crate) fn new(output: &'a [T], [low, high]: [T; 2]) -> Self {
        let reached = |bound: T| {
            let number: f64 = bound.into();
            if number.is_infinite() { T::from_f64(f64::NAN) } else { bound }
        };
        Self { output, bounds: [reached(low), reached(high)] }
    }

    /// The mask of the `len` elements from `first` on.
    pub(crate) fn part(self, first: usize, len: usize) -> Self {
        Self { output: &self.output[first..][..len], ..self }
    }

    /// Writes a gradient as it is read through the mask, which is as long. NaN in the output lets the gradient pass.
    pub(crate) fn copy(&self, gradient: &[T], to: &mut [T]) {
        let [low, high] = self.bounds;
        for ((to, &gradient), &output) in to.iter_mut().zip(gradient).zip(self.output) {
            *to = if output <= low || output >= high { T::ZERO } else { gradient };
        }
    }
}

/// The same by many workers.
pub(crate) fn masked<T: Element>(
    parallelism: Parallelism<'_>,
    gradient: &[T],
    mask: Mask<'_, T>,
    to: &mut [T],
) {
    let need = Need::of_units(to.len().div_ceil(STRIP));
    let strips = to.chunks_mut(STRIP).zip(gradient.chunks(STRIP)).enumerate();
    let none: &mut [T] = &mut [];
    parallelism.for_each(need, strips, none, |(index, (to, gradient)), _, _: &mut ()| {
        mask.part(index * STRIP, gradient.len()).copy(gradient, to);
    });
}
