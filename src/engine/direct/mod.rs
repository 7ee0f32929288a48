//! Direct convolution, of layers with few channels on either side: stencils over planes, no matrix product.

pub(crate) mod channels_last;
pub(crate) mod depthwise;
pub(crate) mod grouped;
mod stencils;

/// Terms that a stencil adds up in a row: with more, sums go to a product, which cuts them.
pub(crate) const STENCIL_TERMS: usize = 512;
