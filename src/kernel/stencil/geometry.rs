//! Where the outputs, the taps and the source of a stencil lie, and which of them meet.

use crate::axis::Walk;
use crate::element::Element;
use crate::kernel::{Epilogue, MAX_LANES, reach, total};
use core::ops::Range;

/// How outputs, taps and the source meet, for three axes, outermost first, and where they lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stencil {
    /// What is read on each axis of the source, which lies densely.
    pub(crate) walks: [Walk; 3],
    /// The place of the first output and the pitches of the others.
    pub(crate) output_base: usize,
    pub(crate) output_pitches: [usize; 3],
    /// The place of the first tap and the pitches of the others.
    pub(crate) tap_base: usize,
    pub(crate) tap_pitches: [isize; 3],
}

impl Stencil {
    /// Whether no step can overflow. Kernels sum whole tiles, rows and lanes past the last output
    /// too, and leave out what they read: a stride that no output ever steps is stepped there, and
    /// some more dilated rows than there are taps.
    pub(crate) fn is_modest(&self) -> bool {
        let reach = |a: usize| {
            let &Walk { source, outputs, taps, stride, dilation, origin, .. } = &self.walks[a];
            let points = outputs.saturating_add(MAX_LANES).saturating_mul(stride);
            let taps = taps.saturating_add(MAX_LANES).saturating_mul(dilation);
            total([points, taps, source, origin.unsigned_abs()])
        };
        let axes = [0, 1, 2].map(reach);
        let plane = axes[1].saturating_mul(axes[2]);
        axes.iter().all(|&n| n <= i32::MAX as usize) && plane <= isize::MAX as usize / 16
    }

    /// Elements of each axis of the source.
    #[inline(always)]
    pub(super) fn sources(&self) -> [usize; 3] {
        let [d, h, w] = &self.walks;
        [d.source, h.source, w.source]
    }

    /// Outputs of each axis.
    #[inline(always)]
    pub(crate) fn outputs(&self) -> [usize; 3] {
        let [d, h, w] = &self.walks;
        [d.outputs, h.outputs, w.outputs]
    }

    /// Taps of each axis.
    #[inline(always)]
    pub(crate) fn taps(&self) -> [usize; 3] {
        let [d, h, w] = &self.walks;
        [d.taps, h.taps, w.taps]
    }

    /// Outputs of all axes.
    pub(crate) fn output_count(&self) -> usize {
        self.outputs().iter().product()
    }

    /// Taps of all axes.
    pub(crate) fn tap_count(&self) -> usize {
        self.taps().iter().product()
    }

    /// Whether all that the stencil reaches lies within slices of these lengths.
    pub(super) fn fits(&self, source: usize, weight: usize, output: usize) -> bool {
        let outputs = reach([0, 1, 2].map(|a| (self.walks[a].outputs, self.output_pitches[a])));
        // How far taps reach, of the axes that go up or down.
        let taps = |up: bool| {
            let of = |a: usize| match self.tap_pitches[a] > 0 {
                goes_up if goes_up == up => {
                    (self.walks[a].taps, self.tap_pitches[a].unsigned_abs())
                }
                _ => (1, 0),
            };
            reach([0, 1, 2].map(of))
        };
        self.is_modest()
            && self.sources().into_iter().fold(1, usize::saturating_mul) <= source
            && total([self.output_base, outputs]) < output
            && taps(false) <= self.tap_base
            && total([self.tap_base, taps(true)]) < weight
    }

    /// Adds the residual to the outputs of a plane, which are stored, and bounds them.
    ///
    /// # Panics
    /// If the outputs leave the plane.
    pub(super) fn add_residual<T: Element>(&self, plane: &mut [T], epilogue: &Epilogue<'_, T>) {
        let [depth, height, width] = self.outputs();
        if epilogue.residual.is_none() || width == 0 {
            return;
        }
        let [far, row, step] = self.output_pitches;
        for (z, y) in (0..depth).flat_map(|z| (0..height).map(move |y| (z, y))) {
            let first = self.output_base + z * far + y * row;
            epilogue.add_residual(&mut plane[first..=first + (width - 1) * step], step);
        }
    }

    /// The flat stencil of one plane of outputs and one of taps, and the plane of the source that it
    /// reads, if those meet.
    pub(crate) fn flat(&self, output: usize, tap: usize) -> Option<(usize, Self)> {
        let at = self.walks[0].meet(output, tap)?;
        let mut flat = *self;
        flat.walks[0] = Walk::UNIT;
        flat.output_base += output * self.output_pitches[0];
        flat.tap_base = flat.tap_base.wrapping_add_signed(tap as isize * self.tap_pitches[0]);
        Some((at, flat))
    }

    /// The outputs that lie in the rows `rows` of a plane of rows of `width` elements, placed as if the
    /// plane began with the first of them.
    pub(crate) fn band(&self, rows: Range<usize>, width: usize) -> Self {
        let step = self.output_pitches[1] / width;
        let row = self.output_base / width;
        let before = |end: usize| match end.saturating_sub(row) {
            _ if self.walks[1].outputs == 1 => usize::from(end > row),
            rows => rows.div_ceil(step).min(self.walks[1].outputs),
        };
        let first = before(rows.start);
        let mut band = *self;
        band.walks[1].outputs = before(rows.end) - first;
        // The pitch of a lone row may be any number.
        if band.walks[1].outputs > 0 {
            band.walks[1].origin = self.walks[1].at(first, 0);
            band.output_base += first * self.output_pitches[1];
            band.output_base -= rows.start * width;
        }
        band
    }

    /// Whether a row of the source has fewer elements than `row`, times the stride if that is 2.
    #[inline(always)]
    pub(super) fn is_narrow(&self, row: usize) -> bool {
        self.walks[2].stride <= 2 && self.walks[2].source < row * self.walks[2].stride
    }

    /// Whether `twin`'s outputs lie between this stencil's, of the same rows.
    pub(super) fn is_twin(&self, twin: &Stencil) -> bool {
        let ([.., a], [.., b]) = (self.walks, twin.walks);
        self.walks[..2] == twin.walks[..2]
            && (a.source, a.stride) == (b.source, b.stride)
            && self.tap_pitches[..2] == twin.tap_pitches[..2]
            && self.output_pitches == twin.output_pitches
            && self.output_pitches[2] == 2
            && twin.output_base == self.output_base + 1
            && (b.outputs == a.outputs || b.outputs + 1 == a.outputs)
    }
}
