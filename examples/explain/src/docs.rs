//! What `docs/` holds of this program's output: pictures, the page, and the formulas in
//! `docs/backprop.md`. The test fails where one is stale, and writes them all when `IM2COL_BLESS` is set:
//!
//! ```text
//! IM2COL_BLESS=1 cargo test -p explain
//! ```

use crate::document::document;
use crate::layer::Layer;
use crate::options::Args;
use crate::{explain, markdown};
use clap::Parser;
use std::path::Path;
use std::{env, fs};

/// Files under `docs/`, and the flags that make them.
const FILES: [(&str, &str); 8] = [
    ("backprop.html", "--format html"),
    ("figures/backprop-windows.svg", "--format svg --figure windows"),
    ("figures/backprop-weight.svg", "--format svg --figure weight"),
    ("figures/backprop-pixel.svg", "--format svg --figure pixel"),
    ("figures/backprop-gemm.svg", "--format svg --figure gemm --out-channels 2"),
    ("figures/backprop-adjoint.svg", "--format svg --figure adjoint"),
    ("figures/backprop-gather.svg", "--format svg --figure gather"),
    (
        "figures/backprop-phases.svg",
        "--format svg --figure phases --size 5x5 --kernel 3 --stride 2 --padding 1",
    ),
];

/// In prose, formulas of a section stand between this with the section's name and [`END`].
const BEGIN: &str = "<!-- explain: ";
const END: &str = "<!-- explain: end -->";

fn args(flags: &str) -> Args {
    Args::parse_from(format!("explain {flags}").split_whitespace())
}

/// The prose with every block of formulas written anew.
fn with_formulas(prose: &str, layer: &Layer) -> String {
    let sections = document(layer);
    let mut parts = prose.split(BEGIN);
    let mut out = parts.next().unwrap_or_default().to_owned();
    while let Some(part) = parts.next() {
        let (name, _) = part.split_once(" -->").expect("a name, then -->");
        let section = sections.iter().find(|section| section.name == name);
        let section = section.unwrap_or_else(|| panic!("no section is called {name}"));
        let rest = parts.next().and_then(|part| part.strip_prefix("end -->"));
        let rest = rest.unwrap_or_else(|| panic!("the block {name} has no end"));
        out += &format!("{BEGIN}{name} -->\n{}{END}{rest}", markdown::formulas(section));
    }
    out
}

#[test]
fn docs_are_up_to_date() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let prose = fs::read_to_string(docs.join("backprop.md")).expect("docs/backprop.md");
    let question = Layer::new(args("").params().unwrap()).unwrap();
    let mut files: Vec<(&str, String)> =
        FILES.iter().map(|&(file, flags)| (file, explain(&args(flags)).unwrap())).collect();
    files.push(("backprop.md", with_formulas(&prose, &question)));
    let mut stale = Vec::new();
    for (file, generated) in files {
        if env::var_os("IM2COL_BLESS").is_some() {
            fs::write(docs.join(file), &generated).unwrap();
        }
        if fs::read_to_string(docs.join(file)).unwrap_or_default() != generated {
            stale.push(file);
        }
    }
    assert!(
        stale.is_empty(),
        "stale in docs/: {stale:?}: run `IM2COL_BLESS=1 cargo test -p explain`"
    );
}

/// Every figure that the prose shows is one of those above, and each of those is shown.
#[test]
fn the_prose_shows_every_figure() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let prose = fs::read_to_string(docs.join("backprop.md")).expect("docs/backprop.md");
    let mut shown: Vec<&str> =
        prose.split("](figures/").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    let mut made: Vec<&str> =
        FILES.iter().filter_map(|(file, _)| file.strip_prefix("figures/")).collect();
    shown.sort_unstable();
    made.sort_unstable();
    assert_eq!(shown, made);
}

/// Files and functions that the prose points at are there.
#[test]
fn the_prose_points_at_what_is_there() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let prose = fs::read_to_string(docs.join("backprop.md")).expect("docs/backprop.md");
    let mut functions = 0;
    for (text, rest) in prose.split("](").collect::<Vec<_>>().windows(2).map(|w| (w[0], w[1])) {
        let target = rest.split(')').next().unwrap_or_default();
        let file = docs.join(target);
        assert!(file.exists(), "{target}");
        let name = text.rsplit('[').next().unwrap_or_default().trim_matches('`');
        if target.ends_with(".rs") && !name.ends_with(".rs") {
            let name = name.rsplit("::").next().unwrap_or(name);
            let source = fs::read_to_string(file).unwrap();
            assert!(source.contains(&format!("fn {name}")), "{target} has no function {name}");
            functions += 1;
        }
    }
    assert!(functions >= 5, "{functions} functions");
}

#[test]
fn blocks_are_written_anew() {
    let layer = Layer::new(args("").params().unwrap()).unwrap();
    let old = format!("a\n{BEGIN}dense -->\nold\n{END}\nb\n");
    let new = with_formulas(&old, &layer);
    assert!(new.starts_with("a\n<!-- explain: dense -->\n```text\n∂E/∂W1 = "), "{new}");
    assert!(new.ends_with("```\n<!-- explain: end -->\nb\n"), "{new}");
    assert_eq!(with_formulas(&new, &layer), new);
}
