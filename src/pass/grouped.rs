//! Filters over few channels: groups of a few, first layers, LeNet. Too few to fill a vector with
//! channels, so vectors lie along the rows of the image, which is read as it lies, its padding
//! masked: nothing is copied but the weights.
//!
//! Channels first. A unit of work is a block of a group's output channels (forward) or input
//! channels (backward_data) of one image.

use super::STENCIL_TERMS;
use super::depthwise::{backward_stencils, forward_stencil};
use super::{Layer, Storing, Weights};
use crate::element::Element;
use crate::error::Error;
use crate::kernel::Kernels;
use crate::kernel::stencil::{self, Planes, Stencil};
use crate::scratch::{Need, room};
use crate::shape::{Layout, Shape};
use alloc::vec::Vec;
use core::fmt;

/// The most channels on either side: with more, a matrix product has full vectors.
const MOST_CHANNELS: usize = 16;

/// The stencils of one pass over groups of few channels.
#[derive(Debug, Clone)]
pub(crate) struct Grouped {
    stencils: Vec<[Option<Stencil>; 2]>,
    planes: Planes,
    groups: usize,
    /// Channels of a group in the destination.
    outputs: usize,
    /// Elements of a plane of the destination.
    plane: usize,
    /// Weights between neighbouring channels of the source and of the destination.
    pitches: [usize; 2],
    taps: usize,
    /// Every element of the destination meets a tap.
    fills: bool,
}

impl Grouped {
    /// Forward, if such stencils do it well.
    pub(crate) fn forward<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
    ) -> Result<Option<Self>, Error> {
        let channels = [shape.group_in(), shape.group_out()];
        let planes = [shape.input_pixels(), shape.output_pixels()];
        let pitches = [shape.kernel_taps(), shape.patch_len()];
        let stencils = || {
            let mut one = room(1)?;
            one.push([Some(forward_stencil(shape)), None]);
            Ok(one)
        };
        Self::new(shape, kernels, channels, planes, pitches, stencils)
    }

    /// Backward_data, if such stencils do it well.
    pub(crate) fn backward_data<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
    ) -> Result<Option<Self>, Error> {
        let channels = [shape.group_out(), shape.group_in()];
        let planes = [shape.output_pixels(), shape.input_pixels()];
        let pitches = [shape.patch_len(), shape.kernel_taps()];
        Self::new(shape, kernels, channels, planes, pitches, || backward_stencils(shape))
    }

    /// A pass from `inputs` channels of a group to `outputs`.
    fn new<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        [inputs, outputs]: [usize; 2],
        [source, plane]: [usize; 2],
        pitches: [usize; 2],
        stencils: impl FnOnce() -> Result<Vec<[Option<Stencil>; 2]>, Error>,
    ) -> Result<Option<Self>, Error> {
        let taps = shape.kernel_taps();
        let few =
            inputs.max(outputs) <= MOST_CHANNELS && inputs.saturating_mul(taps) <= STENCIL_TERMS;
        if !few || shape.layout() != Layout::ChannelsFirst {
            return Ok(None);
        }
        let stencils = stencils()?;
        // The smallest of all, if each has one.
        let blocks = stencils
            .iter()
            .map(|[first, twin]| kernels.stencils.block([first.as_ref(), twin.as_ref()], outputs));
        let Some(block) = blocks.reduce(|a, b| a.zip(b).map(|(a, b)| a.min(b))).flatten() else {
            return Ok(None);
        };
        // Lanes past the end of a row and filters past the last are summed in vain.
        let width = stencils[0][0].map_or(1, |s| s.outputs[2]);
        let lanes = kernels.tall.vector;
        let filled = width as f64 / width.next_multiple_of(lanes) as f64 * outputs as f64
            / outputs.next_multiple_of(block) as f64;
        // A matrix product's panels are full of channels, or half empty.
        let panels =
            outputs as f64 / outputs.next_multiple_of(kernels.tall_for(outputs).0.lanes) as f64;
        if filled < if panels > 0.7 { 0.8 } else { 0.6 } {
            return Ok(None);
        }
        let each = |s: &Stencil| s.outputs.iter().product::<usize>();
        let filled: usize = stencils.iter().flatten().flatten().map(each).sum();
        let planes =
            Planes { block, inputs, outputs: block, source_pitch: source, output_pitch: plane };
        let (groups, fills) = (shape.groups(), filled == plane);
        Ok(Some(Self { stencils, planes, groups, outputs, plane, pitches, taps, fills }))
    }

    /// Blocks of a group.
    fn blocks(&self) -> usize {
        self.outputs.div_ceil(self.planes.block)
    }

    /// Elements of the packed weights of a block: those of each stencil in turn.
    fn panel(&self) -> usize {
        self.planes.inputs * self.taps * self.planes.block
    }

    /// Elements of all packed weights.
    pub(crate) fn packed_len(&self) -> usize {
        self.groups * self.blocks() * self.panel()
    }

    /// Packed weights for all workers.
    pub(crate) fn need(&self, shape: &Shape) -> Need {
        let units = shape.batch() * self.groups * self.blocks();
        Need { units, shared: self.packed_len(), piece: 0 }
    }

    /// One line: how the pass is computed.
    pub(crate) fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Planes { block, inputs, .. } = self.planes;
        write!(f, "few channels: lanes lie along the rows of the image as it lies, {inputs} ")?;
        write!(f, "channels to blocks of {block} filters")
    }

    /// Packs the weights of every block.
    pub(crate) fn pack<T: Element>(
        &self,
        &Layer { parallelism, .. }: &Layer<'_, T>,
        weight: &[T],
        packed: &mut [T],
    ) {
        let Planes { block, inputs, .. } = self.planes;
        let panels = packed.chunks_mut(self.panel()).enumerate();
        let none: &mut [T] = &mut [];
        let of_group = weight.len() / self.groups;
        parallelism.for_each(
            Need::of_units(panels.len()),
            panels,
            none,
            |(index, to), _, _: &mut ()| {
                let (group, first) = (index / self.blocks(), index % self.blocks() * block);
                let weight = &weight[group * of_group..];
                let mut to = to.iter_mut();
                for s in self.stencils.iter().flatten().flatten() {
                    for input in 0..inputs {
                        for col in 0..s.taps[2] {
                            for row in 0..s.taps[1] {
                                let tap = s.tap_base as isize
                                    + row as isize * s.tap_pitches[1]
                                    + col as isize * s.tap_pitches[2];
                                let place = input * self.pitches[0] + tap as usize;
                                for (k, to) in (first..first + block).zip(&mut to) {
                                    let weight = || weight[place + k * self.pitches[1]];
                                    *to = if k < self.outputs { weight() } else { T::ZERO };
                                }
                            }
                        }
                    }
                }
            },
        );
    }

    /// Runs the pass; `bias` has an element for each channel of the destination.
    pub(crate) fn run<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        source: &[T],
        weights: Weights<'_, T>,
        destination: &mut [T],
        store: Storing<'_, T>,
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
        let Planes { block, inputs, source_pitch, .. } = self.planes;
        let blocks = destination
            .chunks_mut(self.outputs * self.plane)
            .flat_map(|group| group.chunks_mut(block * self.plane))
            .enumerate();
        let need = Need { shared: 0, ..self.need(shape) };
        let none: &mut [T] = &mut [];
        parallelism.for_each(need, blocks, none, |(index, output), _, _: &mut ()| {
            let (group, of_group) = (index / self.blocks(), index % self.blocks());
            let source = &source[group * inputs * source_pitch..][..inputs * source_pitch];
            let group = group % self.groups;
            let panel = (group * self.blocks() + of_group) * self.panel();
            let mut panel = &packed[panel..][..self.panel()];
            let outputs = output.len() / self.plane;
            let first = group * self.outputs + of_group * block;
            let bias = store.bias.map(|bias| &bias[first..][..outputs]);
            if !self.fills && !store.accumulate {
                output.fill(T::ZERO);
            }
            for [s, twin] in &self.stencils {
                let mut take = |s: &Option<Stencil>| {
                    let len = s.map_or(0, |s| s.taps[1] * s.taps[2] * inputs * block);
                    let (taken, rest) = panel.split_at(len);
                    panel = rest;
                    taken
                };
                let weights = [take(s), take(twin)];
                let storing = stencil::Storing { accumulate: store.accumulate, clamp: store.clamp };
                let planes = Planes { outputs, ..self.planes };
                let stencils = [s.as_ref(), twin.as_ref()];
                kernels.stencils.group(stencils, planes, source, weights, output, bias, storing);
            }
        });
    }
}
