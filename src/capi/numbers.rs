//! The numbers that C passes and gets, and what describes a layer.

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

/// The version of this header: compare with im2col_version(), which is the library's.
pub const IM2COL_VERSION_MAJOR: u32 = 0;
/// As IM2COL_VERSION_MAJOR.
pub const IM2COL_VERSION_MINOR: u32 = 1;
/// As IM2COL_VERSION_MAJOR.
pub const IM2COL_VERSION_PATCH: u32 = 0;

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

/// `activation`: none.
pub const IM2COL_ACTIVATION_NONE: u32 = 0;
/// `activation`: max(0, x).
pub const IM2COL_ACTIVATION_RELU: u32 = 1;
/// `activation`: x kept between `low` and `high`.
pub const IM2COL_ACTIVATION_CLAMP: u32 = 2;

/// `padding_mode`: zeros.
pub const IM2COL_PADDING_ZEROS: u32 = 0;
/// `padding_mode`: the image mirrored at its first and last element; less padding than the input has elements.
pub const IM2COL_PADDING_REFLECT: u32 = 1;
/// `padding_mode`: the first and the last element, again and again.
pub const IM2COL_PADDING_REPLICATE: u32 = 2;
/// `padding_mode`: the image once more, its end before its beginning; no more padding than the input has elements.
pub const IM2COL_PADDING_CIRCULAR: u32 = 3;

/// `tensor`: the layer's input, and its gradient.
pub const IM2COL_INPUT: u32 = 0;
/// `tensor`: the layer's weight, and its gradient.
pub const IM2COL_WEIGHT: u32 = 1;
/// `tensor`: the layer's output, and its gradient.
pub const IM2COL_OUTPUT: u32 = 2;

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
    /// Elements of padding before the first element of each axis.
    pub pad_begin: [usize; 3],
    /// Elements of padding after the last element of each axis.
    pub pad_end: [usize; 3],
}

/// What a layer may have beside its sizes. Zero it, set `size`, then what is wanted.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct im2col_conv_options {
    /// sizeof(im2col_conv_options).
    pub size: usize,
    /// 1: a transposed layer. Its im2col_conv_params are its own, as torch prints them: `input` and `in_channels` are of its
    /// input, the weight is C,K/groups,kernel (channels last C,kernel,K/groups), and `pad_begin` and `pad_end` are cut off its
    /// output.
    pub transposed: u32,
    /// 1: only im2col_conv_forward and im2col_forward will be called.
    pub inference: u32,
    /// IM2COL_ACTIVATION_NONE, _RELU or _CLAMP: what forward does to each output as it stores it.
    pub activation: u32,
    /// IM2COL_PADDING_ZEROS, _REFLECT, _REPLICATE or _CIRCULAR: what stands in the padding of a plain layer.
    pub padding_mode: u32,
    /// Of IM2COL_ACTIVATION_CLAMP.
    pub low: f64,
    /// Of IM2COL_ACTIVATION_CLAMP.
    pub high: f64,
    /// Of a transposed layer: elements added at the end of each output axis.
    pub output_padding: [usize; 3],
}
