//! Models written against candle-nn. They are compiled twice: with candle-nn, and with the drop-in under its name.

use super::candle_nn;

mod audio;
mod convnext;
mod resnet;
mod small;
mod vae;

pub use audio::AudioEncoder;
pub use convnext::ConvNext;
pub use resnet::ResNet;
pub use small::{Cifar, CifarPlain, Mnist};
pub use vae::VaeDecoder;
