//! The decoder that turns the latents of a diffusion model into an image.

use super::candle_nn;
use candle_core::{D, Result, Tensor};
use candle_nn::{Conv2d, Conv2dConfig, GroupNorm, Linear, Module, ModuleT, VarBuilder};

fn conv([c, k, kernel]: [usize; 3], vb: VarBuilder) -> Result<Conv2d> {
    let config = Conv2dConfig { padding: kernel / 2, ..Default::default() };
    candle_nn::conv2d(c, k, kernel, config, vb)
}

fn norm(channels: usize, vb: VarBuilder) -> Result<GroupNorm> {
    candle_nn::group_norm(32, channels, 1e-6, vb)
}

/// Two convolutions, each after a norm and a SiLU, beside the input.
struct Block {
    norms: [GroupNorm; 2],
    convs: [Conv2d; 2],
    shortcut: Option<Conv2d>,
}

impl Block {
    fn new(c: usize, k: usize, vb: VarBuilder) -> Result<Self> {
        let shortcut = (c != k).then(|| conv([c, k, 1], vb.pp("conv_shortcut"))).transpose()?;
        Ok(Self {
            norms: [norm(c, vb.pp("norm1"))?, norm(k, vb.pp("norm2"))?],
            convs: [conv([c, k, 3], vb.pp("conv1"))?, conv([k, k, 3], vb.pp("conv2"))?],
            shortcut,
        })
    }
}

impl Module for Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut y = x.clone();
        for (norm, conv) in self.norms.iter().zip(&self.convs) {
            y = conv.forward(&norm.forward(&y)?.silu()?)?;
        }
        match &self.shortcut {
            Some(shortcut) => y + shortcut.forward(x)?,
            None => y + x,
        }
    }
}

/// Attention of one head over all pixels.
struct Attention {
    norm: GroupNorm,
    query_key_value: [Linear; 3],
    out: Linear,
}

impl Attention {
    fn new(c: usize, vb: VarBuilder) -> Result<Self> {
        let linear = |name| candle_nn::linear(c, c, vb.pp(name));
        Ok(Self {
            norm: norm(c, vb.pp("group_norm"))?,
            query_key_value: [linear("to_q")?, linear("to_k")?, linear("to_v")?],
            out: linear("to_out")?,
        })
    }
}

impl Module for Attention {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (_, c, h, w) = x.dims4()?;
        let pixels = self.norm.forward(x)?.flatten_from(2)?.transpose(1, 2)?.contiguous()?;
        let [query, key, value] = [0, 1, 2].map(|i| self.query_key_value[i].forward(&pixels));
        let weights = (query?.matmul(&key?.t()?)? * (c as f64).powf(-0.5))?;
        let weights = candle_nn::ops::softmax(&weights, D::Minus1)?;
        let y = self.out.forward(&weights.matmul(&value?)?)?;
        y.transpose(1, 2)?.reshape(((), c, h, w))? + x
    }
}

/// Stable Diffusion's decoder: latents of four channels become an image of eight times their size.
pub struct VaeDecoder {
    conv_in: Conv2d,
    middle: (Block, Attention, Block),
    /// Three blocks for each size, and the convolution after doubling it.
    up: Vec<([Block; 3], Option<Conv2d>)>,
    norm_out: GroupNorm,
    conv_out: Conv2d,
}

impl VaeDecoder {
    /// With channels and layers as they are in Stable Diffusion 1 and 2.
    pub fn new(vb: VarBuilder) -> Result<Self> {
        let (mut up, mut c) = (Vec::new(), 512);
        let middle = vb.pp("mid_block");
        for (stage, k) in [512, 512, 256, 128].into_iter().enumerate() {
            let vb = vb.pp(format!("up_blocks.{stage}"));
            let block = |i: usize| Block::new(if i == 0 { c } else { k }, k, vb.pp(i));
            let blocks = [block(0)?, block(1)?, block(2)?];
            let upsampler = (stage < 3).then(|| conv([k, k, 3], vb.pp("upsampler")));
            up.push((blocks, upsampler.transpose()?));
            c = k;
        }
        Ok(Self {
            conv_in: conv([4, 512, 3], vb.pp("conv_in"))?,
            middle: (
                Block::new(512, 512, middle.pp("resnets.0"))?,
                Attention::new(512, middle.pp("attentions.0"))?,
                Block::new(512, 512, middle.pp("resnets.1"))?,
            ),
            up,
            norm_out: norm(128, vb.pp("conv_norm_out"))?,
            conv_out: conv([128, 3, 3], vb.pp("conv_out"))?,
        })
    }
}

impl ModuleT for VaeDecoder {
    fn forward_t(&self, latents: &Tensor, _: bool) -> Result<Tensor> {
        let (first, attention, second) = &self.middle;
        let x = first.forward(&self.conv_in.forward(latents)?)?;
        let mut x = second.forward(&attention.forward(&x)?)?;
        for (blocks, upsampler) in &self.up {
            for block in blocks {
                x = block.forward(&x)?;
            }
            if let Some(conv) = upsampler {
                let (_, _, h, w) = x.dims4()?;
                x = conv.forward(&x.upsample_nearest2d(2 * h, 2 * w)?)?;
            }
        }
        self.conv_out.forward(&self.norm_out.forward(&x)?.silu()?)
    }
}
