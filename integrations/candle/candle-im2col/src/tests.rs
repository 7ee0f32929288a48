//! The naive loops of `im2col::reference` and candle's own convolutions judge; products are counted as they run.

use crate::op::Pass;
use crate::{Activation, ConvOptions, ConvTransposeOptions};
use candle_core::{DType, Device, Result, Tensor, Var};
use im2col::{Params, Shape, reference};
use std::cell::Cell;

thread_local! {
    /// Products that this thread has run: forward, backward_data, backward_weight, backward_bias.
    static RUN: Cell<[usize; 4]> = const { Cell::new([0; 4]) };
}

fn increment(product: usize) {
    RUN.with(|run| {
        let mut counts = run.get();
        counts[product] += 1;
        run.set(counts);
    });
}

pub(crate) fn count(pass: Pass) {
    increment(match pass {
        Pass::Forward => 0,
        Pass::BackwardData => 1,
        _ => 2,
    });
}

pub(crate) fn count_bias() {
    increment(3);
}

/// Small integers, so that every sum is exact in both types.
fn integers(shape: &[usize], seed: usize) -> Result<Tensor> {
    let len = shape.iter().product::<usize>();
    let value = |i: usize| ((i + seed).wrapping_mul(2_654_435_761) >> 7) % 11;
    let data: Vec<f64> = (0..len).map(|i| value(i) as f64 - 5.0).collect();
    Tensor::from_vec(data, shape, &Device::Cpu)
}

fn elements(tensor: &Tensor) -> Result<Vec<f64>> {
    tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()
}

/// A layer under test: `[batch, channels, outputs, groups]`, then sizes per axis.
struct Case<const AXES: usize> {
    channels: [usize; 4],
    input: [usize; AXES],
    kernel: [usize; AXES],
    stride: [usize; AXES],
    dilation: [usize; AXES],
    padding: [(usize, usize); AXES],
}

impl<const AXES: usize> Case<AXES> {
    fn shape(&self) -> Shape {
        let [batch, in_channels, out_channels, groups] = self.channels;
        let (all, padding) = (crate::sizes, &self.padding);
        Shape::new(Params {
            axes: AXES,
            batch,
            in_channels,
            out_channels,
            groups,
            input: all(&self.input, 1),
            kernel: all(&self.kernel, 1),
            stride: all(&self.stride, 1),
            dilation: all(&self.dilation, 1),
            pad_begin: all(&padding.map(|sides| sides.0), 0),
            pad_end: all(&padding.map(|sides| sides.1), 0),
            ..Params::default()
        })
        .unwrap()
    }

    /// Shapes of input, weight and output.
    fn dims(&self) -> [Vec<usize>; 3] {
        let [batch, c, k, groups] = self.channels;
        let output: Vec<usize> = self.shape().axes().iter().map(|axis| axis.output).collect();
        [
            [&[batch, c], &self.input[..]].concat(),
            [&[k, c / groups], &self.kernel[..]].concat(),
            [&[batch, k], &output[..]].concat(),
        ]
    }

    /// The layer and its transpose, in both types, against the naive loops.
    fn judge(&self) -> Result<()> {
        for dtype in [DType::F32, DType::F64] {
            self.judge_conv(dtype)?;
            self.judge_transpose(dtype)?;
        }
        Ok(())
    }

    fn judge_conv(&self, dtype: DType) -> Result<()> {
        let (shape, [x_dims, w_dims, y_dims]) = (self.shape(), self.dims());
        let var = |dims: &[usize], seed| Var::from_tensor(&integers(dims, seed)?.to_dtype(dtype)?);
        let (x, w, b) = (var(&x_dims, 1)?, var(&w_dims, 2)?, var(&y_dims[1..2], 3)?);
        let options = ConvOptions::<AXES>::default()
            .stride(self.stride)
            .dilation(self.dilation)
            .padding_per_side(self.padding)
            .groups(self.channels[3]);
        let y = crate::conv(&x, &w, Some(&b), &options)?;
        assert_eq!(y.dims(), y_dims);
        let [x_data, w_data, b_data] = [elements(&x)?, elements(&w)?, elements(&b)?];
        let expected = reference::forward(&shape, &x_data, &w_data, Some(&b_data[..])).unwrap();
        assert_eq!(elements(&y)?, expected);

        let g = integers(&y_dims, 4)?.to_dtype(dtype)?;
        let grads = (&y * &g)?.sum_all()?.backward()?;
        let g = elements(&g)?;
        let of = |var: &Var| elements(grads.get(var).expect("a gradient of what is tracked"));
        assert_eq!(of(&x)?, reference::backward_data(&shape, &w_data, &g).unwrap());
        assert_eq!(of(&w)?, reference::backward_weight(&shape, &x_data, &g).unwrap());
        assert_eq!(of(&b)?, reference::backward_bias(&shape, &g).unwrap());
        Ok(())
    }

    /// The transpose reads what the convolution writes.
    fn judge_transpose(&self, dtype: DType) -> Result<()> {
        let (shape, [y_dims, w_dims, x_dims]) = (self.shape(), self.dims());
        let var = |dims: &[usize], seed| Var::from_tensor(&integers(dims, seed)?.to_dtype(dtype)?);
        let (x, w, b) = (var(&x_dims, 1)?, var(&w_dims, 2)?, var(&y_dims[1..2], 3)?);
        // What the stride leaves over at the end of the input.
        let mut output_padding = [0; AXES];
        for (axis, sizes) in shape.axes().iter().enumerate() {
            let reached =
                (sizes.output - 1) * sizes.stride + sizes.dilation * (sizes.kernel - 1) + 1;
            output_padding[axis] = sizes.input + sizes.pad_begin + sizes.pad_end - reached;
        }
        let options = ConvTransposeOptions::<AXES>::default()
            .stride(self.stride)
            .dilation(self.dilation)
            .padding_per_side(self.padding)
            .output_padding(output_padding)
            .groups(self.channels[3]);
        let y = crate::conv_transpose(&x, &w, Some(&b), &options)?;
        assert_eq!(y.dims(), y_dims);
        let [x_data, w_data, b_data] = [elements(&x)?, elements(&w)?, elements(&b)?];
        let mut expected = reference::backward_data(&shape, &w_data, &x_data).unwrap();
        let pixels = shape.input_pixels();
        for (i, y) in expected.iter_mut().enumerate() {
            *y += b_data[i / pixels % b_data.len()];
        }
        assert_eq!(elements(&y)?, expected);

        let g = integers(&y_dims, 4)?.to_dtype(dtype)?;
        let grads = (&y * &g)?.sum_all()?.backward()?;
        let g = elements(&g)?;
        let of = |var: &Var| elements(grads.get(var).expect("a gradient of what is tracked"));
        assert_eq!(of(&x)?, reference::forward(&shape, &g, &w_data, None).unwrap());
        assert_eq!(of(&w)?, reference::backward_weight(&shape, &g, &x_data).unwrap());
        let mut grad_bias = vec![0.0; b_data.len()];
        for (i, g) in g.iter().enumerate() {
            grad_bias[i / pixels % b_data.len()] += g;
        }
        assert_eq!(of(&b)?, grad_bias);
        Ok(())
    }
}

#[test]
fn layers_and_their_transposes_agree_with_the_naive_loops() -> Result<()> {
    let one = |channels, input, kernel, stride, dilation, padding| Case {
        channels,
        input: [input],
        kernel: [kernel],
        stride: [stride],
        dilation: [dilation],
        padding: [padding],
    };
    one([2, 3, 5, 1], 17, 3, 1, 1, (1, 1)).judge()?;
    one([1, 4, 8, 2], 20, 5, 3, 2, (4, 0)).judge()?;
    one([2, 6, 6, 6], 9, 2, 2, 1, (0, 3)).judge()?;
    let two = |channels, input, kernel, stride, dilation, padding| Case {
        channels,
        input,
        kernel,
        stride,
        dilation,
        padding,
    };
    two([2, 3, 4, 1], [9, 7], [3, 3], [1, 1], [1, 1], [(1, 1), (1, 1)]).judge()?;
    two([1, 8, 8, 8], [10, 12], [3, 3], [2, 2], [1, 1], [(0, 1), (0, 1)]).judge()?;
    two([3, 4, 6, 2], [11, 8], [1, 4], [3, 1], [1, 2], [(2, 0), (3, 5)]).judge()?;
    two([2, 16, 32, 1], [14, 14], [1, 1], [1, 1], [1, 1], [(0, 0), (0, 0)]).judge()?;
    let three = |channels, input, kernel, stride, padding| Case {
        channels,
        input,
        kernel,
        stride,
        dilation: [1, 2, 1],
        padding,
    };
    three([1, 2, 3, 1], [5, 6, 7], [3, 2, 3], [1, 2, 1], [(1, 1), (0, 2), (1, 0)]).judge()?;
    three([2, 4, 4, 4], [4, 5, 6], [2, 2, 2], [2, 1, 3], [(0, 0), (1, 1), (2, 1)]).judge()
}

#[test]
fn views_are_read_as_they_are() -> Result<()> {
    // A transposed view, and a slice that starts inside its storage.
    let x = integers(&[2, 6, 5, 3], 1)?.transpose(1, 3)?;
    let w = integers(&[8, 3, 3, 3], 2)?.narrow(0, 3, 4)?;
    let options = ConvOptions::default().padding([1, 1]);
    let y = crate::conv2d(&x, &w, None, &options)?;
    let copied = crate::conv2d(&x.force_contiguous()?, &w.copy()?, None, &options)?;
    assert_eq!(elements(&y)?, elements(&copied)?);
    assert_eq!(elements(&y)?, elements(&x.conv2d(&w, 1, 1, 1, 1)?)?);
    Ok(())
}

#[test]
fn results_and_gradients_are_candles_own() -> Result<()> {
    for groups in [1, 2, 4] {
        let x = Var::from_tensor(&integers(&[2, 4, 9, 9], 1)?)?;
        let w = Var::from_tensor(&integers(&[8, 4 / groups, 3, 3], 2)?)?;
        let options = ConvOptions::default().stride([2, 2]).padding([1, 1]).groups(groups);
        let ours = crate::conv2d(&x, &w, None, &options)?;
        let own = x.conv2d(&w, 1, 2, 1, groups)?;
        assert_eq!(elements(&ours)?, elements(&own)?);
        let [ours, own] = [ours.sqr()?.sum_all()?.backward()?, own.sqr()?.sum_all()?.backward()?];
        for var in [&x, &w] {
            assert_eq!(elements(ours.get(var).unwrap())?, elements(own.get(var).unwrap())?);
        }
        let x = integers(&[2, 4, 9], 3)?;
        let w = integers(&[8, 4 / groups, 3], 4)?;
        let options = ConvOptions::default().dilation([2]).padding([1]).groups(groups);
        let own = x.conv1d(&w, 1, 1, 2, groups)?;
        assert_eq!(elements(&crate::conv1d(&x, &w, None, &options)?)?, elements(&own)?);
        let w = integers(&[4, 3, 3], 5)?;
        let options =
            ConvTransposeOptions::default().stride([2]).output_padding([1]).groups(groups);
        let own = x.conv_transpose1d(&w, 0, 1, 2, 1, groups)?;
        assert_eq!(elements(&crate::conv_transpose1d(&x, &w, None, &options)?)?, elements(&own)?);
    }
    let x = integers(&[2, 4, 5, 6], 1)?;
    let w = integers(&[4, 3, 3, 3], 2)?;
    let options = ConvTransposeOptions::default().stride([2, 2]).padding([1, 1]);
    let own = x.conv_transpose2d(&w, 1, 0, 2, 1)?;
    assert_eq!(elements(&crate::conv_transpose2d(&x, &w, None, &options)?)?, elements(&own)?);
    Ok(())
}

#[test]
fn nothing_is_computed_that_no_one_asked_for() -> Result<()> {
    let dims = [&[2, 3, 6, 6][..], &[4, 3, 3, 3], &[4]];
    for tracked in 0..8 {
        let tensor = |i: usize| -> Result<Tensor> {
            let tensor = integers(dims[i], i)?;
            Ok(if tracked >> i & 1 == 1 {
                Var::from_tensor(&tensor)?.as_tensor().clone()
            } else {
                tensor
            })
        };
        let (x, w, b) = (tensor(0)?, tensor(1)?, tensor(2)?);
        RUN.set([0; 4]);
        let y = crate::conv2d(&x, &w, Some(&b), &ConvOptions::default())?;
        let grads = y.sum_all()?.backward()?;
        let asked = [0, 1, 2].map(|i| tracked >> i & 1);
        assert_eq!(RUN.get(), [1, asked[0], asked[1], asked[2]], "tracked {asked:?}");
        let got = [&x, &w, &b].map(|tensor| usize::from(grads.get(tensor).is_some()));
        assert_eq!(got, asked);
    }
    // A transposed layer: its input's gradient is a forward product.
    let x = Var::from_tensor(&integers(&[1, 3, 5, 5], 1)?)?;
    let w = integers(&[3, 2, 3, 3], 2)?;
    RUN.set([0; 4]);
    crate::conv_transpose2d(&x, &w, None, &Default::default())?.sum_all()?.backward()?;
    assert_eq!(RUN.get(), [1, 1, 0, 0]);
    Ok(())
}

#[test]
fn products_have_gradients_of_their_own() -> Result<()> {
    // E = <data(w, g), h> is linear in w and g: its gradients are weight(h, g) and forward(h, w).
    let shape = Case {
        channels: [2, 3, 4, 1],
        input: [6, 5],
        kernel: [3, 2],
        stride: [1, 2],
        dilation: [1, 1],
        padding: [(1, 0), (0, 1)],
    };
    let ([x_dims, w_dims, y_dims], checked) = (shape.dims(), shape.shape());
    let product = |pass| crate::product(*checked.params(), pass);
    let x = Var::from_tensor(&integers(&x_dims, 1)?)?;
    let w = Var::from_tensor(&integers(&w_dims, 2)?)?;
    let g = Var::from_tensor(&integers(&y_dims, 3)?)?;
    let (h, v) = (integers(&x_dims, 4)?, integers(&w_dims, 5)?);

    let grads = (product(Pass::BackwardData)?.of(&w, &g)? * &h)?.sum_all()?.backward()?;
    let [h_data, v_data] = [elements(&h)?, elements(&v)?];
    let [x_data, w_data, g_data] = [elements(&x)?, elements(&w)?, elements(&g)?];
    let of_w = reference::backward_weight(&checked, &h_data, &g_data).unwrap();
    let of_g = reference::forward(&checked, &h_data, &w_data, None).unwrap();
    assert_eq!(elements(grads.get(&w).unwrap())?, of_w);
    assert_eq!(elements(grads.get(&g).unwrap())?, of_g);

    let grads = (product(Pass::BackwardWeight)?.of(&x, &g)? * &v)?.sum_all()?.backward()?;
    let of_x = reference::backward_data(&checked, &v_data, &g_data).unwrap();
    let of_g = reference::forward(&checked, &x_data, &v_data, None).unwrap();
    assert_eq!(elements(grads.get(&x).unwrap())?, of_x);
    assert_eq!(elements(grads.get(&g).unwrap())?, of_g);
    Ok(())
}

#[test]
fn activations_and_their_gradients() -> Result<()> {
    let x = Var::from_tensor(&integers(&[1, 2, 6], 1)?)?;
    let w = integers(&[3, 2, 3], 2)?;
    let plain = crate::conv1d(&x, &w, None, &ConvOptions::default())?;
    for (activation, expected) in [
        (Activation::Relu, plain.relu()?),
        (Activation::Clamp(-7.0, 20.0), plain.clamp(-7.0, 20.0)?),
    ] {
        let y = crate::conv1d(&x, &w, None, &ConvOptions::default().activation(activation))?;
        assert_eq!(elements(&y)?, elements(&expected)?);
        let options = ConvOptions::default().activation(activation);
        let untracked = crate::conv1d(&x.detach(), &w, None, &options)?;
        assert_eq!(elements(&untracked)?, elements(&expected)?);
        let [ours, own] = [y.sum_all()?.backward()?, expected.sum_all()?.backward()?];
        assert_eq!(elements(ours.get(&x).unwrap())?, elements(own.get(&x).unwrap())?);
    }
    Ok(())
}

#[test]
fn other_types_are_candles_own() -> Result<()> {
    let x = integers(&[1, 2, 6, 6], 1)?.to_dtype(DType::F16)?;
    let w = integers(&[3, 2, 3, 3], 2)?.to_dtype(DType::F16)?;
    RUN.set([0; 4]);
    let y = crate::conv2d(&x, &w, None, &ConvOptions::default().padding([1, 1]))?;
    assert_eq!(elements(&y)?, elements(&x.conv2d(&w, 1, 1, 1, 1)?)?);
    let one_sided = ConvOptions::default().padding_per_side([(0, 1), (2, 0)]);
    let padded = x.pad_with_zeros(2, 0, 1)?.pad_with_zeros(3, 2, 0)?;
    let y = crate::conv2d(&x, &w, None, &one_sided)?;
    assert_eq!(elements(&y)?, elements(&padded.conv2d(&w, 0, 1, 1, 1)?)?);
    assert_eq!(RUN.get(), [0; 4]);
    assert!(crate::conv2d(&x, &w, None, &ConvOptions::default().stride([1, 2])).is_err());
    Ok(())
}

#[test]
fn what_does_not_fit_is_an_error() -> Result<()> {
    let x = integers(&[1, 4, 6, 6], 1)?;
    let conv = |w: &[usize], options| -> Result<Tensor> {
        crate::conv2d(&x, &integers(w, 2)?, None, &options)
    };
    let plain = ConvOptions::default();
    assert!(conv(&[3, 5, 3, 3], plain).is_err(), "channels");
    assert!(conv(&[3, 4, 7, 3], plain).is_err(), "a kernel larger than the input");
    assert!(conv(&[3, 4, 3], plain).is_err(), "a weight of one axis");
    assert!(conv(&[4, 2, 3, 3], plain.groups(0)).is_err(), "no groups");
    assert!(conv(&[4, 4, 3, 3], plain.stride([0, 1])).is_err(), "no stride");
    let w = integers(&[3, 4, 3, 3], 2)?;
    assert!(crate::conv2d(&x, &w.to_dtype(DType::F32)?, None, &plain).is_err(), "two types");
    assert!(crate::conv2d(&x, &w, Some(&integers(&[4], 3)?), &plain).is_err(), "a longer bias");
    let w = integers(&[4, 3, 3, 3], 2)?;
    let transposed = ConvTransposeOptions::default();
    assert!(
        crate::conv_transpose2d(&x, &w, Some(&integers(&[4], 3)?), &transposed).is_err(),
        "a longer bias"
    );
    assert!(crate::conv_transpose2d(&x, &w, None, &transposed.output_padding([1, 1])).is_err());
    assert!(crate::conv_transpose2d(&x, &w, None, &transposed.padding([9, 9])).is_err());
    Ok(())
}
