//! cols as a view of the image: which element a tap reads for a pixel, and where it lies.

pub(crate) mod cols;
mod copy;
pub(crate) mod im2col;
pub(crate) mod map;
mod slots;
pub(crate) mod source;
