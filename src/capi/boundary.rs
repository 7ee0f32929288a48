//! What crosses between C and Rust: failures out, pointers in.

use super::numbers::{
    IM2COL_INTERNAL, IM2COL_INVALID_ARGUMENT, IM2COL_OK, IM2COL_OUT_OF_MEMORY, IM2COL_OVERFLOW,
    IM2COL_UNSUPPORTED, im2col_status,
};
use crate::error::check_len;
use crate::{Element, Error};
use std::alloc::{Layout, alloc};
use std::cell::RefCell;
use std::ffi::{c_char, c_void};
use std::fmt::{self, Display, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::slice;

/// Why a call is refused: its status. What there is to say is the thread's message already,
/// which takes no memory: there may be none left.
pub(super) struct Failure(im2col_status);

impl Failure {
    pub(super) fn new(status: im2col_status, message: impl Display) -> Self {
        LAST_ERROR.with_borrow_mut(|text| {
            let mut text = CText { text, len: 0 };
            // An error is a message that was cut off.
            let _ = write!(text, "{message}");
        });
        Self(status)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Overflow { .. } => IM2COL_OVERFLOW,
            Error::OutOfMemory { .. } => IM2COL_OUT_OF_MEMORY,
            Error::Unsupported { .. } => IM2COL_UNSUPPORTED,
            _ => IM2COL_INVALID_ARGUMENT,
        };
        Self::new(status, error)
    }
}

pub(super) fn invalid(message: impl Display) -> Failure {
    Failure::new(IM2COL_INVALID_ARGUMENT, message)
}

pub(super) fn unknown(what: &str, found: impl Display, allowed: impl Display) -> Failure {
    invalid(format_args!("{what} is {found}: it must be {allowed}"))
}

/// Bytes of a message with the 0 that ends it: a panic's may be cut off, ours are shorter.
const MESSAGE: usize = 512;

thread_local! {
    static LAST_ERROR: RefCell<[u8; MESSAGE]> = const { RefCell::new([0; MESSAGE]) };
}

/// A C string in the making: whole characters as far as they fit, and always a 0 after them.
struct CText<'a> {
    text: &'a mut [u8; MESSAGE],
    len: usize,
}

impl Write for CText<'_> {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let mut fits = more.len().min(MESSAGE - 1 - self.len);
        while !more.is_char_boundary(fits) {
            fits -= 1;
        }
        for byte in more.as_bytes()[..fits].iter() {
            self.text[self.len] = if *byte == 0 { b' ' } else { *byte };
            self.len += 1;
        }
        self.text[self.len] = 0;
        if fits == more.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

/// The calling thread's last message, valid until the next.
pub(super) fn last_error() -> *const c_char {
    LAST_ERROR.with(|last| last.as_ptr().cast_const().cast())
}

/// Turns what can go wrong in a call into its status and the thread's message: nothing unwinds
/// into C.
pub(super) fn guard(call: impl FnOnce() -> Result<(), Failure>) -> im2col_status {
    // Unwind safe: plans never change, and an output is said to be half written after a panic.
    let Failure(status) = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => return IM2COL_OK,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("panic");
            let bug = "a bug in im2col, please report it";
            Failure::new(IM2COL_INTERNAL, format_args!("{bug}: {text}"))
        }
    };
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
        if len == 0 {
            // Whatever the pointer is: nothing is read or written there.
            return Ok(Self { name, ..Self::none() });
        }
        let data = data.cast::<T>().cast_mut();
        check_pointer(name, data)?;
        Ok(Self { name, data, len })
    }

    /// A buffer whose caller says how long it is.
    pub(super) fn of_len(
        name: &'static str,
        (data, found): (*const c_void, usize),
        expected: usize,
    ) -> Result<Self, Failure> {
        check_len(name, expected, found)?;
        Self::new(name, data, expected)
    }

    /// The same, where there is one: NULL is none, of length 0.
    pub(super) fn optional_of_len(
        name: &'static str,
        (data, found): (*const c_void, usize),
        expected: usize,
    ) -> Result<Self, Failure> {
        match data.is_null() && found == 0 {
            true => Ok(Self::none()),
            false => Self::of_len(name, (data, found), expected),
        }
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
pub(super) type Slices<'a, T, const N: usize, const M: usize> =
    ([&'a [T]; N], [&'a mut [T]; M], &'a mut [T]);

/// The slices of a call's buffers.
///
/// Fails if what the call writes shares memory with anything else, as `&mut` must not.
///
/// # Safety
/// Every buffer is memory of its length, which lives, and which nothing outside this call writes
/// (for `sources`) or touches (for the others), as long as the slices are in use.
pub(super) unsafe fn borrow<'a, T: Element, const N: usize, const M: usize>(
    sources: [Buffer<T>; N],
    targets: [Buffer<T>; M],
    scratch: Buffer<T>,
) -> Result<Slices<'a, T, N, M>, Failure> {
    let written = || targets.iter().chain([&scratch]);
    for (index, a) in written().enumerate() {
        for b in written().skip(index + 1).chain(&sources) {
            if a.shares_memory_with(b) {
                let (a, b) = (a.name, b.name);
                return Err(invalid(format_args!("{a} and {b} share memory: they must lie apart")));
            }
        }
    }
    // SAFETY: a `Buffer` is neither NULL nor misaligned, and its length fits `isize::MAX` bytes
    // (a shape's lengths do, `scratch` is cut to it). The memory is live and undisturbed, by the
    // caller's contract; the loop above keeps every `&mut` apart from all else. Every bit pattern
    // is a float, so whatever C left there may be read.
    unsafe {
        Ok((
            sources.map(|s| slice::from_raw_parts(s.data, s.len)),
            targets.map(|t| slice::from_raw_parts_mut(t.data, t.len)),
            slice::from_raw_parts_mut(scratch.data, scratch.len),
        ))
    }
}

/// Refuses what no call could use: NULL, and addresses that a `P` can't have.
pub(super) fn check_pointer<P>(name: &str, pointer: *const P) -> Result<(), Failure> {
    if pointer.is_null() {
        return Err(invalid(format_args!("{name} is NULL: it must point to memory")));
    }
    if !pointer.is_aligned() {
        let align = align_of::<P>();
        return Err(invalid(format_args!(
            "{name} is {pointer:p}: it must be aligned to {align} bytes"
        )));
    }
    Ok(())
}

/// `value` in a box, or a failure where `Box::new` would end the process.
pub(super) fn boxed<P>(value: P) -> Result<Box<P>, Failure> {
    let layout = Layout::new::<P>();
    assert!(layout.size() > 0);
    // SAFETY: the size isn't 0.
    let place = unsafe { alloc(layout) }.cast::<P>();
    if place.is_null() {
        return Err(Error::OutOfMemory { bytes: layout.size() }.into());
    }
    // SAFETY: fresh memory of the global allocator, with the layout of a `P`, which is written
    // before the box has it.
    unsafe {
        place.write(value);
        Ok(Box::from_raw(place))
    }
}
