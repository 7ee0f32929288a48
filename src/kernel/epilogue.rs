//! What happens to a product's sums as they are stored.
//!
//! One struct goes unchanged from the pass, through the matrix product or the direct convolution, to the
//! instructions that store a tile: nothing sweeps over the destination a second time.

use super::vector::{Task, Vector};
use crate::element::Element;
use crate::pass::Write;
use core::ops::Range;

/// `to = clamp(sum + bias[channel] + residual + to)`, each part only where it is asked for.
///
/// Sums begin with the bias; the rest happens as they are stored. A product that is summed in several parts
/// hands [`part`](Self::part) to each of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epilogue<'a, T> {
    /// One element for each channel of the destination, or of the part of it that is in hand.
    pub(crate) bias: Option<&'a [T]>,
    /// Which side of a matrix product the channels are. Direct convolution doesn't ask.
    pub(crate) channels: Side,
    /// Added to the destination before the activation.
    pub(crate) residual: Option<Residual<'a, T>>,
    /// Add to the destination rather than overwrite it.
    pub(crate) accumulate: bool,
    /// The bounds of the activation.
    pub(crate) clamp: Option<[T; 2]>,
}

/// A side of a matrix product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The rows of the destination.
    Rows,
    /// Its columns, which are the lanes of vectors.
    Columns,
}

/// A tensor that lies exactly as the destination does: its element for a place of the destination is as far
/// from its first as that place is from the destination's first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Residual<'a, T> {
    data: &'a [T],
    /// The address of the destination's first element.
    destination: usize,
}

impl<'a, T> Residual<'a, T> {
    /// `data`, to be added to `destination`.
    ///
    /// # Panics
    /// If one of them is longer than the other.
    pub(crate) fn new(data: &'a [T], destination: &[T]) -> Self {
        assert_eq!(data.len(), destination.len(), "a residual lies as its destination does");
        Self { data, destination: destination.as_ptr().addr() }
    }

    /// What is added to `part` of the destination.
    ///
    /// # Panics
    /// If it is no part of the destination.
    pub(crate) fn of(&self, part: &[T]) -> &'a [T] {
        let first = part.as_ptr().addr().wrapping_sub(self.destination) / size_of::<T>();
        &self.data[first..][..part.len()]
    }

    /// Whether the `len` elements from `part` on are a part of the destination.
    fn covers(&self, part: *const T, len: usize) -> bool {
        let Some(before) = part.addr().checked_sub(self.destination) else { return false };
        let end = (before / size_of::<T>()).checked_add(len);
        before.is_multiple_of(size_of::<T>()) && end.is_some_and(|end| end <= self.data.len())
    }

    /// The element that is added to the one at `to`.
    ///
    /// # Safety
    /// `to` is an element of the destination.
    #[inline(always)]
    unsafe fn at(&self, to: *const T) -> *const T {
        // SAFETY: as many bytes lie before it as in the destination, which is as long.
        unsafe { self.data.as_ptr().byte_add(to.addr().wrapping_sub(self.destination)) }
    }
}

impl<'a, T: Element> Epilogue<'a, T> {
    /// The sums overwrite the destination, or are added to it.
    pub(crate) fn new(accumulate: bool) -> Self {
        Self { bias: None, channels: Side::Columns, residual: None, accumulate, clamp: None }
    }

    /// Of one part of the terms: the first begins with the bias, and the last, whose sums are whole, does what is done
    /// to whole sums. All but the first are added to those before them.
    pub(crate) fn part(self, first: bool, last: bool) -> Self {
        Self {
            bias: self.bias.filter(|_| first),
            residual: self.residual.filter(|_| last),
            accumulate: self.accumulate || !first,
            clamp: self.clamp.filter(|_| last),
            ..self
        }
    }

    /// Of some channels.
    ///
    /// # Panics
    /// If the bias has fewer.
    pub(crate) fn of_channels(self, channels: Range<usize>) -> Self {
        Self { bias: self.bias.map(|bias| &bias[channels]), ..self }
    }

    /// Whether every element of `part` has its element of the residual, if there is one.
    pub(crate) fn covers(&self, part: &[T]) -> bool {
        self.covers_from(part.as_ptr(), part.len())
    }

    /// The same of the `len` elements from `part` on.
    pub(crate) fn covers_from(&self, part: *const T, len: usize) -> bool {
        self.residual.is_none_or(|residual| residual.covers(part, len))
    }

    /// What happens to the destination, where there is nothing else in the epilogue.
    pub(crate) fn write(&self) -> Write {
        if self.accumulate { Write::Accumulate } else { Write::Overwrite }
    }

    /// Whether there is neither bias nor residual nor bounds.
    pub(crate) fn only_accumulates(&self) -> bool {
        self.bias.is_none() && self.residual.is_none() && self.clamp.is_none()
    }

    /// Whether sums are stored as they are: there is nothing to read and nothing to bound.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        !self.accumulate && self.residual.is_none() && self.clamp.is_none()
    }

    /// Itself, if sums aren't stored as they are. Ask before a loop that stores: the compiler can't know that what is
    /// stored doesn't change the answer.
    #[inline(always)]
    pub(super) fn changes(&self) -> Option<&Self> {
        (!self.is_plain()).then_some(self)
    }

    /// What is left to do with sums before the residual is added: everything if there is none, else neither the
    /// residual nor the bounds. [`add_residual`](Self::add_residual) does the rest.
    pub(super) fn before_residual(self) -> Self {
        let clamp = self.clamp.filter(|_| self.residual.is_none());
        Self { residual: None, clamp, ..self }
    }

    /// Adds the residual to stored sums, `step` apart from the first of `part` on, and bounds them: for loops that
    /// would be slower for each thing more that they may do to a sum. The sums are still in a cache near by.
    ///
    /// # Panics
    /// If `part` is no part of the residual's destination.
    pub(super) fn add_residual(&self, part: &mut [T], step: usize) {
        let Some(residual) = &self.residual else { return };
        let residual = residual.of(part);
        let finish = |sum: &mut T, &residual: &T| {
            let whole = residual + *sum;
            *sum = self.clamp.map_or(whole, |[low, high]| whole.clamp_to(low, high));
        };
        if step == 1 {
            part.iter_mut().zip(residual).for_each(|(sum, residual)| finish(sum, residual));
        } else {
            let some = part.iter_mut().zip(residual).step_by(step.max(1));
            some.for_each(|(sum, residual)| finish(sum, residual));
        }
    }

    /// What is stored of the first `count` lanes of a sum that begins at `to`.
    ///
    /// # Safety
    /// The caller runs with the vector's target features. `count` elements at `to` are of the destination of the
    /// residual, and initialised if `accumulate`.
    #[inline(always)]
    pub(super) unsafe fn of<V: Vector<Element = T>>(
        &self,
        sum: V,
        to: *const T,
        count: usize,
    ) -> V {
        // SAFETY: the caller promises `count` elements, of which the residual has as many.
        unsafe {
            let Some(residual) = &self.residual else { return self.of_sum(sum, to, count) };
            let sums = Self { clamp: None, ..*self };
            let sum = V::load_first(residual.at(to), count).add(sums.of_sum(sum, to, count));
            Self { accumulate: false, ..*self }.of_sum(sum, to, count)
        }
    }

    /// The same of an epilogue that has no residual.
    ///
    /// # Safety
    /// The caller runs with the vector's target features. `count` elements at `to` are readable, and initialised if
    /// `accumulate`.
    #[inline(always)]
    pub(super) unsafe fn of_sum<V: Vector<Element = T>>(
        &self,
        mut sum: V,
        to: *const T,
        count: usize,
    ) -> V {
        // SAFETY: the caller promises `count` elements.
        unsafe {
            if self.accumulate {
                sum = V::load_first(to, count).add(sum);
            }
            if let Some([low, high]) = self.clamp {
                sum = sum.clamp(V::splat(low), V::splat(high));
            }
        }
        sum
    }

    /// Stores one element of a sum.
    ///
    /// # Safety
    /// `to` is an element of the destination of the residual, initialised if `accumulate`, and the caller may write it.
    #[inline(always)]
    pub(crate) unsafe fn store_one(&self, mut sum: T, to: *mut T) {
        // SAFETY: the caller promises the element, and the residual has one for it.
        unsafe {
            if self.accumulate {
                sum = *to + sum;
            }
            if let Some(residual) = &self.residual {
                sum = *residual.at(to) + sum;
            }
            *to = self.clamp.map_or(sum, |[low, high]| sum.clamp_to(low, high));
        }
    }
}

/// Sums that lie in their places in the destination, but for the residual and the activation.
pub(super) struct StoredTile<T> {
    pub(super) to: *mut T,
    pub(super) to_pitch: usize,
    pub(super) rows: usize,
    /// Elements of a row: whole vectors.
    pub(super) width: usize,
}

/// Adds the residual to a tile of whole vectors as soon as it has been stored, and bounds it: for tiles that fill all
/// registers.
///
/// The tile's elements are of the residual's destination, and the caller's to write.
pub(super) struct AddResidual<'a, V: Vector> {
    pub(super) epilogue: &'a Epilogue<'a, V::Element>,
    pub(super) tile: StoredTile<V::Element>,
}

impl<V: Vector<Element: Element>> Task for AddResidual<'_, V> {
    #[inline(always)]
    unsafe fn run(self) {
        let StoredTile { to, to_pitch, rows, width } = self.tile;
        let epilogue = Epilogue { accumulate: false, ..*self.epilogue };
        for (row, first) in
            (0..rows).flat_map(|row| (0..width).step_by(V::LANES).map(move |v| (row, v)))
        {
            // SAFETY: the caller promises the rows and their vectors, and runs with the features.
            unsafe {
                let to = to.add(row * to_pitch + first);
                epilogue.of(V::load(to), to, V::LANES).store(to);
            }
        }
    }
}
