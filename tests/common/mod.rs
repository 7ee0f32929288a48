//! What every test shares: the cases to try, the numbers to feed, the error allowed.
//!
//! A test draws a layer from a family (`layers`), fills it (`Layer::new`), runs a pass in every
//! `case` and compares with the naive loops. The allowed error is the contract's for random
//! inputs, `(4 + 2 * sqrt(terms)) * eps * Σ|a||b|`, or nothing at all for small integers.

#![allow(dead_code, unreachable_pub, reason = "shared: every test takes what it needs")]

pub mod layers;

use im2col::{Algorithm, Element, Error, Isa, Parallelism, Params, Pass};
use im2col::{Plan, Shape, Write, reference};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// The passes that take scratch.
pub const PASSES: [Pass; 3] = [Pass::Forward, Pass::BackwardData, Pass::BackwardWeight];

/// Both ways to write.
pub const WRITES: [Write; 2] = [Write::Overwrite, Write::Accumulate];

/// One way to compute a layer, as a builder takes it.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub algorithm: Algorithm,
    pub parallelism: Parallelism,
}

/// Every case that this build may offer, on the kernels that the library chooses.
pub fn cases() -> impl Iterator<Item = Case> {
    [Algorithm::Auto, Algorithm::Explicit, Algorithm::Implicit]
        .into_iter()
        .map(|algorithm| Case { algorithm, parallelism: Parallelism::Rayon })
}

/// The ISAs of this machine. `isa.rs` fails where one is missing that should be there.
pub fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

/// The library's choice and the textbook once, the implicit algorithm on every ISA.
pub fn plans<T: Element>(shape: Shape) -> Vec<Plan<T>> {
    let failed = |error: Error| -> Plan<T> { panic!("{shape:?}: {error}") };
    let new = |algorithm| Plan::new(shape, algorithm, Parallelism::Rayon).unwrap_or_else(failed);
    let on = |isa| Plan::with_isa(shape, Algorithm::Implicit, Parallelism::Rayon, isa);
    let once = [Algorithm::Auto, Algorithm::Explicit].into_iter().map(new);
    once.chain(isas().map(|isa| on(isa).unwrap_or_else(failed))).collect()
}

/// What the numbers of a tensor look like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    /// Between -1 and 1.
    Uniform,
    /// Around 0, with a deviation of 1.
    Normal,
    /// Whole numbers from -4 to 4: every sum is exact.
    Integers,
    /// 1, 2, .. up to a prime period, over and over: exact, and nothing looks like its neighbour.
    Painted,
}

/// Fills whose sums are exact in f32 for the layers of `layers`.
pub const EXACT: [Fill; 2] = [Fill::Integers, Fill::Painted];
/// Fills whose sums are rounded.
pub const ROUNDED: [Fill; 2] = [Fill::Uniform, Fill::Normal];

/// `len` numbers; `tensor` keeps the tensors of one layer apart.
pub fn numbers<T: Element>(fill: Fill, tensor: usize, len: usize) -> Vec<T> {
    let mut rng = SmallRng::seed_from_u64(0x5eed + tensor as u64);
    let period = [13, 11, 17, 7, 19][tensor % 5];
    let number = |i| match fill {
        Fill::Uniform => rng.random_range(-1.0..1.0),
        Fill::Normal => {
            let (a, b): (f64, f64) = (rng.random_range(f64::EPSILON..1.0), rng.random());
            (-2.0 * a.ln()).sqrt() * (core::f64::consts::TAU * b).cos()
        }
        Fill::Integers => f64::from(rng.random_range(-4..=4)),
        Fill::Painted => (i % period + 1) as f64,
    };
    (0..len).map(number).map(T::from_f64).collect()
}

/// A layer's tensors, and what the destinations held before.
#[derive(Debug, Clone)]
pub struct Layer<T> {
    pub shape: Shape,
    pub input: Vec<T>,
    pub weight: Vec<T>,
    pub bias: Vec<T>,
    pub grad_output: Vec<T>,
    /// What `grad_input` and `grad_weight` hold before an accumulating pass.
    pub old: Vec<T>,
}

/// What a pass has to answer.
pub struct Expected {
    pub values: Vec<f64>,
    /// `Σ|a||b|` of every value, with the bias or what was there before.
    pub magnitudes: Vec<f64>,
    /// The most terms in the sum of one value.
    pub terms: usize,
}

impl<T: Element> Layer<T> {
    pub fn new(params: Params, fill: Fill) -> Self {
        let shape = Shape::new(params).unwrap_or_else(|error| panic!("{params:?}: {error}"));
        let old = shape.input_len().max(shape.weight_len());
        Self {
            shape,
            input: numbers(fill, 0, shape.input_len()),
            weight: numbers(fill, 1, shape.weight_len()),
            bias: numbers(fill, 2, shape.out_channels()),
            grad_output: numbers(fill, 3, shape.output_len()),
            old: numbers(fill, 4, old),
        }
    }

    /// Elements of a pass's destination.
    pub fn len(&self, pass: Pass) -> usize {
        match pass {
            Pass::Forward => self.shape.output_len(),
            Pass::BackwardData => self.shape.input_len(),
            Pass::BackwardWeight => self.shape.weight_len(),
        }
    }

    /// What a destination holds before the pass: NaN where it must not be read.
    pub fn before(&self, pass: Pass, write: Write) -> Vec<T> {
        match (pass, write) {
            (Pass::Forward, _) | (_, Write::Overwrite) => vec![nan(); self.len(pass)],
            (_, Write::Accumulate) => self.old[..self.len(pass)].to_vec(),
        }
    }

    /// Runs a pass; for forward, `Accumulate` means with a bias.
    pub fn run(&self, plan: &Plan<T>, pass: Pass, write: Write) -> Vec<T> {
        let mut destination = self.before(pass, write);
        self.run_into(plan, pass, write, None, &mut destination).expect("the layer's own lengths");
        destination
    }

    /// [`run`](Self::run) with NaN-filled scratch of `len` elements.
    pub fn run_with_scratch(
        &self,
        plan: &Plan<T>,
        pass: Pass,
        write: Write,
        len: usize,
    ) -> Result<Vec<T>, Error> {
        let mut destination = self.before(pass, write);
        let mut scratch = vec![nan(); len];
        self.run_into(plan, pass, write, Some(&mut scratch), &mut destination)?;
        Ok(destination)
    }

    /// Runs a pass with the caller's scratch, or the plan's own, into the caller's destination.
    pub fn run_into(
        &self,
        plan: &Plan<T>,
        pass: Pass,
        write: Write,
        scratch: Option<&mut [T]>,
        to: &mut [T],
    ) -> Result<(), Error> {
        let Self { input, weight, bias, grad_output: dg, .. } = self;
        let bias = (write == Write::Accumulate).then_some(bias.as_slice());
        match (pass, scratch) {
            (Pass::Forward, None) => plan.forward(input, weight, bias, to),
            (Pass::Forward, Some(s)) => plan.forward_with_scratch(input, weight, bias, to, s),
            (Pass::BackwardData, None) => plan.backward_data(weight, dg, to, write),
            (Pass::BackwardData, Some(s)) => {
                plan.backward_data_with_scratch(weight, dg, to, write, s)
            }
            (Pass::BackwardWeight, None) => plan.backward_weight(input, dg, to, write),
            (Pass::BackwardWeight, Some(s)) => {
                plan.backward_weight_with_scratch(input, dg, to, write, s)
            }
        }
    }

    /// What the naive loops answer to [`run`](Self::run).
    pub fn expected(&self, pass: Pass, write: Write) -> Expected {
        let values = self.naive(pass, write);
        let magnitudes = self.map(|x| T::from_f64(x.into().abs())).naive(pass, write);
        let shape = &self.shape;
        let terms = match pass {
            Pass::Forward => shape.patch_len(),
            Pass::BackwardData => shape.group_out() * shape.kernel_taps(),
            Pass::BackwardWeight => shape.batch() * shape.output_pixels(),
        };
        Expected { values, magnitudes, terms: terms + 1 }
    }

    fn naive(&self, pass: Pass, write: Write) -> Vec<f64> {
        let Self { shape, input, weight, bias, grad_output: dg, .. } = self;
        let bias = (write == Write::Accumulate).then_some(bias.as_slice());
        let mut values = match pass {
            Pass::Forward => return reference::forward(shape, input, weight, bias).unwrap(),
            Pass::BackwardData => reference::backward_data(shape, weight, dg).unwrap(),
            Pass::BackwardWeight => reference::backward_weight(shape, input, dg).unwrap(),
        };
        if write == Write::Accumulate {
            values.iter_mut().zip(&self.old).for_each(|(y, &old)| *y += old.into());
        }
        values
    }

    /// The same layer with every number changed.
    pub fn map(&self, f: impl Fn(T) -> T) -> Self {
        let map = |tensor: &[T]| tensor.iter().map(|&x| f(x)).collect();
        Self {
            shape: self.shape,
            input: map(&self.input),
            weight: map(&self.weight),
            bias: map(&self.bias),
            grad_output: map(&self.grad_output),
            old: map(&self.old),
        }
    }
}

pub fn nan<T: Element>() -> T {
    T::from_f64(f64::NAN)
}

/// The bits of every element, so that NaN and -0 compare.
pub fn bits<T: Element>(tensor: &[T]) -> Vec<u64> {
    tensor.iter().map(|&x| Into::<f64>::into(x).to_bits()).collect()
}

pub fn dot<A: Into<f64> + Copy, B: Into<f64> + Copy>(a: &[A], b: &[B]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| a.into() * b.into()).sum()
}

/// The contract for random inputs: an element may be off by this times `eps * Σ|a||b|`.
pub fn contract(terms: usize) -> f64 {
    4.0 + 2.0 * (terms as f64).sqrt()
}

/// Panics, saying `what` was computed and where it is wrong, unless every element is within
/// `factor * eps * Σ|a||b|` of what is expected.
pub fn assert_within<T: Element>(what: &str, got: &[T], expected: &Expected, factor: f64) {
    assert_eq!(got.len(), expected.values.len(), "{what}: wrong length");
    let wanted = expected.values.iter().zip(&expected.magnitudes);
    for (i, (&got, (&value, &magnitude))) in got.iter().zip(wanted).enumerate() {
        let allowed = factor * T::EPSILON * magnitude;
        let off = (got.into() - value).abs();
        // Not `off > allowed`: NaN has to fail.
        assert!(
            off <= allowed,
            "{what}\nelement {i} is {got}, expected {value}: off by {off:e}, allowed {allowed:e}"
        );
    }
}

/// Checks one pass of one plan against the naive loops; `factor` as in [`assert_within`].
pub fn check_pass<T: Element>(
    layer: &Layer<T>,
    plan: &Plan<T>,
    (pass, write): (Pass, Write),
    expected: &Expected,
    factor: f64,
) {
    let what = format!("{pass:?} {write:?} of {plan:?}");
    assert_within(&what, &layer.run(plan, pass, write), expected, factor);
}
