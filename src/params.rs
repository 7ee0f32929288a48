//! The sizes of a layer as a caller gives them.

use crate::padding::PaddingMode;
use core::fmt;
use core::hash::{Hash, Hasher};

/// The most spatial axes that a layer can have.
pub const MAX_AXES: usize = 3;

/// How the dense tensors of a layer lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
#[doc(alias("NCHW", "NHWC", "channels_last", "memory_format"))]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Layout {
    /// input `[N, C, spatial..]`, weight `[K, C/groups, kernel..]`, output `[N, K, spatial..]`.
    #[default]
    ChannelsFirst,
    /// input `[N, spatial.., C]`, weight `[K, kernel.., C/groups]`, output `[N, spatial.., K]`.
    ChannelsLast,
}

/// The sizes of a layer as a caller gives them, not yet checked: what [`Shape::new`](crate::Shape::new) takes.
///
/// Arrays hold one entry per spatial axis, outermost first; entries past `axes` are ignored.
///
/// A batch of 0 images is a layer, as in torch, and so are images of no channels or of height 0: outputs, where
/// there are any, are the bias, and gradients are zero. Every other size is at least 1.
///
/// Name the sizes that a layer has and take the others from [`Params::default`], as in
/// `Params { batch: 8, ..Params::default() }`: later versions may have more fields. With the feature `serde`, fields that
/// are missing from what is read are those of the default.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct Params {
    /// Number of spatial axes: 1, 2 or 3.
    pub axes: usize,
    /// How the tensors lie in memory.
    pub layout: Layout,
    /// Images (N).
    pub batch: usize,
    /// Channels of the input (C), over all groups.
    pub in_channels: usize,
    /// Channels of the output (K), over all groups.
    pub out_channels: usize,
    /// Groups; each output channel sees `in_channels / groups` input channels.
    pub groups: usize,
    /// Spatial sizes of the input (I), in elements.
    pub input: [usize; 3],
    /// Spatial sizes of the weight (R), in elements.
    pub kernel: [usize; 3],
    /// Input elements between neighbouring outputs.
    pub stride: [usize; 3],
    /// Input elements between neighbouring taps; 1 is dense.
    pub dilation: [usize; 3],
    /// Elements of padding before the first element.
    pub pad_begin: [usize; 3],
    /// Elements of padding after the last element.
    pub pad_end: [usize; 3],
    /// What stands in the padding.
    pub padding_mode: PaddingMode,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::ChannelsFirst => "channels first",
            Layout::ChannelsLast => "channels last",
        })
    }
}

impl Default for Params {
    /// Two axes: one 1x1 image, one channel, a 1x1 kernel, stride and dilation 1, no padding.
    fn default() -> Self {
        Self {
            axes: 2,
            layout: Layout::ChannelsFirst,
            batch: 1,
            in_channels: 1,
            out_channels: 1,
            groups: 1,
            input: [1; MAX_AXES],
            kernel: [1; MAX_AXES],
            stride: [1; MAX_AXES],
            dilation: [1; MAX_AXES],
            pad_begin: [0; MAX_AXES],
            pad_end: [0; MAX_AXES],
            padding_mode: PaddingMode::Zeros,
        }
    }
}

impl Params {
    fn counts(&self) -> [usize; 5] {
        let &Self { axes, batch, in_channels, out_channels, groups, .. } = self;
        [axes, batch, in_channels, out_channels, groups]
    }

    /// The same layer with the entries past `axes` as [`default`](Self::default) has them, and with zeros in padding that
    /// it hasn't, so that equal layers are equal.
    pub(crate) fn normalised(self) -> Self {
        let unit = Self::default();
        let mut padding = self.pad_begin.iter().zip(&self.pad_end).take(self.axes);
        let is_padded = padding.any(|(&begin, &end)| begin > 0 || end > 0);
        let of = |sizes: [usize; 3], unit: [usize; 3]| {
            core::array::from_fn(|axis| if axis < self.axes { sizes[axis] } else { unit[axis] })
        };
        Self {
            input: of(self.input, unit.input),
            kernel: of(self.kernel, unit.kernel),
            stride: of(self.stride, unit.stride),
            dilation: of(self.dilation, unit.dilation),
            pad_begin: of(self.pad_begin, unit.pad_begin),
            pad_end: of(self.pad_end, unit.pad_end),
            padding_mode: if is_padded { self.padding_mode } else { PaddingMode::Zeros },
            ..self
        }
    }
}

/// The entries past `axes` take no part.
impl PartialEq for Params {
    fn eq(&self, other: &Self) -> bool {
        let sizes =
            |of: &Self| [of.input, of.kernel, of.stride, of.dilation, of.pad_begin, of.pad_end];
        let (own, others) = (sizes(self), sizes(other));
        let same = |axis: usize| own.iter().zip(&others).all(|(a, b)| a[axis] == b[axis]);
        self.counts() == other.counts()
            && (self.layout, self.padding_mode) == (other.layout, other.padding_mode)
            && (0..self.axes.min(MAX_AXES)).all(same)
    }
}

impl Eq for Params {}

/// Of what makes layers of a network differ: a cache of plans hashes with each call of a layer.
impl Hash for Params {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.counts().into_iter().for_each(|count| state.write_usize(count));
        for axis in 0..self.axes.min(MAX_AXES) {
            state.write_usize(self.input[axis]);
            state.write_usize(self.kernel[axis]);
        }
    }
}
