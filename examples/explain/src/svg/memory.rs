//! How the gradient of the input is written: added up by windows, or gathered by pixels, and which
//! pixels gather with the same taps.

use super::canvas::{Canvas, Cell, Look, extent, hue};
use crate::layer::{Layer, g, v, w};
use std::collections::BTreeSet;

const CELL: [f64; 2] = [52.0, 44.0];
const LEFT: f64 = 16.0;

/// To the left every window adds to its pixels; to the right one pixel reads its outputs.
pub(super) fn gather(canvas: &mut Canvas, layer: &Layer, top: f64) {
    let picked = layer.busiest_input();
    let terms = layer.of_input(picked);
    let blue = hue(0, 4);
    let (inputs, outputs) = (layer.input_grid(), layer.output_grid());
    canvas.title([LEFT, top + 8.0], "col2im scatters: windows write to the same pixel");
    let y = top + 44.0;
    canvas.sentence([LEFT, y - 8.0], "writers of each pixel");
    let most = (0..layer.shape.input_len()).map(|i| layer.of_input(i).len()).max().unwrap_or(0);
    canvas.grid([LEFT, y], inputs, CELL, |i| {
        let writers = layer.of_input(i).len();
        let look = match writers {
            0 => Look::Dim,
            n if n == most && n > 1 => Look::Strong(blue),
            1 => Look::Plain,
            _ => Look::Hue(blue),
        };
        Cell::new(v(i), look).small(format!("× {writers}"))
    });
    let y = canvas.bottom() + 40.0;
    let title =
        format!("The library gathers: {} reads what it needs and is written once", v(picked));
    canvas.title([LEFT, y], &title);
    let y = y + 36.0;
    canvas.sentence([LEFT, y - 8.0], "∂E/∂G, each met by a weight");
    let [width, height] = canvas.grid([LEFT, y], outputs, CELL, |o| {
        match terms.iter().find(|term| term.output == o) {
            Some(term) => {
                let colour = hue(layer.position_of(term), layer.positions());
                Cell::new(g(o), Look::Hue(colour)).small(format!("·{}", w(term.weight)))
            }
            None => Cell::new(g(o), Look::Dim),
        }
    });
    let x = LEFT + width + 90.0;
    let [[_, from], [_, to]] = [height, extent(inputs, CELL)[1]].map(|h| [0.0, y + h / 2.0]);
    canvas.arrow([LEFT + width + 14.0, from], [x - 14.0, to], Look::Hue(blue));
    canvas.grid([x, y], inputs, CELL, |i| {
        Cell::new(v(i), if i == picked { Look::Strong(blue) } else { Look::Dim })
    });
}

/// Which taps meet each pixel, and the pixels of one phase in one colour.
pub(super) fn phases(canvas: &mut Canvas, layer: &Layer, top: f64) {
    canvas.title([LEFT, top + 8.0], "Pixels of one colour meet the same weights: a phase");
    let (phases, of_pixel) = sort(layer);
    let longest = phases.iter().map(BTreeSet::len).max().unwrap_or(0).min(9);
    let width = (longest as f64 * 17.0 + 14.0).max(CELL[0]);
    let taps_of = |i: usize| -> String {
        let met: BTreeSet<usize> =
            layer.of_input(i).iter().map(|term| term.weight % layer.taps()).collect();
        met.into_iter().map(w).collect::<Vec<String>>().join(" ")
    };
    canvas.grid([LEFT, top + 28.0], layer.input_grid(), [width, CELL[1]], |i| match of_pixel[i] {
        Some(phase) => Cell::new(v(i), Look::Hue(hue(phase, phases.len()))).small(taps_of(i)),
        None => Cell::new(v(i), Look::Padding).small("none: 0"),
    });
    let mut y = canvas.bottom() + 30.0;
    for (n, phase) in phases.iter().enumerate() {
        let pixels: Vec<String> =
            (0..of_pixel.len()).filter(|&i| of_pixel[i] == Some(n)).map(v).collect();
        let taps: Vec<String> = phase.iter().copied().map(w).collect();
        let count = pixels.len();
        let plural = if count == 1 { "pixel" } else { "pixels" };
        let terms = [(format!("{count} {plural} × ({})", taps.join(" ")), hue(n, phases.len()))];
        y = canvas.sum([LEFT, y], &format!("phase {}", n + 1), &terms, usize::MAX);
    }
}

/// The phases as sets of taps, and the phase of each pixel that meets any: taps that meet in a
/// pixel are of one phase. Near the edge a pixel may meet fewer of them.
fn sort(layer: &Layer) -> (Vec<BTreeSet<usize>>, Vec<Option<usize>>) {
    let met: Vec<BTreeSet<usize>> = (0..layer.shape.input_len())
        .map(|i| layer.of_input(i).iter().map(|term| term.weight % layer.taps()).collect())
        .collect();
    let mut phases: Vec<BTreeSet<usize>> = Vec::new();
    for taps in met.iter().filter(|taps| !taps.is_empty()) {
        let (mut joined, apart): (Vec<_>, Vec<_>) =
            phases.into_iter().partition(|phase| !phase.is_disjoint(taps));
        joined.push(taps.clone());
        phases = apart;
        phases.push(joined.into_iter().flatten().collect());
    }
    phases.sort();
    let of_pixel = met
        .iter()
        .map(|taps| phases.iter().position(|phase| !taps.is_empty() && !phase.is_disjoint(taps)));
    let of_pixel = of_pixel.collect();
    (phases, of_pixel)
}

#[cfg(test)]
mod tests {
    use super::*;
    use im2col::Params;

    fn phases_of(params: Params) -> (Vec<BTreeSet<usize>>, Vec<Option<usize>>) {
        sort(&Layer::new(params).unwrap())
    }

    #[test]
    fn a_stride_of_two_makes_four_phases_of_a_3x3_filter() {
        let params = Params {
            input: [5, 5, 1],
            kernel: [3, 3, 1],
            stride: [2, 2, 1],
            pad_begin: [1, 1, 0],
            pad_end: [1, 1, 0],
            ..Params::default()
        };
        let (phases, of_pixel) = phases_of(params);
        let expected = [vec![0, 2, 6, 8], vec![1, 7], vec![3, 5], vec![4]];
        assert_eq!(phases, expected.map(BTreeSet::from_iter));
        assert_eq!(of_pixel[0], Some(3));
        // Even rows and columns meet the middle tap, odd ones the corners.
        assert_eq!((of_pixel[1], of_pixel[5], of_pixel[6]), (Some(2), Some(1), Some(0)));
    }

    #[test]
    fn without_a_stride_there_is_one_phase_and_a_filter_smaller_than_its_stride_leaves_gaps() {
        let dense = Params { input: [4, 4, 1], kernel: [2, 2, 1], ..Params::default() };
        assert_eq!(phases_of(dense).0.len(), 1);
        let gaps = Params { stride: [2, 2, 1], kernel: [1, 1, 1], ..dense };
        let (phases, of_pixel) = phases_of(gaps);
        assert_eq!(phases.len(), 1);
        assert_eq!(of_pixel.iter().flatten().count(), 4);
    }
}
