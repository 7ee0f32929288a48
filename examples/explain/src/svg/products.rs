//! The sums as one matrix product, and why folding is the adjoint of unfolding.

use super::canvas::{Canvas, Cell, Look, hue};
use crate::layer::{Grid, Layer, g, symbol, v, v_or_zero};

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

/// The image to the left, cols to the right, window below window, and a line wherever an element
/// of cols is a pixel.
pub(super) fn adjoint(canvas: &mut Canvas, layer: &Layer, top: f64) {
    canvas.title([LEFT, top + 8.0], "im2col copies along the lines, col2im adds along them");
    let picked = layer.busiest_input();
    for (n, (name, back)) in
        [("im2col: copy", false), ("col2im: add", true)].into_iter().enumerate()
    {
        let x = LEFT + n as f64 * (2.0 * CELL[0] + GAP + 90.0);
        canvas.sentence([x, top + 40.0], name);
        lines(canvas, layer, [x, top + 52.0], picked, back);
    }
    let after = canvas.bottom() + 26.0;
    // Each filter of the group meets the pixel at the same places.
    let places = layer.of_input(picked).len() / layer.shape.group_out();
    canvas.sentence(
        [LEFT, after],
        &format!(
            "{} goes to {places} places of cols, so what comes back from those {places} places is added up in it.",
            v(picked)
        ),
    );
}

/// Between the image and cols.
const GAP: f64 = 190.0;
/// A pixel, and an element of cols.
const PIXEL: [f64; 2] = [CELL[0], 30.0];
const ELEMENT: [f64; 2] = [CELL[0], 23.0];

fn lines(canvas: &mut Canvas, layer: &Layer, [x, y]: [f64; 2], picked: usize, back: bool) {
    let group = picked / (layer.shape.image_len() / layer.shape.groups());
    let channel = group * layer.shape.group_out();
    let taps = layer.taps();
    let pixels = Grid { panels: 1, rows: layer.shape.image_len(), columns: 1 };
    let window = Grid { panels: 1, rows: taps, columns: 1 };
    let pitch = taps as f64 * ELEMENT[1] + 8.0;
    let heights = [pixels.rows as f64 * PIXEL[1], layer.positions() as f64 * pitch - 8.0];
    let tallest = heights[0].max(heights[1]);
    let left = [x, y + (tallest - heights[0]) / 2.0];
    let right = |position: usize| {
        [x + PIXEL[0] + GAP, y + (tallest - heights[1]) / 2.0 + position as f64 * pitch]
    };
    let strong = Look::Strong(hue(0, 4));
    let input = |position, tap| layer.term(channel, tap, position).input;
    // The picked pixel's lines come last, above the others.
    for only_picked in [false, true] {
        for (position, tap) in (0..layer.positions()).flat_map(|p| (0..taps).map(move |t| (p, t))) {
            let Some(i) = input(position, tap).filter(|&i| (i == picked) == only_picked) else {
                continue;
            };
            let [a, b] = Canvas::middle(left, pixels, PIXEL, i);
            let [c, d] = Canvas::middle(right(position), window, ELEMENT, tap);
            let (from, to) = ([a + CELL[0] / 2.0 + 2.0, b], [c - CELL[0] / 2.0 - 2.0, d]);
            let (from, to) = if back { (to, from) } else { (from, to) };
            canvas.arrow(from, to, if only_picked { strong } else { Look::Dim });
        }
    }
    canvas.grid(left, pixels, PIXEL, |i| {
        Cell::new(v(i), if i == picked { strong } else { Look::Plain })
    });
    for position in 0..layer.positions() {
        let [at_x, at_y] = right(position);
        canvas.grid([at_x, at_y], window, ELEMENT, |tap| {
            let look = match input(position, tap) {
                Some(i) if i == picked => strong,
                Some(_) => Look::Plain,
                None => Look::Padding,
            };
            Cell::new(v_or_zero(input(position, tap)), look)
        });
        let name = g(layer.term(channel, 0, position).output);
        canvas.sign([at_x + CELL[0] + 20.0, at_y + taps as f64 * ELEMENT[1] / 2.0], &name);
    }
}
