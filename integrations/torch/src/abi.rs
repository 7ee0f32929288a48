//! The part of libtorch's stable C interface that the kernels call, looked up by name in the libtorch that the
//! process has loaded. Nothing of PyTorch is needed to build this crate.
//!
//! Functions return 0 where they did what was asked. Handles that a function gives out belong to the caller,
//! pointers to sizes, strides and data to the tensor.

use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::OnceLock;

/// `AtenTensorHandle`, `StableListHandle` or `TorchLibraryHandle`: a pointer to an object of libtorch's.
pub(crate) type Handle = *mut c_void;

/// `StableIValue`: one argument or result of an operator. Integers and booleans are the value itself; tensors and
/// lists are owned handles; an optional is 0 or a pointer to a box with the value.
pub(crate) type Value = u64;

/// A kernel as libtorch calls it: arguments lie on the stack, and results replace them from its bottom.
pub(crate) type Kernel = unsafe extern "C-unwind" fn(*mut Value, u64, u64);

/// What runs on libtorch's threads: a range of jobs, and the caller's pointer.
pub(crate) type Job = unsafe extern "C" fn(i64, i64, *mut c_void);

/// The version of the interface that this file was written for, 2.10, in libtorch's packing.
pub(crate) const VERSION: u64 = (2 << 56) | (10 << 48);

/// Makes a struct of function pointers and the function that fills it; a function would have to repeat each name
/// and type.
macro_rules! functions {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        /// The functions that every libtorch from 2.10 on has.
        pub(crate) struct Abi {
            $($(#[$doc])* pub(crate) $name: $type,)*
            pub(crate) since_2_13: Option<Since213>,
        }
        impl Abi {
            /// # Safety
            /// The functions of that name in `library` must have these types.
            unsafe fn load(library: &Library) -> Result<Abi, String> {
                Ok(Abi {
                    $($name: {
                        let symbol = library.symbol(concat!(stringify!($name), "\0"))
                            .ok_or(concat!("this PyTorch has no ", stringify!($name), ": 2.10 or newer is needed"))?;
                        // SAFETY: a function of this type, as the caller promises.
                        unsafe { std::mem::transmute::<*mut c_void, $type>(symbol) }
                    },)*
                    // SAFETY: as above.
                    since_2_13: unsafe { Since213::load(library) },
                })
            }
        }
    };
}

functions! {
    /// namespace, dispatch key, file, line, result
    aoti_torch_library_init_impl: unsafe extern "C" fn(*const c_char, *const c_char, *const c_char, u32, *mut Handle) -> i32;
    aoti_torch_delete_library_object: unsafe extern "C" fn(Handle) -> i32;
    torch_library_impl: unsafe extern "C" fn(Handle, *const c_char, Kernel, u64) -> i32;
    /// operator, overload, stack of arguments and results, version
    torch_call_dispatcher: unsafe extern "C" fn(*const c_char, *const c_char, *mut Value, u64) -> i32;
    aoti_torch_get_dim: unsafe extern "C" fn(Handle, *mut i64) -> i32;
    aoti_torch_get_sizes: unsafe extern "C" fn(Handle, *mut *const i64) -> i32;
    aoti_torch_get_strides: unsafe extern "C" fn(Handle, *mut *const i64) -> i32;
    aoti_torch_get_dtype: unsafe extern "C" fn(Handle, *mut i32) -> i32;
    aoti_torch_get_device_type: unsafe extern "C" fn(Handle, *mut i32) -> i32;
    aoti_torch_get_layout: unsafe extern "C" fn(Handle, *mut i32) -> i32;
    aoti_torch_is_defined: unsafe extern "C" fn(Handle, *mut bool) -> i32;
    torch_get_const_data_ptr: unsafe extern "C" fn(Handle, *mut *const c_void) -> i32;
    torch_get_mutable_data_ptr: unsafe extern "C" fn(Handle, *mut *mut c_void) -> i32;
    /// axes, sizes, strides, dtype, device, its index, result
    aoti_torch_empty_strided: unsafe extern "C" fn(i64, *const i64, *const i64, i32, i32, i32, *mut Handle) -> i32;
    aoti_torch_new_uninitialized_tensor: unsafe extern "C" fn(*mut Handle) -> i32;
    aoti_torch_new_tensor_handle: unsafe extern "C" fn(Handle, *mut Handle) -> i32;
    /// tensor, sizes, strides, result
    aoti_torch_as_strided: unsafe extern "C" fn(Handle, *const i64, *const i64, *mut Handle) -> i32;
    /// destination, source, whether it may return early
    aoti_torch_copy_: unsafe extern "C" fn(Handle, Handle, i32) -> i32;
    aoti_torch_zero_: unsafe extern "C" fn(Handle) -> i32;
    aoti_torch_delete_tensor_object: unsafe extern "C" fn(Handle) -> i32;
    torch_list_size: unsafe extern "C" fn(Handle, *mut usize) -> i32;
    torch_list_get_item: unsafe extern "C" fn(Handle, usize, *mut Value) -> i32;
    torch_delete_list: unsafe extern "C" fn(Handle) -> i32;
    aoti_torch_dtype_float32: unsafe extern "C" fn() -> i32;
    aoti_torch_dtype_float64: unsafe extern "C" fn() -> i32;
    aoti_torch_device_type_cpu: unsafe extern "C" fn() -> i32;
    aoti_torch_layout_strided: unsafe extern "C" fn() -> i32;
    torch_get_num_threads: unsafe extern "C" fn(*mut u32) -> i32;
    /// first job, end, jobs at least for a thread, function, its pointer
    torch_parallel_for: unsafe extern "C" fn(i64, i64, i64, Job, *mut c_void) -> i32;
    /// condition, function, file, line, message: throws a C++ exception unless the condition holds
    aoti_torch_check: unsafe extern "C-unwind" fn(bool, *const c_char, *const c_char, u32, *const c_char);
}

/// What came with 2.13: boxes of optional values, and the words of the last exception.
pub(crate) struct Since213 {
    torch_new_stable_ivalue: unsafe extern "C" fn(*mut *mut Value) -> i32,
    torch_delete_stable_ivalue: unsafe extern "C" fn(*mut Value) -> i32,
    torch_exception_get_what_without_backtrace: unsafe extern "C" fn() -> *const c_char,
}

impl Since213 {
    /// # Safety
    /// The functions of that name in `library` must have these types.
    unsafe fn load(library: &Library) -> Option<Self> {
        let new = library.symbol("torch_new_stable_ivalue\0")?;
        let delete = library.symbol("torch_delete_stable_ivalue\0")?;
        let what = library.symbol("torch_exception_get_what_without_backtrace\0")?;
        // SAFETY: functions of these types, as the caller promises.
        unsafe {
            Some(Self {
                torch_new_stable_ivalue: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(*mut *mut Value) -> i32,
                >(new),
                torch_delete_stable_ivalue: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn(*mut Value) -> i32,
                >(delete),
                torch_exception_get_what_without_backtrace: std::mem::transmute::<
                    *mut c_void,
                    unsafe extern "C" fn() -> *const c_char,
                >(what),
            })
        }
    }
}

/// A library that the process has loaded.
struct Library(*mut c_void);

impl Library {
    fn loaded(path: &CStr) -> Result<Self, String> {
        // SAFETY: a string that ends in 0; RTLD_NOLOAD runs no code of the library.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
        if handle.is_null() {
            return Err(format!("{} is not loaded: import torch first", path.to_string_lossy()));
        }
        Ok(Self(handle))
    }

    /// The address of a symbol of the library or of those that it was linked with; `name` ends in 0.
    fn symbol(&self, name: &str) -> Option<*mut c_void> {
        let name = CStr::from_bytes_with_nul(name.as_bytes()).ok()?;
        // SAFETY: a handle of dlopen's that is never closed, and a string that ends in 0.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        (!address.is_null()).then_some(address)
    }
}

static ABI: OnceLock<Abi> = OnceLock::new();

/// Finds libtorch's functions in the library at `path`, which must be loaded.
pub(crate) fn load(path: &CStr) -> Result<(), String> {
    if ABI.get().is_none() {
        // SAFETY: the types are those of libtorch's headers, which promise that they stay.
        let abi = unsafe { Abi::load(&Library::loaded(path)?)? };
        // Another thread may have been first, with the same functions.
        let _ = ABI.set(abi);
    }
    Ok(())
}

/// The functions; kernels run only after [`load`].
pub(crate) fn abi() -> &'static Abi {
    ABI.get().expect("kernels are registered after the functions are found")
}

/// The words of the calling thread's last exception, where libtorch can say them.
pub(crate) fn last_exception() -> Option<String> {
    let since = abi().since_2_13.as_ref()?;
    // SAFETY: no arguments; the string is libtorch's and valid until the thread's next exception.
    let words = unsafe { (since.torch_exception_get_what_without_backtrace)() };
    if words.is_null() {
        return None;
    }
    // SAFETY: not null, and ends in 0.
    Some(unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned())
}

/// Throws a C++ exception with this message, which Python sees as a `RuntimeError`.
pub(crate) fn raise(message: String) -> ! {
    thread_local! {
        static MESSAGE: std::cell::RefCell<CString> = std::cell::RefCell::default();
    }
    // The exception leaves this frame without running destructors, so the message lies where it needs none.
    let text = MESSAGE.with(|slot| {
        *slot.borrow_mut() = CString::new(message.replace('\0', " ")).unwrap_or_default();
        slot.borrow().as_ptr()
    });
    // SAFETY: strings that end in 0; the function throws, and no frame from here to libtorch's holds anything that
    // would have to be dropped.
    unsafe {
        (abi().aoti_torch_check)(false, c"convolution".as_ptr(), c"im2col".as_ptr(), 0, text);
    }
    std::process::abort()
}

/// Takes the value out of an optional and frees its box.
///
/// # Safety
/// `optional` is one that libtorch has given, not yet taken.
pub(crate) unsafe fn unbox(optional: Value) -> Option<Value> {
    let address = optional as *mut Value;
    if address.is_null() {
        return None;
    }
    // SAFETY: not null, so a box of libtorch's with a value in it; freed as it was made: by libtorch's function, or
    // before there was one with C++'s operator, which is malloc's in the standard libraries of Linux and macOS.
    unsafe {
        let value = *address;
        match &abi().since_2_13 {
            Some(since) => _ = (since.torch_delete_stable_ivalue)(address),
            None => libc::free(address.cast()),
        }
        Some(value)
    }
}

/// Puts a value into a box that libtorch will free.
pub(crate) fn boxed(value: Value) -> Value {
    let mut address: *mut Value = std::ptr::null_mut();
    // SAFETY: libtorch fills the pointer, or malloc does, with room for one value.
    unsafe {
        match &abi().since_2_13 {
            Some(since) => _ = (since.torch_new_stable_ivalue)(&mut address),
            None => address = libc::malloc(size_of::<Value>()).cast(),
        }
        if address.is_null() {
            raise("out of memory for an argument of 8 bytes".into());
        }
        *address = value;
    }
    address as Value
}
