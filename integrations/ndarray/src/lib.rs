//! Convolutions on [`ndarray`]'s arrays, forward and all gradients, computed by [`im2col`] on the CPU.
//!
//! ```
//! use im2col_ndarray::Conv2d;
//! use ndarray::{Array1, Array4};
//!
//! let x = Array4::<f32>::ones((2, 3, 8, 8)); // [N, C, H, W]
//! let w = Array4::<f32>::ones((4, 3, 3, 3)); // [K, C / groups, R, S]
//! let b = Array1::<f32>::zeros(4);
//! let conv = Conv2d::new().stride([2, 2]).padding([1, 1]);
//!
//! let y = conv.forward(x.view(), w.view(), Some(b.view()))?;
//! assert_eq!(y.shape(), [2, 4, 4, 4]);
//! assert_eq!(y[[0, 0, 1, 1]], 27.0);
//!
//! let grad_y = &y; // of E = Σ y² / 2
//! let grad_w = conv.backward_weight(x.view(), grad_y.view(), [3, 3])?;
//! let grad_x = conv.backward_data(w.view(), grad_y.view(), [8, 8])?;
//! let grad_b = im2col_ndarray::backward_bias(grad_y.view());
//! # assert_eq!((grad_w.shape(), grad_x.shape(), grad_b.len()), (w.shape(), x.shape(), 4));
//! # Ok::<(), im2col_ndarray::Error>(())
//! ```
//!
//! Axes are always in the order `[N, C, spatial..]`. The memory under them may be in that order, as `ndarray`
//! makes arrays, or channels last (what [`channels_last`] makes, or `permuted_axes([0, 3, 1, 2])` of an
//! `[N, H, W, C]` array): all arrays of one call in the same order. Others are an [`Error`] that says how to copy them:
//! nothing is copied in silence.

mod call;
mod error;

pub use call::Real;
pub use error::Error;

use im2col::{Layout, MAX_AXES, Params};
use ndarray::{
    Array, Array1, ArrayView, ArrayView1, ArrayViewMut, Axis, Dimension, Ix3, Ix4, Ix5, RemoveAxis,
};

/// How a filter moves over the spatial axes: [`Conv1d`], [`Conv2d`] or [`Conv3d`]. Channels and sizes come from the
/// arrays of each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv<const AXES: usize> {
    stride: [usize; AXES],
    pad_begin: [usize; AXES],
    pad_end: [usize; AXES],
    dilation: [usize; AXES],
    groups: usize,
}

/// A filter on one spatial axis: arrays have three, `[N, C, L]`.
pub type Conv1d = Conv<1>;
/// A filter on two spatial axes: arrays have four, `[N, C, H, W]`.
pub type Conv2d = Conv<2>;
/// A filter on three spatial axes: arrays have five, `[N, C, D, H, W]`.
pub type Conv3d = Conv<3>;

/// The dimension of the arrays of a layer.
pub trait Axes {
    /// [`Ix3`], [`Ix4`] or [`Ix5`].
    type Dim: Dimension + RemoveAxis;
}
impl Axes for Conv<1> {
    type Dim = Ix3;
}
impl Axes for Conv<2> {
    type Dim = Ix4;
}
impl Axes for Conv<3> {
    type Dim = Ix5;
}

impl<const AXES: usize> Default for Conv<AXES> {
    fn default() -> Self {
        let (ones, zeros) = ([1; AXES], [0; AXES]);
        Self { stride: ones, pad_begin: zeros, pad_end: zeros, dilation: ones, groups: 1 }
    }
}

impl<const AXES: usize> Conv<AXES> {
    /// Stride and dilation 1, no padding, one group.
    pub fn new() -> Self {
        Self::default()
    }

    /// Input elements between neighbouring outputs, per axis.
    pub fn stride(self, stride: [usize; AXES]) -> Self {
        Self { stride, ..self }
    }

    /// Zeros on both sides of each axis.
    pub fn padding(self, padding: [usize; AXES]) -> Self {
        self.padding_per_side(padding, padding)
    }

    /// Zeros before and after each axis.
    pub fn padding_per_side(self, begin: [usize; AXES], end: [usize; AXES]) -> Self {
        Self { pad_begin: begin, pad_end: end, ..self }
    }

    /// Input elements between neighbouring places of the filter, per axis; 1 is dense.
    pub fn dilation(self, dilation: [usize; AXES]) -> Self {
        Self { dilation, ..self }
    }

    /// Groups: each output channel sees `C / groups` input channels.
    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }
}

impl<const AXES: usize> Conv<AXES>
where
    Self: Axes,
{
    /// The output, `[N, K, spatial..]`, of `input` `[N, C, spatial..]` under `weight` `[K, C / groups, kernel..]`, plus
    /// `bias` of one element per output channel; in the memory order of the arguments.
    ///
    /// # Errors
    /// [`Error`] names the array that doesn't fit and what would.
    pub fn forward<T: Real>(
        &self,
        input: ArrayView<'_, T, <Self as Axes>::Dim>,
        weight: ArrayView<'_, T, <Self as Axes>::Dim>,
        bias: Option<ArrayView1<'_, T>>,
    ) -> Result<Array<T, <Self as Axes>::Dim>, Error> {
        let params = self.params(input.shape(), weight.shape())?;
        let layout = one_order([("input", &input), ("weight", &weight)])?;
        let mut output = zeros(&output_shape(&params)?, layout);
        self.forward_into(input, weight, bias, output.view_mut())?;
        Ok(output)
    }

    /// [`forward`](Self::forward) into an array of the caller's.
    ///
    /// # Errors
    /// As `forward`; nothing is written.
    pub fn forward_into<T: Real>(
        &self,
        input: ArrayView<'_, T, <Self as Axes>::Dim>,
        weight: ArrayView<'_, T, <Self as Axes>::Dim>,
        bias: Option<ArrayView1<'_, T>>,
        mut output: ArrayViewMut<'_, T, <Self as Axes>::Dim>,
    ) -> Result<(), Error> {
        let mut params = self.params(input.shape(), weight.shape())?;
        check("output", &output_shape(&params)?, output.shape())?;
        let tensors = [("input", &input), ("weight", &weight), ("output", &output.view())];
        params.layout = one_order(tensors)?;
        // A bias is one row: copied where it is strided.
        let bias = bias.as_ref().map(|bias| bias.as_standard_layout());
        if let Some(bias) = &bias {
            check("bias", &[params.out_channels], bias.shape())?;
        }
        let bias = bias.as_ref().and_then(|bias| bias.as_slice());
        let output = dense_mut(&mut output);
        Ok(call::forward(&params, dense(&input), dense(&weight), bias, output)?)
    }

    /// The gradient of an input of spatial sizes `input_size`: `[N, C, spatial..]`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward_data<T: Real>(
        &self,
        weight: ArrayView<'_, T, <Self as Axes>::Dim>,
        grad_output: ArrayView<'_, T, <Self as Axes>::Dim>,
        input_size: [usize; AXES],
    ) -> Result<Array<T, <Self as Axes>::Dim>, Error> {
        let channels = weight.shape()[1].saturating_mul(self.groups);
        let shape = [&[grad_output.shape()[0], channels], &input_size[..]].concat();
        self.params(&shape, weight.shape())?;
        let layout = one_order([("weight", &weight), ("grad_output", &grad_output)])?;
        let mut grad_input = zeros(&shape, layout);
        self.backward_data_into(weight, grad_output, grad_input.view_mut())?;
        Ok(grad_input)
    }

    /// [`backward_data`](Self::backward_data) into an array of the caller's, which says the input's sizes.
    ///
    /// # Errors
    /// As `forward`; nothing is written.
    pub fn backward_data_into<T: Real>(
        &self,
        weight: ArrayView<'_, T, <Self as Axes>::Dim>,
        grad_output: ArrayView<'_, T, <Self as Axes>::Dim>,
        mut grad_input: ArrayViewMut<'_, T, <Self as Axes>::Dim>,
    ) -> Result<(), Error> {
        let mut params = self.params(grad_input.shape(), weight.shape())?;
        check("grad_output", &output_shape(&params)?, grad_output.shape())?;
        let tensors = [
            ("weight", &weight),
            ("grad_output", &grad_output),
            ("grad_input", &grad_input.view()),
        ];
        params.layout = one_order(tensors)?;
        let grad_input = dense_mut(&mut grad_input);
        Ok(call::backward_data(&params, dense(&weight), dense(&grad_output), grad_input)?)
    }

    /// The gradient of a weight of spatial sizes `kernel_size`, summed over the batch: `[K, C / groups, kernel..]`.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn backward_weight<T: Real>(
        &self,
        input: ArrayView<'_, T, <Self as Axes>::Dim>,
        grad_output: ArrayView<'_, T, <Self as Axes>::Dim>,
        kernel_size: [usize; AXES],
    ) -> Result<Array<T, <Self as Axes>::Dim>, Error> {
        let channels = input.shape()[1] / self.groups.max(1);
        let shape = [&[grad_output.shape()[1], channels], &kernel_size[..]].concat();
        self.params(input.shape(), &shape)?;
        let layout = one_order([("input", &input), ("grad_output", &grad_output)])?;
        let mut grad_weight = zeros(&shape, layout);
        self.backward_weight_into(input, grad_output, grad_weight.view_mut())?;
        Ok(grad_weight)
    }

    /// [`backward_weight`](Self::backward_weight) into an array of the caller's, which says the kernel's sizes.
    ///
    /// # Errors
    /// As `forward`; nothing is written.
    pub fn backward_weight_into<T: Real>(
        &self,
        input: ArrayView<'_, T, <Self as Axes>::Dim>,
        grad_output: ArrayView<'_, T, <Self as Axes>::Dim>,
        mut grad_weight: ArrayViewMut<'_, T, <Self as Axes>::Dim>,
    ) -> Result<(), Error> {
        let mut params = self.params(input.shape(), grad_weight.shape())?;
        check("grad_output", &output_shape(&params)?, grad_output.shape())?;
        let tensors = [
            ("input", &input),
            ("grad_output", &grad_output),
            ("grad_weight", &grad_weight.view()),
        ];
        params.layout = one_order(tensors)?;
        let grad_weight = dense_mut(&mut grad_weight);
        Ok(call::backward_weight(&params, dense(&input), dense(&grad_output), grad_weight)?)
    }

    /// The layer of an input and a weight of these shapes, in the standard order.
    fn params(&self, input: &[usize], weight: &[usize]) -> Result<Params, Error> {
        let sizes = |sizes: &[usize], missing| {
            let mut all = [missing; MAX_AXES];
            all[..AXES].copy_from_slice(sizes);
            all
        };
        let (in_channels, groups) = (input[1], self.groups);
        let params = Params {
            axes: AXES,
            batch: input[0],
            in_channels,
            out_channels: weight[0],
            groups,
            input: sizes(&input[2..], 1),
            kernel: sizes(&weight[2..], 1),
            stride: sizes(&self.stride, 1),
            dilation: sizes(&self.dilation, 1),
            pad_begin: sizes(&self.pad_begin, 0),
            pad_end: sizes(&self.pad_end, 0),
            ..Params::default()
        };
        let shape = im2col::Shape::new(params)?;
        if weight[1] != shape.group_in() {
            return Err(
                im2col::Error::WeightChannels { found: weight[1], in_channels, groups }.into()
            );
        }
        Ok(params)
    }
}

/// The gradient of the bias: `grad_output` `[N, K, spatial..]` of any strides, summed over all axes but the second.
pub fn backward_bias<T: Real, D: Dimension + RemoveAxis>(
    grad_output: ArrayView<'_, T, D>,
) -> Array1<T> {
    let channels = if grad_output.ndim() > 1 { grad_output.len_of(Axis(1)) } else { 0 };
    Array1::from_shape_fn(channels, |k| {
        let channel = grad_output.index_axis(Axis(1), k);
        channel.iter().fold(T::default(), |sum, &g| sum + g)
    })
}

/// A copy whose axes are `[N, C, spatial..]` as before and whose memory is channels last.
///
/// ```
/// let x = ndarray::Array4::<f32>::ones((1, 3, 8, 8));
/// let x = im2col_ndarray::channels_last(&x.view());
/// assert_eq!((x.shape(), x.strides()), (&[1, 3, 8, 8][..], &[192, 1, 24, 3][..]));
/// ```
pub fn channels_last<T: Real, D: Dimension>(array: &ArrayView<'_, T, D>) -> Array<T, D> {
    let mut copy = zeros(array.shape(), Layout::ChannelsLast);
    copy.assign(array);
    copy
}

fn output_shape(params: &Params) -> Result<Vec<usize>, Error> {
    let shape = im2col::Shape::new(*params)?;
    let sizes = shape.axes().iter().map(|axis| axis.output);
    Ok([params.batch, params.out_channels].into_iter().chain(sizes).collect())
}

fn check(what: &'static str, expected: &[usize], found: &[usize]) -> Result<(), Error> {
    if expected == found {
        return Ok(());
    }
    Err(Error::Shape { what, expected: expected.to_vec(), found: found.to_vec() })
}

/// The axes of `[N, C, spatial..]`, outermost in memory first.
fn order(ndim: usize, layout: Layout) -> Vec<usize> {
    match layout {
        Layout::ChannelsFirst => (0..ndim).collect(),
        _ => [0].into_iter().chain(2..ndim).chain([1]).collect(),
    }
}

/// Whether the array is dense in this order. A stride of an axis of one element says nothing.
fn lies_in<T, D: Dimension>(array: &ArrayView<'_, T, D>, layout: Layout) -> bool {
    let mut dense = 1;
    order(array.ndim(), layout).into_iter().rev().all(|axis| {
        let (len, stride) = (array.shape()[axis], array.strides()[axis]);
        let fits = len <= 1 || stride == dense;
        dense *= len as isize;
        fits
    })
}

/// The order in which all of these arrays lie.
fn one_order<T, D: Dimension, const LEN: usize>(
    arrays: [(&'static str, &ArrayView<'_, T, D>); LEN],
) -> Result<Layout, Error> {
    let all = |layout| arrays.iter().all(|(_, array)| lies_in(array, layout));
    if let Some(layout) =
        [Layout::ChannelsFirst, Layout::ChannelsLast].into_iter().find(|&l| all(l))
    {
        return Ok(layout);
    }
    // Where the first array is in one order, the others are measured by it.
    let first = if lies_in(arrays[0].1, Layout::ChannelsLast) {
        Layout::ChannelsLast
    } else {
        Layout::ChannelsFirst
    };
    let wrong = arrays.iter().find(|(_, array)| !lies_in(array, first)).unwrap_or(&arrays[0]);
    let (what, array) = wrong;
    Err(Error::Order { what, shape: array.shape().to_vec(), strides: array.strides().to_vec() })
}

/// The elements of an array that [`one_order`] found dense.
fn dense<'a, T, D: Dimension>(array: &'a ArrayView<'_, T, D>) -> &'a [T] {
    array.as_slice_memory_order().unwrap_or(&[])
}

fn dense_mut<'a, T, D: Dimension>(array: &'a mut ArrayViewMut<'_, T, D>) -> &'a mut [T] {
    array.as_slice_memory_order_mut().unwrap_or(&mut [])
}

/// An array of this shape whose memory lies in this order.
fn zeros<T: Real, D: Dimension>(shape: &[usize], layout: Layout) -> Array<T, D> {
    let axes = order(shape.len(), layout);
    let sizes: Vec<usize> = axes.iter().map(|&axis| shape[axis]).collect();
    let array = Array::<T, _>::from_elem(sizes, T::default());
    let mut back = vec![0; axes.len()];
    for (place, &axis) in axes.iter().enumerate() {
        back[axis] = place;
    }
    let array = array.permuted_axes(back);
    array.into_dimensionality().expect("the shape has the dimension's number of axes")
}
