//! The sums as one matrix product, and why folding is the adjoint of unfolding.

use super::canvas::{Canvas, Cell, Look, hue};
use crate::layer::{Grid, Layer, symbol, v, v_or_zero};

const CELL: [f64; 2] = [52.0, 34.0];
const LEFT: f64 = 16.0;

/// The first group's dGᵀ to the left, its cols above, dW where they meet: one element of dW is a
/// row times a column.
pub(super) fn gemm(canvas: &mut Canvas, layer: &Layer, top: f64) {
    canvas.title([LEFT, top + 8.0], "All weights at once: dW = dGᵀ · cols");
    let (rows, inner, columns) = (layer.shape.group_out(), layer.positions(), layer.taps());
    let blue = hue(0, 4);
    let (row, column) = (rows - 1, columns / 2);
    let y = top + 52.0;
    let x = LEFT + inner as f64 * CELL[0] + 40.0;
    let below = y + inner as f64 * CELL[1] + 40.0;
    let grid = |rows, columns| Grid { panels: 1, rows, columns };
    canvas.sign([x + 24.0, y - 14.0], "cols");
    canvas.grid([x, y], grid(inner, columns), CELL, |n| {
        let (position, tap) = (n / columns, n % columns);
        let look = if tap == column { Look::Strong(hue(position, inner)) } else { Look::Plain };
        Cell::new(v_or_zero(layer.term(0, tap, position).input), look)
    });
    canvas.sign([LEFT + 20.0, below - 14.0], "dGᵀ");
    canvas.grid([LEFT, below], grid(rows, inner), CELL, |n| {
        let (k, position) = (n / inner, n % inner);
        let look = if k == row { Look::Strong(hue(position, inner)) } else { Look::Plain };
        Cell::new(symbol("dG", layer.term(k, 0, position).output), look)
    });
    canvas.sign([x + 16.0, below - 14.0], "dW");
    canvas.grid([x, below], grid(rows, columns), CELL, |n| {
        let (k, tap) = (n / columns, n % columns);
        let look = if (k, tap) == (row, column) { Look::Strong(blue) } else { Look::Plain };
        Cell::new(symbol("dW", layer.term(k, tap, 0).weight), look)
    });
    let after = canvas.bottom() + 26.0;
    let name = symbol("dW", layer.term(row, column, 0).weight);
    canvas.sentence(
        [LEFT, after],
        &format!(
            "{name} is its row of dGᵀ times its column of cols, term by term in the same colours."
        ),
    );
}

/// The image to the left, cols to the right, a line wherever an element of cols is a pixel.
pub(super) fn adjoint(canvas: &mut Canvas, layer: &Layer, top: f64) {
    canvas.title([LEFT, top + 8.0], "im2col copies along the lines, col2im adds along them");
    let picked = layer.busiest_input();
    let gap = 150.0;
    let block = 2.0 * CELL[0] + gap + layer.taps() as f64 * CELL[0];
    for (n, (name, back)) in
        [("im2col: copy", false), ("col2im: add", true)].into_iter().enumerate()
    {
        let x = LEFT + n as f64 * block;
        lines(canvas, layer, [x, top + 34.0], gap, picked, back);
        canvas.sentence([x, top + 40.0], name);
    }
    let after = canvas.bottom() + 26.0;
    let places = layer.of_input(picked).len();
    canvas.sentence(
        [LEFT, after],
        &format!(
            "{} goes to {places} places of cols, so what comes back from those {places} places is added up in it.",
            v(picked)
        ),
    );
}

fn lines(
    canvas: &mut Canvas,
    layer: &Layer,
    [x, y]: [f64; 2],
    gap: f64,
    picked: usize,
    back: bool,
) {
    let small = [CELL[0], 28.0];
    let group = picked / (layer.shape.image_len() / layer.shape.groups());
    let channel = group * layer.shape.group_out();
    let pixels = Grid { panels: 1, rows: layer.shape.image_len(), columns: 1 };
    let matrix = Grid { panels: 1, rows: layer.positions(), columns: layer.taps() };
    let (pixels_height, matrix_height) =
        (pixels.rows as f64 * small[1], matrix.rows as f64 * CELL[1]);
    let height = pixels_height.max(matrix_height);
    let left = [x, y + 20.0 + (height - pixels_height) / 2.0];
    let right = [x + small[0] + gap, y + 20.0 + (height - matrix_height) / 2.0];
    let strong = Look::Strong(hue(0, 4));
    // The picked pixel's lines come last, above the others.
    for only_picked in [false, true] {
        for n in 0..matrix.rows * matrix.columns {
            let Some(i) = layer.term(channel, n % matrix.columns, n / matrix.columns).input else {
                continue;
            };
            if (i == picked) != only_picked {
                continue;
            }
            let [a, b] = Canvas::middle(left, pixels, small, i);
            let [c, d] = Canvas::middle(right, matrix, CELL, n);
            let (from, to) = ([a + small[0] / 2.0 + 2.0, b], [c - CELL[0] / 2.0 - 1.0, d]);
            let look = if i == picked { strong } else { Look::Dim };
            // Others run only to the first column: they would hide the cells.
            if n % matrix.columns > 0 && i != picked {
                continue;
            }
            let (from, to) = if back { (to, from) } else { (from, to) };
            canvas.arrow(from, to, look);
        }
    }
    canvas.grid(left, pixels, small, |i| {
        Cell::new(v(i), if i == picked { strong } else { Look::Plain })
    });
    canvas.grid(right, matrix, CELL, |n| {
        let input = layer.term(channel, n % matrix.columns, n / matrix.columns).input;
        let look = match input {
            Some(i) if i == picked => strong,
            Some(_) => Look::Plain,
            None => Look::Padding,
        };
        Cell::new(v_or_zero(input), look)
    });
}
