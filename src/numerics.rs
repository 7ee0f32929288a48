//! The constants that the proof in `docs/numerics.md` rests on.
//!
//! Each is the most that some step of a sum takes, so each stands in a bound there: to change one is to state that
//! bound anew. Sizes that are chosen for speed, such as [`Kernel::block`](crate::kernel::Kernel), are held to these
//! where they are made. That a bound holds whatever the layer is, the relations at the end of this file say.

/// KC: the most products that a tile sums before the sum joins those of the blocks before it. An element's error is
/// thereby that of `KC + k / KC` additions, not of `k`.
pub(crate) const KC: usize = 384;

/// Taps of a block of forward and backward_data, which is what is summed between two visits of the destination.
pub(crate) const TAPS: usize = 8192;

/// Pixels of a block of backward_weight: the same.
pub(crate) const SUMMED_PIXELS: usize = 1024;

/// Pixels of such a block in dot products, of which a lane of a vector adds up its share.
pub(crate) const DOT_PIXELS: usize = 4096;

/// Taps that a dot product sums between two visits of the destination, of which a lane adds up its share.
pub(crate) const DOT_TAPS: usize = 4096;

/// Taps of a block where there are few pixels, and forward is made of dot products.
pub(crate) const FEW_PIXELS_TAPS: usize = 2048;

/// How often a sum grows in its place in the destination, each time with a rounding (`gemm/streaming.rs`).
pub(crate) const STREAMED_TIMES: usize = 64;

/// Partial sums of backward_weight, which join in a tree.
pub(crate) const PARTS: usize = 8;

/// The same of a direct convolution along the channels.
pub(crate) const DIRECT_PARTS: usize = 16;

/// Products that a direct convolution adds up one after the other: more are a matrix product, which cuts them.
pub(crate) const DIRECT_TERMS: usize = 512;

/// Pixels of a row whose products a direct convolution along the channels adds up in a register.
pub(crate) const DIRECT_LINE: usize = 256;

/// Vectors of a plane whose products one register of a kernel's gradient adds up before it joins a total, asked for
/// after every [`DIRECT_BAND`] rows.
pub(crate) const DIRECT_STEPS: usize = 256;

/// Rows of outputs that such a gradient walks down before it goes on to the next vector of columns.
pub(crate) const DIRECT_BAND: usize = 32;

/// Sums of a bias that run side by side, and the rows that are added to them before they join a tree.
pub(crate) const BIAS_LANES: usize = 16;
pub(crate) const BIAS_ROWS: usize = 16;

// A block of a sum is no shorter than what it is cut into: the bounds count `⌈R/B⌉` blocks of a run.
const _: () = assert!(KC <= SUMMED_PIXELS && SUMMED_PIXELS <= DOT_PIXELS && KC <= TAPS);
// A lane of four adds up 512 products at most where there are few pixels.
const _: () = assert!(FEW_PIXELS_TAPS / 4 <= DIRECT_TERMS);
// "At most 430 and a small share of the number of terms" for products, which is the answer on the first page.
const _: () = assert!(KC + TAPS.div_ceil(KC) + PARTS.ilog2() as usize <= 430);
// Partial sums join in whole trees, and the tree of a bias' lanes is whole.
const _: () = assert!(PARTS.is_power_of_two() && BIAS_LANES.is_power_of_two());
// A band of rows is a part of the steps, so that a register adds up no more than one band past them.
const _: () = assert!(DIRECT_STEPS.is_multiple_of(DIRECT_BAND));
