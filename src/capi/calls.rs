//! The calls that take the length of every buffer, and options that add up.

use super::boundary::{Buffer, Failure, borrow, check_pointer, guard, invalid};
use super::conv::{accumulate, some};
use super::layer::{im2col_conv, im2col_packed, with_layer};
use super::numbers::im2col_status;
use super::plans::check_size;
use super::threads::{Lent, Threads, scratch as scratch_of};
use super::types::im2col_call;
use crate::{Element, Executor, PackedWeight, Pass, Weight};
use std::ffi::c_void;

/// output = activation(cols(input) * weight^T + bias + residual), as far as `call` has these. It may be NULL. Lengths are in
/// elements: another one than the layer's is refused.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_forward(
    conv: *const im2col_conv,
    input: *const c_void,
    input_len: usize,
    weight: *const c_void,
    weight_len: usize,
    output: *mut c_void,
    output_len: usize,
    call: *const im2col_call,
) -> im2col_status {
    guard(|| {
        with_layer!(conv, layer => {
            // SAFETY: the caller's contract, as for the other pointers.
            let (options, lent) = unsafe { options(call)? };
            unused("mask", options.mask, "forward")?;
            unused("grad_bias", options.grad_bias, "forward")?;
            let input = Buffer::of_len("input", (input, input_len), layer.input_len())?;
            // SAFETY: the caller's contract.
            let packed = unsafe { packed_of(options.packed)? };
            let weight = plain_weight((weight, weight_len), packed, layer.weight_len())?;
            let given = (options.bias, options.bias_len);
            let bias = Buffer::optional_of_len("bias", given, layer.channels())?;
            let given = (options.residual, options.residual_len);
            let residual = Buffer::optional_of_len("residual", given, layer.output_len())?;
            let output = Buffer::of_len("output", (output, output_len), layer.output_len())?;
            let scratch = scratch_of(layer, Pass::Forward, options.scratch, options.scratch_bytes)?;
            let sources = [input, weight, bias, residual];
            // SAFETY: the lengths are the plan's; the memory is the caller's promise.
            let ([input, weight, bias, residual], [output], scratch) =
                unsafe { borrow(sources, [output], scratch)? };
            let bias = (!bias.is_empty()).then_some(bias);
            let mut call = layer.forward(input, weight_or(weight, packed)?).maybe_bias(bias);
            if !residual.is_empty() {
                call = call.residual(residual);
            }
            if accumulate(options.mode)? {
                call = call.accumulate();
            }
            Ok(call.executor(threads(&lent)).maybe_scratch(some(scratch)).run(output)?)
        })
    })
}

/// grad_input = col2im(grad_output * weight): the gradient of the input. `call` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_backward_data(
    conv: *const im2col_conv,
    weight: *const c_void,
    weight_len: usize,
    grad_output: *const c_void,
    grad_output_len: usize,
    grad_input: *mut c_void,
    grad_input_len: usize,
    call: *const im2col_call,
) -> im2col_status {
    guard(|| {
        with_layer!(conv, layer => {
            // SAFETY: the caller's contract, as for the other pointers.
            let (options, lent) = unsafe { options(call)? };
            unused("bias", options.bias, "backward_data")?;
            unused("residual", options.residual, "backward_data")?;
            unused("grad_bias", options.grad_bias, "backward_data")?;
            // SAFETY: the caller's contract.
            let packed = unsafe { packed_of(options.packed)? };
            let weight = plain_weight((weight, weight_len), packed, layer.weight_len())?;
            let given = (grad_output, grad_output_len);
            let dg = Buffer::of_len("grad_output", given, layer.output_len())?;
            let given = (options.mask, options.mask_len);
            let mask = Buffer::optional_of_len("mask", given, layer.output_len())?;
            let given = (grad_input.cast_const(), grad_input_len);
            let dv = Buffer::of_len("grad_input", given, layer.input_len())?;
            let pass = Pass::BackwardData;
            let scratch = scratch_of(layer, pass, options.scratch, options.scratch_bytes)?;
            // SAFETY: the lengths are the plan's; the memory is the caller's promise.
            let ([weight, dg, mask], [dv], scratch) =
                unsafe { borrow([weight, dg, mask], [dv], scratch)? };
            let mut call = layer.backward_data(weight_or(weight, packed)?, dg);
            if !mask.is_empty() {
                call = call.mask(mask);
            }
            if accumulate(options.mode)? {
                call = call.accumulate();
            }
            Ok(call.executor(threads(&lent)).maybe_scratch(some(scratch)).run(dv)?)
        })
    })
}

/// grad_weight = grad_output^T * cols(input): the gradient of the weight, summed over the batch, and the gradient of the bias if
/// `call` has room for it. `call` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_backward_weight(
    conv: *const im2col_conv,
    input: *const c_void,
    input_len: usize,
    grad_output: *const c_void,
    grad_output_len: usize,
    grad_weight: *mut c_void,
    grad_weight_len: usize,
    call: *const im2col_call,
) -> im2col_status {
    guard(|| {
        with_layer!(conv, layer => {
            // SAFETY: the caller's contract, as for the other pointers.
            let (options, lent) = unsafe { options(call)? };
            unused("bias", options.bias, "backward_weight")?;
            unused("residual", options.residual, "backward_weight")?;
            unused("packed", options.packed.cast(), "backward_weight")?;
            let input = Buffer::of_len("input", (input, input_len), layer.input_len())?;
            let given = (grad_output, grad_output_len);
            let dg = Buffer::of_len("grad_output", given, layer.output_len())?;
            let given = (options.mask, options.mask_len);
            let mask = Buffer::optional_of_len("mask", given, layer.output_len())?;
            let given = (grad_weight.cast_const(), grad_weight_len);
            let dw = Buffer::of_len("grad_weight", given, layer.weight_len())?;
            let given = (options.grad_bias.cast_const(), options.grad_bias_len);
            let db = Buffer::optional_of_len("grad_bias", given, layer.channels())?;
            let pass = Pass::BackwardWeight;
            let scratch = scratch_of(layer, pass, options.scratch, options.scratch_bytes)?;
            // SAFETY: the lengths are the plan's; the memory is the caller's promise.
            let ([input, dg, mask], [dw, db], scratch) =
                unsafe { borrow([input, dg, mask], [dw, db], scratch)? };
            let mut call = layer.backward_weight(input, dg);
            if !mask.is_empty() {
                call = call.mask(mask);
            }
            if !db.is_empty() {
                call = call.grad_bias(db);
            }
            if accumulate(options.mode)? {
                call = call.accumulate();
            }
            Ok(call.executor(threads(&lent)).maybe_scratch(some(scratch)).run(dw)?)
        })
    })
}

/// grad_bias = the sum of grad_output over the pixels of each channel and the batch. `call` may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_backward_bias(
    conv: *const im2col_conv,
    grad_output: *const c_void,
    grad_output_len: usize,
    grad_bias: *mut c_void,
    grad_bias_len: usize,
    call: *const im2col_call,
) -> im2col_status {
    guard(|| {
        with_layer!(conv, layer => {
            // SAFETY: the caller's contract, as for the other pointers.
            let (options, lent) = unsafe { options(call)? };
            unused("bias", options.bias, "backward_bias")?;
            unused("residual", options.residual, "backward_bias")?;
            unused("grad_bias", options.grad_bias, "backward_bias")?;
            unused("packed", options.packed.cast(), "backward_bias")?;
            let given = (grad_output, grad_output_len);
            let dg = Buffer::of_len("grad_output", given, layer.output_len())?;
            let given = (options.mask, options.mask_len);
            let mask = Buffer::optional_of_len("mask", given, layer.output_len())?;
            let given = (grad_bias.cast_const(), grad_bias_len);
            let db = Buffer::of_len("grad_bias", given, layer.channels())?;
            // SAFETY: the lengths are the plan's; the memory is the caller's promise.
            let ([dg, mask], [db], _) = unsafe { borrow([dg, mask], [db], Buffer::none())? };
            let mut call = layer.backward_bias(dg);
            if !mask.is_empty() {
                call = call.mask(mask);
            }
            if accumulate(options.mode)? {
                call = call.accumulate();
            }
            Ok(call.executor(threads(&lent)).run(db)?)
        })
    })
}

/// What a call is given beside its tensors, checked as far as it doesn't depend on the layer, and the threads that it is lent.
///
/// # Safety
/// `call` is NULL, misaligned or a live structure with a size in front.
unsafe fn options(call: *const im2col_call) -> Result<(im2col_call, Option<Lent>), Failure> {
    if call.is_null() {
        // SAFETY: numbers and pointers, for which no bits but zeros is a value that means nothing.
        return Ok((unsafe { std::mem::zeroed() }, None));
    }
    check_pointer("call", call)?;
    // SAFETY: neither NULL nor misaligned, so by contract a size at least.
    let size = unsafe { call.cast::<usize>().read() };
    check_size("call", size, size_of::<im2col_call>())?;
    // SAFETY: its size is that of the structure. Read once.
    let call = unsafe { call.read() };
    accumulate(call.mode)?;
    // SAFETY: the caller's contract.
    let lent = unsafe { Lent::new(call.executor)? };
    Ok((call, lent))
}

/// What a pass doesn't take must not be there.
fn unused(name: &str, pointer: *const c_void, pass: &str) -> Result<(), Failure> {
    match pointer.is_null() {
        true => Ok(()),
        false => Err(invalid(format_args!("{pass} takes no {name}: it must be NULL"))),
    }
}

/// The packed weights of a call, if there are any.
///
/// # Safety
/// `packed` is NULL, misaligned or live.
unsafe fn packed_of<'a>(
    packed: *const im2col_packed,
) -> Result<Option<&'a im2col_packed>, Failure> {
    if packed.is_null() {
        return Ok(None);
    }
    check_pointer("packed", packed)?;
    // SAFETY: neither NULL nor misaligned, so by contract live packed weights, which never change.
    Ok(Some(unsafe { &*packed }))
}

/// The weights of a call as they lie: none, where there are packed ones.
fn plain_weight<T: Element>(
    given: (*const c_void, usize),
    packed: Option<&im2col_packed>,
    expected: usize,
) -> Result<Buffer<T>, Failure> {
    match (packed, given) {
        (None, given) => Buffer::of_len("weight", given, expected),
        (Some(_), (_, 0)) => Ok(Buffer::none()),
        (Some(_), (_, found)) => Err(invalid(format_args!(
            "weight_len is {found} beside packed weights, which are read in its place: give NULL and 0 for the weight"
        ))),
    }
}

/// The weights of a call: packed ones, where there are any.
fn weight_or<'a, T: Element>(
    weight: &'a [T],
    packed: Option<&'a im2col_packed>,
) -> Result<Weight<'a, T>, Failure> {
    match packed {
        None => Ok(Weight::Plain(weight)),
        Some(packed) => {
            let (_, packed): (Pass, &PackedWeight<T>) = packed.0.of()?;
            Ok(Weight::Packed(packed))
        }
    }
}

/// The threads of a call.
fn threads(lent: &Option<Lent>) -> &dyn Executor {
    match lent {
        Some(lent) => lent,
        None => &Threads,
    }
}
