//! A layer in the making: its sizes as torch prints them, nothing checked yet.

use crate::activation::Activation;
use crate::element::Element;
use crate::error::Error;
use crate::kernel::Isa;
use crate::options::{Accuracy, Algorithm, Options};
use crate::padding::PaddingMode;
use crate::plan::Plan;
use crate::shape::{Dims, Layout, MAX_AXES, Params, Shape};

/// A convolution layer in the making: [`Conv1d`], [`Conv2d`] or [`Conv3d`].
///
/// Shapes are given as torch prints them, `[N, C, spatial..]` and `[K, C / groups, kernel..]`,
/// for both layouts. Nothing is checked before [`plan`](Self::plan).
///
/// ```
/// use im2col::Conv2d;
/// // The 3x3 image V1..V9 under the 2x2 filter W1..W4 makes the 2x2 output G1..G4.
/// let conv = Conv2d::<f32>::new([1, 1, 3, 3], [1, 1, 2, 2]).plan()?;
/// let v = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
/// let w = [1.0, 10.0, 100.0, 1000.0];
/// let mut g = [0.0; 4];
/// conv.forward(&v, &w).run(&mut g)?;
/// assert_eq!(g[0], 1.0 * 1.0 + 2.0 * 10.0 + 4.0 * 100.0 + 5.0 * 1000.0); // V1W1+V2W2+V4W3+V5W4
///
/// // The error flows back to W1 from every output that it helped to make.
/// let grad_g = [1.0, 2.0, 3.0, 4.0];
/// let mut grad_w = [0.0; 4];
/// conv.backward_weight(&v, &grad_g).run(&mut grad_w)?;
/// assert_eq!(grad_w[0], 1.0 * 1.0 + 2.0 * 2.0 + 3.0 * 4.0 + 4.0 * 5.0); // Σ dE/dGi * V1,V2,V4,V5
/// # Ok::<(), im2col::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "a layer does nothing before `plan()`"]
pub struct Conv<T, const AXES: usize> {
    params: Params,
    weight_channels: usize,
    options: Options,
    activation: Activation<T>,
    same: bool,
}

/// A number for each spatial axis: an array, or one number for all of them.
///
/// ```
/// use im2col::Conv2d;
/// let conv = Conv2d::<f32>::new([1, 1, 9, 9], [1, 1, 3, 3]);
/// assert_eq!(conv.stride(2).output_shape()?, conv.stride([2, 2]).output_shape()?);
/// # Ok::<(), im2col::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PerAxis<const AXES: usize>(pub(crate) [usize; AXES]);

impl<const AXES: usize> From<usize> for PerAxis<AXES> {
    fn from(number: usize) -> Self {
        Self([number; AXES])
    }
}

impl<const AXES: usize> From<[usize; AXES]> for PerAxis<AXES> {
    fn from(numbers: [usize; AXES]) -> Self {
        Self(numbers)
    }
}

/// A layer with one spatial axis: input `[N, C, L]`, weight `[K, C / groups, R]`.
pub type Conv1d<T> = Conv<T, 1>;
/// A layer with two spatial axes: input `[N, C, H, W]`, weight `[K, C / groups, R, S]`.
pub type Conv2d<T> = Conv<T, 2>;
/// A layer with three spatial axes: input `[N, C, D, H, W]`, weight `[K, C / groups, Q, R, S]`.
pub type Conv3d<T> = Conv<T, 3>;

impl<T: Element> Conv<T, 1> {
    /// A layer for `input` `[N, C, L]` and `weight` `[K, C / groups, R]`, in elements.
    pub fn new(input: [usize; 3], weight: [usize; 3]) -> Self {
        Self::from_dims(&input, &weight)
    }
}

impl<T: Element> Conv<T, 2> {
    /// A layer for `input` `[N, C, H, W]` and `weight` `[K, C / groups, R, S]`, in elements.
    pub fn new(input: [usize; 4], weight: [usize; 4]) -> Self {
        Self::from_dims(&input, &weight)
    }
}

impl<T: Element> Conv<T, 3> {
    /// A layer for `input` `[N, C, D, H, W]` and `weight` `[K, C / groups, Q, R, S]`, in elements.
    pub fn new(input: [usize; 5], weight: [usize; 5]) -> Self {
        Self::from_dims(&input, &weight)
    }
}

impl<T: Element, const AXES: usize> Conv<T, AXES> {
    fn from_dims(input: &[usize], weight: &[usize]) -> Self {
        let spatial = |dims: &[usize]| {
            let mut sizes = [1; MAX_AXES];
            sizes[..AXES].copy_from_slice(&dims[2..]);
            sizes
        };
        let params = Params {
            axes: AXES,
            batch: input[0],
            in_channels: input[1],
            out_channels: weight[0],
            input: spatial(input),
            kernel: spatial(weight),
            ..Params::default()
        };
        Self {
            params,
            weight_channels: weight[1],
            options: Options::default(),
            activation: Activation::None,
            same: false,
        }
    }

    /// Input elements between neighbouring outputs, per axis; 1 if not set.
    pub fn stride(mut self, stride: impl Into<PerAxis<AXES>>) -> Self {
        self.params.stride[..AXES].copy_from_slice(&stride.into().0);
        self
    }

    /// Padding on both sides of each axis, in elements; 0 if not set. It is zeros unless [`padding_mode`](Self::padding_mode) says
    /// otherwise.
    pub fn padding(self, padding: impl Into<PerAxis<AXES>>) -> Self {
        let padding = padding.into();
        self.padding_per_side(padding, padding)
    }

    /// Padding before and after each axis, as ONNX and TensorFlow's `SAME` need it, and causal layers: all of it before.
    #[doc(alias("causal"))]
    pub fn padding_per_side(
        mut self,
        begin: impl Into<PerAxis<AXES>>,
        end: impl Into<PerAxis<AXES>>,
    ) -> Self {
        self.same = false;
        self.params.pad_begin[..AXES].copy_from_slice(&begin.into().0);
        self.params.pad_end[..AXES].copy_from_slice(&end.into().0);
        self
    }

    /// As much padding as gives the output `ceil(input / stride)` elements per axis, the odd one at the end: torch's
    /// `padding="same"`, which it has for stride 1, TensorFlow's `SAME`, ONNX's `SAME_UPPER`.
    ///
    /// ```
    /// use im2col::Conv2d;
    /// let conv = Conv2d::<f32>::new([1, 1, 7, 8], [1, 1, 3, 4]).same();
    /// assert_eq!(conv.output_shape()?, [1, 1, 7, 8]);
    /// # Ok::<(), im2col::Error>(())
    /// ```
    #[doc(alias("padding_same", "same_padding"))]
    pub fn same(mut self) -> Self {
        self.same = true;
        self
    }

    /// What stands in the padding; [`PaddingMode::Zeros`] if not set.
    pub fn padding_mode(mut self, mode: PaddingMode) -> Self {
        self.params.padding_mode = mode;
        self
    }

    /// Input elements between neighbouring taps of the kernel, per axis; 1 (dense) if not set.
    pub fn dilation(mut self, dilation: impl Into<PerAxis<AXES>>) -> Self {
        self.params.dilation[..AXES].copy_from_slice(&dilation.into().0);
        self
    }

    /// Groups: each output channel sees `C / groups` input channels; 1 if not set.
    #[doc(alias("depthwise"))]
    pub fn groups(mut self, groups: usize) -> Self {
        self.params.groups = groups;
        self
    }

    /// How the tensors lie in memory; [`Layout::ChannelsFirst`] if not set. The shapes given to
    /// `new` keep torch's order either way.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.params.layout = layout;
        self
    }

    /// How the products are computed; [`Algorithm::Auto`] if not set.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.options.algorithm = algorithm;
        self
    }

    /// Which error bound the results have to keep; [`Accuracy::Element`] if not set.
    pub fn accuracy(mut self, accuracy: Accuracy) -> Self {
        self.options.accuracy = accuracy;
        self
    }

    /// The instruction set whose kernels are used; [`Isa::best`] if not set.
    pub fn isa(mut self, isa: Isa) -> Self {
        self.options.isa = Some(isa);
        self
    }

    /// Plans `forward` alone: the backward passes are refused, and cost neither time nor memory.
    pub fn inference(mut self) -> Self {
        self.options.inference = true;
        self
    }

    /// What `forward` does to each output as it stores it; nothing if not set.
    #[doc(alias("fuse", "relu"))]
    pub fn activation(mut self, activation: Activation<T>) -> Self {
        self.activation = activation;
        self
    }

    /// Checks every size.
    ///
    /// # Errors
    /// [`Error`] names what was wrong, what was found and what is allowed.
    pub fn shape(&self) -> Result<Shape, Error> {
        let mut params = self.params;
        if self.same {
            for axis in 0..AXES {
                [params.pad_begin[axis], params.pad_end[axis]] = same_padding(&params, axis);
            }
        }
        let Params { in_channels, groups, .. } = params;
        let shape = Shape::new(params)?;
        if self.weight_channels != shape.group_in() {
            let found = self.weight_channels;
            return Err(Error::WeightChannels { found, in_channels, groups });
        }
        Ok(shape)
    }

    /// The output's sizes, `[N, K, spatial..]` in either layout.
    ///
    /// # Errors
    /// As [`shape`](Self::shape).
    pub fn output_shape(&self) -> Result<Dims, Error> {
        Ok(self.shape()?.output_shape())
    }

    /// Checks every size and chooses how to compute.
    ///
    /// # Errors
    /// [`Error`] names what was wrong, what was found and what is allowed.
    pub fn plan(self) -> Result<Plan<T>, Error> {
        Plan::new(self.shape()?, self.options)?.with_activation(self.activation)
    }
}

/// The padding on both sides of an axis that has `ceil(input / stride)` outputs. Sizes that no shape has are left to its check.
fn same_padding(params: &Params, axis: usize) -> [usize; 2] {
    let [input, kernel, stride, dilation] =
        [params.input, params.kernel, params.stride, params.dilation].map(|sizes| sizes[axis]);
    let span = kernel.saturating_sub(1).saturating_mul(dilation).saturating_add(1);
    let steps = input.div_ceil(stride.max(1)).saturating_sub(1).saturating_mul(stride);
    let all = steps.saturating_add(span).saturating_sub(input);
    [all / 2, all - all / 2]
}
