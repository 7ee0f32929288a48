//! Nets that are trained on small images.

use super::candle_nn;
use super::resnet::ConvNorm;
use candle_core::{D, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, Linear, Module, ModuleT, VarBuilder};

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

/// The same convolutions with biases instead of batch norms.
pub struct CifarPlain {
    convs: Vec<Conv2d>,
    head: Linear,
}

impl CifarPlain {
    /// For 3 channels of 32x32 and 10 classes.
    pub fn new(vb: VarBuilder) -> Result<Self> {
        let conv = |(i, [c, k, stride]): (usize, [usize; 3])| {
            let config = Conv2dConfig { padding: 1, stride, ..Default::default() };
            candle_nn::conv2d(c, k, 3, config, vb.pp(i))
        };
        let sizes =
            [[3, 32, 1], [32, 32, 1], [32, 64, 2], [64, 64, 1], [64, 128, 2], [128, 128, 1]];
        let convs = sizes.into_iter().enumerate().map(conv).collect::<Result<_>>()?;
        Ok(Self { convs, head: candle_nn::linear(128, 10, vb.pp("head"))? })
    }
}

impl ModuleT for CifarPlain {
    fn forward_t(&self, x: &Tensor, _: bool) -> Result<Tensor> {
        let mut x = x.clone();
        for conv in &self.convs {
            x = conv.forward(&x)?.relu()?;
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
