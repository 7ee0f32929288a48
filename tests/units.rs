//! The tests of what is private, which lie in the library beside it: `src/gemm/tests.rs`,
//! `src/kernel/tests.rs`, `src/kernel/stencil/tests.rs`, `src/plan/tests.rs`.
//!
//! `cargo test --test units stencil` runs those whose names have "stencil".

use im2col::testing::units;
use libtest_mimic::{Arguments, Trial};

fn main() {
    let trial = |(name, run): (&str, fn())| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    };
    libtest_mimic::run(&Arguments::from_args(), units().map(trial).collect()).exit();
}
