//! Tensors and lists of libtorch's, owned: the safe side of the C interface.

use crate::abi::{Handle, Value, abi};
use crate::call::Float;
use im2col::Layout;
use std::mem::MaybeUninit;

/// A tensor, owned.
pub(crate) struct Tensor(Handle);

// SAFETY: libtorch counts references with atomic operations, and handles belong to no thread.
unsafe impl Send for Tensor {}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: an owned handle, not used again.
        unsafe { (abi().aoti_torch_delete_tensor_object)(self.0) };
    }
}

impl Tensor {
    /// # Safety
    /// `value` is a tensor that libtorch has given and nobody else owns.
    pub(crate) unsafe fn from_value(value: Value) -> Self {
        Self(value as Handle)
    }

    /// Gives the tensor to libtorch.
    pub(crate) fn into_value(self) -> Value {
        let value = self.0 as Value;
        std::mem::forget(self);
        value
    }

    /// Another reference to the same tensor.
    pub(crate) fn share(&self) -> Result<Self, String> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: a valid handle, and a place for the new one.
        check(unsafe { (abi().aoti_torch_new_tensor_handle)(self.0, &mut handle) }, "share")?;
        Ok(Self(handle))
    }

    /// Another tensor over the same storage, which it keeps from being freed.
    pub(crate) fn alias(&self) -> Result<Self, String> {
        let mut handle = std::ptr::null_mut();
        let (sizes, strides) = (self.sizes().as_ptr(), self.strides().as_ptr());
        // SAFETY: a valid handle with its own sizes and strides, and a place for the new handle.
        let status = unsafe { (abi().aoti_torch_as_strided)(self.0, sizes, strides, &mut handle) };
        check(status, "as_strided")?;
        Ok(Self(handle))
    }

    /// Where its first element lies.
    pub(crate) fn address(&self) -> usize {
        let mut data = std::ptr::null();
        // SAFETY: a valid handle, and a place for the answer.
        unsafe { (abi().torch_get_const_data_ptr)(self.0, &mut data) };
        data as usize
    }

    /// A tensor of no elements and no type, which stands for a gradient that nobody asked for.
    pub(crate) fn undefined() -> Result<Self, String> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: a place for the new handle.
        check(unsafe { (abi().aoti_torch_new_uninitialized_tensor)(&mut handle) }, "undefined")?;
        Ok(Self(handle))
    }

    /// A new tensor of these sizes whose elements have any value.
    pub(crate) fn empty(sizes: &[i64], layout: Layout, dtype: i32) -> Result<Self, String> {
        let strides = strides_of(sizes, layout);
        let mut handle = std::ptr::null_mut();
        // SAFETY: as many sizes and strides as axes, and a place for the new handle.
        let status = unsafe {
            let cpu = (abi().aoti_torch_device_type_cpu)();
            (abi().aoti_torch_empty_strided)(
                sizes.len() as i64,
                sizes.as_ptr(),
                strides.as_ptr(),
                dtype,
                cpu,
                0,
                &mut handle,
            )
        };
        check(status, "empty_strided")?;
        Ok(Self(handle))
    }

    /// Sets every element to 0.
    pub(crate) fn zero(self) -> Result<Self, String> {
        // SAFETY: a valid handle.
        check(unsafe { (abi().aoti_torch_zero_)(self.0) }, "zero_")?;
        Ok(self)
    }

    pub(crate) fn is_defined(&self) -> bool {
        let mut defined = false;
        // SAFETY: a valid handle, and a place for the answer.
        unsafe { (abi().aoti_torch_is_defined)(self.0, &mut defined) };
        defined
    }

    /// Whether its elements lie in the processor's memory, at strides.
    pub(crate) fn is_strided_cpu(&self) -> bool {
        let (mut device, mut layout) = (-1, -1);
        // SAFETY: a valid handle, and places for the answers.
        unsafe {
            (abi().aoti_torch_get_device_type)(self.0, &mut device);
            (abi().aoti_torch_get_layout)(self.0, &mut layout);
            device == (abi().aoti_torch_device_type_cpu)()
                && layout == (abi().aoti_torch_layout_strided)()
        }
    }

    pub(crate) fn dtype(&self) -> i32 {
        let mut dtype = -1;
        // SAFETY: a valid handle, and a place for the answer.
        unsafe { (abi().aoti_torch_get_dtype)(self.0, &mut dtype) };
        dtype
    }

    fn axes(&self) -> usize {
        let mut axes = 0;
        // SAFETY: a valid handle, and a place for the answer.
        unsafe { (abi().aoti_torch_get_dim)(self.0, &mut axes) };
        axes as usize
    }

    pub(crate) fn sizes(&self) -> &[i64] {
        let mut sizes = std::ptr::null();
        // SAFETY: a valid handle, and a place for the answer.
        let status = unsafe { (abi().aoti_torch_get_sizes)(self.0, &mut sizes) };
        if status != 0 || sizes.is_null() {
            return &[];
        }
        // SAFETY: as many sizes as axes; they are the tensor's, which nobody resizes during an operator.
        unsafe { std::slice::from_raw_parts(sizes, self.axes()) }
    }

    pub(crate) fn strides(&self) -> &[i64] {
        let mut strides = std::ptr::null();
        // SAFETY: a valid handle, and a place for the answer.
        let status = unsafe { (abi().aoti_torch_get_strides)(self.0, &mut strides) };
        if status != 0 || strides.is_null() {
            return &[];
        }
        // SAFETY: as many strides as axes; they are the tensor's, which nobody resizes during an operator.
        unsafe { std::slice::from_raw_parts(strides, self.axes()) }
    }

    /// The same tensor if its elements lie densely in this layout, otherwise a copy of which that is true.
    pub(crate) fn dense(self, layout: Layout) -> Result<Self, String> {
        if is_dense(self.sizes(), self.strides(), layout) {
            return Ok(self);
        }
        let copy = Self::empty(self.sizes(), layout, self.dtype())?;
        // SAFETY: two valid handles of tensors of the same sizes.
        check(unsafe { (abi().aoti_torch_copy_)(copy.0, self.0, 0) }, "copy_")?;
        Ok(copy)
    }

    fn elements(&self) -> usize {
        self.sizes().iter().product::<i64>() as usize
    }

    /// The elements of a dense tensor, in the order of its layout.
    pub(crate) fn elements_of<T: Float>(&self) -> &[T] {
        assert!(T::is(self.dtype()), "a tensor of another type");
        let mut data = std::ptr::null();
        // SAFETY: a valid handle, and a place for the answer.
        unsafe { (abi().torch_get_const_data_ptr)(self.0, &mut data) };
        let elements = self.elements();
        if elements == 0 || data.is_null() {
            return &[];
        }
        // SAFETY: a tensor made by `dense` or of one axis and stride 1 has all its elements of this type from here
        // on; they live as long as the tensor. That no other thread writes them meanwhile is what every operator of
        // PyTorch relies on.
        unsafe { std::slice::from_raw_parts(data.cast(), elements) }
    }

    /// The elements of a tensor made by `empty`, which have no value yet.
    pub(crate) fn elements_mut<T: Float>(&mut self) -> &mut [MaybeUninit<T>] {
        assert!(T::is(self.dtype()), "a tensor of another type");
        let mut data = std::ptr::null_mut();
        // SAFETY: a valid handle, and a place for the answer.
        unsafe { (abi().torch_get_mutable_data_ptr)(self.0, &mut data) };
        let elements = self.elements();
        if elements == 0 || data.is_null() {
            return &mut [];
        }
        // SAFETY: as in `elements_of`; made by this crate, so nobody else has the tensor yet.
        unsafe { std::slice::from_raw_parts_mut(data.cast(), elements) }
    }
}

/// A list of integers or booleans, owned.
pub(crate) struct List(Handle);

impl Drop for List {
    fn drop(&mut self) {
        // SAFETY: an owned handle, not used again.
        unsafe { (abi().torch_delete_list)(self.0) };
    }
}

impl List {
    /// # Safety
    /// `value` is a list that libtorch has given and nobody else owns.
    pub(crate) unsafe fn from_value(value: Value) -> Self {
        Self(value as Handle)
    }

    /// Gives the list to libtorch.
    pub(crate) fn into_value(self) -> Value {
        let value = self.0 as Value;
        std::mem::forget(self);
        value
    }

    pub(crate) fn len(&self) -> usize {
        let mut len = 0;
        // SAFETY: a valid handle, and a place for the answer.
        unsafe { (abi().torch_list_size)(self.0, &mut len) };
        len
    }

    /// One item; 0 where there is none.
    pub(crate) fn get(&self, index: usize) -> i64 {
        let mut item = 0;
        // SAFETY: a valid handle, and a place for the answer.
        unsafe { (abi().torch_list_get_item)(self.0, index, &mut item) };
        item as i64
    }

    /// One value for each axis: a list of one item gives it to all. `None` for any other length.
    pub(crate) fn per_axis(&self, axes: usize) -> Option<[i64; 3]> {
        let len = self.len();
        let mut values = [0; 3];
        for (axis, value) in values.iter_mut().enumerate().take(axes) {
            *value = self.get(if len == 1 { 0 } else { axis });
        }
        (len == 1 || len == axes).then_some(values)
    }
}

/// The number of axes that tensors of layers can have, and room for all of them.
const MOST: usize = 5;

/// The axes from the outermost in memory to the innermost.
fn order(axes: usize, layout: Layout) -> impl DoubleEndedIterator<Item = usize> {
    let last = layout == Layout::ChannelsLast && axes > 2;
    // Channels are axis 1; channels last they come after all others.
    (0..axes).map(move |place| match place {
        0 => 0,
        _ if !last => place,
        _ if place == axes - 1 => 1,
        _ => place + 1,
    })
}

/// The strides of a new tensor, as PyTorch gives them: an axis of size 0 counts as one of size 1.
fn strides_of(sizes: &[i64], layout: Layout) -> [i64; MOST] {
    let mut strides = [0; MOST];
    let mut next = 1;
    for axis in order(sizes.len(), layout).rev() {
        strides[axis] = next;
        next *= sizes[axis].max(1);
    }
    strides
}

/// Whether the elements lie one after the other in this layout. The stride of an axis of size 1 says nothing.
fn is_dense(sizes: &[i64], strides: &[i64], layout: Layout) -> bool {
    let wanted = strides_of(sizes, layout);
    sizes
        .iter()
        .zip(strides)
        .zip(wanted)
        .all(|((&size, &stride), wanted)| size == 1 || stride == wanted)
}

/// Whether PyTorch takes a tensor of two or three spatial axes for channels last: strides don't fall from the
/// channels over the spatial axes, innermost first, to the batch. Where sizes of 1 leave both layouts possible it
/// decides for channels first, unless the stride of the batch says otherwise.
pub(crate) fn looks_channels_last(sizes: &[i64], strides: &[i64]) -> bool {
    if sizes.len() < 4 || strides[1] == 0 {
        return false;
    }
    let mut reach = 0;
    for axis in order(sizes.len(), Layout::ChannelsLast).rev() {
        let ambiguous = axis == 0 && reach == strides[1];
        if sizes[axis] == 0 || strides[axis] < reach || ambiguous {
            return false;
        }
        reach = strides[axis] * sizes[axis].max(1);
    }
    true
}

fn check(status: i32, what: &str) -> Result<(), String> {
    if status == 0 {
        return Ok(());
    }
    Err(crate::abi::last_exception().unwrap_or_else(|| format!("{what} failed")))
}
