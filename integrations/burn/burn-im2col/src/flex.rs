//! im2col's calls on Flex's tensors. Nothing here needs the rest of this crate but [`Product`] and `frozen`: a feature
//! of burn-flex could call it from its hooks as it is.

use crate::frozen::Frozen;
use crate::{Pass, Product};
use burn::backend::Element;
use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};
use im2col::{Error, Options, Params, Plan, Plans};
use std::sync::{Arc, LazyLock};

/// What is kept between calls, for one type of elements: all of bounded size, and shared by all threads.
struct Kept<T: Copy + 'static> {
    plans: LazyLock<Plans<T>>,
    /// Those for weights that are packed.
    inference: LazyLock<Plans<T>>,
    frozen: Frozen<T>,
}

impl<T: im2col::Element> Kept<T> {
    const fn new() -> Self {
        let inference = || Plans::with(Options::default().inference(), Plans::<T>::BOUND);
        Self {
            plans: LazyLock::new(Plans::new),
            inference: LazyLock::new(inference),
            frozen: Frozen::new(),
        }
    }
}

/// The element types: `f32` and `f64`.
trait Real: im2col::Element + Element + bytemuck::Pod {
    fn kept() -> &'static Kept<Self>;

    /// The plan of a layer.
    fn plan(params: &Params) -> Result<Arc<Plan<Self>>, Error> {
        Self::kept().plans.get(params)
    }
}

impl Real for f32 {
    fn kept() -> &'static Kept<f32> {
        static KEPT: Kept<f32> = Kept::new();
        &KEPT
    }
}

impl Real for f64 {
    fn kept() -> &'static Kept<f64> {
        static KEPT: Kept<f64> = Kept::new();
        &KEPT
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
    let bias = bias.as_ref().map(elements::<T>);
    let shape = product.shape();
    assert!(bias.is_none_or(|bias| bias.len() == shape[1]), "a bias of {} elements", shape[1]);
    let (x, y) = (elements::<T>(&a), elements::<T>(&b));
    let params = product.params();
    let done = match (product.pass(), bias) {
        (Pass::Forward, bias) if product.is_tracked() => {
            T::plan(params).and_then(|plan| plan.forward(x, y).maybe_bias(bias).into_vec())
        }
        (Pass::Forward, bias) => forward(params, x, &b, bias),
        (Pass::BackwardData, None) => {
            T::plan(params).and_then(|plan| plan.backward_data(x, y).into_vec())
        }
        (Pass::BackwardData, Some(bias)) => {
            let mut out = in_all_pixels(bias, &shape);
            let plan = T::plan(params);
            plan.and_then(|plan| plan.backward_data(x, y).accumulate().run(&mut out)).map(|()| out)
        }
        (Pass::BackwardWeight, _) => {
            T::plan(params).and_then(|plan| plan.backward_weight(x, y).into_vec())
        }
    };
    tensor(done.unwrap_or_else(|error| panic!("{error}")), shape)
}

/// A forward product without gradients. A weight that comes again is packed from then on.
fn forward<T: Real>(
    params: &Params,
    input: &[T],
    weight: &FlexTensor,
    bias: Option<&[T]>,
) -> Result<Vec<T>, Error> {
    let Kept { inference, frozen, .. } = T::kept();
    let elements = elements::<T>(weight);
    let start = weight.layout().start_offset();
    let plan = inference.get(params)?;
    match frozen.packed(&plan, weight, start, elements)? {
        Some(packed) => plan.forward(input, &*packed).maybe_bias(bias).into_vec(),
        None => T::plan(params)?.forward(input, elements).maybe_bias(bias).into_vec(),
    }
}

/// What a transposed layer's output starts from: the bias of its channel in each pixel.
fn in_all_pixels<T: Real>(bias: &[T], shape: &Shape) -> Vec<T> {
    let pixels: usize = shape[2..].iter().product();
    let mut out = Vec::with_capacity(shape.num_elements());
    for _image in 0..shape[0] {
        bias.iter().for_each(|&bias| out.extend(std::iter::repeat_n(bias, pixels)));
    }
    out
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
