//! The geometry of one layer: every size checked once, so that nothing after it can overflow.
//!
//! Inside, every layer has three spatial axes, outermost first (`[D, H, W]`); those that a 1-D
//! or 2-D layer lacks come first and have size 1. Outside, [`Shape`] shows only the axes that
//! the layer has.

use crate::error::{Error, Size};
use crate::padding::PaddingMode;
use core::fmt;
use core::ops::Deref;

pub use crate::params::{Layout, MAX_AXES, Params};

/// A tensor's sizes as torch prints them: `[N, C, spatial..]` or `[K, C / groups, kernel..]`. It is a slice.
#[derive(Clone, Copy)]
pub struct Dims {
    sizes: [usize; MAX_AXES + 2],
    len: usize,
}

impl Deref for Dims {
    type Target = [usize];

    fn deref(&self) -> &[usize] {
        &self.sizes[..self.len]
    }
}

impl fmt::Debug for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In one line, as torch prints it, whatever the flags.
        write!(f, "[")?;
        for (i, size) in self.iter().enumerate() {
            write!(f, "{}{size}", if i > 0 { ", " } else { "" })?;
        }
        write!(f, "]")
    }
}

impl fmt::Display for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl<S: AsRef<[usize]> + ?Sized> PartialEq<S> for Dims {
    fn eq(&self, other: &S) -> bool {
        **self == *other.as_ref()
    }
}

impl AsRef<[usize]> for Dims {
    fn as_ref(&self) -> &[usize] {
        self
    }
}

/// As [`Conv2d::new`](crate::Conv2d::new) wants them: the output of one layer is the input of the next.
///
/// ```
/// use im2col::Conv2d;
/// let first = Conv2d::<f32>::new([1, 3, 8, 8], [4, 3, 3, 3]).plan()?;
/// let second = Conv2d::<f32>::new(first.output_shape().try_into()?, [2, 4, 1, 1]).plan()?;
/// assert_eq!(second.output_shape(), [1, 2, 6, 6]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl<const N: usize> TryFrom<Dims> for [usize; N] {
    type Error = core::array::TryFromSliceError;

    fn try_from(dims: Dims) -> Result<Self, Self::Error> {
        (*dims).try_into()
    }
}

/// One spatial axis of a checked layer.
///
/// [`source`](Self::source) says which input element an output and a tap meet at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Axis {
    /// Elements of the input (I).
    pub input: usize,
    /// Taps of the kernel (R).
    pub kernel: usize,
    /// Elements of the output, `(input + pad_begin + pad_end - dilation * (kernel - 1) - 1) / stride + 1` (O).
    pub output: usize,
    /// Input elements between neighbouring outputs.
    pub stride: usize,
    /// Input elements between neighbouring taps.
    pub dilation: usize,
    /// Elements of padding before the first element.
    pub pad_begin: usize,
    /// Elements of padding after the last element.
    pub pad_end: usize,
    /// What stands in the padding.
    pub padding_mode: PaddingMode,
}

impl Axis {
    const UNIT: Axis = Axis {
        input: 1,
        kernel: 1,
        output: 1,
        stride: 1,
        dilation: 1,
        pad_begin: 0,
        pad_end: 0,
        padding_mode: PaddingMode::Zeros,
    };

    fn new(p: &Params, axis: usize) -> Result<Self, Error> {
        let at = |what| Size { what, axis: Some(axis) };
        let (input, kernel) = (p.input[axis], p.kernel[axis]);
        let (stride, dilation) = (p.stride[axis], p.dilation[axis]);
        let (pad_begin, pad_end) = (p.pad_begin[axis], p.pad_end[axis]);
        let sizes = [("kernel", kernel), ("stride", stride), ("dilation", dilation)];
        for (what, value) in sizes {
            if value == 0 {
                return Err(Error::Zero { size: at(what) });
            }
        }
        // Positions are computed as isize (padding makes them negative), so both ends must fit.
        let fits = |n: Option<usize>, what| {
            n.filter(|&n| n <= isize::MAX as usize / 2).ok_or(Error::Overflow { size: at(what) })
        };
        let padded = input.checked_add(pad_begin).and_then(|n| n.checked_add(pad_end));
        let padded = fits(padded, "padded input")?;
        let span = (kernel - 1).checked_mul(dilation).and_then(|n| n.checked_add(1));
        let span = fits(span, "dilated kernel")?;
        if span > padded {
            return Err(Error::KernelTooLarge { axis, span, padded });
        }
        let (mode, padding) = (p.padding_mode, pad_begin.max(pad_end));
        if padding > mode.most(input) {
            return Err(Error::PaddingMode { axis, mode, padding, input });
        }
        let output = (padded - span) / stride + 1;
        Ok(Self { input, kernel, output, stride, dilation, pad_begin, pad_end, padding_mode: mode })
    }
}

/// The checked geometry of one layer. Every length below fits the address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    params: Params,
    axes: [Axis; MAX_AXES],
    /// Images by which blocks are sized, where the order of a sum depends on them: a plan's own, or those of the plan that it
    /// was made from.
    weighed: usize,
}

impl Shape {
    /// Checks every size of a layer.
    ///
    /// # Errors
    /// [`Error`] names the first size that is zero, doesn't divide, doesn't fit or overflows.
    pub fn new(params: Params) -> Result<Self, Error> {
        if !(1..=MAX_AXES).contains(&params.axes) {
            return Err(Error::Axes { found: params.axes });
        }
        let params = params.normalised();
        let channels = [("in_channels", params.in_channels), ("out_channels", params.out_channels)];
        for (what, value) in [("groups", params.groups), channels[1]] {
            if value == 0 {
                return Err(Error::Zero { size: Size { what, axis: None } });
            }
        }
        for (what, channels) in channels {
            if channels % params.groups != 0 {
                return Err(Error::Groups { what, channels, groups: params.groups });
            }
        }
        let mut axes = [Axis::UNIT; MAX_AXES];
        for axis in 0..params.axes {
            axes[MAX_AXES - params.axes + axis] = Axis::new(&params, axis)?;
        }
        let shape = Self { params, axes, weighed: params.batch };
        // As if there were an image, a channel and a pixel: what is computed of the other sizes fits, too.
        let product = |sizes: [usize; 5], what| {
            let elements = |n: usize, size: &usize| n.checked_mul((*size).max(1));
            let bytes = sizes.iter().try_fold(size_of::<f64>(), elements);
            match bytes {
                Some(n) if n <= isize::MAX as usize => Ok(()),
                _ => Err(Error::Overflow { size: Size { what, axis: None } }),
            }
        };
        let [d, h, w] = axes;
        product([params.batch, params.in_channels, d.input, h.input, w.input], "input")?;
        let per_group = params.in_channels / params.groups;
        product([params.out_channels, per_group, d.kernel, h.kernel, w.kernel], "weight")?;
        product([params.batch, params.out_channels, d.output, h.output, w.output], "output")?;
        Ok(shape)
    }

    /// The same layer without the last outputs of each axis, where it has more than asked for.
    pub(crate) fn with_fewer_outputs(mut self, outputs: &[usize]) -> Result<Self, Error> {
        let first = MAX_AXES - self.params.axes;
        for (axis, (of_axis, &output)) in self.axes[first..].iter_mut().zip(outputs).enumerate() {
            if output == 0 {
                return Err(Error::Zero { size: Size { what: "input", axis: Some(axis) } });
            }
            of_axis.output = of_axis.output.min(output);
        }
        Ok(self)
    }

    /// The sizes that the shape was made from.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The layer's spatial axes, outermost first.
    pub fn axes(&self) -> &[Axis] {
        &self.axes[MAX_AXES - self.params.axes..]
    }

    /// The input's sizes as torch prints them, `[N, C, spatial..]`, in either layout.
    pub fn input_shape(&self) -> Dims {
        self.dims([self.batch(), self.in_channels()], |axis| axis.input)
    }

    /// The weight's sizes as torch prints them, `[K, C / groups, kernel..]`, in either layout.
    pub fn weight_shape(&self) -> Dims {
        self.dims([self.out_channels(), self.group_in()], |axis| axis.kernel)
    }

    /// The output's sizes as torch prints them, `[N, K, spatial..]`, in either layout.
    pub fn output_shape(&self) -> Dims {
        self.dims([self.batch(), self.out_channels()], |axis| axis.output)
    }

    fn dims(&self, first: [usize; 2], of: impl Fn(&Axis) -> usize) -> Dims {
        let mut sizes = [1; MAX_AXES + 2];
        sizes[..2].copy_from_slice(&first);
        sizes[2..].iter_mut().zip(self.axes()).for_each(|(size, axis)| *size = of(axis));
        Dims { sizes, len: 2 + self.axes().len() }
    }

    /// Whether the input has no elements: there are no images, or they have no channels or no pixels.
    pub fn is_empty(&self) -> bool {
        self.input_len() == 0
    }

    /// Whether elements of the input stand in its padding.
    pub(crate) fn is_mirrored(&self) -> bool {
        self.params.padding_mode != PaddingMode::Zeros
    }

    /// The same layer with zeros in its padding.
    pub(crate) fn with_zeros(mut self) -> Self {
        self.params.padding_mode = PaddingMode::Zeros;
        self.axes.iter_mut().for_each(|axis| axis.padding_mode = PaddingMode::Zeros);
        self
    }

    /// The same layer for another number of images.
    pub(crate) fn with_batch(&self, batch: usize) -> Result<Self, Error> {
        let of_batch = Self::new(Params { batch, ..self.params })?;
        Ok(Self { axes: self.axes, ..of_batch })
    }

    /// Images by which blocks are sized.
    pub(crate) fn weighed(&self) -> usize {
        self.weighed
    }

    /// The same layer with blocks that are sized as another's are.
    pub(crate) fn weighed_as(self, other: &Self) -> Self {
        Self { weighed: other.weighed, ..self }
    }

    /// The same layer for at least one image.
    pub(crate) fn with_an_image(mut self) -> Self {
        self.params.batch = self.params.batch.max(1);
        self.weighed = self.params.batch;
        self
    }

    /// How the tensors lie in memory.
    pub fn layout(&self) -> Layout {
        self.params.layout
    }

    /// Images (N).
    pub fn batch(&self) -> usize {
        self.params.batch
    }

    /// Groups.
    pub fn groups(&self) -> usize {
        self.params.groups
    }

    /// Channels of the input (C), over all groups.
    pub fn in_channels(&self) -> usize {
        self.params.in_channels
    }

    /// Channels of the output (K), over all groups.
    pub fn out_channels(&self) -> usize {
        self.params.out_channels
    }

    /// Spatial positions of the input, the product over the axes.
    pub fn input_pixels(&self) -> usize {
        self.axes.iter().map(|a| a.input).product()
    }

    /// Spatial positions of the output: the patches of one image.
    pub fn output_pixels(&self) -> usize {
        self.axes.iter().map(|a| a.output).product()
    }

    /// Spatial taps of the kernel, the product over the axes.
    pub fn kernel_taps(&self) -> usize {
        self.axes.iter().map(|a| a.kernel).product()
    }

    /// Elements of `input` and `grad_input`.
    pub fn input_len(&self) -> usize {
        self.batch() * self.image_len()
    }

    /// Elements of one image of the input.
    pub fn image_len(&self) -> usize {
        self.in_channels() * self.input_pixels()
    }

    /// Elements of `weight` and `grad_weight`.
    pub fn weight_len(&self) -> usize {
        self.out_channels() * self.patch_len()
    }

    /// Elements of `output` and `grad_output`.
    pub fn output_len(&self) -> usize {
        self.batch() * self.out_channels() * self.output_pixels()
    }

    /// Elements of one patch within one group: the terms of the sum that makes one output.
    pub fn patch_len(&self) -> usize {
        self.group_in() * self.kernel_taps()
    }

    /// Elements of the patch matrix of one image and all groups, what `im2col` writes.
    ///
    /// # Errors
    /// [`Error::Overflow`] if that matrix doesn't fit the address space.
    pub fn cols_len(&self) -> Result<usize, Error> {
        let rows = self.in_channels().checked_mul(self.kernel_taps());
        rows.and_then(|n| n.checked_mul(self.output_pixels()))
            .filter(|&n| n <= isize::MAX as usize / size_of::<f64>())
            .ok_or(Error::Overflow { size: Size { what: "cols", axis: None } })
    }

    /// Input channels of one group.
    pub fn group_in(&self) -> usize {
        self.in_channels() / self.groups()
    }

    /// Output channels of one group.
    pub fn group_out(&self) -> usize {
        self.out_channels() / self.groups()
    }

    /// Floating-point operations of one pass, two for every product and its addition.
    pub fn flops(&self) -> f64 {
        2.0 * self.output_len() as f64 * self.patch_len() as f64
    }

    /// All three axes, those that the layer lacks of size 1.
    pub(crate) fn axes3(&self) -> &[Axis; MAX_AXES] {
        &self.axes
    }

    /// Where channel `c` of pixel `p` of image `n` lies, in a tensor of `channels` and `pixels`.
    pub(crate) fn index(&self, [n, c, p]: [usize; 3], channels: usize, pixels: usize) -> usize {
        match self.layout() {
            Layout::ChannelsFirst => (n * channels + c) * pixels + p,
            Layout::ChannelsLast => (n * pixels + p) * channels + c,
        }
    }
}

/// One line: the sizes, and what differs from a plain layer.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Params { axes, groups, stride, dilation, pad_begin, pad_end, padding_mode, .. } =
            self.params;
        write!(f, "Conv{axes}d {} * {}", self.input_shape(), self.weight_shape())?;
        let mut list = |name: &str, sizes: &[usize], plain: usize| match sizes {
            _ if sizes.iter().all(|&size| size == plain) => Ok(()),
            [first, others @ ..] if others.iter().all(|other| other == first) => {
                write!(f, ", {name} {first}")
            }
            _ => write!(f, ", {name} {sizes:?}"),
        };
        list("stride", &stride[..axes], 1)?;
        if pad_begin == pad_end {
            list("padding", &pad_begin[..axes], 0)?;
        } else {
            list("padding before", &pad_begin[..axes], 0)?;
            list("padding after", &pad_end[..axes], 0)?;
        }
        list("dilation", &dilation[..axes], 1)?;
        list("groups", &[groups], 1)?;
        if padding_mode != PaddingMode::Zeros {
            write!(f, ", {padding_mode}")?;
        }
        match self.layout() {
            Layout::ChannelsFirst => Ok(()),
            layout => write!(f, ", {layout}"),
        }
    }
}

/// The row-major number of a position among `sizes`.
pub(crate) fn flat(position: [usize; 3], sizes: [usize; MAX_AXES]) -> usize {
    (position[0] * sizes[1] + position[1]) * sizes[2] + position[2]
}

/// Every position among `sizes`, in row-major order.
pub(crate) fn positions(sizes: [usize; MAX_AXES]) -> impl Iterator<Item = [usize; MAX_AXES]> {
    let [d, h, w] = sizes;
    (0..d).flat_map(move |d| (0..h).flat_map(move |h| (0..w).map(move |w| [d, h, w])))
}
