//! How far an answer may be off, and whether it is.

use super::layer::{Call, Layer};
use super::report::Mismatch;
use crate::element::Element;
use crate::pass::{Pass, Write};
use crate::plan::Plan;
use crate::shape::{Axis, Shape};
use std::sync::{Arc, OnceLock};

/// What a call has to answer.
#[derive(Debug)]
pub struct Expected<'a, T> {
    /// The layer that was asked.
    pub layer: &'a Layer<T>,
    /// What was asked.
    pub call: Call,
    /// The answer, summed in f64.
    pub values: Vec<f64>,
    /// The most terms in the sum of one value.
    pub terms: usize,
    /// `Σ|a||b|` of the products alone, once somebody has asked: where sums are exact, nobody does, and
    /// the naive loops take most of a test's time. It is the same in both ways to write.
    products: Arc<OnceLock<Vec<f64>>>,
}

/// How far each element may be off.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tolerance {
    /// Not at all: for [`EXACT`](super::EXACT) numbers.
    Exact,
    /// What rounding does to random numbers in whatever order they are summed: [`contract`].
    Contract,
    /// By this times `ε · Σ|a||b|`: for a bound of your own.
    ///
    /// Both allow a sum of denormal products what those must lose, the smallest number for each term.
    Factor(f64),
}

impl Tolerance {
    /// What `ε · Σ|a||b|` is multiplied with for a sum of so many terms.
    pub fn factor(self, terms: usize) -> f64 {
        match self {
            Tolerance::Exact => 0.0,
            Tolerance::Contract => contract(terms),
            Tolerance::Factor(factor) => factor,
        }
    }
}

/// The contract for random numbers: an element may be off by this times `ε · Σ|a||b|`.
///
/// Each of the `terms` additions rounds by at most `ε / 2` of the sum so far. On random numbers
/// the roundings cancel, so the error is about their number's square root: twice that, and a
/// little for short sums.
pub fn contract(terms: usize) -> f64 {
    4.0 + 2.0 * (terms as f64).sqrt()
}

impl<'a, T: Element> Expected<'a, T> {
    /// What has to come of a call that overwrites.
    pub(super) fn new(layer: &'a Layer<T>, call: Call) -> Self {
        let (shape, values) = (&layer.shape, layer.naive(call));
        let terms = match call {
            Call::Pass(Pass::Forward, _) => shape.patch_len(),
            Call::Pass(Pass::BackwardData, _) => {
                shape.group_out() * shape.kernel_taps() * copies(shape)
            }
            Call::Pass(Pass::BackwardWeight, _) | Call::Bias(_) => {
                shape.batch() * shape.output_pixels()
            }
        };
        Self { layer, call, values, terms: terms + 1, products: Arc::default() }
    }

    /// What has to come of the same call if it accumulates; for forward, if it adds a bias.
    pub(super) fn accumulated(&self) -> Self {
        let Self { layer, terms, .. } = *self;
        let added = |(i, y): (usize, &f64)| y + layer.added_to(self.call, i);
        let values = self.values.iter().enumerate().map(added).collect();
        let call = self.call.written(Write::Accumulate);
        Self { layer, call, values, terms, products: Arc::clone(&self.products) }
    }

    /// The same with values of your own, and `Σ|a||b|` of the products of each.
    pub fn with_values(self, values: Vec<f64>, products: Vec<f64>) -> Self {
        Self { values, products: Arc::new(products.into()), ..self }
    }

    /// `Σ|a||b|` of element `i`, with the bias or what was there before: what errors of rounding are
    /// measured by.
    ///
    /// # Panics
    /// If there is no such element.
    pub fn magnitude(&self, i: usize) -> f64 {
        let products = self.products.get_or_init(|| {
            let absolute = self.layer.map(|x| T::from_f64(x.into().abs()));
            absolute.naive(self.call)
        });
        let plain = self.call == self.call.written(Write::Overwrite);
        let added = if plain { 0.0 } else { self.layer.added_to(self.call, i).abs() };
        products[i] + added
    }

    /// Says where an answer is wrong; `what` computed it.
    ///
    /// # Errors
    /// The first element that is off by more than allowed, or is NaN where a number is expected.
    /// Where an infinity or NaN is expected, the same is found.
    pub fn check(&self, what: &str, got: &[T], tolerance: Tolerance) -> Result<(), Mismatch> {
        if got.len() != self.values.len() {
            return Err(Mismatch::of_length(what, self, got.len()));
        }
        let factor = tolerance.factor(self.terms);
        let lost = self.terms as f64 * smallest::<T>();
        let allowed = |i: usize| match factor {
            0.0 => 0.0,
            factor => factor * T::EPSILON * self.magnitude(i) + lost,
        };
        let right = |i: usize| {
            let (got, value): (f64, f64) = (got[i].into(), self.values[i]);
            if value.is_finite() {
                // Not `off > allowed` for wrong: NaN has to fail.
                (got - value).abs() <= allowed(i)
            } else {
                got == value || (got.is_nan() && value.is_nan())
            }
        };
        let Some(first) = (0..got.len()).find(|&i| !right(i)) else { return Ok(()) };
        let wrong = (first..got.len()).filter(|&i| !right(i)).count();
        Err(Mismatch::of_element(what, self, first, got[first].into(), allowed(first), wrong))
    }

    /// Runs the call on a plan of this crate, with scratch full of NaN, and
    /// [asserts](Self::assert_close) its answer.
    ///
    /// # Panics
    /// If the answer is wrong, or the plan is another layer's.
    #[track_caller]
    pub fn assert_plan(&self, plan: &Plan<T>, tolerance: Tolerance) {
        let got = match self.call {
            Call::Pass(pass, write) => {
                let len = plan.scratch_len(pass);
                self.layer
                    .run_with_scratch(plan, pass, write, len)
                    .expect("the layer's own lengths")
            }
            Call::Bias(write) => self.layer.run_bias(plan, write),
        };
        self.assert_close(&format!("{plan:?}"), &got, tolerance);
    }

    /// [`check`](Self::check) for tests.
    ///
    /// # Panics
    /// With the [`Mismatch`] if there is one: the layer, the pass, the index, both values, the
    /// allowed error and the patch that met there.
    #[track_caller]
    pub fn assert_close(&self, what: &str, got: &[T], tolerance: Tolerance) {
        if let Err(mismatch) = self.check(what, got, tolerance) {
            panic!("{mismatch}");
        }
    }
}

/// The most places of the padded image at which one element stands.
fn copies(shape: &Shape) -> usize {
    let of_axis = |axis: &Axis| {
        let mut copies = vec![0; axis.input];
        for at in 0..axis.pad_begin + axis.input + axis.pad_end {
            let at = at as isize - axis.pad_begin as isize;
            if let Some(element) = axis.padding_mode.element(at, axis.input) {
                copies[element] += 1;
            }
        }
        copies.into_iter().max().unwrap_or(1)
    };
    if shape.is_mirrored() { shape.axes().iter().map(of_axis).product() } else { 1 }
}

/// The smallest number above 0. A product that underflows is off by half of it, however small
/// `ε` times the product may be; a sum never is.
fn smallest<T: Element>() -> f64 {
    if size_of::<T>() == size_of::<f32>() { 2f64.powi(-149) } else { f64::from_bits(1) }
}

/// The bits of every element, so that NaN and -0 compare.
pub fn bits<T: Element>(tensor: &[T]) -> Vec<u64> {
    tensor.iter().map(|&x| Into::<f64>::into(x).to_bits()).collect()
}

/// The inner product, in f64.
pub fn dot<A: Into<f64> + Copy, B: Into<f64> + Copy>(a: &[A], b: &[B]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| a.into() * b.into()).sum()
}
