//! Stencils: one filter over one plane, for layers with a filter per channel.
//!
//! Such a layer reads each element as often as its filter has taps and no more, so there is no
//! matrix to speak of: the loops run over the plane as it lies, a vector of outputs at a time,
//! and lanes whose tap meets padding are masked. Nothing is copied or packed.
//!
//! Neighbouring rows of outputs read the same rows of the source. So a block of rows is summed at
//! once: each vector that is loaded meets all taps of its column that use it.
//!
//! Conditions on const parameters are `const` blocks: what they rule out isn't even handed to the
//! compiler's back end (a quarter of the time to compile the crate).

mod apply;
mod channels;
mod correlate;
mod geometry;
mod group;
mod strip;
#[cfg(feature = "testing")]
pub(crate) mod tests;
mod windows;

pub(super) use apply::apply;
pub(crate) use channels::{ApplyRow, Channels, CorrelateRow, Row};
pub(super) use channels::{apply_row, correlate_row};
pub(super) use correlate::correlate;
pub(crate) use geometry::Stencil;
#[cfg(target_arch = "x86_64")]
pub(super) use group::{group, takes};

use super::Epilogue;
use super::{reach, total};
use crate::element::Element;

/// The stencils of one ISA for one element type.
#[derive(Debug)]
pub(crate) struct Stencils<T: 'static> {
    /// Lanes of a vector of channels.
    pub(crate) lanes: usize,
    /// Outputs from a source and a filter.
    pub(crate) apply: unsafe fn(&Apply<'_, T>),
    /// The same for the filters of a group, if the ISA loads some lanes of a vector in one instruction.
    /// Else a matrix product does it better.
    pub(crate) group: Option<Groups<T>>,
    /// The gradient of a filter from a source and grad_output.
    pub(crate) correlate: unsafe fn(&Correlate<'_, T>),
    /// A row of outputs whose pixels are rows of channels.
    pub(crate) apply_row: unsafe fn(&ApplyRow<'_, T>),
    /// What such a row adds to the gradient of the filters.
    pub(crate) correlate_row: unsafe fn(&CorrelateRow<'_, T>),
}

/// Stencils of several filters over several planes.
#[derive(Debug)]
pub(crate) struct Groups<T: 'static> {
    pub(crate) apply: unsafe fn(&Group<'_, T>),
    /// Whether it takes blocks of such a shape.
    pub(crate) takes: fn(group::Shape) -> bool,
}

/// `output (+)= init + source * weight` for some planes, each with a filter of its own. The caller
/// vouches for [`Stencil::fits`] in every plane and the ISA; a twin differs from the stencil in its
/// innermost axis only, its outputs lie one place after the stencil's, and those 2 apart.
pub(crate) struct Apply<'a, T> {
    stencil: &'a Stencil,
    twin: Option<&'a Stencil>,
    planes: usize,
    /// Elements between the planes of the source, their filters, and the planes of outputs.
    pitches: [usize; 3],
    source: *const T,
    weight: *const T,
    output: *mut T,
    /// With a bias for each plane.
    epilogue: Epilogue<'a, T>,
}

impl<T: Element> Apply<'_, T> {
    /// One of the planes.
    ///
    /// # Safety
    /// There is such a plane.
    #[inline(always)]
    unsafe fn plane(&self, plane: usize) -> Plane<T> {
        let [source, weight, output] = self.pitches;
        // SAFETY: the caller of the job vouches for every plane.
        unsafe {
            Plane {
                source: self.source.add(plane * source),
                weight: self.weight.add(plane * weight),
                output: self.output.add(plane * output),
                init: self.epilogue.bias.map_or(T::ZERO, |bias| *bias.as_ptr().add(plane)),
            }
        }
    }

    /// The job of one plane.
    ///
    /// # Safety
    /// There is such a plane.
    #[inline(always)]
    unsafe fn alone(&self, plane: usize) -> Self {
        // SAFETY: the caller vouches for the plane.
        let Plane { source, weight, output, .. } = unsafe { self.plane(plane) };
        let bias = self.epilogue.bias.map(|bias| &bias[plane..]);
        let epilogue = Epilogue { bias, ..self.epilogue };
        Self { planes: 1, source, weight, output, epilogue, ..*self }
    }
}

/// A plane of the source, its filter and its outputs, and what its sums start with.
#[derive(Clone, Copy)]
struct Plane<T> {
    source: *const T,
    weight: *const T,
    output: *mut T,
    init: T,
}

/// `output[k] (+)= init[k] + Σ source[c] * weights[k][c]`, for the planes of a group's inputs and
/// of a block of its outputs. The caller vouches for [`Stencil::fits`] in every plane, for
/// [`Stencils::takes`], for a twin as in [`Apply`], and for the ISA.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "read by ISAs with masks"))]
pub(crate) struct Group<'a, T> {
    stencils: (&'a Stencil, Option<&'a Stencil>),
    block: usize,
    inputs: usize,
    source: *const T,
    source_pitch: usize,
    /// Of each stencil, in the order of inputs, columns of taps, rows, outputs of the block.
    weights: [*const T; 2],
    /// Of the outputs wanted; the block's others are summed in vain.
    outputs: &'a [*mut T],
    /// With a bias for each output.
    epilogue: Epilogue<'a, T>,
}

/// The most filters that are summed together.
pub(crate) const MOST_BLOCK: usize = 8;

/// The planes of a group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planes {
    /// Outputs that weights are packed for: [`Stencils::takes`] as many.
    pub(crate) block: usize,
    pub(crate) inputs: usize,
    pub(crate) source_pitch: usize,
}

/// `weight (+)= source * output` for some filters, each summed over `planes` planes. The caller
/// vouches for [`Stencil::fits`] in every plane of every filter and for the ISA.
pub(crate) struct Correlate<'a, T> {
    stencil: &'a Stencil,
    filters: usize,
    /// Elements between the first planes of two filters: of the source, the outputs, the weights.
    pitches: [usize; 3],
    planes: usize,
    source: *const T,
    source_pitch: usize,
    output: *const T,
    output_pitch: usize,
    weight: *mut T,
    accumulate: bool,
}

#[cfg(target_arch = "x86_64")]
impl<T> Apply<'_, T> {
    /// Outputs of a row: what AVX-512 chooses by.
    pub(super) fn width(&self) -> usize {
        self.stencil.walks[2].outputs
    }
}

#[cfg(target_arch = "x86_64")]
impl<T> Group<'_, T> {
    /// Outputs of a row: what AVX-512 chooses by.
    pub(super) fn width(&self) -> usize {
        self.stencils.0.walks[2].outputs
    }
}

#[cfg(target_arch = "x86_64")]
impl<T> Correlate<'_, T> {
    /// Outputs of a row: what AVX-512 chooses by.
    pub(super) fn width(&self) -> usize {
        self.stencil.walks[2].outputs
    }
}

impl<T: Element> Stencils<T> {
    /// Writes (or adds to) the outputs of some filters, each over a plane of its own, which lie
    /// `pitches` apart as [`Apply`] has them. A twin's outputs are those between the stencil's, so that
    /// whole vectors are written.
    ///
    /// # Panics
    /// If the stencil leaves a slice, or the twin is none: the caller's
    /// geometry is wrong.
    #[allow(clippy::too_many_arguments, reason = "all that some planes are")]
    pub(crate) fn apply(
        &self,
        [stencil, twin]: [Option<&Stencil>; 2],
        planes: usize,
        pitches: [usize; 3],
        [source, weight]: [&[T]; 2],
        output: &mut [T],
        epilogue: Epilogue<'_, T>,
    ) {
        let (Some(stencil), 1..) = (stencil, planes) else { return };
        let lens = [source.len(), weight.len(), output.len()];
        let last = [0, 1, 2].map(|i| lens[i].checked_sub(reach([(planes, pitches[i])])));
        let [Some(sources), Some(weights), Some(outputs)] = last else {
            panic!("{planes} planes {pitches:?} apart don't fit");
        };
        assert!(epilogue.bias.is_none_or(|bias| bias.len() == planes), "{planes} planes");
        assert!(epilogue.covers(output), "a residual of another tensor");
        assert!(stencil.fits(sources, weights, outputs), "{stencil:?}");
        if let Some(twin) = twin {
            assert!(twin.fits(sources, weights, outputs), "{twin:?}");
            assert!(stencil.is_twin(twin), "{stencil:?} and {twin:?}");
        }
        if epilogue.residual.is_some() {
            // As many planes as are summed together.
            for first in (0..planes).step_by(2) {
                let some = first..planes.min(first + 2);
                let [from, weights, to] = pitches.map(|pitch| first * pitch);
                let (both, operands) =
                    ([Some(stencil), twin], [&source[from..], &weight[weights..]]);
                let sums = epilogue.before_residual().of_channels(some.clone());
                self.apply(both, some.len(), pitches, operands, &mut output[to..], sums);
                for plane in some {
                    let output = &mut output[plane * pitches[2]..];
                    both.into_iter().flatten().for_each(|s| s.add_residual(output, &epilogue));
                }
            }
            return;
        }
        let (source, weight) = (source.as_ptr(), weight.as_ptr());
        let output = output.as_mut_ptr();
        let job = Apply { stencil, twin, planes, pitches, source, weight, output, epilogue };
        // SAFETY: having the stencils proves the ISA, and all that is reached fits the slices, in the
        // last plane and all before it.
        unsafe { (self.apply)(&job) }
    }

    /// Whether [`group`](Self::group) sums blocks of `block` filters of these stencils: flat ones,
    /// of few rows and columns.
    pub(crate) fn takes(&self, [stencil, twin]: [Option<&Stencil>; 2], block: usize) -> bool {
        let Some(stencil) = stencil else { return false };
        let few = |s: &Stencil| s.is_modest() && s.walks[2].taps <= group::MOST_COLS;
        let side_by_side = stencil.output_pitches[2] == if twin.is_some() { 2 } else { 1 };
        let flat = strip::is_flat(stencil) && stencil.walks[1].dilation == 1 && side_by_side;
        if !flat || !few(stencil) || !twin.is_none_or(|twin| few(twin) && stencil.is_twin(twin)) {
            return false;
        }
        let shape = (twin.is_some(), stencil.walks[1].taps, stencil.walks[1].stride, block);
        self.group.as_ref().is_some_and(|group| (group.takes)(shape))
    }

    /// Writes (or adds to) a block of a group's outputs, each plane in a slice of its own. Weights
    /// are packed for each stencil in the order of inputs, columns of taps, rows of taps, outputs of
    /// the block.
    ///
    /// # Panics
    /// If the stencils leave a slice, or [the block isn't theirs](Self::takes): the caller's
    /// geometry is wrong.
    #[allow(clippy::too_many_arguments, reason = "all that a block of filters is")]
    pub(crate) fn group(
        &self,
        [stencil, twin]: [Option<&Stencil>; 2],
        planes: Planes,
        source: &[T],
        weights: [&[T]; 2],
        outputs: &mut [&mut [T]],
        epilogue: Epilogue<'_, T>,
    ) {
        let Planes { block, inputs, source_pitch } = planes;
        let takes = self.takes([stencil, twin], block);
        let Some(group) = self.group.as_ref().filter(|_| takes) else {
            panic!("{block} filters of {stencil:?}");
        };
        assert!((1..=block.min(MOST_BLOCK)).contains(&outputs.len()) && inputs > 0, "{planes:?}");
        assert!(epilogue.bias.is_none_or(|bias| bias.len() == outputs.len()));
        assert!(
            outputs.iter().all(|output| epilogue.covers(output)),
            "a residual of another tensor"
        );
        let Some(stencil) = stencil else { return };
        let to = outputs.iter().map(|output| output.len()).min().unwrap_or(0);
        for (s, weights) in [(Some(stencil), weights[0]), (twin, weights[1])] {
            let Some(s) = s else { continue };
            let Some(len) = source.len().checked_sub(reach([(inputs, source_pitch)])) else {
                panic!("{planes:?} don't fit");
            };
            assert!(s.fits(len, isize::MAX as usize, to), "{s:?} of {planes:?}");
            let sizes = [inputs, s.walks[1].taps, s.walks[2].taps, block];
            let len = sizes.into_iter().fold(1, usize::saturating_mul);
            assert!(weights.len() >= len, "{planes:?}");
        }
        let mut pointers = [core::ptr::null_mut(); MOST_BLOCK];
        for (pointer, output) in pointers.iter_mut().zip(outputs.iter_mut()) {
            *pointer = output.as_mut_ptr();
        }
        let job = Group {
            stencils: (stencil, twin),
            block,
            inputs,
            source: source.as_ptr(),
            source_pitch,
            weights: weights.map(<[T]>::as_ptr),
            outputs: &pointers[..outputs.len()],
            epilogue: epilogue.before_residual(),
        };
        // SAFETY: as above, in every plane.
        unsafe { (group.apply)(&job) }
        for output in outputs {
            [Some(stencil), twin]
                .into_iter()
                .flatten()
                .for_each(|s| s.add_residual(output, &epilogue));
        }
    }

    /// Writes (or adds to) the gradients of some filters, `pitches` apart as [`Correlate`] has them,
    /// each summed over `planes` planes of the source and of grad_output, which lie
    /// `plane_pitches` apart.
    ///
    /// # Panics
    /// If the stencil leaves a slice: the caller's geometry is wrong.
    #[allow(clippy::too_many_arguments, reason = "all that some filters are")]
    pub(crate) fn correlate(
        &self,
        stencil: &Stencil,
        [filters, planes]: [usize; 2],
        pitches: [usize; 3],
        plane_pitches: [usize; 2],
        [source, output]: [&[T]; 2],
        weight: &mut [T],
        accumulate: bool,
    ) {
        let [source_pitch, output_pitch] = plane_pitches;
        let left = |len: usize, i: usize, plane: usize| {
            len.checked_sub(reach([(filters, pitches[i]), (planes, plane)]))
        };
        let lens = [
            left(source.len(), 0, source_pitch),
            left(output.len(), 1, output_pitch),
            left(weight.len(), 2, 0),
        ];
        let [Some(sources), Some(outputs), Some(weights)] = lens else {
            panic!("{filters} filters {pitches:?} and {planes} planes {plane_pitches:?} don't fit");
        };
        assert!(stencil.fits(sources, weights, outputs), "{stencil:?}");
        // Vectors of neighbouring outputs are read.
        assert!(stencil.output_pitches[2] == 1, "{stencil:?}");
        let (source, output) = (source.as_ptr(), output.as_ptr());
        let weight = weight.as_mut_ptr();
        let job = Correlate {
            stencil,
            filters,
            pitches,
            planes,
            source,
            source_pitch,
            output,
            output_pitch,
            weight,
            accumulate,
        };
        // SAFETY: as above, for the last plane of the last filter and all before it.
        unsafe { (self.correlate)(&job) }
    }

    /// Writes (or adds to) some outputs of one row, each summed over the channels of its own small group:
    /// `weight` has the outputs of a tap side by side, of the first channel of each
    /// group, then of the second. The first of these outputs is pixel `first` of `output`, the
    /// others are as far apart as the stencil says.
    ///
    /// # Panics
    /// If the stencil leaves a slice, or the channels [don't fit](Channels::fit): the caller's geometry is
    /// wrong.
    #[allow(clippy::too_many_arguments, reason = "all that a row is")]
    pub(crate) fn apply_row(
        &self,
        stencil: &Stencil,
        row: Row,
        channels: Channels,
        [source, weight]: [&[T]; 2],
        output: &mut [T],
        first: usize,
        epilogue: Epilogue<'_, T>,
    ) {
        if row.x.is_empty() {
            return;
        }
        row.check(stencil);
        channels.check(self.lanes);
        let Channels { count, group } = channels;
        let (sources, weights) = (channels.sources(count), count * group[0]);
        let pixels = [source.len() / sources, weight.len() / weights, output.len() / count];
        let step = stencil.output_pitches[2];
        let last = total([reach([(row.x.len(), step)]), first]);
        assert!(stencil.fits(pixels[0], pixels[1], isize::MAX as usize), "{stencil:?}");
        assert!(last < pixels[2], "{row:?}");
        assert!(epilogue.bias.is_none_or(|bias| bias.len() == count), "{channels:?}");
        assert!(epilogue.covers(output), "a residual of another tensor");
        let job = ApplyRow {
            stencil,
            row,
            channels,
            source: source.as_ptr(),
            weight: weight.as_ptr(),
            output: output[first * count..].as_mut_ptr(),
            pitch: step.wrapping_mul(count),
            epilogue: epilogue.before_residual(),
        };
        // SAFETY: having the stencils proves the ISA, and all that is reached fits the slices.
        unsafe { (self.apply_row)(&job) }
        if epilogue.residual.is_some() {
            for pixel in 0..job.row.x.len() {
                epilogue.add_residual(&mut output[(first + pixel * step) * count..][..count], 1);
            }
        }
    }

    /// Adds to the gradient of the filters of the first `width` of the outputs' channels what some
    /// outputs of one row add: `sums` has `width` elements to a tap, of the first channel of each group,
    /// then of the second. Errors are those of the row's outputs, side by side.
    ///
    /// # Panics
    /// If the stencil leaves a slice, or the channels [don't fit](Channels::fit): the caller's geometry is
    /// wrong.
    pub(crate) fn correlate_row(
        &self,
        stencil: &Stencil,
        row: Row,
        (channels, width): (Channels, usize),
        [source, grad_output]: [&[T]; 2],
        sums: &mut [T],
    ) {
        if row.x.is_empty() {
            return;
        }
        row.check(stencil);
        channels.check(self.lanes);
        let Channels { count, group } = channels;
        let whole = width.is_multiple_of(group[1]);
        assert!(whole && (1..=count).contains(&width), "{width} of {channels:?}");
        // The last pixel need not have more than the channels of `width` outputs.
        let pixels = |len: usize, count, width| (len + count - width) / count;
        let sources = [count, width].map(|count| channels.sources(count));
        let pixels =
            [pixels(source.len(), sources[0], sources[1]), pixels(grad_output.len(), count, width)];
        let taps = sums.len() / (width * group[0]);
        assert!(stencil.fits(pixels[0], taps, isize::MAX as usize), "{stencil:?}");
        assert!(row.x.len() <= pixels[1], "{row:?}");
        let job = CorrelateRow {
            stencil,
            row,
            channels,
            width,
            source: source.as_ptr(),
            grad_output: grad_output.as_ptr(),
            sums: sums.as_mut_ptr(),
        };
        // SAFETY: having the stencils proves the ISA, and all that is reached fits the slices.
        unsafe { (self.correlate_row)(&job) }
    }
}
