//! Programs written against candle-nn: the same variables, results and losses.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::Module;
use std::collections::BTreeMap;

/// Shapes of the variables of four layers, and what they give.
macro_rules! layers {
    ($nn:ident, $vb:expr, $x2:expr, $x1:expr) => {{
        let conv2d = $nn::conv2d(
            4,
            6,
            3,
            $nn::Conv2dConfig { padding: 1, groups: 2, ..Default::default() },
            $vb.pp("a"),
        )?;
        let conv1d = $nn::conv1d_no_bias(
            4,
            8,
            5,
            $nn::Conv1dConfig { stride: 2, ..Default::default() },
            $vb.pp("b"),
        )?;
        let up2d = $nn::conv_transpose2d(
            4,
            3,
            2,
            $nn::ConvTranspose2dConfig { stride: 2, ..Default::default() },
            $vb.pp("c"),
        )?;
        let up1d = $nn::conv_transpose1d(
            4,
            6,
            3,
            $nn::ConvTranspose1dConfig { groups: 2, ..Default::default() },
            $vb.pp("d"),
        )?;
        // Candle takes an output padding that is not below the stride.
        let odd = $nn::conv_transpose1d(
            4,
            2,
            3,
            $nn::ConvTranspose1dConfig { output_padding: 1, ..Default::default() },
            $vb.pp("e"),
        )?;
        assert_eq!(
            (conv2d.config().groups, conv2d.bias().is_some(), conv1d.bias().is_some()),
            (2, true, false)
        );
        vec![
            conv2d.forward($x2)?,
            conv1d.forward($x1)?,
            up2d.forward($x2)?,
            up1d.forward($x1)?,
            odd.forward($x1)?,
        ]
    }};
}

fn shapes(vars: &candle_nn::VarMap) -> BTreeMap<String, Vec<usize>> {
    let vars = vars.data().lock().unwrap();
    vars.iter().map(|(name, var)| (name.clone(), var.dims().to_vec())).collect()
}

#[test]
fn variables_and_results_are_candle_nns() -> Result<()> {
    let vars = candle_nn::VarMap::new();
    let vb = candle_nn::VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let x2 = Tensor::randn(0f32, 1f32, (2, 4, 9, 8), &Device::Cpu)?;
    let x1 = Tensor::randn(0f32, 1f32, (2, 4, 20), &Device::Cpu)?;
    let own = layers!(candle_nn, vb, &x2, &x1);
    let names = shapes(&vars);
    // The second time, the builder finds every variable that it is asked for, with its shape.
    let ours = layers!(im2col_candle_nn, vb, &x2, &x1);
    assert_eq!(names, shapes(&vars));
    assert_eq!(names.len(), 9);
    for (own, ours) in own.iter().zip(&ours) {
        assert_eq!(own.dims(), ours.dims());
        let largest = |t: Tensor| t.abs()?.max_all()?.to_scalar::<f32>();
        assert!(largest((own - ours)?)? <= 1e-5 * largest(own.clone())?);
    }
    Ok(())
}

#[test]
fn batch_norms_are_absorbed() -> Result<()> {
    let vb = candle_nn::VarBuilder::zeros(DType::F32, &Device::Cpu);
    let weight = Tensor::randn(0f32, 1f32, (3, 2, 3, 3), &Device::Cpu)?;
    let layer = im2col_candle_nn::Conv2d::new(weight.clone(), None, Default::default());
    let own = candle_nn::Conv2d::new(weight, None, Default::default());
    let norm = candle_nn::batch_norm(3, 1e-5, vb)?;
    let x = Tensor::randn(0f32, 1f32, (1, 2, 5, 5), &Device::Cpu)?;
    let [a, b] = [layer.absorb_bn(&norm)?.forward(&x)?, own.absorb_bn(&norm)?.forward(&x)?];
    assert!((a - b)?.abs()?.max_all()?.to_scalar::<f32>()? <= 1e-6);
    Ok(())
}
