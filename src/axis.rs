//! One spatial axis: the only place that knows which element an output and a tap meet at.
//!
//! Output `o` and tap `k` meet at the element `o * stride + k * dilation + origin` of the image, where the origin is
//! `-pad_begin`, or in the padding. Everything else that is asked of an axis follows from that: which outputs a tap
//! reads the image for, which taps an output has, which outputs have the same ones, and, for backward_data, the
//! phases of a stride.

use crate::error::Error;
use crate::padding::PaddingMode;
use crate::scratch::room;
use crate::shape::Axis;
use alloc::vec::Vec;
use core::ops::Range;

#[cfg(feature = "testing")]
pub(crate) mod tests;

impl Axis {
    /// The input element that output `o` and tap `k` read, `o * stride + k * dilation - pad_begin`, or the one whose copy
    /// stands there in the padding: `None` where that is a zero or, for an output or a tap that the axis doesn't have,
    /// nowhere.
    pub fn source(&self, o: usize, k: usize) -> Option<usize> {
        // The fields are public: an axis that no shape has checked may have any.
        let (point, reach) = (o.checked_mul(self.stride)?, k.checked_mul(self.dilation)?);
        let at = isize::try_from(point.checked_add(reach)?).ok()?;
        let at = at.checked_sub_unsigned(self.pad_begin)?;
        let end = self.input.saturating_add(self.pad_end);
        if at >= 0 && at as usize >= end {
            return None;
        }
        self.padding_mode.element(at, self.input)
    }

    /// The outputs for which tap `k` reads an input element rather than padding, whatever stands there.
    pub fn inside(&self, k: usize) -> Range<usize> {
        let reach = k.saturating_mul(self.dilation);
        let outputs = |reached: usize| reached.div_ceil(self.stride.max(1)).min(self.output);
        let start = self.pad_begin.saturating_sub(reach);
        let end = self.pad_begin.saturating_add(self.input).saturating_sub(reach);
        outputs(start)..outputs(end)
    }

    /// How forward and backward_weight read the input.
    pub(crate) fn walk(&self) -> Walk {
        Walk {
            source: self.input,
            outputs: self.output,
            taps: self.kernel,
            stride: self.stride,
            dilation: self.dilation,
            origin: -(self.pad_begin as isize),
            border: self.padding_mode,
        }
    }

    /// Phases of backward_data, those that meet no tap left out; all of them may yet be past the input.
    pub(crate) fn phases(&self) -> usize {
        self.kernel.min(self.tap_step())
    }

    /// Taps from one that an input element meets to the next.
    fn tap_step(&self) -> usize {
        self.stride / gcd(self.stride, self.dilation)
    }

    /// The phase of backward_data whose first tap is `first_tap`, if the input has an element of it.
    ///
    /// Input `i` and tap `k` meet at output `o` if `i + pad = o * stride + k * dilation`. So `i` meets
    /// the taps for which `k * dilation` and `i + pad` leave the same remainder by the stride: every
    /// `stride / gcd(stride, dilation)`-th, from `first_tap` on.
    pub(crate) fn phase(&self, first_tap: usize) -> Option<Phase> {
        let Axis { input, kernel, output, stride, dilation, pad_begin, .. } = *self;
        let step = self.tap_step();
        // The smallest input that meets this tap, which no smaller tap meets.
        let (tap, pad) = (first_tap * dilation % stride, pad_begin % stride);
        let first = if tap >= pad { tap - pad } else { stride - (pad - tap) };
        if first >= input {
            return None;
        }
        let taps = (kernel - first_tap).div_ceil(step);
        let reach = dilation / gcd(stride, dilation);
        let (at, tap) = (first + pad_begin, first_tap * dilation);
        let output0 = if at >= tap {
            ((at - tap) / stride) as isize
        } else {
            -(((tap - at) / stride) as isize)
        };
        let origin = output0 - ((taps - 1) * reach) as isize;
        let outputs = (input - first).div_ceil(stride);
        Some(Phase {
            first,
            walk: Walk {
                source: output,
                outputs,
                taps,
                stride: 1,
                dilation: reach,
                origin,
                border: PaddingMode::Zeros,
            },
            step,
            last: kernel - 1 - first_tap - (taps - 1) * step,
        })
    }
}

impl PaddingMode {
    /// The element of `len` whose copy stands at `at`, which may lie in the padding: none where a zero does.
    pub(crate) fn element(self, at: isize, len: usize) -> Option<usize> {
        let last = len.checked_sub(1)? as isize;
        if at >= 0 && at <= last {
            return Some(at as usize);
        }
        let copied = match self {
            Self::Zeros => return None,
            Self::Reflect if at < 0 => at.checked_neg()?,
            Self::Reflect => last.checked_sub(at.checked_sub(last)?)?,
            Self::Replicate => at.clamp(0, last),
            Self::Circular => at.rem_euclid(last + 1),
        };
        // No shape has more padding than that.
        (copied >= 0 && copied <= last).then_some(copied as usize)
    }
}

impl Axis {
    /// The element that stands at a place of the axis with its padding, counted from the first element of the padding.
    pub(crate) fn copied(&self, place: usize) -> Option<usize> {
        self.padding_mode.element(place as isize - self.pad_begin as isize, self.input)
    }
}

/// The windows that an axis with its padding is cut into: the padding before the elements, the elements, the padding
/// after them. Each is `[begin, end)`, counted from the first element of the padding.
pub(crate) fn windows(axis: &Axis) -> [Range<usize>; 3] {
    let inside = axis.pad_begin..axis.pad_begin + axis.input;
    [0..inside.start, inside.clone(), inside.end..inside.end + axis.pad_end]
}

/// One axis as a pass reads it: output `o` and tap `k` read the element `o * stride + k * dilation + origin` of its
/// source. In backward_data, the source are the outputs of the layer, and the outputs are elements of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Elements that there are to read.
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
    /// What stands in the padding.
    pub(crate) border: PaddingMode,
}

impl Walk {
    /// One output, one tap, one element.
    pub(crate) const UNIT: Self = Self {
        source: 1,
        outputs: 1,
        taps: 1,
        stride: 1,
        dilation: 1,
        origin: 0,
        border: PaddingMode::Zeros,
    };

    /// Where an output and a tap read; in the padding, that is negative or past the source.
    #[inline(always)]
    pub(crate) fn at(&self, output: usize, tap: usize) -> isize {
        (output * self.stride + tap * self.dilation) as isize + self.origin
    }

    /// The element that an output and a tap read, or whose copy they read in the padding; none where a zero stands.
    pub(crate) fn element(&self, output: usize, tap: usize) -> Option<usize> {
        self.border.element(self.at(output, tap), self.source)
    }

    /// The element that an output and a tap read, if it isn't padding.
    #[inline(always)]
    pub(crate) fn meet(&self, output: usize, tap: usize) -> Option<usize> {
        let at = self.at(output, tap);
        (at >= 0 && (at as usize) < self.source).then_some(at as usize)
    }

    /// The same with a stride that the compiler knows.
    #[inline(always)]
    pub(crate) fn with_stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// The outputs for which a tap reads an element.
    #[inline(always)]
    pub(crate) fn inside(&self, tap: usize) -> Range<usize> {
        inside(self.at(0, tap), self.stride, self.outputs, self.source)
    }

    /// The taps with which an output reads an element.
    #[inline(always)]
    pub(crate) fn taps_of(&self, output: usize) -> Range<usize> {
        // A dilation is never 0, but a division by one that may be has to ask.
        inside(self.at(output, 0), self.dilation.max(1), self.taps, self.source)
    }

    /// The outputs that read an element with every tap; none, perhaps with the end before the start, if there are none.
    #[inline(always)]
    pub(crate) fn whole(&self) -> Range<usize> {
        self.inside(0).start..self.inside(self.taps - 1).end
    }

    /// Whether every tap of every output reads an element.
    pub(crate) fn is_inside(&self) -> bool {
        let last = (self.outputs - 1) * self.stride + (self.taps - 1) * self.dilation;
        self.origin >= 0 && self.origin as usize + last < self.source
    }

    /// How many of the products of an output and a tap are with an element or a copy of one, of 1.
    pub(crate) fn met(&self) -> f64 {
        // To ask each tap takes a division or two, and most walks are inside.
        if self.border != PaddingMode::Zeros || self.is_inside() {
            return 1.0;
        }
        let met: usize = (0..self.taps).map(|tap| self.inside(tap).len()).sum();
        met as f64 / (self.taps as f64 * self.outputs as f64)
    }

    /// The outputs in regions that have the same taps; none where all have the same, where there are more taps than
    /// [`Region::MOST_TAPS`], or an output has no tap at all.
    pub(crate) fn regions(&self) -> Result<Vec<Region>, Error> {
        let &Self { taps, .. } = self;
        if self.border != PaddingMode::Zeros || self.is_inside() || taps > Region::MOST_TAPS {
            return Ok(Vec::new());
        }
        // The outputs that each tap has; they neither begin nor end later than those of the tap before.
        let mut inside = [const { 0..0 }; Region::MOST_TAPS];
        for (tap, inside) in inside[..taps].iter_mut().enumerate() {
            *inside = self.inside(tap);
        }
        let mut regions: Vec<Region> = room(2 * Region::MOST_TAPS + 1)?;
        // The taps of the output `start` follow each other.
        let (mut first, mut last, mut start) = (taps, taps, 0);
        while start < self.outputs {
            while first > 0 && inside[first - 1].start <= start {
                first -= 1;
            }
            while last > 0 && inside[last - 1].end <= start {
                last -= 1;
            }
            if first >= last {
                return Ok(Vec::new());
            }
            // Until the next tap comes or the last one goes.
            let next = if first > 0 { inside[first - 1].start } else { self.outputs };
            let end = next.min(inside[last - 1].end);
            regions.push(Region { outputs: start..end, taps: first..last });
            start = end;
        }
        Ok(regions)
    }

    /// All of the axis.
    pub(crate) fn all(&self) -> Region {
        Region { outputs: 0..self.outputs, taps: 0..self.taps }
    }
}

/// Outputs of an axis that have the same taps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) outputs: Range<usize>,
    pub(crate) taps: Range<usize>,
}

impl Region {
    /// Taps of an axis that is worth a look: each may begin two regions.
    pub(crate) const MOST_TAPS: usize = 8;
}

/// Which of `count` elements, `step` apart from `first` on, are among the first `len`.
#[inline(always)]
pub(crate) fn inside(first: isize, step: usize, count: usize, len: usize) -> Range<usize> {
    let before = (-first).max(0) as usize;
    let end = (len as isize - first).max(0) as usize;
    before.div_ceil(step).min(count)..end.div_ceil(step).min(count)
}

/// The input elements of one axis that meet the same taps in backward_data: every `stride`-th from `first` on.
///
/// With a stride, neighbouring input elements meet different taps of the kernel. Those that meet the same ones are a
/// phase: its gradient is a product of its own, whose view of the outputs has a stride of 1.
#[derive(Debug)]
pub(crate) struct Phase {
    /// The first such element.
    pub(crate) first: usize,
    /// The view of the outputs, in ascending order: the taps are met last to first.
    pub(crate) walk: Walk,
    /// Taps between those that the phase meets.
    pub(crate) step: usize,
    /// Taps after the last that it meets.
    pub(crate) last: usize,
}

/// The phases of all axes that meet a tap: backward_data has a product for each choice of one of every axis.
pub(crate) struct Phases([Vec<Phase>; 3]);

impl Phases {
    /// Those of a layer's axes.
    pub(crate) fn new([d, h, w]: &[Axis; 3]) -> Result<Self, Error> {
        let of = |axis: &Axis| {
            let mut phases = room(axis.phases())?;
            phases.extend((0..axis.phases()).filter_map(|first_tap| axis.phase(first_tap)));
            Ok(phases)
        };
        Ok(Self([of(d)?, of(h)?, of(w)?]))
    }

    /// Choices of one phase of each axis.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(Vec::len).product()
    }

    /// All such choices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = [&Phase; 3]> {
        self.rows().flat_map(|[d, h]| self.columns().iter().map(move |w| [d, h, w]))
    }

    /// All choices of a phase of the outer two axes.
    pub(crate) fn rows(&self) -> impl Iterator<Item = [&Phase; 2]> {
        let [ds, hs, _] = &self.0;
        ds.iter().flat_map(move |d| hs.iter().map(move |h| [d, h]))
    }

    /// The phases of the innermost axis.
    pub(crate) fn columns(&self) -> &[Phase] {
        &self.0[2]
    }
}

/// Products that backward_data would take, each with tables of its own.
pub(crate) fn phase_count(axes: &[Axis; 3]) -> usize {
    axes.iter().map(Axis::phases).fold(1, usize::saturating_mul)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
