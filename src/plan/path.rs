//! What a plan runs: one of five ways through a layer's passes, chosen once.

use super::Algorithm;
use crate::element::Element;
use crate::error::Error;
use crate::kernel::Kernels;
use crate::pass::depthwise::Depthwise;
use crate::pass::depthwise::channels_last::ChannelsLast;
use crate::pass::few_pixels::FewPixels;
use crate::pass::gather::Gathering;
use crate::pass::grouped::Grouped;
use crate::pass::phases::phase_count;
use crate::pass::scatter::Scatter;
use crate::pass::{Layer, Pass, Storing, Weights, Write, backward_data, backward_weight, forward};
use crate::scratch::{Need, allocate};
use crate::shape::Shape;
use aligned_vec::{AVec, ConstAlign};
use core::fmt;

/// Phases that backward_data may have: each is a product with tables of its own, and hundreds of
/// them (kernels as large as their stride, which cut an image into patches) are the textbook's. Forward and
/// backward_weight know no phases (16x16 by 16 of 3 channels to 768, AVX-512 on Zen 5: 100 GFLOP/s in the textbook, 220 so).
const MOST_PHASES: usize = 64;

/// How the textbook goes about a pass.
const TEXTBOOK: &str = "one image and group at a time";

/// The way.
#[derive(Debug, Clone)]
#[allow(
    clippy::large_enum_variant,
    reason = "no box can be had that isn't an abort without memory"
)]
pub(super) enum Path {
    /// The textbook: cols in memory.
    Textbook,
    /// Three products over the view.
    Products(Products),
    /// One filter per channel.
    Depthwise(Depthwise),
    /// One filter per channel or a few, channels last.
    ChannelsLast(ChannelsLast),
    /// Three products over a small cols that is written out.
    FewPixels(FewPixels),
}

/// The products of the implicit algorithm.
#[derive(Debug, Clone)]
pub(super) struct Products {
    forward: Gather,
    /// The textbook's where it has more than [`MOST_PHASES`].
    backward_data: Option<Gather>,
    backward_weight: Scatter,
}

/// A pass that gathers, from many channels or from few.
#[derive(Debug, Clone)]
enum Gather {
    Product(Gathering),
    Grouped(Grouped),
}

impl Path {
    /// The best way for a layer, or the one that was asked for.
    pub(super) fn new<T: Element>(
        shape: &Shape,
        algorithm: Algorithm,
        kernels: &Kernels<T>,
    ) -> Result<Self, Error> {
        let many_phases = phase_count(shape) > MOST_PHASES;
        if algorithm == Algorithm::Explicit || many_phases {
            shape.cols_len()?;
        }
        // Stencils, too, have tables for each phase.
        let depthwise = shape.groups() > 1 && shape.group_in() == 1;
        if algorithm == Algorithm::Explicit || (many_phases && depthwise) {
            return Ok(Path::Textbook);
        }
        if let Some(depthwise) = Depthwise::new(shape)? {
            return Ok(Path::Depthwise(depthwise));
        }
        if !many_phases && let Some(last) = ChannelsLast::new(shape, kernels)? {
            return Ok(Path::ChannelsLast(last));
        }
        if let Some(few) = FewPixels::new(shape, kernels)? {
            return Ok(Path::FewPixels(few));
        }
        Ok(Path::Products(Products {
            forward: match Grouped::forward(shape, kernels)? {
                Some(grouped) => Gather::Grouped(grouped),
                None => Gather::Product(Gathering::forward(shape, kernels)?),
            },
            backward_data: if many_phases {
                None
            } else if let Some(grouped) = Grouped::backward_data(shape, kernels)? {
                Some(Gather::Grouped(grouped))
            } else {
                Some(Gather::Product(Gathering::backward_data(shape, kernels)?))
            },
            backward_weight: Scatter::new(shape, kernels)?,
        }))
    }

    /// Whether it is the textbook's.
    pub(super) fn is_textbook(&self) -> bool {
        matches!(self, Path::Textbook)
    }

    /// What a pass wants.
    pub(super) fn need(&self, shape: &Shape, pass: Pass) -> Need {
        match (self, pass) {
            (Path::Textbook, Pass::Forward) => forward::explicit_need(shape),
            (Path::Textbook, Pass::BackwardData) => backward_data::explicit_need(shape),
            (Path::Textbook, Pass::BackwardWeight) => backward_weight::explicit_need(shape),
            (Path::Depthwise(_), _) => Need::of_units(1),
            (Path::ChannelsLast(last), _) => last.need(shape, pass),
            (Path::FewPixels(few), _) => few.need(pass),
            (Path::Products(products), Pass::Forward) => products.forward.need(shape),
            (Path::Products(products), Pass::BackwardData) => match &products.backward_data {
                Some(gather) => gather.need(shape),
                None => backward_data::explicit_need(shape),
            },
            (Path::Products(products), Pass::BackwardWeight) => products.backward_weight.need(),
        }
    }

    /// The weights as a pass reads them.
    pub(super) fn pack<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        pass: Pass,
        weight: &[T],
    ) -> Result<AVec<T, ConstAlign<64>>, Error> {
        let gathering = match (self, pass) {
            (Path::Products(products), Pass::Forward) => {
                return products.forward.packed(layer, weight);
            }
            (Path::Products(Products { backward_data: Some(gather), .. }), Pass::BackwardData) => {
                return gather.packed(layer, weight);
            }
            (Path::ChannelsLast(last), Pass::Forward | Pass::BackwardData) => {
                let mut data = allocate(last.packed_len())?;
                last.pack(pass, weight, &mut data);
                return Ok(data);
            }
            (Path::FewPixels(few), Pass::Forward) => few.gathering(),
            _ => None,
        };
        if let Some(gathering) = gathering {
            let mut data = allocate(gathering.packed_len())?;
            gathering.pack(layer, weight, &mut data);
            return Ok(data);
        }
        let mut data = allocate(weight.len())?;
        data.copy_from_slice(weight);
        Ok(data)
    }

    /// Runs forward; everything has been checked, here as below.
    pub(super) fn forward<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        input: &[T],
        weights: Weights<'_, T>,
        store: Storing<'_, T>,
        output: &mut [T],
        scratch: &mut [T],
    ) {
        let (Weights::Raw(weight) | Weights::Packed(weight)) = weights;
        match self {
            Path::Textbook => {
                let &Layer { shape, parallelism, .. } = layer;
                forward::explicit(shape, parallelism, [input, weight], store, output, scratch);
            }
            Path::Depthwise(depthwise) => depthwise.forward(layer, [input, weight], store, output),
            Path::ChannelsLast(last) => {
                last.forward(layer, input, weights, store, output, scratch);
            }
            Path::FewPixels(few) => few.forward(layer, input, weights, store, output, scratch),
            Path::Products(products) => {
                products.forward.run(layer, input, weights, output, store, scratch);
            }
        }
    }

    /// Runs backward_data.
    pub(super) fn backward_data<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        weights: Weights<'_, T>,
        grad_output: &[T],
        grad_input: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) {
        let (Weights::Raw(weight) | Weights::Packed(weight)) = weights;
        let sources = [weight, grad_output];
        match self {
            Path::Textbook => {
                let &Layer { shape, parallelism, .. } = layer;
                backward_data::explicit(shape, parallelism, sources, grad_input, write, scratch);
            }
            Path::Depthwise(depthwise) => {
                depthwise.backward_data(layer, sources, grad_input, write);
            }
            Path::ChannelsLast(last) => {
                last.backward_data(layer, weights, grad_output, grad_input, write, scratch);
            }
            Path::FewPixels(few) => few.backward_data(layer, sources, grad_input, write, scratch),
            Path::Products(products) => {
                let Some(product) = &products.backward_data else {
                    return Path::Textbook.backward_data(
                        layer,
                        weights,
                        grad_output,
                        grad_input,
                        write,
                        scratch,
                    );
                };
                let accumulate = write == Write::Accumulate;
                if let (Gather::Product(product), false) = (product, accumulate)
                    && !product.fills(layer.shape)
                {
                    grad_input.fill(T::ZERO);
                }
                let store = Storing { bias: None, accumulate, clamp: None };
                product.run(layer, grad_output, weights, grad_input, store, scratch);
            }
        }
    }

    /// Runs backward_weight, on the input and the outputs' errors.
    pub(super) fn backward_weight<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        sources: [&[T]; 2],
        grad_weight: &mut [T],
        write: Write,
        scratch: &mut [T],
    ) {
        match self {
            Path::Textbook => {
                let &Layer { shape, parallelism, .. } = layer;
                backward_weight::explicit(shape, parallelism, sources, grad_weight, write, scratch);
            }
            Path::Depthwise(depthwise) => {
                depthwise.backward_weight(layer, sources, grad_weight, write);
            }
            Path::ChannelsLast(last) => {
                last.backward_weight(layer, sources, grad_weight, write, scratch);
            }
            Path::FewPixels(few) => {
                few.backward_weight(layer, sources, grad_weight, write, scratch);
            }
            Path::Products(products) => {
                products.backward_weight.run(layer, sources, grad_weight, write, scratch);
            }
        }
    }

    /// In words: a line for the layer and one for each pass.
    pub(super) fn explain<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let Kernels { isa, tall, wide, .. } = layer.kernels;
        let element = core::any::type_name::<T>();
        match self {
            Path::Textbook => writeln!(f, "explicit, {element}: cols in memory, matrixmultiply")?,
            Path::ChannelsLast(_) if layer.shape.group_in() > 1 => {
                writeln!(f, "grouped, {element} on {isa}: a few channels to a filter")?
            }
            Path::Depthwise(_) | Path::ChannelsLast(_) => {
                writeln!(f, "depthwise, {element} on {isa}: one filter per channel")?
            }
            Path::FewPixels(_) => {
                writeln!(f, "implicit, {element} on {isa}: fewer pixels than output channels")?
            }
            Path::Products(_) => writeln!(
                f,
                "implicit, {element} on {isa}: tiles of {} x {} and {} x {}",
                tall.rows, tall.lanes, wide.rows, wide.lanes
            )?,
        }
        for (name, pass) in [
            ("forward", Pass::Forward),
            ("backward_data", Pass::BackwardData),
            ("backward_weight", Pass::BackwardWeight),
        ] {
            write!(f, "{name}: ")?;
            match (self, pass) {
                (Path::Textbook, _) => f.write_str(TEXTBOOK)?,
                (Path::Depthwise(_), _) => write!(f, "a stencil over each plane as it lies")?,
                (Path::ChannelsLast(_), _) => {
                    write!(f, "lanes lie along the channels of the image as it lies")?;
                }
                (Path::FewPixels(few), pass) => few.explain(pass, f)?,
                (Path::Products(products), Pass::Forward) => products.forward.explain(f)?,
                (Path::Products(products), Pass::BackwardData) => match &products.backward_data {
                    Some(gather) => gather.explain(f)?,
                    None => write!(f, "many phases, so the textbook: {TEXTBOOK}")?,
                },
                (Path::Products(products), Pass::BackwardWeight) => {
                    products.backward_weight.explain(f)?;
                }
            }
            let scratch = self.need(layer.shape, pass).len(1);
            writeln!(f, "; scratch for one worker {scratch} elements")?;
        }
        Ok(())
    }
}

impl Gather {
    fn need(&self, shape: &Shape) -> Need {
        match self {
            Gather::Product(product) => product.need(),
            Gather::Grouped(grouped) => grouped.need(shape),
        }
    }

    fn explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Gather::Product(product) => product.explain(f),
            Gather::Grouped(grouped) => grouped.explain(f),
        }
    }

    fn packed<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        weight: &[T],
    ) -> Result<AVec<T, ConstAlign<64>>, Error> {
        let len = match self {
            Gather::Product(product) => product.packed_len(),
            Gather::Grouped(grouped) => grouped.packed_len(),
        };
        let mut data = allocate(len)?;
        match self {
            Gather::Product(product) => product.pack(layer, weight, &mut data),
            Gather::Grouped(grouped) => grouped.pack(layer, weight, &mut data),
        }
        Ok(data)
    }

    fn run<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        source: &[T],
        weights: Weights<'_, T>,
        destination: &mut [T],
        store: Storing<'_, T>,
        scratch: &mut [T],
    ) {
        match self {
            Gather::Product(product) => {
                product.run(layer, source, weights, destination, store, scratch);
            }
            Gather::Grouped(grouped) => {
                grouped.run(layer, source, weights, destination, store, scratch);
            }
        }
    }
}
