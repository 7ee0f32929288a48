//! `include/im2col.h` is what cbindgen makes of `src/capi/`: this fails when it is stale, and
//! writes it when `IM2COL_BLESS` is set.

use std::path::Path;
use std::{env, fs};

#[test]
fn header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let files = ["numbers", "types", "layer", "conv", "plans", "calls"];
    let source = cbindgen::Builder::new().with_config(config);
    let source = files
        .iter()
        .fold(source, |source, file| source.with_src(root.join(format!("src/capi/{file}.rs"))));
    let mut generated = Vec::new();
    source.generate().unwrap().write(&mut generated);
    let generated = String::from_utf8(generated).unwrap();

    let header = root.join("include/im2col.h");
    if env::var_os("IM2COL_BLESS").is_some() {
        fs::write(&header, &generated).unwrap();
    }
    let committed = fs::read_to_string(&header).unwrap_or_default();
    assert!(
        committed == generated,
        "include/im2col.h is stale: run `IM2COL_BLESS=1 cargo test --features capi --test header`"
    );
}
