//! Every use of im2col's calls is here, so that a change of theirs is a change of this file.

use im2col::{Element, Error, Params, Plan, Plans};
use std::sync::{Arc, LazyLock};

/// The element types: `f32` and `f64`.
pub trait Real: Element + private::Sealed {
    #[doc(hidden)]
    fn plan(params: &Params) -> Result<Arc<Plan<Self>>, Error>;
}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

impl Real for f32 {
    fn plan(params: &Params) -> Result<Arc<Plan<Self>>, Error> {
        static PLANS: LazyLock<Plans<f32>> = LazyLock::new(Plans::new);
        PLANS.get(params)
    }
}

impl Real for f64 {
    fn plan(params: &Params) -> Result<Arc<Plan<Self>>, Error> {
        static PLANS: LazyLock<Plans<f64>> = LazyLock::new(Plans::new);
        PLANS.get(params)
    }
}

/// `output = W · cols + bias`.
pub(crate) fn forward<T: Real>(
    params: &Params,
    input: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    output: &mut [T],
) -> Result<(), Error> {
    T::plan(params)?.forward(input, weight).maybe_bias(bias).run(output)
}

/// The gradient of the input, written over `grad_input`.
pub(crate) fn backward_data<T: Real>(
    params: &Params,
    weight: &[T],
    grad_output: &[T],
    grad_input: &mut [T],
) -> Result<(), Error> {
    T::plan(params)?.backward_data(weight, grad_output).run(grad_input)
}

/// The gradient of the weights, summed over the batch and written over `grad_weight`.
pub(crate) fn backward_weight<T: Real>(
    params: &Params,
    input: &[T],
    grad_output: &[T],
    grad_weight: &mut [T],
) -> Result<(), Error> {
    T::plan(params)?.backward_weight(input, grad_output).run(grad_weight)
}
