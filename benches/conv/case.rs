//! A pass of a layer with its numbers, ready to be run in any way, and what it has to answer.

use crate::way::{self, Call, Way};
use im2col::{Algorithm, Pass, Shape};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// A pass, its operands (input, weight or grad_output, in this order) and its answer.
pub(crate) struct Case {
    shape: Shape,
    pass: Pass,
    operands: [Vec<f32>; 2],
    /// The answer in f64.
    values: Vec<f64>,
    /// `Σ|a||b|` of each element of the answer.
    magnitudes: Vec<f64>,
}

impl Case {
    /// Random numbers between -1 and 1, the same in every run. The answer is the textbook's in
    /// f64, whose own error is nothing beside f32's.
    pub(crate) fn new(shape: Shape, pass: Pass) -> Self {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut numbers = |len| (0..len).map(|_| rng.random_range(-1.0..1.0)).collect::<Vec<f32>>();
        let operands = lengths(&shape, pass).map(&mut numbers);
        let (scratch_len, judge) = way::prepare::<f64>(shape, pass, Algorithm::Explicit);
        let answer = |number: fn(f64) -> f64| {
            let [a, b]: [Vec<f64>; 2] =
                [0, 1].map(|i| operands[i].iter().map(|&x| number(x.into())).collect());
            let mut to = vec![0.0; result_len(&shape, pass)];
            judge([&a, &b], &mut to, &mut vec![0.0; scratch_len]);
            to
        };
        let (values, magnitudes) = (answer(|x| x), answer(f64::abs));
        Self { shape, pass, operands, values, magnitudes }
    }

    /// The pass in one way, with all its memory.
    pub(crate) fn runner(&self, way: Way) -> Runner<'_> {
        let (scratch_len, call) = way.prepare(self.shape, self.pass);
        let to = vec![f32::NAN; self.values.len()];
        Runner { case: self, way, call, to, scratch: vec![0.0; scratch_len] }
    }
}

/// A pass in one way.
pub(crate) struct Runner<'a> {
    case: &'a Case,
    way: Way,
    call: Call,
    to: Vec<f32>,
    scratch: Vec<f32>,
}

impl Runner<'_> {
    pub(crate) fn call(&mut self) {
        let [a, b] = &self.case.operands;
        (self.call)([a, b], &mut self.to, &mut self.scratch);
    }

    /// Panics unless the last call's result is right: the contract for random numbers.
    pub(crate) fn check(&self, layer: &str) {
        let Case { shape, pass, values, magnitudes, .. } = self.case;
        let terms = match pass {
            Pass::Forward => shape.patch_len(),
            Pass::BackwardData => shape.group_out() * shape.kernel_taps(),
            _ => shape.batch() * shape.output_pixels(),
        };
        let factor = (4.0 + 2.0 * (terms as f64).sqrt()) * f32::EPSILON as f64;
        let answers = values.iter().zip(magnitudes);
        for (i, (&got, (value, magnitude))) in self.to.iter().zip(answers).enumerate() {
            let off = (f64::from(got) - value).abs();
            let way = self.way.name();
            assert!(
                off <= factor * magnitude,
                "{way} {pass:?} of {layer}: element {i} is {got}, not {value}"
            );
        }
    }
}

/// Elements of the two operands.
fn lengths(shape: &Shape, pass: Pass) -> [usize; 2] {
    match pass {
        Pass::Forward => [shape.input_len(), shape.weight_len()],
        Pass::BackwardData => [shape.weight_len(), shape.output_len()],
        _ => [shape.input_len(), shape.output_len()],
    }
}

/// Elements of the result.
fn result_len(shape: &Shape, pass: Pass) -> usize {
    match pass {
        Pass::Forward => shape.output_len(),
        Pass::BackwardData => shape.input_len(),
        _ => shape.weight_len(),
    }
}
