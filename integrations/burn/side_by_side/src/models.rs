//! Nets written against burn. This file is compiled twice: with burn's layers, and with im2col's under their names.

use super::nn;
use burn::module::Module;
use burn::tensor::{Device, Tensor, activation::relu};
use nn::conv::{Conv2d, Conv2dConfig};
use nn::pool::{MaxPool2d, MaxPool2dConfig};
use nn::{BatchNorm, BatchNormConfig, Initializer, Linear, LinearConfig, PaddingConfig2d};

/// A convolution without bias, its batch norm, and perhaps a ReLU.
#[derive(Module, Debug)]
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
    relu: bool,
}

impl ConvNorm {
    /// Of sizes `[input channels, output channels, kernel, stride, groups]`.
    fn new([c, k, kernel, stride, groups]: [usize; 5], relu: bool, device: &Device) -> Self {
        let side = kernel / 2;
        // So that what a deep net gives depends on its images before the norms have seen any.
        let initializer = Initializer::KaimingNormal { gain: 2f64.sqrt(), fan_out_only: false };
        let conv = Conv2dConfig::new([c, k], [kernel, kernel])
            .with_stride([stride, stride])
            .with_groups(groups)
            .with_padding(PaddingConfig2d::Explicit(side, side, side, side))
            .with_bias(false)
            .with_initializer(initializer);
        Self { conv: conv.init(device), norm: BatchNormConfig::new(k).init(device), relu }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.norm.forward(self.conv.forward(x));
        if self.relu { relu(y) } else { y }
    }
}

/// Scores of classes, of the means of all channels.
fn classify(head: &Linear, x: Tensor<4>) -> Tensor<2> {
    head.forward(x.mean_dim(3).mean_dim(2).flatten(1, 3))
}

/// Convolutions in a row.
#[derive(Module, Debug)]
pub struct Chain {
    convs: Vec<ConvNorm>,
    head: Linear,
}

impl Chain {
    fn new(sizes: &[[usize; 5]], classes: usize, device: &Device) -> Self {
        let channels = sizes[sizes.len() - 1][1];
        Self {
            convs: sizes.iter().map(|size| ConvNorm::new(*size, true, device)).collect(),
            head: LinearConfig::new(channels, classes).init(device),
        }
    }

    /// Six convolutions of 3x3, as nets for CIFAR begin.
    pub fn cifar(device: &Device) -> Self {
        let sizes = [
            [3, 32, 3, 1, 1],
            [32, 32, 3, 1, 1],
            [32, 64, 3, 2, 1],
            [64, 64, 3, 1, 1],
            [64, 128, 3, 2, 1],
            [128, 128, 3, 1, 1],
        ];
        Self::new(&sizes, 10, device)
    }

    /// MobileNet: a depthwise convolution and one of 1x1, thirteen times.
    pub fn mobilenet(device: &Device) -> Self {
        let mut sizes = vec![[3, 32, 3, 2, 1]];
        let pairs = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
            .into_iter()
            .chain([(512, 1); 5])
            .chain([(1024, 2), (1024, 1)]);
        for (k, stride) in pairs {
            let c = sizes[sizes.len() - 1][1];
            sizes.extend([[c, c, 3, stride, c], [c, k, 1, 1, 1]]);
        }
        Self::new(&sizes, 1000, device)
    }

    /// Scores `[N, classes]` of images `[N, 3, H, W]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.convs.iter().fold(images, |x, conv| conv.forward(x));
        classify(&self.head, x)
    }
}

/// Convolutions and, beside them, the input or a 1x1 convolution of it.
#[derive(Module, Debug)]
struct Block {
    convs: Vec<ConvNorm>,
    shortcut: Option<ConvNorm>,
}

impl Block {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let y = self.convs.iter().fold(x.clone(), |y, conv| conv.forward(y));
        match &self.shortcut {
            Some(shortcut) => relu(y + shortcut.forward(x)),
            None => relu(y + x),
        }
    }
}

/// ResNet-18 (basic blocks) or ResNet-50 (bottlenecks).
#[derive(Module, Debug)]
pub struct ResNet {
    stem: ConvNorm,
    pool: MaxPool2d,
    blocks: Vec<Block>,
    head: Linear,
}

impl ResNet {
    /// With `layers` blocks in each of the four stages.
    pub fn new(layers: [usize; 4], bottleneck: bool, device: &Device) -> Self {
        let (mut blocks, mut c) = (Vec::new(), 64);
        for (stage, count) in layers.into_iter().enumerate() {
            for block in 0..count {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let width = 64 << stage;
                let sizes = match bottleneck {
                    true => vec![
                        [c, width, 1, 1, 1],
                        [width, width, 3, stride, 1],
                        [width, 4 * width, 1, 1, 1],
                    ],
                    false => vec![[c, width, 3, stride, 1], [width, width, 3, 1, 1]],
                };
                let last = sizes.len() - 1;
                let k = sizes[last][1];
                let shortcut = (c != k || stride > 1)
                    .then(|| ConvNorm::new([c, k, 1, stride, 1], false, device));
                let conv = |(i, size)| ConvNorm::new(size, i < last, device);
                let convs = sizes.into_iter().enumerate().map(conv).collect();
                blocks.push(Block { convs, shortcut });
                c = k;
            }
        }
        let pool = MaxPool2dConfig::new([3, 3])
            .with_strides([2, 2])
            .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1));
        Self {
            stem: ConvNorm::new([3, 64, 7, 2, 1], true, device),
            pool: pool.init(),
            blocks,
            head: LinearConfig::new(c, 1000).init(device),
        }
    }

    /// Scores `[N, 1000]` of images `[N, 3, H, W]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(self.stem.forward(images));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        classify(&self.head, x)
    }
}
