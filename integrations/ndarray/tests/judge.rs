//! The naive loops of `im2col::reference` judge arrays in both orders of memory, in and out.

use im2col::{Params, Shape, reference};
use im2col_ndarray::{Axes, Conv, Error, Real, channels_last};
use ndarray::{Array, Array1, Array4, ArrayView, Dimension, s};

/// Small integers, so that every sum is exact in both types.
fn integers<T: Real, D: Dimension>(shape: &[usize], seed: usize) -> Array<T, D> {
    let value = |i: usize| T::from_f64((((i + seed) * 7919 >> 3) % 11) as f64 - 5.0);
    let data = (0..shape.iter().product()).map(value).collect();
    Array::from_shape_vec(shape, data).unwrap().into_dimensionality().unwrap()
}

/// The elements in the order of the axes, whatever the memory's.
fn elements<T: Real, D: Dimension>(array: ArrayView<'_, T, D>) -> Vec<f64> {
    array.iter().map(|&x| x.into()).collect()
}

fn judge<T: Real, const AXES: usize>(
    [batch, c, k, groups]: [usize; 4],
    input: [usize; AXES],
    kernel: [usize; AXES],
    [stride, dilation, begin, end]: [[usize; AXES]; 4],
) where
    Conv<AXES>: Axes,
{
    let all = |sizes: &[usize], missing| {
        let mut all = [missing; 3];
        all[..AXES].copy_from_slice(sizes);
        all
    };
    let params = Params {
        axes: AXES,
        batch,
        in_channels: c,
        out_channels: k,
        groups,
        input: all(&input, 1),
        kernel: all(&kernel, 1),
        stride: all(&stride, 1),
        dilation: all(&dilation, 1),
        pad_begin: all(&begin, 0),
        pad_end: all(&end, 0),
        ..Params::default()
    };
    let shape = Shape::new(params).unwrap();
    let output: Vec<usize> = shape.axes().iter().map(|axis| axis.output).collect();
    type Of<T, const AXES: usize> = Array<T, <Conv<AXES> as Axes>::Dim>;
    let x: Of<T, AXES> = integers(&[&[batch, c], &input[..]].concat(), 1);
    let w: Of<T, AXES> = integers(&[&[k, c / groups], &kernel[..]].concat(), 2);
    let g: Of<T, AXES> = integers(&[&[batch, k], &output[..]].concat(), 3);
    let b: Array1<T> = integers(&[k], 4);
    let flat = |array: &Of<T, AXES>| array.iter().copied().collect::<Vec<T>>();
    let (x_flat, w_flat, g_flat) = (flat(&x), flat(&w), flat(&g));
    let bias = b.as_slice();
    let y_expected = reference::forward(&shape, &x_flat, &w_flat, bias).unwrap();
    let x_expected = reference::backward_data(&shape, &w_flat, &g_flat).unwrap();
    let w_expected = reference::backward_weight(&shape, &x_flat, &g_flat).unwrap();

    let conv = Conv::<AXES>::new()
        .stride(stride)
        .dilation(dilation)
        .padding_per_side(begin, end)
        .groups(groups);
    let last = |array: &Of<T, AXES>| channels_last(&array.view());
    for [x, w, g] in [[x.clone(), w.clone(), g.clone()], [last(&x), last(&w), last(&g)]] {
        let (x, w, g) = (x.view(), w.view(), g.view());
        let y = conv.forward(x.clone(), w.clone(), Some(b.view())).unwrap();
        assert_eq!(elements(y.view()), y_expected);
        let grad_x = conv.backward_data(w.clone(), g.clone(), input).unwrap();
        assert_eq!(elements(grad_x.view()), x_expected);
        let grad_w = conv.backward_weight(x, g.clone(), kernel).unwrap();
        assert_eq!(elements(grad_w.view()), w_expected);
        let grad_b = im2col_ndarray::backward_bias(g);
        assert_eq!(elements(grad_b.view()), reference::backward_bias(&shape, &g_flat).unwrap());
    }
}

#[test]
fn all_passes_in_both_orders_agree_with_the_naive_loops() {
    judge::<f32, 1>([2, 3, 5, 1], [17], [3], [[1], [1], [1], [1]]);
    judge::<f64, 1>([1, 4, 8, 2], [20], [5], [[3], [2], [4], [0]]);
    judge::<f32, 2>([2, 3, 4, 1], [9, 7], [3, 3], [[1, 1], [1, 1], [1, 1], [1, 1]]);
    judge::<f64, 2>([1, 8, 8, 8], [10, 12], [3, 3], [[2, 2], [1, 1], [0, 0], [1, 1]]);
    judge::<f32, 2>([3, 4, 6, 2], [11, 8], [1, 4], [[3, 1], [1, 2], [2, 3], [0, 5]]);
    judge::<f32, 3>(
        [1, 2, 3, 1],
        [5, 6, 7],
        [3, 2, 3],
        [[1, 2, 1], [1, 2, 1], [1, 0, 1], [1, 2, 0]],
    );
    judge::<f64, 3>(
        [2, 4, 4, 4],
        [4, 5, 6],
        [2, 2, 2],
        [[2, 1, 3], [1, 1, 1], [0, 1, 2], [0, 1, 1]],
    );
}

#[test]
fn what_does_not_lie_right_is_an_error_and_nothing_is_written() {
    let x: Array4<f32> = integers(&[2, 3, 8, 8], 1);
    let w: Array4<f32> = integers(&[4, 3, 3, 3], 2);
    let conv = Conv::<2>::new();
    let order = |result: Result<Array4<f32>, Error>| match result {
        Err(Error::Order { what, .. }) => what,
        other => panic!("not an error of order: {other:?}"),
    };
    assert_eq!(order(conv.forward(x.slice(s![.., .., ..;2, ..]), w.view(), None)), "input");
    assert_eq!(order(conv.forward(x.slice(s![.., .., .., ..;-1]), w.view(), None)), "input");
    // Dense, but one in each order.
    let w_last = channels_last(&w.view());
    assert_eq!(order(conv.forward(x.view(), w_last.view(), None)), "weight");
    let x_last = channels_last(&x.view());
    assert_eq!(order(conv.forward(x_last.view(), w.view(), None)), "weight");

    let mut y = Array4::<f32>::from_elem((2, 4, 6, 7), 9.0);
    let into_longer = conv.forward_into(x.view(), w.view(), None, y.view_mut());
    assert!(matches!(into_longer, Err(Error::Shape { what: "output", .. })));
    let mut y_wide = Array4::<f32>::from_elem((2, 4, 6, 12), 9.0);
    let strided =
        conv.forward_into(x.view(), w.view(), None, y_wide.slice_mut(s![.., .., .., ..;2]));
    assert!(matches!(strided, Err(Error::Order { what: "output", .. })));
    assert!(y.iter().chain(&y_wide).all(|&y| y == 9.0));
    let short = Array1::<f32>::zeros(3);
    let bias = conv.forward(x.view(), w.view(), Some(short.view()));
    assert!(matches!(bias, Err(Error::Shape { what: "bias", .. })));
    assert!(conv.groups(0).forward(x.view(), w.view(), None).is_err());
    assert!(conv.groups(0).backward_data(w.view(), x.view(), [8, 8]).is_err());
    assert!(conv.groups(0).backward_weight(x.view(), x.view(), [3, 3]).is_err());
    assert!(conv.stride([0, 1]).forward(x.view(), w.view(), None).is_err());
    assert!(conv.forward(x.view(), integers::<f32, _>(&[4, 2, 3, 3], 2).view(), None).is_err());
}

#[test]
fn strided_biases_and_axes_of_one_are_taken() {
    let x: Array4<f32> = integers(&[1, 1, 8, 8], 1);
    let w: Array4<f32> = integers(&[4, 1, 3, 3], 2);
    let b: Array1<f32> = integers(&[8], 3);
    let y = Conv::<2>::new().forward(x.view(), w.view(), Some(b.slice(s![..;2]))).unwrap();
    let copied = b.slice(s![..;2]).to_owned();
    let expected = Conv::<2>::new().forward(x.view(), w.view(), Some(copied.view())).unwrap();
    assert_eq!(y, expected);
    // One image of a batch: strides of an axis of one element say nothing.
    let batch: Array4<f32> = integers(&[5, 1, 8, 8], 1);
    let y = Conv::<2>::new().forward(batch.slice(s![2..;3, .., .., ..]), w.view(), None).unwrap();
    assert_eq!(y.shape(), [1, 4, 6, 6]);
}
