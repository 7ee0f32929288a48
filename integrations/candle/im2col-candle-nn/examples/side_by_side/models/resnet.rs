//! Residual networks.

use super::candle_nn;
use candle_core::{D, Result, Tensor};
use candle_nn::{BatchNorm, Conv2d, Conv2dConfig, Linear, Module, ModuleT, VarBuilder};

/// A convolution without bias, its batch norm, and perhaps a ReLU.
pub(super) struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
    relu: bool,
}

impl ConvNorm {
    pub(super) fn new(
        [c, k, kernel, stride]: [usize; 4],
        relu: bool,
        vb: VarBuilder,
    ) -> Result<Self> {
        let config = Conv2dConfig { padding: kernel / 2, stride, ..Default::default() };
        let conv = candle_nn::conv2d_no_bias(c, k, kernel, config, vb.pp("conv"))?;
        Ok(Self { conv, norm: candle_nn::batch_norm(k, 1e-5, vb.pp("norm"))?, relu })
    }
}

impl ModuleT for ConvNorm {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let y = self.norm.forward_t(&self.conv.forward(x)?, train)?;
        if self.relu { y.relu() } else { Ok(y) }
    }
}

/// Convolutions and, beside them, the input or a 1x1 convolution of it.
struct Block {
    convs: Vec<ConvNorm>,
    shortcut: Option<ConvNorm>,
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut y = x.clone();
        for conv in &self.convs {
            y = conv.forward_t(&y, train)?;
        }
        match &self.shortcut {
            Some(shortcut) => (y + shortcut.forward_t(x, train)?)?.relu(),
            None => (y + x)?.relu(),
        }
    }
}

/// ResNet-18 (basic blocks) or ResNet-50 (bottlenecks).
pub struct ResNet {
    stem: ConvNorm,
    blocks: Vec<Block>,
    head: Linear,
}

impl ResNet {
    /// With `layers` blocks in each of the four stages.
    pub fn new(layers: [usize; 4], bottleneck: bool, vb: VarBuilder) -> Result<Self> {
        let stem = ConvNorm::new([3, 64, 7, 2], true, vb.pp("stem"))?;
        let (mut blocks, mut c) = (Vec::new(), 64);
        for (stage, count) in layers.into_iter().enumerate() {
            for block in 0..count {
                let vb = vb.pp(format!("{stage}.{block}"));
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let width = 64 << stage;
                let sizes = match bottleneck {
                    true => {
                        vec![[c, width, 1, 1], [width, width, 3, stride], [width, 4 * width, 1, 1]]
                    }
                    false => vec![[c, width, 3, stride], [width, width, 3, 1]],
                };
                let last = sizes.len() - 1;
                let conv = |(i, size)| ConvNorm::new(size, i < last, vb.pp(i));
                let k = sizes[last][1];
                let shortcut = (c != k || stride > 1)
                    .then(|| ConvNorm::new([c, k, 1, stride], false, vb.pp("shortcut")));
                let convs = sizes.into_iter().enumerate().map(conv).collect::<Result<_>>()?;
                blocks.push(Block { convs, shortcut: shortcut.transpose()? });
                c = k;
            }
        }
        Ok(Self { stem, blocks, head: candle_nn::linear(c, 1000, vb.pp("head"))? })
    }
}

impl ModuleT for ResNet {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let x = self.stem.forward_t(x, train)?.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
        let mut x = x.max_pool2d_with_stride(3, 2)?;
        for block in &self.blocks {
            x = block.forward_t(&x, train)?;
        }
        self.head.forward(&x.mean(D::Minus1)?.mean(D::Minus1)?)
    }
}
