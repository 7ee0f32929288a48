//! The same pass with the crate `gemm` under the benches' textbook: what is counted beside it.
//!
//! ```text
//! counts_gemm LAYER gemm CALLS
//! ```

#![allow(unsafe_code, reason = "calls the crate gemm")]

#[path = "../counts/calls.rs"]
mod calls;
#[allow(dead_code, reason = "the benches' textbook has three passes")]
mod textbook;

use im2col::Pass;

fn main() {
    calls::run("gemm", |_, shape| {
        let mut scratch = vec![0.0; textbook::scratch_len(&shape)];
        Some(move |input: &[f32], weight: &[f32], output: &mut [f32]| {
            textbook::run(&shape, Pass::Forward, [input, weight], output, &mut scratch);
        })
    });
}
