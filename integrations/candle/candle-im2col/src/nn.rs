//! candle-nn's convolution layers: the same names, constructors, variables and accessors, computed by im2col where it
//! [takes](crate::takes) the input and by candle-nn elsewhere.
//!
//! A layer that is told to [freeze](Conv2d::freeze) keeps its weight packed from its first use on, beside the tensor.
//!
//! ```
//! use candle_core::{DType, Device, Module, Tensor};
//! use candle_im2col::nn::{Conv2dConfig, conv2d};
//!
//! let vars = candle_nn::VarMap::new();
//! let vb = candle_nn::VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
//! let config = Conv2dConfig { padding: 1, ..Default::default() };
//! let layer = conv2d(3, 16, 3, config, vb.pp("conv1"))?; // conv1.weight and conv1.bias
//! let y = layer.forward(&Tensor::ones((1, 3, 8, 8), DType::F32, &Device::Cpu)?)?;
//! assert_eq!(y.dims(), [1, 16, 8, 8]);
//! # Ok::<(), candle_core::Error>(())
//! ```

use crate::frozen::Frozen;
use crate::{ConvOptions, ConvTransposeOptions};
use candle_core::{Module, Result, Tensor};
use candle_nn::{BatchNorm, VarBuilder};

pub use candle_nn::conv::{
    Conv1dConfig, Conv2dConfig, ConvTranspose1dConfig, ConvTranspose2dConfig,
};

/// Defines one layer: candle-nn's, with another `forward`. The four differ in their types' names only, and a generic
/// type would not have these names in errors and `Debug`.
macro_rules! layer {
    ($(#[$doc:meta])* $layer:ident, $config:ident, $new:ident, $new_no_bias:ident, $forward:path, $options:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $layer {
            layer: candle_nn::$layer,
            frozen: Option<Frozen>,
        }

        impl $layer {
            /// The layer of these tensors.
            pub fn new(weight: Tensor, bias: Option<Tensor>, config: $config) -> Self {
                candle_nn::$layer::new(weight, bias, config).into()
            }

            /// Stride, padding and the rest.
            pub fn config(&self) -> &$config {
                self.layer.config()
            }

            /// The weight.
            pub fn weight(&self) -> &Tensor {
                self.layer.weight()
            }

            /// The bias, where there is one.
            pub fn bias(&self) -> Option<&Tensor> {
                self.layer.bias()
            }
        }

        impl From<candle_nn::$layer> for $layer {
            fn from(layer: candle_nn::$layer) -> Self {
                Self { layer, frozen: None }
            }
        }

        impl From<$layer> for candle_nn::$layer {
            fn from(layer: $layer) -> Self {
                layer.layer
            }
        }

        impl Module for $layer {
            fn forward(&self, input: &Tensor) -> Result<Tensor> {
                match $options(self.config()) {
                    Some(options) if crate::takes(input) => {
                        $forward(input, self.weight(), self.bias(), &options, self.frozen.as_ref())
                    }
                    _ => self.layer.forward(input),
                }
            }
        }

        /// The layer with candle-nn's initial values, or what the builder loads.
        ///
        /// # Errors
        /// Where a variable is missing or has another shape.
        pub fn $new(
            in_channels: usize,
            out_channels: usize,
            kernel_size: usize,
            config: $config,
            vb: VarBuilder,
        ) -> Result<$layer> {
            candle_nn::conv::$new(in_channels, out_channels, kernel_size, config, vb)
                .map($layer::from)
        }

        /// The layer without a bias.
        ///
        /// # Errors
        /// Where the variable is missing or has another shape.
        pub fn $new_no_bias(
            in_channels: usize,
            out_channels: usize,
            kernel_size: usize,
            config: $config,
            vb: VarBuilder,
        ) -> Result<$layer> {
            candle_nn::conv::$new_no_bias(in_channels, out_channels, kernel_size, config, vb)
                .map($layer::from)
        }
    };
}

layer!(
    /// A convolution over one axis.
    Conv1d, Conv1dConfig, conv1d, conv1d_no_bias, crate::conv_of, conv1d_options
);
layer!(
    /// A convolution over two axes.
    Conv2d, Conv2dConfig, conv2d, conv2d_no_bias, crate::conv_of, conv2d_options
);
layer!(
    /// A transposed convolution over one axis.
    ConvTranspose1d, ConvTranspose1dConfig, conv_transpose1d, conv_transpose1d_no_bias,
    conv_transpose, transpose1d_options
);
layer!(
    /// A transposed convolution over two axes.
    ConvTranspose2d, ConvTranspose2dConfig, conv_transpose2d, conv_transpose2d_no_bias,
    conv_transpose, transpose2d_options
);

impl Conv1d {
    /// The layer for inference: its weight is packed at its first use and isn't read again while nothing tracks it, so
    /// what is written into the weight's tensor after that is not seen. Copies of the layer share what is packed.
    #[must_use]
    pub fn freeze(self) -> Self {
        Self { frozen: Some(Frozen::default()), ..self }
    }
}

impl Conv2d {
    /// The layer for inference, as [`Conv1d::freeze`].
    #[must_use]
    pub fn freeze(self) -> Self {
        Self { frozen: Some(Frozen::default()), ..self }
    }

    /// The layer that does what this one and then the batch norm does at inference.
    ///
    /// # Errors
    /// Where the batch norm has no weight and bias.
    pub fn absorb_bn(&self, bn: &BatchNorm) -> Result<Self> {
        self.layer.absorb_bn(bn).map(Self::from)
    }
}

/// A transposed layer is never frozen.
fn conv_transpose<const AXES: usize>(
    input: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    options: &ConvTransposeOptions<AXES>,
    _frozen: Option<&Frozen>,
) -> Result<Tensor> {
    crate::conv_transpose(input, weight, bias, options)
}

fn conv1d_options(config: &Conv1dConfig) -> Option<ConvOptions<1>> {
    let &Conv1dConfig { padding, stride, dilation, groups, .. } = config;
    Some(conv_options([padding, stride, dilation, groups]))
}

fn conv2d_options(config: &Conv2dConfig) -> Option<ConvOptions<2>> {
    let &Conv2dConfig { padding, stride, dilation, groups, .. } = config;
    Some(conv_options([padding, stride, dilation, groups]))
}

fn conv_options<const AXES: usize>(
    [padding, stride, dilation, groups]: [usize; 4],
) -> ConvOptions<AXES> {
    ConvOptions::default()
        .padding([padding; AXES])
        .stride([stride; AXES])
        .dilation([dilation; AXES])
        .groups(groups)
}

fn transpose1d_options(config: &ConvTranspose1dConfig) -> Option<ConvTransposeOptions<1>> {
    let &ConvTranspose1dConfig { padding, output_padding, stride, dilation, groups } = config;
    transpose_options([padding, output_padding, stride, dilation, groups])
}

fn transpose2d_options(config: &ConvTranspose2dConfig) -> Option<ConvTransposeOptions<2>> {
    let &ConvTranspose2dConfig { padding, output_padding, stride, dilation } = config;
    transpose_options([padding, output_padding, stride, dilation, 1])
}

/// `None` for an output padding that torch and im2col refuse and candle doesn't.
fn transpose_options<const AXES: usize>(
    [padding, output_padding, stride, dilation, groups]: [usize; 5],
) -> Option<ConvTransposeOptions<AXES>> {
    let options = ConvTransposeOptions::default()
        .padding([padding; AXES])
        .output_padding([output_padding; AXES])
        .stride([stride; AXES])
        .dilation([dilation; AXES])
        .groups(groups);
    (output_padding == 0 || output_padding < stride).then_some(options)
}
