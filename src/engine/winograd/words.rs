//! What `explain` says of a form.

use crate::kernel::winograd::Form;
use core::fmt;

/// Roundings on the way of a product, beside those of its sum: docs/numerics.md.
const TRANSFORMS: usize = 26;

/// A form in words: its tile; κ, how much larger its error may be than that of a sum of the same products; and k, the
/// roundings on the way of a product, of which those of the sum are `sum`.
pub(super) struct Words {
    pub(super) form: Form,
    pub(super) sum: usize,
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [rows, columns] = self.form.sizes();
        write!(f, "F({}x{},", rows.outputs, columns.outputs)?;
        write!(f, "{}x{}), κ {}, ", rows.taps, columns.taps, self.form.amplification())?;
        write!(f, "k {}", self.sum + TRANSFORMS)
    }
}
