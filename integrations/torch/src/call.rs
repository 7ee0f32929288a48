//! The calls into im2col: the only file that names its passes.

use crate::abi::abi;
use crate::array::pass_of;
use crate::cache::Cache;
use crate::scratch;
use im2col::{
    Accuracy, Element, Error, Executor, Options, Params, Pass, Plan, Shape, TransposedPlan, Weight,
};
use std::mem::MaybeUninit;
use std::sync::{Arc, LazyLock};

/// Plans that are kept for each type of elements.
const MOST_PLANS: usize = 1024;

/// What a plan is made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Planned {
    pub(crate) params: Params,
    pub(crate) accuracy: Accuracy,
    /// Whether it is for the forward pass alone, of a convolution whose weight is packed once.
    pub(crate) frozen: bool,
}

/// A plan as a transposed layer's; that of the convolution is within.
pub(crate) type Plans<T> = Cache<Planned, Arc<TransposedPlan<T>>>;

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
pub(crate) fn plan<T: Float>(
    params: &Params,
    accuracy: Accuracy,
) -> Result<Arc<TransposedPlan<T>>, Error> {
    made_as(Planned { params: *params, accuracy, frozen: false })
}

/// The plan of a layer's forward pass whose weight is frozen: chosen as for a weight that is packed once. A transposed
/// layer's is the same as [`plan`].
pub(crate) fn frozen_plan<T: Float>(
    params: &Params,
    accuracy: Accuracy,
    transposed: bool,
) -> Result<Arc<TransposedPlan<T>>, Error> {
    made_as(Planned { params: *params, accuracy, frozen: !transposed })
}

fn made_as<T: Float>(planned: Planned) -> Result<Arc<TransposedPlan<T>>, Error> {
    T::plans().get_or(planned, || {
        let options = Options::default().accuracy(planned.accuracy);
        let options = if planned.frozen { options.inference() } else { options };
        Plan::new(Shape::new(planned.params)?, options)?.transposed().map(Arc::new)
    })
}

/// What a pass over the taps reads and writes beside weight and bias.
pub(crate) struct Ends<'a, T> {
    pub(crate) from: &'a [T],
    pub(crate) to: &'a mut [MaybeUninit<T>],
}

/// `output = W · cols + bias`, or for a transposed layer `col2im(input · W) + bias`.
pub(crate) fn forward<T: Float>(
    plan: &TransposedPlan<T>,
    transposed: bool,
    executor: &dyn Executor,
    ends: Ends<'_, T>,
    weight: Weight<'_, T>,
    bias: Option<&[T]>,
) -> Result<(), Error> {
    let call = if transposed {
        plan.forward(ends.from, weight)
    } else {
        plan.conv().forward(ends.from, weight)
    };
    let pass = pass_of(transposed);
    scratch::lend(plan.conv().scratch_len_on(pass, executor), |scratch| {
        call.maybe_scratch(scratch).maybe_bias(bias).executor(executor).run(ends.to)
    })
}

/// `grad_input = col2im(grad_output · W)`, or for a transposed layer `W · cols`.
pub(crate) fn backward_data<T: Float>(
    plan: &TransposedPlan<T>,
    transposed: bool,
    executor: &dyn Executor,
    ends: Ends<'_, T>,
    weight: Weight<'_, T>,
) -> Result<(), Error> {
    let call = if transposed {
        plan.backward_data(weight, ends.from)
    } else {
        plan.conv().backward_data(weight, ends.from)
    };
    let pass = pass_of(!transposed);
    scratch::lend(plan.conv().scratch_len_on(pass, executor), |scratch| {
        call.maybe_scratch(scratch).executor(executor).run(ends.to)
    })
}

/// `grad_weight = grad_outputᵀ · cols`, and the gradient of the bias where it is wanted, too.
pub(crate) fn backward_weight<T: Float>(
    plan: &TransposedPlan<T>,
    transposed: bool,
    executor: &dyn Executor,
    [input, grad_output]: [&[T]; 2],
    grad_weight: &mut [MaybeUninit<T>],
    grad_bias: Option<&mut [MaybeUninit<T>]>,
) -> Result<(), Error> {
    let mut call = if transposed {
        plan.backward_weight(input, grad_output)
    } else {
        plan.conv().backward_weight(input, grad_output)
    };
    if let Some(grad_bias) = grad_bias {
        call = call.grad_bias(grad_bias);
    }
    scratch::lend(plan.conv().scratch_len_on(Pass::BackwardWeight, executor), |scratch| {
        call.maybe_scratch(scratch).executor(executor).run(grad_weight)
    })
}

/// The gradient of the bias alone: the sum of `grad_output` over the pixels and the batch, for each channel.
pub(crate) fn backward_bias<T: Float>(
    plan: &TransposedPlan<T>,
    transposed: bool,
    executor: &dyn Executor,
    grad_output: &[T],
    grad_bias: &mut [MaybeUninit<T>],
) -> Result<(), Error> {
    let call = if transposed {
        plan.backward_bias(grad_output)
    } else {
        plan.conv().backward_bias(grad_output)
    };
    call.executor(executor).run(grad_bias)
}
