//! One axis of a view: the only place that knows where a tap of an output reads.

use core::ops::Range;

/// One spatial axis of a view: output `o` and tap `k` read `o * stride + k * dilation + origin`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk {
    /// Elements of the image.
    pub(crate) source: usize,
    /// Outputs.
    pub(crate) outputs: usize,
    /// Taps.
    pub(crate) taps: usize,
    /// Elements between neighbouring outputs.
    pub(crate) stride: usize,
    /// Elements between neighbouring taps.
    pub(crate) dilation: usize,
    /// Where output 0 reads with tap 0; negative in padding.
    pub(crate) origin: isize,
}

impl Walk {
    /// Whether every tap of every output reads the image itself.
    pub(crate) fn is_inside(&self) -> bool {
        let last = (self.outputs - 1) * self.stride + (self.taps - 1) * self.dilation;
        self.origin >= 0 && self.origin as usize + last < self.source
    }

    /// The outputs for which a tap reads the image itself.
    pub(crate) fn inside(&self, tap: usize) -> Range<usize> {
        let first = (tap * self.dilation) as isize + self.origin;
        let start = ((-first).max(0) as usize).div_ceil(self.stride).min(self.outputs);
        let end = ((self.source as isize - first).max(0) as usize).div_ceil(self.stride);
        start..end.clamp(start, self.outputs)
    }

    /// How many of the products of an output and a tap are with the image itself, of 1.
    pub(crate) fn met(&self) -> f64 {
        // To ask each tap takes a division or two, and most walks are inside.
        if self.is_inside() {
            return 1.0;
        }
        let met: usize = (0..self.taps).map(|tap| self.inside(tap).len()).sum();
        met as f64 / (self.taps as f64 * self.outputs as f64)
    }

    /// How a copy holds `outputs` by `taps` of this axis: every element between the first and
    /// the last once, or the outputs of each tap by themselves, whichever is smaller; by tap for
    /// sure if the outputs have to be neighbours.
    pub(crate) fn slots(&self, outputs: usize, taps: usize, neighbours: bool) -> Slots {
        let points = (outputs - 1).saturating_mul(self.stride);
        let reach = (taps - 1).saturating_mul(self.dilation);
        let by_tap = outputs.saturating_mul(taps);
        match points.saturating_add(reach).saturating_add(1) {
            dense if dense <= by_tap && (!neighbours || self.stride == 1 || outputs == 1) => {
                Slots { len: dense, point: self.stride, tap: self.dilation, step: 1, pieces: 1 }
            }
            _ => Slots { len: by_tap, point: 1, tap: outputs, step: self.stride, pieces: taps },
        }
    }
}

/// How one axis lies in a copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slots {
    /// Elements held.
    pub(crate) len: usize,
    /// Slots between neighbouring outputs.
    pub(crate) point: usize,
    /// Slots between neighbouring taps.
    pub(crate) tap: usize,
    /// Image elements between neighbouring slots.
    pub(crate) step: usize,
    /// Stretches of evenly spaced slots: 1, or one for each tap.
    pub(crate) pieces: usize,
}
