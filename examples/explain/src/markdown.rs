//! The explanation as Markdown: titles, tables, and equations in blocks that keep their lines.

use crate::document::{Block, Matrix, Piece, Section};
use crate::text;

/// All sections, each under its title.
pub(crate) fn write(sections: &[Section]) -> String {
    let sections: Vec<String> =
        sections.iter().map(|s| format!("## {}\n\n{}", s.title, body(s))).collect();
    sections.join("\n")
}

/// A section without its title.
pub(crate) fn body(section: &Section) -> String {
    let blocks: Vec<String> = section.blocks.iter().map(block).collect();
    blocks.join("\n")
}

/// The equations and matrices of a section alone, for prose that has sentences of its own.
#[cfg(test)]
pub(crate) fn formulas(section: &Section) -> String {
    let formulas = section.blocks.iter().filter(|b| !matches!(b, Block::Sentence(_)));
    formulas.map(block).collect::<Vec<String>>().join("\n")
}

fn block(block: &Block) -> String {
    match block {
        Block::Sentence(sentence) => format!("{sentence}\n"),
        Block::Equations(all) => fenced(&text::equations(all)),
        Block::Matrices(pieces) => match &pieces[..] {
            [Piece::Matrix(matrix)] if !matrix.rows.is_empty() => table(matrix),
            pieces => fenced(&text::matrices(pieces)),
        },
    }
}

fn fenced(lines: &str) -> String {
    format!("```text\n{lines}```\n")
}

fn table(matrix: &Matrix) -> String {
    let columns: Vec<String> = matrix.columns.iter().map(|c| format!(" {c} |")).collect();
    let rules = "--:|".repeat(matrix.columns.len());
    let mut out = format!("| **{}** |{}\n|---|{rules}\n", matrix.name, columns.concat());
    for (row, cells) in matrix.rows.iter().zip(&matrix.cells) {
        let cells: Vec<String> = cells.iter().map(|cell| format!(" {cell} |")).collect();
        out += &format!("| **{row}** |{}\n", cells.concat());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::document;
    use crate::layer::tests::worked_example;

    #[test]
    fn cols_is_a_table_and_equations_keep_their_lines() {
        let markdown = write(&document(&worked_example()));
        for part in [
            "## The patch matrix: cols",
            "| **cols** | W1 | W2 | W3 | W4 |\n|---|--:|--:|--:|--:|\n| **G1** | V1 | V2 | V4 | V5 |\n",
            "```text\nG1 = V1·W1 + V2·W2 + V4·W3 + V5·W4",
        ] {
            assert!(markdown.contains(part), "{part}\nnot in\n{markdown}");
        }
        assert_eq!(markdown.matches("```").count() % 2, 0);
    }
}
