//! The calls into im2col: the only file that names its passes.

use crate::abi::abi;
use crate::cache::Cache;
use im2col::{Element, Error, Layout, Parallelism, Params, Plan, Shape, Write};
use std::mem::MaybeUninit;
use std::sync::{Arc, LazyLock};

/// Plans that are kept for each type of elements.
const MOST_PLANS: usize = 1024;

pub(crate) type Plans<T> = Cache<Params, Arc<Plan<T>>>;

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
pub(crate) fn plan<T: Float>(params: &Params) -> Result<Arc<Plan<T>>, Error> {
    T::plans().get_or(*params, || {
        Plan::new(Shape::new(*params)?, Default::default(), Parallelism::Serial).map(Arc::new)
    })
}

/// `output = W · cols + bias`
pub(crate) fn forward<T: Float>(
    plan: &Plan<T>,
    input: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    output: &mut [MaybeUninit<T>],
) -> Result<(), Error> {
    plan.forward(input, weight, bias, written(output))
}

/// `grad_input = col2im(grad_output · W) + bias`: a bias is what transposed layers have here.
pub(crate) fn backward_data<T: Float>(
    plan: &Plan<T>,
    weight: &[T],
    grad_output: &[T],
    bias: Option<&[T]>,
    grad_input: &mut [MaybeUninit<T>],
) -> Result<(), Error> {
    let grad_input = written(grad_input);
    plan.backward_data(weight, grad_output, grad_input, Write::Overwrite)?;
    let Some(bias) = bias else { return Ok(()) };
    let shape = plan.shape();
    match shape.layout() {
        Layout::ChannelsFirst => {
            let planes = grad_input.chunks_exact_mut(shape.input_pixels());
            for (plane, &bias) in planes.zip(bias.iter().cycle()) {
                plane.iter_mut().for_each(|y| *y = *y + bias);
            }
        }
        Layout::ChannelsLast => {
            for pixel in grad_input.chunks_exact_mut(bias.len()) {
                pixel.iter_mut().zip(bias).for_each(|(y, &bias)| *y = *y + bias);
            }
        }
    }
    Ok(())
}

/// `grad_weight = grad_outputᵀ · cols`
pub(crate) fn backward_weight<T: Float>(
    plan: &Plan<T>,
    input: &[T],
    grad_output: &[T],
    grad_weight: &mut [MaybeUninit<T>],
) -> Result<(), Error> {
    plan.backward_weight(input, grad_output, written(grad_weight), Write::Overwrite)
}

/// The sum of `grad_output` over the pixels and the batch, for each channel; its layer has `params`.
pub(crate) fn backward_bias<T: Float>(
    plan: &Plan<T>,
    grad_output: &[T],
    grad_bias: &mut [MaybeUninit<T>],
) -> Result<(), Error> {
    plan.backward_bias(grad_output, written(grad_bias), Write::Overwrite)
}

/// The elements as passes want them, that write all and read none.
fn written<T: Float>(elements: &mut [MaybeUninit<T>]) -> &mut [T] {
    elements.fill(MaybeUninit::new(T::default()));
    // SAFETY: every element has just been written.
    unsafe { &mut *(std::ptr::from_mut(elements) as *mut [T]) }
}
