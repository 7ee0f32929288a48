//! What is asked for: a pass, and what becomes of its destination.

use core::fmt;

/// A pass that takes scratch. There are three: a product of two of a layer's tensors makes the third.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
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

impl Pass {
    /// Every pass.
    pub const ALL: &'static [Pass] = &[Pass::Forward, Pass::BackwardData, Pass::BackwardWeight];

    /// The name of the plan's method: `"forward"`, `"backward_data"`, `"backward_weight"`.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::BackwardData => "backward_data",
            Pass::BackwardWeight => "backward_weight",
        }
    }

    /// The convolution's pass behind a pass of the transposed layer.
    pub(crate) fn mirror(self) -> Self {
        match self {
            Pass::Forward => Pass::BackwardData,
            Pass::BackwardData => Pass::Forward,
            Pass::BackwardWeight => Pass::BackwardWeight,
        }
    }
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What happens to the destination of a pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Write {
    /// The result replaces the destination, which is never read.
    #[default]
    Overwrite,
    /// The result is added to the destination.
    Accumulate,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Write::Overwrite => "overwrite",
            Write::Accumulate => "accumulate",
        })
    }
}
