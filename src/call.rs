//! A call of a pass: its tensors, and the options that add up on it.
//!
//! Each is made by the plan's method of the same name, takes options in any order, and does
//! everything in `run`: it checks every length once, and writes nothing if one is wrong.

use crate::activation::Activation;
use crate::element::Element;
use crate::engine::mask::Mask;
use crate::error::{Error, check_len};
use crate::kernel::uninit::{unwritten, written};
use crate::kernel::{Epilogue, Residual};
use crate::packed::Weight;
use crate::parallel::{DEFAULT, Executor};
use crate::pass::{Pass, Write};
use crate::plan::Plan;
use alloc::vec::Vec;
use core::fmt;

mod output;
mod over_pixels;

pub use output::Output;
pub use over_pixels::{BackwardBias, BackwardWeight};

/// What any call may be lent.
struct Lent<'a, T> {
    scratch: Option<&'a mut [T]>,
    executor: &'a dyn Executor,
}

impl<T> Default for Lent<'_, T> {
    fn default() -> Self {
        Self { scratch: None, executor: &DEFAULT }
    }
}

impl<'a, T: Element> Lent<'a, T> {
    /// Runs a pass with the scratch that was lent, or with as much as its workers can use.
    fn run(
        self,
        plan: &Plan<T>,
        (pass, is_masked): (Pass, bool),
        run: impl FnOnce(&crate::engine::layer::Layer<'_, T>, &mut [T]) + Send,
    ) -> Result<(), Error> {
        let need = if is_masked { plan.masked_need(pass) } else { plan.need(pass) }?;
        let layer = plan.layer(pass, self.executor);
        let mut own;
        let scratch = match self.scratch {
            Some(lent) => {
                let (expected, found) = (need.len(1), lent.len());
                if found < expected {
                    return Err(Error::Scratch { expected, found });
                }
                lent
            }
            None => {
                own = unwritten(need.len(layer.parallelism.workers(need)))?;
                &mut own[..]
            }
        };
        let parallelism = layer.parallelism;
        parallelism.within(need, scratch.len(), || run(&layer, scratch));
        Ok(())
    }
}

/// A product whose sums are over the taps: `forward` or `backward_data`, of a layer or of a transposed one.
struct OverTaps<'a, T: Copy + 'static> {
    plan: &'a Plan<T>,
    /// The convolution's pass that computes it.
    pass: Pass,
    /// The names of what is read and what is written, and of the pass: for errors.
    names: [&'static str; 2],
    called: Pass,
    source: &'a [T],
    weight: Weight<'a, T>,
    mask: Option<&'a [T]>,
    bias: Option<&'a [T]>,
    residual: Option<&'a [T]>,
    accumulate: bool,
    activation: Activation<T>,
    lent: Lent<'a, T>,
}

impl<T: Element> OverTaps<'_, T> {
    /// [`run`](Self::run) into a new vector.
    fn into_vec(self) -> Result<Vec<T>, Error> {
        if self.accumulate {
            return Err(Error::Uninitialised { what: self.names[1] });
        }
        let shape = self.plan.shape();
        let len = match self.pass {
            Pass::Forward => shape.output_len(),
            _ => shape.input_len(),
        };
        written(len, |output| self.run(output.into()))
    }

    fn run(self, output: Output<'_, T>) -> Result<(), Error> {
        let Self { plan, pass, names: [read, written], .. } = self;
        let shape = plan.shape();
        let (from, to, channels) = match pass {
            Pass::Forward => (shape.input_len(), shape.output_len(), shape.out_channels()),
            _ => (shape.output_len(), shape.input_len(), shape.in_channels()),
        };
        if plan.schedule(pass).is_none() {
            return Err(Error::NotPlanned { pass: self.called });
        }
        let weights = self.weight.of(plan, pass, self.called)?;
        check_len(read, from, self.source.len())?;
        let mask = checked_mask(plan, self.mask, from, pass == Pass::Forward)?;
        if let Some(bias) = self.bias {
            check_len("bias", channels, bias.len())?;
        }
        if let Some(residual) = self.residual {
            check_len("residual", to, residual.len())?;
        }
        let output = output.checked(written, to, self.accumulate)?;
        let epilogue = Epilogue {
            bias: self.bias,
            residual: self.residual.map(|residual| Residual::new(residual, output)),
            clamp: self.activation.checked()?.bounds(),
            ..Epilogue::new(self.accumulate)
        };
        let source = self.source;
        self.lent.run(plan, (pass, mask.is_some()), |layer, scratch| match mask {
            None => plan.over_taps(layer, pass, (source, weights), epilogue, output, scratch),
            Some(mask) => {
                let read = (source, mask, weights);
                plan.over_masked_taps(layer, pass, read, epilogue, output, scratch);
            }
        })
    }
}

/// The mask of a gradient of `len` elements, checked; none if nothing is masked. `of_input` says whether the gradient has the
/// shape of the convolution's input, as a transposed layer's does.
fn checked_mask<'a, T: Element>(
    plan: &Plan<T>,
    mask: Option<&'a [T]>,
    len: usize,
    of_input: bool,
) -> Result<Option<Mask<'a, T>>, Error> {
    let Some(output) = mask else { return Ok(None) };
    check_len("mask", len, output.len())?;
    if plan.is_transposed() != of_input {
        let what = "a mask for a pass of the convolution inside a transposed layer";
        return Err(Error::Unsupported { what });
    }
    if plan.activation() == Activation::None {
        return Err(Error::NoActivation);
    }
    let bounds = plan.activation().bounds().filter(|_| !plan.shape().is_empty());
    Ok(bounds.map(|bounds| Mask::new(output, bounds)))
}

/// A call of `forward`: `output = activation(cols·Wᵀ + bias + residual)`. Made by
/// [`Plan::forward`](crate::Plan::forward) and [`TransposedPlan::forward`](crate::TransposedPlan::forward).
///
/// ```
/// use im2col::{Activation, Conv2d};
/// // The shortcut of a residual network: relu(conv(x) + bias + x), in one pass over the output.
/// let conv = Conv2d::<f32>::new([1, 2, 3, 3], [2, 2, 3, 3]).padding(1).activation(Activation::Relu);
/// let conv = conv.plan()?;
/// let (x, w, b) = ([1.0; 18], [0.5; 36], [1.0, -100.0]);
/// let mut scratch = vec![0.0; conv.scratch_len(im2col::Pass::Forward)];
/// let mut y = [0.0; 18];
/// conv.forward(&x, &w).bias(&b).residual(&x).scratch(&mut scratch).run(&mut y)?;
/// assert_eq!(y[4], 9.0 + 1.0 + 1.0); // 18 products of 0.5, the bias, the residual
/// assert_eq!(y[9 + 4], 0.0); // the second channel's is below 0
/// # Ok::<(), im2col::Error>(())
/// ```
#[must_use = "a call does nothing before `run`"]
pub struct Forward<'a, T: Copy + 'static>(OverTaps<'a, T>);

impl<'a, T: Element> Forward<'a, T> {
    pub(crate) fn new(
        plan: &'a Plan<T>,
        pass: Pass,
        input: &'a [T],
        weight: Weight<'a, T>,
    ) -> Self {
        Self(OverTaps {
            plan,
            pass,
            names: ["input", "output"],
            called: Pass::Forward,
            source: input,
            weight,
            mask: None,
            bias: None,
            residual: None,
            accumulate: false,
            activation: plan.activation(),
            lent: Lent::default(),
        })
    }

    /// Adds `bias`, one element for each output channel.
    pub fn bias(mut self, bias: &'a [T]) -> Self {
        self.0.bias = Some(bias);
        self
    }

    /// [`bias`](Self::bias), where there is one.
    pub fn maybe_bias(mut self, bias: Option<&'a [T]>) -> Self {
        self.0.bias = bias;
        self
    }

    /// Adds `residual`, which has the output's shape and layout, before the activation.
    #[doc(alias("shortcut", "skip connection", "z"))]
    pub fn residual(mut self, residual: &'a [T]) -> Self {
        self.0.residual = Some(residual);
        self
    }

    /// Adds what the output holds, before the activation, instead of overwriting it.
    pub fn accumulate(mut self) -> Self {
        self.0.accumulate = true;
        self
    }

    /// [`accumulate`](Self::accumulate) or not, as a value.
    pub fn write(mut self, write: Write) -> Self {
        self.0.accumulate = write == Write::Accumulate;
        self
    }

    /// The activation of this call, in place of the plan's.
    pub fn activation(mut self, activation: Activation<T>) -> Self {
        self.0.activation = activation;
        self
    }

    /// Lends scratch of any content and alignment. With as much as `scratch_len` says, the call
    /// allocates nothing; with less, fewer threads work, for the same bits.
    pub fn scratch(mut self, scratch: &'a mut [T]) -> Self {
        self.0.lent.scratch = Some(scratch);
        self
    }

    /// [`scratch`](Self::scratch), where there is some.
    pub fn maybe_scratch(mut self, scratch: Option<&'a mut [T]>) -> Self {
        self.0.lent.scratch = scratch;
        self
    }

    /// Lends threads; rayon's current pool if not set (without the feature `rayon`, none). On a machine that other programs keep
    /// busy, lend [fewer threads, or none](Executor#busy-machines).
    pub fn executor(mut self, executor: &'a dyn Executor) -> Self {
        self.0.lent.executor = executor;
        self
    }

    /// Computes and stores the output, `output_len` elements.
    ///
    /// # Errors
    /// Nothing is written on any of them: [`Error::Length`] if a slice doesn't have the length that the layer's shape
    /// gives, [`Error::PackedFor`] if weights were packed for something else, [`Error::Scratch`] if the scratch doesn't
    /// serve one thread, [`Error::Uninitialised`] if the call adds to an output that may be uninitialised,
    /// [`Error::OutOfMemory`] if there is no room for scratch that wasn't lent.
    pub fn run<'o>(self, output: impl Into<Output<'o, T>>) -> Result<(), Error> {
        self.0.run(output.into())
    }

    /// Computes the output into a new vector, which isn't filled with zeros first.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`Error::OutOfMemory`] if there is no room for the vector.
    ///
    /// ```
    /// let conv = im2col::Conv1d::<f32>::new([1, 1, 4], [1, 1, 2]).plan()?;
    /// assert_eq!(conv.forward(&[1.0, 2.0, 3.0, 4.0], &[1.0, 10.0]).into_vec()?, [21.0, 32.0, 43.0]);
    /// # Ok::<(), im2col::Error>(())
    /// ```
    pub fn into_vec(self) -> Result<Vec<T>, Error> {
        self.0.into_vec()
    }
}

/// A call of `backward_data`: `grad_input = col2im(grad_output·W)`, the gradient of the input. Made by
/// [`Plan::backward_data`](crate::Plan::backward_data) and
/// [`TransposedPlan::backward_data`](crate::TransposedPlan::backward_data).
///
/// ```
/// use im2col::{Conv2d, Serial};
/// let conv = Conv2d::<f32>::new([1, 1, 3, 3], [1, 1, 2, 2]).plan()?;
/// let mut grad_input = [1.0; 9];
/// // Every pixel but those of the border lies in four patches. On this thread, added to what was there.
/// conv.backward_data(&[2.0; 4], &[1.0; 4]).accumulate().executor(&Serial).run(&mut grad_input)?;
/// assert_eq!(grad_input[4], 1.0 + 4.0 * 2.0);
/// # Ok::<(), im2col::Error>(())
/// ```
#[must_use = "a call does nothing before `run`"]
pub struct BackwardData<'a, T: Copy + 'static>(OverTaps<'a, T>);

impl<'a, T: Element> BackwardData<'a, T> {
    pub(crate) fn new(
        plan: &'a Plan<T>,
        pass: Pass,
        weight: Weight<'a, T>,
        grad_output: &'a [T],
    ) -> Self {
        Self(OverTaps {
            plan,
            pass,
            names: ["grad_output", "grad_input"],
            called: Pass::BackwardData,
            source: grad_output,
            weight,
            mask: None,
            bias: None,
            residual: None,
            accumulate: false,
            activation: Activation::None,
            lent: Lent::default(),
        })
    }

    /// Reads `grad_output` through the layer's activation: as zero where `output`, which the forward pass stored, is at a bound of
    /// [the plan's activation](Plan::activation). So `grad_output` is the gradient of the activation's output, as the next layer
    /// gives it, and nothing sweeps over it first. The activation is the layer's: one that only a call of
    /// forward had isn't known here, and a layer without any refuses a mask.
    ///
    /// `output` has the shape and the layout of `grad_output`. The scratch of a plan with an activation has room for the
    /// masked gradient of some images, as many as stay in a cache but at least one.
    ///
    /// ```
    /// use im2col::{Activation, Conv1d};
    /// let conv = Conv1d::<f32>::new([1, 1, 3], [1, 1, 1]).activation(Activation::Relu).plan()?;
    /// let (weight, mut output, mut grad_input) = ([2.0], [0.0; 3], [0.0; 3]);
    /// conv.forward(&[-1.0, 0.5, 2.0], &weight).run(&mut output)?; // 0, 1, 4
    /// conv.backward_data(&weight, &[10.0; 3]).mask(&output).run(&mut grad_input)?;
    /// assert_eq!(grad_input, [0.0, 20.0, 20.0]);
    /// # Ok::<(), im2col::Error>(())
    /// ```
    #[doc(alias("relu backward", "threshold_backward"))]
    pub fn mask(mut self, output: &'a [T]) -> Self {
        self.0.mask = Some(output);
        self
    }

    /// Adds to what `grad_input` holds instead of overwriting it.
    pub fn accumulate(mut self) -> Self {
        self.0.accumulate = true;
        self
    }

    /// [`accumulate`](Self::accumulate) or not, as a value.
    pub fn write(mut self, write: Write) -> Self {
        self.0.accumulate = write == Write::Accumulate;
        self
    }

    /// As [`Forward::scratch`].
    pub fn scratch(mut self, scratch: &'a mut [T]) -> Self {
        self.0.lent.scratch = Some(scratch);
        self
    }

    /// [`scratch`](Self::scratch), where there is some.
    pub fn maybe_scratch(mut self, scratch: Option<&'a mut [T]>) -> Self {
        self.0.lent.scratch = scratch;
        self
    }

    /// As [`Forward::executor`].
    pub fn executor(mut self, executor: &'a dyn Executor) -> Self {
        self.0.lent.executor = executor;
        self
    }

    /// Computes and stores `grad_input`, which has the input's shape.
    ///
    /// # Errors
    /// As [`Forward::run`].
    pub fn run<'o>(self, grad_input: impl Into<Output<'o, T>>) -> Result<(), Error> {
        self.0.run(grad_input.into())
    }

    /// Computes `grad_input` into a new vector, as [`Forward::into_vec`].
    ///
    /// # Errors
    /// As [`Forward::into_vec`].
    pub fn into_vec(self) -> Result<Vec<T>, Error> {
        self.0.into_vec()
    }
}

// A call is printed by its name: its tensors would fill pages.
macro_rules! debug {
    ($($call:ident),*) => {$(
        impl<T: Copy> fmt::Debug for $call<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($call)).finish_non_exhaustive()
            }
        }
    )*};
}
debug!(Forward, BackwardData, BackwardWeight, BackwardBias);
