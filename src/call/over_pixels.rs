//! The calls whose sums are over the pixels: `backward_weight` and `backward_bias`.

use super::output::Output;
use super::{Lent, checked_mask};
use crate::element::Element;
use crate::engine::mask::Mask;
use crate::error::{Error, check_len};
use crate::kernel::uninit::written;
use crate::parallel::{DEFAULT, Executor};
use crate::pass::{Pass, Write};
use crate::plan::{OverPixels, Plan};
use crate::shape::Shape;
use alloc::vec::Vec;

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
    mask: Option<&'a [T]>,
    grad_bias: Option<Output<'a, T>>,
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
        let (mask, grad_bias, lent) = (None, None, Lent::default());
        Self { plan, transposed, input, grad_output, mask, grad_bias, accumulate: false, lent }
    }

    /// As [`BackwardData::mask`](crate::BackwardData::mask).
    pub fn mask(mut self, output: &'a [T]) -> Self {
        self.mask = Some(output);
        self
    }

    /// Computes the gradient of the bias as well, one element for each output channel: what
    /// [`backward_bias`](Plan::backward_bias) gives, from the same `grad_output`, read through the mask if there is one. It is
    /// accumulated if `grad_weight` is.
    ///
    /// ```
    /// use im2col::Conv2d;
    /// let conv = Conv2d::<f32>::new([2, 1, 3, 3], [1, 1, 2, 2]).plan()?;
    /// let (mut grad_weight, mut grad_bias) = ([0.0; 4], [0.0]);
    /// let call = conv.backward_weight(&[1.0; 18], &[0.5; 8]);
    /// call.grad_bias(&mut grad_bias).run(&mut grad_weight)?;
    /// assert_eq!((grad_weight, grad_bias), ([4.0; 4], [4.0]));
    /// # Ok::<(), im2col::Error>(())
    /// ```
    pub fn grad_bias(mut self, grad_bias: impl Into<Output<'a, T>>) -> Self {
        self.grad_bias = Some(grad_bias.into());
        self
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

    /// As [`Forward::scratch`](crate::Forward::scratch).
    pub fn scratch(mut self, scratch: &'a mut [T]) -> Self {
        self.lent.scratch = Some(scratch);
        self
    }

    /// [`scratch`](Self::scratch), where there is some.
    pub fn maybe_scratch(mut self, scratch: Option<&'a mut [T]>) -> Self {
        self.lent.scratch = scratch;
        self
    }

    /// As [`Forward::executor`](crate::Forward::executor).
    pub fn executor(mut self, executor: &'a dyn Executor) -> Self {
        self.lent.executor = executor;
        self
    }

    /// Computes and stores `grad_weight`, which has the weight's shape.
    ///
    /// # Errors
    /// As [`Forward::run`](crate::Forward::run).
    pub fn run<'o>(self, grad_weight: impl Into<Output<'o, T>>) -> Result<(), Error> {
        let Self { plan, transposed, input, grad_output, accumulate, lent, .. } = self;
        let shape = plan.shape();
        let named = [("input", input), ("grad_output", grad_output)];
        let [image, made] = if transposed { [named[1], named[0]] } else { named };
        check_len(image.0, shape.input_len(), image.1.len())?;
        check_len(made.0, shape.output_len(), made.1.len())?;
        let mask = checked_mask(plan, self.mask, grad_output.len(), transposed)?;
        let to = grad_weight.into().checked("grad_weight", shape.weight_len(), accumulate)?;
        let channels = biases(shape, transposed);
        let grad_bias = match self.grad_bias {
            None => None,
            Some(sums) => Some(sums.checked("grad_bias", channels, accumulate)?),
        };
        let sources = [image.1, made.1];
        let mut call =
            OverPixels { sources, mask, of_input: transposed, grad_bias, write: write(accumulate) };
        lent.run(plan, (Pass::BackwardWeight, mask.is_some()), |layer, scratch| {
            plan.over_pixels(layer, &mut call, to, scratch);
        })
    }

    /// Computes `grad_weight` into a new vector, as [`Forward::into_vec`](crate::Forward::into_vec).
    ///
    /// # Errors
    /// As [`Forward::into_vec`](crate::Forward::into_vec).
    pub fn into_vec(self) -> Result<Vec<T>, Error> {
        if self.accumulate {
            return Err(Error::Uninitialised { what: "grad_weight" });
        }
        written(self.plan.shape().weight_len(), |grad_weight| self.run(grad_weight))
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
    mask: Option<&'a [T]>,
    accumulate: bool,
    executor: &'a dyn Executor,
}

impl<'a, T: Element> BackwardBias<'a, T> {
    pub(crate) fn new(plan: &'a Plan<T>, transposed: bool, grad_output: &'a [T]) -> Self {
        let (mask, executor) = (None, &DEFAULT);
        Self { plan, transposed, grad_output, mask, accumulate: false, executor }
    }

    /// As [`BackwardData::mask`](crate::BackwardData::mask).
    pub fn mask(mut self, output: &'a [T]) -> Self {
        self.mask = Some(output);
        self
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

    /// As [`Forward::executor`](crate::Forward::executor).
    pub fn executor(mut self, executor: &'a dyn Executor) -> Self {
        self.executor = executor;
        self
    }

    /// Computes and stores `grad_bias`, one element for each output channel.
    ///
    /// # Errors
    /// As [`Forward::run`](crate::Forward::run).
    pub fn run<'o>(self, grad_bias: impl Into<Output<'o, T>>) -> Result<(), Error> {
        let Self { plan, transposed, grad_output, mask, accumulate, executor } = self;
        let shape = plan.shape();
        let len = if transposed { shape.input_len() } else { shape.output_len() };
        check_len("grad_output", len, grad_output.len())?;
        let to = grad_bias.into().checked("grad_bias", biases(shape, transposed), accumulate)?;
        let mask: Option<Mask<'_, T>> = checked_mask(plan, mask, len, transposed)?;
        plan.sum_of_channels(executor, transposed, (grad_output, mask), to, write(accumulate));
        Ok(())
    }

    /// Computes `grad_bias` into a new vector, as [`Forward::into_vec`](crate::Forward::into_vec).
    ///
    /// # Errors
    /// As [`Forward::into_vec`](crate::Forward::into_vec).
    pub fn into_vec(self) -> Result<Vec<T>, Error> {
        if self.accumulate {
            return Err(Error::Uninitialised { what: "grad_bias" });
        }
        written(biases(self.plan.shape(), self.transposed), |grad_bias| self.run(grad_bias))
    }
}

/// Biases of a layer, which is the transposed one of the convolution or the convolution itself.
fn biases(shape: &Shape, transposed: bool) -> usize {
    if transposed { shape.in_channels() } else { shape.out_channels() }
}

fn write(accumulate: bool) -> Write {
    if accumulate { Write::Accumulate } else { Write::Overwrite }
}
