//! How fast the passes are, layer by layer, on one thread: the naive loops, the textbook (cols
//! written out, then a product of `matrixmultiply`), and this library.
//!
//! ```text
//! cargo bench                             # everything
//! cargo bench -- forward                  # one pass
//! cargo bench -- im2col/r50_3b_3x3        # one layer, one way
//! cargo bench -- --test                   # each once, results checked, nothing measured
//! cargo bench -p bench_gemm               # with the crate gemm under the textbook as one more way
//! ```
//!
//! Every result is checked before it is timed. The ways of a pass take turns, so that what else
//! the machine does hurts all of them; the table shows the fastest sample of each, and the
//! library's share of the FMA peak that a loop without memory reaches in the same process.

#![allow(unsafe_code, reason = "calls the instructions of the peak loop")]

mod case;
mod layers;
mod measure;
mod options;
mod peak;
mod table;
mod way;

use way::Way;

fn main() {
    measure::main(&[Way::Naive, Way::Textbook, Way::Im2col]);
}
