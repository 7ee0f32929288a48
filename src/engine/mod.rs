//! The four engines: each computes the passes of a layer in one way, as a schedule says.
//!
//! [`Implicit`] multiplies matrices over the view of cols, [`Direct`] runs stencils where a group has few channels,
//! [`Winograd`] multiplies less, in a basis without taps, and [`explicit`] is the textbook. All are made, asked and run alike:
//! a pass sums *over taps* (forward and backward_data, which write pixels) or *over pixels* (backward_weight, which writes
//! taps). [`bias`] sums the channels of the gradient of the output, with any of them.

pub(crate) mod around;
pub(crate) mod bias;
mod direct;
mod explicit;
pub(crate) mod implicit;
pub(crate) mod layer;
pub(crate) mod mask;
mod partial_sums;
pub(crate) mod winograd;

use crate::choose::candidates::{is_within, knows_padding};
use crate::choose::schedule::{Engine as Kind, Schedule};
use crate::element::Element;
use crate::error::Error;
use crate::kernel::{Epilogue, Kernels};
use crate::pass::{Pass, Write};
use crate::scratch::{Need, allocate};
use crate::shape::Shape;
use aligned_vec::{AVec, ConstAlign};
use core::fmt;
use direct::Direct;
use implicit::{Implicit, OverTaps};
use layer::{Layer, Order, Weights};
use winograd::Winograd;

/// An engine that was made for one pass of a layer.
#[derive(Debug, Clone)]
pub(crate) enum Engine {
    /// Matrix products over the view.
    Implicit(Implicit),
    /// Stencils.
    Direct(Direct),
    /// Tiles in points.
    Winograd(Winograd),
    /// The textbook: cols in memory.
    Explicit(Pass),
}

impl Engine {
    /// The engine of a schedule; none if it isn't possible for this pass of this layer, or reads zeros where other padding
    /// stands.
    pub(crate) fn new<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        pass: Pass,
        schedule: Schedule,
    ) -> Result<Option<Self>, Error> {
        if shape.is_empty() || !is_within(&schedule, pass) || !knows_padding(shape, &schedule) {
            return Ok(None);
        }
        Ok(match schedule.engine {
            Kind::Implicit => Implicit::new(shape, kernels, pass, schedule)?.map(Self::Implicit),
            Kind::Direct => Direct::new(shape, kernels, pass, schedule)?.map(Self::Direct),
            Kind::Winograd => Winograd::new(shape, kernels, pass, schedule)?.map(Self::Winograd),
            Kind::Explicit => Some(Self::explicit(shape, pass)?),
        })
    }

    /// The textbook, whose cols have to fit the address space.
    pub(crate) fn explicit(shape: &Shape, pass: Pass) -> Result<Self, Error> {
        shape.cols_len()?;
        Ok(Self::Explicit(pass))
    }

    /// The product over the view, if it is one: its packed weights are those of all products with the same panels.
    pub(crate) fn product(&self) -> Option<&OverTaps> {
        match self {
            Self::Implicit(Implicit::OverTaps(product)) => Some(product),
            _ => None,
        }
    }

    /// What the pass wants.
    pub(crate) fn need<T: Element>(&self, shape: &Shape, kernels: &Kernels<T>) -> Need {
        match self {
            Self::Implicit(implicit) => implicit.need(),
            Self::Direct(direct) => direct.need(shape),
            Self::Winograd(winograd) => winograd.need(kernels),
            Self::Explicit(pass) => explicit::need(shape, *pass),
        }
    }

    /// The order in which the pass reads its weights.
    pub(crate) fn order(&self, schedule: &Schedule, shape: &Shape) -> Order {
        match self {
            Self::Implicit(implicit) => implicit.order(schedule),
            Self::Direct(direct) => direct.order(schedule, shape),
            Self::Winograd(winograd) => winograd.order(),
            Self::Explicit(_) => Order::AsGiven,
        }
    }

    /// The weights as the pass reads them.
    pub(crate) fn pack<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        weight: &[T],
    ) -> Result<AVec<T, ConstAlign<64>>, Error> {
        let len = match self {
            Self::Implicit(_) => self.product().map(OverTaps::packed_len),
            Self::Direct(direct) => direct.packed_len(),
            Self::Winograd(winograd) => winograd.packed_len(),
            Self::Explicit(_) => None,
        };
        let mut packed = allocate(len.unwrap_or(weight.len()))?;
        match self {
            Self::Implicit(Implicit::OverTaps(product)) => product.pack(layer, weight, &mut packed),
            Self::Direct(direct) if len.is_some() => direct.pack(layer, weight, &mut packed),
            Self::Winograd(winograd) => winograd.pack(layer, weight, &mut packed)?,
            _ => packed.copy_from_slice(weight),
        }
        Ok(packed)
    }

    /// Whether the sums of backward_data are stored once for every element, so that a store can do all of the epilogue.
    pub(crate) fn stores_all(&self, shape: &Shape) -> bool {
        match self {
            Self::Implicit(implicit) => implicit.stores_all(shape),
            Self::Winograd(_) => true,
            Self::Direct(_) | Self::Explicit(_) => false,
        }
    }

    /// Runs forward, from the input, or backward_data, from grad_output.
    pub(crate) fn over_taps<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        source: &[T],
        weights: Weights<'_, T>,
        epilogue: Epilogue<'_, T>,
        destination: &mut [T],
        scratch: &mut [T],
    ) {
        match self {
            Self::Implicit(implicit) => {
                implicit.over_taps(layer, source, weights, epilogue, destination, scratch);
            }
            Self::Direct(direct) => {
                direct.over_taps(layer, source, weights, epilogue, destination, scratch);
            }
            Self::Winograd(winograd) => {
                winograd.over_taps(layer, source, weights, epilogue, destination, scratch);
            }
            Self::Explicit(pass) => {
                let sources = [source, weights.given()];
                explicit::over_taps(layer, *pass, sources, epilogue, destination, scratch);
            }
        }
    }

    /// Runs backward_weight, from the input and grad_output.
    pub(crate) fn over_pixels<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        sources: [&[T]; 2],
        grad_weight: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) {
        match self {
            Self::Implicit(implicit) => {
                implicit.over_pixels(layer, sources, grad_weight, write, scratch);
            }
            Self::Direct(direct) => direct.over_pixels(layer, sources, grad_weight, write, scratch),
            Self::Winograd(winograd) => {
                winograd.over_pixels(layer, sources, grad_weight, write, scratch);
            }
            Self::Explicit(_) => {
                explicit::over_pixels(layer, sources, grad_weight, write, scratch);
            }
        }
    }

    /// In words: how the pass is computed.
    pub(crate) fn explain(&self, shape: &Shape, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Implicit(implicit) => implicit.explain(f),
            Self::Direct(direct) => direct.explain(shape, f),
            Self::Winograd(winograd) => winograd.explain(f),
            Self::Explicit(_) => f.write_str("one image and group at a time"),
        }
    }
}
