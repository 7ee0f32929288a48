//! A layer in the making: its sizes as torch prints them, nothing checked yet.

use crate::element::Element;
use crate::error::Error;
use crate::options::{Accuracy, Algorithm, Options};
use crate::parallel::Parallelism;
use crate::plan::Plan;
use crate::shape::{Layout, MAX_AXES, Params, Shape};
use core::marker::PhantomData;

/// A convolution layer in the making: [`Conv1d`], [`Conv2d`] or [`Conv3d`].
///
/// Shapes are given as torch prints them, `[N, C, spatial..]` and `[K, C / groups, kernel..]`,
/// for both layouts. Nothing is checked before [`plan`](Self::plan).
///
/// ```
/// use im2col::{Conv2d, Write};
/// // The 3x3 image V1..V9 under the 2x2 filter W1..W4 makes the 2x2 output G1..G4.
/// let conv = Conv2d::<f32>::new([1, 1, 3, 3], [1, 1, 2, 2]).plan()?;
/// let v = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
/// let w = [1.0, 10.0, 100.0, 1000.0];
/// let mut g = [0.0; 4];
/// conv.forward(&v, &w, None, &mut g)?;
/// assert_eq!(g[0], 1.0 * 1.0 + 2.0 * 10.0 + 4.0 * 100.0 + 5.0 * 1000.0); // V1W1+V2W2+V4W3+V5W4
///
/// // The error flows back to W1 from every output that it helped to make.
/// let grad_g = [1.0, 2.0, 3.0, 4.0];
/// let mut grad_w = [0.0; 4];
/// conv.backward_weight(&v, &grad_g, &mut grad_w, Write::Overwrite)?;
/// assert_eq!(grad_w[0], 1.0 * 1.0 + 2.0 * 2.0 + 3.0 * 4.0 + 4.0 * 5.0); // Σ dE/dGi * V1,V2,V4,V5
/// # Ok::<(), im2col::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
#[must_use = "a layer does nothing before `plan()`"]
pub struct Conv<T, const AXES: usize> {
    params: Params,
    weight_channels: usize,
    options: Options,
    parallelism: Parallelism,
    element: PhantomData<T>,
}

/// A layer with one spatial axis: input `[N, C, L]`, weight `[K, C / groups, R]`.
pub type Conv1d<T> = Conv<T, 1>;
/// A layer with two spatial axes: input `[N, C, H, W]`, weight `[K, C / groups, R, S]`.
pub type Conv2d<T> = Conv<T, 2>;
/// A layer with three spatial axes: input `[N, C, D, H, W]`, weight `[K, C / groups, Q, R, S]`.
pub type Conv3d<T> = Conv<T, 3>;

impl<T: Element> Conv<T, 1> {
    /// A layer for `input` `[N, C, L]` and `weight` `[K, C / groups, R]`, in elements.
    pub fn new(input: [usize; 3], weight: [usize; 3]) -> Self {
        Self::from_dims(&input, &weight)
    }
}

impl<T: Element> Conv<T, 2> {
    /// A layer for `input` `[N, C, H, W]` and `weight` `[K, C / groups, R, S]`, in elements.
    pub fn new(input: [usize; 4], weight: [usize; 4]) -> Self {
        Self::from_dims(&input, &weight)
    }
}

impl<T: Element> Conv<T, 3> {
    /// A layer for `input` `[N, C, D, H, W]` and `weight` `[K, C / groups, Q, R, S]`, in elements.
    pub fn new(input: [usize; 5], weight: [usize; 5]) -> Self {
        Self::from_dims(&input, &weight)
    }
}

impl<T: Element, const AXES: usize> Conv<T, AXES> {
    fn from_dims(input: &[usize], weight: &[usize]) -> Self {
        let spatial = |dims: &[usize]| {
            let mut sizes = [1; MAX_AXES];
            sizes[..AXES].copy_from_slice(&dims[2..]);
            sizes
        };
        let params = Params {
            axes: AXES,
            batch: input[0],
            in_channels: input[1],
            out_channels: weight[0],
            input: spatial(input),
            kernel: spatial(weight),
            ..Params::default()
        };
        Self {
            params,
            weight_channels: weight[1],
            options: Options::default(),
            parallelism: Parallelism::default(),
            element: PhantomData,
        }
    }

    /// Input elements between neighbouring outputs, per axis; 1 if not set.
    pub fn stride(mut self, stride: [usize; AXES]) -> Self {
        self.params.stride[..AXES].copy_from_slice(&stride);
        self
    }

    /// Zeros on both sides of each axis; 0 if not set.
    pub fn padding(self, padding: [usize; AXES]) -> Self {
        self.padding_per_side(padding, padding)
    }

    /// Zeros before and after each axis, as ONNX and TensorFlow's `SAME` need them.
    pub fn padding_per_side(mut self, begin: [usize; AXES], end: [usize; AXES]) -> Self {
        self.params.pad_begin[..AXES].copy_from_slice(&begin);
        self.params.pad_end[..AXES].copy_from_slice(&end);
        self
    }

    /// Input elements between neighbouring taps of the kernel, per axis; 1 (dense) if not set.
    pub fn dilation(mut self, dilation: [usize; AXES]) -> Self {
        self.params.dilation[..AXES].copy_from_slice(&dilation);
        self
    }

    /// Groups: each output channel sees `C / groups` input channels; 1 if not set.
    pub fn groups(mut self, groups: usize) -> Self {
        self.params.groups = groups;
        self
    }

    /// How the tensors lie in memory; [`Layout::ChannelsFirst`] if not set. The shapes given to
    /// `new` keep torch's order either way.
    pub fn layout(mut self, layout: Layout) -> Self {
        self.params.layout = layout;
        self
    }

    /// How the products are computed; [`Algorithm::Auto`] if not set.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.options.algorithm = algorithm;
        self
    }

    /// Which error bound the results have to keep; [`Accuracy::Element`] if not set.
    pub fn accuracy(mut self, accuracy: Accuracy) -> Self {
        self.options.accuracy = accuracy;
        self
    }

    /// Where the work may run; [`Parallelism::Rayon`] if not set.
    pub fn parallelism(mut self, parallelism: Parallelism) -> Self {
        self.parallelism = parallelism;
        self
    }

    /// Checks every size and chooses how to compute.
    ///
    /// # Errors
    /// [`Error`] names what was wrong, what was found and what is allowed.
    pub fn plan(self) -> Result<Plan<T>, Error> {
        let Params { in_channels, groups, .. } = self.params;
        let shape = Shape::new(self.params)?;
        if self.weight_channels != shape.group_in() {
            let found = self.weight_channels;
            return Err(Error::WeightChannels { found, in_channels, groups });
        }
        Plan::with_options(shape, self.options, self.parallelism)
    }
}
