//! Trains a small net on the 8x8 digits of `examples/data`. Nothing in this file knows of im2col: see Cargo.toml.
//! usage: cargo run --release -p digits [EPOCHS]

use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::{AdamW, Conv2d, Conv2dConfig, Linear, Module, Optimizer, VarBuilder, VarMap};
use std::path::Path;

struct Net {
    convs: [Conv2d; 2],
    head: Linear,
}

impl Net {
    fn new(vb: VarBuilder) -> Result<Self> {
        let config = |stride| Conv2dConfig { padding: 1, stride, ..Default::default() };
        let convs = [
            candle_nn::conv2d(1, 16, 3, config(1), vb.pp("c1"))?,
            candle_nn::conv2d(16, 32, 3, config(2), vb.pp("c2"))?,
        ];
        Ok(Self { convs, head: candle_nn::linear(32 * 4 * 4, 10, vb.pp("head"))? })
    }
}

impl Module for Net {
    fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let x = self.convs[0].forward(images)?.relu()?;
        let x = self.convs[1].forward(&x)?.relu()?;
        self.head.forward(&x.flatten_from(1)?)
    }
}

/// The bytes of an IDX file past its header of `header` bytes.
fn idx(name: &str, header: usize) -> Result<Vec<u8>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/data");
    Ok(std::fs::read(data.join(format!("digits-{name}-ubyte")))?.split_off(header))
}

/// Images `[N, 1, 8, 8]` from 0 to 1, and their digits.
fn read(set: &str) -> Result<(Tensor, Tensor)> {
    let labels = idx(&format!("{set}-labels-idx1"), 8)?;
    let images = idx(&format!("{set}-images-idx3"), 16)?;
    let images = Tensor::from_vec(images, (labels.len(), 1, 8, 8), &Device::Cpu)?;
    let digits = Tensor::from_iter(labels.into_iter().map(u32::from), &Device::Cpu)?;
    Ok(((images.to_dtype(DType::F32)? / 255.0)?, digits))
}

fn accuracy(net: &Net, images: &Tensor, digits: &Tensor) -> Result<f32> {
    let guesses = net.forward(images)?.argmax(D::Minus1)?;
    guesses.eq(digits)?.to_dtype(DType::F32)?.mean_all()?.to_scalar()
}

/// The part of the test images that the net reads after `epochs` epochs in batches of 60.
fn train(epochs: usize) -> Result<f32> {
    let vars = VarMap::new();
    let net = Net::new(VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu))?;
    let mut optimizer = AdamW::new_lr(vars.all_vars(), 3e-3)?;
    let ((images, digits), test) = (read("train")?, read("test")?);
    let batches = images.dim(0)? / 60;
    let mut read = 0.0;
    for epoch in 0..epochs {
        let mut loss = 0.0;
        for batch in 0..batches {
            let [images, digits] = [&images, &digits].map(|t| t.narrow(0, batch * 60, 60));
            let of_batch = candle_nn::loss::cross_entropy(&net.forward(&images?)?, &digits?)?;
            optimizer.backward_step(&of_batch)?;
            loss += of_batch.to_scalar::<f32>()? / batches as f32;
        }
        read = accuracy(&net, &test.0, &test.1)?;
        println!("epoch {epoch}: loss {loss:.4}, {:.1} % of the test images read", 100.0 * read);
    }
    Ok(read)
}

fn main() -> Result<()> {
    let epochs = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10);
    train(epochs).map(drop)
}

#[test]
fn digits_are_learnt() {
    // Guessing reads a tenth of them. Candle's initial values can't be seeded on the CPU: what is read after three epochs
    // differs by some percent from run to run.
    let read = train(3).unwrap();
    assert!(read > 0.7, "{read}");
}

#[test]
fn the_line_is_the_readmes() {
    let line = include_str!("../Cargo.toml").lines().find(|line| line.starts_with("candle-nn"));
    let published = line.unwrap().replace(r#", path = "../im2col-candle-nn""#, "");
    assert!(include_str!("../../im2col-candle-nn/README.md").contains(&published), "{published}");
}
