//! Whether gradients are what they say, for any function: by their inner products, and by small
//! steps.

use super::compare::dot;
use crate::element::Element;

/// Asserts that a linear function and its adjoint agree, `<f(x), y> = <x, f*(y)>`.
///
/// This is how a backward pass is checked against its forward pass without knowing either: the
/// gradient of a linear layer *is* its adjoint. One comparison covers every element, but not where
/// a wrong one is. The two products may differ by `factor · ε · Σ|f(x)||y|`: 0 with whole
/// numbers.
///
/// ```
/// use im2col::testing::assert_adjoint;
/// let (x, y) = ([1.0f32, 2.0, 3.0], [5.0, 7.0]);
/// let differences = |x: &[f32]| vec![x[1] - x[0], x[2] - x[1]];
/// let adjoint = |y: &[f32]| vec![-y[0], y[0] - y[1], y[1]];
/// assert_adjoint("differences", &x, &y, differences, adjoint, 0.0);
/// ```
///
/// # Panics
/// If they don't agree: with both products, and by how much they may differ.
#[track_caller]
pub fn assert_adjoint<T: Element>(
    what: &str,
    x: &[T],
    y: &[T],
    function: impl FnOnce(&[T]) -> Vec<T>,
    adjoint: impl FnOnce(&[T]) -> Vec<T>,
    factor: f64,
) {
    let (f, g) = (function(x), adjoint(y));
    assert_eq!(f.len(), y.len(), "{what}: f(x) and y have different lengths");
    assert_eq!(g.len(), x.len(), "{what}: f*(y) and x have different lengths");
    let (a, b) = (dot(&f, y), dot(x, &g));
    let magnitude: f64 = f.iter().zip(y).map(|(&f, &y)| (f.into() * y.into()).abs()).sum();
    let allowed = factor * T::EPSILON * magnitude;
    // Not `off > allowed`: NaN has to fail.
    assert!(
        (a - b).abs() <= allowed,
        "{what}: not adjoint: <f(x), y> = {a}, <x, f*(y)> = {b}: they may differ by {allowed:e}"
    );
}

/// Asserts that `gradient` is the slope of `energy` at `x`, number by number: what a step to
/// either side changes is divided by their distance.
///
/// For an energy that is a polynomial of degree two in each number (a square error after a
/// convolution) central differences have no error of their own: with whole numbers and a step of
/// 1, `allowed` may be 0. For others take a step of some `ε` to the power 1/3 in f64, and allow
/// its square.
///
/// ```
/// use im2col::testing::assert_gradient;
/// let energy = |x: &[f64]| x[0] * x[0] + 3.0 * x[0] * x[1];
/// assert_gradient("energy", &[2.0, 5.0], &[19.0, 6.0], energy, 1.0, 0.0);
/// ```
///
/// # Panics
/// At the first number whose slope is off by more than `allowed`.
#[track_caller]
pub fn assert_gradient<T: Element>(
    what: &str,
    x: &[T],
    gradient: &[T],
    mut energy: impl FnMut(&[T]) -> f64,
    step: f64,
    allowed: f64,
) {
    assert_eq!(x.len(), gradient.len(), "{what}: a gradient has a slope for each number");
    let mut at = x.to_vec();
    for (i, &slope) in gradient.iter().enumerate() {
        let mut moved = |by: f64| {
            at[i] = T::from_f64(x[i].into() + by);
            let energy = energy(&at);
            at[i] = x[i];
            energy
        };
        let difference = (moved(step) - moved(-step)) / (2.0 * step);
        let off = (slope.into() - difference).abs();
        assert!(
            off <= allowed,
            "{what}: gradient[{i}] is {slope}, a step of {step} says {difference}: \
             off by {off:e}, allowed {allowed:e}"
        );
    }
}
