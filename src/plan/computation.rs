//! One pass as it is computed: a schedule, and the engine that was made for it.

use super::folded::Folded;
use super::format::{Format, Order};
use crate::choose::candidates::{Question, certain, is_within, knows_padding};
use crate::choose::schedule::{Corner, Engine as Kind, Schedule, Staging};
use crate::choose::{cheapest, ranked};
use crate::element::Element;
use crate::engine::around::Images;
use crate::engine::backward_weight::BackwardWeight;
use crate::engine::direct::channels_last::ChannelsLast;
use crate::engine::direct::depthwise::Depthwise;
use crate::engine::direct::grouped::Grouped;
use crate::engine::few_pixels::FewPixels;
use crate::engine::implicit::Implicit;
use crate::engine::winograd::{Filter, Plane};
use crate::engine::{Layer, Weights, explicit};
use crate::error::Error;
use crate::kernel::{Epilogue, Isa, Kernels};
use crate::options::{Algorithm, Options};
use crate::pass::{Pass, Write};
use crate::scratch::{Boxed, Need, allocate};
use crate::shape::Shape;
use aligned_vec::{AVec, ConstAlign};
use core::fmt;

/// A pass as it is computed.
#[derive(Debug, Clone)]
pub(super) struct Computation {
    pub(super) schedule: Schedule,
    engine: Engine,
}

/// What computes a pass.
#[derive(Debug, Clone)]
enum Engine {
    /// Images without elements: there is nothing to sum, and the plan writes the bias by itself.
    Nothing,
    /// The textbook: cols in memory.
    Explicit,
    /// A product over the view, to pixels.
    Implicit(Implicit),
    /// A product over the view, to weights.
    BackwardWeight(Boxed<BackwardWeight>),
    /// A product over a small cols that is written out.
    FewPixels(Boxed<FewPixels>),
    /// One filter per channel.
    Depthwise(Depthwise),
    /// One filter per channel or a few, channels last.
    ChannelsLast(ChannelsLast),
    /// Blocks of filters over few channels.
    Grouped(Grouped),
    /// Tiles of a plane in points.
    Plane(Plane),
    /// The same, to weights.
    Filter(Boxed<Filter>),
    /// The gradient of a mirrored image.
    Folded(Boxed<Folded>),
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
            return Ok(Self { schedule: Schedule::EXPLICIT, engine: Engine::Nothing });
        }
        if pass == Pass::BackwardData && shape.is_mirrored() {
            return Self::chosen(&shape.with_zeros(), pass, options, kernels)?
                .folded(shape, kernels);
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
        shape.cols_len()?;
        Ok(Self { schedule: Schedule::EXPLICIT, engine: Engine::Explicit })
    }

    /// The engine of a schedule; none if it isn't possible for this pass of this layer.
    pub(super) fn new<T: Element>(
        shape: &Shape,
        pass: Pass,
        schedule: Schedule,
        kernels: &Kernels<T>,
    ) -> Result<Option<Self>, Error> {
        let Schedule { engine, lanes, cols, other, width, .. } = schedule;
        if shape.is_empty() || !is_within(&schedule, pass) {
            return Ok(None);
        }
        if pass == Pass::BackwardData && shape.is_mirrored() {
            let inside = Self::new(&shape.with_zeros(), pass, schedule, kernels)?;
            return inside.map(|inside| inside.folded(shape, kernels)).transpose();
        }
        if !knows_padding(shape, &schedule) {
            return Ok(None);
        }
        let engine = match (engine, lanes) {
            (Kind::Explicit, _) => {
                shape.cols_len()?;
                Some(Engine::Explicit)
            }
            (Kind::Direct, Corner::Channels) => {
                ChannelsLast::new(shape, kernels, pass)?.map(Engine::ChannelsLast)
            }
            (Kind::Direct, Corner::Pixels) => match (other, pass) {
                (Staging::InPlace, _) => Depthwise::new(shape, pass)?.map(Engine::Depthwise),
                (Staging::Packed, Pass::Forward) => {
                    Grouped::forward(shape, kernels, width)?.map(Engine::Grouped)
                }
                (Staging::Packed, Pass::BackwardData) => {
                    Grouped::backward_data(shape, kernels, width)?.map(Engine::Grouped)
                }
                _ => None,
            },
            (Kind::Direct, Corner::Taps) => None,
            (Kind::Winograd, _) => match pass {
                Pass::Forward => Plane::forward(shape, kernels, schedule)?.map(Engine::Plane),
                Pass::BackwardData => {
                    Plane::backward_data(shape, kernels, schedule)?.map(Engine::Plane)
                }
                Pass::BackwardWeight => Filter::new(shape, kernels, schedule)?
                    .map(Boxed::new)
                    .transpose()?
                    .map(Engine::Filter),
            },
            (Kind::Implicit, Corner::Taps) if cols == Staging::Written => {
                FewPixels::new(shape, kernels, pass)?
                    .map(Boxed::new)
                    .transpose()?
                    .map(Engine::FewPixels)
            }
            (Kind::Implicit, _) => match pass {
                Pass::Forward => Implicit::forward(shape, kernels, schedule)?.map(Engine::Implicit),
                Pass::BackwardData => {
                    Implicit::backward_data(shape, kernels, schedule)?.map(Engine::Implicit)
                }
                Pass::BackwardWeight => BackwardWeight::new(shape, kernels, schedule)?
                    .map(Boxed::new)
                    .transpose()?
                    .map(Engine::BackwardWeight),
            },
        };
        Ok(engine.map(|engine| Self { schedule, engine }))
    }

    /// The gradient of a layer's input in whose padding elements stand, from that of the same layer with zeros there.
    fn folded<T: Element>(self, shape: &Shape, kernels: &Kernels<T>) -> Result<Self, Error> {
        let schedule = self.schedule;
        let folded = match self.engine {
            // col2im folds by itself.
            Engine::Explicit => None,
            _ => Folded::new(self, shape, kernels)?,
        };
        let Some(folded) = folded else {
            shape.cols_len()?;
            return Ok(Self { schedule: Schedule::EXPLICIT, engine: Engine::Explicit });
        };
        Ok(Self { schedule, engine: Engine::Folded(Boxed::new(folded)?) })
    }

    /// Whether there is nothing to sum.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self.engine, Engine::Nothing)
    }

    /// The product over the view, if it is one: its packed weights are those of all products with the same panels.
    pub(super) fn product(&self) -> Option<&Implicit> {
        match &self.engine {
            Engine::Implicit(product) => Some(product),
            _ => None,
        }
    }

    /// The order in which a pass reads its weights.
    pub(super) fn format(&self, shape: &Shape, isa: Isa, pass: Pass) -> Format {
        let Self { schedule, engine } = self;
        let Schedule { engine: kind, lanes, width, .. } = *schedule;
        let order = match engine {
            Engine::Implicit(_) | Engine::ChannelsLast(_) => {
                Order::Packed { engine: kind, lanes, width }
            }
            Engine::Grouped(_) if pass == Pass::BackwardData => {
                Order::of_phases(kind, width, shape)
            }
            Engine::Grouped(_) => Order::Packed { engine: kind, lanes, width },
            Engine::Plane(plane) => Order::Points(plane.order()),
            Engine::Folded(folded) if folded.inside.product().is_some() => {
                Order::Packed { engine: kind, lanes, width }
            }
            Engine::Nothing
            | Engine::Explicit
            | Engine::BackwardWeight(_)
            | Engine::FewPixels(_)
            | Engine::Depthwise(_)
            | Engine::Filter(_)
            | Engine::Folded(_) => Order::AsGiven,
        };
        Format::new(shape, isa, pass, order)
    }

    /// What a pass wants.
    pub(super) fn need<T: Element>(&self, shape: &Shape, kernels: &Kernels<T>, pass: Pass) -> Need {
        match &self.engine {
            Engine::Nothing => Need::of_units(1),
            Engine::Explicit => explicit::need(shape, pass),
            Engine::Implicit(product) => product.need(),
            Engine::BackwardWeight(product) => product.need(),
            Engine::FewPixels(few) => few.need(pass),
            Engine::Depthwise(_) => Need::of_units(1),
            Engine::ChannelsLast(last) => last.need(shape, pass),
            Engine::Grouped(grouped) => grouped.need(shape),
            Engine::Plane(plane) => plane.need(kernels),
            Engine::Filter(filter) => filter.need(kernels),
            Engine::Folded(folded) => folded.need(shape, kernels),
        }
    }

    /// The weights as a pass reads them.
    pub(super) fn pack<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        pass: Pass,
        weight: &[T],
    ) -> Result<AVec<T, ConstAlign<64>>, Error> {
        let engine = match &self.engine {
            Engine::Folded(folded) if folded.inside.product().is_some() => &folded.inside.engine,
            engine => engine,
        };
        let len = match engine {
            Engine::Implicit(product) => product.packed_len(),
            Engine::Grouped(grouped) => grouped.packed_len(),
            Engine::Plane(plane) => plane.packed_len(),
            Engine::ChannelsLast(last) if pass != Pass::BackwardWeight => last.packed_len(),
            _ => weight.len(),
        };
        let mut data = allocate(len)?;
        match engine {
            Engine::Implicit(product) => product.pack(layer, weight, &mut data),
            Engine::Grouped(grouped) => grouped.pack(layer, weight, &mut data),
            Engine::Plane(plane) => {
                let mut scratch = allocate(plane.packing_len(layer))?;
                plane.pack(layer, weight, &mut data, &mut scratch);
            }
            Engine::ChannelsLast(last) if pass != Pass::BackwardWeight => {
                last.pack(pass, weight, &mut data);
            }
            _ => data.copy_from_slice(weight),
        }
        Ok(data)
    }

    /// Runs forward.
    pub(super) fn forward<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        input: &[T],
        weights: Weights<'_, T>,
        epilogue: Epilogue<'_, T>,
        output: &mut [T],
        scratch: &mut [T],
    ) {
        let (Weights::Raw(weight) | Weights::Packed(weight)) = weights;
        let &Layer { shape, parallelism, .. } = layer;
        if shape.is_empty() {
            let images = Images::of_output(shape);
            images.before(parallelism, epilogue, output);
            images.after(parallelism, epilogue, output);
            return;
        }
        match &self.engine {
            Engine::Nothing => {}
            Engine::Explicit => {
                explicit::forward(shape, parallelism, [input, weight], epilogue, output, scratch);
            }
            Engine::Implicit(product) => {
                product.run(layer, input, weights, output, epilogue, scratch);
            }
            Engine::FewPixels(few) => few.forward(layer, input, weights, epilogue, output, scratch),
            Engine::Depthwise(depthwise) => {
                depthwise.forward(layer, [input, weight], epilogue, output);
            }
            Engine::ChannelsLast(last) => {
                last.forward(layer, input, weights, epilogue, output, scratch);
            }
            Engine::Grouped(grouped) => {
                grouped.run(layer, input, weights, output, epilogue, scratch);
            }
            Engine::Plane(plane) => plane.run(layer, input, weights, output, epilogue, scratch),
            Engine::BackwardWeight(_) | Engine::Filter(_) | Engine::Folded(_) => {
                unreachable!("made for a gradient alone")
            }
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
        let engine = &self.engine;
        let (Weights::Raw(weight) | Weights::Packed(weight)) = weights;
        let sources = [weight, grad_output];
        let &Layer { shape, parallelism, .. } = layer;
        if shape.is_empty() {
            return;
        }
        // Only a product that stores every element once can do all of it in its store.
        let stores_once = match engine {
            Engine::Implicit(product) => product.fills(shape),
            Engine::Plane(_) => true,
            _ => false,
        };
        let whole = epilogue;
        let in_store = stores_once || whole.only_accumulates();
        let epilogue = if in_store {
            whole
        } else {
            Images::of_input(shape).before(parallelism, whole, grad_input);
            Epilogue::new(true)
        };
        let accumulate = epilogue.accumulate;
        let write = if accumulate { Write::Accumulate } else { Write::Overwrite };
        match engine {
            Engine::Nothing => {}
            Engine::Explicit => {
                explicit::backward_data(shape, parallelism, sources, grad_input, write, scratch);
            }
            Engine::Implicit(product) => {
                if !accumulate && !product.fills(shape) {
                    grad_input.fill(T::ZERO);
                }
                product.run(layer, grad_output, weights, grad_input, epilogue, scratch);
            }
            Engine::FewPixels(few) => few.backward_data(layer, sources, grad_input, write, scratch),
            Engine::Depthwise(depthwise) => {
                depthwise.backward_data(layer, sources, grad_input, write);
            }
            Engine::ChannelsLast(last) => {
                last.backward_data(layer, weights, grad_output, grad_input, write, scratch);
            }
            Engine::Grouped(grouped) => {
                grouped.run(layer, grad_output, weights, grad_input, epilogue, scratch);
            }
            Engine::Plane(plane) => {
                plane.run(layer, grad_output, weights, grad_input, epilogue, scratch)
            }
            Engine::Folded(folded) => {
                folded.run(layer, grad_output, weights, epilogue, grad_input, scratch);
            }
            Engine::BackwardWeight(_) | Engine::Filter(_) => {
                unreachable!("made for backward_weight alone")
            }
        }
        if !in_store {
            Images::of_input(shape).after(parallelism, whole, grad_input);
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
        let &Layer { shape, parallelism, .. } = layer;
        if shape.is_empty() {
            if write == Write::Overwrite {
                grad_weight.fill(T::ZERO);
            }
            return;
        }
        match &self.engine {
            Engine::Nothing => {}
            Engine::Explicit => {
                explicit::backward_weight(shape, parallelism, sources, grad_weight, write, scratch);
            }
            Engine::BackwardWeight(product) => {
                product.run(layer, sources, grad_weight, write, scratch)
            }
            Engine::FewPixels(few) => {
                few.backward_weight(layer, sources, grad_weight, write, scratch);
            }
            Engine::Depthwise(depthwise) => {
                depthwise.backward_weight(layer, sources, grad_weight, write);
            }
            Engine::ChannelsLast(last) => {
                last.backward_weight(layer, sources, grad_weight, write, scratch);
            }
            Engine::Filter(filter) => filter.run(layer, sources, grad_weight, write, scratch),
            Engine::Implicit(_) | Engine::Grouped(_) | Engine::Plane(_) | Engine::Folded(_) => {
                unreachable!("made for forward and backward_data alone")
            }
        }
    }

    /// In words: how the engine computes the pass.
    pub(super) fn explain<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        match &self.engine {
            Engine::Nothing => f.write_str("images without elements: nothing is summed")?,
            Engine::Explicit => f.write_str("one image and group at a time")?,
            Engine::Implicit(product) => product.explain(f)?,
            Engine::BackwardWeight(product) => product.explain(f)?,
            Engine::FewPixels(few) => few.explain(f)?,
            Engine::Depthwise(_) => {
                f.write_str("depthwise: a stencil over each plane as it lies")?
            }
            Engine::ChannelsLast(_) => {
                let kind = if layer.shape.group_in() > 1 { "grouped" } else { "depthwise" };
                write!(f, "{kind}: lanes lie along the channels of the image as it lies")?;
            }
            Engine::Grouped(grouped) => grouped.explain(f)?,
            Engine::Plane(plane) => plane.explain(f)?,
            Engine::Filter(filter) => filter.explain(f)?,
            Engine::Folded(folded) => folded.explain(layer, f)?,
        }
        Ok(())
    }
}
