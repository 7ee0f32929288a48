//! The windows of a layer in their colours: where they lie, and what flows through them.

use super::canvas::{Canvas, Cell, Look, extent, hue};
use crate::layer::{Grid, Layer, g, symbol, v, v_or_zero, w};
use im2col::Term;
use std::ops::Range;

/// Cells of a picture's main matrices, and of the small ones.
const CELL: [f64; 2] = [46.0, 36.0];
const SMALL: [f64; 2] = [34.0, 28.0];
/// Characters in a line of a sum.
const LINE: usize = 84;
const LEFT: f64 = 16.0;

/// The colour of the window at an output position.
fn colour(layer: &Layer, position: usize) -> u16 {
    hue(position, layer.positions())
}

/// The padded input under the window of some groups at a position, in the window's colour.
fn under_window(
    canvas: &mut Canvas,
    layer: &Layer,
    groups: Range<usize>,
    at: [f64; 2],
    position: usize,
    mark: impl Fn(usize) -> Option<Cell>,
) {
    let shape = &layer.shape;
    // The filters of one group see its channels; the first of each group together see all.
    let firsts = groups.map(|group| group * shape.group_out());
    let places: Vec<usize> = firsts
        .flat_map(|channel| (0..layer.taps()).map(move |tap| layer.place(channel, tap, position)))
        .collect();
    let pixels = layer.pixels();
    canvas.grid(at, layer.padded_grid(), SMALL, |place| {
        let label = pixels[place].map_or_else(String::new, v);
        if let Some(cell) = pixels[place].and_then(&mark) {
            return cell;
        }
        match (places.contains(&place), pixels[place]) {
            (true, _) => Cell::new(v_or_zero(pixels[place]), Look::Hue(colour(layer, position))),
            (false, Some(_)) => Cell::new(label, Look::Dim),
            (false, None) => Cell::new("0", Look::Padding),
        }
    });
}

/// Names of a position on all output channels: `G1 G5`.
fn names(layer: &Layer, position: usize) -> String {
    let channels = 0..layer.shape.out_channels();
    let names: Vec<String> = channels.map(|k| g(layer.term(k, 0, position).output)).collect();
    names.join(" ")
}

/// Where to put small inputs, one for each of `count`: as the outputs lie, if that isn't too wide.
fn tiles(layer: &Layer, count: usize, columns: usize) -> ([f64; 2], impl Fn(usize) -> [f64; 2]) {
    let [w, h] = extent(layer.padded_grid(), SMALL);
    let pitch = [w + 24.0, h + 38.0];
    let columns = columns.min((760.0 / pitch[0]) as usize).clamp(1, count.max(1));
    let rows = count.div_ceil(columns);
    let size = [columns as f64 * pitch[0], rows as f64 * pitch[1]];
    (size, move |n| [(n % columns) as f64 * pitch[0], (n / columns) as f64 * pitch[1] + 18.0])
}

/// The input under each window, and the rows of cols in the same colours.
pub(super) fn windows(canvas: &mut Canvas, layer: &Layer, top: f64) {
    canvas.title([LEFT, top + 8.0], "Each place of the filter is a window, and a row of cols");
    let top = top + 28.0;
    let ([width, height], tile) = tiles(layer, layer.positions(), layer.output_grid().columns);
    for position in 0..layer.positions() {
        let [x, y] = tile(position);
        let sees = if layer.shape.out_channels() == 1 { "sees" } else { "see" };
        canvas.sentence([LEFT + x, top + y - 6.0], &format!("{} {sees}", names(layer, position)));
        let groups = 0..layer.shape.groups();
        under_window(canvas, layer, groups, [LEFT + x, top + y], position, |_| None);
    }
    let all: f64 = layer.taps() as f64 * CELL[0] * layer.shape.groups() as f64;
    let beside = width + all < 900.0;
    let (x, y) = if beside {
        let middle = top + (height - (layer.positions() as f64 + 1.0) * CELL[1]) / 2.0;
        canvas.sign([LEFT + width + 16.0, top + height / 2.0], "→");
        (LEFT + width + 48.0, middle.max(top))
    } else {
        (LEFT, top + height + 12.0)
    };
    cols(canvas, layer, 0..layer.shape.groups(), [x, y], |_| None);
}

/// Cols with a row in the colour of each window, group beside group. `look` may say otherwise of
/// a tap.
fn cols(
    canvas: &mut Canvas,
    layer: &Layer,
    groups: Range<usize>,
    [x, y]: [f64; 2],
    look: impl Fn(usize) -> Option<Look>,
) -> [f64; 2] {
    let grid = Grid { panels: 1, rows: layer.positions(), columns: layer.taps() };
    let mut left = x;
    for group in groups {
        let channel = group * layer.shape.group_out();
        left += 40.0;
        for tap in 0..layer.taps() {
            let middle = left + (tap as f64 + 0.5) * CELL[0];
            canvas.sign([middle, y + 14.0], &w(layer.term(channel, tap, 0).weight));
        }
        for position in 0..layer.positions() {
            let middle = y + 26.0 + (position as f64 + 0.5) * CELL[1];
            let output = layer.term(channel, 0, position).output;
            canvas.sign([left - 22.0, middle], &g(output));
        }
        canvas.grid([left, y + 26.0], grid, CELL, |n| {
            let (position, tap) = (n / grid.columns, n % grid.columns);
            let input = layer.term(channel, tap, position).input;
            let usual =
                if input.is_some() { Look::Hue(colour(layer, position)) } else { Look::Padding };
            Cell::new(v_or_zero(input), look(tap).unwrap_or(usual))
        });
        left += grid.columns as f64 * CELL[0] + 14.0;
    }
    [left - x, 26.0 + grid.rows as f64 * CELL[1]]
}

/// The product that gives the first weight's gradient: a row of dGᵀ times a column of cols.
pub(super) fn weight(canvas: &mut Canvas, layer: &Layer, top: f64) {
    let name = w(0);
    canvas.title(
        [LEFT, top + 8.0],
        &format!("{name} is used in every window, so its gradient is a sum over windows"),
    );
    let y = top + 28.0;
    let terms = layer.of_weight(0);
    let (positions, taps) = (layer.positions() as f64, layer.taps() as f64);
    // dGᵀ lies to the left of cols at half its height, dW to the right.
    let row = Grid { panels: 1, rows: 1, columns: terms.len() };
    let wide = [56.0, CELL[1]];
    let middle = y + 26.0 + positions * CELL[1] / 2.0;
    let beside = positions * wide[0] + taps * CELL[0] < 760.0;
    let at = if beside { [LEFT, middle - CELL[1] / 2.0] } else { [LEFT, y + 20.0] };
    canvas.sign([at[0] + 20.0, at[1] - 12.0], "dGᵀ");
    canvas.grid(at, row, wide, |n| {
        Cell::new(symbol("dG", terms[n].output), Look::Strong(colour(layer, n)))
    });
    let [width, _] = extent(row, wide);
    let (cols_at, after) = if beside {
        canvas.sign([at[0] + width + 16.0, middle], "·");
        ([at[0] + width + 28.0, y], middle)
    } else {
        canvas.sign([LEFT + 8.0, at[1] + CELL[1] + 16.0], "·");
        let top = at[1] + CELL[1] + 24.0;
        ([LEFT, top], top + 26.0 + positions * CELL[1] / 2.0)
    };
    let [used, _] = cols(canvas, layer, 0..1, cols_at, |tap| (tap != 0).then_some(Look::Dim));
    let x = cols_at[0] + used + 10.0;
    canvas.sign([x, after], "=");
    let here = Cell::new(format!("d{name}"), Look::Plain);
    canvas.cell([x + 20.0, after - CELL[1] / 2.0], wide, &here);
    let factors: Vec<(String, u16)> = terms
        .iter()
        .filter_map(|t| {
            let colour = colour(layer, layer.position_of(t));
            Some((format!("∂E/∂{}·{}", g(t.output), v(t.input?)), colour))
        })
        .collect();
    let below = canvas.bottom() + 30.0;
    canvas.sum([LEFT, below], &format!("∂E/∂{name}"), &factors, LINE);
}

/// The windows that one pixel lies in, each with the weight that lies on it there.
pub(super) fn pixel(canvas: &mut Canvas, layer: &Layer, top: f64) {
    let pixel = layer.busiest_input();
    let terms = layer.of_input(pixel);
    let name = v(pixel);
    let group = pixel / (layer.shape.image_len() / layer.shape.groups());
    canvas.title([LEFT, top + 8.0], &format!("{name} gathers from every window that it lies in"));
    let top = top + 28.0;
    let mut at: Vec<usize> = terms.iter().map(|term| layer.position_of(term)).collect();
    at.sort_unstable();
    at.dedup();
    let columns =
        if at.len() == layer.positions() { layer.output_grid().columns } else { at.len() };
    let (_, tile) = tiles(layer, at.len(), columns);
    for (n, &position) in at.iter().enumerate() {
        let [x, y] = tile(n);
        let here: Vec<&Term> = terms.iter().filter(|t| layer.position_of(t) == position).collect();
        let weights: Vec<String> = here.iter().map(|t| w(t.weight)).collect();
        // Where several filters meet the pixel, their weights stand above.
        let label = if weights.len() == 1 { weights[0].clone() } else { name.clone() };
        let (weights, errors) = (weights.join(" "), names_of(&here));
        canvas.sentence([LEFT + x, top + y - 6.0], &format!("{errors} through {weights}"));
        under_window(canvas, layer, group..group + 1, [LEFT + x, top + y], position, |i| {
            let strong = Look::Strong(colour(layer, position));
            (i == pixel).then(|| Cell::new(label.clone(), strong))
        });
    }
    let factors: Vec<(String, u16)> = terms
        .iter()
        .map(|t| {
            (format!("∂E/∂{}·{}", g(t.output), w(t.weight)), colour(layer, layer.position_of(t)))
        })
        .collect();
    let below = canvas.bottom() + 30.0;
    canvas.sum([LEFT, below], &format!("∂E/∂{name}"), &factors, LINE);
}

fn names_of(terms: &[&Term]) -> String {
    let names: Vec<String> = terms.iter().map(|t| g(t.output)).collect();
    names.join(" ")
}
