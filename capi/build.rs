//! The name that the shared library goes by at run time: programs that were linked with one release run with every later one of the same
//! number. `capi/install` puts the library where that name finds it.

use std::env;

/// Counts the releases that broke the C interface.
const NUMBER: u32 = 0;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let name = match env::var("CARGO_CFG_TARGET_OS").as_deref() {
        Ok("linux" | "android" | "freebsd" | "netbsd" | "openbsd") => {
            format!("-Wl,-soname,libim2col.so.{NUMBER}")
        }
        Ok("macos" | "ios") => format!("-Wl,-install_name,@rpath/libim2col.{NUMBER}.dylib"),
        // Elsewhere a library is found by its file's name.
        _ => return,
    };
    println!("cargo:rustc-cdylib-link-arg={name}");
}
