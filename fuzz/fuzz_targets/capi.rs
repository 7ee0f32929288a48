//! The C interface with wild arguments: any numbers for a layer, pointers that are NULL, odd or
//! another buffer's, modes and scratch of any value. Every call ends in a status, never in the one
//! for a bug; a refused one leaves its output alone and says why; an accepted one is right.

#![no_main]

use arbitrary::Arbitrary;
use im2col::capi::*;
use im2col::testing::{Call, Fill, Layer, Tolerance, bits};
use im2col::{Element, Pass, Shape, Write};
use im2col_fuzz::Number;
use libfuzzer_sys::fuzz_target;
use std::ffi::{CStr, c_void};
use std::ptr::{dangling_mut, null, null_mut};

/// Elements of the longest tensor that is called with.
const MOST: usize = 1 << 12;

#[derive(Debug, Arbitrary)]
struct Session {
    kinds: [u8; 4],
    counts: [Number; 4],
    spatial: [[Number; 3]; 6],
    bad_params: u8,
    calls: [Wild; 6],
}

/// A pointer of a call.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Pointer {
    Right,
    AlsoRight,
    Null,
    /// So many bytes into its buffer.
    Moved(u8),
    /// Into the output's buffer.
    Output(u8),
}

#[derive(Debug, Clone, Copy, Arbitrary)]
struct Wild {
    pass: u8,
    mode: i8,
    pointers: [Pointer; 4],
    scratch: Pointer,
    scratch_bytes: u16,
}

fuzz_target!(|session: Session| {
    let [dims, dtype, layout, algorithm] = session.kinds;
    let [batch, in_channels, out_channels, groups] = session.counts.map(Number::get);
    let spatial = session.spatial.map(|sizes| sizes.map(Number::get));
    let [input, kernel, stride, dilation, pad_begin, pad_end] = spatial;
    let params = im2col_conv_params {
        spatial_dims: u32::from(dims % 5),
        dtype: u32::from(dtype % 9).saturating_sub(6),
        layout: u32::from(layout % 9).saturating_sub(6),
        algorithm: u32::from(algorithm % 6),
        batch,
        in_channels,
        out_channels,
        groups,
        input,
        kernel,
        stride,
        dilation,
        pad_begin,
        pad_end,
    };
    let mut conv = dangling_mut();
    let at = match session.bad_params {
        0 => null(),
        1 => (&raw const params).wrapping_byte_add(3),
        _ => &raw const params,
    };
    // SAFETY: parameters that are NULL, misaligned or right; room for a plan.
    let status = unsafe { im2col_conv_create(at, &mut conv) };
    if status != IM2COL_OK {
        assert!(conv.is_null(), "a failed create must leave NULL");
        return refused(status);
    }
    match params.dtype {
        IM2COL_F32 => calls::<f32>(conv, &params, &session.calls),
        _ => calls::<f64>(conv, &params, &session.calls),
    }
    // SAFETY: from `im2col_conv_create`, once.
    unsafe { im2col_conv_destroy(conv) };
});

fn refused(status: im2col_status) {
    assert!((IM2COL_INVALID_ARGUMENT..IM2COL_INTERNAL).contains(&status), "{status}");
    // SAFETY: a string that lives until this thread's next failing call.
    let said = unsafe { CStr::from_ptr(im2col_last_error()) };
    assert!(!said.is_empty());
}

/// The layer that C described.
fn shape(p: &im2col_conv_params) -> Shape {
    let layout = match p.layout {
        IM2COL_CHANNELS_FIRST => im2col::Layout::ChannelsFirst,
        _ => im2col::Layout::ChannelsLast,
    };
    Shape::new(im2col::Params {
        axes: p.spatial_dims as usize,
        layout,
        batch: p.batch,
        in_channels: p.in_channels,
        out_channels: p.out_channels,
        groups: p.groups,
        input: p.input,
        kernel: p.kernel,
        stride: p.stride,
        dilation: p.dilation,
        pad_begin: p.pad_begin,
        pad_end: p.pad_end,
        ..im2col::Params::default()
    })
    .expect("C was given a plan")
}

/// Room behind every buffer, in elements, so that a moved pointer has as much memory as it needs.
const ROOM: usize = 64;

fn calls<T: Element>(conv: *mut im2col_conv, params: &im2col_conv_params, wild: &[Wild]) {
    let mut sizes = [0usize; 3];
    // SAFETY: a live plan, room for three sizes.
    assert_eq!(unsafe { im2col_conv_output(conv, sizes.as_mut_ptr()) }, IM2COL_OK);
    let shape = shape(params);
    assert!(shape.axes().iter().zip(sizes).all(|(axis, size)| axis.output == size));
    let cols = shape.cols_len().unwrap_or(usize::MAX);
    let tensors = [shape.input_len(), shape.weight_len(), shape.output_len()];
    // A batch of none has no input, but im2col reads an image; and biases, where no weight is.
    let others = [shape.image_len(), shape.in_channels(), shape.out_channels(), cols];
    let longest = tensors.into_iter().chain(others).fold(0, usize::max);
    if longest > MOST || shape.flops() > 1e5 {
        return;
    }
    let layer = Layer::<T>::new(*shape.params(), Fill::Integers);
    wild.iter().for_each(|wild| call(conv, &layer, longest + ROOM, wild));
}

fn call<T: Element>(conv: *mut im2col_conv, layer: &Layer<T>, len: usize, wild: &Wild) {
    let room = |tensor: &[T]| {
        let mut tensor = tensor.to_vec();
        tensor.resize(len, T::ONE);
        tensor
    };
    let (x, w) = (room(&layer.input), room(&layer.weight));
    let (b, g) = (room(&layer.bias), room(&layer.grad_output));
    let before = vec![T::ONE; len];
    let mut to = before.clone();
    let o = to.as_mut_ptr().cast::<c_void>();
    let mut all_right = true;
    let mut pointer = |kind: Pointer, own: *const T| -> *const c_void {
        let own = own.cast::<c_void>();
        all_right &= matches!(kind, Pointer::Right | Pointer::AlsoRight);
        match kind {
            Pointer::Right | Pointer::AlsoRight => own,
            Pointer::Null => null(),
            Pointer::Moved(bytes) => own.wrapping_byte_add(usize::from(bytes)),
            Pointer::Output(bytes) => o.wrapping_byte_add(usize::from(bytes)).cast_const(),
        }
    };
    let [px, pw, pb, pg] = wild.pointers;
    let (x, w) = (pointer(px, x.as_ptr()), pointer(pw, w.as_ptr()));
    let (b, g) = (pointer(pb, b.as_ptr()), pointer(pg, g.as_ptr()));
    // A scratch buffer has what its caller says, and a moved one a part of it.
    let mut memory = vec![0xFFu8; usize::from(wild.scratch_bytes) + 256];
    let (bytes, moved) = match wild.scratch {
        Pointer::Null => (usize::MAX, None),
        Pointer::Moved(bytes) => (usize::from(wild.scratch_bytes), Some(usize::from(bytes))),
        _ => (usize::from(wild.scratch_bytes), Some(0)),
    };
    let s = moved.map_or(null_mut(), |moved| memory[moved..].as_mut_ptr().cast::<c_void>());
    let mode = i32::from(wild.mode % 3);
    let write = if mode == 0 { Write::Overwrite } else { Write::Accumulate };
    // SAFETY: a live plan. Pointers are NULL, misaligned, or have room for the longest tensor; the
    // scratch has its bytes. What shares memory is to be refused.
    let (status, answer) = unsafe {
        match wild.pass % 9 {
            0 => {
                let write = if b.is_null() { Write::Overwrite } else { Write::Accumulate };
                let status = im2col_conv_forward(conv, x, w, b, o, s, bytes);
                (status, Some(Call::Pass(Pass::Forward, write)))
            }
            1 => {
                let status = im2col_conv_backward_data(conv, w, g, o, mode, s, bytes);
                (status, Some(Call::Pass(Pass::BackwardData, write)))
            }
            2 => {
                let status = im2col_conv_backward_weight(conv, x, g, o, mode, s, bytes);
                (status, Some(Call::Pass(Pass::BackwardWeight, write)))
            }
            3 => (im2col_conv_backward_bias(conv, g, o, mode), Some(Call::Bias(write))),
            4 => (im2col_im2col(conv, x, o), None),
            5 => (im2col_col2im(conv, g, o, mode), None),
            8 => {
                // Lengths that are right, or one too many.
                let more = usize::from(wild.mode.unsigned_abs() % 2);
                let [of_x, of_w] = [layer.input.len(), layer.weight.len() + more];
                let of_o = layer.shape.output_len();
                let status = im2col_forward(conv, x, of_x, w, of_w, o, of_o, null());
                assert!(more == 0 || status != IM2COL_OK, "a wrong length was taken");
                (status, Some(Call::Pass(Pass::Forward, Write::Overwrite)))
            }
            6 => (im2col_conv_forward(null(), x, w, b, o, s, bytes), None),
            _ => {
                let mut need = 77usize;
                let status = im2col_conv_scratch_bytes(conv, mode - 1, &mut need);
                assert!(status == IM2COL_OK || need == 77);
                (status, None)
            }
        }
    };
    if status != IM2COL_OK {
        assert_eq!(bits(&to), bits(&before), "a refused call wrote");
        return refused(status);
    }
    if let (Some(call), true) = (answer, all_right) {
        // What was there before is ones here.
        let layer = Layer { old: before, ..layer.clone() };
        let expected = layer.expected(call);
        let (got, rest) = to.split_at(expected.values.len());
        expected.assert_close("the C interface", got, Tolerance::Exact);
        assert!(rest.iter().all(|&x| x == T::ONE), "written past the end");
    }
}
