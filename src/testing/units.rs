//! The tests of what is private: each kernel, table and stencil by itself.
//!
//! They lie beside what they test, as any crate's, but are compiled with it and run by `tests/units.rs`.
//! With `#[cfg(test)]` the library would be compiled twice, once for these and once for the tests that link
//! it: a third of the time to build them all (Zen 3, two cores: 80 s of 238).

use crate::{axis, gemm, kernel};

/// A test by its name.
pub type Unit = (&'static str, fn());

/// All of them, for `tests/units.rs` alone.
pub fn units() -> impl Iterator<Item = Unit> {
    let of_gemm = [gemm::tests::TESTS, gemm::classes::tests::TESTS];
    let tests = of_gemm.into_iter().chain([
        axis::tests::TESTS,
        kernel::tests::TESTS,
        kernel::stencil::tests::TESTS,
        kernel::winograd::tests::TESTS,
    ]);
    #[cfg(unix)]
    let tests = tests.chain([crate::plan::tests::TESTS]);
    tests.flatten().copied()
}
