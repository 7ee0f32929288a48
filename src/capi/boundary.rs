//! What crosses between C and Rust: failures out, pointers in.

use super::{
    IM2COL_INTERNAL, IM2COL_INVALID_ARGUMENT, IM2COL_OK, IM2COL_OUT_OF_MEMORY, IM2COL_OVERFLOW,
    IM2COL_UNSUPPORTED, im2col_status,
};
use crate::{Element, Error};
use std::cell::RefCell;
use std::ffi::{CString, c_char, c_void};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::slice;

/// Why a call is refused.
pub(super) struct Failure {
    pub(super) status: im2col_status,
    pub(super) message: String,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Overflow { .. } => IM2COL_OVERFLOW,
            Error::OutOfMemory { .. } => IM2COL_OUT_OF_MEMORY,
            Error::Unsupported { .. } => IM2COL_UNSUPPORTED,
            _ => IM2COL_INVALID_ARGUMENT,
        };
        Self { status, message: error.to_string() }
    }
}

pub(super) fn invalid(message: String) -> Failure {
    Failure { status: IM2COL_INVALID_ARGUMENT, message }
}

pub(super) fn unknown(what: &str, found: impl Display, allowed: &str) -> Failure {
    invalid(format!("{what} is {found}: it must be {allowed}"))
}

thread_local! {
    static LAST_ERROR: RefCell<Option<CString>> = const { RefCell::new(None) };
}

/// The calling thread's last message, valid until the next.
pub(super) fn last_error() -> *const c_char {
    let message = LAST_ERROR.try_with(|last| last.borrow().as_ref().map(|text| text.as_ptr()));
    // None yet, or a thread so near its end that it has lost its message.
    message.ok().flatten().unwrap_or(c"".as_ptr())
}

/// Turns what can go wrong in a call into its status and the thread's message: nothing unwinds
/// into C.
pub(super) fn guard(call: impl FnOnce() -> Result<(), Failure>) -> im2col_status {
    // Unwind safe: plans never change, and an output is said to be half written after a panic.
    let Failure { status, message } = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => return IM2COL_OK,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panic");
            let message = format!("a bug in im2col, please report it: {text}");
            Failure { status: IM2COL_INTERNAL, message: message.replace('\0', " ") }
        }
    };
    let message = CString::new(message).unwrap_or_default();
    // At a thread's very end there is no place for a message: it still gets the status.
    let _ = LAST_ERROR.try_with(|last| last.replace(Some(message)));
    status
}

/// A tensor or scratch as C hands it over: checked, not yet borrowed.
#[derive(Clone, Copy)]
pub(super) struct Buffer<T> {
    name: &'static str,
    data: *mut T,
    len: usize,
}

impl<T: Element> Buffer<T> {
    pub(super) fn new(
        name: &'static str,
        data: *const c_void,
        len: usize,
    ) -> Result<Self, Failure> {
        let data = data.cast::<T>().cast_mut();
        check_pointer(name, data)?;
        Ok(Self { name, data, len })
    }

    pub(super) fn optional(
        name: &'static str,
        data: *const c_void,
        len: usize,
    ) -> Result<Self, Failure> {
        if data.is_null() { Ok(Self::none()) } else { Self::new(name, data, len) }
    }

    pub(super) fn none() -> Self {
        Self { name: "", data: NonNull::dangling().as_ptr(), len: 0 }
    }

    fn shares_memory_with(&self, other: &Self) -> bool {
        let end = |b: &Self| b.data.addr().saturating_add(b.len * size_of::<T>());
        let apart = end(self) <= other.data.addr() || end(other) <= self.data.addr();
        self.len > 0 && other.len > 0 && !apart
    }
}

/// What a call reads, what it writes, what it may use.
pub(super) type Slices<'a, T, const N: usize> = ([&'a [T]; N], &'a mut [T], &'a mut [T]);

/// The slices of a call's buffers.
///
/// Fails if what the call writes shares memory with anything else, as `&mut` must not.
///
/// # Safety
/// Every buffer is memory of its length, which lives, and which nothing outside this call writes
/// (for `sources`) or touches (for the others), as long as the slices are in use.
pub(super) unsafe fn borrow<'a, T: Element, const N: usize>(
    sources: [Buffer<T>; N],
    target: Buffer<T>,
    scratch: Buffer<T>,
) -> Result<Slices<'a, T, N>, Failure> {
    let written = [(target, scratch)];
    let written =
        written.into_iter().chain(sources.iter().flat_map(|&s| [(target, s), (scratch, s)]));
    for (a, b) in written {
        if a.shares_memory_with(&b) {
            let (a, b) = (a.name, b.name);
            return Err(invalid(format!("{a} and {b} share memory: they must lie apart")));
        }
    }
    // SAFETY: a `Buffer` is neither NULL nor misaligned, and its length fits `isize::MAX` bytes
    // (a shape's lengths do, `scratch` is cut to it). The memory is live and undisturbed, by the
    // caller's contract; the loop above keeps both `&mut` apart from all else. Every bit pattern
    // is a float, so whatever C left there may be read.
    unsafe {
        Ok((
            sources.map(|s| slice::from_raw_parts(s.data, s.len)),
            slice::from_raw_parts_mut(target.data, target.len),
            slice::from_raw_parts_mut(scratch.data, scratch.len),
        ))
    }
}

/// Refuses what no call could use: NULL, and addresses that a `P` can't have.
pub(super) fn check_pointer<P>(name: &str, pointer: *const P) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(invalid(format!("{name} is NULL: it must point to memory")));
    }
    if !pointer.is_aligned() {
        let align = align_of::<P>();
        return Err(invalid(format!("{name} is {pointer:p}: it must be aligned to {align} bytes")));
    }
    Ok(())
}
