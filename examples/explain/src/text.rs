//! The explanation as plain text, at most [`WIDTH`] characters wide.

use crate::document::{Block, Equation, Matrix, Piece, Section};

/// Characters in a line.
pub(crate) const WIDTH: usize = 110;
/// Between two things in one line.
const GAP: &str = "    ";

/// All sections, each under its title.
pub(crate) fn write(sections: &[Section]) -> String {
    let mut out = String::new();
    for section in sections {
        out += &format!("{}\n{}\n\n", section.title, "-".repeat(width(&section.title)));
        for block in &section.blocks {
            out += &match block {
                Block::Sentence(sentence) => format!("{}\n", wrap(sentence)),
                Block::Equations(all) => equations(all),
                Block::Matrices(pieces) => matrices(pieces),
            };
            out.push('\n');
        }
    }
    out.truncate(out.trim_end().len());
    out + "\n"
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn padded(text: &str, to: usize) -> String {
    format!("{text}{}", " ".repeat(to.saturating_sub(width(text))))
}

fn wrap(sentence: &str) -> String {
    fill(sentence.split(' '), " ", 0)
}

/// Words in lines of at most [`WIDTH`] characters, later lines indented.
fn fill<'a>(words: impl Iterator<Item = &'a str>, between: &str, indent: usize) -> String {
    let mut lines = vec![String::new()];
    for word in words {
        let line = lines.last_mut().expect("there is always one");
        if line.is_empty() {
            *line += word;
        } else if width(line) + width(between) + width(word) <= WIDTH {
            *line += &format!("{between}{word}");
        } else {
            lines.push(" ".repeat(indent) + between.trim_start() + word);
        }
    }
    lines.join("\n")
}

/// `G1 = a + b`, in several lines if it is long.
fn sum(left: &str, terms: &[String]) -> String {
    let mut words: Vec<String> = terms.to_vec();
    if words.is_empty() {
        words.push("0".into());
    }
    words[0] = format!("{left} = {}", words[0]);
    fill(words.iter().map(String::as_str), " + ", width(left) + 1)
}

/// Equations below each other. Numbers stand to the right where there is room for all, else each
/// under its symbols; single factors without numbers share lines.
pub(crate) fn equations(all: &[Equation]) -> String {
    let symbols: Vec<String> = all.iter().map(|e| sum(&e.left, &e.terms)).collect();
    if all.len() > 1 && all.iter().all(|e| e.numbers.is_none() && e.terms.len() == 1) {
        return fill(symbols.iter().map(String::as_str), GAP, 0) + "\n";
    }
    let numbers: Vec<Option<String>> = all.iter().map(|e| e.numbers.as_ref().map(value)).collect();
    let left = symbols.iter().map(|s| width(s)).max().unwrap_or(0);
    let right = numbers.iter().flatten().map(|n| width(n)).max().unwrap_or(0);
    let beside = left + GAP.len() + right <= WIDTH;
    let mut out = String::new();
    for ((symbols, numbers), equation) in symbols.iter().zip(numbers).zip(all) {
        match numbers {
            None => out += symbols,
            Some(numbers) if beside => out += &format!("{}{GAP}{numbers}", padded(symbols, left)),
            Some(numbers) => {
                let indent = width(&equation.left) + 1;
                let numbers = format!("{}{numbers}", "\u{a0}".repeat(indent));
                let numbers = fill(numbers.split(' '), " ", indent + 2).replace('\u{a0}', " ");
                out += &format!("{symbols}\n{numbers}");
            }
        }
        out.push('\n');
    }
    out
}

/// `= 1·2 + 2·3 = 8`
fn value((terms, sum): &(Vec<String>, f64)) -> String {
    match terms[..] {
        [] => format!("= {sum}"),
        _ => format!("= {} = {sum}", terms.join(" + ")),
    }
}

/// Lines of equal length, and which of them has to stand beside the other blocks' middles.
struct Lines {
    lines: Vec<String>,
    middle: usize,
}

impl Lines {
    fn width(&self) -> usize {
        width(&self.lines[0])
    }
}

/// Pieces side by side, their middles in one line; below each other where they are too wide.
pub(crate) fn matrices(pieces: &[Piece]) -> String {
    let mut out = String::new();
    let mut row: Vec<Lines> = Vec::new();
    for block in pieces.iter().flat_map(blocks) {
        let used: usize = row.iter().map(|block| block.width() + 2).sum();
        if !row.is_empty() && used + block.width() > WIDTH {
            out += &side_by_side(&row);
            out.push('\n');
            row.clear();
        }
        row.push(block);
    }
    out + &side_by_side(&row)
}

fn side_by_side(blocks: &[Lines]) -> String {
    let above = blocks.iter().map(|b| b.middle).max().unwrap_or(0);
    let below = blocks.iter().map(|b| b.lines.len() - b.middle).max().unwrap_or(0);
    let mut out = String::new();
    for line in 0..above + below {
        let mut text = String::new();
        for block in blocks {
            let part = (line + block.middle).checked_sub(above).and_then(|at| block.lines.get(at));
            text += &part.map_or_else(|| " ".repeat(block.width()), String::clone);
            text += "  ";
        }
        out += text.trim_end();
        out.push('\n');
    }
    out
}

/// A piece as lines; a matrix wider than a line as several.
fn blocks(piece: &Piece) -> Vec<Lines> {
    let matrix = match piece {
        Piece::Sign(sign) => return vec![Lines { lines: vec![(*sign).to_owned()], middle: 0 }],
        Piece::Matrix(matrix) => matrix,
    };
    let cells = matrix.cells.iter().flatten().chain(&matrix.columns);
    let cell = cells.map(|c| width(c)).max().unwrap_or(0) + 1;
    let labels = matrix.rows.iter().map(|r| width(r)).max().unwrap_or(0);
    let across = ((WIDTH - labels - 4) / cell).max(1);
    let columns = matrix.cells.first().map_or(0, Vec::len);
    (0..columns)
        .step_by(across)
        .map(|first| lines(matrix, first..(first + across).min(columns), cell, labels))
        .collect()
}

fn lines(matrix: &Matrix, columns: std::ops::Range<usize>, cell: usize, labels: usize) -> Lines {
    let inner = cell * columns.len() + 1;
    let margin = if labels == 0 { 0 } else { labels + 1 };
    let right = |text: &String| format!("{}{text}", " ".repeat(cell - width(text)));
    let mut lines = Vec::new();
    if !matrix.name.is_empty() {
        lines.push(format!("{} {}", " ".repeat(margin), matrix.name));
    }
    if !matrix.columns.is_empty() {
        let names: String = matrix.columns[columns.clone()].iter().map(right).collect();
        lines.push(format!("{} {names}", " ".repeat(margin)));
    }
    let middle = lines.len() + (matrix.cells.len() - 1) / 2;
    for (row, cells) in matrix.cells.iter().enumerate() {
        let label = matrix.rows.get(row).map_or_else(String::new, |label| padded(label, margin));
        let cells: String = cells[columns.clone()].iter().map(right).collect();
        lines.push(format!("{label}|{cells} |"));
    }
    let widest = lines.iter().map(|l| width(l)).max().unwrap_or(0).max(margin + inner + 2);
    Lines { lines: lines.iter().map(|line| padded(line, widest)).collect(), middle }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::document;
    use crate::layer::Layer;
    use crate::layer::tests::{params, worked_example};
    use proptest::prelude::*;

    /// The equations of the question, to the letter.
    const QUESTION: [&str; 9] = [
        "∂E/∂W1 = ∂E/∂HA1 · ∂HA1/∂H1 · ∂H1/∂W1",
        "∂H1/∂W1 = I1",
        "G1 = V1·W1 + V2·W2 + V4·W3 + V5·W4",
        "G2 = V2·W1 + V3·W2 + V5·W3 + V6·W4",
        "G3 = V4·W1 + V5·W2 + V7·W3 + V8·W4",
        "G4 = V5·W1 + V6·W2 + V8·W3 + V9·W4",
        "∂E/∂W1 = ∂E/∂G1·∂G1/∂W1 + ∂E/∂G2·∂G2/∂W1 + ∂E/∂G3·∂G3/∂W1 + ∂E/∂G4·∂G4/∂W1",
        "∂G1/∂W1 = V1    ∂G2/∂W1 = V2    ∂G3/∂W1 = V4    ∂G4/∂W1 = V5",
        "∂E/∂W1 = ∂E/∂G1·V1 + ∂E/∂G2·V2 + ∂E/∂G3·V4 + ∂E/∂G4·V5",
    ];

    #[test]
    fn the_questions_equations_come_out_to_the_letter() {
        let text = write(&document(&worked_example()));
        for equation in QUESTION {
            // A whole line, or up to the numbers beside it.
            let found = text.lines().any(|line| {
                line.strip_prefix(equation)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with("    ="))
            });
            assert!(found, "{equation}\nnot in\n{text}");
        }
    }

    #[test]
    fn the_other_gradients_of_the_worked_example() {
        let text = write(&document(&worked_example()));
        let expected = [
            "∂E/∂W4 = ∂E/∂G1·V5 + ∂E/∂G2·V6 + ∂E/∂G3·V8 + ∂E/∂G4·V9    = 1·5 + 2·6 + (-1)·8 + 3·9 = 36",
            "∂E/∂V5 = ∂E/∂G1·W4 + ∂E/∂G2·W3 + ∂E/∂G3·W2 + ∂E/∂G4·W1    = 1·7 + 2·5 + (-1)·3 + 3·2 = 20",
            "| dG1 dG2 dG3 dG4 |  ·  | V2 V3 V5 V6 |  =  | dW1 dW2 dW3 dW4 |",
            "G2 | V2 V3 V5 V6 |",
        ];
        for line in expected {
            assert!(text.contains(line), "{line}\nnot in\n{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_line_is_short_enough(params in params()) {
            let layer = Layer::new(params).unwrap();
            prop_assume!(crate::options::too_large(&layer.shape).is_none());
            for line in write(&document(&layer)).lines() {
                prop_assert!(width(line) <= WIDTH, "{} characters: {line}", width(line));
                prop_assert!(line.trim_end() == line, "blanks at the end: {line:?}");
            }
        }
    }
}
