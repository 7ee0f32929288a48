//! What a plan is made with, beside the layer's sizes.

use crate::kernel::Isa;
use crate::pass::Pass;
use core::fmt;

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
    /// `backward_data` with a very large stride may write its gradient down: of some images at a time
    /// where patches don't overlap, else, with more than 64 phases, as the textbook does, one image
    /// and group at a time. [`explain`](crate::Plan::explain) says so.
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
///
/// ```
/// use im2col::{Algorithm, Options, Params, Plan, Shape};
/// let shape = Shape::new(Params { input: [8, 8, 0], kernel: [3, 3, 0], ..Params::default() })?;
/// let plan = Plan::<f32>::new(shape, Options::default().algorithm(Algorithm::Implicit))?;
/// assert_eq!(plan.algorithm(), Algorithm::Implicit);
/// # Ok::<(), im2col::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Options {
    /// How the products are computed.
    pub algorithm: Algorithm,
    /// Which error bound the results have to keep.
    pub accuracy: Accuracy,
    /// The instruction set whose kernels are used; `None` is [`Isa::best`].
    pub isa: Option<Isa>,
    /// Whether only `forward` will be called, with weights that don't change: the backward passes are refused and have
    /// no tables in the plan, and the schedule is chosen for weights that were packed beforehand
    /// ([`Plan::pack_weight`](crate::Plan::pack_weight)).
    pub inference: bool,
    /// Whether a transposed layer is made of the plan: its forward is this plan's backward_data.
    pub(crate) transposed: bool,
}

impl Options {
    /// How the products are computed; [`Algorithm::Auto`] if not set.
    pub fn algorithm(self, algorithm: Algorithm) -> Self {
        Self { algorithm, ..self }
    }

    /// Which error bound the results have to keep; [`Accuracy::Element`] if not set.
    pub fn accuracy(self, accuracy: Accuracy) -> Self {
        Self { accuracy, ..self }
    }

    /// The instruction set whose kernels are used; [`Isa::best`] if not set.
    pub fn isa(self, isa: Isa) -> Self {
        Self { isa: Some(isa), ..self }
    }

    /// Plans `forward` alone, for [packed weights](Self::inference).
    pub fn inference(self) -> Self {
        Self { inference: true, ..self }
    }

    /// The pass that is planned for inference.
    pub(crate) fn forward(&self) -> Pass {
        if self.transposed { Pass::BackwardData } else { Pass::Forward }
    }
}

impl From<Algorithm> for Options {
    fn from(algorithm: Algorithm) -> Self {
        Self::default().algorithm(algorithm)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Algorithm::Auto => "auto",
            Algorithm::Explicit => "explicit",
            Algorithm::Implicit => "implicit",
        })
    }
}

impl fmt::Display for Accuracy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Accuracy::Element => "element",
            Accuracy::Tile2 => "tile2",
            Accuracy::Tile => "tile",
        })
    }
}
