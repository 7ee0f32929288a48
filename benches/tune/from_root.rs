//! `cargo bench --bench tune`, from the root: runs the bench of the package `bench_tune`, whose dependencies
//! are compiled for it alone.

use std::env;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let cargo = env::var_os("CARGO").unwrap_or("cargo".into());
    let arguments = env::args().skip(1).filter(|argument| argument != "--bench");
    let status = Command::new(cargo)
        .args(["bench", "-p", "bench_tune", "--bench", "tune", "--"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cargo can't be run: {error}");
            ExitCode::FAILURE
        }
    }
}
