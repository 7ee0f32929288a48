//! What can be wrong with arrays, and what to do about it.

/// Why a call was refused. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The arrays of a call don't lie in memory in one order that im2col reads.
    #[error(
        "{what} has shape {shape:?} and strides {strides:?}: all arrays of a call must be dense, either all in NCHW order \
         (`a.as_standard_layout()` makes such a copy) or all in NHWC order (`im2col_ndarray::channels_last(&a)` makes such a copy)"
    )]
    Order {
        /// The first array that is in neither order, or not in that of the others.
        what: &'static str,
        /// Its shape.
        shape: Vec<usize>,
        /// Its strides, in elements.
        strides: Vec<isize>,
    },
    /// An array doesn't have the shape that the layer gives it.
    #[error("{what} has shape {found:?}: this layer wants {expected:?}")]
    Shape {
        /// The name of the array.
        what: &'static str,
        /// The shape that the layer gives it.
        expected: Vec<usize>,
        /// The shape found.
        found: Vec<usize>,
    },
    /// The layer's sizes don't fit together.
    #[error(transparent)]
    Layer(#[from] im2col::Error),
}
