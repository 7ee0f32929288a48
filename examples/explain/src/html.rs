//! The explanation as a page: one file with its style, its script and the tables that the library
//! wrote for every layer that the page's inputs can ask for. The script looks up and draws; where
//! a tap lies is nowhere computed but in the library.

use crate::layer::{Grid, Layer};
use crate::options::too_large;
use im2col::{Params, Shape};
use std::collections::HashMap;
use std::fmt::Write;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// The layer and what is lit; arrows; the player.
const SCRIPT: &str = concat!(
    include_str!("page/page.js"),
    include_str!("page/flow.js"),
    include_str!("page/player.js")
);

/// One of the page's inputs: its name, what it can be, and what it is at first.
struct Choice {
    name: &'static str,
    values: Vec<[usize; 3]>,
    first: usize,
}

impl Choice {
    /// The values, smallest first, with that of the layer that the page starts from among them.
    fn new(
        name: &'static str,
        axes: usize,
        sizes: impl Iterator<Item = usize>,
        first: [usize; 3],
    ) -> Self {
        let spread = |sizes: [usize; 3]| {
            let mut spread = [0; 3];
            spread[..axes].copy_from_slice(&sizes[..axes]);
            spread
        };
        let first = spread(first);
        let mut values: Vec<[usize; 3]> = sizes.map(|size| spread([size; 3])).collect();
        values.push(first);
        values.sort_unstable();
        values.dedup();
        let first = values.iter().position(|value| *value == first).expect("it was put in");
        Self { name, values, first }
    }

    /// The number or, where the axes differ, the numbers of a value.
    fn label(&self, value: usize, axes: usize) -> String {
        let sizes = &self.values[value][..axes];
        if self.name != "size" && sizes.iter().all(|size| *size == sizes[0]) {
            return sizes[0].to_string();
        }
        let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
        sizes.join("×")
    }
}

/// The page that starts with a layer.
pub(crate) fn page(params: Params) -> String {
    let axes = params.axes;
    let choices = [
        Choice::new("size", axes, 3..=5, params.input),
        Choice::new("kernel", axes, 1..=3, params.kernel),
        Choice::new("stride", axes, 1..=3, params.stride),
        Choice::new("padding", axes, 0..=2, params.pad_begin),
        Choice::new("dilation", axes, 1..=2, params.dilation),
    ];
    let mut data = String::from("{\"choices\":[");
    for (n, choice) in choices.iter().enumerate() {
        let labels: Vec<String> =
            (0..choice.values.len()).map(|v| format!("\"{}\"", choice.label(v, axes))).collect();
        let comma = if n == 0 { "" } else { "," };
        let (name, first) = (choice.name, choice.first);
        let labels = labels.join(",");
        let _ =
            write!(data, "{comma}{{\"name\":\"{name}\",\"labels\":[{labels}],\"first\":{first}}}");
    }
    let tables = tables(&choices, params);
    let _ = write!(
        data,
        "],\"channels\":{},\"filters\":{},\"groups\":{},\n\"layers\":[\n{}\n],\n\"maps\":[\n{}\n]}}",
        params.in_channels,
        params.out_channels,
        params.groups,
        tables.layers.join(",\n"),
        tables.maps.join(",\n")
    );
    PAGE.replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", SCRIPT).replace("/*DATA*/", &data)
}

/// What the page looks up.
#[derive(Default)]
struct Tables {
    /// The layer of each combination of choices, in row-major order: its sizes, which of the maps
    /// it has, and its numbers; or why there is none, in the library's words.
    layers: Vec<String>,
    /// Index tables: for each term the place in the padded input. Layers may share one.
    maps: Vec<String>,
}

fn tables(choices: &[Choice; 5], params: Params) -> Tables {
    let mut tables = Tables::default();
    let mut known: HashMap<String, usize> = HashMap::new();
    let counts = choices.each_ref().map(|choice| choice.values.len());
    for combination in 0..counts.iter().product() {
        let mut rest: usize = combination;
        let mut picked = [[0; 3]; 5];
        for (choice, picked) in choices.iter().zip(&mut picked).rev() {
            (*picked, rest) =
                (choice.values[rest % choice.values.len()], rest / choice.values.len());
        }
        let [input, kernel, stride, padding, dilation] = picked;
        let layer = Params {
            input,
            kernel,
            stride,
            dilation,
            pad_begin: padding,
            pad_end: padding,
            ..params
        };
        tables.layers.push(match explained(layer) {
            Err(refused) => format!("{{\"refused\":\"{refused}\"}}"),
            Ok(layer) => {
                let map = list(layer.places());
                let next = known.len();
                let number = *known.entry(map.clone()).or_insert(next);
                if number == next {
                    tables.maps.push(map);
                }
                entry(&layer, number)
            }
        });
    }
    tables
}

fn explained(params: Params) -> Result<Layer, String> {
    let shape = Shape::new(params).map_err(|error| error.to_string())?;
    match too_large(&shape) {
        Some(reason) => Err(reason),
        None => Layer::new(params).map_err(|error| error.to_string()),
    }
}

fn list<T: ToString>(values: &[T]) -> String {
    let values: Vec<String> = values.iter().map(T::to_string).collect();
    format!("[{}]", values.join(","))
}

fn grid(grid: Grid) -> String {
    list(&[grid.panels, grid.rows, grid.columns])
}

/// The layer as the script reads it.
fn entry(layer: &Layer, map: usize) -> String {
    let numbers = &layer.numbers;
    // -1 is padding.
    let pixels: Vec<isize> =
        layer.pixels().iter().map(|pixel| pixel.map_or(-1, |i| i as isize)).collect();
    format!(
        "{{\"map\":{map},\"taps\":{},\"v\":{},\"w\":{},\"g\":{},\"padded\":{},\"pixels\":{},\n\"numbers\":{{\"v\":{},\"w\":{},\"g\":{},\"dg\":{},\"dw\":{},\"dv\":{}}}}}",
        layer.taps(),
        grid(layer.input_grid()),
        grid(layer.weight_grid()),
        grid(layer.output_grid()),
        grid(layer.padded_grid()),
        list(&pixels),
        list(&numbers.input),
        list(&numbers.weight),
        list(&numbers.output),
        list(&numbers.grad_output),
        list(&numbers.grad_weight),
        list(&numbers.grad_input),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::tests::{params, worked_example};
    use proptest::prelude::*;

    #[test]
    fn the_page_reaches_for_nothing_outside_of_it() {
        let page = page(*worked_example().shape.params());
        for forbidden in ["http:", "src=", "url(", "@import", "fetch(", "import "] {
            // The names of a drawing's elements, which nothing is loaded from.
            let page = page.replace("http://www.w3.org/2000/svg", "").replace("url(#", "");
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        // Links are followed by a click alone.
        assert_eq!(
            page.matches("https:").count(),
            page.matches("<a class=\"brand\" href=\"https:").count()
        );
        for left in ["/*STYLE*/", "/*SCRIPT*/", "/*DATA*/"] {
            assert!(!page.contains(left), "{left} was not filled in");
        }
    }

    #[test]
    fn the_layer_asked_for_is_among_the_choices() {
        let params = Params {
            input: [4, 6, 1],
            kernel: [3, 1, 1],
            stride: [1, 2, 1],
            in_channels: 2,
            out_channels: 2,
            groups: 2,
            ..Params::default()
        };
        let page = page(params);
        for label in ["\"4×6\"", "\"3×1\"", "\"1×2\""] {
            assert!(page.contains(label), "{label}");
        }
    }

    #[test]
    fn what_cannot_be_says_why() {
        let page = page(*worked_example().shape.params());
        assert!(page.contains("the kernel spans 5 elements"), "3 taps, 2 apart, on 3 pixels");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

        /// The script counts products: filter by filter, window by window, tap by tap.
        #[test]
        fn products_come_in_the_order_in_which_the_script_counts(params in params()) {
            let layer = Layer::new(params).unwrap();
            let (taps, positions) = (layer.taps(), layer.positions());
            for (n, term) in layer.shape.patches().terms().enumerate() {
                let (output, tap) = (n / taps, n % taps);
                prop_assert_eq!(term.output, output);
                prop_assert_eq!(term.weight, output / positions * taps + tap);
            }
        }
    }
}
