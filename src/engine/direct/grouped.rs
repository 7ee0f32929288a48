//! Filters over few channels: groups of a few, first layers, LeNet, and back to the three channels of
//! an image. Too few to fill a vector with channels, so vectors lie along the rows of the image, which
//! is read as it lies, its padding masked: nothing is copied but the weights.
//!
//! Channels first. A unit of work is a block of a group's output channels (forward) or input channels
//! (backward_data), in a band of the rows of one plane of one image. Along the outermost of three
//! axes, and over many channels of the source, its sums are made in several goes.

use super::stencils::{backward_stencils, forward_stencil};
use crate::element::Element;
use crate::engine::layer::{Layer, Weights};
use crate::error::Error;
use crate::kernel::stencil::{MOST_BLOCK, Planes, Stencil};
use crate::kernel::{Epilogue, Kernels};
use crate::numerics::DIRECT_TERMS;
use crate::scratch::{Need, room};
use crate::shape::{Layout, Shape};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// Multiplications that a unit should have.
const UNIT_WORK: usize = 4 << 20;

/// Units of one pass for which blocks aren't cut into regions.
const ENOUGH_UNITS: usize = 16;

/// The stencils of one pass over groups of few channels.
#[derive(Debug, Clone)]
pub(crate) struct Grouped {
    /// Those whose outputs alternate along a row are twins.
    pub(super) stencils: Vec<[Option<Stencil>; 2]>,
    pub(super) groups: usize,
    /// Channels of a group in the source and in the destination.
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// Outputs that are summed together.
    pub(super) block: usize,
    /// Elements of a channel of the source.
    source: usize,
    /// Planes, rows and columns of the destination, and rows of a unit.
    sizes: [usize; 3],
    band: usize,
    /// Weights between neighbouring channels of the source and of the destination.
    pub(super) pitches: [usize; 2],
    taps: usize,
    /// Every element of the destination meets a tap.
    fills: bool,
}

impl Grouped {
    /// Forward in blocks of so many filters, if there are such stencils.
    pub(crate) fn forward<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        block: usize,
    ) -> Result<Option<Self>, Error> {
        let channels = [shape.group_in(), shape.group_out()];
        let sizes = shape.axes3().map(|axis| axis.output);
        let pitches = [shape.kernel_taps(), shape.patch_len()];
        let stencils = || {
            let mut one = room(1)?;
            one.push([Some(forward_stencil(shape)), None]);
            Ok(one)
        };
        Self::new(shape, kernels, (channels, block), shape.input_pixels(), sizes, pitches, stencils)
    }

    /// Backward_data in blocks of so many input channels, if there are such stencils.
    pub(crate) fn backward_data<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        block: usize,
    ) -> Result<Option<Self>, Error> {
        // No stencil takes others: pixels of a phase lie side by side, or alternate with those of a twin.
        if shape.axes3()[2].stride > 2 {
            return Ok(None);
        }
        let channels = [shape.group_out(), shape.group_in()];
        let sizes = shape.axes3().map(|axis| axis.input);
        let pitches = [shape.patch_len(), shape.kernel_taps()];
        let stencils = || backward_stencils(shape);
        Self::new(
            shape,
            kernels,
            (channels, block),
            shape.output_pixels(),
            sizes,
            pitches,
            stencils,
        )
    }

    /// A pass from `inputs` channels of a group to `outputs`.
    fn new<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        ([inputs, outputs], block): ([usize; 2], usize),
        source: usize,
        sizes: [usize; 3],
        pitches: [usize; 2],
        stencils: impl FnOnce() -> Result<Vec<[Option<Stencil>; 2]>, Error>,
    ) -> Result<Option<Self>, Error> {
        let taps = shape.kernel_taps();
        if taps > DIRECT_TERMS || shape.layout() != Layout::ChannelsFirst {
            return Ok(None);
        }
        let stencils = stencils()?;
        if !takes_blocks(kernels, &stencils, block) {
            return Ok(None);
        }
        let filled: usize = stencils.iter().flatten().flatten().map(Stencil::output_count).sum();
        let fills = filled == sizes.iter().product();
        let groups = shape.groups();
        let mut grouped = Self {
            stencils,
            groups,
            inputs,
            outputs,
            block,
            source,
            sizes,
            band: sizes[1],
            pitches,
            taps,
            fills,
        };
        grouped.band = grouped.rows_of_band(shape);
        Ok(Some(grouped))
    }

    /// How many rows a unit has: all, unless there would be too few units.
    fn rows_of_band(&self, shape: &Shape) -> usize {
        let [depth, height, width] = self.sizes;
        let units = shape.batch() * self.groups * self.blocks() * depth;
        if units >= ENOUGH_UNITS {
            return height;
        }
        let (mut work, mut least) = (0usize, 1);
        for s in self.stencils.iter().flatten().flatten() {
            let products = s.taps().into_iter().chain(s.walks[1..].iter().map(|walk| walk.outputs));
            let products = products.fold(self.inputs * self.block, usize::saturating_mul);
            work = products.saturating_add(work);
            // A band begins with the sums of rows before it, all but one of a filter's.
            let step = if s.walks[1].outputs > 1 { s.output_pitches[1] / width } else { 1 };
            least = least.max((10 * (s.walks[1].taps - 1)).saturating_mul(step));
        }
        let regions = (work / UNIT_WORK).min(height / least).max(1);
        // Three regions take two threads as long as four would.
        height.div_ceil(if regions > 1 { regions.next_multiple_of(2) } else { 1 })
    }

    /// Blocks of a group.
    pub(super) fn blocks(&self) -> usize {
        self.outputs.div_ceil(self.block)
    }

    /// Regions of a plane.
    fn regions(&self) -> usize {
        self.sizes[1].div_ceil(self.band)
    }

    /// Elements of a channel of the destination.
    fn plane(&self) -> usize {
        self.sizes.iter().product()
    }

    /// Elements of the packed weights of a block: those of each stencil in turn.
    pub(super) fn panel(&self) -> usize {
        self.inputs * self.taps * self.block
    }

    /// Elements of all packed weights.
    pub(crate) fn packed_len(&self) -> usize {
        self.groups * self.blocks() * self.panel()
    }

    /// Packed weights for all workers.
    pub(crate) fn need(&self, shape: &Shape) -> Need {
        let planes = shape.batch() * self.groups * self.blocks() * self.sizes[0];
        Need { units: planes * self.regions(), shared: self.packed_len(), piece: 0 }
    }

    /// One line: how the pass is computed.
    pub(crate) fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block, inputs, band, .. } = self;
        write!(f, "few channels: lanes lie along the rows of the image as it lies, {inputs} ")?;
        write!(f, "channels to blocks of {block} filters, {band} rows at a time")
    }

    /// Runs the pass; `bias` has an element for each channel of the destination.
    pub(crate) fn run<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        source: &[T],
        weights: Weights<'_, T>,
        epilogue: Epilogue<'_, T>,
        destination: &mut [T],
        scratch: &mut [T],
    ) {
        let &Layer { shape, kernels, parallelism } = layer;
        let packed = match weights {
            Weights::Packed(packed) => packed,
            Weights::Raw(weight) => {
                let packed = &mut scratch[..self.packed_len()];
                self.pack(layer, weight, packed);
                &*packed
            }
        };
        let units = destination
            .chunks_mut(self.outputs * self.plane())
            .flat_map(|group| group.chunks_mut(self.block * self.plane()))
            .enumerate()
            .flat_map(|(block, planes)| self.units(block, planes));
        parallelism.for_all(self.need(shape).units, units, |mut unit| {
            let (group, block) = (unit.block / self.blocks(), unit.block % self.blocks());
            let source = &source[group * self.inputs * self.source..];
            let group = group % self.groups;
            let panel = &packed[(group * self.blocks() + block) * self.panel()..][..self.panel()];
            let first = group * self.outputs + block * self.block;
            let epilogue = epilogue.of_channels(first..first + unit.count);
            self.unit(kernels, source, panel, &mut unit, epilogue);
        });
    }

    /// Cuts the planes of a block into units.
    fn units<'a, T>(
        &self,
        block: usize,
        planes: &'a mut [T],
    ) -> impl Iterator<Item = Unit<'a, T>> + use<'a, T> {
        let (band, regions) = (self.band, self.regions());
        let [depth, height, width] = self.sizes;
        let count = planes.len() / self.plane();
        let mut left: [&mut [T]; MOST_BLOCK] = Default::default();
        for (left, plane) in left.iter_mut().zip(planes.chunks_mut(self.plane())) {
            *left = plane;
        }
        (0..depth * regions).map(move |index| {
            let (plane, first) = (index / regions, index % regions * band);
            let rows = first..height.min(first + band);
            let len = rows.len() * width;
            let outputs = left.each_mut().map(|left| left.split_off_mut(..len).unwrap_or_default());
            Unit { block, count, plane, rows, outputs }
        })
    }

    /// Sums one unit, from the channels of its group.
    fn unit<T: Element>(
        &self,
        kernels: &Kernels<T>,
        source: &[T],
        mut panel: &[T],
        unit: &mut Unit<'_, T>,
        epilogue: Epilogue<'_, T>,
    ) {
        let Unit { plane, rows, outputs, count, .. } = unit;
        let outputs = &mut outputs[..*count];
        if !self.fills && !epilogue.accumulate {
            outputs.iter_mut().for_each(|output| output.fill(T::ZERO));
        }
        for pair in &self.stencils {
            let weights = pair.map(|s| {
                let len = s.map_or(0, |s| s.tap_count());
                let (taken, rest) = panel.split_at(len * self.inputs * self.block);
                panel = rest;
                taken
            });
            let [Some(stencil), _] = pair else { continue };
            let Some(output) = self.output_of(stencil, *plane) else { continue };
            let chunk = self.chunk(stencil);
            let mut goes = taps_of(stencil, output)
                .flat_map(|tap| (0..self.inputs).step_by(chunk).map(move |input| (tap, input)))
                .peekable();
            let mut begun = false;
            while let Some((tap, first)) = goes.next() {
                let inputs = chunk.min(self.inputs - first);
                // Planes are cut off before rows are, as a unit has only one.
                let place = *plane * self.sizes[1] * self.sizes[2];
                let flat = pair.map(|s| {
                    let (at, mut flat) = s?.flat(output, tap)?;
                    flat.output_base -= place;
                    let band = flat.band(rows.clone(), self.sizes[2]);
                    (band.walks[1].outputs > 0).then_some((at, band))
                });
                let Some((at, band)) = flat[0] else { break };
                let from = first * self.source + at * band.walks[1].source * band.walks[2].source;
                let mut pieces = [[].as_slice(); 2];
                for ((piece, weights), s) in pieces.iter_mut().zip(weights).zip(pair) {
                    let taps = s.map_or(0, |s| s.walks[1].taps * s.walks[2].taps);
                    *piece = &weights[(tap * self.inputs + first) * taps * self.block..];
                }
                kernels.stencils.group(
                    [Some(&band), flat[1].as_ref().map(|(_, twin)| twin)],
                    Planes { block: self.block, inputs, source_pitch: self.source },
                    &source[from..],
                    pieces,
                    outputs,
                    epilogue.part(!begun, goes.peek().is_none()),
                );
                begun = true;
            }
        }
    }

    /// The output of a stencil's outermost axis that lies in a plane of the destination.
    fn output_of(&self, s: &Stencil, plane: usize) -> Option<usize> {
        let size = self.sizes[1] * self.sizes[2];
        let past = plane.checked_sub(s.output_base / size)?;
        let step = if s.walks[0].outputs > 1 { s.output_pitches[0] / size } else { 1 };
        (past % step == 0 && past / step < s.walks[0].outputs).then(|| past / step)
    }

    /// Channels of the source that are summed in one go.
    fn chunk(&self, s: &Stencil) -> usize {
        (DIRECT_TERMS / (s.walks[1].taps * s.walks[2].taps)).clamp(1, self.inputs)
    }
}

/// What one worker sums at a time: a band of rows in one plane, of the outputs of a block.
struct Unit<'a, T> {
    /// The block's number among those of all images and groups.
    block: usize,
    /// Outputs of the block.
    count: usize,
    plane: usize,
    rows: Range<usize>,
    outputs: [&'a mut [T]; MOST_BLOCK],
}

/// The taps of the outermost axis that meet an output there.
fn taps_of(s: &Stencil, output: usize) -> impl Iterator<Item = usize> {
    (0..s.walks[0].taps).filter(move |&tap| s.flat(output, tap).is_some())
}

/// Whether every plane of outputs meets a tap (`false`, too, where there are too many to ask).
///
/// Where taps leave no gap that the source slips through, the first and the last plane have the most padding
/// before and after them: all others meet what one of these does. To ask each would be slow for an image of very many.
fn all_planes_meet(s: &Stencil) -> bool {
    const FEW: usize = 1 << 12;
    let outputs = s.walks[0].outputs;
    let meets = |output| taps_of(s, output).next().is_some();
    if s.walks[0].taps == 1 || s.walks[0].dilation <= s.walks[0].source {
        meets(0) && meets(outputs - 1)
    } else {
        outputs <= FEW && (0..outputs).all(meets)
    }
}

/// Whether all these stencils are summed in blocks of so many filters.
fn takes_blocks<T: Element>(
    kernels: &Kernels<T>,
    stencils: &[[Option<Stencil>; 2]],
    block: usize,
) -> bool {
    // Every plane of outputs meets taps, and differs from the first in no more than its place.
    let modest = |s: &Stencil| s.is_modest() && all_planes_meet(s);
    let takes = |pair: &[Option<Stencil>; 2]| {
        let tap = pair[0].and_then(|s| taps_of(&s, 0).next()).unwrap_or(0);
        let flat = pair.map(|s| s?.flat(0, tap));
        let flat = flat.each_ref().map(|s| s.as_ref().map(|(_, flat)| flat));
        kernels.stencils.takes(flat, block)
    };
    (1..=MOST_BLOCK).contains(&block)
        && !stencils.is_empty()
        && stencils.iter().flatten().flatten().all(modest)
        && stencils.iter().all(takes)
}
