//! The plan: what is chosen for a layer, and the calls of its passes.

use crate::activation::Activation;
use crate::call::{BackwardBias, BackwardData, BackwardWeight, Forward};
use crate::choose::schedule::Schedule;
use crate::element::Element;
use crate::engine::layer::{Layer, Weights};
use crate::engine::mask::Mask;
use crate::error::{Error, check_len};
use crate::kernel::{Epilogue, Isa, Kernels, asked, kernels, kernels_of};
use crate::options::{Accuracy, Algorithm, Options};
use crate::packed::{PackedWeight, Weight};
use crate::parallel::{DEFAULT, Executor, Parallelism};
use crate::pass::{Pass, Write};
use crate::scratch::Need;
use crate::shape::{Dims, Shape};
use alloc::string::String;
use alloc::vec::Vec;
use blocks::Blocks;
use chosen::Chosen;
use core::fmt;
use passes::passes;

pub(crate) use blocks::OverPixels;
pub(crate) use format::Format;

mod blocks;
mod chosen;
mod computation;
mod folded;
mod format;
#[cfg(feature = "std")]
mod measured;
mod padded;
mod passes;
#[cfg(all(unix, feature = "testing"))]
pub(crate) mod tests;

/// A layer, checked, with everything chosen: immutable, and free to share between threads.
///
/// Every pass takes dense slices with the lengths that [`shape`](Self::shape) gives, in the
/// order of its [`Layout`](crate::Layout). A pass is a call that options are added to, and that
/// checks everything before it writes anything:
///
/// | call | options |
/// |---|---|
/// | [`forward(input, weight)`](Self::forward) | bias, residual, accumulate, activation, scratch, executor |
/// | [`backward_data(weight, grad_output)`](Self::backward_data) | mask, accumulate, scratch, executor |
/// | [`backward_weight(input, grad_output)`](Self::backward_weight) | mask, grad_bias, accumulate, scratch, executor |
/// | [`backward_bias(grad_output)`](Self::backward_bias) | mask, accumulate, executor |
///
/// A weight is a slice, or was packed by [`pack_weight`](Self::pack_weight).
///
/// Where there is no memory, making a plan, packing weights and every pass are
/// [`Error::OutOfMemory`], with nothing written. With scratch lent a pass allocates nothing itself. What isn't ours
/// allocates and ends the process where there is no memory: the packing
/// buffers of `matrixmultiply`, in passes that are the textbook's, and rayon's queues, which seldom grow. So do `clone`, which copies
/// the plan's tables (share a plan by reference), and [`explain`](Self::explain).
pub struct Plan<T: 'static> {
    shape: Shape,
    /// The same layer of at least one image: what the engines are made for.
    planned: Shape,
    activation: Activation<T>,
    options: Options,
    kernels: &'static Kernels<T>,
    chosen: Chosen,
    /// Whether a transposed layer is made of it.
    is_transposed: bool,
    /// How the batch is cut where a gradient is masked; none if there is nothing to mask.
    blocks: Option<Blocks>,
}

impl<T: Element> Plan<T> {
    /// Chooses how to compute a layer of this shape.
    ///
    /// # Errors
    /// [`Error::Overflow`] if the algorithm's own matrices don't fit the address space,
    /// [`Error::OutOfMemory`] if there is no room for the plan's tables,
    /// [`Error::Unsupported`] if this machine doesn't have the ISA that was asked for.
    pub fn new(shape: Shape, options: Options) -> Result<Self, Error> {
        let isa = options.isa.unwrap_or_else(Isa::best);
        let kernels = match options.isa {
            None => kernels(isa),
            Some(_) => kernels_of(isa).ok_or(Error::Unsupported { what: isa.name() })?,
        };
        Self::with_kernels(shape, options, kernels)
    }

    fn with_kernels(
        shape: Shape,
        options: Options,
        kernels: &'static Kernels<T>,
    ) -> Result<Self, Error> {
        let planned = shape.with_an_image();
        let chosen = (passes().choose)(&planned, options, kernels)?;
        let activation = Activation::None;
        let (is_transposed, blocks) = (false, None);
        Ok(Self { shape, planned, activation, options, kernels, chosen, is_transposed, blocks })
    }

    /// The same plan with an activation, which `forward` applies as it stores its outputs. The
    /// backward passes take the gradient of what came before it, or of its output if they are given
    /// that as a [mask](BackwardData::mask), for which the plan keeps tables.
    ///
    /// # Errors
    /// [`Error::Clamp`] if there is nothing between its bounds, [`Error::OutOfMemory`] if there is no room for these tables.
    pub fn with_activation(mut self, activation: Activation<T>) -> Result<Self, Error> {
        self.activation = activation.checked()?;
        self.cut_into_blocks()
    }

    /// The same plan as the convolution that a transposed layer is made of.
    pub(crate) fn of_transposed(mut self) -> Result<Self, Error> {
        self.is_transposed = true;
        self.cut_into_blocks()
    }

    pub(crate) fn is_transposed(&self) -> bool {
        self.is_transposed
    }

    /// With the blocks that its activation asks for.
    fn cut_into_blocks(mut self) -> Result<Self, Error> {
        self.blocks = Blocks::new(&self)?;
        Ok(self)
    }

    /// The plan of the same layer for another number of images, with the same schedules and blocks: what the last batch of an
    /// epoch needs, and a server. Weights stay packed, and it costs the tables alone, as nothing is chosen. There may be no images.
    ///
    /// **An image has the same bits in a batch of any size**, in [`forward`](Self::forward) and
    /// [`backward_data`](Self::backward_data), with all plans that are made from one plan, and on any number of workers.
    /// One kind of schedule is possible for few pixels only, as it writes cols down: a plan with it gives fewer images the same
    /// bits, but where there are too many more for it, the pass is chosen anew. [`schedule`](Self::schedule) tells.
    /// [`backward_weight`](Self::backward_weight) sums over the batch: its bits are those of the batch.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    ///
    /// ```
    /// use im2col::{Conv2d, Pass};
    /// let conv = Conv2d::<f32>::new([32, 3, 8, 8], [4, 3, 3, 3]).plan()?;
    /// let packed = conv.pack_weight(Pass::Forward, &[0.5; 4 * 27])?;
    /// let last = conv.with_batch(5)?;
    /// let mut output = vec![0.0; last.shape().output_len()];
    /// last.forward(&vec![1.0; last.shape().input_len()], &packed).run(&mut output)?;
    /// assert_eq!(last.output_shape(), [5, 4, 6, 6]);
    /// assert_eq!(output[0], 13.5);
    /// # Ok::<(), im2col::Error>(())
    /// ```
    pub fn with_batch(&self, batch: usize) -> Result<Self, Error> {
        self.with_shape(self.shape.with_batch(batch)?)
    }

    /// The plan of the same layer for images of another size, one number for each spatial axis: as [`with_batch`](Self::with_batch).
    ///
    /// # Errors
    /// As [`new`](Self::new), and those of [`Shape::new`] for sizes that the layer can't have. [`Error::Sizes`] for more
    /// or fewer numbers than the layer has axes.
    pub fn with_input(&self, input: &[usize]) -> Result<Self, Error> {
        let mut params = *self.shape.params();
        if input.len() != params.axes {
            return Err(Error::Sizes { expected: params.axes, found: input.len() });
        }
        params.input[..input.len()].copy_from_slice(input);
        self.with_shape(Shape::new(params)?)
    }

    /// The same schedules for a layer of another batch or image.
    pub(crate) fn with_shape(&self, shape: Shape) -> Result<Self, Error> {
        let &Self { activation, options, kernels, is_transposed, .. } = self;
        let planned = shape.with_an_image().weighed_as(&self.planned);
        let chosen = (passes().for_shape)(&self.chosen, &planned, options, kernels, Pass::ALL)?;
        let blocks = None;
        Self { shape, planned, activation, options, kernels, chosen, is_transposed, blocks }
            .cut_into_blocks()
    }

    /// Packs weights once for many calls of one pass: of this plan, and of every plan that is made from it by
    /// [`with_batch`](Self::with_batch) and [`with_input`](Self::with_input). A plan that was made by itself may want another
    /// order, and refuses them then.
    ///
    /// # Errors
    /// [`Error::Length`] if the weights don't fit the shape, [`Error::NoWeight`] for
    /// [`Pass::BackwardWeight`], which reads none, [`Error::NotPlanned`] if the plan is for inference only,
    /// [`Error::OutOfMemory`] if there is no room for them.
    ///
    /// ```
    /// use im2col::{Conv2d, Pass};
    /// let conv = Conv2d::<f32>::new([1, 8, 5, 5], [16, 8, 3, 3]).plan()?;
    /// let packed = conv.pack_weight(Pass::Forward, &[0.5; 16 * 8 * 9])?;
    /// let mut output = vec![0.0; conv.shape().output_len()];
    /// for _request in 0..3 {
    ///     conv.forward(&[1.0; 8 * 25], &packed).run(&mut output)?;
    /// }
    /// assert_eq!(output[0], 36.0);
    /// # Ok::<(), im2col::Error>(())
    /// ```
    pub fn pack_weight(&self, pass: Pass, weight: &[T]) -> Result<PackedWeight<T>, Error> {
        self.pack_weight_on(pass, weight, &DEFAULT)
    }

    /// [`pack_weight`](Self::pack_weight) on the threads of an executor.
    ///
    /// # Errors
    /// As [`pack_weight`](Self::pack_weight).
    pub fn pack_weight_on(
        &self,
        pass: Pass,
        weight: &[T],
        executor: &dyn Executor,
    ) -> Result<PackedWeight<T>, Error> {
        check_len("weight", self.shape.weight_len(), weight.len())?;
        if pass == Pass::BackwardWeight {
            return Err(Error::NoWeight { pass });
        }
        let format = self.format(pass)?;
        let layer = self.planned_layer(pass, executor);
        let data = (passes().pack)(&self.chosen, &layer, pass, weight)?;
        Ok(PackedWeight::new(format, data))
    }

    /// The order in which a pass reads its weights.
    pub(crate) fn format(&self, pass: Pass) -> Result<Format, Error> {
        self.chosen.format(&self.planned, self.kernels.isa, pass)
    }

    /// The layer's geometry and the lengths of its tensors.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The input's sizes as torch prints them, `[N, C, spatial..]`, in either layout.
    pub fn input_shape(&self) -> Dims {
        self.shape.input_shape()
    }

    /// The weight's sizes as torch prints them, `[K, C / groups, kernel..]`, in either layout.
    pub fn weight_shape(&self) -> Dims {
        self.shape.weight_shape()
    }

    /// The output's sizes as torch prints them, `[N, K, spatial..]`, in either layout.
    pub fn output_shape(&self) -> Dims {
        self.shape.output_shape()
    }

    /// The algorithm that was chosen, never [`Algorithm::Auto`].
    pub fn algorithm(&self) -> Algorithm {
        if self.chosen.is_textbook() { Algorithm::Explicit } else { Algorithm::Implicit }
    }

    /// The error bound that the plan was made to keep.
    pub fn accuracy(&self) -> Accuracy {
        self.options.accuracy
    }

    /// What the plan was made with.
    pub fn options(&self) -> Options {
        self.options
    }

    /// What `forward` does to each output as it stores it, unless a call says otherwise.
    pub fn activation(&self) -> Activation<T> {
        self.activation
    }

    /// The instruction set whose kernels are used.
    pub fn isa(&self) -> Isa {
        self.kernels.isa
    }

    /// What was chosen, in words: a line for the layer and one for each pass; and a line if the environment variable
    /// `IM2COL_ISA` [asks for what there isn't](Isa::best).
    ///
    /// ```
    /// use im2col::{Conv2d, Layout};
    /// let conv = Conv2d::<f32>::new([1, 64, 56, 56], [64, 64, 3, 3]).padding([1, 1]).plan()?;
    /// println!("{}", conv.explain());
    /// # assert!(conv.explain().contains("backward_weight"));
    /// # Ok::<(), im2col::Error>(())
    /// ```
    pub fn explain(&self) -> String {
        /// What `Chosen::explain` writes.
        struct Words<'a, T: 'static>(&'a Plan<T>);
        impl<T: Element> fmt::Display for Words<'_, T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let Words(plan) = *self;
                let layer = plan.planned_layer(Pass::Forward, &DEFAULT);
                (passes().explain)(&plan.chosen, &layer, plan.is_transposed, f)?;
                match plan.options.isa {
                    None => asked::explain(f),
                    Some(_) => Ok(()),
                }
            }
        }
        alloc::format!("{}", Words(self))
    }

    /// How a pass is computed, as plain data that can be kept, printed and [given back](Self::with_schedule).
    /// None if the plan was made without the pass.
    pub fn schedule(&self, pass: Pass) -> Option<Schedule> {
        self.chosen.schedule(pass)
    }

    /// The same plan with another schedule for one pass, such as one that was [kept](Self::schedule). The bits of a result
    /// follow the schedule.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the schedule isn't possible for this pass of this layer with these kernels,
    /// [`Error::OutOfMemory`] if there is no room for its tables.
    pub fn with_schedule(mut self, pass: Pass, schedule: Schedule) -> Result<Self, Error> {
        (passes().replace)(&mut self.chosen, &self.planned, self.kernels, pass, schedule)?;
        self.cut_into_blocks()
    }

    /// Every schedule that is possible for a pass and that the plan's [accuracy](Self::accuracy) allows: those that the
    /// choice is made from.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if there is no room for the list.
    pub fn candidates(&self, pass: Pass) -> Result<Vec<Schedule>, Error> {
        (passes().candidates)(&self.planned, self.options.accuracy, self.kernels, pass)
    }

    /// Elements of scratch that a call of this pass can use on rayon's current pool, 0 if none; without the feature
    /// `rayon`, on the calling thread. Scratch for several plans is as long as the longest of theirs, which need not be that of
    /// the largest batch: fewer images may be cut into larger blocks.
    pub fn scratch_len(&self, pass: Pass) -> usize {
        self.scratch_len_on(pass, &DEFAULT)
    }

    /// [`scratch_len`](Self::scratch_len) for calls that are lent an executor.
    pub fn scratch_len_on(&self, pass: Pass, executor: &dyn Executor) -> usize {
        let Ok(need) = self.masked_need(pass) else { return 0 };
        need.len(self.parallelism(pass, executor).workers(need))
    }

    /// Elements of scratch that one thread needs: a call that is lent less is an error; with
    /// less than [`scratch_len`](Self::scratch_len), fewer threads work and the bits are the same.
    pub fn min_scratch_len(&self, pass: Pass) -> usize {
        self.masked_need(pass).map_or(0, |need| need.len(1))
    }

    /// `output = activation(cols·Wᵀ + bias + residual)`, as far as the call is given these.
    ///
    /// `input` has `input_len` elements. The weight is a slice of `weight_len` elements, or packed for [`Pass::Forward`].
    pub fn forward<'a>(
        &'a self,
        input: &'a [T],
        weight: impl Into<Weight<'a, T>>,
    ) -> Forward<'a, T> {
        Forward::new(self, Pass::Forward, input, weight.into())
    }

    /// `grad_input = col2im(grad_output · W)`: the gradient of the input.
    ///
    /// The weight is a slice of `weight_len` elements, or packed for [`Pass::BackwardData`]; `grad_output` has `output_len`
    /// elements. This is also a transposed convolution run forward: [`crate::ConvTranspose2d`] offers it
    /// under that name.
    #[doc(alias("dgrad", "backward_input", "conv_transpose"))]
    pub fn backward_data<'a>(
        &'a self,
        weight: impl Into<Weight<'a, T>>,
        grad_output: &'a [T],
    ) -> BackwardData<'a, T> {
        BackwardData::new(self, Pass::BackwardData, weight.into(), grad_output)
    }

    /// `grad_weight = grad_outputᵀ · cols`: the gradient of the weights, summed over the batch.
    ///
    /// `input` has `input_len` elements, `grad_output` has `output_len`.
    #[doc(alias("wgrad", "backward_filter"))]
    pub fn backward_weight<'a>(
        &'a self,
        input: &'a [T],
        grad_output: &'a [T],
    ) -> BackwardWeight<'a, T> {
        BackwardWeight::new(self, false, input, grad_output)
    }

    /// `grad_bias[k]` = the sum of `grad_output` over the pixels of channel `k` and the batch.
    ///
    /// `grad_output` has `output_len` elements.
    pub fn backward_bias<'a>(&'a self, grad_output: &'a [T]) -> BackwardBias<'a, T> {
        BackwardBias::new(self, false, grad_output)
    }

    /// What a pass wants.
    pub(crate) fn need(&self, pass: Pass) -> Result<Need, Error> {
        self.chosen.need(&self.planned, self.kernels, pass)
    }

    fn parallelism<'a>(&self, pass: Pass, executor: &'a dyn Executor) -> Parallelism<'a> {
        Parallelism::new(executor, is_small(&self.shape, self.kernels, pass))
    }

    /// The layer as engines run it.
    pub(crate) fn layer<'a>(&'a self, pass: Pass, executor: &'a dyn Executor) -> Layer<'a, T> {
        let parallelism = self.parallelism(pass, executor);
        Layer { shape: &self.shape, kernels: self.kernels, parallelism }
    }

    /// The same of at least one image.
    fn planned_layer<'a>(&'a self, pass: Pass, executor: &'a dyn Executor) -> Layer<'a, T> {
        Layer { shape: &self.planned, ..self.layer(pass, executor) }
    }

    /// Runs forward or backward_data; everything has been checked, here as below.
    pub(crate) fn over_taps(
        &self,
        layer: &Layer<'_, T>,
        pass: Pass,
        (source, weights): (&[T], Weights<'_, T>),
        epilogue: Epilogue<'_, T>,
        destination: &mut [T],
        scratch: &mut [T],
    ) {
        let passes = passes();
        let run = if pass == Pass::Forward { passes.forward } else { passes.backward_data };
        run(&self.chosen, layer, source, weights, epilogue, destination, scratch);
    }

    /// Sums every channel of the output's gradient, or of a tensor of the input's shape.
    pub(crate) fn sum_of_channels(
        &self,
        executor: &dyn Executor,
        of_input: bool,
        (tensor, mask): (&[T], Option<Mask<'_, T>>),
        sums: &mut [T],
        write: Write,
    ) {
        let parallelism = Parallelism::new(executor, tensor.len() < SMALL_SUM);
        (passes().backward_bias)(&self.shape, of_input, parallelism, (tensor, mask), sums, write);
    }
}

/// Elements that are summed on the calling thread, as another one would be woken for too little.
const SMALL_SUM: usize = 64 << 10;

/// Whether a pass takes so few microseconds that waking another thread for it takes longer.
fn is_small<T: Element>(shape: &Shape, kernels: &Kernels<T>, pass: Pass) -> bool {
    /// Microseconds, about twice what a thread takes to wake.
    const SMALL: f64 = 12.0;
    /// Products and elements in a microsecond, on AVX-512; the other kernels' vectors are shorter.
    const PRODUCTS: f64 = 40e3;
    const ELEMENTS: f64 = 4e3;
    let vector = kernels.wide.vector as f64 * size_of::<T>() as f64 / 64.0;
    let _ = pass;
    let products = shape.output_len() as f64 * shape.patch_len() as f64;
    let elements = shape.input_len() as f64 + shape.output_len() as f64 + shape.weight_len() as f64;
    let bytes = size_of::<T>() as f64 / 4.0;
    bytes * (products / (PRODUCTS * vector) + elements / ELEMENTS) < SMALL
}

impl<T: Copy> Clone for Plan<T> {
    fn clone(&self) -> Self {
        let &Self { shape, planned, activation, options, kernels, is_transposed, .. } = self;
        let (chosen, blocks) = (self.chosen.clone(), self.blocks.clone());
        Self { shape, planned, activation, options, kernels, chosen, is_transposed, blocks }
    }
}

/// One line: the layer, the element, the kernels.
impl<T> fmt::Display for Plan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} on {}", self.shape, core::any::type_name::<T>(), self.kernels.isa)
    }
}

/// One line as [`Display`](fmt::Display) has it; with `{:#?}` all that was chosen.
impl<T> fmt::Debug for Plan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return fmt::Display::fmt(self, f);
        }
        let mut debug = f.debug_struct("Plan");
        debug.field("shape", self.shape.params());
        debug.field("element", &core::any::type_name::<T>());
        debug.field("isa", &self.kernels.isa);
        for pass in Pass::ALL {
            debug.field(pass.name(), &self.chosen.schedule(*pass));
        }
        debug.field("options", &self.options).finish_non_exhaustive()
    }
}
