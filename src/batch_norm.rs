//! Batch normalisation of a trained layer, folded into its weights.

use crate::element::Element;
use crate::error::{Error, check_len};
use crate::shape::{Layout, Shape};

/// What a batch normalisation has learnt, one number for each output channel, as torch names it.
///
/// In evaluation it makes `(x - mean) / sqrt(variance + epsilon) * gamma + beta` of a layer's output `x`: a multiple of each
/// channel and a number added to it, which [`fold_batch_norm`] puts into the layer's weights and bias.
#[derive(Debug, Clone, Copy)]
pub struct BatchNorm<'a, T> {
    /// The means of the channels, torch's `running_mean`.
    pub mean: &'a [T],
    /// Their variances, torch's `running_var`.
    pub variance: &'a [T],
    /// What the normalised channels are multiplied by, torch's `weight`: ones where it is not learnt.
    pub gamma: &'a [T],
    /// What is added then, torch's `bias`: zeros where it is not learnt.
    pub beta: &'a [T],
    /// Keeps a variance of 0 from dividing: torch's `eps`, 1e-5 if nothing else is said.
    pub epsilon: f64,
}

impl<T: Element> BatchNorm<'_, T> {
    /// The number that a channel is multiplied by, in f64.
    fn scale(&self, channel: usize) -> f64 {
        let [variance, gamma] = [self.variance, self.gamma].map(|of| of[channel].into());
        gamma * inverse_root(variance + self.epsilon)
    }

    /// What the normalisation makes of a channel's bias.
    fn shifted(&self, bias: T, channel: usize) -> T {
        let [mean, beta] = [self.mean, self.beta].map(|of| of[channel].into());
        T::from_f64((bias.into() - mean) * self.scale(channel) + beta)
    }
}

/// Folds a batch normalisation into the weights and the bias of the layer before it, for inference: the layer then gives what the
/// two gave, at no cost. Each weight is rounded once.
///
/// `weight` is a plain layer's, in either layout: its output channels come first, as many as `bias` has elements. A layer without a
/// bias has zeros there. The weights of a transposed layer have the input's channels first: for these, see
/// [`fold_batch_norm_transposed`].
///
/// # Errors
/// [`Error::Length`] if a slice doesn't have an element for each channel of `bias`, or `weight` not as many for each of them;
/// nothing is written then.
///
/// ```
/// use im2col::{BatchNorm, fold_batch_norm};
/// let (mut weight, mut bias) = ([1.0, 2.0, 3.0, 4.0], [0.0, 10.0]); // two filters of two weights
/// let (mean, variance, gamma, beta) = ([1.0, 10.0], [4.0, 1.0], [1.0, 3.0], [0.5, 0.0]);
/// let norm = BatchNorm { mean: &mean, variance: &variance, gamma: &gamma, beta: &beta, epsilon: 0.0 };
/// fold_batch_norm(&mut weight, &mut bias, &norm)?;
/// assert_eq!((weight, bias), ([0.5, 1.0, 9.0, 12.0], [0.0, 0.0]));
/// # Ok::<(), im2col::Error>(())
/// ```
#[doc(alias("fuse_conv_bn", "bn folding"))]
pub fn fold_batch_norm<T: Element>(
    weight: &mut [T],
    bias: &mut [T],
    norm: &BatchNorm<'_, T>,
) -> Result<(), Error> {
    fold(weight, bias, norm, |weight, of_channel| weight / of_channel)
}

/// [`fold_batch_norm`] for a transposed layer, whose weight is `[C, K / groups, kernel..]`, or `[C, kernel.., K / groups]` channels
/// last.
///
/// `shape` is the shape of the convolution inside: `plan.conv().shape()`.
///
/// # Errors
/// As [`fold_batch_norm`].
pub fn fold_batch_norm_transposed<T: Element>(
    shape: &Shape,
    weight: &mut [T],
    bias: &mut [T],
    norm: &BatchNorm<'_, T>,
) -> Result<(), Error> {
    check_len("weight", shape.weight_len(), weight.len())?;
    check_len("bias", shape.in_channels(), bias.len())?;
    let (per_group, taps) = (shape.group_in(), shape.kernel_taps());
    let (of_channel, group_out) = (per_group * taps, shape.group_out());
    fold(weight, bias, norm, |weight, _| {
        let (channel, within) = (weight / of_channel, weight % of_channel);
        let output = match shape.layout() {
            Layout::ChannelsFirst => within / taps,
            Layout::ChannelsLast => within % per_group,
        };
        channel / group_out * per_group + output
    })
}

/// Folds into weights of which `channel_of` says to which output channel they belong, given the weights of a channel.
fn fold<T: Element>(
    weight: &mut [T],
    bias: &mut [T],
    norm: &BatchNorm<'_, T>,
    channel_of: impl Fn(usize, usize) -> usize,
) -> Result<(), Error> {
    let channels = bias.len();
    let named = [
        ("mean", norm.mean),
        ("variance", norm.variance),
        ("gamma", norm.gamma),
        ("beta", norm.beta),
    ];
    for (what, found) in named {
        check_len(what, channels, found.len())?;
    }
    let per_channel = weight.len().checked_div(channels).unwrap_or(0);
    check_len("weight", per_channel * channels, weight.len())?;
    for (index, weight) in weight.iter_mut().enumerate() {
        *weight = T::from_f64((*weight).into() * norm.scale(channel_of(index, per_channel)));
    }
    for (channel, bias) in bias.iter_mut().enumerate() {
        *bias = norm.shifted(*bias, channel);
    }
    Ok(())
}

/// `1 / sqrt(x)`, which `core` doesn't have, to within an ulp: Newton's steps for the root, from a first guess that halves the
/// exponent. NaN where there is none.
fn inverse_root(x: f64) -> f64 {
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x == 0.0 || x.is_infinite() {
        return if x == 0.0 { f64::INFINITY } else { 0.0 };
    }
    // A power of four, so that the root of what is left is between a half and two.
    let (mut x, mut scale) = (x, 1.0);
    while x > 4.0 {
        (x, scale) = (x / 4.0, scale / 2.0);
    }
    while x < 1.0 {
        (x, scale) = (x * 4.0, scale * 2.0);
    }
    let mut root = 1.5;
    for _ in 0..6 {
        root = (root + x / root) / 2.0;
    }
    scale / root
}
