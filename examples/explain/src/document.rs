//! What is said about a layer, before it has a form: sections of sentences, equations and
//! matrices. `text` and `markdown` write them.

use crate::layer::{Grid, Layer, g, symbol, v, v_or_zero, w};
use crate::products::{cols, input_as_a_product, weights_as_a_product};
use im2col::{Params, Shape, Term};

/// A part of the explanation, with a name by which docs include it.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) blocks: Vec<Block>,
}

pub(crate) enum Block {
    Sentence(String),
    Equations(Vec<Equation>),
    /// Matrices with signs between them, side by side.
    Matrices(Vec<Piece>),
}

/// `left = a + b + ..`, and the same in numbers.
pub(crate) struct Equation {
    pub(crate) left: String,
    pub(crate) terms: Vec<String>,
    pub(crate) numbers: Option<(Vec<String>, f64)>,
}

pub(crate) enum Piece {
    Sign(&'static str),
    Matrix(Matrix),
}

/// Cells under a name, with labels where rows and columns have them.
pub(crate) struct Matrix {
    pub(crate) name: String,
    pub(crate) rows: Vec<String>,
    pub(crate) columns: Vec<String>,
    pub(crate) cells: Vec<Vec<String>>,
}

/// Everything that is said about a layer.
pub(crate) fn document(layer: &Layer) -> Vec<Section> {
    let mut sections = vec![
        the_layer(layer),
        dense(),
        forward(layer),
        chain_rule(layer),
        gradients_of_the_weights(layer),
        gradients_of_the_input(layer),
        cols(layer),
    ];
    for group in 0..layer.shape.groups() {
        sections.push(weights_as_a_product(layer, group));
        sections.push(input_as_a_product(layer, group));
    }
    sections
}

/// What is said in one line.
pub(crate) fn summary(layer: &Layer) -> String {
    let shape = &layer.shape;
    let sizes = |size: fn(&im2col::Axis) -> usize| {
        let sizes: Vec<String> = shape.axes().iter().map(|axis| size(axis).to_string()).collect();
        sizes.join("x")
    };
    let mut words = vec![
        format!("Input {}", sizes(|a| a.input)),
        format!("filter {}", sizes(|a| a.kernel)),
        format!("output {}", sizes(|a| a.output)),
        format!("stride {}", sizes(|a| a.stride)),
        format!("padding {}", sizes(|a| a.pad_begin)),
        format!("dilation {}", sizes(|a| a.dilation)),
    ];
    if shape.in_channels() * shape.out_channels() > 1 {
        words.push(format!("{} input channels", shape.in_channels()));
        words.push(format!("{} output channels", shape.out_channels()));
        words.push(format!("groups {}", shape.groups()));
    }
    words.join(", ")
}

/// A number as it is written as a factor.
fn factor(number: f64) -> String {
    if number < 0.0 { format!("({number})") } else { number.to_string() }
}

fn product(a: f64, b: f64) -> String {
    format!("{}·{}", factor(a), factor(b))
}

pub(crate) fn section(name: &'static str, title: impl Into<String>, blocks: Vec<Block>) -> Section {
    Section { name, title: title.into(), blocks }
}

fn the_layer(layer: &Layer) -> Section {
    let numbers = &layer.numbers;
    let grids = [layer.input_grid(), layer.weight_grid(), layer.output_grid()];
    let symbols = ["V", "W", "G"].map(|letter| move |element| symbol(letter, element));
    let values = [&numbers.input, &numbers.weight, &numbers.grad_output]
        .map(|tensor| move |element: usize| tensor[element].to_string());
    let mut layer_pieces = panels(grids[0], "", &symbols[0]);
    layer_pieces.push(Piece::Sign("*"));
    layer_pieces.extend(panels(grids[1], "", &symbols[1]));
    layer_pieces.push(Piece::Sign("="));
    layer_pieces.extend(panels(grids[2], "", &symbols[2]));
    let mut number_pieces = panels(grids[0], "V", &values[0]);
    number_pieces.extend(panels(grids[1], "W", &values[1]));
    number_pieces.extend(panels(grids[2], "∂E/∂G", &values[2]));
    let blocks = vec![
        Block::Sentence(format!("{}.", summary(layer))),
        Block::Sentence(
            "V is the input, W the filter, G the output before the activation, E the error.".into(),
        ),
        Block::Matrices(layer_pieces),
        Block::Sentence(
            "Beside the symbols stand numbers, as the library's passes compute them from these:"
                .into(),
        ),
        Block::Matrices(number_pieces),
    ];
    section("layer", "The layer", blocks)
}

/// A matrix for each panel of a tensor.
pub(crate) fn panels(grid: Grid, name: &str, cell: &dyn Fn(usize) -> String) -> Vec<Piece> {
    let matrix = |panel| {
        let row = |row| (0..grid.columns).map(|column| cell(grid.at(panel, row, column))).collect();
        let cells = (0..grid.rows).map(row).collect();
        Piece::Matrix(Matrix { name: name.to_owned(), rows: vec![], columns: vec![], cells })
    };
    (0..grid.panels).map(matrix).collect()
}

/// The dense layer is the convolution whose filter is as large as its input: its table has one
/// position, so a weight meets one input.
fn dense() -> Section {
    let inputs = [2, 2, 1];
    let params = Params { input: inputs, kernel: inputs, ..Params::default() };
    let shape = Shape::new(params).expect("a filter as large as the input");
    let term = shape.patches().term(0, 0, 0).expect("the first weight at the only position");
    let Term { output, weight, input } = term;
    let (weight, sum) = (w(weight), symbol("H", output));
    let input = input.map_or_else(|| "0".to_owned(), |i| symbol("I", i));
    let chain = format!("∂E/∂HA{0} · ∂HA{0}/∂H{0} · ∂H{0}/∂{weight}", output + 1);
    let one =
        |left, term| Block::Equations(vec![Equation { left, terms: vec![term], numbers: None }]);
    let blocks = vec![
        Block::Sentence(
            "In a dense layer a weight is used once, so the chain rule has one path, and its last \
             factor is the one input that the weight multiplies."
                .into(),
        ),
        one(format!("∂E/∂{weight}"), chain),
        one(format!("∂{sum}/∂{weight}"), input),
    ];
    section("dense", "What is known: the dense layer", blocks)
}

fn forward(layer: &Layer) -> Section {
    let numbers = &layer.numbers;
    let equation = |o: usize| {
        let terms: Vec<(usize, usize)> =
            layer.of_output(o).iter().filter_map(|t| Some((t.input?, t.weight))).collect();
        Equation {
            left: g(o),
            terms: terms.iter().map(|&(i, x)| format!("{}·{}", v(i), w(x))).collect(),
            numbers: Some((
                terms.iter().map(|&(i, x)| product(numbers.input[i], numbers.weight[x])).collect(),
                numbers.output[o],
            )),
        }
    };
    let blocks = vec![
        Block::Sentence("The filter slides over the input; each place makes one output.".into()),
        Block::Equations((0..numbers.output.len()).map(equation).collect()),
    ];
    section("forward", "Forward", blocks)
}

/// The chain rule for the first weight, once for each place where it stands.
fn chain_rule(layer: &Layer) -> Section {
    let terms = layer.of_weight(0);
    let first = w(0);
    let paths = terms.iter().map(|t| format!("∂E/∂{0}·∂{0}/∂{first}", g(t.output)));
    let factors = terms.iter().map(|t| Equation {
        left: format!("∂{}/∂{first}", g(t.output)),
        terms: vec![v_or_zero(t.input)],
        numbers: None,
    });
    let places = match terms.len() {
        1 => "one place".to_owned(),
        n => format!("{n} places"),
    };
    let mut blocks = vec![
        Block::Sentence(format!(
            "The same weight stands in {places}, so the chain rule has as many paths from E to \
             {first}, and the gradient is the sum over all of them."
        )),
        Block::Equations(vec![Equation {
            left: format!("∂E/∂{first}"),
            terms: paths.collect(),
            numbers: None,
        }]),
        Block::Sentence("The last factor of each path is the input under the weight there:".into()),
        Block::Equations(factors.collect()),
    ];
    if terms.iter().any(|term| term.input.is_none()) {
        blocks.push(Block::Sentence(
            "(Where the weight lies on padding it multiplies a zero: that path is left out.)"
                .into(),
        ));
    }
    blocks.push(Block::Sentence("Put together:".into()));
    blocks.push(Block::Equations(vec![gradient_of_weight(layer, 0)]));
    section("chain", format!("Backward, for {first}: the chain rule at every place"), blocks)
}

/// `∂E/∂G1·V1 + ..`
fn gradient_of_weight(layer: &Layer, weight: usize) -> Equation {
    let numbers = &layer.numbers;
    let terms: Vec<(usize, usize)> =
        layer.of_weight(weight).iter().filter_map(|t| Some((t.output, t.input?))).collect();
    Equation {
        left: format!("∂E/∂{}", w(weight)),
        terms: terms.iter().map(|&(o, i)| format!("∂E/∂{}·{}", g(o), v(i))).collect(),
        numbers: Some((
            terms.iter().map(|&(o, i)| product(numbers.grad_output[o], numbers.input[i])).collect(),
            numbers.grad_weight[weight],
        )),
    }
}

fn gradients_of_the_weights(layer: &Layer) -> Section {
    let weights = 0..layer.shape.weight_len();
    let blocks = vec![
        Block::Sentence(
            "Every weight's gradient is the dense layer's, summed over the places of the filter."
                .into(),
        ),
        Block::Equations(weights.map(|weight| gradient_of_weight(layer, weight)).collect()),
    ];
    section("weights", "The gradients of the weights", blocks)
}

fn gradients_of_the_input(layer: &Layer) -> Section {
    let numbers = &layer.numbers;
    let equation = |i: usize| {
        let terms = layer.of_input(i);
        let values = |t: &Term| product(numbers.grad_output[t.output], numbers.weight[t.weight]);
        Equation {
            left: format!("∂E/∂{}", v(i)),
            terms: terms.iter().map(|t| format!("∂E/∂{}·{}", g(t.output), w(t.weight))).collect(),
            numbers: Some((terms.iter().map(values).collect(), numbers.grad_input[i])),
        }
    };
    let blocks = vec![
        Block::Sentence(
            "A pixel is used once by each window that it lies in, each time by another weight."
                .into(),
        ),
        Block::Equations((0..numbers.input.len()).map(equation).collect()),
    ];
    section("pixels", "The gradients of the input", blocks)
}
