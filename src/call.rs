//! A call of a pass: its tensors, and the options that add up on it.
//!
//! Each is made by the plan's method of the same name, takes options in any order, and does
//! everything in `run`: it checks every length once, and writes nothing if one is wrong.

use crate::activation::Activation;
use crate::element::Element;
use crate::error::{Error, check_len};
use crate::kernel::{Epilogue, Residual};
use crate::packed::Weight;
use crate::parallel::{DEFAULT, Executor};
use crate::pass::{Pass, Write};
use crate::plan::Plan;
use crate::scratch::allocate;
use core::fmt;
use core::mem::MaybeUninit;

/// Where a call writes: a slice, a vector or an array, that may be uninitialised unless the call accumulates.
///
/// Anything that a call's `run` takes becomes one by `Into`.
#[derive(Debug)]
pub struct Output<'a, T>(Memory<'a, T>);

#[derive(Debug)]
enum Memory<'a, T> {
    Initialised(&'a mut [T]),
    Uninitialised(&'a mut [MaybeUninit<T>]),
}

impl<'a, T: Element> Output<'a, T> {
    /// The memory as engines take it, checked: they read it only where the call accumulates.
    fn checked(
        self,
        what: &'static str,
        expected: usize,
        accumulate: bool,
    ) -> Result<&'a mut [T], Error> {
        let memory = match self.0 {
            Memory::Initialised(memory) => memory,
            Memory::Uninitialised(_) if accumulate => return Err(Error::Uninitialised { what }),
            Memory::Uninitialised(memory) => crate::kernel::uninit::to_be_written(memory),
        };
        check_len(what, expected, memory.len())?;
        Ok(memory)
    }
}

impl<'a, T> From<&'a mut [T]> for Output<'a, T> {
    fn from(memory: &'a mut [T]) -> Self {
        Self(Memory::Initialised(memory))
    }
}

impl<'a, T> From<&'a mut alloc::vec::Vec<T>> for Output<'a, T> {
    fn from(memory: &'a mut alloc::vec::Vec<T>) -> Self {
        Self(Memory::Initialised(memory))
    }
}

impl<'a, T, const N: usize> From<&'a mut [T; N]> for Output<'a, T> {
    fn from(memory: &'a mut [T; N]) -> Self {
        Self(Memory::Initialised(memory))
    }
}

impl<'a, T> From<&'a mut [MaybeUninit<T>]> for Output<'a, T> {
    fn from(memory: &'a mut [MaybeUninit<T>]) -> Self {
        Self(Memory::Uninitialised(memory))
    }
}

impl<'a, T, const N: usize> From<&'a mut [MaybeUninit<T>; N]> for Output<'a, T> {
    fn from(memory: &'a mut [MaybeUninit<T>; N]) -> Self {
        Self(Memory::Uninitialised(memory))
    }
}

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
        pass: Pass,
        run: impl FnOnce(&crate::engine::Layer<'_, T>, &mut [T]) + Send,
    ) -> Result<(), Error> {
        let need = plan.need(pass)?;
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
                own = allocate(need.len(layer.parallelism.workers(need)))?;
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
    bias: Option<&'a [T]>,
    residual: Option<&'a [T]>,
    accumulate: bool,
    activation: Activation<T>,
    lent: Lent<'a, T>,
}

impl<T: Element> OverTaps<'_, T> {
    fn run(self, output: Output<'_, T>) -> Result<(), Error> {
        let Self { plan, pass, names: [read, written], .. } = self;
        let shape = plan.shape();
        let (from, to, channels) = match pass {
            Pass::Forward => (shape.input_len(), shape.output_len(), shape.out_channels()),
            _ => (shape.output_len(), shape.input_len(), shape.in_channels()),
        };
        let weights = self.weight.of(plan, pass, self.called)?;
        check_len(read, from, self.source.len())?;
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
            clamp: self.activation.bounds(),
            ..Epilogue::new(self.accumulate)
        };
        let source = self.source;
        self.lent.run(plan, pass, |layer, scratch| {
            plan.over_taps(layer, pass, (source, weights), epilogue, output, scratch);
        })
    }
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

    /// Lends threads; rayon's current pool if not set (without the feature `rayon`, none).
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
            bias: None,
            residual: None,
            accumulate: false,
            activation: Activation::None,
            lent: Lent::default(),
        })
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
}

/// A call of `backward_weight`: `grad_weight = grad_outputᵀ·cols`, the gradient of the weights, summed over the batch.
/// Made by [`Plan::backward_weight`](crate::Plan::backward_weight) and
/// [`TransposedPlan::backward_weight`](crate::TransposedPlan::backward_weight).
///
/// ```
/// use im2col::Conv2d;
/// let conv = Conv2d::<f32>::new([1, 1, 3, 3], [1, 1, 2, 2]).plan()?;
/// let v = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
/// let mut grad_weight = [0.0; 4];
/// conv.backward_weight(&v, &[1.0, 2.0, 3.0, 4.0]).run(&mut grad_weight)?;
/// assert_eq!(grad_weight[0], 1.0 * 1.0 + 2.0 * 2.0 + 3.0 * 4.0 + 4.0 * 5.0);
/// # Ok::<(), im2col::Error>(())
/// ```
#[must_use = "a call does nothing before `run`"]
pub struct BackwardWeight<'a, T: 'static> {
    plan: &'a Plan<T>,
    /// Whether the layer is a transposed one, whose input is the convolution's output.
    transposed: bool,
    input: &'a [T],
    grad_output: &'a [T],
    accumulate: bool,
    lent: Lent<'a, T>,
}

impl<'a, T: Element> BackwardWeight<'a, T> {
    pub(crate) fn new(
        plan: &'a Plan<T>,
        transposed: bool,
        input: &'a [T],
        grad_output: &'a [T],
    ) -> Self {
        let lent = Lent::default();
        Self { plan, transposed, input, grad_output, accumulate: false, lent }
    }

    /// Adds to what `grad_weight` holds instead of overwriting it.
    pub fn accumulate(mut self) -> Self {
        self.accumulate = true;
        self
    }

    /// [`accumulate`](Self::accumulate) or not, as a value.
    pub fn write(mut self, write: Write) -> Self {
        self.accumulate = write == Write::Accumulate;
        self
    }

    /// As [`Forward::scratch`].
    pub fn scratch(mut self, scratch: &'a mut [T]) -> Self {
        self.lent.scratch = Some(scratch);
        self
    }

    /// [`scratch`](Self::scratch), where there is some.
    pub fn maybe_scratch(mut self, scratch: Option<&'a mut [T]>) -> Self {
        self.lent.scratch = scratch;
        self
    }

    /// As [`Forward::executor`].
    pub fn executor(mut self, executor: &'a dyn Executor) -> Self {
        self.lent.executor = executor;
        self
    }

    /// Computes and stores `grad_weight`, which has the weight's shape.
    ///
    /// # Errors
    /// As [`Forward::run`].
    pub fn run<'o>(self, grad_weight: impl Into<Output<'o, T>>) -> Result<(), Error> {
        let Self { plan, transposed, input, grad_output, accumulate, lent } = self;
        let shape = plan.shape();
        let named = [("input", input), ("grad_output", grad_output)];
        let [image, made] = if transposed { [named[1], named[0]] } else { named };
        check_len(image.0, shape.input_len(), image.1.len())?;
        check_len(made.0, shape.output_len(), made.1.len())?;
        let to = grad_weight.into().checked("grad_weight", shape.weight_len(), accumulate)?;
        let sources = [image.1, made.1];
        lent.run(plan, Pass::BackwardWeight, |layer, scratch| {
            plan.over_pixels(layer, sources, to, write(accumulate), scratch);
        })
    }
}

/// A call of `backward_bias`: `grad_bias[k]` is the sum of `grad_output` over the pixels of channel `k` and the batch. Made
/// by [`Plan::backward_bias`](crate::Plan::backward_bias) and
/// [`TransposedPlan::backward_bias`](crate::TransposedPlan::backward_bias).
///
/// ```
/// use im2col::Conv2d;
/// let conv = Conv2d::<f32>::new([2, 1, 3, 3], [1, 1, 2, 2]).plan()?;
/// let mut grad_bias = [0.0];
/// conv.backward_bias(&[0.5; 8]).run(&mut grad_bias)?;
/// assert_eq!(grad_bias, [4.0]);
/// # Ok::<(), im2col::Error>(())
/// ```
#[must_use = "a call does nothing before `run`"]
pub struct BackwardBias<'a, T: 'static> {
    plan: &'a Plan<T>,
    /// As in [`BackwardWeight`].
    transposed: bool,
    grad_output: &'a [T],
    accumulate: bool,
    executor: &'a dyn Executor,
}

impl<'a, T: Element> BackwardBias<'a, T> {
    pub(crate) fn new(plan: &'a Plan<T>, transposed: bool, grad_output: &'a [T]) -> Self {
        Self { plan, transposed, grad_output, accumulate: false, executor: &DEFAULT }
    }

    /// Adds to what `grad_bias` holds instead of overwriting it.
    pub fn accumulate(mut self) -> Self {
        self.accumulate = true;
        self
    }

    /// [`accumulate`](Self::accumulate) or not, as a value.
    pub fn write(mut self, write: Write) -> Self {
        self.accumulate = write == Write::Accumulate;
        self
    }

    /// As [`Forward::executor`].
    pub fn executor(mut self, executor: &'a dyn Executor) -> Self {
        self.executor = executor;
        self
    }

    /// Computes and stores `grad_bias`, one element for each output channel.
    ///
    /// # Errors
    /// As [`Forward::run`].
    pub fn run<'o>(self, grad_bias: impl Into<Output<'o, T>>) -> Result<(), Error> {
        let Self { plan, transposed, grad_output, accumulate, executor } = self;
        let shape = plan.shape();
        let (len, channels) = match transposed {
            false => (shape.output_len(), shape.out_channels()),
            true => (shape.input_len(), shape.in_channels()),
        };
        check_len("grad_output", len, grad_output.len())?;
        let to = grad_bias.into().checked("grad_bias", channels, accumulate)?;
        plan.sum_of_channels(executor, transposed, grad_output, to, write(accumulate));
        Ok(())
    }
}

fn write(accumulate: bool) -> Write {
    if accumulate { Write::Accumulate } else { Write::Overwrite }
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
