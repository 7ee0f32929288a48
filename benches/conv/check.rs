//! A pass of a layer with its numbers, ready to be run in any way, and what it has to answer.

use crate::table::Way;
use crate::textbook;
use im2col::{Algorithm, Element, Parallelism, Pass, Plan, Shape, Write, reference};
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
        let judge = Plan::<f64>::new(shape, Algorithm::Explicit, Parallelism::Serial);
        let judge = judge.expect("the benches' layers are small");
        let answer = |number: fn(f64) -> f64| {
            let [a, b]: [Vec<f64>; 2] =
                [0, 1].map(|i| operands[i].iter().map(|&x| number(x.into())).collect());
            let mut to = vec![0.0; result_len(&shape, pass)];
            let mut scratch = vec![0.0; judge.scratch_len(pass)];
            run(&judge, pass, [&a, &b], &mut to, &mut scratch);
            to
        };
        let (values, magnitudes) = (answer(|x| x), answer(f64::abs));
        Self { shape, pass, operands, values, magnitudes }
    }

    /// The pass in one way, with all its memory.
    pub(crate) fn runner(&self, way: Way) -> Runner<'_> {
        let plan = |algorithm| {
            let plan = Plan::new(self.shape, algorithm, Parallelism::Serial);
            Some(plan.expect("the benches' layers are small"))
        };
        let plan = match way {
            Way::Naive | Way::Gemm => None,
            Way::Explicit => plan(Algorithm::Explicit),
            Way::Implicit => plan(Algorithm::Implicit),
        };
        let scratch = match (&plan, way) {
            (Some(plan), _) => plan.scratch_len(self.pass),
            (None, Way::Gemm) => textbook::scratch_len(&self.shape),
            (None, _) => 0,
        };
        let to = vec![f32::NAN; self.values.len()];
        Runner { case: self, way, plan, to, scratch: vec![0.0; scratch] }
    }
}

/// A pass in one way.
pub(crate) struct Runner<'a> {
    case: &'a Case,
    way: Way,
    plan: Option<Plan<f32>>,
    to: Vec<f32>,
    scratch: Vec<f32>,
}

impl Runner<'_> {
    pub(crate) fn call(&mut self) {
        let Case { shape, pass, operands: [a, b], .. } = self.case;
        match (&self.plan, self.way) {
            (Some(plan), _) => run(plan, *pass, [a, b], &mut self.to, &mut self.scratch),
            (None, Way::Gemm) => {
                textbook::run(shape, *pass, [a, b], &mut self.to, &mut self.scratch);
            }
            (None, _) => {
                let result = match pass {
                    Pass::Forward => reference::forward(shape, a, b, None),
                    Pass::BackwardData => reference::backward_data(shape, a, b),
                    Pass::BackwardWeight => reference::backward_weight(shape, a, b),
                };
                let result = result.expect("the shape's own lengths");
                self.to.iter_mut().zip(result).for_each(|(to, x)| *to = x as f32);
            }
        }
    }

    /// Panics unless the last call's result is right: the contract for random numbers.
    pub(crate) fn check(&self, way: &str, layer: &str) {
        let Case { shape, pass, values, magnitudes, .. } = self.case;
        let terms = match pass {
            Pass::Forward => shape.patch_len(),
            Pass::BackwardData => shape.group_out() * shape.kernel_taps(),
            Pass::BackwardWeight => shape.batch() * shape.output_pixels(),
        };
        let factor = (4.0 + 2.0 * (terms as f64).sqrt()) * f32::EPSILON as f64;
        for (i, (&got, (value, magnitude))) in
            self.to.iter().zip(values.iter().zip(magnitudes)).enumerate()
        {
            let off = (f64::from(got) - value).abs();
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
        Pass::BackwardWeight => [shape.input_len(), shape.output_len()],
    }
}

/// Elements of the result.
fn result_len(shape: &Shape, pass: Pass) -> usize {
    match pass {
        Pass::Forward => shape.output_len(),
        Pass::BackwardData => shape.input_len(),
        Pass::BackwardWeight => shape.weight_len(),
    }
}

fn run<T: Element>(plan: &Plan<T>, pass: Pass, [a, b]: [&[T]; 2], to: &mut [T], s: &mut [T]) {
    match pass {
        Pass::Forward => plan.forward_with_scratch(a, b, None, to, s),
        Pass::BackwardData => plan.backward_data_with_scratch(a, b, to, Write::Overwrite, s),
        Pass::BackwardWeight => plan.backward_weight_with_scratch(a, b, to, Write::Overwrite, s),
    }
    .expect("the plan's own lengths");
}
