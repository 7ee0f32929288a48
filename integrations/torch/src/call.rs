//! The calls into im2col: the only file that names its passes.

use crate::abi::abi;
use crate::cache::Cache;
use im2col::{Accuracy, Element, Error, Executor, Layout, Options, Params, Plan, Shape, Weight};
use std::mem::MaybeUninit;
use std::sync::{Arc, LazyLock};

/// Plans that are kept for each type of elements.
const MOST_PLANS: usize = 1024;

pub(crate) type Plans<T> = Cache<(Params, Accuracy), Arc<Plan<T>>>;

/// f32 or f64, with the plans that are kept for it.
pub(crate) trait Float: Element {
    fn plans() -> &'static Plans<Self>;

    /// Whether libtorch's number of a type is this one.
    fn is(dtype: i32) -> bool;
}

static F32: LazyLock<Plans<f32>> = LazyLock::new(|| Cache::new(MOST_PLANS));
static F64: LazyLock<Plans<f64>> = LazyLock::new(|| Cache::new(MOST_PLANS));

impl Float for f32 {
    fn plans() -> &'static Plans<f32> {
        &F32
    }

    fn is(dtype: i32) -> bool {
        // SAFETY: no arguments.
        dtype == unsafe { (abi().aoti_torch_dtype_float32)() }
    }
}

impl Float for f64 {
    fn plans() -> &'static Plans<f64> {
        &F64
    }

    fn is(dtype: i32) -> bool {
        // SAFETY: no arguments.
        dtype == unsafe { (abi().aoti_torch_dtype_float64)() }
    }
}

/// The plan of a layer, made at its first call.
pub(crate) fn plan<T: Float>(params: &Params, accuracy: Accuracy) -> Result<Arc<Plan<T>>, Error> {
    T::plans().get_or((*params, accuracy), || {
        let mut options = Options::default();
        options.accuracy = accuracy;
        Plan::new(Shape::new(*params)?, options).map(Arc::new)
    })
}

/// What a pass over the taps reads and writes beside weight and bias.
pub(crate) struct Ends<'a, T> {
    pub(crate) from: &'a [T],
    pub(crate) to: &'a mut [MaybeUninit<T>],
}

/// `output = W · cols + bias`
pub(crate) fn forward<T: Float>(
    plan: &Plan<T>,
    executor: &dyn Executor,
    ends: Ends<'_, T>,
    weight: Weight<'_, T>,
    bias: Option<&[T]>,
) -> Result<(), Error> {
    plan.forward(ends.from, weight).maybe_bias(bias).executor(executor).run(ends.to)
}

/// `grad_input = col2im(grad_output · W) + bias`: a bias is what transposed layers have here.
pub(crate) fn backward_data<T: Float>(
    plan: &Plan<T>,
    executor: &dyn Executor,
    ends: Ends<'_, T>,
    weight: Weight<'_, T>,
    bias: Option<&[T]>,
) -> Result<(), Error> {
    plan.backward_data(weight, ends.from).executor(executor).run(&mut *ends.to)?;
    let Some(bias) = bias else { return Ok(()) };
    // SAFETY: the pass has written every element.
    let output = unsafe { &mut *(std::ptr::from_mut(ends.to) as *mut [T]) };
    let shape = plan.shape();
    if shape.layout() == Layout::ChannelsLast {
        for pixel in output.chunks_exact_mut(bias.len()) {
            pixel.iter_mut().zip(bias).for_each(|(y, &bias)| *y += bias);
        }
        return Ok(());
    }
    let planes = output.chunks_exact_mut(shape.input_pixels());
    for (plane, &bias) in planes.zip(bias.iter().cycle()) {
        plane.iter_mut().for_each(|y| *y += bias);
    }
    Ok(())
}

/// `grad_weight = grad_outputᵀ · cols`
pub(crate) fn backward_weight<T: Float>(
    plan: &Plan<T>,
    executor: &dyn Executor,
    input: &[T],
    grad_output: &[T],
    grad_weight: &mut [MaybeUninit<T>],
) -> Result<(), Error> {
    plan.backward_weight(input, grad_output).executor(executor).run(grad_weight)
}

/// The sum of `grad_output` over the pixels and the batch, for each channel.
pub(crate) fn backward_bias<T: Float>(
    plan: &Plan<T>,
    executor: &dyn Executor,
    grad_output: &[T],
    grad_bias: &mut [MaybeUninit<T>],
) -> Result<(), Error> {
    plan.backward_bias(grad_output).executor(executor).run(grad_bias)
}
