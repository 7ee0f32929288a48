//! Direct convolution, of layers with few channels on either side: stencils over planes, no matrix product.

pub(crate) mod channels_last;
pub(crate) mod depthwise;
pub(crate) mod grouped;
mod stencils;
