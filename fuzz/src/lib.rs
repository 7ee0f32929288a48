//! What the targets share: numbers and layers that a fuzzer thinks of, and every way to compute
//! them.

use arbitrary::{Arbitrary, Result, Unstructured};
use im2col::testing::{EXACT, Fill, Layer, isas};
use im2col::{
    Accuracy, Algorithm, Element, Engine, Layout, Options, PaddingMode, Params, Pass, Plan, Shape,
};

/// The most products in one layer: more would only be slow.
const WORK: f64 = 6e4;

/// A size: mostly small, so that many layers are valid, sometimes near where numbers wrap.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub enum Number {
    Small(u8),
    Power(u8, i8),
    Any(usize),
}

impl Number {
    pub fn get(self) -> usize {
        match self {
            Number::Small(n) => n.into(),
            Number::Power(bits, off) => (1usize << (bits % 64)).wrapping_add_signed(off.into()),
            Number::Any(n) => n,
        }
    }
}

/// A valid layer, small enough for the naive loops, with whole numbers in its tensors.
#[derive(Debug)]
pub struct Small {
    pub params: Params,
    pub fill: Fill,
    pub double: bool,
}

impl<'a> Arbitrary<'a> for Small {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        // Some of many groups: their channels are cut in blocks, too.
        let (groups, channels) = if u.ratio(1, 4)? {
            (u.int_in_range(5..=80)?, 2)
        } else {
            (u.int_in_range(1..=4)?, 40)
        };
        let mut params = Params {
            axes: u.int_in_range(1..=3)?,
            layout: *u.choose(&[Layout::ChannelsFirst, Layout::ChannelsLast])?,
            batch: u.int_in_range(1..=40)?,
            in_channels: groups * u.int_in_range(1..=channels)?,
            out_channels: groups * u.int_in_range(1..=channels)?,
            groups,
            ..Params::default()
        };
        // Rows of hundreds of pixels are cut, too.
        let extra = if params.axes == 1 { 600 } else { 40 };
        for a in 0..params.axes {
            params.kernel[a] = u.int_in_range(1..=9)?;
            params.stride[a] = u.int_in_range(1..=5)?;
            params.dilation[a] = u.int_in_range(1..=4)?;
            params.pad_begin[a] = u.int_in_range(0..=6)?;
            params.pad_end[a] = u.int_in_range(0..=6)?;
            let span = (params.kernel[a] - 1) * params.dilation[a] + 1;
            let fewest = span.saturating_sub(params.pad_begin[a] + params.pad_end[a]).max(1);
            params.input[a] = fewest + u.int_in_range(0..=extra)?;
        }
        params.padding_mode = *u.choose(PaddingMode::ALL)?;
        if params.padding_mode != PaddingMode::Zeros {
            for a in 0..params.axes {
                let padding = params.pad_begin[a].max(params.pad_end[a]);
                params.input[a] = params.input[a].max(padding + 1);
            }
        }
        Ok(Self { params, fill: *u.choose(&EXACT)?, double: u.arbitrary()? })
    }
}

impl Small {
    /// The layer, unless it would only be slow.
    pub fn layer<T: Element>(&self) -> Option<Layer<T>> {
        let shape = Shape::new(self.params).expect("made to be valid");
        let elements = shape.input_len().max(shape.weight_len()).max(shape.output_len());
        let small = shape.flops() <= 2.0 * WORK && elements <= 1 << 16;
        small.then(|| Layer::new(self.params, self.fill))
    }
}

/// Every way to compute a layer on this machine, on one thread.
pub fn plans<T: Element>(shape: Shape) -> impl Iterator<Item = Plan<T>> {
    let textbook = Plan::new(shape, Algorithm::Explicit.into());
    let implicit =
        isas().map(move |isa| Plan::new(shape, Options::from(Algorithm::Implicit).isa(isa)));
    std::iter::once(textbook).chain(implicit).map(|plan| plan.expect("a small layer's plan"))
}

/// The same by Winograd's algorithm, in every pass that has it; none for a layer that hasn't. Whole numbers aren't exact
/// there.
pub fn in_points<T: Element>(shape: Shape) -> impl Iterator<Item = Plan<T>> {
    isas().filter_map(move |isa| {
        let options = Options::default().isa(isa).accuracy(Accuracy::Tile);
        let mut plan = Plan::new(shape, options).expect("a small layer's plan");
        let mut any = false;
        for &pass in Pass::ALL {
            let candidates = plan.candidates(pass).expect("a small layer's list");
            let in_points = candidates.iter().find(|schedule| schedule.engine == Engine::Winograd);
            if let Some(&schedule) = in_points {
                plan = plan.with_schedule(pass, schedule).expect("a candidate");
                any = true;
            }
        }
        any.then_some(plan)
    })
}
