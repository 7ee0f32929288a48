//! What is said of a wrong element: where it is, and what had met there.

use super::compare::Expected;
use super::layer::{Call, Layer};
use crate::element::Element;
use crate::pass::{Pass, Write};
use crate::reference;
use crate::shape::{Layout, Shape};
use core::fmt::{self, Write as _};

/// The most products that a report lists.
const LISTED: usize = 24;

/// An answer that is wrong, and all that helps to see why.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// The first element that is wrong, by its place in the slice.
    pub index: usize,
    /// What was found there.
    pub found: f64,
    /// What the naive loops say.
    pub expected: f64,
    /// By how much it may be off.
    pub allowed: f64,
    /// Elements that are wrong.
    pub wrong: usize,
    report: String,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report)
    }
}

impl core::error::Error for Mismatch {}

impl Mismatch {
    pub(super) fn of_length<T: Element>(
        what: &str,
        expected: &Expected<'_, T>,
        len: usize,
    ) -> Self {
        let wanted = expected.values.len();
        let Names { pass, tensor, .. } = names(expected.call);
        let layer = describe(&expected.layer.shape);
        let report =
            format!("{what}: {pass}: {tensor} has {len} elements, not {wanted}\nlayer: {layer}");
        let nan = f64::NAN;
        Self { index: 0, found: nan, expected: nan, allowed: 0.0, wrong: len, report }
    }

    pub(super) fn of_element<T: Element>(
        what: &str,
        expected: &Expected<'_, T>,
        index: usize,
        found: f64,
        allowed: f64,
        wrong: usize,
    ) -> Self {
        let (value, len) = (expected.values[index], expected.values.len());
        let Expected { layer, call, .. } = *expected;
        let Names { pass, tensor, dims } = names(call);
        let place = place(&layer.shape, dims, index);
        let off = (found - value).abs();
        let mut report = format!(
            "{what}: {pass} is wrong at {tensor}{place:?}, element {index}; \
             {wrong} of {len} elements are\n\
             found    {found}\n\
             expected {value}\n\
             off by   {off:e}, allowed {allowed:e}\n\
             layer: {}\n",
            describe(&layer.shape)
        );
        patch(&mut report, layer, call, index).expect("a string takes all");
        Self { index, found, expected: value, allowed, wrong, report }
    }
}

/// What a call and its destination are called.
struct Names {
    pass: &'static str,
    tensor: &'static str,
    dims: Dims,
}

fn names(call: Call) -> Names {
    let (pass, tensor, dims) = match call {
        Call::Pass(Pass::Forward, Write::Overwrite) => ("forward", "output", Dims::Output),
        Call::Pass(Pass::Forward, Write::Accumulate) => {
            ("forward with bias", "output", Dims::Output)
        }
        Call::Pass(Pass::BackwardData, Write::Overwrite) => {
            ("backward_data", "grad_input", Dims::Input)
        }
        Call::Pass(Pass::BackwardData, Write::Accumulate) => {
            ("accumulating backward_data", "grad_input", Dims::Input)
        }
        Call::Pass(Pass::BackwardWeight, Write::Overwrite) => {
            ("backward_weight", "grad_weight", Dims::Weight)
        }
        Call::Pass(Pass::BackwardWeight, Write::Accumulate) => {
            ("accumulating backward_weight", "grad_weight", Dims::Weight)
        }
        Call::Bias(Write::Overwrite) => ("backward_bias", "grad_bias", Dims::Channels),
        Call::Bias(Write::Accumulate) => {
            ("accumulating backward_bias", "grad_bias", Dims::Channels)
        }
    };
    Names { pass, tensor, dims }
}

/// The dimensions that a tensor has.
#[derive(Clone, Copy)]
enum Dims {
    Input,
    Weight,
    Output,
    Channels,
}

/// The position of an element in its tensor, in the order of the layout.
fn place(shape: &Shape, dims: Dims, index: usize) -> Vec<usize> {
    let axes = shape.axes().iter();
    let (outer, channels, axes): (_, _, Vec<usize>) = match dims {
        Dims::Input => (shape.batch(), shape.in_channels(), axes.map(|a| a.input).collect()),
        Dims::Weight => (shape.out_channels(), shape.group_in(), axes.map(|a| a.kernel).collect()),
        Dims::Output => (shape.batch(), shape.out_channels(), axes.map(|a| a.output).collect()),
        Dims::Channels => return vec![index],
    };
    let mut sizes = vec![outer];
    match shape.layout() {
        Layout::ChannelsFirst => sizes.extend([channels].iter().chain(&axes)),
        Layout::ChannelsLast => sizes.extend(axes.iter().chain(&[channels])),
    }
    let mut rest = index;
    let mut position: Vec<usize> = sizes
        .iter()
        .rev()
        .map(|size| {
            let at = rest % size;
            rest /= size;
            at
        })
        .collect();
    position.reverse();
    position
}

/// The layer in one line: shapes as torch prints them, and what isn't the default.
fn describe(shape: &Shape) -> String {
    let p = shape.params();
    let each = |sizes: &[usize]| sizes[..p.axes].to_vec();
    let (mut input, mut weight) =
        (vec![p.batch, p.in_channels], vec![p.out_channels, shape.group_in()]);
    input.extend(each(&p.input));
    weight.extend(each(&p.kernel));
    format!(
        "input {input:?}, weight {weight:?}, stride {:?}, dilation {:?}, padding {:?} and {:?}, \
         groups {}, {:?}{}",
        each(&p.stride),
        each(&p.dilation),
        each(&p.pad_begin),
        each(&p.pad_end),
        p.groups,
        p.layout,
        if shape.is_mirrored() { format!(", {}", p.padding_mode) } else { String::new() }
    )
}

/// The products that meet in one element.
fn patch<T: Element>(to: &mut String, layer: &Layer<T>, call: Call, index: usize) -> fmt::Result {
    let Layer { shape, input, weight, bias, grad_output, old } = layer;
    let channels = shape.out_channels();
    match call {
        Call::Pass(Pass::Forward, Write::Accumulate) => {
            let channel = match shape.layout() {
                Layout::ChannelsFirst => index / shape.output_pixels() % channels,
                Layout::ChannelsLast => index % channels,
            };
            writeln!(to, "bias[{channel}] = {}", bias[channel])?;
        }
        Call::Pass(_, Write::Accumulate) | Call::Bias(Write::Accumulate) => {
            writeln!(to, "there before: {}", old[index])?;
        }
        _ => {}
    }
    let Call::Pass(pass, _) = call else {
        return writeln!(to, "summed there: {} errors", shape.batch() * shape.output_pixels());
    };
    let mut terms = Vec::new();
    reference::terms(shape, |o, i, w| {
        if [o, i, w][destination(pass)] == index {
            terms.push([o, i, w]);
        }
    });
    let met = terms.len();
    writeln!(to, "the patch that met there, {met} products (those with padding left out):")?;
    let tensors = [
        ("grad_output", Dims::Output, grad_output),
        ("input", Dims::Input, input),
        ("weight", Dims::Weight, weight),
    ];
    for term in terms.iter().take(LISTED) {
        let factors = (0..3).filter(|&tensor| tensor != destination(pass));
        let mut product = 1.0;
        for (nth, tensor) in factors.enumerate() {
            let (name, dims, numbers) = tensors[tensor];
            let number = numbers[term[tensor]];
            product *= Into::<f64>::into(number);
            let by = if nth == 0 { "  " } else { " * " };
            write!(to, "{by}{name}{:?} {number}", place(shape, dims, term[tensor]))?;
        }
        writeln!(to, " = {product}")?;
    }
    if met > LISTED {
        writeln!(to, "  and {} more", met - LISTED)?;
    }
    Ok(())
}

/// Which of output, input and weight a pass writes.
fn destination(pass: Pass) -> usize {
    match pass {
        Pass::Forward => 0,
        Pass::BackwardData => 1,
        Pass::BackwardWeight => 2,
    }
}
