//! Models written against candle-nn. This file is compiled twice: with candle-nn, and with the drop-in under its name.

use super::candle_nn;
use candle_core::{D, Result, Tensor};
use candle_nn::{BatchNorm, Conv2d, Conv2dConfig, Linear, Module, ModuleT, VarBuilder};

/// A convolution without bias, its batch norm, and perhaps a ReLU.
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
    relu: bool,
}

impl ConvNorm {
    fn new([c, k, kernel, stride]: [usize; 4], relu: bool, vb: VarBuilder) -> Result<Self> {
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

/// Six convolutions of 3x3, as nets for CIFAR begin.
pub struct Cifar {
    convs: Vec<ConvNorm>,
    head: Linear,
}

impl Cifar {
    /// For 3 channels of 32x32 and 10 classes.
    pub fn new(vb: VarBuilder) -> Result<Self> {
        let sizes = [
            [3, 32, 3, 1],
            [32, 32, 3, 1],
            [32, 64, 3, 2],
            [64, 64, 3, 1],
            [64, 128, 3, 2],
            [128, 128, 3, 1],
        ];
        let conv = |(i, size)| ConvNorm::new(size, true, vb.pp(i));
        let convs = sizes.into_iter().enumerate().map(conv).collect::<Result<_>>()?;
        Ok(Self { convs, head: candle_nn::linear(128, 10, vb.pp("head"))? })
    }
}

impl ModuleT for Cifar {
    fn forward_t(&self, x: &Tensor, train: bool) -> Result<Tensor> {
        let mut x = x.clone();
        for conv in &self.convs {
            x = conv.forward_t(&x, train)?;
        }
        self.head.forward(&x.mean(D::Minus1)?.mean(D::Minus1)?)
    }
}

/// The two convolutions and two dense layers of candle's MNIST example, for 28x28.
pub struct Mnist {
    convs: [Conv2d; 2],
    dense: [Linear; 2],
}

impl Mnist {
    /// For one channel of 28x28 and 10 classes.
    pub fn new(vb: VarBuilder) -> Result<Self> {
        let conv = |c, k, name| candle_nn::conv2d(c, k, 5, Default::default(), vb.pp(name));
        let dense = |c, k, name| candle_nn::linear(c, k, vb.pp(name));
        Ok(Self {
            convs: [conv(1, 32, "c1")?, conv(32, 64, "c2")?],
            dense: [dense(1024, 1024, "fc1")?, dense(1024, 10, "fc2")?],
        })
    }
}

impl ModuleT for Mnist {
    fn forward_t(&self, x: &Tensor, _: bool) -> Result<Tensor> {
        let mut x = x.clone();
        for conv in &self.convs {
            x = conv.forward(&x)?.max_pool2d(2)?;
        }
        self.dense[1].forward(&self.dense[0].forward(&x.flatten_from(1)?)?.relu()?)
    }
}
