//! What a plan runs: for each pass a schedule, and the engine that was made for it.

use super::computation::Computation;
use super::format::Format;
use crate::choose::candidates::Question;
use crate::choose::machine::Machine;
use crate::choose::schedule::{Engine, Schedule, Staging};
use crate::element::Element;
use crate::engine::layer::{Layer, Weights};
use crate::error::Error;
use crate::kernel::{Epilogue, Isa, Kernels};
use crate::options::{Accuracy, Options};
use crate::pass::{Pass, Write};
use crate::scratch::Need;
use crate::shape::Shape;
use aligned_vec::{AVec, ConstAlign};
use alloc::vec::Vec;
use core::fmt;

/// The passes of a layer, each as it was chosen.
#[derive(Debug, Clone)]
pub(super) struct Chosen {
    /// In the order of [`Pass::ALL`]; none where a pass wasn't asked for.
    passes: [Option<Computation>; 3],
}

impl Chosen {
    /// What is chosen for a layer, or the algorithm that was asked for.
    pub(super) fn new<T: Element>(
        shape: &Shape,
        options: Options,
        kernels: &Kernels<T>,
    ) -> Result<Self, Error> {
        let mut passes = [const { None }; 3];
        for &pass in Pass::ALL {
            if pass == options.forward() || !options.inference {
                passes[pass as usize] = Some(Computation::chosen(shape, pass, options, kernels)?);
            }
        }
        Ok(Self { passes })
    }

    /// The same schedules for a layer of another batch or image, for some of the passes; a pass whose schedule isn't
    /// possible there is chosen anew.
    pub(super) fn for_shape<T: Element>(
        &self,
        shape: &Shape,
        options: Options,
        kernels: &Kernels<T>,
        of: &[Pass],
    ) -> Result<Self, Error> {
        let mut passes = [const { None }; 3];
        for &pass in of {
            let Some(old) = &self.passes[pass as usize] else { continue };
            let is_chosen = !old.is_nothing();
            let kept = is_chosen.then(|| Computation::new(shape, pass, old.schedule, kernels));
            let mut made = kept.transpose()?.flatten();
            if made.is_none() && is_chosen && old.schedule.other == Staging::PackedPerBlock {
                // Where there are more blocks, they share the panels: the same products in the same order.
                let shared = Schedule { other: Staging::Packed, ..old.schedule };
                made = Computation::new(shape, pass, shared, kernels)?;
            }
            passes[pass as usize] = match made {
                Some(made) => Some(made),
                None => Some(Computation::chosen(shape, pass, options, kernels)?),
            };
        }
        Ok(Self { passes })
    }

    /// Gives a pass another schedule.
    pub(super) fn replace<T: Element>(
        &mut self,
        shape: &Shape,
        kernels: &Kernels<T>,
        pass: Pass,
        schedule: Schedule,
    ) -> Result<(), Error> {
        let made = Computation::new(shape, pass, schedule, kernels)?
            .ok_or(Error::Unsupported { what: "this schedule for this pass of this layer" })?;
        self.passes[pass as usize] = Some(made);
        Ok(())
    }

    /// Every schedule that is possible for a pass.
    pub(super) fn candidates<T: Element>(
        shape: &Shape,
        accuracy: Accuracy,
        kernels: &Kernels<T>,
        pass: Pass,
    ) -> Result<Vec<Schedule>, Error> {
        if shape.is_empty() {
            return Ok(Vec::new());
        }
        // Of the gradient of a mirrored image, those of what isn't mirrored.
        let asked = if pass == Pass::BackwardData { shape.with_zeros() } else { *shape };
        let mut list = Question::new(&asked, pass, accuracy, kernels)?.candidates()?;
        let mut error = None;
        list.retain(|&schedule| match Computation::new(shape, pass, schedule, kernels) {
            Ok(made) => made.is_some(),
            Err(failed) => {
                error = Some(failed);
                false
            }
        });
        match error {
            Some(error) => Err(error),
            None => Ok(list),
        }
    }

    /// A pass as it is computed.
    fn of(&self, pass: Pass) -> Result<&Computation, Error> {
        self.passes[pass as usize].as_ref().ok_or(Error::NotPlanned { pass })
    }

    /// How a pass is computed; none if it wasn't planned.
    pub(super) fn schedule(&self, pass: Pass) -> Option<Schedule> {
        self.of(pass).ok().map(|computation| computation.schedule)
    }

    /// Whether all passes are the textbook's.
    pub(super) fn is_textbook(&self) -> bool {
        let mut schedules = Pass::ALL.iter().filter_map(|&pass| self.schedule(pass));
        schedules.all(|schedule| schedule.engine == Engine::Explicit)
    }

    /// The order in which a pass reads its weights.
    pub(super) fn format(&self, shape: &Shape, isa: Isa, pass: Pass) -> Result<Format, Error> {
        Ok(self.of(pass)?.format(shape, isa))
    }

    /// What a pass wants.
    pub(super) fn need<T: Element>(
        &self,
        shape: &Shape,
        kernels: &Kernels<T>,
        pass: Pass,
    ) -> Result<Need, Error> {
        Ok(self.of(pass)?.need(shape, kernels))
    }

    /// The weights as a pass reads them.
    pub(super) fn pack<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        pass: Pass,
        weight: &[T],
    ) -> Result<AVec<T, ConstAlign<64>>, Error> {
        self.of(pass)?.pack(layer, weight)
    }

    /// Runs forward; everything has been checked, here as below.
    pub(super) fn forward<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        input: &[T],
        weights: Weights<'_, T>,
        epilogue: Epilogue<'_, T>,
        output: &mut [T],
        scratch: &mut [T],
    ) {
        if let Ok(computation) = self.of(Pass::Forward) {
            computation.over_taps(layer, input, weights, epilogue, output, scratch);
        }
    }

    /// Runs backward_data.
    pub(super) fn backward_data<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        grad_output: &[T],
        weights: Weights<'_, T>,
        epilogue: Epilogue<'_, T>,
        grad_input: &mut [T],
        scratch: &mut [T],
    ) {
        if let Ok(computation) = self.of(Pass::BackwardData) {
            computation.over_taps(layer, grad_output, weights, epilogue, grad_input, scratch);
        }
    }

    /// Runs backward_weight, on the input and grad_output.
    pub(super) fn backward_weight<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        sources: [&[T]; 2],
        grad_weight: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) {
        if let Ok(computation) = self.of(Pass::BackwardWeight) {
            computation.over_pixels(layer, sources, grad_weight, write, scratch);
        }
    }

    /// In words: a line for the layer and one for each pass, by the names that they have in a transposed layer if it is one.
    pub(super) fn explain<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        is_transposed: bool,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let (isa, element) = (layer.kernels.isa, core::any::type_name::<T>());
        writeln!(f, "{element} on {isa}, weighed as {}", Machine::of(isa).name)?;
        for &name in Pass::ALL {
            let pass = if is_transposed { name.mirror() } else { name };
            let Ok(computation) = self.of(pass) else { continue };
            write!(f, "{name}: {}; ", computation.schedule)?;
            computation.explain(layer, f)?;
            let scratch = computation.need(layer.shape, layer.kernels).len(1);
            writeln!(f, "; scratch for one worker {scratch} elements")?;
        }
        Ok(())
    }
}
