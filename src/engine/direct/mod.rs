//! The direct engine: layers with few channels on either side run stencils over the image as it lies, without a matrix product.
//!
//! Where lanes lie and how many channels a group has decides the stencil: [`Depthwise`] runs over planes with one filter to a
//! channel, [`Grouped`] over planes with blocks of filters, [`ChannelsLast`] along the channels.

pub(crate) mod channels_last;
pub(crate) mod depthwise;
pub(crate) mod grouped;
mod pack;
mod stencils;

use super::layer::{Layer, Order, Weights};
use crate::choose::schedule::{Corner, Schedule, Staging};
use crate::element::Element;
use crate::error::Error;
use crate::kernel::{Epilogue, Kernels};
use crate::pass::{Pass, Write};
use crate::scratch::Need;
use crate::shape::Shape;
use channels_last::ChannelsLast;
use core::fmt;
use depthwise::Depthwise;
use grouped::Grouped;

/// The stencils of one pass.
#[derive(Debug, Clone)]
pub(crate) struct Direct {
    pass: Pass,
    stencils: Stencils,
}

#[derive(Debug, Clone)]
enum Stencils {
    /// One filter to a channel, channels first.
    Depthwise(Depthwise),
    /// Blocks of filters over few channels, channels first: forward and backward_data.
    Grouped(Grouped),
    /// One filter to a channel or a few, channels last.
    ChannelsLast(ChannelsLast),
}

impl Direct {
    /// The stencils of a pass; none if the schedule isn't possible for this layer.
    pub(super) fn new<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        pass: Pass,
        schedule: Schedule,
    ) -> Result<Option<Self>, Error> {
        let Schedule { lanes, other, width, .. } = schedule;
        let stencils = match (lanes, other, pass) {
            (Corner::Channels, ..) => {
                ChannelsLast::new(shape, kernels, pass)?.map(Stencils::ChannelsLast)
            }
            (Corner::Pixels, Staging::InPlace, _) => {
                Depthwise::new(shape, pass)?.map(Stencils::Depthwise)
            }
            (Corner::Pixels, Staging::Packed, Pass::Forward) => {
                Grouped::forward(shape, kernels, width)?.map(Stencils::Grouped)
            }
            (Corner::Pixels, Staging::Packed, Pass::BackwardData) => {
                Grouped::backward_data(shape, kernels, width)?.map(Stencils::Grouped)
            }
            _ => None,
        };
        Ok(stencils.map(|stencils| Self { pass, stencils }))
    }

    /// What the pass wants.
    pub(super) fn need(&self, shape: &Shape) -> Need {
        match &self.stencils {
            Stencils::Depthwise(_) => Need::of_units(1),
            Stencils::Grouped(grouped) => grouped.need(shape),
            Stencils::ChannelsLast(last) => last.need(shape, self.pass),
        }
    }

    /// The order in which the pass reads its weights.
    pub(super) fn order(
        &self,
        &Schedule { engine, lanes, width, .. }: &Schedule,
        shape: &Shape,
    ) -> Order {
        match &self.stencils {
            Stencils::Depthwise(_) => Order::AsGiven,
            Stencils::Grouped(_) if self.pass == Pass::BackwardData => {
                Order::of_phases(engine, width, shape)
            }
            Stencils::Grouped(_) | Stencils::ChannelsLast(_) => {
                Order::Packed { engine, lanes, width }
            }
        }
    }

    /// Elements of the packed weights; none where they are read as they lie.
    pub(super) fn packed_len(&self) -> Option<usize> {
        match &self.stencils {
            Stencils::Depthwise(_) => None,
            Stencils::Grouped(grouped) => Some(grouped.packed_len()),
            Stencils::ChannelsLast(last) => {
                (self.pass != Pass::BackwardWeight).then(|| last.packed_len())
            }
        }
    }

    /// Packs the weights.
    pub(super) fn pack<T: Element>(&self, layer: &Layer<'_, T>, weight: &[T], packed: &mut [T]) {
        match &self.stencils {
            Stencils::Depthwise(_) => packed.copy_from_slice(weight),
            Stencils::Grouped(grouped) => grouped.pack(layer, weight, packed),
            Stencils::ChannelsLast(last) => last.pack(self.pass, weight, packed),
        }
    }

    /// Runs forward or backward_data.
    pub(super) fn over_taps<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        source: &[T],
        weights: Weights<'_, T>,
        epilogue: Epilogue<'_, T>,
        destination: &mut [T],
        scratch: &mut [T],
    ) {
        let is_forward = self.pass == Pass::Forward;
        match &self.stencils {
            Stencils::Depthwise(depthwise) => {
                let sources = [source, weights.given()];
                if is_forward {
                    depthwise.forward(layer, sources, epilogue, destination);
                } else {
                    depthwise.backward_data(layer, sources, destination, epilogue.write());
                }
            }
            Stencils::Grouped(grouped) => {
                grouped.run(layer, source, weights, epilogue, destination, scratch);
            }
            Stencils::ChannelsLast(last) if is_forward => {
                last.forward(layer, source, weights, epilogue, destination, scratch);
            }
            Stencils::ChannelsLast(last) => {
                let write = epilogue.write();
                last.backward_data(layer, source, weights, write, destination, scratch);
            }
        }
    }

    /// Runs backward_weight.
    pub(super) fn over_pixels<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        sources: [&[T]; 2],
        grad_weight: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) {
        match &self.stencils {
            Stencils::Depthwise(depthwise) => {
                depthwise.backward_weight(layer, sources, grad_weight, write);
            }
            Stencils::ChannelsLast(last) => {
                last.backward_weight(layer, sources, grad_weight, write, scratch);
            }
            Stencils::Grouped(_) => unreachable!("made for forward and backward_data alone"),
        }
    }

    /// In words: how the pass is computed.
    pub(super) fn explain(&self, shape: &Shape, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stencils {
            Stencils::Depthwise(_) => {
                f.write_str("depthwise: a stencil over each plane as it lies")
            }
            Stencils::Grouped(grouped) => grouped.explain(f),
            Stencils::ChannelsLast(_) => {
                let kind = if shape.group_in() > 1 { "grouped" } else { "depthwise" };
                write!(f, "{kind}: lanes lie along the channels of the image as it lies")
            }
        }
    }
}
