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

pub(crate) use filter::Filter;
pub(crate) use geometry::form;
pub(crate) use plane::Plane;
