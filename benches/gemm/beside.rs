//! The bench `conv` with one more way: the textbook on the crate `gemm`.
//!
//! ```text
//! cargo bench -p bench_gemm               # and what else `cargo bench` takes
//! ```

#![allow(unsafe_code, reason = "calls the crate gemm and the instructions of the peak loop")]

#[path = "../conv/case.rs"]
mod case;
#[path = "../conv/layers.rs"]
mod layers;
#[path = "../conv/measure.rs"]
mod measure;
#[path = "../conv/options.rs"]
mod options;
#[path = "../conv/peak.rs"]
mod peak;
#[path = "../conv/table.rs"]
mod table;
mod textbook;
#[path = "../conv/way.rs"]
mod way;

use way::{Other, Way};

fn main() {
    let gemm = Other { name: "gemm", scratch_len: textbook::scratch_len, run: textbook::run };
    measure::main(&[Way::Naive, Way::Textbook, Way::Other(gemm), Way::Im2col]);
}
