//! A transposed convolution is `backward_data` called forward: the same products, with the
//! roles of input and output exchanged. This file only renames.

use crate::activation::Activation;
use crate::call::{BackwardBias, BackwardData, BackwardWeight, Forward};
use crate::conv::PerAxis;
use crate::element::Element;
use crate::error::{Error, Size};
use crate::kernel::Isa;
use crate::options::{Accuracy, Algorithm, Options};
use crate::packed::{PackedWeight, Weight};
use crate::padding::PaddingMode;
use crate::parallel::{DEFAULT, Executor};
use crate::pass::Pass;
use crate::plan::Plan;
use crate::shape::{Dims, Layout, MAX_AXES, Params, Shape};
use alloc::string::String;
use core::fmt;

/// A transposed convolution in the making: [`ConvTranspose1d`], [`ConvTranspose2d`] or
/// [`ConvTranspose3d`].
///
/// Shapes as torch prints them: input `[N, C, spatial..]`, weight `[C, K / groups, kernel..]`.
/// The output has `(input - 1) * stride - 2 * padding + dilation * (kernel - 1) + output_padding + 1`
/// elements per axis.
///
/// ```
/// use im2col::ConvTranspose1d;
/// // Every input element stamps the filter onto the output, two elements apart.
/// let layer = ConvTranspose1d::<f32>::new([1, 1, 3], [1, 1, 2]).stride(2).plan()?;
/// let mut output = [0.0; 6];
/// layer.forward(&[1.0, 2.0, 3.0], &[10.0, 1.0]).run(&mut output)?;
/// assert_eq!(output, [10.0, 1.0, 20.0, 2.0, 30.0, 3.0]);
/// # Ok::<(), im2col::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "a layer does nothing before `plan()`"]
#[doc(alias("deconvolution", "fractionally strided convolution"))]
pub struct ConvTranspose<T, const AXES: usize> {
    /// The convolution whose output is this layer's input; its input size is found by `plan`.
    params: Params,
    input: [usize; MAX_AXES],
    weight: [usize; 2],
    output_padding: [usize; MAX_AXES],
    options: Options,
    activation: Activation<T>,
}

/// A transposed layer with one spatial axis: input `[N, C, L]`, weight `[C, K / groups, R]`.
pub type ConvTranspose1d<T> = ConvTranspose<T, 1>;
/// A transposed layer with two spatial axes: input `[N, C, H, W]`, weight `[C, K / groups, R, S]`.
pub type ConvTranspose2d<T> = ConvTranspose<T, 2>;
/// A transposed layer with three spatial axes: input `[N, C, D, H, W]`, weight `[C, K / groups, Q, R, S]`.
pub type ConvTranspose3d<T> = ConvTranspose<T, 3>;

impl<T: Element> ConvTranspose<T, 1> {
    /// A layer for `input` `[N, C, L]` and `weight` `[C, K / groups, R]`, in elements.
    pub fn new(input: [usize; 3], weight: [usize; 3]) -> Self {
        Self::from_dims(&input, &weight)
    }
}

impl<T: Element> ConvTranspose<T, 2> {
    /// A layer for `input` `[N, C, H, W]` and `weight` `[C, K / groups, R, S]`, in elements.
    pub fn new(input: [usize; 4], weight: [usize; 4]) -> Self {
        Self::from_dims(&input, &weight)
    }
}

impl<T: Element> ConvTranspose<T, 3> {
    /// A layer for `input` `[N, C, D, H, W]` and `weight` `[C, K / groups, Q, R, S]`, in elements.
    pub fn new(input: [usize; 5], weight: [usize; 5]) -> Self {
        Self::from_dims(&input, &weight)
    }
}

impl<T: Element, const AXES: usize> ConvTranspose<T, AXES> {
    fn from_dims(input: &[usize], weight: &[usize]) -> Self {
        let spatial = |dims: &[usize]| {
            let mut sizes = [1; MAX_AXES];
            sizes[..AXES].copy_from_slice(&dims[2..]);
            sizes
        };
        let params = Params {
            axes: AXES,
            batch: input[0],
            out_channels: input[1],
            kernel: spatial(weight),
            ..Params::default()
        };
        Self {
            params,
            input: spatial(input),
            weight: [weight[0], weight[1]],
            output_padding: [0; MAX_AXES],
            options: Options::default(),
            activation: Activation::None,
        }
    }

    /// Output elements between the stamps of neighbouring inputs, per axis; 1 if not set.
    pub fn stride(mut self, stride: impl Into<PerAxis<AXES>>) -> Self {
        self.params.stride[..AXES].copy_from_slice(&stride.into().0);
        self
    }

    /// Elements cut off both sides of each output axis; 0 if not set.
    pub fn padding(self, padding: impl Into<PerAxis<AXES>>) -> Self {
        let padding = padding.into();
        self.padding_per_side(padding, padding)
    }

    /// Elements cut off the beginning and the end of each output axis.
    pub fn padding_per_side(
        mut self,
        begin: impl Into<PerAxis<AXES>>,
        end: impl Into<PerAxis<AXES>>,
    ) -> Self {
        self.params.pad_begin[..AXES].copy_from_slice(&begin.into().0);
        self.params.pad_end[..AXES].copy_from_slice(&end.into().0);
        self
    }

    /// Elements added at the end of each output axis, fewer than the stride or the dilation; 0 if not set.
    pub fn output_padding(mut self, output_padding: impl Into<PerAxis<AXES>>) -> Self {
        self.output_padding[..AXES].copy_from_slice(&output_padding.into().0);
        self
    }

    /// Output elements between neighbouring taps of the kernel, per axis; 1 if not set.
    pub fn dilation(mut self, dilation: impl Into<PerAxis<AXES>>) -> Self {
        self.params.dilation[..AXES].copy_from_slice(&dilation.into().0);
        self
    }

    /// Groups of channels that don't see each other; 1 if not set.
    pub fn groups(mut self, groups: usize) -> Self {
        self.params.groups = groups;
        self
    }

    /// How the tensors lie in memory; [`Layout::ChannelsFirst`] if not set. Channels last the weight is
    /// `[C, kernel.., K / groups]`.
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
    pub fn activation(mut self, activation: Activation<T>) -> Self {
        self.activation = activation;
        self
    }

    /// The output's sizes, `[N, K, spatial..]` in either layout.
    ///
    /// # Errors
    /// As [`plan`](Self::plan).
    pub fn output_shape(&self) -> Result<Dims, Error> {
        Ok(self.shape()?.input_shape())
    }

    /// Checks every size and chooses how to compute.
    ///
    /// # Errors
    /// [`Error`] names what was wrong, what was found and what is allowed.
    pub fn plan(self) -> Result<TransposedPlan<T>, Error> {
        let options = Options { transposed: true, ..self.options };
        TransposedPlan::of(Plan::new(self.shape()?, options)?, self.activation)
    }

    /// The convolution's geometry.
    fn shape(&self) -> Result<Shape, Error> {
        let [in_channels, per_group] = self.weight;
        let Params { out_channels: expected, groups, .. } = self.params;
        if in_channels != expected {
            let what = "the weight's first dimension";
            return Err(Error::Length { what, expected, found: in_channels });
        }
        let size = Size { what: "out_channels", axis: None };
        let out_channels = per_group.checked_mul(groups).ok_or(Error::Overflow { size })?;
        let params = Params { in_channels, out_channels, input: self.input, ..self.params };
        shape_of(params, self.output_padding)
    }
}

/// The convolution of a transposed layer with these sizes of its own.
fn shape_of(params: Params, output_padding: [usize; MAX_AXES]) -> Result<Shape, Error> {
    let Params { axes, in_channels, out_channels, .. } = params;
    if !(1..=MAX_AXES).contains(&axes) {
        return Err(Error::Axes { found: axes });
    }
    if params.padding_mode != PaddingMode::Zeros {
        return Err(Error::Unsupported {
            what: "a transposed layer with a padding_mode but zeros",
        });
    }
    let mut conv = Params { in_channels: out_channels, out_channels: in_channels, ..params };
    for (axis, &found) in output_padding[..axes].iter().enumerate() {
        let (stride, dilation) = (params.stride[axis], params.dilation[axis]);
        if found != 0 && found >= stride.max(dilation) {
            return Err(Error::OutputPadding { axis, found, stride, dilation });
        }
        conv.input[axis] = output_size(&params, found, axis)?;
    }
    // With as much output_padding as a dilation, the convolution has outputs that this layer has no inputs for.
    Shape::new(conv)?.with_fewer_outputs(&params.input[..axes])
}

/// Elements of one axis of the output: the formula of [`ConvTranspose`], checked.
fn output_size(p: &Params, output_padding: usize, axis: usize) -> Result<usize, Error> {
    let zero = |what| Error::Zero { size: Size { what, axis: Some(axis) } };
    let overflow = Error::Overflow { size: Size { what: "output", axis: Some(axis) } };
    let steps = p.input[axis].checked_sub(1).ok_or(zero("input"))?;
    let taps = p.kernel[axis].checked_sub(1).ok_or(zero("kernel"))?;
    let stamps = steps.checked_mul(p.stride[axis]);
    let span = taps.checked_mul(p.dilation[axis]);
    let padded = stamps
        .zip(span)
        .and_then(|(a, b)| a.checked_add(b))
        .and_then(|n| n.checked_add(output_padding))
        .and_then(|n| n.checked_add(1));
    let cut = p.pad_begin[axis].checked_add(p.pad_end[axis]);
    let (padded, cut) = padded.zip(cut).ok_or(overflow)?;
    padded.checked_sub(cut).filter(|&n| n > 0).ok_or(Error::NothingLeft { axis, cut, padded })
}

/// A transposed layer, checked: the convolution whose [`Plan::backward_data`] it is.
///
/// It has the calls of [`Plan`], with the roles of input and output exchanged and nothing else different: bias, residual
/// and activation in the store of `forward`, weights packed for its own passes, scratch, executors.
pub struct TransposedPlan<T: 'static> {
    conv: Plan<T>,
}

impl<T: Copy> Clone for TransposedPlan<T> {
    fn clone(&self) -> Self {
        Self { conv: self.conv.clone() }
    }
}

/// One line: the convolution that is transposed.
impl<T> fmt::Display for TransposedPlan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transpose of {}", self.conv)
    }
}

/// One line as [`Display`](fmt::Display) has it; with `{:#?}` all that was chosen.
impl<T> fmt::Debug for TransposedPlan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return fmt::Display::fmt(self, f);
        }
        f.debug_struct("TransposedPlan").field("conv", &self.conv).finish()
    }
}

impl<T: Element> Plan<T> {
    /// The transposed layer of this convolution: its [`forward`](TransposedPlan::forward) is this plan's `backward_data`.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if there is no room for the tables of its masks.
    pub fn transposed(self) -> Result<TransposedPlan<T>, Error> {
        let activation = self.activation();
        TransposedPlan::of(self, activation)
    }
}

impl<T: Element> TransposedPlan<T> {
    /// A transposed layer with sizes that are numbers, for hosts: what [`Plan::new`] is to plain layers.
    ///
    /// `params` are the transposed layer's own, as torch prints them: `in_channels` (C) and `input` are those of its input,
    /// the weight is `[C, K / groups, kernel..]`, the padding is cut off its output. `output_padding` has an entry for each axis.
    ///
    /// # Errors
    /// [`Error`] names the first size that no layer has; as [`Plan::new`] otherwise.
    ///
    /// ```
    /// use im2col::{Options, Params, TransposedPlan};
    /// let params = Params { axes: 1, input: [3, 0, 0], kernel: [2, 0, 0], stride: [2, 0, 0], ..Params::default() };
    /// let layer = TransposedPlan::<f32>::new(params, [1, 0, 0], Options::default())?;
    /// assert_eq!(layer.output_shape(), [1, 1, 7]);
    /// # Ok::<(), im2col::Error>(())
    /// ```
    pub fn new(
        params: Params,
        output_padding: [usize; MAX_AXES],
        options: Options,
    ) -> Result<Self, Error> {
        let options = Options { transposed: true, ..options };
        Self::of(Plan::new(shape_of(params, output_padding)?, options)?, Activation::None)
    }

    fn of(conv: Plan<T>, activation: Activation<T>) -> Result<Self, Error> {
        Ok(Self { conv: conv.of_transposed()?.with_activation(activation)? })
    }

    /// The same layer with an activation: as [`Plan::with_activation`].
    ///
    /// # Errors
    /// As [`Plan::with_activation`].
    pub fn with_activation(self, activation: Activation<T>) -> Result<Self, Error> {
        Ok(Self { conv: self.conv.with_activation(activation)? })
    }

    /// The convolution that this layer transposes: its input is this layer's output.
    pub fn conv(&self) -> &Plan<T> {
        &self.conv
    }

    /// The same layer for another number of images: as [`Plan::with_batch`].
    ///
    /// # Errors
    /// As [`Plan::with_batch`].
    pub fn with_batch(&self, batch: usize) -> Result<Self, Error> {
        Ok(Self { conv: self.conv.with_batch(batch)? })
    }

    /// The same layer for inputs of another size, one number for each spatial axis, with the same padding and output_padding:
    /// as [`Plan::with_input`].
    ///
    /// # Errors
    /// As [`Plan::with_input`].
    ///
    /// ```
    /// use im2col::ConvTranspose1d;
    /// let layer = ConvTranspose1d::<f32>::new([1, 1, 3], [1, 1, 2]).stride(2).plan()?;
    /// assert_eq!(layer.with_input(&[5])?.output_shape(), [1, 1, 10]);
    /// # Ok::<(), im2col::Error>(())
    /// ```
    pub fn with_input(&self, input: &[usize]) -> Result<Self, Error> {
        let shape = self.conv.shape();
        let mut params = *shape.params();
        if input.len() != params.axes {
            return Err(Error::Sizes { expected: params.axes, found: input.len() });
        }
        for (index, (&input, axis)) in input.iter().zip(shape.axes()).enumerate() {
            let size = |what| Size { what, axis: Some(index) };
            // What doesn't follow from the number of inputs stays: taps, padding and output_padding.
            let steps = (axis.output - 1) * axis.stride;
            let last = input.checked_sub(1).ok_or(Error::Zero { size: size("input") })?;
            params.input[index] = last
                .checked_mul(axis.stride)
                .and_then(|n| n.checked_add(axis.input))
                .ok_or(Error::Overflow { size: size("output") })?
                .checked_sub(steps)
                .filter(|&n| n > 0)
                .ok_or(Error::Zero { size: size("output") })?;
        }
        let shape = Shape::new(params)?.with_fewer_outputs(input)?;
        Ok(Self { conv: self.conv.with_shape(shape)? })
    }

    /// The input's sizes as torch prints them, `[N, C, spatial..]`, in either layout.
    pub fn input_shape(&self) -> Dims {
        self.conv.output_shape()
    }

    /// The weight's sizes as torch prints them, `[C, K / groups, kernel..]`, in either layout.
    pub fn weight_shape(&self) -> Dims {
        self.conv.weight_shape()
    }

    /// The output's sizes as torch prints them, `[N, K, spatial..]`, in either layout.
    pub fn output_shape(&self) -> Dims {
        self.conv.input_shape()
    }

    /// Elements of `input`.
    pub fn input_len(&self) -> usize {
        self.conv.shape().output_len()
    }

    /// Elements of `weight`.
    pub fn weight_len(&self) -> usize {
        self.conv.shape().weight_len()
    }

    /// Elements of `output`.
    pub fn output_len(&self) -> usize {
        self.conv.shape().input_len()
    }

    /// What was chosen, in words, as [`Plan::explain`]: the passes have the names that they have here.
    pub fn explain(&self) -> String {
        self.conv.explain()
    }

    /// As [`Plan::scratch_len`].
    pub fn scratch_len(&self, pass: Pass) -> usize {
        self.conv.scratch_len(pass.mirror())
    }

    /// As [`Plan::scratch_len_on`].
    pub fn scratch_len_on(&self, pass: Pass, executor: &dyn Executor) -> usize {
        self.conv.scratch_len_on(pass.mirror(), executor)
    }

    /// As [`Plan::min_scratch_len`].
    pub fn min_scratch_len(&self, pass: Pass) -> usize {
        self.conv.min_scratch_len(pass.mirror())
    }

    /// As [`Plan::pack_weight`].
    ///
    /// # Errors
    /// As [`Plan::pack_weight`].
    ///
    /// ```
    /// use im2col::{ConvTranspose1d, Pass};
    /// let layer = ConvTranspose1d::<f32>::new([1, 1, 3], [1, 1, 2]).stride(2).plan()?;
    /// let packed = layer.pack_weight(Pass::Forward, &[10.0, 1.0])?;
    /// let mut output = [0.0; 6];
    /// layer.forward(&[1.0, 2.0, 3.0], &packed).bias(&[0.5]).run(&mut output)?;
    /// assert_eq!(output, [10.5, 1.5, 20.5, 2.5, 30.5, 3.5]);
    /// # Ok::<(), im2col::Error>(())
    /// ```
    pub fn pack_weight(&self, pass: Pass, weight: &[T]) -> Result<PackedWeight<T>, Error> {
        self.pack_weight_on(pass, weight, &DEFAULT)
    }

    /// As [`Plan::pack_weight_on`].
    ///
    /// # Errors
    /// As [`Plan::pack_weight`].
    pub fn pack_weight_on(
        &self,
        pass: Pass,
        weight: &[T],
        executor: &dyn Executor,
    ) -> Result<PackedWeight<T>, Error> {
        self.conv.pack_weight_on(pass.mirror(), weight, executor).map_err(|error| match error {
            // The convolution knows the pass by the other name.
            Error::NotPlanned { .. } => Error::NotPlanned { pass },
            error => error,
        })
    }

    /// `output = activation(col2im(input · W) + bias + residual)`, as far as the call is given these.
    pub fn forward<'a>(
        &'a self,
        input: &'a [T],
        weight: impl Into<Weight<'a, T>>,
    ) -> Forward<'a, T> {
        Forward::new(&self.conv, Pass::BackwardData, input, weight.into())
    }

    /// The gradient of the input: the convolution of `grad_output`, which has this layer's output
    /// shape, with the weights.
    pub fn backward_data<'a>(
        &'a self,
        weight: impl Into<Weight<'a, T>>,
        grad_output: &'a [T],
    ) -> BackwardData<'a, T> {
        BackwardData::new(&self.conv, Pass::Forward, weight.into(), grad_output)
    }

    /// The gradient of the weights, summed over the batch.
    pub fn backward_weight<'a>(
        &'a self,
        input: &'a [T],
        grad_output: &'a [T],
    ) -> BackwardWeight<'a, T> {
        BackwardWeight::new(&self.conv, true, input, grad_output)
    }

    /// `grad_bias[k]` = the sum of `grad_output` over the pixels of channel `k` and the batch.
    pub fn backward_bias<'a>(&'a self, grad_output: &'a [T]) -> BackwardBias<'a, T> {
        BackwardBias::new(&self.conv, true, grad_output)
    }
}
