//! A transposed convolution is `backward_data` called forward: the same products, with the
//! roles of input and output exchanged. This file only renames.

use crate::element::Element;
use crate::error::{Error, Size, check_len};
use crate::options::{Accuracy, Algorithm, Options};
use crate::parallel::Parallelism;
use crate::pass::{Pass, Write};
use crate::plan::Plan;
use crate::shape::{Layout, MAX_AXES, Params, Shape};
use core::marker::PhantomData;

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
/// let layer = ConvTranspose1d::<f32>::new([1, 1, 3], [1, 1, 2]).stride([2]).plan()?;
/// let mut output = [0.0; 6];
/// layer.forward(&[1.0, 2.0, 3.0], &[10.0, 1.0], None, &mut output)?;
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
    parallelism: Parallelism,
    element: PhantomData<T>,
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
            parallelism: Parallelism::default(),
            element: PhantomData,
        }
    }

    /// Output elements between the stamps of neighbouring inputs, per axis; 1 if not set.
    pub fn stride(mut self, stride: [usize; AXES]) -> Self {
        self.params.stride[..AXES].copy_from_slice(&stride);
        self
    }

    /// Elements cut off both sides of each output axis; 0 if not set.
    pub fn padding(mut self, padding: [usize; AXES]) -> Self {
        self.params.pad_begin[..AXES].copy_from_slice(&padding);
        self.params.pad_end[..AXES].copy_from_slice(&padding);
        self
    }

    /// Elements added at the end of each output axis, fewer than the stride; 0 if not set.
    pub fn output_padding(mut self, output_padding: [usize; AXES]) -> Self {
        self.output_padding[..AXES].copy_from_slice(&output_padding);
        self
    }

    /// Output elements between neighbouring taps of the kernel, per axis; 1 if not set.
    pub fn dilation(mut self, dilation: [usize; AXES]) -> Self {
        self.params.dilation[..AXES].copy_from_slice(&dilation);
        self
    }

    /// Groups of channels that don't see each other; 1 if not set.
    pub fn groups(mut self, groups: usize) -> Self {
        self.params.groups = groups;
        self
    }

    /// How the tensors lie in memory; [`Layout::ChannelsFirst`] if not set.
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

    /// Where the work may run; [`Parallelism::Rayon`] if not set.
    pub fn parallelism(mut self, parallelism: Parallelism) -> Self {
        self.parallelism = parallelism;
        self
    }

    /// Checks every size and chooses how to compute.
    ///
    /// # Errors
    /// [`Error`] names what was wrong, what was found and what is allowed.
    pub fn plan(self) -> Result<TransposedPlan<T>, Error> {
        let mut params = self.params;
        let [in_channels, per_group] = self.weight;
        if in_channels != params.out_channels {
            let (what, expected) = ("the weight's first dimension", params.out_channels);
            return Err(Error::Length { what, expected, found: in_channels });
        }
        let overflow = |what, axis| Error::Overflow { size: Size { what, axis } };
        params.in_channels =
            per_group.checked_mul(params.groups).ok_or(overflow("out_channels", None))?;
        for axis in 0..AXES {
            let (stride, found) = (params.stride[axis], self.output_padding[axis]);
            if found != 0 && found >= stride {
                return Err(Error::OutputPadding { axis, found, stride });
            }
            params.input[axis] = self.output_size(axis)?;
        }
        let shape = Shape::new(params)?;
        Ok(TransposedPlan { conv: Plan::with_options(shape, self.options, self.parallelism)? })
    }

    /// Elements of one axis of the output: the formula above, checked.
    fn output_size(&self, axis: usize) -> Result<usize, Error> {
        let zero = |what| Error::Zero { size: Size { what, axis: Some(axis) } };
        let overflow = Error::Overflow { size: Size { what: "output", axis: Some(axis) } };
        let p = &self.params;
        let steps = self.input[axis].checked_sub(1).ok_or(zero("input"))?;
        let taps = p.kernel[axis].checked_sub(1).ok_or(zero("kernel"))?;
        let stamps = steps.checked_mul(p.stride[axis]);
        let span = taps.checked_mul(p.dilation[axis]);
        let padded = stamps
            .zip(span)
            .and_then(|(a, b)| a.checked_add(b))
            .and_then(|n| n.checked_add(self.output_padding[axis]))
            .and_then(|n| n.checked_add(1));
        let cut = p.pad_begin[axis].checked_add(p.pad_end[axis]);
        let (padded, cut) = padded.zip(cut).ok_or(overflow)?;
        // Nothing left of the output is an axis of no elements.
        padded.checked_sub(cut).filter(|&n| n > 0).ok_or(zero("output"))
    }
}

/// A transposed layer, checked: the convolution whose [`Plan::backward_data`] it is.
#[derive(Debug)]
pub struct TransposedPlan<T: 'static> {
    conv: Plan<T>,
}

impl<T: Copy> Clone for TransposedPlan<T> {
    fn clone(&self) -> Self {
        Self { conv: self.conv.clone() }
    }
}

impl<T: Element> TransposedPlan<T> {
    /// The convolution that this layer transposes: its input is this layer's output.
    pub fn conv(&self) -> &Plan<T> {
        &self.conv
    }

    /// Elements of `input`.
    pub fn input_len(&self) -> usize {
        self.conv.shape().output_len()
    }

    /// Elements of `output`.
    pub fn output_len(&self) -> usize {
        self.conv.shape().input_len()
    }

    /// Elements of scratch that a call on the current pool can use.
    pub fn scratch_len(&self, pass: Pass) -> usize {
        self.conv.scratch_len(mirror(pass))
    }

    /// `output = col2im(input · W) + bias`; `bias` has one element per output channel.
    ///
    /// # Errors
    /// [`Error::Length`] if a slice doesn't fit the shape, [`Error::OutOfMemory`] if there is no
    /// room for scratch; nothing is written.
    pub fn forward(
        &self,
        input: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        output: &mut [T],
    ) -> Result<(), Error> {
        let shape = self.conv.shape();
        self.check([("input", input), ("weight", weight), ("output", &*output)])?;
        let Some(bias) = bias else {
            return self.conv.backward_data(weight, input, output, Write::Overwrite);
        };
        check_len("bias", shape.in_channels(), bias.len())?;
        self.conv.backward_data(weight, input, output, Write::Overwrite)?;
        match shape.layout() {
            Layout::ChannelsFirst => {
                let channels = output.chunks_exact_mut(shape.input_pixels());
                for (pixels, &bias) in channels.zip(bias.iter().cycle()) {
                    pixels.iter_mut().for_each(|y| *y += bias);
                }
            }
            Layout::ChannelsLast => {
                output.iter_mut().zip(bias.iter().cycle()).for_each(|(y, &bias)| *y += bias);
            }
        }
        Ok(())
    }

    /// The error of the input: the convolution of `grad_output`, which has this layer's output
    /// shape, with the weights.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward_data(
        &self,
        weight: &[T],
        grad_output: &[T],
        grad_input: &mut [T],
    ) -> Result<(), Error> {
        let tensors =
            [("grad_output", grad_output), ("weight", weight), ("grad_input", &*grad_input)];
        self.check(tensors)?;
        self.conv.forward(grad_output, weight, None, grad_input)
    }

    /// The error of the weights, summed over the batch.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward_weight(
        &self,
        input: &[T],
        grad_output: &[T],
        grad_weight: &mut [T],
        write: Write,
    ) -> Result<(), Error> {
        let tensors =
            [("input", input), ("grad_output", grad_output), ("grad_weight", &*grad_weight)];
        self.check(tensors)?;
        self.conv.backward_weight(grad_output, input, grad_weight, write)
    }

    /// Checks lengths under this layer's own names: the convolution's are the other way round.
    fn check(&self, tensors: [(&'static str, &[T]); 3]) -> Result<(), Error> {
        for (what, tensor) in tensors {
            let expected = match what {
                "input" | "grad_input" => self.input_len(),
                "output" | "grad_output" => self.output_len(),
                _ => self.conv.shape().weight_len(),
            };
            check_len(what, expected, tensor.len())?;
        }
        Ok(())
    }
}

/// The convolution's pass behind a pass of the transposed layer.
fn mirror(pass: Pass) -> Pass {
    match pass {
        Pass::Forward => Pass::BackwardData,
        Pass::BackwardData => Pass::Forward,
        Pass::BackwardWeight => Pass::BackwardWeight,
    }
}
