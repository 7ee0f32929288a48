//! Explains backpropagation through a convolution, from the library's own index tables.
//!
//! ```text
//! cargo run -p explain                                     # the 3x3 input of the docs
//! cargo run -p explain -- --size 5x5 --kernel 3 --stride 2 --padding 1
//! cargo run -p explain -- --format svg --figure weight > weight.svg
//! cargo run -p explain -- --format html > page.html        # to point at things
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `layer.rs` | the layer: its tables and numbers, straight from the library |
//! | `document.rs`, `products.rs` | what is said about it |
//! | `text.rs`, `markdown.rs` | the same as characters |
//! | `svg/` | pictures |
//! | `html.rs`, `page/` | the page |
//! | `docs.rs` (tests) | what docs/ holds of it, and whether that is stale |
//! | `options.rs` | the command line, and what is too large |

#[cfg(test)]
mod docs;
mod document;
mod html;
mod layer;
mod markdown;
mod options;
mod products;
mod svg;
mod text;

use clap::Parser;
use document::{Section, document};
use layer::Layer;
use options::{Args, Format};
use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let explained = match explain(&Args::parse()) {
        Ok(explained) => explained,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            return ExitCode::FAILURE;
        }
    };
    match io::stdout().write_all(explained.as_bytes()) {
        // Whoever closed the pipe has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

fn explain(args: &Args) -> Result<String, String> {
    let layer = Layer::new(args.params()?).map_err(|error| error.to_string())?;
    Ok(match args.format {
        Format::Text => text::write(&sections(args, &layer)?),
        Format::Markdown => markdown::write(&sections(args, &layer)?),
        Format::Svg => svg::draw(args.figure, &layer),
        Format::Html => html::page(*layer.shape.params()),
    })
}

/// What is said about a layer: all, or the section asked for (of every group).
fn sections(args: &Args, layer: &Layer) -> Result<Vec<Section>, String> {
    let mut sections = document(layer);
    let Some(wanted) = &args.section else { return Ok(sections) };
    if !sections.iter().any(|section| section.name == wanted) {
        let mut names: Vec<&str> = Vec::new();
        for section in &sections {
            if !names.contains(&section.name) {
                names.push(section.name);
            }
        }
        return Err(format!("no section is called {wanted}: there are {}", names.join(", ")));
    }
    sections.retain(|section| section.name == wanted);
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_alone() {
        let args = |section| Args::parse_from(["explain", "--section", section]);
        let text = explain(&args("forward")).unwrap();
        assert!(text.starts_with("Forward\n-------\n"), "{text}");
        assert!(text.contains("G1 = V1·W1") && !text.contains("∂E"), "{text}");
        let error = explain(&args("backward")).unwrap_err();
        assert!(error.contains("there are layer, dense, forward"), "{error}");
    }
}
