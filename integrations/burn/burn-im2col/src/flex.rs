//! im2col's calls on Flex's tensors. Nothing here needs the rest of this crate but [`Product`]: a feature of burn-flex
//! could call it from its hooks as it is.

use crate::{Pass, Product};
use burn::backend::Element;
use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};
use im2col::{Params, Plan, Plans};
use std::sync::{Arc, LazyLock};

/// The element types: `f32` and `f64`.
trait Real: im2col::Element + Element + bytemuck::Pod {
    /// The plan of a layer, from a bounded cache that all threads share.
    fn plan(params: &Params) -> Result<Arc<Plan<Self>>, im2col::Error>;
}

impl Real for f32 {
    fn plan(params: &Params) -> Result<Arc<Plan<Self>>, im2col::Error> {
        static PLANS: LazyLock<Plans<f32>> = LazyLock::new(Plans::new);
        PLANS.get(params)
    }
}

impl Real for f64 {
    fn plan(params: &Params) -> Result<Arc<Plan<Self>>, im2col::Error> {
        static PLANS: LazyLock<Plans<f64>> = LazyLock::new(Plans::new);
        PLANS.get(params)
    }
}

/// A layer's third edge from the two others, which come in the order of [`Product`]'s table; a bias has one element for
/// each channel of the result.
///
/// # Panics
/// Where the tensors are not of one type, f32 or f64, or not of the product's sizes.
pub fn product(
    product: &Product,
    a: FlexTensor,
    b: FlexTensor,
    bias: Option<FlexTensor>,
) -> FlexTensor {
    match a.dtype() {
        DType::F32 => product_of::<f32>(product, a, b, bias),
        DType::F64 => product_of::<f64>(product, a, b, bias),
        other => panic!("im2col computes f32 and f64: found {other:?}"),
    }
}

/// The gradient of a bias: `grad` `[N, K, spatial..]` summed over all axes but the second.
///
/// # Panics
/// Where `grad` is not of f32 or f64, or has no elements.
pub fn bias_gradient(grad: FlexTensor) -> FlexTensor {
    match grad.dtype() {
        DType::F32 => bias_gradient_of::<f32>(grad),
        DType::F64 => bias_gradient_of::<f64>(grad),
        other => panic!("im2col computes f32 and f64: found {other:?}"),
    }
}

fn product_of<T: Real>(
    product: &Product,
    a: FlexTensor,
    b: FlexTensor,
    bias: Option<FlexTensor>,
) -> FlexTensor {
    let (a, b, bias) = (dense(a), dense(b), bias.map(dense));
    let (a, b, bias) = (elements::<T>(&a), elements::<T>(&b), bias.as_ref().map(elements::<T>));
    let shape = product.shape();
    let pixels: usize = shape[2..].iter().product();
    assert!(bias.is_none_or(|bias| bias.len() == shape[1]), "a bias of {} elements", shape[1]);
    let mut out = vec![<T as im2col::Element>::ZERO; shape.num_elements()];
    let done = T::plan(product.params()).and_then(|plan| match (product.pass(), bias) {
        (Pass::Forward, bias) => plan.forward(a, b).maybe_bias(bias).run(&mut out),
        (Pass::BackwardData, None) => plan.backward_data(a, b).run(&mut out),
        (Pass::BackwardData, Some(bias)) => {
            for (pixels, &bias) in out.chunks_exact_mut(pixels.max(1)).zip(bias.iter().cycle()) {
                pixels.fill(bias);
            }
            plan.backward_data(a, b).accumulate().run(&mut out)
        }
        (Pass::BackwardWeight, _) => plan.backward_weight(a, b).run(&mut out),
    });
    done.unwrap_or_else(|error| panic!("{error}"));
    tensor(out, shape)
}

fn bias_gradient_of<T: Real>(grad: FlexTensor) -> FlexTensor {
    let grad = dense(grad);
    let dims = grad.layout().shape().to_vec();
    let (channels, pixels) = (dims[1], dims[2..].iter().product());
    // Any layer with this output has this gradient.
    let params = Params {
        axes: 1,
        batch: dims[0],
        out_channels: channels,
        input: [pixels, 1, 1],
        ..Params::default()
    };
    let mut out = vec![<T as im2col::Element>::ZERO; channels];
    let done =
        T::plan(&params).and_then(|plan| plan.backward_bias(elements::<T>(&grad)).run(&mut out));
    done.unwrap_or_else(|error| panic!("{error}"));
    tensor(out, Shape::from(vec![channels]))
}

fn dense(tensor: FlexTensor) -> FlexTensor {
    match tensor.layout().contiguous_offsets() {
        Some(_) => tensor,
        None => tensor.to_contiguous(),
    }
}

fn elements<T: Real>(dense: &FlexTensor) -> &[T] {
    let (start, end) = dense.layout().contiguous_offsets().expect("`dense` has seen it");
    &dense.storage::<T>()[start..end]
}

fn tensor<T: Real>(elements: Vec<T>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(elements), Layout::contiguous(shape), T::dtype())
}
