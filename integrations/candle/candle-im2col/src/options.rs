//! How a filter moves, and what becomes of its results.

use candle_core::{Result, Tensor, bail};

/// What each output goes through.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum Activation {
    /// Nothing.
    #[default]
    None,
    /// `max(0, x)`.
    Relu,
    /// `x` kept between the two; `Clamp(0.0, 6.0)` is ReLU6.
    Clamp(f64, f64),
}

impl Activation {
    /// The activation as an operation of its own.
    pub(crate) fn of(self, output: Tensor) -> Result<Tensor> {
        match self {
            Activation::None => Ok(output),
            Activation::Relu => output.relu(),
            Activation::Clamp(low, high) => output.clamp(low, high),
        }
    }
}

/// A convolution's stride, padding (begin and end of each axis), dilation, groups and activation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvOptions<const AXES: usize> {
    pub(crate) stride: [usize; AXES],
    pub(crate) padding: [(usize, usize); AXES],
    pub(crate) dilation: [usize; AXES],
    pub(crate) groups: usize,
    pub(crate) activation: Activation,
}

impl<const AXES: usize> Default for ConvOptions<AXES> {
    /// Stride and dilation 1, no padding, one group, no activation.
    fn default() -> Self {
        let (stride, dilation, padding) = ([1; AXES], [1; AXES], [(0, 0); AXES]);
        Self { stride, padding, dilation, groups: 1, activation: Activation::None }
    }
}

impl<const AXES: usize> ConvOptions<AXES> {
    /// Input elements between neighbouring outputs.
    pub fn stride(self, stride: [usize; AXES]) -> Self {
        Self { stride, ..self }
    }

    /// Zeros on both sides of each axis.
    pub fn padding(self, padding: [usize; AXES]) -> Self {
        self.padding_per_side(padding.map(|size| (size, size)))
    }

    /// Zeros before and after each axis.
    pub fn padding_per_side(self, padding: [(usize, usize); AXES]) -> Self {
        Self { padding, ..self }
    }

    /// Input elements between neighbouring places of the filter.
    pub fn dilation(self, dilation: [usize; AXES]) -> Self {
        Self { dilation, ..self }
    }

    /// Groups of channels that don't see each other.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// What each output goes through.
    pub fn activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }
}

/// A transposed convolution's stride, padding (cut off the begin and end of each axis), output padding, dilation,
/// groups and activation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConvTransposeOptions<const AXES: usize> {
    pub(crate) stride: [usize; AXES],
    pub(crate) padding: [(usize, usize); AXES],
    pub(crate) output_padding: [usize; AXES],
    pub(crate) dilation: [usize; AXES],
    pub(crate) groups: usize,
    pub(crate) activation: Activation,
}

impl<const AXES: usize> Default for ConvTransposeOptions<AXES> {
    /// Stride and dilation 1, no padding, one group, no activation.
    fn default() -> Self {
        let ConvOptions { stride, padding, dilation, groups, activation } = ConvOptions::default();
        Self { stride, padding, output_padding: [0; AXES], dilation, groups, activation }
    }
}

impl<const AXES: usize> ConvTransposeOptions<AXES> {
    /// Output elements between the stamps of neighbouring inputs.
    pub fn stride(self, stride: [usize; AXES]) -> Self {
        Self { stride, ..self }
    }

    /// Elements cut off both sides of each output axis.
    pub fn padding(self, padding: [usize; AXES]) -> Self {
        self.padding_per_side(padding.map(|size| (size, size)))
    }

    /// Elements cut off the begin and the end of each output axis.
    pub fn padding_per_side(self, padding: [(usize, usize); AXES]) -> Self {
        Self { padding, ..self }
    }

    /// Elements added at the end of each output axis, fewer than its stride.
    pub fn output_padding(self, output_padding: [usize; AXES]) -> Self {
        Self { output_padding, ..self }
    }

    /// Output elements between neighbouring places of the filter.
    pub fn dilation(self, dilation: [usize; AXES]) -> Self {
        Self { dilation, ..self }
    }

    /// Groups of channels that don't see each other.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// What each output goes through.
    pub fn activation(self, activation: Activation) -> Self {
        Self { activation, ..self }
    }

    /// `(input - 1) * stride + dilation * (kernel - 1) + 1 + output_padding - padding` of one axis.
    pub(crate) fn output_size(&self, axis: usize, input: usize, kernel: usize) -> Result<usize> {
        let (stride, added) = (self.stride[axis], self.output_padding[axis]);
        if added != 0 && added >= stride {
            bail!("axis {axis}: output_padding {added} must be smaller than the stride ({stride})")
        }
        let span = |count: usize, step: usize| count.checked_sub(1)?.checked_mul(step);
        let (begin, end) = self.padding[axis];
        let size = span(input, stride)
            .zip(span(kernel, self.dilation[axis]))
            .and_then(|(a, b)| a.checked_add(b)?.checked_add(added)?.checked_add(1))
            .and_then(|size| size.checked_sub(begin)?.checked_sub(end));
        match size {
            Some(size) if size > 0 => Ok(size),
            _ => bail!("axis {axis}: nothing is left of the output of {input} elements: {self:?}"),
        }
    }
}
