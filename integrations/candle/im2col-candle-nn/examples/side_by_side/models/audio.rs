//! The convolutions that turn sound into the vectors that an audio codec quantises.

use super::candle_nn;
use candle_core::{Result, Tensor};
use candle_nn::{Conv1d, Conv1dConfig, Module, ModuleT, VarBuilder};

/// A convolution that sees only what came before: all its padding is on the left.
struct Causal {
    conv: Conv1d,
    padding: usize,
}

impl Causal {
    fn new([c, k, kernel, stride]: [usize; 4], vb: VarBuilder) -> Result<Self> {
        let config = Conv1dConfig { stride, ..Default::default() };
        let conv = candle_nn::conv1d(c, k, kernel, config, vb)?;
        Ok(Self { conv, padding: kernel - stride })
    }
}

impl Module for Causal {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.conv.forward(&x.pad_with_zeros(2, self.padding, 0)?)
    }
}

/// Two convolutions beside the input, then one that makes the signal shorter.
struct Stage {
    residual: [Causal; 2],
    down: Causal,
}

impl Module for Stage {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.residual[0].forward(&x.elu(1.0)?)?;
        let y = (self.residual[1].forward(&y.elu(1.0)?)? + x)?;
        self.down.forward(&y.elu(1.0)?)
    }
}

/// EnCodec's encoder for 24 kHz, without its LSTM.
pub struct AudioEncoder {
    first: Causal,
    stages: Vec<Stage>,
    last: Causal,
}

impl AudioEncoder {
    /// From one channel to 128, 320 samples to one vector.
    pub fn new(vb: VarBuilder) -> Result<Self> {
        let mut stages = Vec::new();
        for (i, stride) in [2, 4, 5, 8].into_iter().enumerate() {
            let (c, vb) = (32 << i, vb.pp(format!("layers.{i}")));
            stages.push(Stage {
                residual: [
                    Causal::new([c, c / 2, 3, 1], vb.pp("block.1"))?,
                    Causal::new([c / 2, c, 1, 1], vb.pp("block.3"))?,
                ],
                down: Causal::new([c, 2 * c, 2 * stride, stride], vb.pp("down"))?,
            });
        }
        Ok(Self {
            first: Causal::new([1, 32, 7, 1], vb.pp("first"))?,
            stages,
            last: Causal::new([512, 128, 7, 1], vb.pp("last"))?,
        })
    }
}

impl ModuleT for AudioEncoder {
    fn forward_t(&self, x: &Tensor, _: bool) -> Result<Tensor> {
        let mut x = self.first.forward(x)?;
        for stage in &self.stages {
            x = stage.forward(&x)?;
        }
        self.last.forward(&x.elu(1.0)?)
    }
}
