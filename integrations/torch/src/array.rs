//! Layers over arrays in memory: what the numpy functions call.

use crate::call::{self, Ends, Float};
use crate::executor::Scoped;
use crate::write_words;
use im2col::{Accuracy, Layout, Params, Pass};
use std::ffi::{c_char, c_void};
use std::mem::MaybeUninit;

/// A layer. Arrays hold a value for each spatial axis, outermost first.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Im2colLayer {
    /// 1, 2 or 3 spatial axes.
    pub axes: usize,
    /// 32 or 64: bits of an element.
    pub bits: u32,
    /// 0: channels first; else channels last.
    pub channels_last: u32,
    /// 0: "element", 1: "tile2", 2: "tile".
    pub accuracy: u32,
    /// Threads of a call.
    pub threads: usize,
    /// Images.
    pub batch: usize,
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Groups of channels.
    pub groups: usize,
    /// Sizes of the input.
    pub input: [usize; 3],
    /// Sizes of the kernel.
    pub kernel: [usize; 3],
    /// Input elements between neighbouring outputs.
    pub stride: [usize; 3],
    /// Input elements between neighbouring taps.
    pub dilation: [usize; 3],
    /// Zeros before the first element.
    pub pad_begin: [usize; 3],
    /// Zeros after the last element.
    pub pad_end: [usize; 3],
}

impl Im2colLayer {
    fn params(&self) -> Params {
        Params {
            axes: self.axes,
            layout: if self.channels_last == 0 {
                Layout::ChannelsFirst
            } else {
                Layout::ChannelsLast
            },
            batch: self.batch,
            in_channels: self.in_channels,
            out_channels: self.out_channels,
            groups: self.groups,
            input: self.input,
            kernel: self.kernel,
            stride: self.stride,
            dilation: self.dilation,
            pad_begin: self.pad_begin,
            pad_end: self.pad_end,
            ..Params::default()
        }
    }
}

/// The arrays of a pass, dense, with the sizes that its layer gives.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Im2colArrays {
    /// input, or grad_output of backward_data
    pub from: *const c_void,
    /// weight, or grad_output of backward_weight
    pub with: *const c_void,
    /// bias of forward, or null
    pub bias: *const c_void,
    /// what is written
    pub to: *mut c_void,
}

/// Runs a pass: 0 forward, 1 backward_data, 2 backward_weight. Returns 0, or -1 with words in `message`.
///
/// # Safety
/// `layer` and `arrays` point to such; the arrays have the sizes that the layer gives, and none overlaps with `to`;
/// `message` has room for `room` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_array_run(
    pass: u32,
    layer: *const Im2colLayer,
    arrays: *const Im2colArrays,
    message: *mut c_char,
    room: usize,
) -> i32 {
    let outcome = std::panic::catch_unwind(|| {
        // SAFETY: as the caller says.
        unsafe {
            let layer = &*layer;
            match layer.bits {
                32 => run::<f32>(pass, layer, *arrays),
                64 => run::<f64>(pass, layer, *arrays),
                bits => Err(format!("elements of {bits} bits: 32 or 64 are allowed")),
            }
        }
    });
    let outcome = outcome.unwrap_or_else(|_| Err("im2col: a bug, please report it".into()));
    // SAFETY: as the caller says.
    unsafe { crate::report(outcome, message, room) }
}

/// # Safety
/// As [`im2col_array_run`], and elements are of type `T`.
unsafe fn run<T: Float>(
    pass: u32,
    layer: &Im2colLayer,
    arrays: Im2colArrays,
) -> Result<(), String> {
    let plan =
        call::plan::<T>(&layer.params(), accuracy(layer.accuracy)).map_err(|e| e.to_string())?;
    let shape = plan.conv().shape();
    let (input, weight, output) = (shape.input_len(), shape.weight_len(), shape.output_len());
    let (from, with, to) = match pass {
        0 => (input, weight, output),
        1 => (output, weight, input),
        _ => (input, output, weight),
    };
    let bias = (!arrays.bias.is_null()).then(|| {
        // SAFETY: a bias has an element for each channel of the output.
        unsafe { std::slice::from_raw_parts(arrays.bias.cast(), shape.out_channels()) }
    });
    // SAFETY: the lengths are those that the layer's sizes give; nothing overlaps with `to`.
    let (from, with, to) = unsafe {
        (
            std::slice::from_raw_parts(arrays.from.cast::<T>(), from),
            std::slice::from_raw_parts(arrays.with.cast::<T>(), with),
            std::slice::from_raw_parts_mut(arrays.to.cast::<MaybeUninit<T>>(), to),
        )
    };
    let threads = Scoped(layer.threads.max(1));
    match pass {
        0 => call::forward(&plan, false, &threads, Ends { from, to }, with.into(), bias),
        1 => call::backward_data(&plan, false, &threads, Ends { from, to }, with.into()),
        _ => call::backward_weight(&plan, false, &threads, [from, with], to, None),
    }
    .map_err(|error| error.to_string())
}

/// Writes what was chosen for a layer into `words`, or why there is none. Returns 0, or -1 for the latter.
///
/// # Safety
/// `layer` points to a layer; `words` has room for `room` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn im2col_array_explain(
    layer: *const Im2colLayer,
    words: *mut c_char,
    room: usize,
) -> i32 {
    // SAFETY: as the caller says.
    let layer = unsafe { &*layer };
    let (params, accuracy) = (layer.params(), accuracy(layer.accuracy));
    let outcome = match layer.bits {
        64 => call::plan::<f64>(&params, accuracy).map(|plan| plan.conv().explain()),
        _ => call::plan::<f32>(&params, accuracy).map(|plan| plan.conv().explain()),
    };
    let (status, text) = match outcome {
        Ok(text) => (0, text),
        Err(error) => (-1, error.to_string()),
    };
    // SAFETY: as the caller says.
    unsafe { write_words(&text, words, room) };
    status
}

/// The accuracy of a number, the strictest for a number without one.
pub(crate) fn accuracy(number: u32) -> Accuracy {
    match number {
        1 => Accuracy::Tile2,
        2 => Accuracy::Tile,
        _ => Accuracy::Element,
    }
}

/// The passes over the taps, as `Pass` names them: which of them a forward call of a layer is.
pub(crate) fn pass_of(transposed: bool) -> Pass {
    if transposed { Pass::BackwardData } else { Pass::Forward }
}
