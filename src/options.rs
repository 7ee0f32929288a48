//! What a plan is made with, beside the layer's sizes.

/// How a plan computes its products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Algorithm {
    /// The library's choice; results keep the documented error bound.
    #[default]
    Auto,
    /// The textbook: cols is written out and multiplied by the crate `matrixmultiply`.
    Explicit,
    /// The library's own GEMM reads the patches straight from the image: cols never exists. Only a
    /// `backward_data` with a very large stride (more than 64 phases) is computed as the textbook
    /// does, one image and group at a time; [`explain`](crate::Plan::explain) says so.
    Implicit,
}

/// Which error bound the results have to keep, and so which algorithms a plan may choose from.
///
/// Winograd's algorithms multiply less often than the sum of the products asks for, and are faster
/// by up to a factor of 3, but their errors depend on a whole tile of the image and not on the
/// elements of one sum alone. A plan uses them only where the caller allows it.
///
/// ```
/// use im2col::{Accuracy, Conv2d};
/// let conv = Conv2d::<f32>::new([1, 64, 56, 56], [64, 64, 3, 3]).padding([1, 1]);
/// let fast = conv.accuracy(Accuracy::Tile).plan()?;
/// assert_eq!(fast.accuracy(), Accuracy::Tile);
/// # Ok::<(), im2col::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
#[doc(alias("winograd", "fast math"))]
pub enum Accuracy {
    /// Every element is within `c · ε · Σ|a||b|` of its exact sum, with the products of that
    /// element alone: no Winograd.
    #[default]
    Element,
    /// Winograd with tiles of 2 outputs per axis may be used: its errors are about as small as
    /// those of [`Element`](Self::Element) for numbers of like size.
    Tile2,
    /// Winograd with tiles of up to 4 outputs per axis may be used: fastest, with errors two to
    /// three times as large.
    Tile,
}

/// What a plan is made with, beside the layer's sizes: all of it optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Options {
    /// How the products are computed.
    pub(crate) algorithm: Algorithm,
    /// Which error bound the results have to keep.
    pub(crate) accuracy: Accuracy,
}

impl Options {
    /// An algorithm, and all else as by default.
    pub(crate) fn of(algorithm: Algorithm) -> Self {
        Self { algorithm, ..Self::default() }
    }
}
