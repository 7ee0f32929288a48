//! Some neighbouring outputs of a row, summed at once.

use super::lanes::Reach;
use super::{ApplyRow, Part};
use crate::element::Element;
use crate::kernel::stencil::windows::write;
use crate::kernel::vector::Vector;

/// `PIXELS` neighbouring outputs. To be run with what [`ApplyRow`] asks for; the taps are those that every
/// one of these pixels meets, `output` is the place of the first of them, to which the source is stepped, and
/// places are those of the job's groups.
pub(super) struct Pixels<'a, V: Vector, const PIXELS: usize> {
    pub(super) job: &'a ApplyRow<'a, V::Element>,
    /// Elements from the source of an output to that of the next.
    pub(super) step: usize,
    pub(super) taps: &'a [[usize; 2]],
    pub(super) output: *mut V::Element,
}

impl<'a, V: Vector<Element: Element>, const PIXELS: usize> Pixels<'a, V, PIXELS> {
    /// The same for another number of pixels.
    #[inline(always)]
    pub(super) fn of<const OTHER: usize>(self) -> Pixels<'a, V, OTHER> {
        let Self { job, step, taps, output } = self;
        Pixels { job, step, taps, output }
    }

    /// Adds the products with `TAPS` taps, each of which a pixel meets where the pixel after it meets the tap before. So what is
    /// permuted for one tap is what the others want for other pixels: a permutation takes as long as a multiplication, in
    /// one of its units.
    ///
    /// # Safety
    /// As [`Part::sum`] of this part; these are some of its taps.
    #[inline(always)]
    unsafe fn add<L: Reach<V>, const TAPS: usize>(
        &self,
        sums: &mut [V; PIXELS],
        lanes: L,
        (source, channel): (*const V::Element, usize),
        taps: [[usize; 2]; TAPS],
    ) {
        let Self { job, step, .. } = *self;
        let source = source.wrapping_add(taps[0][0]);
        for term in 0..lanes.terms() {
            // SAFETY: the caller vouches for these channels of every pixel and tap.
            unsafe {
                let mut weights = [V::splat(V::Element::ZERO); TAPS];
                for tap in 0..TAPS {
                    let weight = taps[tap][1] + term * job.channels.count + channel;
                    weights[tap] = lanes.load(job.weight.add(weight));
                }
                for place in 0..PIXELS + TAPS - 1 {
                    let from = source.wrapping_add(place.wrapping_mul(step));
                    let source = lanes.source(from, term);
                    for tap in 0..TAPS {
                        if tap <= place && place - tap < PIXELS {
                            let pixel = place - tap;
                            sums[pixel] = weights[tap].mul_add(source, sums[pixel]);
                        }
                    }
                }
            }
        }
    }
}

impl<V: Vector<Element: Element>, const PIXELS: usize> Part<V> for Pixels<'_, V, PIXELS> {
    #[inline(always)]
    unsafe fn sum<L: Reach<V>>(&self, lanes: L, source: *const V::Element, channel: usize) {
        let Self { job, step, output, .. } = *self;
        let epilogue = job.epilogue.changes();
        // SAFETY: the caller vouches for these channels of every pixel and tap.
        unsafe {
            let mut init = V::splat(V::Element::ZERO);
            if let Some(bias) = job.epilogue.bias {
                init = lanes.load(bias.as_ptr().add(channel));
            }
            let mut sums = [init; PIXELS];
            let (at, mut taps) = ((source, channel), self.taps);
            while let &[tap, ref rest @ ..] = taps {
                taps = rest;
                if const { !L::SPREADS || PIXELS == 1 } {
                    self.add(&mut sums, lanes, at, [tap]);
                    continue;
                }
                // Pixels a stride of two apart share the taps of every second column.
                let beside = |a: [usize; 2], b: [usize; 2]| b[0].wrapping_sub(a[0]) == step;
                match *rest {
                    [next, last, ..] if beside(tap, next) && beside(next, last) => {
                        self.add(&mut sums, lanes, at, [tap, next, last]);
                        taps = &rest[2..];
                    }
                    [next, ..] if beside(tap, next) => {
                        self.add(&mut sums, lanes, at, [tap, next]);
                        taps = &rest[1..];
                    }
                    [next, last, ..] if beside(tap, last) => {
                        self.add(&mut sums, lanes, at, [tap, last]);
                        self.add(&mut sums, lanes, at, [next]);
                        taps = &rest[2..];
                    }
                    _ => self.add(&mut sums, lanes, at, [tap]),
                }
            }
            let to = output.add(channel);
            for pixel in 0..PIXELS {
                let to = to.wrapping_add(pixel.wrapping_mul(job.pitch));
                write(epilogue, sums[pixel], to, lanes.count(), 1);
            }
        }
    }
}
