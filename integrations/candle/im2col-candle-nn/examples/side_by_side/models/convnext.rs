//! ConvNeXt: depthwise convolutions of 7x7 between dense layers over channels.

use super::candle_nn;
use candle_core::{D, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, LayerNorm, Linear, Module, ModuleT, VarBuilder};

/// A norm over the channels of `[N, C, H, W]`.
fn norm_channels(norm: &LayerNorm, x: &Tensor) -> Result<Tensor> {
    norm.forward(&x.permute((0, 2, 3, 1))?)?.permute((0, 3, 1, 2))
}

struct Block {
    depthwise: Conv2d,
    norm: LayerNorm,
    dense: [Linear; 2],
    scale: Tensor,
}

impl Block {
    fn new(c: usize, vb: VarBuilder) -> Result<Self> {
        let config = Conv2dConfig { padding: 3, groups: c, ..Default::default() };
        Ok(Self {
            depthwise: candle_nn::conv2d(c, c, 7, config, vb.pp("conv_dw"))?,
            norm: candle_nn::layer_norm(c, 1e-6, vb.pp("norm"))?,
            dense: [
                candle_nn::linear(c, 4 * c, vb.pp("mlp.fc1"))?,
                candle_nn::linear(4 * c, c, vb.pp("mlp.fc2"))?,
            ],
            scale: vb.get_with_hints(c, "gamma", candle_nn::Init::Const(1e-1))?,
        })
    }
}

impl Module for Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.depthwise.forward(x)?.permute((0, 2, 3, 1))?;
        let y = self.dense[0].forward(&self.norm.forward(&y)?)?.gelu_erf()?;
        let y = self.dense[1].forward(&y)?.broadcast_mul(&self.scale)?;
        x + y.permute((0, 3, 1, 2))?
    }
}

/// Before each stage but the first, a norm and then a convolution that halves the size.
struct Stage {
    down: Option<(LayerNorm, Conv2d)>,
    blocks: Vec<Block>,
}

/// ConvNeXt-Tiny.
pub struct ConvNext {
    stem: (Conv2d, LayerNorm),
    stages: Vec<Stage>,
    norm: LayerNorm,
    head: Linear,
}

impl ConvNext {
    /// For three channels and 1000 classes.
    pub fn new(vb: VarBuilder) -> Result<Self> {
        let conv = |c, k, kernel: usize, vb| {
            let config = Conv2dConfig { stride: kernel, ..Default::default() };
            candle_nn::conv2d(c, k, kernel, config, vb)
        };
        let norm = |c: usize, vb| candle_nn::layer_norm(c, 1e-6, vb);
        let (mut stages, mut c) = (Vec::new(), 96);
        for (stage, count) in [3, 3, 9, 3].into_iter().enumerate() {
            let vb = vb.pp(format!("stages.{stage}"));
            let down = match stage {
                0 => None,
                _ => Some((norm(c, vb.pp("norm"))?, conv(c, 2 * c, 2, vb.pp("down"))?)),
            };
            c = 96 << stage;
            let blocks = (0..count).map(|i| Block::new(c, vb.pp(i))).collect::<Result<_>>()?;
            stages.push(Stage { down, blocks });
        }
        Ok(Self {
            stem: (conv(3, 96, 4, vb.pp("stem.0"))?, norm(96, vb.pp("stem.1"))?),
            stages,
            norm: norm(c, vb.pp("head.norm"))?,
            head: candle_nn::linear(c, 1000, vb.pp("head.fc"))?,
        })
    }
}

impl ModuleT for ConvNext {
    fn forward_t(&self, x: &Tensor, _: bool) -> Result<Tensor> {
        let mut x = norm_channels(&self.stem.1, &self.stem.0.forward(x)?)?;
        for stage in &self.stages {
            if let Some((norm, conv)) = &stage.down {
                x = conv.forward(&norm_channels(norm, &x)?)?;
            }
            for block in &stage.blocks {
                x = block.forward(&x)?;
            }
        }
        let means = x.mean(D::Minus1)?.mean(D::Minus1)?;
        self.head.forward(&self.norm.forward(&means)?)
    }
}
