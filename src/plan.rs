//! The plan: what is chosen for a layer, and the passes on it.

use crate::activation::Activation;
use crate::choose::schedule::Schedule;
use crate::element::Element;
use crate::engine::{Layer, Weights};
use crate::error::{Error, check_len};
use crate::kernel::{Epilogue, Isa, Kernels, kernels, kernels_of};
use crate::options::{Accuracy, Algorithm, Options};
use crate::packed::PackedWeight;
use crate::parallel::Parallelism;
use crate::pass::{Pass, Write};
use crate::scratch::allocate;
use crate::shape::Shape;
use alloc::string::String;
use alloc::vec::Vec;
use chosen::Chosen;
use core::fmt;
use passes::passes;

mod chosen;
mod passes;
#[cfg(all(unix, feature = "testing"))]
pub(crate) mod tests;

/// A layer, checked, with everything chosen: immutable, and free to share between threads.
///
/// Every pass takes dense slices with the lengths that [`shape`](Self::shape) gives, in the
/// order of its [`Layout`](crate::Layout), and checks them before it writes anything. The plain form of a pass
/// allocates its scratch; `*_with_scratch` takes the caller's, of any content, and allocates
/// nothing itself (`matrixmultiply`, in passes that are the textbook's, takes its packing buffers).
///
/// Where there is no memory, making a plan, packing weights and every pass are
/// [`Error::OutOfMemory`], with nothing written. What isn't ours ends the process: the packing
/// buffers of `matrixmultiply`, rayon's queues, which seldom grow. So do `clone`, which copies
/// the plan's tables (share a plan by reference), and [`explain`](Self::explain).
pub struct Plan<T: 'static> {
    shape: Shape,
    parallelism: Parallelism,
    activation: Activation<T>,
    accuracy: Accuracy,
    kernels: &'static Kernels<T>,
    chosen: Chosen,
}

impl<T: Element> Plan<T> {
    /// Chooses how to compute a layer of this shape.
    ///
    /// # Errors
    /// [`Error::Overflow`] if the algorithm's own matrices don't fit the address space,
    /// [`Error::OutOfMemory`] if there is no room for the plan's tables.
    pub fn new(
        shape: Shape,
        algorithm: Algorithm,
        parallelism: Parallelism,
    ) -> Result<Self, Error> {
        Self::with_kernels(shape, Options::of(algorithm), parallelism, kernels(Isa::best()))
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
        let kernels = kernels_of(isa).ok_or(Error::Unsupported { what: isa.name() })?;
        Self::with_kernels(shape, Options::of(algorithm), parallelism, kernels)
    }

    /// A plan with all options.
    pub(crate) fn with_options(
        shape: Shape,
        options: Options,
        parallelism: Parallelism,
    ) -> Result<Self, Error> {
        Self::with_kernels(shape, options, parallelism, kernels(Isa::best()))
    }

    fn with_kernels(
        shape: Shape,
        options: Options,
        parallelism: Parallelism,
        kernels: &'static Kernels<T>,
    ) -> Result<Self, Error> {
        let chosen = (passes().choose)(&shape, options, kernels)?;
        let Options { accuracy, .. } = options;
        Ok(Self { shape, parallelism, activation: Activation::None, accuracy, kernels, chosen })
    }

    /// The same plan with an activation, which `forward` applies as it stores its outputs. The
    /// backward passes take the gradient of what came before it.
    pub fn with_activation(mut self, activation: Activation<T>) -> Self {
        self.activation = activation;
        self
    }

    /// Packs weights once for many calls of one pass.
    ///
    /// # Errors
    /// [`Error::Length`] if the weights don't fit the shape, [`Error::OutOfMemory`] if there is no
    /// room for them.
    ///
    /// ```
    /// use im2col::{Conv2d, Pass};
    /// let conv = Conv2d::<f32>::new([1, 8, 5, 5], [16, 8, 3, 3]).plan()?;
    /// let packed = conv.pack_weight(Pass::Forward, &[0.5; 16 * 8 * 9])?;
    /// let mut output = vec![0.0; conv.shape().output_len()];
    /// for _request in 0..3 {
    ///     conv.forward_packed(&[1.0; 8 * 25], &packed, None, &mut output)?;
    /// }
    /// assert_eq!(output[0], 36.0);
    /// # Ok::<(), im2col::Error>(())
    /// ```
    pub fn pack_weight(&self, pass: Pass, weight: &[T]) -> Result<PackedWeight<T>, Error> {
        check_len("weight", self.shape.weight_len(), weight.len())?;
        let data = (passes().pack)(&self.chosen, &self.layer(), pass, weight)?;
        Ok(PackedWeight::new(self, pass, data))
    }

    /// The layer's geometry and the lengths of its tensors.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The algorithm that was chosen, never [`Algorithm::Auto`].
    pub fn algorithm(&self) -> Algorithm {
        if self.chosen.is_textbook() { Algorithm::Explicit } else { Algorithm::Implicit }
    }

    /// The error bound that the plan was made to keep.
    pub fn accuracy(&self) -> Accuracy {
        self.accuracy
    }

    /// The instruction set whose kernels are used.
    pub fn isa(&self) -> Isa {
        self.kernels.isa
    }

    /// Where the work runs.
    pub fn parallelism(&self) -> Parallelism {
        self.parallelism
    }

    /// What was chosen, in words: a line for the layer and one for each pass.
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
                (passes().explain)(&self.0.chosen, &self.0.layer(), f)
            }
        }
        alloc::format!("{}", Words(self))
    }

    /// How a pass is computed, as plain data that can be kept, printed and [given back](Self::with_schedule).
    pub fn schedule(&self, pass: Pass) -> Schedule {
        self.chosen.schedule(pass)
    }

    /// The same plan with another schedule for one pass, such as one that was [kept](Self::schedule). The bits of a result
    /// follow the schedule.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the schedule isn't possible for this pass of this layer with these kernels,
    /// [`Error::OutOfMemory`] if there is no room for its tables.
    pub fn with_schedule(mut self, pass: Pass, schedule: Schedule) -> Result<Self, Error> {
        (passes().replace)(&mut self.chosen, &self.shape, self.kernels, pass, schedule)?;
        Ok(self)
    }

    /// Every schedule that is possible for a pass: those that the choice is made from.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if there is no room for the list.
    pub fn candidates(&self, pass: Pass) -> Result<Vec<Schedule>, Error> {
        (passes().candidates)(&self.shape, self.kernels, pass)
    }

    /// Elements of scratch that a call on the current pool can use.
    pub fn scratch_len(&self, pass: Pass) -> usize {
        let need = self.chosen.need(&self.shape, pass);
        need.len(self.parallelism.workers(need))
    }

    /// Elements of scratch that one thread needs: with less, `*_with_scratch` is an error; with
    /// less than [`scratch_len`](Self::scratch_len), fewer threads work and the bits are the same.
    pub fn min_scratch_len(&self, pass: Pass) -> usize {
        self.chosen.need(&self.shape, pass).len(1)
    }

    /// Runs a pass where its workers are.
    fn within(&self, pass: Pass, scratch: &mut [T], run: impl FnOnce(&mut [T]) + Send) {
        let need = self.chosen.need(&self.shape, pass);
        self.parallelism.within(need, scratch.len(), || run(scratch));
    }

    fn layer(&self) -> Layer<'_, T> {
        let Self { shape, kernels, parallelism, .. } = self;
        Layer { shape, kernels, parallelism: *parallelism }
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
        self.run_forward(input, Weights::Raw(weight), bias, output, scratch);
        Ok(())
    }

    /// [`forward`](Self::forward) with weights packed by [`pack_weight`](Self::pack_weight) for
    /// [`Pass::Forward`].
    ///
    /// # Errors
    /// As `forward`, and [`Error::PackedFor`] if the weights were packed for something else.
    pub fn forward_packed(
        &self,
        input: &[T],
        weight: &PackedWeight<T>,
        bias: Option<&[T]>,
        output: &mut [T],
    ) -> Result<(), Error> {
        weight.check(self, Pass::Forward)?;
        self.check_forward_tensors(input, bias, output)?;
        let mut scratch = allocate(self.scratch_len(Pass::Forward))?;
        self.forward_packed_with_scratch(input, weight, bias, output, &mut scratch)
    }

    /// [`forward_packed`](Self::forward_packed) with the caller's scratch.
    ///
    /// # Errors
    /// As `forward_packed`, and [`Error::Scratch`] if the scratch doesn't serve one thread.
    pub fn forward_packed_with_scratch(
        &self,
        input: &[T],
        weight: &PackedWeight<T>,
        bias: Option<&[T]>,
        output: &mut [T],
        scratch: &mut [T],
    ) -> Result<(), Error> {
        weight.check(self, Pass::Forward)?;
        self.check_forward_tensors(input, bias, output)?;
        self.check_scratch(Pass::Forward, scratch)?;
        self.run_forward(input, Weights::Packed(weight.data()), bias, output, scratch);
        Ok(())
    }

    fn run_forward(
        &self,
        input: &[T],
        weights: Weights<'_, T>,
        bias: Option<&[T]>,
        output: &mut [T],
        scratch: &mut [T],
    ) {
        let clamp = self.activation.bounds();
        let epilogue = Epilogue { bias, clamp, ..Epilogue::new(false) };
        let (chosen, layer) = (&self.chosen, self.layer());
        self.within(Pass::Forward, scratch, |scratch| {
            (passes().forward)(chosen, &layer, input, weights, epilogue, output, scratch);
        });
    }

    fn check_forward(
        &self,
        input: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        output: &[T],
    ) -> Result<(), Error> {
        check_len("weight", self.shape.weight_len(), weight.len())?;
        self.check_forward_tensors(input, bias, output)
    }

    fn check_forward_tensors(
        &self,
        input: &[T],
        bias: Option<&[T]>,
        output: &[T],
    ) -> Result<(), Error> {
        check_len("input", self.shape.input_len(), input.len())?;
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
        let weights = Weights::Raw(weight);
        self.run_backward_data(weights, grad_output, grad_input, write, scratch);
        Ok(())
    }

    /// [`backward_data`](Self::backward_data) with weights packed by
    /// [`pack_weight`](Self::pack_weight) for [`Pass::BackwardData`].
    ///
    /// # Errors
    /// As `backward_data`, and [`Error::PackedFor`] if the weights were packed for something else.
    pub fn backward_data_packed(
        &self,
        weight: &PackedWeight<T>,
        grad_output: &[T],
        grad_input: &mut [T],
        write: Write,
    ) -> Result<(), Error> {
        weight.check(self, Pass::BackwardData)?;
        self.check_backward_data_tensors(grad_output, grad_input)?;
        let mut scratch = allocate(self.scratch_len(Pass::BackwardData))?;
        self.backward_data_packed_with_scratch(weight, grad_output, grad_input, write, &mut scratch)
    }

    /// [`backward_data_packed`](Self::backward_data_packed) with the caller's scratch.
    ///
    /// # Errors
    /// As `backward_data_packed`, and [`Error::Scratch`] if the scratch doesn't serve one thread.
    pub fn backward_data_packed_with_scratch(
        &self,
        weight: &PackedWeight<T>,
        grad_output: &[T],
        grad_input: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) -> Result<(), Error> {
        weight.check(self, Pass::BackwardData)?;
        self.check_backward_data_tensors(grad_output, grad_input)?;
        self.check_scratch(Pass::BackwardData, scratch)?;
        let weights = Weights::Packed(weight.data());
        self.run_backward_data(weights, grad_output, grad_input, write, scratch);
        Ok(())
    }

    fn run_backward_data(
        &self,
        weights: Weights<'_, T>,
        grad_output: &[T],
        grad_input: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) {
        let (chosen, layer) = (&self.chosen, self.layer());
        let pass = passes().backward_data;
        self.within(Pass::BackwardData, scratch, |scratch| {
            pass(chosen, &layer, weights, grad_output, grad_input, write, scratch);
        });
    }

    fn check_backward_data(&self, weight: &[T], dg: &[T], dv: &[T]) -> Result<(), Error> {
        check_len("weight", self.shape.weight_len(), weight.len())?;
        self.check_backward_data_tensors(dg, dv)
    }

    fn check_backward_data_tensors(&self, dg: &[T], dv: &[T]) -> Result<(), Error> {
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
        let (chosen, layer, sources) = (&self.chosen, self.layer(), [input, grad_output]);
        let pass = passes().backward_weight;
        self.within(Pass::BackwardWeight, scratch, |scratch| {
            pass(chosen, &layer, sources, grad_weight, write, scratch);
        });
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
        (passes().backward_bias)(shape, *parallelism, grad_output, grad_bias, write);
        Ok(())
    }

    fn check_scratch(&self, pass: Pass, scratch: &[T]) -> Result<(), Error> {
        let (expected, found) = (self.min_scratch_len(pass), scratch.len());
        if found < expected { Err(Error::Scratch { expected, found }) } else { Ok(()) }
    }
}

impl<T: Copy> Clone for Plan<T> {
    fn clone(&self) -> Self {
        let Self { shape, parallelism, activation, accuracy, kernels, chosen } = self;
        let (shape, parallelism, activation) = (*shape, *parallelism, *activation);
        Self {
            shape,
            parallelism,
            activation,
            accuracy: *accuracy,
            kernels,
            chosen: chosen.clone(),
        }
    }
}

impl<T> fmt::Debug for Plan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("shape", &self.shape.params())
            .field("element", &core::any::type_name::<T>())
            .field("isa", &self.kernels.isa)
            .field("forward", &self.chosen.schedule(Pass::Forward))
            .field("backward_data", &self.chosen.schedule(Pass::BackwardData))
            .field("backward_weight", &self.chosen.schedule(Pass::BackwardWeight))
            .field("parallelism", &self.parallelism)
            .finish_non_exhaustive()
    }
}
