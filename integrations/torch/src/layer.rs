//! What a call of `aten::convolution` asks for, as a layer of im2col's, or the reason why it is PyTorch's.

use crate::call::Float;
use crate::executor::Torch;
use crate::tensor::{List, Tensor, looks_channels_last};
use im2col::{Executor, Layout, MAX_AXES, Params};

/// Why a call is left to PyTorch's own kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Reason {
    /// Elements aren't all f32 or all f64.
    DType,
    /// A tensor isn't in the processor's memory, or has no strides.
    Storage,
    /// Not one, two or three spatial axes.
    Axes,
    /// A tensor without elements, other than by a batch of none.
    Empty,
    /// An output padding that is larger than both stride and padding.
    OutputPadding,
    /// Sizes that don't make a layer: PyTorch says what is wrong.
    Invalid,
}

impl Reason {
    pub(crate) const ALL: [Reason; 6] = [
        Reason::DType,
        Reason::Storage,
        Reason::Axes,
        Reason::Empty,
        Reason::OutputPadding,
        Reason::Invalid,
    ];
}

/// The options of a call, as libtorch gives them.
pub(crate) struct Options {
    pub(crate) stride: List,
    pub(crate) padding: List,
    pub(crate) dilation: List,
    pub(crate) transposed: bool,
    pub(crate) output_padding: List,
    pub(crate) groups: i64,
}

/// A layer: a convolution, or one whose `backward_data` is the transposed layer that was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer {
    pub(crate) params: Params,
    pub(crate) transposed: bool,
    /// Sizes of the output as PyTorch counts them: batch, channels, spatial axes.
    output: [i64; MAX_AXES + 2],
}

impl Layer {
    /// The layer of a call, with the layout that PyTorch gives its results.
    pub(crate) fn new(input: &Tensor, weight: &Tensor, options: &Options) -> Result<Self, Reason> {
        let (x, w) = (input.sizes(), weight.sizes());
        let axes = x.len().wrapping_sub(2);
        if !(1..=MAX_AXES).contains(&axes) || w.len() != x.len() {
            return Err(Reason::Axes);
        }
        if x[1..].contains(&0) || w.contains(&0) {
            return Err(Reason::Empty);
        }
        let per_axis = |list: &List| list.per_axis(axes).ok_or(Reason::Invalid);
        let window = Window {
            stride: per_axis(&options.stride)?,
            padding: per_axis(&options.padding)?,
            dilation: per_axis(&options.dilation)?,
            output_padding: per_axis(&options.output_padding)?,
        };
        let mut layer = Self::of_sizes(x, w, &window, options.transposed, options.groups)?;
        layer.params.layout = layout(input, weight, options, &window);
        Ok(layer)
    }

    fn of_sizes(
        x: &[i64],
        w: &[i64],
        window: &Window,
        transposed: bool,
        groups: i64,
    ) -> Result<Self, Reason> {
        let axes = x.len() - 2;
        let positive =
            |value: i64| usize::try_from(value).ok().filter(|&v| v > 0).ok_or(Reason::Invalid);
        let at_least_0 = |value: i64| usize::try_from(value).map_err(|_| Reason::Invalid);
        let groups = positive(groups)?;
        let per_group = positive(w[1])?.checked_mul(groups).ok_or(Reason::Invalid)?;
        // The convolution's own input is what a transposed layer calls its output.
        let (in_channels, out_channels) = (per_group, positive(w[0])?);
        let found = positive(x[1])?;
        if found != if transposed { out_channels } else { in_channels } {
            return Err(Reason::Invalid);
        }
        let batch = at_least_0(x[0])?;
        let mut params =
            Params { axes, batch, in_channels, out_channels, groups, ..Params::default() };
        let mut output = [0; MAX_AXES + 2];
        output[0] = x[0];
        output[1] = if transposed { per_group } else { out_channels } as i64;
        for axis in 0..axes {
            let sizes = [x[axis + 2], w[axis + 2]].map(|size| size as usize);
            let found = if transposed {
                window.transposed(axis, sizes, &mut params)?
            } else {
                window.plain(axis, sizes, &mut params)?
            };
            output[axis + 2] = i64::try_from(found).map_err(|_| Reason::Invalid)?;
        }
        if out_channels % groups != 0 {
            return Err(Reason::Invalid);
        }
        Ok(Self { params, transposed, output })
    }

    /// Sizes of the output: batch, channels, spatial axes.
    pub(crate) fn output(&self) -> &[i64] {
        &self.output[..self.params.axes + 2]
    }

    /// Channels of the output: elements of the bias.
    pub(crate) fn bias_len(&self) -> i64 {
        self.output[1]
    }
}

/// How the kernel moves over the input: a value for each spatial axis.
struct Window {
    stride: [i64; MAX_AXES],
    padding: [i64; MAX_AXES],
    dilation: [i64; MAX_AXES],
    output_padding: [i64; MAX_AXES],
}

impl Window {
    /// Sets an axis of a convolution and says how large its output is.
    fn plain(
        &self,
        axis: usize,
        [input, kernel]: [usize; 2],
        params: &mut Params,
    ) -> Result<usize, Reason> {
        let (stride, padding, dilation) = self.checked(axis)?;
        self.set(axis, params, input, kernel, padding);
        let padded = input.checked_add(2 * padding).ok_or(Reason::Invalid)?;
        let span = (kernel - 1).checked_mul(dilation).ok_or(Reason::Invalid)?;
        Ok(padded.checked_sub(span + 1).ok_or(Reason::Invalid)? / stride + 1)
    }

    /// Sets an axis of the convolution that a transposed layer mirrors and says how large the layer's output is.
    fn transposed(
        &self,
        axis: usize,
        [input, kernel]: [usize; 2],
        params: &mut Params,
    ) -> Result<usize, Reason> {
        let (stride, padding, dilation) = self.checked(axis)?;
        let extra = usize::try_from(self.output_padding[axis]).map_err(|_| Reason::Invalid)?;
        if extra >= stride.max(dilation) {
            return Err(Reason::Invalid);
        }
        // Elements that the last step of the stride leaves over need no padding less; others do.
        let less = if extra < stride { 0 } else { extra };
        let pad_end = padding.checked_sub(less).ok_or(Reason::OutputPadding)?;
        let stamps = (input - 1).checked_mul(stride).ok_or(Reason::Invalid)?;
        let span = (kernel - 1).checked_mul(dilation).ok_or(Reason::Invalid)?;
        let full = stamps.checked_add(span + 1 + extra).ok_or(Reason::Invalid)?;
        let output = full.checked_sub(2 * padding).filter(|&n| n > 0).ok_or(Reason::Invalid)?;
        self.set(axis, params, output, kernel, padding);
        params.pad_end[axis] = pad_end;
        Ok(output)
    }

    fn checked(&self, axis: usize) -> Result<(usize, usize, usize), Reason> {
        // Far below what would overflow in the sums of two of them.
        let within = |value: i64, least: i64| match value {
            v if v >= least && v <= i64::from(i32::MAX) => Ok(v as usize),
            _ => Err(Reason::Invalid),
        };
        Ok((
            within(self.stride[axis], 1)?,
            within(self.padding[axis], 0)?,
            within(self.dilation[axis], 1)?,
        ))
    }

    fn set(&self, axis: usize, params: &mut Params, input: usize, kernel: usize, padding: usize) {
        params.input[axis] = input;
        params.kernel[axis] = kernel;
        params.stride[axis] = self.stride[axis] as usize;
        params.dilation[axis] = self.dilation[axis] as usize;
        params.pad_begin[axis] = padding;
        params.pad_end[axis] = padding;
    }
}

/// The layout of the results: channels last where PyTorch takes the input or the weight for that. With three spatial
/// axes it does so only where oneDNN computes, which these conditions of its own decide: compiled models count on the
/// strides that they were compiled for.
fn layout(input: &Tensor, weight: &Tensor, options: &Options, window: &Window) -> Layout {
    let last = |t: &Tensor| looks_channels_last(t.sizes(), t.strides());
    let (x, w) = (input.sizes(), weight.sizes());
    if !(last(input) || last(weight))
        || x.len() == 5 && !in_volumes(x, w, options, window, input.dtype())
    {
        return Layout::ChannelsFirst;
    }
    Layout::ChannelsLast
}

/// Whether PyTorch gives a layer of three spatial axes to oneDNN.
fn in_volumes(x: &[i64], w: &[i64], options: &Options, window: &Window, dtype: i32) -> bool {
    let moved = |values: &[i64; MAX_AXES]| values.iter().any(|&value| value != 1);
    let wide = w[3] != 1 || w[4] != 1;
    let over =
        window.output_padding.iter().zip(&window.stride).any(|(extra, stride)| extra >= stride);
    let worth = moved(&window.stride)
        || moved(&window.dilation)
        || x[0] >= 16
        || wide
        || Torch.workers() > 1;
    let large = x[0] > 1 || (w[3] > 3 && w[4] > 3) || x[..4].iter().product::<i64>() > 20480;
    f32::is(dtype) && !(options.transposed && over) && worth && (options.groups > 1 || large)
}
