//! The structures that C fills.

use super::layer::im2col_packed;
use std::ffi::c_void;

/// What an executor runs: call it with each number below the `jobs` that it is given with.
pub type im2col_job = unsafe extern "C" fn(context: *mut c_void, index: usize);

/// Threads of the caller's. Results are the same bits for any number.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct im2col_executor {
    /// How many jobs can run at the same time, at least 1.
    pub workers: usize,
    /// Handed to `run`.
    pub context: *mut c_void,
    /// Calls job(job_context, 0) to job(job_context, jobs - 1), each once, on any threads and in any order, and returns when all
    /// have returned. It is called on the thread that made the call, which waits. What it leaves out is done by that thread.
    pub run: Option<
        unsafe extern "C" fn(
            context: *mut c_void,
            jobs: usize,
            job: im2col_job,
            job_context: *mut c_void,
        ),
    >,
}

/// What a call may be given beside its tensors. Zero it, set `size`, then what is wanted. Lengths are in elements. What a
/// pass doesn't take must be NULL.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct im2col_call {
    /// sizeof(im2col_call).
    pub size: usize,
    /// IM2COL_OVERWRITE or IM2COL_ACCUMULATE; forward adds to the output before the activation.
    pub mode: i32,
    /// 0.
    pub reserved: i32,
    /// Forward: added, one element for each output channel.
    pub bias: *const c_void,
    /// Elements of `bias`.
    pub bias_len: usize,
    /// Forward: added before the activation, in the shape of the output.
    pub residual: *const c_void,
    /// Elements of `residual`.
    pub residual_len: usize,
    /// Backward: the output that forward stored. grad_output is read as zero where it is at a bound of the layer's
    /// activation.
    pub mask: *const c_void,
    /// Elements of `mask`.
    pub mask_len: usize,
    /// Backward_weight: becomes the gradient of the bias, in the same mode.
    pub grad_bias: *mut c_void,
    /// Elements of `grad_bias`.
    pub grad_bias_len: usize,
    /// Forward and backward_data: the weight, packed for this pass; the call's own weight is NULL then, of length 0.
    pub packed: *const im2col_packed,
    /// NULL: the threads of im2col_set_num_threads.
    pub executor: *const im2col_executor,
    /// NULL: the call takes what it needs.
    pub scratch: *mut c_void,
    /// Bytes of `scratch`.
    pub scratch_bytes: usize,
}
