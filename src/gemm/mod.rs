//! Matrix products. Knows nothing of convolution: only grids of places, panels and blocks.
//!
//! [`multiply`] fills one block of a [`Target`](target::Target) in the order of loops that suits its sizes;
//! [`classes`] does so for rows that have a k of their own, [`dot`] for a few rows and columns, and [`tiles`] for
//! Winograd's points.

mod by_panel;
pub(crate) mod classes;
pub(crate) mod copy;
pub(crate) mod dot;
pub(crate) mod grid;
mod nest;
mod operands;
pub(crate) mod pack;
pub(crate) mod packed_b;
mod streaming;
pub(crate) mod target;
#[cfg(feature = "testing")]
pub(crate) mod tests;
pub(crate) mod textbook;
pub(crate) mod tiles;

pub(crate) use nest::{multiply, multiply_panels};
pub(crate) use operands::{Left, ROWS, Right, SET_CONFLICT};
