//! Matrix products. Knows nothing of convolution.

pub(crate) mod textbook;
