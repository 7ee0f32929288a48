//! Plans with options, plans made from plans, what a plan knows, and packed weights.

use super::boundary::{Buffer, Failure, borrow, boxed, check_pointer, guard, invalid, unknown};
use super::layer::{Layer, Of, Packed, im2col_conv, im2col_packed, pass_of, tensor_of, with_layer};
use super::numbers::{im2col_conv_options, im2col_conv_params, im2col_status};
use super::threads::{Threads, Workers, scratch_bytes};
use crate::{Element, Error};
use std::ffi::{c_char, c_void};
use std::{ptr, slice};

/// im2col_conv_create for a layer with options; NULL means none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_conv_create_with(
    params: *const im2col_conv_params,
    options: *const im2col_conv_options,
    conv: *mut *mut im2col_conv,
) -> im2col_status {
    guard(|| {
        // SAFETY: the caller's contract, as for the other pointers.
        let place = unsafe { Place::new("conv", conv)? };
        check_pointer("params", params)?;
        let options = match options.is_null() {
            true => None,
            false => {
                check_pointer("options", options)?;
                // SAFETY: neither NULL nor misaligned, so by contract a size at least.
                let size = unsafe { options.cast::<usize>().read() };
                check_size("options", size, size_of::<im2col_conv_options>())?;
                // SAFETY: its size is that of the structure.
                Some(unsafe { options.read() })
            }
        };
        // SAFETY: neither NULL nor misaligned, so by contract live parameters. Read once.
        let layer = Layer::new(unsafe { params.read() }, options)?;
        place.fill(im2col_conv(layer))
    })
}

/// A plan of the same layer for another number of images, with the same schedules: an image has the same bits in a batch of
/// any size, and weights stay packed. To be destroyed by itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_conv_with_batch(
    conv: *const im2col_conv,
    batch: usize,
    other: *mut *mut im2col_conv,
) -> im2col_status {
    guard(|| {
        // SAFETY: the caller's contract, as for the other pointers.
        let place = unsafe { Place::new("other", other)? };
        check_pointer("conv", conv)?;
        // SAFETY: neither NULL nor misaligned, so by contract a live plan.
        let layer = match unsafe { &(*conv).0 } {
            Layer::F32(layer) => Layer::F32(layer.with_batch(batch)?),
            Layer::F64(layer) => Layer::F64(layer.with_batch(batch)?),
        };
        place.fill(im2col_conv(layer))
    })
}

/// A plan of the same layer for inputs of other spatial sizes, `count` of them, outermost first. To be destroyed by itself.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_conv_with_input(
    conv: *const im2col_conv,
    sizes: *const usize,
    count: usize,
    other: *mut *mut im2col_conv,
) -> im2col_status {
    guard(|| {
        // SAFETY: the caller's contract, as for the other pointers.
        let place = unsafe { Place::new("other", other)? };
        check_pointer("conv", conv)?;
        check_pointer("sizes", sizes)?;
        if count > 3 {
            return Err(Error::Axes { found: count }.into());
        }
        // SAFETY: neither NULL nor misaligned, so by contract `count` sizes.
        let sizes = unsafe { slice::from_raw_parts(sizes, count) };
        // SAFETY: as in `im2col_conv_with_batch`.
        let layer = match unsafe { &(*conv).0 } {
            Layer::F32(layer) => Layer::F32(layer.with_input(sizes)?),
            Layer::F64(layer) => Layer::F64(layer.with_input(sizes)?),
        };
        place.fill(im2col_conv(layer))
    })
}

/// The sizes of a tensor as torch prints them, in either layout: N,C,spatial or K,C/groups,kernel. `sizes` has room for 5;
/// `*count` of them are written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_conv_sizes(
    conv: *const im2col_conv,
    tensor: u32,
    sizes: *mut usize,
    count: *mut usize,
) -> im2col_status {
    guard(|| {
        with_layer!(conv, layer => {
            check_pointer("sizes", sizes)?;
            check_pointer("count", count)?;
            let found = layer.sizes(tensor_of(tensor)?);
            for (i, &size) in found.iter().enumerate() {
                // SAFETY: neither NULL nor misaligned, so by contract room for 5 sizes: two and those of 3 axes at most.
                unsafe { sizes.add(i).write(size) };
            }
            // SAFETY: neither NULL nor misaligned, so by contract room for a size.
            unsafe { count.write(found.len()) };
            Ok(())
        })
    })
}

/// Elements of a tensor: what the lengths of im2col_forward and its like have to be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_conv_len(
    conv: *const im2col_conv,
    tensor: u32,
    len: *mut usize,
) -> im2col_status {
    guard(|| {
        with_layer!(conv, layer => {
            check_pointer("len", len)?;
            let elements = layer.sizes(tensor_of(tensor)?).iter().product();
            // SAFETY: neither NULL nor misaligned, so by contract room for a size.
            unsafe { len.write(elements) };
            Ok(())
        })
    })
}

/// im2col_conv_scratch_bytes for calls on an executor with so many workers; 0 stands for the threads that are set now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_conv_scratch_bytes_for(
    conv: *const im2col_conv,
    pass: i32,
    workers: usize,
    bytes: *mut usize,
) -> im2col_status {
    guard(|| {
        with_layer!(conv, layer => {
            check_pointer("bytes", bytes)?;
            let pass = pass_of(pass)?;
            let need = match workers {
                0 => scratch_bytes(layer, pass, &Threads)?,
                workers => scratch_bytes(layer, pass, &Workers(workers))?,
            };
            // SAFETY: neither NULL nor misaligned, so by contract room for a size.
            unsafe { bytes.write(need) };
            Ok(())
        })
    })
}

/// What was chosen, in words, with a 0 at the end. `*needed` is the bytes that this takes, the 0 included. `text` may be NULL if
/// `size` is 0; a text that doesn't fit is cut off.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_conv_explain(
    conv: *const im2col_conv,
    text: *mut c_char,
    size: usize,
    needed: *mut usize,
) -> im2col_status {
    guard(|| {
        with_layer!(conv, layer => {
            check_pointer("needed", needed)?;
            let words = layer.explain();
            if size > 0 {
                check_pointer("text", text)?;
                let fits = words.len().min(size - 1);
                // SAFETY: neither NULL nor misaligned, so by contract room for `size` bytes, of which these are at most
                // `size`; the words are memory of this call's own.
                unsafe {
                    ptr::copy_nonoverlapping(words.as_ptr(), text.cast::<u8>(), fits);
                    text.add(fits).write(0);
                }
            }
            // SAFETY: neither NULL nor misaligned, so by contract room for a size.
            unsafe { needed.write(words.len() + 1) };
            Ok(())
        })
    })
}

/// Packs weights once for many calls of one pass: IM2COL_FORWARD or IM2COL_BACKWARD_DATA. They serve every plan that reads
/// its weights in the same order: those of im2col_conv_with_batch and im2col_conv_with_input always, one that was created by
/// itself perhaps; another one refuses them. On success
/// `*packed` is to be given to im2col_packed_destroy once; on failure it is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_packed_create(
    conv: *const im2col_conv,
    pass: i32,
    weight: *const c_void,
    weight_len: usize,
    packed: *mut *mut im2col_packed,
) -> im2col_status {
    guard(|| {
        // SAFETY: the caller's contract, as for the other pointers.
        let place = unsafe { Place::new("packed", packed)? };
        check_pointer("conv", conv)?;
        let pass = pass_of(pass)?;
        // SAFETY: as in `im2col_conv_with_batch`.
        let packed = match unsafe { &(*conv).0 } {
            Layer::F32(layer) => {
                // SAFETY: of the layer's length, as is checked; the memory is the caller's promise.
                let weight = unsafe { weight_of(layer, weight, weight_len)? };
                Packed::F32(pass, layer.pack_weight(pass, weight, &Threads)?)
            }
            Layer::F64(layer) => {
                // SAFETY: as above.
                let weight = unsafe { weight_of(layer, weight, weight_len)? };
                Packed::F64(pass, layer.pack_weight(pass, weight, &Threads)?)
            }
        };
        place.fill(im2col_packed(packed))
    })
}

/// Gives packed weights back. NULL is fine; twice the same, or some that a call still uses, is undefined.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_packed_destroy(packed: *mut im2col_packed) {
    guard(|| {
        if !packed.is_null() {
            check_pointer("packed", packed)?;
            // SAFETY: by contract from `im2col_packed_create`, which made it with `Box::into_raw`,
            // and not destroyed before.
            drop(unsafe { Box::from_raw(packed) });
        }
        Ok(())
    });
}

/// The memory that packed weights take, in bytes, and the pass that they were packed for. Either pointer may be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_packed_query(
    packed: *const im2col_packed,
    pass: *mut i32,
    bytes: *mut usize,
) -> im2col_status {
    guard(|| {
        check_pointer("packed", packed)?;
        // SAFETY: neither NULL nor misaligned, so by contract live packed weights.
        let (of, len) = match unsafe { &(*packed).0 } {
            Packed::F32(pass, weight) => (*pass, weight.len() * size_of::<f32>()),
            Packed::F64(pass, weight) => (*pass, weight.len() * size_of::<f64>()),
        };
        if !pass.is_null() {
            check_pointer("pass", pass)?;
        }
        if !bytes.is_null() {
            check_pointer("bytes", bytes)?;
            // SAFETY: neither NULL nor misaligned, so by contract room for a size.
            unsafe { bytes.write(len) };
        }
        if !pass.is_null() {
            // SAFETY: neither NULL nor misaligned, so by contract room for a number.
            unsafe { pass.write(of as i32) };
        }
        Ok(())
    })
}

/// Where a call puts what it makes: NULL until it is made.
struct Place<P>(*mut *mut P);

impl<P> Place<P> {
    /// # Safety
    /// `place` is NULL, misaligned, or room for a pointer.
    unsafe fn new(name: &str, place: *mut *mut P) -> Result<Self, Failure> {
        check_pointer(name, place)?;
        // SAFETY: neither NULL nor misaligned, so by contract room for a pointer. `write`, as
        // whatever is there may never have been initialised.
        unsafe { place.write(ptr::null_mut()) };
        Ok(Self(place))
    }

    fn fill(self, value: P) -> Result<(), Failure> {
        let made = boxed(value)?;
        // SAFETY: as for the first write, by the contract of `new`.
        unsafe { self.0.write(Box::into_raw(made)) };
        Ok(())
    }
}

/// The size that a structure says it has must be the one that this library knows.
pub(super) fn check_size(name: &str, found: usize, known: usize) -> Result<(), Failure> {
    if found == known {
        return Ok(());
    }
    let allowed = format_args!("{known}, its sizeof in this version's header");
    Err(match found {
        0 => invalid(format_args!("{name}->size is not set: it must be {allowed}")),
        _ => unknown("the size of a structure", found, allowed),
    })
}

/// The weights of a layer as a slice.
///
/// # Safety
/// As `borrow`.
unsafe fn weight_of<'a, T: Element>(
    layer: &Of<T>,
    weight: *const c_void,
    len: usize,
) -> Result<&'a [T], Failure> {
    let weight = Buffer::of_len("weight", (weight, len), layer.weight_len())?;
    // SAFETY: the caller's promise.
    let ([weight], [], _) = unsafe { borrow([weight], [], Buffer::none())? };
    Ok(weight)
}
