//! im2col as PyTorch's convolution on CPUs, and over numpy arrays: what the Python package `im2col` calls.
//!
//! - [`abi`]: libtorch's C functions; [`tensor`]: tensors and lists, owned
//! - [`layer`]: what a call asks for; [`kernels`]: the two operators; [`call`]: im2col's passes
//! - [`cache`]: plans that are kept; [`frozen`]: packed weights that are kept; [`stats`]: counts
//! - [`executor`]: the threads of a call; [`scratch`]: the memory of a call; [`array`]: layers over numpy arrays
//!
//! Functions for Python return 0, or -1 with the words of the error left in the caller's buffer.

mod abi;
pub mod array;
mod cache;
mod call;
mod executor;
mod frozen;
mod kernels;
mod layer;
mod scratch;
mod stats;
mod tensor;

use abi::{Handle, VERSION, abi};
use std::ffi::{CStr, c_char};
use std::sync::Mutex;

/// The registration with libtorch's dispatcher, while there is one.
struct Registered(Handle);

// SAFETY: libtorch's registrations may be undone by any thread.
unsafe impl Send for Registered {}

static REGISTERED: Mutex<Option<Registered>> = Mutex::new(None);

/// Makes the kernels here those of the CPU. `libtorch` is the path of libtorch_cpu, which the process has loaded. A
/// second call does nothing.
///
/// # Safety
/// `libtorch` ends in 0; `message` has room for `room` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_torch_enable(
    libtorch: *const c_char,
    message: *mut c_char,
    room: usize,
) -> i32 {
    // SAFETY: as the caller says.
    let outcome = register(unsafe { CStr::from_ptr(libtorch) });
    // SAFETY: as the caller says.
    unsafe { report(outcome, message, room) }
}

/// Finds PyTorch's functions, without a registration.
///
/// # Safety
/// As [`im2col_torch_enable`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_torch_load(
    libtorch: *const c_char,
    message: *mut c_char,
    room: usize,
) -> i32 {
    // SAFETY: as the caller says.
    unsafe { report(abi::load(CStr::from_ptr(libtorch)), message, room) }
}

fn register(libtorch: &CStr) -> Result<(), String> {
    abi::load(libtorch)?;
    let mut registered = REGISTERED.lock().map_err(|_| "an earlier call has failed")?;
    if registered.is_some() {
        return Ok(());
    }
    let mut library = std::ptr::null_mut();
    // SAFETY: strings that end in 0, and a place for the handle.
    let status = unsafe {
        (abi().aoti_torch_library_init_impl)(
            c"aten".as_ptr(),
            c"CPU".as_ptr(),
            c"im2col".as_ptr(),
            0,
            &mut library,
        )
    };
    if status != 0 {
        return Err("PyTorch has refused the registration of kernels".into());
    }
    let library = Registered(library);
    let kernels: [(&CStr, abi::Kernel); 2] = [
        (c"convolution", kernels::convolution),
        (c"convolution_backward", kernels::convolution_backward),
    ];
    for (name, kernel) in kernels {
        // SAFETY: a valid handle, a string that ends in 0 and a kernel that takes what the operator gives.
        if unsafe { (abi().torch_library_impl)(library.0, name.as_ptr(), kernel, VERSION) } != 0 {
            unregister(library);
            return Err(format!(
                "PyTorch has refused the kernel of aten::{}",
                name.to_string_lossy()
            ));
        }
    }
    *registered = Some(library);
    Ok(())
}

fn unregister(library: Registered) {
    // SAFETY: an owned handle, not used again.
    unsafe { (abi().aoti_torch_delete_library_object)(library.0) };
}

/// Gives the operators back to PyTorch.
#[unsafe(no_mangle)]
pub extern "C" fn im2col_torch_disable() {
    let library = REGISTERED.lock().ok().and_then(|mut registered| registered.take());
    if let Some(library) = library {
        unregister(library);
    }
}

/// Writes the counts of calls: those computed here (forward, backward), then those left to PyTorch, forward and
/// backward by reason; then the numbers of plans kept, of frozen weights and of layers that these are packed for.
/// Returns how many numbers there are, of which at most `room` are written.
///
/// # Safety
/// `counts` has room for `room` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_torch_stats(counts: *mut u64, room: usize) -> usize {
    use call::Float;
    let plans = f32::plans().len() + f64::plans().len();
    let numbers: Vec<u64> = stats::read()
        .into_iter()
        .chain([plans as u64])
        .chain(frozen::counts().map(|n| n as u64))
        .collect();
    // SAFETY: as the caller says.
    unsafe { std::ptr::copy_nonoverlapping(numbers.as_ptr(), counts, numbers.len().min(room)) };
    numbers.len()
}

/// Sets all counts to 0 and forgets all plans.
#[unsafe(no_mangle)]
pub extern "C" fn im2col_torch_reset() {
    use call::Float;
    stats::reset();
    f32::plans().clear();
    f64::plans().clear();
}

/// Sets the error bound of calls from here on: 0 "element", 1 "tile2", 2 "tile".
#[unsafe(no_mangle)]
pub extern "C" fn im2col_torch_set_accuracy(number: u32) {
    stats::set_accuracy(number);
}

/// Lets the weight be packed once that `tensor` is, a handle that this call takes over.
///
/// # Safety
/// `tensor` is an owned handle of a tensor; `message` has room for `room` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_torch_freeze(
    tensor: u64,
    message: *mut c_char,
    room: usize,
) -> i32 {
    // SAFETY: as the caller says.
    let weight = unsafe { tensor::Tensor::from_value(tensor) };
    // SAFETY: as the caller says.
    unsafe { report(frozen::freeze(&weight), message, room) }
}

/// Forgets the weight whose elements begin at `address`.
#[unsafe(no_mangle)]
pub extern "C" fn im2col_torch_thaw(address: usize) {
    frozen::thaw(address);
}

/// Returns 0, or -1 with the error's words in the caller's buffer, cut to its room.
///
/// # Safety
/// `message` has room for `room` bytes.
unsafe fn report(outcome: Result<(), String>, message: *mut c_char, room: usize) -> i32 {
    let Err(words) = outcome else { return 0 };
    // SAFETY: as the caller says.
    unsafe { write_words(&words, message, room) };
    -1
}

/// Writes words and a 0 at their end, cut to the room there is.
///
/// # Safety
/// `buffer` has room for `room` bytes.
unsafe fn write_words(words: &str, buffer: *mut c_char, room: usize) {
    let Some(most) = room.checked_sub(1) else { return };
    let len = words.len().min(most);
    // SAFETY: at most `room` bytes are written.
    unsafe {
        std::ptr::copy_nonoverlapping(words.as_ptr().cast(), buffer, len);
        *buffer.add(len) = 0;
    }
}
