//! Where the outputs, the taps and the source of a stencil lie, and which of them meet.

use crate::element::Element;
use crate::kernel::{Epilogue, MAX_LANES, reach, total};
use core::ops::Range;

/// How outputs, taps and the source meet, for three axes, outermost first: output `o` and tap `k`
/// meet at `o * stride + k * dilation + origin`, or in the padding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stencil {
    /// Elements of the source, which lies densely.
    pub(crate) source: [usize; 3],
    pub(crate) outputs: [usize; 3],
    pub(crate) taps: [usize; 3],
    pub(crate) stride: [usize; 3],
    pub(crate) dilation: [usize; 3],
    pub(crate) origin: [isize; 3],
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
            let points = self.outputs[a].saturating_add(MAX_LANES).saturating_mul(self.stride[a]);
            let taps = self.taps[a].saturating_add(MAX_LANES).saturating_mul(self.dilation[a]);
            let origin = self.origin[a].unsigned_abs();
            [taps, self.source[a], origin].into_iter().fold(points, usize::saturating_add)
        };
        let axes = [0, 1, 2].map(reach);
        let plane = axes[1].saturating_mul(axes[2]);
        axes.iter().all(|&n| n <= i32::MAX as usize) && plane <= isize::MAX as usize / 16
    }

    /// Whether all that the stencil reaches lies within slices of these lengths.
    pub(super) fn fits(&self, source: usize, weight: usize, output: usize) -> bool {
        let outputs = reach([0, 1, 2].map(|a| (self.outputs[a], self.output_pitches[a])));
        // How far taps reach, of the axes that go up or down.
        let taps = |up: bool| {
            let of = |a: usize| match self.tap_pitches[a] > 0 {
                goes_up if goes_up == up => (self.taps[a], self.tap_pitches[a].unsigned_abs()),
                _ => (1, 0),
            };
            reach([0, 1, 2].map(of))
        };
        self.is_modest()
            && self.source.iter().fold(1, |all: usize, &size| all.saturating_mul(size)) <= source
            && total([self.output_base, outputs]) < output
            && taps(false) <= self.tap_base
            && total([self.tap_base, taps(true)]) < weight
    }

    /// Adds the residual to the outputs of a plane, which are stored, and bounds them.
    ///
    /// # Panics
    /// If the outputs leave the plane.
    pub(super) fn add_residual<T: Element>(&self, plane: &mut [T], epilogue: &Epilogue<'_, T>) {
        let [depth, height, width] = self.outputs;
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
        let at = self.meet(0, output, tap)?;
        let mut flat = *self;
        (flat.source[0], flat.outputs[0], flat.taps[0]) = (1, 1, 1);
        (flat.stride[0], flat.dilation[0], flat.origin[0]) = (1, 1, 0);
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
            _ if self.outputs[1] == 1 => usize::from(end > row),
            rows => rows.div_ceil(step).min(self.outputs[1]),
        };
        let first = before(rows.start);
        let mut band = *self;
        band.outputs[1] = before(rows.end) - first;
        // The pitch of a lone row may be any number.
        if band.outputs[1] > 0 {
            band.origin[1] += (first * self.stride[1]) as isize;
            band.output_base += first * self.output_pitches[1];
            band.output_base -= rows.start * width;
        }
        band
    }

    /// Whether a row of the source has fewer elements than `row`, times the stride if that is 2.
    #[inline(always)]
    pub(super) fn is_narrow(&self, row: usize) -> bool {
        self.stride[2] <= 2 && self.source[2] < row * self.stride[2]
    }

    /// Whether `twin`'s outputs lie between this stencil's, of the same rows.
    pub(super) fn is_twin(&self, twin: &Stencil) -> bool {
        let [a, b] = [self, twin].map(|s| (s.source, s.stride, s.dilation[1], s.output_pitches));
        let [c, d] = [self, twin].map(|s| ([s.outputs[0], s.outputs[1]], [s.taps[0], s.taps[1]]));
        a == b
            && c == d
            && self.origin[..2] == twin.origin[..2]
            && self.tap_pitches[..2] == twin.tap_pitches[..2]
            && self.output_pitches[2] == 2
            && twin.output_base == self.output_base + 1
            && (twin.outputs[2] == self.outputs[2] || twin.outputs[2] + 1 == self.outputs[2])
    }

    /// The source element of an axis at which an output and a tap meet, if it isn't padding.
    #[inline(always)]
    pub(super) fn meet(&self, axis: usize, output: usize, tap: usize) -> Option<usize> {
        let at =
            (output * self.stride[axis] + tap * self.dilation[axis]) as isize + self.origin[axis];
        (at >= 0 && (at as usize) < self.source[axis]).then_some(at as usize)
    }
}
