//! The three products of a layer. Each is linear in both arguments, and its gradients are the two others.

use burn::tensor::Shape;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use im2col::{MAX_AXES, Params};

/// Which of a layer's three products.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pass {
    /// The output, of a convolution.
    Forward,
    /// The gradient of the input; the output, of a transposed convolution.
    BackwardData,
    /// The gradient of the weight.
    BackwardWeight,
}

/// One product of a layer, with sizes that im2col has checked.
///
/// ```text
///     Forward         output      = input,  weight
///     BackwardData    grad_input  = weight, grad_output     (the output of a transposed layer)
///     BackwardWeight  grad_weight = input,  grad_output
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product {
    params: Params,
    /// Spatial sizes of the convolution's output.
    output: [usize; MAX_AXES],
    pass: Pass,
    tracked: bool,
}

impl Product {
    /// The output of a convolution, or `None` where the sizes don't fit together.
    pub fn conv<const AXES: usize>(
        x: &[usize],
        weight: &[usize],
        options: &ConvOptions<AXES>,
    ) -> Option<Self> {
        let params = Params {
            batch: x[0],
            in_channels: x[1],
            out_channels: weight[0],
            input: sizes(&x[2..], 1),
            ..filter(weight, options)
        };
        let per_group = x[1].checked_div(options.groups)?;
        (per_group == weight[1]).then_some(())?;
        Self::checked(params, Pass::Forward)
    }

    /// The output of a transposed convolution, or `None` where the sizes don't fit together.
    pub fn transposed<const AXES: usize>(
        x: &[usize],
        weight: &[usize],
        options: &ConvTransposeOptions<AXES>,
    ) -> Option<Self> {
        let &ConvTransposeOptions { stride, padding, dilation, groups, .. } = options;
        let mut params = Params {
            batch: x[0],
            in_channels: weight[1].checked_mul(groups)?,
            out_channels: x[1],
            ..filter(weight, &ConvOptions::new(stride, padding, dilation, groups))
        };
        for axis in 0..AXES {
            let (input, kernel) = (x[2 + axis], weight[2 + axis]);
            let added = options.padding_out[axis];
            // With more, outputs would be left that no input reaches.
            (added == 0 || added < stride[axis]).then_some(())?;
            let stamps = input.checked_sub(1)?.checked_mul(stride[axis])?;
            let span = kernel.checked_sub(1)?.checked_mul(dilation[axis])?;
            let padded = stamps.checked_add(span)?.checked_add(added)?.checked_add(1)?;
            params.input[axis] = padded.checked_sub(padding[axis].checked_mul(2)?)?;
        }
        (x[1] == weight[0]).then_some(())?;
        Self::checked(params, Pass::BackwardData)
    }

    fn checked(params: Params, pass: Pass) -> Option<Self> {
        let shape = im2col::Shape::new(params).ok()?;
        let mut output = [1; MAX_AXES];
        output.iter_mut().zip(shape.axes()).for_each(|(size, axis)| *size = axis.output);
        Some(Self { params, output, pass, tracked: false })
    }

    /// A layer's input and weight in the order of its product's arguments.
    pub(crate) fn in_order<T>(&self, x: T, weight: T) -> [T; 2] {
        match self.pass {
            Pass::BackwardData => [weight, x],
            _ => [x, weight],
        }
    }

    /// Another product of the same layer: a gradient of this one.
    pub fn with_pass(self, pass: Pass) -> Self {
        Self { pass, ..self }
    }

    /// The same product, of tensors whose gradients will be asked for: its weight will be another the next time.
    pub fn tracked(self) -> Self {
        Self { tracked: true, ..self }
    }

    /// Whether gradients will be asked for.
    pub fn is_tracked(&self) -> bool {
        self.tracked
    }

    /// The layer that im2col plans.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// Which of the three products this is.
    pub fn pass(&self) -> Pass {
        self.pass
    }

    /// Channels of the result, as many as a bias has elements.
    pub fn channels(&self) -> usize {
        self.shape()[1]
    }

    /// The shape of the result.
    pub fn shape(&self) -> Shape {
        let p = &self.params;
        let (channels, sizes) = match self.pass {
            Pass::Forward => ([p.batch, p.out_channels], &self.output),
            Pass::BackwardData => ([p.batch, p.in_channels], &p.input),
            Pass::BackwardWeight => ([p.out_channels, p.in_channels / p.groups], &p.kernel),
        };
        Shape::from([&channels[..], &sizes[..p.axes]].concat())
    }
}

/// The part of a layer's sizes that its filter has.
fn filter<const AXES: usize>(weight: &[usize], options: &ConvOptions<AXES>) -> Params {
    Params {
        axes: AXES,
        groups: options.groups,
        kernel: sizes(&weight[2..], 1),
        stride: sizes(&options.stride, 1),
        dilation: sizes(&options.dilation, 1),
        pad_begin: sizes(&options.padding.map(|(begin, _)| begin), 0),
        pad_end: sizes(&options.padding.map(|(_, end)| end), 0),
        ..Params::default()
    }
}

/// One entry per axis, `missing` for those that the layer lacks.
fn sizes(of: &[usize], missing: usize) -> [usize; MAX_AXES] {
    let mut all = [missing; MAX_AXES];
    all[..of.len()].copy_from_slice(of);
    all
}
