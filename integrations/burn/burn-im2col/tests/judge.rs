//! Flex's own convolutions judge, in f64 and in f32.

use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{DType, Device, Tensor, TensorData, Tolerance, module};

/// Small integers, so that every sum is exact in both types.
fn integers<const D: usize>(shape: [usize; D], seed: usize, dtype: DType) -> Tensor<D> {
    let value = |i: usize| ((i + seed).wrapping_mul(2_654_435_761) >> 7) % 7;
    let len = shape.iter().product();
    let data: Vec<f64> = (0..len).map(|i| value(i) as f64 - 3.0).collect();
    let device = Device::flex().autodiff();
    Tensor::from_data(TensorData::new(data, shape).convert_dtype(dtype), (&device, dtype))
}

fn equal<const D: usize>(ours: Tensor<D>, own: Tensor<D>) {
    ours.into_data().assert_eq(&own.into_data(), true);
}

/// Results and gradients of `[ours, burn's own]` on the same tensors.
fn judge<const D: usize>(
    [x, w]: [[usize; D]; 2],
    channels: usize,
    both: [&dyn Fn(Tensor<D>, Tensor<D>, Option<Tensor<1>>) -> Tensor<D>; 2],
) {
    for dtype in [DType::F32, DType::F64] {
        for with_bias in [false, true] {
            let x = integers(x, 1, dtype).require_grad();
            let w = integers(w, 2, dtype).require_grad();
            let b = integers([channels], 3, dtype).require_grad();
            let [ours, own] = both.map(|run| {
                let y = run(x.clone(), w.clone(), with_bias.then(|| b.clone()));
                // A gradient that differs from place to place.
                let g = integers(y.dims(), 4, dtype);
                (y.clone(), (y * g).sum().backward())
            });
            equal(ours.0, own.0);
            equal(x.grad(&ours.1).unwrap(), x.grad(&own.1).unwrap());
            equal(w.grad(&ours.1).unwrap(), w.grad(&own.1).unwrap());
            if with_bias {
                equal(b.grad(&ours.1).unwrap(), b.grad(&own.1).unwrap());
            }
        }
    }
}

#[test]
fn convolutions_are_flexs_own() {
    for (x, w, o) in [
        ([2, 3, 17], [5, 3, 3], ConvOptions::new([1], [1], [1], 1)),
        ([1, 4, 20], [8, 2, 5], ConvOptions::new([3], [2], [2], 2)),
        ([2, 6, 9], [6, 1, 2], ConvOptions::new_with_padding([2], [(0, 3)], [1], 6)),
    ] {
        judge(
            [x, w],
            w[0],
            [&|x, w, b| burn_im2col::conv1d(x, w, b, o.clone()), &|x, w, b| {
                module::conv1d(x, w, b, o.clone())
            }],
        );
    }
    for (x, w, o) in [
        ([2, 3, 9, 7], [4, 3, 3, 3], ConvOptions::new([1, 1], [1, 1], [1, 1], 1)),
        (
            [1, 8, 10, 12],
            [8, 1, 3, 3],
            ConvOptions::new_with_padding([2, 2], [(0, 1), (1, 0)], [1, 1], 8),
        ),
        ([2, 16, 6, 6], [32, 16, 1, 1], ConvOptions::new([1, 1], [0, 0], [1, 1], 1)),
        ([1, 4, 11, 8], [6, 2, 1, 4], ConvOptions::new([3, 1], [2, 3], [1, 2], 2)),
    ] {
        judge(
            [x, w],
            w[0],
            [&|x, w, b| burn_im2col::conv2d(x, w, b, o.clone()), &|x, w, b| {
                module::conv2d(x, w, b, o.clone())
            }],
        );
    }
    let (x, w) = ([1, 2, 5, 6, 7], [3, 2, 3, 2, 3]);
    let o = ConvOptions::new([1, 2, 1], [1, 0, 1], [1, 2, 1], 1);
    judge(
        [x, w],
        w[0],
        [&|x, w, b| burn_im2col::conv3d(x, w, b, o.clone()), &|x, w, b| {
            module::conv3d(x, w, b, o.clone())
        }],
    );
}

#[test]
fn transposed_convolutions_are_flexs_own() {
    for (x, w, o) in [
        ([2, 4, 9], [4, 3, 3], ConvTransposeOptions::new([2], [1], [1], [1], 1)),
        ([1, 6, 7], [6, 2, 4], ConvTransposeOptions::new([1], [0], [0], [2], 3)),
    ] {
        judge(
            [x, w],
            w[1] * o.groups,
            [&|x, w, b| burn_im2col::conv_transpose1d(x, w, b, o.clone()), &|x, w, b| {
                module::conv_transpose1d(x, w, b, o.clone())
            }],
        );
    }
    for (x, w, o) in [
        ([2, 4, 5, 6], [4, 3, 2, 2], ConvTransposeOptions::new([2, 2], [0, 0], [0, 0], [1, 1], 1)),
        ([1, 4, 5, 4], [4, 2, 3, 3], ConvTransposeOptions::new([3, 2], [1, 1], [2, 1], [1, 1], 2)),
    ] {
        judge(
            [x, w],
            w[1] * o.groups,
            [&|x, w, b| burn_im2col::conv_transpose2d(x, w, b, o.clone()), &|x, w, b| {
                module::conv_transpose2d(x, w, b, o.clone())
            }],
        );
    }
    let (x, w) = ([1, 2, 3, 4, 3], [2, 3, 2, 3, 2]);
    let o = ConvTransposeOptions::new([2, 1, 2], [0, 1, 0], [1, 0, 0], [1, 1, 1], 1);
    judge(
        [x, w],
        w[1],
        [&|x, w, b| burn_im2col::conv_transpose3d(x, w, b, o.clone()), &|x, w, b| {
            module::conv_transpose3d(x, w, b, o.clone())
        }],
    );
}

#[test]
fn views_are_read_as_they_are() {
    let x = integers([2, 6, 5, 3], 1, DType::F32).swap_dims(1, 3).inner();
    let w = integers([8, 3, 3, 3], 2, DType::F32).slice([3..7]).inner();
    let o = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let ours = burn_im2col::conv2d(x.clone(), w.clone(), None, o.clone());
    equal(ours, module::conv2d(x, w, None, o));
}

#[test]
fn three_axes_take_padding_for_each_side() {
    let x = integers([1, 2, 4, 5, 3], 1, DType::F32);
    let w = integers([3, 2, 2, 3, 2], 2, DType::F32);
    let sides = [(1, 0), (0, 2), (1, 1)];
    let o = ConvOptions::new_with_padding([1, 1, 1], sides, [1, 1, 1], 1);
    let ours = burn_im2col::conv3d(x.clone(), w.clone(), None, o);
    let padded = Tensor::zeros([1, 2, 5, 7, 5], &x.device());
    let padded = padded.slice_assign([0..1, 0..2, 1..5, 0..5, 1..4], x);
    let valid = ConvOptions::new([1, 1, 1], [0, 0, 0], [1, 1, 1], 1);
    equal(ours, module::conv3d(padded, w, None, valid));
}

#[test]
fn only_what_is_asked_for_has_a_gradient() {
    let o = ConvOptions::new([1, 1], [0, 0], [1, 1], 1);
    // Of nothing tracked, burn refuses to go backward.
    for asked in 1..8 {
        let is = |i: usize| asked >> i & 1 == 1;
        let x = integers([2, 3, 6, 6], 1, DType::F32).set_require_grad(is(0));
        let w = integers([4, 3, 3, 3], 2, DType::F32).set_require_grad(is(1));
        let b = integers([4], 3, DType::F32).set_require_grad(is(2));
        let y = burn_im2col::conv2d(x.clone(), w.clone(), Some(b.clone()), o.clone());
        let grads = y.sum().backward();
        let got = [x.grad(&grads).is_some(), w.grad(&grads).is_some(), b.grad(&grads).is_some()];
        assert_eq!(got, [is(0), is(1), is(2)]);
    }
}

#[test]
fn other_types_are_burns_own() {
    let o = ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let x = integers([1, 2, 6, 6], 1, DType::F32);
    let w = integers([3, 2, 3, 3], 2, DType::F32);
    let expected = burn_im2col::conv2d(x.clone(), w.clone(), None, o.clone()).into_data();
    let half = [x.clone().cast(DType::F16), w.clone().cast(DType::F16)];
    assert!(!burn_im2col::takes(&half[0]));
    let [half_x, half_w] = half;
    let y = burn_im2col::conv2d(half_x, half_w, None, o);
    assert_eq!(y.dtype(), DType::F16);
    y.into_data().convert::<f32>().assert_approx_eq::<f32>(&expected, Tolerance::default());
}
