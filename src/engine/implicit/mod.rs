//! The implicit engine: matrix products over the view of cols.
//!
//! The view is two tables, of taps and of pixels. [`OverTaps`] sums over the taps and writes pixels, [`OverPixels`] swaps the
//! tables, sums over the pixels and writes taps. Where cols is small beside the weights it is written down instead, and the
//! weights are read as they lie: [`FewPixels`]. Where patches lie apart, the gradient of cols is that of the input in another
//! order, and is written straight to its places: [`Patches`].

pub(crate) mod classes;
pub(crate) mod few_pixels;
pub(crate) mod over_pixels;
mod over_taps;
mod pack;
pub(crate) mod patches;
pub(crate) mod regions;
pub(crate) mod steps;

use super::layer::{Layer, Order, Weights};
use crate::choose::schedule::{Corner, Schedule, Staging};
use crate::element::Element;
use crate::error::Error;
use crate::kernel::{Epilogue, Kernels};
use crate::pass::{Pass, Write};
use crate::scratch::{Boxed, Need};
use crate::shape::Shape;
use core::fmt;
use few_pixels::FewPixels;
use over_pixels::OverPixels;
pub(crate) use over_taps::OverTaps;
use patches::Patches;

/// The products of one pass.
#[derive(Debug, Clone)]
pub(crate) enum Implicit {
    /// Forward and backward_data.
    OverTaps(OverTaps),
    /// Backward_weight.
    OverPixels(Boxed<OverPixels>),
    /// Any pass, with cols written down.
    FewPixels(Boxed<FewPixels>),
    /// Backward_data of patches that lie apart.
    Patches(Boxed<Patches>),
}

impl Implicit {
    /// The products of a pass; none if the schedule isn't possible for this layer.
    pub(super) fn new<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        pass: Pass,
        schedule: Schedule,
    ) -> Result<Option<Self>, Error> {
        if (schedule.lanes, schedule.cols) == (Corner::Taps, Staging::Written) {
            let few = FewPixels::new(shape, kernels, pass)?.map(Boxed::new).transpose()?;
            return Ok(few.map(Self::FewPixels));
        }
        Ok(match pass {
            Pass::Forward => OverTaps::forward(shape, kernels, schedule)?.map(Self::OverTaps),
            Pass::BackwardData if schedule.other == Staging::InPlace => {
                let patches = Patches::new(shape, schedule)?.map(Boxed::new).transpose()?;
                patches.map(Self::Patches)
            }
            Pass::BackwardData => {
                OverTaps::backward_data(shape, kernels, schedule)?.map(Self::OverTaps)
            }
            Pass::BackwardWeight => {
                let sums =
                    OverPixels::new(shape, kernels, schedule)?.map(Boxed::new).transpose()?;
                sums.map(Self::OverPixels)
            }
        })
    }

    /// What the pass wants.
    pub(super) fn need(&self) -> Need {
        match self {
            Self::OverTaps(product) => product.need(),
            Self::OverPixels(product) => product.need(),
            Self::FewPixels(few) => few.need(),
            Self::Patches(patches) => patches.need(),
        }
    }

    /// The order in which the pass reads its weights.
    pub(super) fn order(&self, &Schedule { engine, lanes, width, .. }: &Schedule) -> Order {
        match self {
            Self::OverTaps(_) => Order::Packed { engine, lanes, width },
            Self::OverPixels(_) | Self::FewPixels(_) | Self::Patches(_) => Order::AsGiven,
        }
    }

    /// Whether every element of grad_input is stored by the products, and by nothing else.
    pub(super) fn stores_all(&self, shape: &Shape) -> bool {
        match self {
            Self::OverTaps(product) => product.fills(shape),
            Self::Patches(patches) => patches.fills(),
            Self::OverPixels(_) | Self::FewPixels(_) => false,
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
        match self {
            Self::OverTaps(product) => {
                product.run(layer, source, weights, epilogue, destination, scratch);
            }
            Self::FewPixels(few) => {
                few.over_taps(layer, source, weights.given(), epilogue, destination, scratch);
            }
            Self::Patches(patches) => {
                let sources = [weights.given(), source];
                patches.run(layer, sources, epilogue, destination, scratch);
            }
            Self::OverPixels(_) => unreachable!("made for backward_weight alone"),
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
        match self {
            Self::OverPixels(product) => product.run(layer, sources, grad_weight, write, scratch),
            Self::FewPixels(few) => {
                few.backward_weight(layer, sources, grad_weight, write, scratch);
            }
            Self::OverTaps(_) | Self::Patches(_) => {
                unreachable!("made for forward and backward_data alone")
            }
        }
    }

    /// In words: how the pass is computed.
    pub(super) fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverTaps(product) => product.explain(f),
            Self::OverPixels(product) => product.explain(f),
            Self::FewPixels(few) => few.explain(f),
            Self::Patches(patches) => patches.explain(f),
        }
    }
}
