//! What can be wrong with a layer or a call, said so that the caller can mend it: what was
//! wrong, what was found, what is allowed.

use crate::padding::PaddingMode;
use crate::pass::Pass;
use core::fmt;

/// Why a plan could not be made or a call was refused. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer has 1, 2 or 3 spatial axes.
    #[error("{found} spatial axes: a layer has 1, 2 or 3")]
    Axes {
        /// The number of axes asked for.
        found: usize,
    },
    /// A size that has to be at least 1 is 0.
    #[error("{size} is 0: it must be at least 1")]
    Zero {
        /// The size that is 0.
        size: Size,
    },
    /// A layer was given another number of spatial sizes than it has axes.
    #[error("{} for the image: this layer wants {expected}, one for each spatial axis", Count(*found, "size"))]
    Sizes {
        /// The spatial axes of the layer.
        expected: usize,
        /// The sizes given.
        found: usize,
    },
    /// The groups don't divide the channels.
    #[error(
        "{what} {channels} can't be split into {}: {channels} % {groups} is not 0",
        Count(*groups, "group")
    )]
    Groups {
        /// `"in_channels"` or `"out_channels"`.
        what: &'static str,
        /// The number of channels found.
        channels: usize,
        /// The number of groups asked for.
        groups: usize,
    },
    /// The weight's second dimension isn't the input channels of one group.
    #[error(
        "the weight's second dimension is {found}: for {in_channels} input channels and groups({groups}) it must be {}{}",
        in_channels / (*groups).max(1),
        match (*groups, *found) {
            (1, 1) => " (for one filter per channel, set the groups)",
            _ => "; sizes of a weight are [out_channels, in_channels / groups, kernel..] in either layout",
        }
    )]
    WeightChannels {
        /// Channels per group found in the weight's shape.
        found: usize,
        /// Channels of the input.
        in_channels: usize,
        /// Groups of the layer.
        groups: usize,
    },
    /// The dilated kernel doesn't fit into the padded input.
    #[error(
        "axis {axis}: the kernel spans {} (dilation * (kernel - 1) + 1), the padded input has {padded}: the span must not be larger",
        Count(*span, "element")
    )]
    KernelTooLarge {
        /// Index of the spatial axis, outermost first.
        axis: usize,
        /// `dilation * (kernel - 1) + 1`.
        span: usize,
        /// `input + pad_begin + pad_end`.
        padded: usize,
    },
    /// The padding needs more elements than the image has.
    #[error(
        "axis {axis}: padding {padding} is too large for padding_mode {mode} of {}: it must be at most {}",
        Count(*input, "element"),
        mode.most(*input)
    )]
    PaddingMode {
        /// Index of the spatial axis, outermost first.
        axis: usize,
        /// What stands in the padding.
        mode: PaddingMode,
        /// The larger padding of the two sides.
        padding: usize,
        /// Elements of the input.
        input: usize,
    },
    /// The size of a transposed convolution's output is negative or ambiguous.
    #[error(
        "axis {axis}: output_padding {found} must be smaller than the stride ({stride}) or the dilation ({dilation})"
    )]
    OutputPadding {
        /// Index of the spatial axis, outermost first.
        axis: usize,
        /// The output padding asked for.
        found: usize,
        /// The stride of the axis.
        stride: usize,
        /// The dilation of the axis.
        dilation: usize,
    },
    /// A transposed layer's padding cuts off all of its output.
    #[error(
        "axis {axis}: the padding cuts {} off {padded} of the output: some must be left",
        Count(*cut, "element")
    )]
    NothingLeft {
        /// Index of the spatial axis, outermost first.
        axis: usize,
        /// Elements that the padding cuts off, on both sides.
        cut: usize,
        /// Elements of the output without padding.
        padded: usize,
    },
    /// The lower bound of a clamp is above the upper one, or isn't a number.
    #[error(
        "clamp({low}, {high}): the first bound must not be above the second, and neither may be NaN"
    )]
    Clamp {
        /// The lower bound.
        low: Bound,
        /// The upper bound.
        high: Bound,
    },
    /// A size doesn't fit the address space.
    #[error("{size} is too large: it must fit the address space ({} bytes)", isize::MAX)]
    Overflow {
        /// The size that overflows.
        size: Size,
    },
    /// A slice doesn't have the length that the layer's shape gives.
    #[error("{what} has {}: this layer wants {expected}", Count(*found, "element"))]
    Length {
        /// The name of the slice.
        what: &'static str,
        /// Elements that the shape asks for.
        expected: usize,
        /// Elements found.
        found: usize,
    },
    /// A tap, a channel or a position was asked for that the layer doesn't have.
    #[error("{what} {found}: this layer has {len} of them, counted from 0")]
    Index {
        /// `"output channel"`, `"tap"` or `"output position"`.
        what: &'static str,
        /// How many there are.
        len: usize,
        /// The one asked for.
        found: usize,
    },
    /// The scratch is too short for even one thread.
    #[error("scratch has {}: this pass wants at least {expected}", Count(*found, "element"))]
    Scratch {
        /// Elements that one thread needs.
        expected: usize,
        /// Elements found.
        found: usize,
    },
    /// Packed weights were used where they don't belong.
    #[error(
        "weights packed for {packed} don't fit this {used}: the {differs} differs; pack them with this plan, or make this plan by with_batch or with_input from the one that packed them"
    )]
    PackedFor {
        /// What differs: `"pass"`, `"weight's shape or layout"`, `"ISA"` or `"schedule"`.
        differs: &'static str,
        /// The pass that they were packed for.
        packed: Pass,
        /// The pass that was called.
        used: Pass,
    },
    /// Weights were to be packed for a pass that reads none.
    #[error("{pass} reads no weights: there is nothing to pack")]
    NoWeight {
        /// The pass.
        pass: Pass,
    },
    /// A pass of a plan that was made without it.
    #[error("the plan was made for inference: {pass} was not planned")]
    NotPlanned {
        /// The pass that was called.
        pass: Pass,
    },
    /// A gradient was to be read through a mask, but the layer has no activation that could have clipped its output.
    #[error(
        "mask: the layer has no activation, so that nothing is masked: set it on the layer, not on a call of forward"
    )]
    NoActivation,
    /// A call was to add to memory that may be uninitialised.
    #[error(
        "{what} may be uninitialised: a call that accumulates reads it, and wants a slice of numbers"
    )]
    Uninitialised {
        /// The name of the slice.
        what: &'static str,
    },
    /// Valid, but not offered by this build.
    #[error("{what} is not offered by this build")]
    Unsupported {
        /// What was asked for.
        what: &'static str,
    },
    /// Scratch, or a table of a plan, could not be allocated.
    #[error("could not allocate {}", Count(*bytes, "byte"))]
    OutOfMemory {
        /// Bytes asked for.
        bytes: usize,
    },
}

/// A named size of a layer, on one spatial axis or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Size {
    /// `"batch"`, `"kernel"`, `"weight"`, ...
    pub what: &'static str,
    /// Index of the spatial axis, outermost first, where the size belongs to one.
    pub axis: Option<usize>,
}

impl Size {
    /// The size `what`, of a spatial axis where it belongs to one.
    pub fn new(what: &'static str, axis: Option<usize>) -> Self {
        Self { what, axis }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.axis {
            Some(axis) => write!(f, "{} of axis {axis}", self.what),
            None => f.write_str(self.what),
        }
    }
}

/// A bound of a clamp that was refused. It equals itself, also if it is NaN.
#[derive(Debug, Clone, Copy)]
pub struct Bound(f64);

impl Bound {
    pub(crate) fn new(bound: impl Into<f64>) -> Self {
        Self(bound.into())
    }

    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl PartialEq for Bound {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Bound {}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // An `f32` in its own digits: 0.1, not all that its value has.
        let short = self.0 as f32;
        if f64::from(short) == self.0 { write!(f, "{short}") } else { write!(f, "{}", self.0) }
    }
}

/// So many of a thing: `1 element`, `2 elements`.
pub(crate) struct Count(pub(crate) usize, pub(crate) &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(count, thing) = self;
        write!(f, "{count} {thing}{}", if *count == 1 { "" } else { "s" })
    }
}

/// `Ok` if the slice `what` has the `expected` number of elements.
pub(crate) fn check_len(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
}

/// `Ok` if `found` is the number of one of `len` things called `what`.
pub(crate) fn check_index(what: &'static str, len: usize, found: usize) -> Result<(), Error> {
    if found < len { Ok(()) } else { Err(Error::Index { what, len, found }) }
}
