//! Trains a small net on the 8x8 digits of `examples/data`. Nothing in this file knows of im2col but one line.
//! usage: cargo run --release -p digits [EPOCHS]

use burn::module::Module;
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, Int, Tensor, TensorData, activation::relu};
// The one line. Without im2col it is: use burn::nn::{Linear, ..
use burn_im2col::nn::{Linear, LinearConfig, PaddingConfig2d, conv::*, loss};
use std::path::Path;

#[derive(Module, Debug)]
struct Net {
    convs: [Conv2d; 2],
    head: Linear,
}

impl Net {
    fn new(device: &Device) -> Self {
        let conv = |channels, stride| {
            let config = Conv2dConfig::new(channels, [3, 3]).with_stride([stride, stride]);
            config.with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(device)
        };
        let head = LinearConfig::new(32 * 4 * 4, 10).init(device);
        Self { convs: [conv([1, 16], 1), conv([16, 32], 2)], head }
    }

    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = relu(self.convs[0].forward(images));
        let x = relu(self.convs[1].forward(x));
        self.head.forward(x.flatten(1, 3))
    }
}

/// The bytes of an IDX file past its header of `header` bytes.
fn idx(name: &str, header: usize) -> std::io::Result<Vec<u8>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/data");
    Ok(std::fs::read(data.join(format!("digits-{name}-ubyte")))?.split_off(header))
}

/// Images `[N, 1, 8, 8]` from 0 to 1, and their digits.
fn read(set: &str, device: &Device) -> std::io::Result<(Tensor<4>, Tensor<1, Int>)> {
    let labels: Vec<i32> =
        idx(&format!("{set}-labels-idx1"), 8)?.into_iter().map(i32::from).collect();
    let pixels = idx(&format!("{set}-images-idx3"), 16)?;
    let pixels: Vec<f32> = pixels.into_iter().map(|pixel| f32::from(pixel) / 255.0).collect();
    let images = TensorData::new(pixels, [labels.len(), 1, 8, 8]);
    Ok((Tensor::from_data(images, device), Tensor::from_data(labels.as_slice(), device)))
}

fn accuracy(net: &Net, images: Tensor<4>, digits: Tensor<1, Int>) -> f32 {
    let count = digits.dims()[0] as f32;
    let guesses = net.forward(images).argmax(1).flatten::<1>(0, 1);
    guesses.equal(digits).int().sum().into_scalar::<i32>() as f32 / count
}

/// The part of the test images that the net reads after `epochs` epochs in batches of 60.
fn train(epochs: usize) -> std::io::Result<f32> {
    let device = Device::flex();
    let test = read("test", &device)?;
    let device = device.autodiff();
    let (images, digits) = read("train", &device)?;
    device.seed(0);
    let mut net = Net::new(&device);
    let mut optimizer = AdamWConfig::new().init();
    let cross_entropy = loss::CrossEntropyLossConfig::new().init(&device);
    let batches = digits.dims()[0] / 60;
    let mut read = 0.0;
    for epoch in 0..epochs {
        let mut loss = 0.0;
        for batch in 0..batches {
            let images = images.clone().narrow(0, batch * 60, 60);
            let digits = digits.clone().narrow(0, batch * 60, 60);
            let of_batch = cross_entropy.forward(net.forward(images), digits);
            loss += of_batch.clone().into_scalar::<f32>() / batches as f32;
            let grads = GradientsParams::from_grads(of_batch.backward(), &net);
            net = optimizer.step(3e-3, net, grads);
        }
        read = accuracy(&net.valid(), test.0.clone(), test.1.clone());
        println!("epoch {epoch}: loss {loss:.4}, {:.1} % of the test images read", 100.0 * read);
    }
    Ok(read)
}

fn main() -> std::io::Result<()> {
    let epochs = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(10);
    train(epochs).map(drop)
}

#[test]
fn digits_are_learnt() {
    // Guessing reads a tenth of them.
    let read = train(3).unwrap();
    assert!(read > 0.7, "{read}");
}

#[test]
fn the_line_is_the_readmes() {
    let line = include_str!("main.rs").lines().find(|line| line.starts_with("use burn_im2col"));
    assert!(include_str!("../../burn-im2col/README.md").contains(line.unwrap()));
    let line = include_str!("../Cargo.toml").lines().find(|line| line.starts_with("burn-im2col"));
    let line =
        line.unwrap().replace(r#"{ version = "0.22", path = "../burn-im2col" }"#, r#""0.22""#);
    assert!(include_str!("../../burn-im2col/README.md").contains(&line));
}
