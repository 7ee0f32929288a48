//! The CPU kernels of `aten::convolution` and `aten::convolution_backward`.

use crate::abi::{self, VERSION, Value, abi, boxed, unbox};
use crate::array::pass_of;
use crate::call::{self, Ends, Float};
use crate::executor::Torch;
use crate::frozen;
use crate::layer::{Layer, Options, Reason};
use crate::stats::{self, Pass};
use crate::tensor::{List, Tensor};
use im2col::{Layout, PackedWeight, Plan, Weight};
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// `aten::convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups)`
///
/// # Safety
/// libtorch calls it with a stack of these arguments, which it owns.
pub(crate) unsafe extern "C-unwind" fn convolution(
    stack: *mut Value,
    arguments: u64,
    _results: u64,
) {
    // SAFETY: as many values as libtorch says, for the length of the call.
    let stack = unsafe { std::slice::from_raw_parts_mut(stack, arguments as usize) };
    // SAFETY: the stack holds this operator's arguments.
    finish(|| unsafe { Forward::take(stack) }.run().map(|output| stack[0] = output.into_value()));
}

/// `aten::convolution_backward(grad_output, input, weight, bias_sizes, stride, padding, dilation, transposed,
/// output_padding, groups, output_mask)`
///
/// # Safety
/// libtorch calls it with a stack of these arguments, which it owns.
pub(crate) unsafe extern "C-unwind" fn convolution_backward(
    stack: *mut Value,
    arguments: u64,
    _results: u64,
) {
    // SAFETY: as many values as libtorch says, for the length of the call.
    let stack = unsafe { std::slice::from_raw_parts_mut(stack, arguments as usize) };
    finish(|| {
        // SAFETY: the stack holds this operator's arguments.
        let gradients = unsafe { Backward::take(stack) }.run()?;
        for (place, gradient) in stack.iter_mut().zip(gradients) {
            *place = gradient.into_value();
        }
        Ok(())
    });
}

/// Runs a kernel; what goes wrong in it becomes an exception after all that it held is dropped.
fn finish(kernel: impl FnOnce() -> Result<(), String>) {
    let message = match catch_unwind(AssertUnwindSafe(kernel)) {
        Ok(Ok(())) => return,
        Ok(Err(message)) => message,
        Err(_) => "im2col: a bug, please report it; its words are on the standard error".into(),
    };
    abi::raise(message);
}

/// The arguments of a forward call.
struct Forward {
    input: Tensor,
    weight: Tensor,
    bias: Option<Tensor>,
    options: Options,
}

impl Forward {
    /// # Safety
    /// `stack` holds the arguments of `aten::convolution`, which are nobody else's.
    unsafe fn take(stack: &[Value]) -> Self {
        // SAFETY: as the caller says; each value is taken once.
        unsafe {
            Self {
                input: Tensor::from_value(stack[0]),
                weight: Tensor::from_value(stack[1]),
                bias: unbox(stack[2]).map(|bias| Tensor::from_value(bias)),
                options: take_options(&stack[3..9]),
            }
        }
    }

    fn run(mut self) -> Result<Tensor, String> {
        self.bias = self.bias.take().filter(Tensor::is_defined);
        match self.layer() {
            Ok((layer, Element::F32)) => self.compute::<f32>(layer),
            Ok((layer, Element::F64)) => self.compute::<f64>(layer),
            Err(reason) => self.leave(reason),
        }
    }

    fn layer(&self) -> Result<(Layer, Element), Reason> {
        let tensors = [Some(&self.input), Some(&self.weight), self.bias.as_ref()];
        let element = element(tensors.into_iter().flatten())?;
        let layer = Layer::new(&self.input, &self.weight, &self.options)?;
        match &self.bias {
            Some(bias) if bias.sizes() != [layer.bias_len()] => Err(Reason::Invalid),
            _ => Ok((layer, element)),
        }
    }

    fn compute<T: Float>(self, layer: Layer) -> Result<Tensor, String> {
        let dtype = self.input.dtype();
        let Layer { params, transposed, .. } = layer;
        if params.batch == 0 {
            stats::ours(Pass::Forward);
            return Tensor::empty(layer.output(), Layout::ChannelsFirst, dtype);
        }
        let failed = |error| failure(error, &self.input, &self.weight);
        let accuracy = stats::accuracy();
        let plan = match frozen::is_frozen(&self.weight) {
            true => call::frozen_plan::<T>(&params, accuracy, transposed),
            false => call::plan::<T>(&params, accuracy),
        }
        .map_err(failed)?;
        let mut output = Tensor::empty(layer.output(), params.layout, dtype)?;
        let input = self.input.share()?.dense(params.layout)?;
        let bias = self
            .bias
            .as_ref()
            .map(|bias| bias.share()?.dense(Layout::ChannelsFirst))
            .transpose()?;
        let weight = Weights::new(plan.conv(), pass_of(transposed), &self.weight)?;
        let ends = Ends { from: input.elements_of::<T>(), to: output.elements_mut() };
        let (w, b) = (weight.elements(), bias.as_ref().map(Tensor::elements_of));
        call::forward(&plan, transposed, &Torch, ends, w, b).map_err(failed)?;
        stats::ours(Pass::Forward);
        Ok(output)
    }

    /// `aten::_convolution` is what PyTorch's own kernel of `aten::convolution` calls; its last four arguments concern
    /// other devices.
    fn leave(self, reason: Reason) -> Result<Tensor, String> {
        stats::left(Pass::Forward, reason);
        let shapes = shapes(&self.input, &self.weight);
        let [stride, padding, dilation, transposed, output_padding, groups] =
            self.options.into_values();
        let mut stack = [
            self.input.into_value(),
            self.weight.into_value(),
            self.bias.map_or(0, |bias| boxed(bias.into_value())),
            stride,
            padding,
            dilation,
            transposed,
            output_padding,
            groups,
            0,
            0,
            1,
            1,
        ];
        dispatch(c"aten::_convolution", &mut stack, &shapes)?;
        // SAFETY: the operator has put its result there.
        Ok(unsafe { Tensor::from_value(stack[0]) })
    }
}

/// The arguments of a backward call.
struct Backward {
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    bias_sizes: Option<List>,
    options: Options,
    mask: List,
}

impl Backward {
    /// # Safety
    /// `stack` holds the arguments of `aten::convolution_backward`, which are nobody else's.
    unsafe fn take(stack: &[Value]) -> Self {
        // SAFETY: as the caller says; each value is taken once.
        unsafe {
            Self {
                grad_output: Tensor::from_value(stack[0]),
                input: Tensor::from_value(stack[1]),
                weight: Tensor::from_value(stack[2]),
                bias_sizes: unbox(stack[3]).map(|sizes| List::from_value(sizes)),
                options: take_options(&stack[4..10]),
                mask: List::from_value(stack[10]),
            }
        }
    }

    fn run(self) -> Result<[Tensor; 3], String> {
        match self.layer() {
            Ok((layer, Element::F32)) => self.compute::<f32>(layer),
            Ok((layer, Element::F64)) => self.compute::<f64>(layer),
            Err(reason) => self.leave(reason),
        }
    }

    fn layer(&self) -> Result<(Layer, Element), Reason> {
        let element = element([&self.grad_output, &self.input, &self.weight].into_iter())?;
        let layer = Layer::new(&self.input, &self.weight, &self.options)?;
        if self.grad_output.sizes() != layer.output() || self.mask.len() != 3 {
            return Err(Reason::Invalid);
        }
        Ok((layer, element))
    }

    fn compute<T: Float>(self, layer: Layer) -> Result<[Tensor; 3], String> {
        let Layer { params, transposed, .. } = layer;
        let dtype = self.input.dtype();
        let wanted = [0, 1, 2].map(|index| self.mask.get(index) & 1 != 0);
        if params.batch == 0 {
            stats::ours(Pass::Backward);
            let none = |wanted, sizes: &[i64]| match wanted {
                true => Tensor::empty(sizes, Layout::ChannelsFirst, dtype)?.zero(),
                false => Tensor::undefined(),
            };
            return Ok([
                none(wanted[0], self.input.sizes())?,
                none(wanted[1], self.weight.sizes())?,
                none(wanted[2], &[layer.bias_len()])?,
            ]);
        }
        let failed = |error| failure(error, &self.input, &self.weight);
        let plan = call::plan::<T>(&params, stats::accuracy()).map_err(failed)?;
        let grad_output = self.grad_output.share()?.dense(params.layout)?;
        let dy = grad_output.elements_of::<T>();
        let mut gradients = [Tensor::undefined()?, Tensor::undefined()?, Tensor::undefined()?];
        if wanted[0] {
            let weight = Weights::new(plan.conv(), pass_of(!transposed), &self.weight)?;
            let mut gradient = Tensor::empty(self.input.sizes(), params.layout, dtype)?;
            let ends = Ends { from: dy, to: gradient.elements_mut() };
            let done = call::backward_data(&plan, transposed, &Torch, ends, weight.elements());
            done.map_err(failed)?;
            gradients[0] = gradient;
        }
        let mut grad_bias = match wanted[2] {
            true => Tensor::empty(&[layer.bias_len()], Layout::ChannelsFirst, dtype)?,
            false => Tensor::undefined()?,
        };
        if wanted[1] {
            let input = self.input.share()?.dense(params.layout)?;
            let mut gradient = Tensor::empty(self.weight.sizes(), params.layout, dtype)?;
            let (x, dw) = (input.elements_of(), gradient.elements_mut());
            let db = wanted[2].then(|| grad_bias.elements_mut());
            call::backward_weight(&plan, transposed, &Torch, [x, dy], dw, db).map_err(failed)?;
            gradients[1] = gradient;
        } else if wanted[2] {
            let db = grad_bias.elements_mut();
            call::backward_bias(&plan, transposed, &Torch, dy, db).map_err(failed)?;
        }
        gradients[2] = grad_bias;
        stats::ours(Pass::Backward);
        Ok(gradients)
    }

    /// PyTorch's own kernel, which the Python side keeps under this name.
    fn leave(self, reason: Reason) -> Result<[Tensor; 3], String> {
        stats::left(Pass::Backward, reason);
        let shapes = shapes(&self.input, &self.weight);
        let [stride, padding, dilation, transposed, output_padding, groups] =
            self.options.into_values();
        let mut stack = [
            self.grad_output.into_value(),
            self.input.into_value(),
            self.weight.into_value(),
            self.bias_sizes.map_or(0, |sizes| boxed(sizes.into_value())),
            stride,
            padding,
            dilation,
            transposed,
            output_padding,
            groups,
            self.mask.into_value(),
        ];
        dispatch(c"im2col::convolution_backward", &mut stack, &shapes)?;
        // SAFETY: the operator has put its three results there.
        Ok([0, 1, 2].map(|index| unsafe { Tensor::from_value(stack[index]) }))
    }
}

/// The weight of a pass: packed where it is frozen, otherwise as it is.
enum Weights<T: Copy> {
    Packed(Arc<PackedWeight<T>>),
    Dense(Tensor),
}

impl<T: Float> Weights<T> {
    fn new(plan: &Plan<T>, pass: im2col::Pass, weight: &Tensor) -> Result<Self, String> {
        if let Some(packed) = frozen::packed(plan, pass, weight)? {
            return Ok(Self::Packed(packed));
        }
        Ok(Self::Dense(weight.share()?.dense(plan.shape().layout())?))
    }

    fn elements(&self) -> Weight<'_, T> {
        match self {
            Self::Packed(packed) => (&**packed).into(),
            Self::Dense(weight) => weight.elements_of().into(),
        }
    }
}

/// What the elements of a call are.
enum Element {
    F32,
    F64,
}

/// The type that all tensors have.
fn element<'a>(mut tensors: impl Iterator<Item = &'a Tensor> + Clone) -> Result<Element, Reason> {
    if !tensors.clone().all(Tensor::is_strided_cpu) {
        return Err(Reason::Storage);
    }
    let first = tensors.next().map_or(-1, Tensor::dtype);
    if tensors.any(|tensor| tensor.dtype() != first) {
        return Err(Reason::DType);
    }
    match first {
        dtype if f32::is(dtype) => Ok(Element::F32),
        dtype if f64::is(dtype) => Ok(Element::F64),
        _ => Err(Reason::DType),
    }
}

/// # Safety
/// `stack` holds stride, padding, dilation, transposed, output_padding and groups, which are nobody else's.
unsafe fn take_options(stack: &[Value]) -> Options {
    // SAFETY: as the caller says; each value is taken once.
    unsafe {
        Options {
            stride: List::from_value(stack[0]),
            padding: List::from_value(stack[1]),
            dilation: List::from_value(stack[2]),
            // Of a boolean only the lowest byte is given.
            transposed: stack[3] & 0xff != 0,
            output_padding: List::from_value(stack[4]),
            groups: stack[5] as i64,
        }
    }
}

impl Options {
    fn into_values(self) -> [Value; 6] {
        [
            self.stride.into_value(),
            self.padding.into_value(),
            self.dilation.into_value(),
            Value::from(self.transposed),
            self.output_padding.into_value(),
            self.groups as Value,
        ]
    }
}

/// Calls an operator, which takes the arguments on the stack and puts its results there.
fn dispatch(operator: &CStr, stack: &mut [Value], shapes: &str) -> Result<(), String> {
    // SAFETY: strings that end in 0; the stack holds the operator's arguments, owned.
    let status = unsafe {
        (abi().torch_call_dispatcher)(operator.as_ptr(), c"".as_ptr(), stack.as_mut_ptr(), VERSION)
    };
    if status == 0 {
        return Ok(());
    }
    Err(abi::last_exception().unwrap_or_else(|| {
        format!("PyTorch refuses a convolution of {shapes}: its words are on the standard error")
    }))
}

fn shapes(input: &Tensor, weight: &Tensor) -> String {
    format!("input {:?} and weight {:?}", input.sizes(), weight.sizes())
}

fn failure(error: im2col::Error, input: &Tensor, weight: &Tensor) -> String {
    format!("im2col: {error} (convolution of {})", shapes(input, weight))
}
