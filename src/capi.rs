//! The C interface, declared in `include/im2col.h` (generated from this file by cbindgen).
//!
//! Everything here is translation, nothing computes: raw pointers become slices of the plan's
//! lengths, errors and panics become a status and a message, and the element type that C
//! passes as a number picks `Plan<f32>` or `Plan<f64>`. Types and constants bear their C
//! names; the doc comments are the header's comments, so they speak to a C programmer.
//!
//! # Safety
//! What can be checked is checked: NULL, alignment, numbers out of range, lengths, buffers that
//! share memory. Left to the caller of every function here is what C can't tell: a pointer that
//! is neither NULL nor misaligned must point to live memory, of the plan's length, that no other
//! thread writes (or, for what the call writes, touches) during the call; a plan must come from
//! [`im2col_conv_create`] and not have been destroyed.
#![allow(non_camel_case_types, reason = "types bear their C names")]
#![allow(clippy::missing_safety_doc, reason = "one contract for all, in the module's `# Safety`")]

mod boundary;
mod layer;

use self::boundary::{Buffer, borrow, boxed, check_pointer, guard, unknown};
use self::layer::{Layer, Threads, scratch as scratch_of, scratch_bytes as bytes_of_scratch};
use crate::{Isa, MAX_AXES, Pass, Write};
use std::ffi::{CStr, c_char, c_void};
use std::ptr;

/// What a call returns: IM2COL_OK, or why it did nothing.
pub type im2col_status = i32;
/// The call did what it says.
pub const IM2COL_OK: im2col_status = 0;
/// NULL, zero stride, groups that don't divide, kernel larger than the padded input, ...
pub const IM2COL_INVALID_ARGUMENT: im2col_status = 1;
/// A size doesn't fit the address space.
pub const IM2COL_OVERFLOW: im2col_status = 2;
/// Scratch or threads could not be had.
pub const IM2COL_OUT_OF_MEMORY: im2col_status = 3;
/// Valid, but not offered by this build.
pub const IM2COL_UNSUPPORTED: im2col_status = 4;
/// A caught panic: a bug in this library. Only here may an output be half written.
pub const IM2COL_INTERNAL: im2col_status = 5;

/// `dtype`: float.
pub const IM2COL_F32: u32 = 0;
/// `dtype`: double.
pub const IM2COL_F64: u32 = 1;

/// `layout`: input N,C,spatial; weight K,C/groups,kernel; output N,K,spatial.
pub const IM2COL_CHANNELS_FIRST: u32 = 0;
/// `layout`: input N,spatial,C; weight K,kernel,C/groups; output N,spatial,K.
pub const IM2COL_CHANNELS_LAST: u32 = 1;

/// `pass`: im2col_conv_forward.
pub const IM2COL_FORWARD: i32 = 0;
/// `pass`: im2col_conv_backward_data.
pub const IM2COL_BACKWARD_DATA: i32 = 1;
/// `pass`: im2col_conv_backward_weight.
pub const IM2COL_BACKWARD_WEIGHT: i32 = 2;

/// `mode`: the result replaces the destination, which is never read.
pub const IM2COL_OVERWRITE: i32 = 0;
/// `mode`: the result is added to the destination.
pub const IM2COL_ACCUMULATE: i32 = 1;

/// `algorithm`: the library's choice, results within the documented error bound.
pub const IM2COL_ALGORITHM_AUTO: u32 = 0;
/// `algorithm`: the textbook: cols materialised, one GEMM, col2im.
pub const IM2COL_ALGORITHM_EXPLICIT: u32 = 1;
/// `algorithm`: the GEMM reads the patches from the image: no cols in memory.
pub const IM2COL_ALGORITHM_IMPLICIT: u32 = 2;
/// `algorithm`: the library's choice, among Winograd's algorithms with tiles of 2 outputs per axis,
/// too: errors about as small as without, see docs/numerics.md.
pub const IM2COL_ALGORITHM_TILE2: u32 = 3;
/// `algorithm`: the same with tiles of up to 4 outputs per axis: fastest, and two to three times the
/// errors.
pub const IM2COL_ALGORITHM_TILE: u32 = 4;

/// A layer as its caller describes it. Arrays hold one entry per spatial axis, outermost first
/// (`[D,] [H,] W`); the entries past `spatial_dims` are ignored.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct im2col_conv_params {
    /// 1, 2 or 3.
    pub spatial_dims: u32,
    /// IM2COL_F32 or IM2COL_F64: the element of every tensor.
    pub dtype: u32,
    /// IM2COL_CHANNELS_FIRST or IM2COL_CHANNELS_LAST.
    pub layout: u32,
    /// IM2COL_ALGORITHM_AUTO, _EXPLICIT, _IMPLICIT, _TILE2 or _TILE.
    pub algorithm: u32,
    /// Images (N).
    pub batch: usize,
    /// Channels of the input (C), over all groups.
    pub in_channels: usize,
    /// Channels of the output (K), over all groups.
    pub out_channels: usize,
    /// Must divide both; each output channel sees `in_channels / groups` input channels.
    pub groups: usize,
    /// Spatial sizes of the input, in elements.
    pub input: [usize; 3],
    /// Spatial sizes of the weight, in elements.
    pub kernel: [usize; 3],
    /// Input elements between neighbouring outputs, at least 1.
    pub stride: [usize; 3],
    /// Input elements between neighbouring taps of the kernel, at least 1; 1 is dense.
    pub dilation: [usize; 3],
    /// Zeros before the first element of each axis.
    pub pad_begin: [usize; 3],
    /// Zeros after the last element of each axis.
    pub pad_end: [usize; 3],
}

/// An immutable, validated plan of one layer. Any number of threads may use it at once.
pub struct im2col_conv(Layer);

/// Runs `$call` with `$plan` of the element type that the plan at `$conv` was made for.
macro_rules! with_plan {
    ($conv:expr, $plan:ident => $call:expr) => {{
        check_pointer("conv", $conv)?;
        // SAFETY: neither NULL nor misaligned, so by contract a live plan, and none is ever
        // changed after its creation.
        match unsafe { &(*$conv).0 } {
            Layer::F32($plan) => $call,
            Layer::F64($plan) => $call,
        }
    }};
}

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
        let layer = Layer::new(unsafe { params.read() })?;
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
        with_plan!(conv, plan => {
            check_pointer("output", output)?;
            for (i, axis) in plan.shape().axes().iter().enumerate() {
                // SAFETY: neither NULL nor misaligned, so by contract room for 3 sizes; there
                // are at most MAX_AXES = 3 axes.
                unsafe { output.add(i).write(axis.output) };
            }
            const { assert!(MAX_AXES == 3) };
            Ok(())
        })
    })
}

/// Bytes of scratch that a call of this pass can use with the current number of threads, at
/// whatever alignment; 0 if none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_conv_scratch_bytes(
    conv: *const im2col_conv,
    pass: i32,
    bytes: *mut usize,
) -> im2col_status {
    guard(|| {
        with_plan!(conv, plan => {
            check_pointer("bytes", bytes)?;
            let need = bytes_of_scratch(plan, match pass {
                IM2COL_FORWARD => Pass::Forward,
                IM2COL_BACKWARD_DATA => Pass::BackwardData,
                IM2COL_BACKWARD_WEIGHT => Pass::BackwardWeight,
                _ => return Err(unknown("pass", pass, "0 (forward), 1 (data) or 2 (weight)")),
            })?;
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
        with_plan!(conv, plan => {
            let shape = plan.shape();
            let input = Buffer::new("input", input, shape.input_len())?;
            let weight = Buffer::new("weight", weight, shape.weight_len())?;
            let bias = Buffer::optional("bias", bias, shape.out_channels())?;
            let output = Buffer::new("output", output, shape.output_len())?;
            let lent = scratch_of(plan, Pass::Forward, scratch, scratch_bytes)?;
            // SAFETY: the lengths are the plan's; the memory is the caller's promise.
            let ([input, weight, bias], output, scratch) =
                unsafe { borrow([input, weight, bias], output, lent)? };
            let bias = (!bias.is_empty()).then_some(bias);
            let call = plan.forward(input, weight).maybe_bias(bias).executor(&Threads);
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
        with_plan!(conv, plan => {
            let (shape, accumulate) = (plan.shape(), accumulate(mode)?);
            let weight = Buffer::new("weight", weight, shape.weight_len())?;
            let dg = Buffer::new("grad_output", grad_output, shape.output_len())?;
            let dv = Buffer::new("grad_input", grad_input, shape.input_len())?;
            let lent = scratch_of(plan, Pass::BackwardData, scratch, scratch_bytes)?;
            // SAFETY: the lengths are the plan's; the memory is the caller's promise.
            let ([weight, dg], dv, scratch) = unsafe { borrow([weight, dg], dv, lent)? };
            let call = plan.backward_data(weight, dg).executor(&Threads);
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
        with_plan!(conv, plan => {
            let (shape, accumulate) = (plan.shape(), accumulate(mode)?);
            let input = Buffer::new("input", input, shape.input_len())?;
            let dg = Buffer::new("grad_output", grad_output, shape.output_len())?;
            let dw = Buffer::new("grad_weight", grad_weight, shape.weight_len())?;
            let lent = scratch_of(plan, Pass::BackwardWeight, scratch, scratch_bytes)?;
            // SAFETY: the lengths are the plan's; the memory is the caller's promise.
            let ([input, dg], dw, scratch) = unsafe { borrow([input, dg], dw, lent)? };
            let call = plan.backward_weight(input, dg).executor(&Threads);
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
        with_plan!(conv, plan => {
            let (shape, accumulate) = (plan.shape(), accumulate(mode)?);
            let dg = Buffer::new("grad_output", grad_output, shape.output_len())?;
            let db = Buffer::new("grad_bias", grad_bias, shape.out_channels())?;
            // SAFETY: the lengths are the plan's; the memory is the caller's promise.
            let ([dg], db, _) = unsafe { borrow([dg], db, Buffer::none())? };
            let call = plan.backward_bias(dg).executor(&Threads);
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
        with_plan!(conv, plan => {
            let shape = plan.shape();
            let image = Buffer::new("image", image, shape.image_len())?;
            let cols = Buffer::new("cols", cols, shape.cols_len()?)?;
            // SAFETY: the lengths are the plan's; the memory is the caller's promise.
            let ([image], cols, _) = unsafe { borrow([image], cols, Buffer::none())? };
            layer::im2col(plan, image, cols)
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
        with_plan!(conv, plan => {
            let (shape, accumulate) = (plan.shape(), accumulate(mode)?);
            let cols = Buffer::new("cols", cols, shape.cols_len()?)?;
            let image = Buffer::new("image", image, shape.image_len())?;
            // SAFETY: the lengths are the plan's; the memory is the caller's promise.
            let ([cols], image, _) = unsafe { borrow([cols], image, Buffer::none())? };
            layer::col2im(plan, cols, image, write(accumulate))
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

fn accumulate(mode: i32) -> Result<bool, boundary::Failure> {
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
fn some<T>(lent: &mut [T]) -> Option<&mut [T]> {
    if lent.is_empty() { None } else { Some(lent) }
}
