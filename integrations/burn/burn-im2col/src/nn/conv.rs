//! burn's convolution layers: the same names, configurations, fields and records, computed by im2col.
//!
//! ```
//! use burn::module::Module;
//! use burn::tensor::Device;
//! let device = Device::flex();
//! let saved = burn::nn::conv::Conv2dConfig::new([3, 8], [3, 3]).init(&device).into_record();
//! let layer = burn_im2col::nn::conv::Conv2dConfig::new([3, 8], [3, 3]).init(&device);
//! let layer = layer.load_record(saved);
//! # let _ = layer;
//! ```

use burn::config::Config;
use burn::module::{Content, DisplaySettings, Module, ModuleDisplay, Param};
use burn::nn::{Initializer, PaddingConfig1d, PaddingConfig2d, PaddingConfig3d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Device, Tensor};

pub use burn::nn::conv::{DeformConv2d, DeformConv2dConfig};

/// Defines one layer and its configuration: burn's, with another `forward`. A record holds a module's fields by their
/// names, and `#[derive(Module)]` wants them written out, so that a generic type would not do.
macro_rules! layer {
    (
        $(#[$doc:meta])*
        $layer:ident, $config:ident, $rank:literal,
        config { $($field:ident: $type:ty $(= $default:literal)?,)* }
        layer { $($kept:ident: $kept_type:ty,)* }
        $(skip { $padding:ident: $padding_type:ty })?
        forward = $forward:expr
    ) => {
        $(#[$doc])*
        ///
        /// Its parameters are named as those of burn's layer.
        #[derive(Module, Debug)]
        #[module(custom_display)]
        pub struct $layer {
            /// The weight.
            pub weight: Param<Tensor<$rank>>,
            /// The bias, where there is one.
            pub bias: Option<Param<Tensor<1>>>,
            $(
                /// As in burn's layer.
                pub $kept: $kept_type,
            )*
            $(
                /// Zeros around the input.
                #[module(skip)]
                pub $padding: $padding_type,
            )?
        }

        /// What makes the layer, with the fields and defaults of burn's.
        #[derive(Config, Debug)]
        pub struct $config {
            $(
                /// As in burn's configuration.
                $(#[config(default = $default)])?
                pub $field: $type,
            )*
            /// Whether there is a bias.
            #[config(default = true)]
            pub bias: bool,
            /// How parameters start.
            #[config(
                default = "Initializer::KaimingUniform { gain: 1.0 / 3f64.sqrt(), fan_out_only: false }"
            )]
            pub initializer: Initializer,
        }

        impl $config {
            /// The layer with burn's initial values.
            ///
            /// # Panics
            /// As burn's, where channels are not divided by the groups.
            pub fn init(&self, device: &Device) -> $layer {
                let $config { $($field,)* bias, initializer } = self.clone();
                burn::nn::conv::$config { $($field,)* bias, initializer }.init(device).into()
            }
        }

        impl From<burn::nn::conv::$layer> for $layer {
            fn from(layer: burn::nn::conv::$layer) -> Self {
                let burn::nn::conv::$layer { weight, bias, $($kept,)* $($padding)? } = layer;
                Self { weight, bias, $($kept,)* $($padding)? }
            }
        }

        impl From<$layer> for burn::nn::conv::$layer {
            fn from(layer: $layer) -> Self {
                let $layer { weight, bias, $($kept,)* $($padding)? } = layer;
                Self { weight, bias, $($kept,)* $($padding)? }
            }
        }

        impl ModuleDisplay for $layer {
            fn custom_settings(&self) -> Option<DisplaySettings> {
                burn::nn::conv::$layer::from(self.clone()).custom_settings()
            }

            fn custom_content(&self, content: Content) -> Option<Content> {
                burn::nn::conv::$layer::from(self.clone()).custom_content(content)
            }
        }

        impl $layer {
            /// The layer's output, `[N, K, spatial..]` of an input `[N, C, spatial..]`.
            ///
            /// # Panics
            /// As burn's layer, where the input doesn't fit.
            pub fn forward(&self, input: Tensor<$rank>) -> Tensor<$rank> {
                let bias = self.bias.as_ref().map(Param::val);
                ($forward)(self, input, self.weight.val(), bias)
            }
        }
    };
}

layer! {
    /// A convolution over one axis.
    Conv1d, Conv1dConfig, 3,
    config {
        channels_in: usize,
        channels_out: usize,
        kernel_size: usize,
        stride: usize = "1",
        dilation: usize = "1",
        groups: usize = "1",
        padding: PaddingConfig1d = "PaddingConfig1d::Valid",
    }
    layer { stride: usize, kernel_size: usize, dilation: usize, groups: usize, }
    skip { padding: PaddingConfig1d }
    forward = |layer: &Conv1d, x: Tensor<3>, weight, bias| {
        let Conv1d { stride, kernel_size, dilation, groups, padding, .. } = layer;
        let padding = match *padding {
            PaddingConfig1d::Valid => (0, 0),
            PaddingConfig1d::Same => same(x.dims()[2], *kernel_size, *stride),
            PaddingConfig1d::Explicit(left, right) => (left, right),
        };
        let options = ConvOptions::new_with_padding([*stride], [padding], [*dilation], *groups);
        crate::conv1d(x, weight, bias, options)
    }
}

layer! {
    /// A convolution over two axes.
    Conv2d, Conv2dConfig, 4,
    config {
        channels: [usize; 2],
        kernel_size: [usize; 2],
        stride: [usize; 2] = "[1, 1]",
        dilation: [usize; 2] = "[1, 1]",
        groups: usize = "1",
        padding: PaddingConfig2d = "PaddingConfig2d::Valid",
    }
    layer { stride: [usize; 2], kernel_size: [usize; 2], dilation: [usize; 2], groups: usize, }
    skip { padding: PaddingConfig2d }
    forward = |layer: &Conv2d, x: Tensor<4>, weight, bias| {
        let Conv2d { stride, kernel_size, dilation, groups, padding, .. } = layer;
        let [_, _, height, width] = x.dims();
        let padding = match *padding {
            PaddingConfig2d::Valid => [(0, 0); 2],
            PaddingConfig2d::Same => [
                same(height, kernel_size[0], stride[0]),
                same(width, kernel_size[1], stride[1]),
            ],
            PaddingConfig2d::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
        };
        let options = ConvOptions::new_with_padding(*stride, padding, *dilation, *groups);
        crate::conv2d(x, weight, bias, options)
    }
}

layer! {
    /// A convolution over three axes.
    Conv3d, Conv3dConfig, 5,
    config {
        channels: [usize; 2],
        kernel_size: [usize; 3],
        stride: [usize; 3] = "[1, 1, 1]",
        dilation: [usize; 3] = "[1, 1, 1]",
        groups: usize = "1",
        padding: PaddingConfig3d = "PaddingConfig3d::Valid",
    }
    layer { stride: [usize; 3], kernel_size: [usize; 3], dilation: [usize; 3], groups: usize, }
    skip { padding: PaddingConfig3d }
    forward = |layer: &Conv3d, x: Tensor<5>, weight, bias| {
        let Conv3d { stride, kernel_size, dilation, groups, padding, .. } = layer;
        let [_, _, depth, height, width] = x.dims();
        let padding = match *padding {
            PaddingConfig3d::Valid => [(0, 0); 3],
            PaddingConfig3d::Same => [
                same(depth, kernel_size[0], stride[0]),
                same(height, kernel_size[1], stride[1]),
                same(width, kernel_size[2], stride[2]),
            ],
            PaddingConfig3d::Explicit(front, top, left) => [front, top, left].map(|p| (p, p)),
        };
        let options = ConvOptions::new_with_padding(*stride, padding, *dilation, *groups);
        crate::conv3d(x, weight, bias, options)
    }
}

layer! {
    /// A transposed convolution over one axis.
    ConvTranspose1d, ConvTranspose1dConfig, 3,
    config {
        channels: [usize; 2],
        kernel_size: usize,
        stride: usize = "1",
        dilation: usize = "1",
        groups: usize = "1",
        padding: usize = "0",
        padding_out: usize = "0",
    }
    layer {
        stride: usize,
        kernel_size: usize,
        dilation: usize,
        groups: usize,
        padding: usize,
        padding_out: usize,
        channels: [usize; 2],
    }
    forward = |layer: &ConvTranspose1d, x, weight, bias| {
        let &ConvTranspose1d { stride, padding, padding_out, dilation, groups, .. } = layer;
        let options =
            ConvTransposeOptions::new([stride], [padding], [padding_out], [dilation], groups);
        crate::conv_transpose1d(x, weight, bias, options)
    }
}

layer! {
    /// A transposed convolution over two axes.
    ConvTranspose2d, ConvTranspose2dConfig, 4,
    config {
        channels: [usize; 2],
        kernel_size: [usize; 2],
        stride: [usize; 2] = "[1, 1]",
        dilation: [usize; 2] = "[1, 1]",
        groups: usize = "1",
        padding: [usize; 2] = "[0, 0]",
        padding_out: [usize; 2] = "[0, 0]",
    }
    layer {
        stride: [usize; 2],
        kernel_size: [usize; 2],
        dilation: [usize; 2],
        groups: usize,
        padding: [usize; 2],
        padding_out: [usize; 2],
        channels: [usize; 2],
    }
    forward = |layer: &ConvTranspose2d, x, weight, bias| {
        let &ConvTranspose2d { stride, padding, padding_out, dilation, groups, .. } = layer;
        let options = ConvTransposeOptions::new(stride, padding, padding_out, dilation, groups);
        crate::conv_transpose2d(x, weight, bias, options)
    }
}

layer! {
    /// A transposed convolution over three axes.
    ConvTranspose3d, ConvTranspose3dConfig, 5,
    config {
        channels: [usize; 2],
        kernel_size: [usize; 3],
        stride: [usize; 3] = "[1, 1, 1]",
        dilation: [usize; 3] = "[1, 1, 1]",
        groups: usize = "1",
        padding: [usize; 3] = "[0, 0, 0]",
        padding_out: [usize; 3] = "[0, 0, 0]",
    }
    layer {
        stride: [usize; 3],
        kernel_size: [usize; 3],
        dilation: [usize; 3],
        groups: usize,
        padding: [usize; 3],
        padding_out: [usize; 3],
        channels: [usize; 2],
    }
    forward = |layer: &ConvTranspose3d, x, weight, bias| {
        let &ConvTranspose3d { stride, padding, padding_out, dilation, groups, .. } = layer;
        let options = ConvTransposeOptions::new(stride, padding, padding_out, dilation, groups);
        crate::conv_transpose3d(x, weight, bias, options)
    }
}

/// The zeros that make `ceil(input / stride)` outputs, the odd one at the end.
fn same(input: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let reached = input.div_ceil(stride).saturating_sub(1) * stride + kernel;
    let zeros = reached.saturating_sub(input);
    (zeros / 2, zeros - zeros / 2)
}
