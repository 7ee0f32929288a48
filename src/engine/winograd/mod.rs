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

use crate::kernel::winograd::Form;
use core::fmt;

pub(crate) use filter::Filter;
pub(crate) use geometry::form;
pub(crate) use plane::Plane;

/// Roundings on the way of a product, beside those of its sum: docs/numerics.md.
const TRANSFORMS: usize = 26;

/// A form in words: its tile; κ, how much larger its error may be than that of a sum of the same products; and k, the
/// roundings on the way of a product, of which those of the sum are `sum`.
struct Words {
    form: Form,
    sum: usize,
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, columns] = self.form.sizes();
        write!(f, "F({}x{},", rows.outputs, columns.outputs)?;
        write!(f, "{}x{}), κ {}, ", rows.taps, columns.taps, self.form.amplification())?;
        write!(f, "k {}", self.sum + TRANSFORMS)
    }
}
