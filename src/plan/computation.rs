//! One pass as it is computed: a schedule, and the engine that was made for it.

use super::folded::Folded;
use super::format::Format;
use super::padded::Padded;
use crate::choose::candidates::{Question, certain, writes_padding};
use crate::choose::schedule::Schedule;
use crate::choose::{cheapest, ranked};
use crate::element::Element;
use crate::engine::Engine;
use crate::engine::around::Images;
use crate::engine::layer::{Layer, Order, Weights};
use crate::error::Error;
use crate::kernel::{Epilogue, Isa, Kernels};
use crate::options::{Algorithm, Options};
use crate::pass::{Pass, Write};
use crate::scratch::{Boxed, Need, copied};
use crate::shape::Shape;
use aligned_vec::{AVec, ConstAlign};
use core::fmt;

/// A pass as it is computed.
#[derive(Debug, Clone)]
pub(super) struct Computation {
    pub(super) schedule: Schedule,
    pass: Pass,
    work: Work,
}

/// What computes a pass.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "one of it to a pass")]
enum Work {
    /// Images without elements: there is nothing to sum, and only the epilogue is written.
    Nothing,
    /// An engine, on the layer as it is.
    Engine(Engine),
    /// The gradient of a mirrored image, by an engine for the image and one for each window of its padding.
    Folded(Boxed<Folded>),
    /// An engine on the mirrored image as it is written down with its padding.
    Padded(Boxed<Padded>),
}

impl Computation {
    /// The cheapest schedule that is possible, or the textbook where that is asked for or nothing else is possible.
    pub(super) fn chosen<T: Element>(
        shape: &Shape,
        pass: Pass,
        options: Options,
        kernels: &Kernels<T>,
    ) -> Result<Self, Error> {
        if shape.is_empty() {
            return Ok(Self { schedule: Schedule::EXPLICIT, pass, work: Work::Nothing });
        }
        if pass == Pass::BackwardData && shape.is_mirrored() {
            let inside = Self::chosen(&shape.with_zeros(), pass, options, kernels)?;
            if let Some(padded) = Self::padded(shape, pass, inside.schedule, kernels)? {
                return Ok(padded);
            }
            return inside.folded(shape, kernels);
        }
        if options.algorithm != Algorithm::Explicit {
            let made = |schedule| Self::new(shape, pass, schedule, kernels);
            if let Some(made) = certain(shape, pass).map_or(Ok(None), made)? {
                return Ok(made);
            }
            let question = Question::new(shape, pass, options.accuracy, kernels)?
                .for_inference(options.inference);
            if let Some(made) = cheapest(&question)?.map_or(Ok(None), made)? {
                return Ok(made);
            }
            // An engine has refused it.
            for schedule in ranked(&question)? {
                if let Some(made) = made(schedule)? {
                    return Ok(made);
                }
            }
        }
        Self::textbook(shape, pass)
    }

    /// The textbook.
    fn textbook(shape: &Shape, pass: Pass) -> Result<Self, Error> {
        let work = Work::Engine(Engine::explicit(shape, pass)?);
        Ok(Self { schedule: Schedule::EXPLICIT, pass, work })
    }

    /// The engine of a schedule; none if it isn't possible for this pass of this layer.
    pub(super) fn new<T: Element>(
        shape: &Shape,
        pass: Pass,
        schedule: Schedule,
        kernels: &Kernels<T>,
    ) -> Result<Option<Self>, Error> {
        if let Some(padded) = Self::padded(shape, pass, schedule, kernels)? {
            return Ok(Some(padded));
        }
        if pass == Pass::BackwardData && shape.is_mirrored() {
            let inside = Self::new(&shape.with_zeros(), pass, schedule, kernels)?;
            return inside.map(|inside| inside.folded(shape, kernels)).transpose();
        }
        let engine = Engine::new(shape, kernels, pass, schedule)?;
        Ok(engine.map(|engine| Self { schedule, pass, work: Work::Engine(engine) }))
    }

    /// The gradient of a layer's input in whose padding elements stand, from that of the same layer with zeros there.
    fn folded<T: Element>(self, shape: &Shape, kernels: &Kernels<T>) -> Result<Self, Error> {
        let Self { schedule, pass, .. } = self;
        let folded = match self.work {
            // col2im folds by itself.
            Work::Engine(Engine::Explicit(_)) => None,
            Work::Engine(inside) => Folded::new(inside, schedule, shape, kernels)?,
            Work::Nothing | Work::Folded(_) | Work::Padded(_) => None,
        };
        let Some(folded) = folded else { return Self::textbook(shape, pass) };
        Ok(Self { schedule, pass, work: Work::Folded(Boxed::new(folded)?) })
    }

    /// The pass on the image as it is written down with its padding, for a schedule that wants that.
    fn padded<T: Element>(
        shape: &Shape,
        pass: Pass,
        schedule: Schedule,
        kernels: &Kernels<T>,
    ) -> Result<Option<Self>, Error> {
        if !writes_padding(shape, pass, &schedule) {
            return Ok(None);
        }
        let Some(padded) = Padded::new(shape, pass, schedule, kernels)? else { return Ok(None) };
        Ok(Some(Self { schedule, pass, work: Work::Padded(Boxed::new(padded)?) }))
    }

    /// Whether there is nothing to sum.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self.work, Work::Nothing)
    }

    /// The order in which a pass reads its weights, and whose they are.
    pub(super) fn format(&self, shape: &Shape, isa: Isa) -> Format {
        let order = match &self.work {
            Work::Nothing => Order::AsGiven,
            Work::Engine(engine) => engine.order(&self.schedule, shape),
            Work::Folded(folded) => folded.order(&self.schedule, shape),
            Work::Padded(padded) => padded.order(&self.schedule),
        };
        Format::new(shape, isa, self.pass, order)
    }

    /// What a pass wants.
    pub(super) fn need<T: Element>(&self, shape: &Shape, kernels: &Kernels<T>) -> Need {
        match &self.work {
            Work::Nothing => Need::of_units(1),
            Work::Engine(engine) => engine.need(shape, kernels),
            Work::Folded(folded) => folded.need(shape, kernels),
            Work::Padded(padded) => padded.need(kernels),
        }
    }

    /// The weights as a pass reads them.
    pub(super) fn pack<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        weight: &[T],
    ) -> Result<AVec<T, ConstAlign<64>>, Error> {
        match &self.work {
            Work::Nothing => copied(weight),
            Work::Engine(engine) => engine.pack(layer, weight),
            Work::Folded(folded) => folded.pack(layer, weight),
            Work::Padded(padded) => padded.pack(layer, weight),
        }
    }

    /// Runs forward, from the input, or backward_data, from grad_output.
    pub(super) fn over_taps<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        source: &[T],
        weights: Weights<'_, T>,
        epilogue: Epilogue<'_, T>,
        destination: &mut [T],
        scratch: &mut [T],
    ) {
        let &Layer { shape, parallelism, .. } = layer;
        let images = match self.pass {
            Pass::Forward => Images::of_output(shape),
            Pass::BackwardData | Pass::BackwardWeight => Images::of_input(shape),
        };
        if shape.is_empty() {
            images.before(parallelism, epilogue, destination);
            images.after(parallelism, epilogue, destination);
            return;
        }
        // Forward has sums for every element, whose store does all of the epilogue; backward_data may have pixels that
        // no tap meets, and others that are added up bit by bit.
        let in_store = match &self.work {
            _ if self.pass == Pass::Forward || epilogue.only_accumulates() => true,
            Work::Engine(engine) => engine.stores_all(shape),
            Work::Nothing | Work::Folded(_) | Work::Padded(_) => false,
        };
        if !in_store {
            images.before(parallelism, epilogue, destination);
        }
        let inner = if in_store { epilogue } else { Epilogue::new(true) };
        match &self.work {
            Work::Nothing => {}
            Work::Engine(engine) => {
                engine.over_taps(layer, source, weights, inner, destination, scratch);
            }
            Work::Folded(folded) => {
                folded.run(layer, source, weights, inner, destination, scratch);
            }
            Work::Padded(padded) => {
                let pass = (layer, self.pass);
                padded.over_taps(pass, source, weights, inner, destination, scratch);
            }
        }
        if !in_store {
            images.after(parallelism, epilogue, destination);
        }
    }

    /// Runs backward_weight, from the input and grad_output.
    pub(super) fn over_pixels<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        sources: [&[T]; 2],
        grad_weight: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) {
        if layer.shape.is_empty() {
            if write == Write::Overwrite {
                grad_weight.fill(T::ZERO);
            }
            return;
        }
        match &self.work {
            Work::Nothing => {}
            Work::Engine(engine) => {
                engine.over_pixels(layer, sources, grad_weight, write, scratch);
            }
            Work::Padded(padded) => {
                padded.over_pixels(layer, sources, grad_weight, write, scratch);
            }
            Work::Folded(_) => unreachable!("made for backward_data alone"),
        }
    }

    /// In words: how the engine computes the pass.
    pub(super) fn explain<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        match &self.work {
            Work::Nothing => f.write_str("images without elements: nothing is summed"),
            Work::Engine(engine) => engine.explain(layer.shape, f),
            Work::Folded(folded) => folded.explain(layer, f),
            Work::Padded(padded) => padded.explain(layer, f),
        }
    }
}
