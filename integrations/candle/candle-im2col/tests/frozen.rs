//! Weights that frozen layers keep packed: results are those of the functions, which keep none.
#![cfg(feature = "nn")]

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_im2col::nn::{Conv2d, Conv2dConfig};
use candle_im2col::{ConvOptions, conv2d};

/// Small integers, so that every sum is exact in both types.
fn integers(shape: &[usize], seed: usize, dtype: DType) -> Result<Tensor> {
    let len = shape.iter().product::<usize>();
    let value = |i: usize| ((i + seed).wrapping_mul(2_654_435_761) >> 7) % 11;
    let data: Vec<f64> = (0..len).map(|i| value(i) as f64 - 5.0).collect();
    Tensor::from_vec(data, shape, &Device::Cpu)?.to_dtype(dtype)
}

fn equal(layer: &Conv2d, x: &Tensor) -> Result<()> {
    let options = ConvOptions::default().padding([1, 1]).groups(layer.config().groups);
    let expected = conv2d(x, layer.weight(), layer.bias(), &options)?;
    let difference = (layer.forward(x)? - expected)?.abs()?.max_all()?;
    assert_eq!(difference.to_dtype(DType::F64)?.to_scalar::<f64>()?, 0.0);
    Ok(())
}

fn config(groups: usize) -> Conv2dConfig {
    Conv2dConfig { padding: 1, groups, ..Default::default() }
}

#[test]
fn frozen_layers_are_right_for_images_of_many_sizes() -> Result<()> {
    for (dtype, groups) in [(DType::F32, 1), (DType::F64, 1), (DType::F32, 16), (DType::F64, 4)] {
        let weight = integers(&[32, 16 / groups, 3, 3], 1, dtype)?;
        let bias = integers(&[32], 2, dtype)?;
        let with = Conv2d::new(weight.clone(), Some(bias), config(groups)).freeze();
        // A copy of a layer shares what is packed.
        for layer in [with.clone(), with, Conv2d::new(weight, None, config(groups)).freeze()] {
            for side in [5, 8, 5, 9, 10, 11, 12, 5] {
                equal(&layer, &integers(&[2, 16, side, side + 1], side, dtype)?)?;
            }
            equal(&layer, &integers(&[2, 16, 7, 8], 3, dtype)?.transpose(2, 3)?)?;
        }
    }
    Ok(())
}

#[test]
fn what_is_written_into_a_weight_is_seen_by_a_layer_that_is_not_frozen() -> Result<()> {
    let var = Var::from_tensor(&integers(&[24, 8, 3, 3], 1, DType::F32)?)?;
    // It shares the variable's memory and isn't tracked.
    let layer = Conv2d::new(var.as_detached_tensor(), None, config(1));
    let frozen = layer.clone().freeze();
    let x = integers(&[1, 8, 6, 6], 2, DType::F32)?;
    let before = frozen.forward(&x)?;
    equal(&layer, &x)?;
    // One filter of 24.
    let filter = Tensor::full(3f32, (1, 8, 3, 3), &Device::Cpu)?;
    var.as_detached_tensor().slice_set(&filter, 0, 5)?;
    equal(&layer, &x)?;
    let changed = |y: Tensor| (y - &before)?.abs()?.max_all()?.to_scalar::<f32>();
    assert!(changed(layer.forward(&x)?)? > 0.0);
    assert_eq!(changed(frozen.forward(&x)?)?, 0.0, "a frozen layer reads its weight once");
    Ok(())
}

#[test]
fn tracked_weights_of_frozen_layers_have_gradients() -> Result<()> {
    let weight = Var::from_tensor(&integers(&[8, 4, 3, 3], 1, DType::F32)?)?;
    let layer = Conv2d::new(weight.as_tensor().clone(), None, config(1)).freeze();
    let x = integers(&[1, 4, 6, 6], 2, DType::F32)?;
    let y = layer.forward(&x)?;
    assert!(y.sum_all()?.backward()?.get(&weight).is_some());
    weight.set(&weight.zeros_like()?)?;
    assert_eq!(layer.forward(&x)?.abs()?.max_all()?.to_scalar::<f32>()?, 0.0);
    Ok(())
}

#[test]
fn what_does_not_fit_is_an_error() -> Result<()> {
    let layer = Conv2d::new(integers(&[8, 4, 3, 3], 1, DType::F32)?, None, config(1)).freeze();
    let x = integers(&[1, 4, 6, 6], 2, DType::F32)?;
    equal(&layer, &x)?;
    assert!(layer.forward(&x.to_dtype(DType::F64)?).is_err(), "two types");
    assert!(layer.forward(&integers(&[1, 5, 6, 6], 2, DType::F32)?).is_err(), "channels");
    let bias = integers(&[7], 1, DType::F32)?;
    let layer = Conv2d::new(layer.weight().clone(), Some(bias), config(1));
    assert!(layer.forward(&x).is_err(), "a shorter bias");
    Ok(())
}
