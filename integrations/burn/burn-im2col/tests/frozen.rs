//! Weights that come again are packed: results are those of Flex, whatever happens to a weight in between.

use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Device, Tensor, TensorData, module};

/// Small integers, so that every sum is exact in both types.
fn integers<const D: usize>(shape: [usize; D], seed: usize, dtype: DType) -> Tensor<D> {
    let value = |i: usize| ((i + seed).wrapping_mul(2_654_435_761) >> 7) % 7;
    let len = shape.iter().product();
    let data: Vec<f64> = (0..len).map(|i| value(i) as f64 - 3.0).collect();
    let device = Device::flex();
    Tensor::from_data(TensorData::new(data, shape).convert_dtype(dtype), (&device, dtype))
}

/// One use of a weight.
fn check(x: &Tensor<4>, w: &Tensor<4>, b: Option<&Tensor<1>>, groups: usize) {
    let options = || ConvOptions::new([1, 1], [1, 1], [1, 1], groups);
    let ours = burn_im2col::conv2d(x.clone(), w.clone(), b.cloned(), options());
    let own = module::conv2d(x.clone(), w.clone(), b.cloned(), options());
    ours.into_data().assert_eq(&own.into_data(), true);
}

#[test]
fn a_weight_may_come_again_for_images_of_many_sizes() {
    for (dtype, groups) in [(DType::F32, 1), (DType::F64, 1), (DType::F32, 16), (DType::F64, 4)] {
        let w = integers([32, 16 / groups, 3, 3], 1, dtype);
        let b = integers([32], 2, dtype);
        for side in [5, 5, 8, 5, 8, 8, 5] {
            let x = integers([2, 16, side, side + 1], side, dtype);
            check(&x, &w, None, groups);
            check(&x, &w, Some(&b), groups);
        }
    }
}

#[test]
fn a_weight_that_was_written_into_is_another() {
    let x = integers([1, 8, 6, 6], 1, DType::F32);
    let mut w = integers([24, 8, 3, 3], 2, DType::F32);
    for _step in 0..4 {
        (0..3).for_each(|_| check(&x, &w, None, 1));
        // Nobody else has it: Flex adds in place where it may.
        w = w.add_scalar(1.0);
    }
    check(&x, &w, None, 1);
}

#[test]
fn parts_of_one_storage_are_weights_of_their_own() {
    let x = integers([1, 8, 6, 6], 1, DType::F32);
    let both = integers([48, 8, 3, 3], 2, DType::F32);
    for _use in 0..3 {
        for from in [0, 24] {
            check(&x, &both.clone().slice([from..from + 24]), None, 1);
        }
    }
}

#[test]
fn a_weight_at_the_address_of_one_that_is_gone_is_another() {
    let x = integers([1, 8, 6, 6], 1, DType::F32);
    // More than are remembered, each used until it is packed.
    for seed in 0..300 {
        let w = integers([24, 8, 3, 3], seed, DType::F32);
        (0..3).for_each(|_| check(&x, &w, None, 1));
    }
}
