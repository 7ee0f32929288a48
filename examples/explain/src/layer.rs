//! The layer that is explained: its index tables, as the library gives them, and its numbers, as
//! the library's passes compute them. Everything that is printed or drawn is read from here.

use im2col::{Algorithm, Axis, Error, Params, Plan, Shape, Term};

/// A matrix of pictures: `panels` grids of `rows` by `columns`, numbered in row-major order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) panels: usize,
    pub(crate) rows: usize,
    pub(crate) columns: usize,
}

impl Grid {
    /// A tensor of `outer` (channels) times the axes of a layer: the last two are drawn, and those
    /// before them give one panel after the other.
    fn new(outer: usize, axes: &[Axis], size: fn(&Axis) -> usize) -> Self {
        let sizes: Vec<usize> = axes.iter().map(size).collect();
        match sizes[..] {
            [w] => Self { panels: outer, rows: 1, columns: w },
            [ref outermost @ .., h, w] => {
                Self { panels: outer * outermost.iter().product::<usize>(), rows: h, columns: w }
            }
            [] => unreachable!("a shape has at least one axis"),
        }
    }

    /// The number of the element at a row and a column of a panel.
    pub(crate) fn at(&self, panel: usize, row: usize, column: usize) -> usize {
        (panel * self.rows + row) * self.columns + column
    }

    /// Every element with its panel, row and column.
    pub(crate) fn elements(self) -> impl Iterator<Item = (usize, [usize; 3])> {
        let Self { panels, rows, columns } = self;
        (0..panels * rows * columns)
            .map(move |n| (n, [n / columns / rows, n / columns % rows, n % columns]))
    }
}

/// What the tensors hold: the inputs of the passes, chosen to be read, and what the passes answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers {
    pub(crate) input: Vec<f64>,
    pub(crate) weight: Vec<f64>,
    pub(crate) output: Vec<f64>,
    pub(crate) grad_output: Vec<f64>,
    pub(crate) grad_weight: Vec<f64>,
    pub(crate) grad_input: Vec<f64>,
}

/// One layer, ready to be explained.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) shape: Shape,
    /// Every product, in the order of [`im2col::PatchMap::terms`].
    terms: Vec<Term>,
    /// For each product, the element of the padded input that its tap lies on.
    places: Vec<usize>,
    pub(crate) numbers: Numbers,
}

/// Small whole numbers, over and over.
fn cycle(numbers: &[f64], len: usize) -> Vec<f64> {
    numbers.iter().copied().cycle().take(len).collect()
}

impl Layer {
    /// Asks the library for the layer's tables and runs its three passes.
    pub(crate) fn new(params: Params) -> Result<Self, Error> {
        let shape = Shape::new(Params { batch: 1, ..params })?;
        let plan = Plan::<f64>::new(shape, Algorithm::Auto.into())?;
        let input = cycle(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], shape.input_len());
        let weight = cycle(&[2.0, 3.0, 5.0, 7.0, 11.0], shape.weight_len());
        let grad_output = cycle(&[1.0, 2.0, -1.0, 3.0, -2.0], shape.output_len());
        let mut output = vec![0.0; shape.output_len()];
        let mut grad_weight = vec![0.0; weight.len()];
        let mut grad_input = vec![0.0; input.len()];
        plan.forward(&input, &weight).run(&mut output)?;
        plan.backward_weight(&input, &grad_output).run(&mut grad_weight)?;
        plan.backward_data(&weight, &grad_output).run(&mut grad_input)?;
        // Where a tap lies on the padding is where it lies on the image of the same layer with the
        // zeros written out.
        let mut written = *shape.params();
        for (a, axis) in shape.axes().iter().enumerate() {
            written.input[a] = axis.input + axis.pad_begin + axis.pad_end;
            (written.pad_begin[a], written.pad_end[a]) = (0, 0);
        }
        let written = Shape::new(written)?;
        let place = |term: Term| term.input.expect("nothing is padded any more");
        Ok(Self {
            places: written.patches().terms().map(place).collect(),
            terms: shape.patches().terms().collect(),
            shape,
            numbers: Numbers { input, weight, output, grad_output, grad_weight, grad_input },
        })
    }

    /// The input, panel by panel.
    pub(crate) fn input_grid(&self) -> Grid {
        Grid::new(self.shape.in_channels(), self.shape.axes(), |a| a.input)
    }

    /// The input with its zeros.
    pub(crate) fn padded_grid(&self) -> Grid {
        let padded = |a: &Axis| a.input + a.pad_begin + a.pad_end;
        Grid::new(self.shape.in_channels(), self.shape.axes(), padded)
    }

    /// The input element at each place of the padded input, `None` in the padding.
    pub(crate) fn pixels(&self) -> Vec<Option<usize>> {
        let (padded, inner) = (self.padded_grid(), self.input_grid());
        let mut pixels = vec![None; padded.panels * padded.rows * padded.columns];
        let before = |axis: usize| {
            let axes = self.shape.axes();
            axes.len().checked_sub(axis).map_or(0, |axis| axes[axis].pad_begin)
        };
        let channels = self.shape.in_channels();
        let (depth, padded_depth) = (inner.panels / channels, padded.panels / channels);
        for (i, [panel, row, column]) in inner.elements() {
            let panel = panel / depth * padded_depth + panel % depth + before(3);
            pixels[padded.at(panel, row + before(2), column + before(1))] = Some(i);
        }
        pixels
    }

    /// The filters, panel by panel.
    pub(crate) fn weight_grid(&self) -> Grid {
        let filters = self.shape.out_channels() * self.shape.group_in();
        Grid::new(filters, self.shape.axes(), |a| a.kernel)
    }

    /// The output, panel by panel.
    pub(crate) fn output_grid(&self) -> Grid {
        Grid::new(self.shape.out_channels(), self.shape.axes(), |a| a.output)
    }

    /// Places where a filter lies.
    pub(crate) fn positions(&self) -> usize {
        self.shape.patches().positions()
    }

    /// Elements of one filter.
    pub(crate) fn taps(&self) -> usize {
        self.shape.patches().taps()
    }

    /// Which element of the layer's tables a tap of a filter at a position is.
    fn number(&self, channel: usize, tap: usize, position: usize) -> usize {
        (channel * self.positions() + position) * self.taps() + tap
    }

    /// The product of a tap of one output channel's filter at a position.
    pub(crate) fn term(&self, channel: usize, tap: usize, position: usize) -> Term {
        self.terms[self.number(channel, tap, position)]
    }

    /// The element of the padded input on which a tap lies at a position.
    pub(crate) fn place(&self, channel: usize, tap: usize, position: usize) -> usize {
        self.places[self.number(channel, tap, position)]
    }

    /// All places, in the order of [`im2col::PatchMap::terms`].
    pub(crate) fn places(&self) -> &[usize] {
        &self.places
    }

    /// The output position of a product, on whatever channel.
    pub(crate) fn position_of(&self, term: &Term) -> usize {
        term.output % self.positions()
    }

    /// The products that make an output, without those that meet padding.
    pub(crate) fn of_output(&self, output: usize) -> Vec<Term> {
        self.terms_where(|term| term.output == output && term.input.is_some())
    }

    /// The products in which a weight stands, also those that meet padding.
    pub(crate) fn of_weight(&self, weight: usize) -> Vec<Term> {
        self.terms_where(|term| term.weight == weight)
    }

    /// The products in which an input element stands.
    pub(crate) fn of_input(&self, input: usize) -> Vec<Term> {
        self.terms_where(|term| term.input == Some(input))
    }

    fn terms_where(&self, keep: impl Fn(&Term) -> bool) -> Vec<Term> {
        self.terms.iter().copied().filter(|term| keep(term)).collect()
    }

    /// The input element in which most products meet, the middle one of several.
    pub(crate) fn busiest_input(&self) -> usize {
        let counts: Vec<usize> =
            (0..self.shape.input_len()).map(|i| self.of_input(i).len()).collect();
        let most = counts.iter().max().copied().unwrap_or(0);
        let busiest: Vec<usize> = (0..counts.len()).filter(|&i| counts[i] == most).collect();
        busiest[busiest.len() / 2]
    }
}

/// A symbol of the question: `V1` is element 0.
pub(crate) fn symbol(letter: &str, element: usize) -> String {
    format!("{letter}{}", element + 1)
}

/// `V1`: an element of the input.
pub(crate) fn v(element: usize) -> String {
    symbol("V", element)
}

/// `W1`: an element of the weight.
pub(crate) fn w(element: usize) -> String {
    symbol("W", element)
}

/// `G1`: an element of the output.
pub(crate) fn g(element: usize) -> String {
    symbol("G", element)
}

/// `V1` or, in padding, `0`.
pub(crate) fn v_or_zero(input: Option<usize>) -> String {
    input.map_or_else(|| "0".to_owned(), v)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 3x3 input, 2x2 filter: the question's.
    pub(crate) fn worked_example() -> Layer {
        let params = Params { input: [3, 3, 1], kernel: [2, 2, 1], ..Params::default() };
        Layer::new(params).unwrap()
    }

    /// Small layers of every kind that can be explained.
    pub(crate) fn params() -> impl Strategy<Value = Params> {
        let three = |range: std::ops::RangeInclusive<usize>| [range.clone(), range.clone(), range];
        let sizes = (three(1..=2), three(1..=2), three(1..=2), three(0..=2), three(0..=2));
        (1..=3usize, 1..=2usize, 1..=2usize, 1..=2usize, sizes).prop_map(
            |(axes, groups, group_in, group_out, (kernel, stride, dilation, pad, extra))| {
                let mut input = [1; 3];
                for a in 0..3 {
                    let span = dilation[a] * (kernel[a] - 1) + 1;
                    input[a] = span.saturating_sub(2 * pad[a]).max(1) + extra[a];
                }
                Params {
                    axes,
                    groups,
                    in_channels: groups * group_in,
                    out_channels: groups * group_out,
                    input,
                    kernel,
                    stride,
                    dilation,
                    pad_begin: pad,
                    pad_end: pad,
                    ..Params::default()
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        /// The numbers come from the passes, the symbols from the tables: they have to agree.
        #[test]
        fn numbers_are_the_sums_of_the_terms(params in params()) {
            let layer = Layer::new(params).unwrap();
            let Numbers { input, weight, output, grad_output, grad_weight, grad_input } = &layer.numbers;
            for (o, &sum) in output.iter().enumerate() {
                let terms = layer.of_output(o);
                let terms = terms.iter().map(|t| input[t.input.unwrap()] * weight[t.weight]);
                prop_assert_eq!(terms.sum::<f64>(), sum);
            }
            for (w, &sum) in grad_weight.iter().enumerate() {
                let terms = layer.of_weight(w);
                let terms = terms.iter().map(|t| grad_output[t.output] * t.input.map_or(0.0, |i| input[i]));
                prop_assert_eq!(terms.sum::<f64>(), sum);
            }
            for (i, &sum) in grad_input.iter().enumerate() {
                let terms = layer.of_input(i);
                let terms = terms.iter().map(|t| grad_output[t.output] * weight[t.weight]);
                prop_assert_eq!(terms.sum::<f64>(), sum);
            }
        }

        /// Where the padded place is inside of the image it is the input element, elsewhere none.
        #[test]
        fn places_are_inputs_or_padding(params in params()) {
            let layer = Layer::new(params).unwrap();
            let pixels = layer.pixels();
            prop_assert!(pixels.iter().flatten().copied().eq(0..layer.shape.input_len()));
            for (term, &place) in layer.terms.iter().zip(&layer.places) {
                prop_assert_eq!(term.input, pixels[place]);
            }
        }
    }

    #[test]
    fn the_middle_pixel_of_the_worked_example_is_the_busiest() {
        assert_eq!(v(worked_example().busiest_input()), "V5");
    }
}
