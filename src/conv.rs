//! The plan: what is chosen for a layer, and the passes on it.

use crate::element::Element;
use crate::error::{Error, check_len};
use crate::kernel::{Isa, Kernels, kernels};
use crate::parallel::Parallelism;
use crate::pass::depthwise::Depthwise;
use crate::pass::gather::{self, Gathering};
use crate::pass::scatter::Scatter;
use crate::pass::{Pass, Write, backward_bias, backward_data, backward_weight, forward};
use crate::scratch::{Need, allocate};
use crate::shape::{Layout, MAX_AXES, Params, Shape};
use alloc::sync::Arc;
use core::fmt;
use core::marker::PhantomData;

/// How a plan computes its products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Algorithm {
    /// The library's choice; results keep the documented error bound.
    #[default]
    Auto,
    /// The textbook: cols is written out and multiplied by the crate `matrixmultiply`.
    Explicit,
    /// The library's own GEMM reads the patches straight from the image: cols never exists.
    Implicit,
}

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
    algorithm: Algorithm,
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
            algorithm: Algorithm::default(),
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
        self.algorithm = algorithm;
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
        Plan::new(shape, self.algorithm, self.parallelism)
    }
}

/// A layer, checked, with everything chosen: immutable, and free to share between threads.
///
/// Every pass takes dense slices with the lengths that [`shape`](Self::shape) gives, in the
/// order of its [`Layout`], and checks them before it writes anything. The plain form of a pass
/// allocates its scratch; `*_with_scratch` takes the caller's, of any content, and allocates
/// nothing itself (the explicit algorithm's `matrixmultiply` takes its packing buffers).
pub struct Plan<T: 'static> {
    shape: Shape,
    parallelism: Parallelism,
    kernels: &'static Kernels<T>,
    path: Arc<Path>,
}

/// The products of the implicit algorithm.
#[derive(Debug)]
struct Products {
    forward: Gathering,
    backward_data: Gathering,
    backward_weight: Scatter,
}

/// What a plan runs.
#[derive(Debug)]
enum Path {
    /// The textbook: cols in memory.
    Textbook,
    /// Three products over the view.
    Products(Products),
    /// One filter per channel.
    Depthwise(Depthwise),
}

impl<T: Element> Plan<T> {
    /// Chooses how to compute a layer of this shape.
    ///
    /// # Errors
    /// [`Error::Overflow`] if the algorithm's own matrices don't fit the address space.
    pub fn new(
        shape: Shape,
        algorithm: Algorithm,
        parallelism: Parallelism,
    ) -> Result<Self, Error> {
        Self::with_kernels(shape, algorithm, parallelism, kernels(Isa::best()))
    }

    /// [`new`](Self::new) with the kernels of one ISA.
    ///
    /// # Errors
    /// As `new`, and [`Error::Unsupported`] if this machine doesn't have the ISA.
    pub fn with_isa(
        shape: Shape,
        algorithm: Algorithm,
        parallelism: Parallelism,
        isa: Isa,
    ) -> Result<Self, Error> {
        let kernels = T::kernels(isa).ok_or(Error::Unsupported { what: isa.name() })?;
        Self::with_kernels(shape, algorithm, parallelism, kernels)
    }

    fn with_kernels(
        shape: Shape,
        algorithm: Algorithm,
        parallelism: Parallelism,
        kernels: &'static Kernels<T>,
    ) -> Result<Self, Error> {
        // Each phase is a product with tables of its own; thousands of them (kernels as large as
        // their stride) are the textbook's.
        let textbook = algorithm == Algorithm::Explicit || gather::phase_count(&shape) > 64;
        let path = if textbook {
            shape.cols_len()?;
            Path::Textbook
        } else if let Some(depthwise) = Depthwise::new(&shape) {
            Path::Depthwise(depthwise)
        } else {
            Path::Products(Products {
                forward: Gathering::forward(&shape, kernels),
                backward_data: Gathering::backward_data(&shape, kernels),
                backward_weight: Scatter::new(&shape, kernels.tall.lanes),
            })
        };
        let path = Arc::new(path);
        Ok(Self { shape, parallelism, kernels, path })
    }

    /// The layer's geometry and the lengths of its tensors.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The algorithm that was chosen, never [`Algorithm::Auto`].
    pub fn algorithm(&self) -> Algorithm {
        match &*self.path {
            Path::Textbook => Algorithm::Explicit,
            Path::Products(_) | Path::Depthwise(_) => Algorithm::Implicit,
        }
    }

    /// The instruction set whose kernels are used.
    pub fn isa(&self) -> Isa {
        self.kernels.isa
    }

    /// Where the work runs.
    pub fn parallelism(&self) -> Parallelism {
        self.parallelism
    }

    /// Elements of scratch that a call on the current pool can use.
    pub fn scratch_len(&self, pass: Pass) -> usize {
        let need = self.need(pass);
        need.len(self.parallelism.workers(need))
    }

    /// Elements of scratch that one thread needs: with less, `*_with_scratch` is an error; with
    /// less than [`scratch_len`](Self::scratch_len), fewer threads work and the bits are the same.
    pub fn min_scratch_len(&self, pass: Pass) -> usize {
        self.need(pass).len(1)
    }

    fn need(&self, pass: Pass) -> Need {
        let products = match &*self.path {
            Path::Products(products) => products,
            Path::Depthwise(_) => return Need::of_units(1),
            Path::Textbook => {
                return match pass {
                    Pass::Forward => forward::explicit_need(&self.shape),
                    Pass::BackwardData => backward_data::explicit_need(&self.shape),
                    Pass::BackwardWeight => backward_weight::explicit_need(&self.shape),
                };
            }
        };
        match pass {
            Pass::Forward => products.forward.need(),
            Pass::BackwardData => products.backward_data.need(),
            Pass::BackwardWeight => products.backward_weight.need(),
        }
    }

    /// `output = W · cols + bias`.
    ///
    /// `bias` has one element per output channel.
    ///
    /// # Errors
    /// [`Error::Length`] if a slice doesn't fit the shape, [`Error::OutOfMemory`] if there is no
    /// room for scratch; nothing is written.
    pub fn forward(
        &self,
        input: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        output: &mut [T],
    ) -> Result<(), Error> {
        self.check_forward(input, weight, bias, output)?;
        let mut scratch = allocate(self.scratch_len(Pass::Forward))?;
        self.forward_with_scratch(input, weight, bias, output, &mut scratch)
    }

    /// [`forward`](Self::forward) with the caller's scratch.
    ///
    /// # Errors
    /// As `forward`, and [`Error::Scratch`] if the scratch doesn't serve one thread.
    pub fn forward_with_scratch(
        &self,
        input: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        output: &mut [T],
        scratch: &mut [T],
    ) -> Result<(), Error> {
        self.check_forward(input, weight, bias, output)?;
        self.check_scratch(Pass::Forward, scratch)?;
        let Self { shape, parallelism, kernels, path } = self;
        let sources = [input, weight];
        match &**path {
            Path::Textbook => {
                forward::explicit(shape, *parallelism, sources, bias, output, scratch);
            }
            Path::Depthwise(depthwise) => {
                depthwise.forward(shape, kernels, *parallelism, sources, bias, output);
            }
            Path::Products(Products { forward, .. }) => {
                forward.run(shape, kernels, *parallelism, sources, output, bias, false, scratch);
            }
        }
        Ok(())
    }

    fn check_forward(
        &self,
        input: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        output: &[T],
    ) -> Result<(), Error> {
        check_len("input", self.shape.input_len(), input.len())?;
        check_len("weight", self.shape.weight_len(), weight.len())?;
        if let Some(bias) = bias {
            check_len("bias", self.shape.out_channels(), bias.len())?;
        }
        check_len("output", self.shape.output_len(), output.len())
    }

    /// `grad_input = col2im(grad_output · W)`: the error of the input.
    ///
    /// This is also a transposed convolution run forward: [`crate::ConvTranspose2d`] offers it
    /// under that name.
    ///
    /// # Errors
    /// [`Error::Length`] if a slice doesn't fit the shape, [`Error::OutOfMemory`] if there is no
    /// room for scratch; nothing is written.
    #[doc(alias("dgrad", "backward_input", "conv_transpose"))]
    pub fn backward_data(
        &self,
        weight: &[T],
        grad_output: &[T],
        grad_input: &mut [T],
        write: Write,
    ) -> Result<(), Error> {
        self.check_backward_data(weight, grad_output, grad_input)?;
        let mut scratch = allocate(self.scratch_len(Pass::BackwardData))?;
        self.backward_data_with_scratch(weight, grad_output, grad_input, write, &mut scratch)
    }

    /// [`backward_data`](Self::backward_data) with the caller's scratch.
    ///
    /// # Errors
    /// As `backward_data`, and [`Error::Scratch`] if the scratch doesn't serve one thread.
    pub fn backward_data_with_scratch(
        &self,
        weight: &[T],
        grad_output: &[T],
        grad_input: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) -> Result<(), Error> {
        self.check_backward_data(weight, grad_output, grad_input)?;
        self.check_scratch(Pass::BackwardData, scratch)?;
        let Self { shape, parallelism, kernels, path } = self;
        let sources = [weight, grad_output];
        match &**path {
            Path::Textbook => {
                backward_data::explicit(shape, *parallelism, sources, grad_input, write, scratch);
            }
            Path::Depthwise(depthwise) => {
                depthwise.backward_data(shape, kernels, *parallelism, sources, grad_input, write);
            }
            Path::Products(Products { backward_data: product, .. }) => {
                let accumulate = write == Write::Accumulate;
                if !accumulate && !product.fills(shape) {
                    grad_input.fill(T::ZERO);
                }
                let sources = [grad_output, weight];
                product.run(
                    shape,
                    kernels,
                    *parallelism,
                    sources,
                    grad_input,
                    None,
                    accumulate,
                    scratch,
                );
            }
        }
        Ok(())
    }

    fn check_backward_data(&self, weight: &[T], dg: &[T], dv: &[T]) -> Result<(), Error> {
        check_len("weight", self.shape.weight_len(), weight.len())?;
        check_len("grad_output", self.shape.output_len(), dg.len())?;
        check_len("grad_input", self.shape.input_len(), dv.len())
    }

    /// `grad_weight = grad_outputᵀ · cols`: the error of the weights, summed over the batch.
    ///
    /// # Errors
    /// [`Error::Length`] if a slice doesn't fit the shape, [`Error::OutOfMemory`] if there is no
    /// room for scratch; nothing is written.
    #[doc(alias("wgrad", "backward_filter"))]
    pub fn backward_weight(
        &self,
        input: &[T],
        grad_output: &[T],
        grad_weight: &mut [T],
        write: Write,
    ) -> Result<(), Error> {
        self.check_backward_weight(input, grad_output, grad_weight)?;
        let mut scratch = allocate(self.scratch_len(Pass::BackwardWeight))?;
        self.backward_weight_with_scratch(input, grad_output, grad_weight, write, &mut scratch)
    }

    /// [`backward_weight`](Self::backward_weight) with the caller's scratch.
    ///
    /// # Errors
    /// As `backward_weight`, and [`Error::Scratch`] if the scratch doesn't serve one thread.
    pub fn backward_weight_with_scratch(
        &self,
        input: &[T],
        grad_output: &[T],
        grad_weight: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) -> Result<(), Error> {
        self.check_backward_weight(input, grad_output, grad_weight)?;
        self.check_scratch(Pass::BackwardWeight, scratch)?;
        let Self { shape, parallelism, kernels, path } = self;
        let sources = [input, grad_output];
        match &**path {
            Path::Textbook => {
                let parallelism = *parallelism;
                backward_weight::explicit(shape, parallelism, sources, grad_weight, write, scratch);
            }
            Path::Depthwise(depthwise) => {
                let parallelism = *parallelism;
                depthwise.backward_weight(shape, kernels, parallelism, sources, grad_weight, write);
            }
            Path::Products(Products { backward_weight: product, .. }) => {
                let kernel = &kernels.tall;
                product.run(shape, kernel, *parallelism, sources, grad_weight, write, scratch);
            }
        }
        Ok(())
    }

    fn check_backward_weight(&self, input: &[T], dg: &[T], dw: &[T]) -> Result<(), Error> {
        check_len("input", self.shape.input_len(), input.len())?;
        check_len("grad_output", self.shape.output_len(), dg.len())?;
        check_len("grad_weight", self.shape.weight_len(), dw.len())
    }

    /// `grad_bias[k]` = the sum of `grad_output` over the pixels of channel `k` and the batch.
    ///
    /// # Errors
    /// [`Error::Length`] if a slice doesn't fit the shape; nothing is written.
    pub fn backward_bias(
        &self,
        grad_output: &[T],
        grad_bias: &mut [T],
        write: Write,
    ) -> Result<(), Error> {
        check_len("grad_output", self.shape.output_len(), grad_output.len())?;
        check_len("grad_bias", self.shape.out_channels(), grad_bias.len())?;
        let Self { shape, parallelism, .. } = self;
        backward_bias::backward_bias(shape, *parallelism, grad_output, grad_bias, write);
        Ok(())
    }

    fn check_scratch(&self, pass: Pass, scratch: &[T]) -> Result<(), Error> {
        let (expected, found) = (self.min_scratch_len(pass), scratch.len());
        if found < expected { Err(Error::Scratch { expected, found }) } else { Ok(()) }
    }
}

impl<T> Clone for Plan<T> {
    fn clone(&self) -> Self {
        let Self { shape, parallelism, kernels, path } = self;
        Self { shape: *shape, parallelism: *parallelism, kernels, path: path.clone() }
    }
}

impl<T> fmt::Debug for Plan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("shape", &self.shape.params())
            .field("element", &core::any::type_name::<T>())
            .field("isa", &self.kernels.isa)
            .field("path", &self.path)
            .field("parallelism", &self.parallelism)
            .finish_non_exhaustive()
    }
}
