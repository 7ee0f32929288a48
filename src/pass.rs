//! What is asked for: a pass, and what becomes of its destination.

/// A pass that takes scratch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pass {
    /// `output` from `input` and `weight`.
    #[doc(alias = "fprop")]
    Forward,
    /// `grad_input` from `weight` and `grad_output`.
    #[doc(alias("dgrad", "backward_input"))]
    BackwardData,
    /// `grad_weight` from `input` and `grad_output`.
    #[doc(alias("wgrad", "backward_filter"))]
    BackwardWeight,
}

/// What happens to the destination of a backward pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Write {
    /// The result replaces the destination, which is never read.
    #[default]
    Overwrite,
    /// The result is added to the destination.
    Accumulate,
}
