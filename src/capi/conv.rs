//! The calls of a plain layer, as they have always been, and those of the whole library.

use super::boundary::{self, Buffer, borrow, boxed, check_pointer, guard, unknown};
use super::layer::{Layer, Tensor, im2col_conv, pass_of, with_layer};
use super::numbers::*;
use super::threads::{Threads, scratch as scratch_of, scratch_bytes};
use crate::{Isa, MAX_AXES, Pass, Write};
use std::ffi::{CStr, c_char, c_void};
use std::ptr;

/// The library's version, "MAJOR.MINOR.PATCH". Static: not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn im2col_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// The kernels in use on this processor: "avx512", "avx2", "neon", "wasm-simd128",
/// "portable", ... Static: not to be freed.
#[unsafe(no_mangle)]
pub extern "C" fn im2col_isa() -> *const c_char {
    isa().as_ptr()
}

/// Why the calling thread's last failing call failed: what was wrong, what was found, what is
/// allowed. "" if none has failed. Valid until the thread's next failing call, or its end.
#[unsafe(no_mangle)]
pub extern "C" fn im2col_last_error() -> *const c_char {
    boundary::last_error()
}

/// Threads that later calls of the whole process may use, whenever their plan was made: 0 = one
/// per core (the default); 1 = never leave the calling thread; at most 1024. Results are the same
/// bits for any number. Calls under way keep the threads that they began with.
#[unsafe(no_mangle)]
pub extern "C" fn im2col_set_num_threads(threads: usize) -> im2col_status {
    guard(|| Threads::set(threads))
}

/// Checks a layer and chooses how to compute it. On success `*conv` is a new plan, to be given to
/// im2col_conv_destroy once; on failure it is NULL. `params` is not needed after the call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_conv_create(
    params: *const im2col_conv_params,
    conv: *mut *mut im2col_conv,
) -> im2col_status {
    guard(|| {
        check_pointer("conv", conv)?;
        // SAFETY: neither NULL nor misaligned, so by contract room for a pointer. `write`, as
        // whatever is there may never have been initialised.
        unsafe { conv.write(ptr::null_mut()) };
        check_pointer("params", params)?;
        // SAFETY: neither NULL nor misaligned, so by contract a live `im2col_conv_params`, whose
        // numbers may have any bits. Read once: no later change can slip past the checks.
        let layer = Layer::new(unsafe { params.read() }, None)?;
        let plan = boxed(im2col_conv(layer))?;
        // SAFETY: as for the first write.
        unsafe { conv.write(Box::into_raw(plan)) };
        Ok(())
    })
}

/// Gives a plan back. NULL is fine; twice the same plan, or a plan that a call still uses, is
/// undefined.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_conv_destroy(conv: *mut im2col_conv) {
    guard(|| {
        if !conv.is_null() {
            check_pointer("conv", conv)?;
            // SAFETY: by contract from `im2col_conv_create`, which made it with `Box::into_raw`,
            // and not destroyed before.
            drop(unsafe { Box::from_raw(conv) });
        }
        Ok(())
    });
}

/// The spatial sizes of the output, outermost first. Of the 3 entries only the first
/// `spatial_dims` are written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_conv_output(
    conv: *const im2col_conv,
    output: *mut usize,
) -> im2col_status {
    guard(|| {
        with_layer!(conv, layer => {
            check_pointer("output", output)?;
            for (i, &size) in layer.sizes(Tensor::Output)[2..].iter().enumerate() {
                // SAFETY: neither NULL nor misaligned, so by contract room for 3 sizes; there
                // are at most MAX_AXES = 3 axes.
                unsafe { output.add(i).write(size) };
            }
            const { assert!(MAX_AXES == 3) };
            Ok(())
        })
    })
}

/// Bytes of scratch that a call of this pass can use with the current number of threads, at
/// whatever alignment; 0 if none. Scratch for several plans is as long as the longest of theirs, which
/// need not be that of the largest batch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_conv_scratch_bytes(
    conv: *const im2col_conv,
    pass: i32,
    bytes: *mut usize,
) -> im2col_status {
    guard(|| {
        with_layer!(conv, layer => {
            check_pointer("bytes", bytes)?;
            let need = scratch_bytes(layer, pass_of(pass)?, &Threads)?;
            // SAFETY: neither NULL nor misaligned, so by contract room for a size.
            unsafe { bytes.write(need) };
            Ok(())
        })
    })
}

/// output = cols(input) * weight^T + bias. `bias` has one element per output channel; NULL means
/// none. `scratch` may be NULL, see above.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_conv_forward(
    conv: *const im2col_conv,
    input: *const c_void,
    weight: *const c_void,
    bias: *const c_void,
    output: *mut c_void,
    scratch: *mut c_void,
    scratch_bytes: usize,
) -> im2col_status {
    guard(|| {
        with_layer!(conv, layer => {
            let input = Buffer::new("input", input, layer.input_len())?;
            let weight = Buffer::new("weight", weight, layer.weight_len())?;
            let bias = Buffer::optional("bias", bias, layer.channels())?;
            let output = Buffer::new("output", output, layer.output_len())?;
            let lent = scratch_of(layer, Pass::Forward, scratch, scratch_bytes)?;
            // SAFETY: the lengths are the plan's; the memory is the caller's promise.
            let ([input, weight, bias], [output], scratch) =
                unsafe { borrow([input, weight, bias], [output], lent)? };
            let bias = (!bias.is_empty()).then_some(bias);
            let call = layer.forward(input, weight).maybe_bias(bias).executor(&Threads);
            Ok(call.maybe_scratch(some(scratch)).run(output)?)
        })
    })
}

/// grad_input = col2im(grad_output * weight): the gradient of the input, which is also a
/// transposed convolution of `grad_output`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_conv_backward_data(
    conv: *const im2col_conv,
    weight: *const c_void,
    grad_output: *const c_void,
    grad_input: *mut c_void,
    mode: i32,
    scratch: *mut c_void,
    scratch_bytes: usize,
) -> im2col_status {
    guard(|| {
        with_layer!(conv, layer => {
            let accumulate = accumulate(mode)?;
            let weight = Buffer::new("weight", weight, layer.weight_len())?;
            let dg = Buffer::new("grad_output", grad_output, layer.output_len())?;
            let dv = Buffer::new("grad_input", grad_input, layer.input_len())?;
            let lent = scratch_of(layer, Pass::BackwardData, scratch, scratch_bytes)?;
            // SAFETY: the lengths are the plan's; the memory is the caller's promise.
            let ([weight, dg], [dv], scratch) = unsafe { borrow([weight, dg], [dv], lent)? };
            let call = layer.backward_data(weight, dg).executor(&Threads);
            let call = if accumulate { call.accumulate() } else { call };
            Ok(call.maybe_scratch(some(scratch)).run(dv)?)
        })
    })
}

/// grad_weight = grad_output^T * cols(input): the gradient of the weight, summed over the batch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_conv_backward_weight(
    conv: *const im2col_conv,
    input: *const c_void,
    grad_output: *const c_void,
    grad_weight: *mut c_void,
    mode: i32,
    scratch: *mut c_void,
    scratch_bytes: usize,
) -> im2col_status {
    guard(|| {
        with_layer!(conv, layer => {
            let accumulate = accumulate(mode)?;
            let input = Buffer::new("input", input, layer.input_len())?;
            let dg = Buffer::new("grad_output", grad_output, layer.output_len())?;
            let dw = Buffer::new("grad_weight", grad_weight, layer.weight_len())?;
            let lent = scratch_of(layer, Pass::BackwardWeight, scratch, scratch_bytes)?;
            // SAFETY: the lengths are the plan's; the memory is the caller's promise.
            let ([input, dg], [dw], scratch) = unsafe { borrow([input, dg], [dw], lent)? };
            let call = layer.backward_weight(input, dg).executor(&Threads);
            let call = if accumulate { call.accumulate() } else { call };
            Ok(call.maybe_scratch(some(scratch)).run(dw)?)
        })
    })
}

/// grad_bias = the sum of grad_output over the pixels of each channel and the batch.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_conv_backward_bias(
    conv: *const im2col_conv,
    grad_output: *const c_void,
    grad_bias: *mut c_void,
    mode: i32,
) -> im2col_status {
    guard(|| {
        with_layer!(conv, layer => {
            let accumulate = accumulate(mode)?;
            let dg = Buffer::new("grad_output", grad_output, layer.output_len())?;
            let db = Buffer::new("grad_bias", grad_bias, layer.channels())?;
            // SAFETY: the lengths are the plan's; the memory is the caller's promise.
            let ([dg], [db], _) = unsafe { borrow([dg], [db], Buffer::none())? };
            let call = layer.backward_bias(dg).executor(&Threads);
            Ok(if accumulate { call.accumulate() } else { call }.run(db)?)
        })
    })
}

/// Writes the patch matrix of one image, all groups. Channels first:
/// `cols[C * kernel][output positions]`, row order C, then kernel axes
/// (torch.nn.functional.unfold); channels last: `cols[output positions][kernel * C]`, column
/// order kernel axes, then C. Elements that meet padding are zero.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_im2col(
    conv: *const im2col_conv,
    image: *const c_void,
    cols: *mut c_void,
) -> im2col_status {
    guard(|| {
        with_layer!(conv, layer => {
            let shape = layer.image()?;
            let image = Buffer::new("image", image, shape.image_len())?;
            let cols = Buffer::new("cols", cols, shape.cols_len()?)?;
            // SAFETY: the lengths are the plan's; the memory is the caller's promise.
            let ([image], [cols], _) = unsafe { borrow([image], [cols], Buffer::none())? };
            Ok(layer.im2col(image, cols)?)
        })
    })
}

/// Sums a patch matrix back into an image: the adjoint of im2col_im2col.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_col2im(
    conv: *const im2col_conv,
    cols: *const c_void,
    image: *mut c_void,
    mode: i32,
) -> im2col_status {
    guard(|| {
        with_layer!(conv, layer => {
            let (shape, accumulate) = (layer.image()?, accumulate(mode)?);
            let cols = Buffer::new("cols", cols, shape.cols_len()?)?;
            let image = Buffer::new("image", image, shape.image_len())?;
            // SAFETY: the lengths are the plan's; the memory is the caller's promise.
            let ([cols], [image], _) = unsafe { borrow([cols], [image], Buffer::none())? };
            Ok(layer.col2im(cols, image, write(accumulate))?)
        })
    })
}

/// The name of the kernels in use.
fn isa() -> &'static CStr {
    match Isa::best() {
        Isa::Portable => c"portable",
        Isa::Simd128 => c"wasm-simd128",
        Isa::Neon => c"neon",
        Isa::Avx2 => c"avx2",
        Isa::Avx512 => c"avx512",
    }
}

pub(super) fn accumulate(mode: i32) -> Result<bool, boundary::Failure> {
    match mode {
        IM2COL_OVERWRITE => Ok(false),
        IM2COL_ACCUMULATE => Ok(true),
        _ => Err(unknown("mode", mode, "0 (overwrite) or 1 (accumulate)")),
    }
}

fn write(accumulate: bool) -> Write {
    if accumulate { Write::Accumulate } else { Write::Overwrite }
}

/// What was lent, if anything was.
pub(super) fn some<T>(lent: &mut [T]) -> Option<&mut [T]> {
    if lent.is_empty() { None } else { Some(lent) }
}
