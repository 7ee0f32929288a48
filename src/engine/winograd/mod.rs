//! Winograd's algorithm: layers by stride 1 in a basis without taps.
//!
//! In points, a 3x3 layer is as many independent 1x1 layers over tiles as a tile has points: 36 for 4x4 outputs, for which
//! a direct product multiplies 144 times. The sums of a pass stay as they were:
//!
//! ```text
//!     forward          M[p] = V[p] U[p]       V = Bᵀ input B, U = G weight Gᵀ, output = Aᵀ M A
//!     backward_data    the same over grad_output, with flipped weights and channels swapped
//!     backward_weight  dU[p] = D[p]ᵀ V[p]     D = A grad_output Aᵀ, grad_weight = Gᵀ dU G
//! ```
//!
//! The copy of a padded block becomes the transform of tiles into points, which [`docs/numerics.md`] says the price of:
//! an error that depends on all pixels of a tile.
//!
//! [`docs/numerics.md`]: https://docs.rs/crate/im2col/latest/source/docs/numerics.md

mod filter;
mod geometry;
mod plane;
mod reader;
mod weights;
mod words;

use super::layer::{Layer, Order, Weights};
use crate::choose::schedule::Schedule;
use crate::element::Element;
use crate::error::Error;
use crate::kernel::{Epilogue, Kernels};
use crate::pass::{Pass, Write};
use crate::scratch::{Boxed, Need, allocate};
use crate::shape::Shape;
use core::fmt;
use filter::Filter;
pub(crate) use geometry::form;
use plane::Plane;

/// One pass in points.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "one of it to a pass")]
pub(crate) enum Winograd {
    /// Forward and backward_data.
    Plane(Plane),
    /// Backward_weight.
    Filter(Boxed<Filter>),
}

impl Winograd {
    /// The pass in points; none if the schedule isn't possible for this layer.
    pub(super) fn new<T: Element>(
        shape: &Shape,
        kernels: &Kernels<T>,
        pass: Pass,
        schedule: Schedule,
    ) -> Result<Option<Self>, Error> {
        Ok(match pass {
            Pass::Forward => Plane::forward(shape, kernels, schedule)?.map(Self::Plane),
            Pass::BackwardData => Plane::backward_data(shape, kernels, schedule)?.map(Self::Plane),
            Pass::BackwardWeight => {
                let filter = Filter::new(shape, kernels, schedule)?.map(Boxed::new).transpose()?;
                filter.map(Self::Filter)
            }
        })
    }

    /// What the pass wants.
    pub(super) fn need<T: Element>(&self, kernels: &Kernels<T>) -> Need {
        match self {
            Self::Plane(plane) => plane.need(kernels),
            Self::Filter(filter) => filter.need(kernels),
        }
    }

    /// The order in which the pass reads its weights.
    pub(super) fn order(&self) -> Order {
        match self {
            Self::Plane(plane) => Order::Points(plane.order()),
            Self::Filter(_) => Order::AsGiven,
        }
    }

    /// Elements of the weights in points; none where they are what is made.
    pub(super) fn packed_len(&self) -> Option<usize> {
        match self {
            Self::Plane(plane) => Some(plane.packed_len()),
            Self::Filter(_) => None,
        }
    }

    /// Transforms the weights into points.
    pub(super) fn pack<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        weight: &[T],
        packed: &mut [T],
    ) -> Result<(), Error> {
        match self {
            Self::Plane(plane) => {
                let mut scratch = allocate(plane.packing_len(layer))?;
                plane.pack(layer, weight, packed, &mut scratch);
            }
            Self::Filter(_) => packed.copy_from_slice(weight),
        }
        Ok(())
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
            Self::Plane(plane) => {
                plane.run(layer, source, weights, epilogue, destination, scratch);
            }
            Self::Filter(_) => unreachable!("made for backward_weight alone"),
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
            Self::Filter(filter) => filter.run(layer, sources, grad_weight, write, scratch),
            Self::Plane(_) => unreachable!("made for forward and backward_data alone"),
        }
    }

    /// In words: how the pass is computed.
    pub(super) fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plane(plane) => plane.explain(f),
            Self::Filter(filter) => filter.explain(f),
        }
    }
}
