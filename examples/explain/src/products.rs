//! The sums of a layer as matrix products: cols, `dW = dGᵀ·cols` and `dV = col2im(dG·W)`, group
//! by group.

use crate::document::{self, Block, Matrix, Piece, Section, section};
use crate::layer::{Layer, g, symbol, v_or_zero, w};

/// The output positions as they are called on the first channel of a group.
fn positions(layer: &Layer, group: usize) -> Vec<String> {
    let channel = group * layer.shape.group_out();
    (0..layer.positions()).map(|at| g(layer.term(channel, 0, at).output)).collect()
}

/// The taps as they are called in the first filter of a group.
fn taps(layer: &Layer, group: usize) -> Vec<String> {
    let channel = group * layer.shape.group_out();
    (0..layer.taps()).map(|tap| w(layer.term(channel, tap, 0).weight)).collect()
}

/// A matrix with a cell for each position (row) and tap (column) of a group.
fn by_patch(
    layer: &Layer,
    group: usize,
    name: impl Into<String>,
    cell: impl Fn(usize, usize) -> String,
) -> Matrix {
    let row = |at| (0..layer.taps()).map(|tap| cell(tap, at)).collect();
    Matrix {
        name: name.into(),
        rows: positions(layer, group),
        columns: taps(layer, group),
        cells: (0..layer.positions()).map(row).collect(),
    }
}

fn cols_of(layer: &Layer, group: usize, name: impl Into<String>) -> Matrix {
    let channel = group * layer.shape.group_out();
    by_patch(layer, group, name, |tap, at| v_or_zero(layer.term(channel, tap, at).input))
}

pub(crate) fn cols(layer: &Layer) -> Section {
    let mut blocks = vec![Block::Sentence(
        "Write what the filter sees at each of its places as a row. The row G2 holds what makes \
         G2; the column W1 holds what W1 meets. A product of the layer is an element of this \
         matrix, multiplied once."
            .into(),
    )];
    for group in 0..layer.shape.groups() {
        let name = of_group(layer, "cols", group);
        blocks.push(Block::Matrices(vec![Piece::Matrix(cols_of(layer, group, name))]));
    }
    section("cols", "The patch matrix: cols", blocks)
}

fn of_group(layer: &Layer, name: &str, group: usize) -> String {
    match layer.shape.groups() {
        1 => name.to_owned(),
        _ => format!("{name}, group {}", group + 1),
    }
}

/// The output channels of a group.
fn channels(layer: &Layer, group: usize) -> std::ops::Range<usize> {
    let out = layer.shape.group_out();
    group * out..(group + 1) * out
}

/// The matrix with a row for each output channel of a group and a cell for each tap.
fn by_weight(layer: &Layer, group: usize, name: &str, cell: impl Fn(usize) -> String) -> Matrix {
    let row = |k| (0..layer.taps()).map(|tap| cell(layer.term(k, tap, 0).weight)).collect();
    Matrix {
        name: name.into(),
        rows: vec![],
        columns: vec![],
        cells: channels(layer, group).map(row).collect(),
    }
}

fn plain(name: &str, matrix: Matrix) -> Piece {
    Piece::Matrix(Matrix { name: name.into(), rows: vec![], columns: vec![], ..matrix })
}

pub(crate) fn weights_as_a_product(layer: &Layer, group: usize) -> Section {
    let numbers = &layer.numbers;
    let first = group * layer.shape.group_out();
    let errors = |cell: &dyn Fn(usize) -> String| {
        let row = |k| (0..layer.positions()).map(|at| cell(layer.term(k, 0, at).output)).collect();
        let cells = channels(layer, group).map(row).collect();
        Piece::Matrix(Matrix { name: "dGᵀ".into(), rows: vec![], columns: vec![], cells })
    };
    let input = |tap, at| layer.term(first, tap, at).input.map_or(0.0, |i| numbers.input[i]);
    let symbols = vec![
        errors(&|o| symbol("dG", o)),
        Piece::Sign("·"),
        plain("cols", cols_of(layer, group, "")),
        Piece::Sign("="),
        Piece::Matrix(by_weight(layer, group, "dW", |x| symbol("dW", x))),
    ];
    let values = vec![
        errors(&|o| numbers.grad_output[o].to_string()),
        Piece::Sign("·"),
        plain("cols", by_patch(layer, group, "", |tap, at| input(tap, at).to_string())),
        Piece::Sign("="),
        Piece::Matrix(by_weight(layer, group, "dW", |x| numbers.grad_weight[x].to_string())),
    ];
    let blocks = vec![
        Block::Sentence(
            "With dG for ∂E/∂G: one row of dGᵀ times one column of cols is one weight's sum."
                .into(),
        ),
        Block::Matrices(symbols),
        Block::Matrices(values),
    ];
    section("grad_weight", of_group(layer, "The same as a product: dW = dGᵀ·cols", group), blocks)
}

pub(crate) fn input_as_a_product(layer: &Layer, group: usize) -> Section {
    let numbers = &layer.numbers;
    let row = |at, cell: &dyn Fn(usize) -> String| {
        channels(layer, group).map(|k| cell(layer.term(k, 0, at).output)).collect()
    };
    let errors = |cell: &dyn Fn(usize) -> String| {
        let cells = (0..layer.positions()).map(|at| row(at, cell)).collect();
        Piece::Matrix(Matrix { name: "dG".into(), rows: vec![], columns: vec![], cells })
    };
    let sum = |tap, at| {
        let terms = channels(layer, group).map(|k| layer.term(k, tap, at));
        let names: Vec<String> =
            terms.map(|t| format!("{}·{}", symbol("dG", t.output), w(t.weight))).collect();
        names.join("+")
    };
    let value = |tap, at| {
        let terms = channels(layer, group).map(|k| layer.term(k, tap, at));
        let sum: f64 =
            terms.map(|t| numbers.grad_output[t.output] * numbers.weight[t.weight]).sum();
        sum.to_string()
    };
    let symbols = vec![
        errors(&|o| symbol("dG", o)),
        Piece::Sign("·"),
        Piece::Matrix(by_weight(layer, group, "W", w)),
        Piece::Sign("="),
        plain("dG·W", by_patch(layer, group, "", sum)),
    ];
    let values = vec![
        errors(&|o| numbers.grad_output[o].to_string()),
        Piece::Sign("·"),
        Piece::Matrix(by_weight(layer, group, "W", |x| numbers.weight[x].to_string())),
        Piece::Sign("="),
        plain("dG·W", by_patch(layer, group, "", value)),
    ];
    let grid = layer.input_grid();
    let panels = grid.panels / layer.shape.groups();
    let mut folded: Vec<Piece> = vec![
        plain("dG·W", by_patch(layer, group, "", value)),
        Piece::Sign("at"),
        plain("cols", cols_of(layer, group, "")),
        Piece::Sign("gives"),
    ];
    let all = document::panels(grid, "dV", &|i| numbers.grad_input[i].to_string());
    folded.extend(all.into_iter().skip(group * panels).take(panels));
    let blocks = vec![
        Block::Sentence(
            "dG·W has the shape of cols: what flows back into each of its places.".into(),
        ),
        Block::Matrices(symbols),
        Block::Matrices(values),
        Block::Sentence(
            "col2im adds each element to the pixel that stands at its place in cols; what falls \
             on a zero of the padding is dropped."
                .into(),
        ),
        Block::Matrices(folded),
    ];
    let title = of_group(layer, "The same as a product: dV = col2im(dG·W)", group);
    section("grad_input", title, blocks)
}
