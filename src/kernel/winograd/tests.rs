//! The maps against their definition: every matrix made from its points by exact rational arithmetic, and each map
//! applied to unit vectors. Their constants are dyadic, so that f64 holds every entry exactly.

use super::maps::{Algorithm, F1x1, F2x3, F2x5, F4x3};
use crate::testing::Unit;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::{Add, Mul, Sub};

pub(crate) const TESTS: &[Unit] = &[
    ("winograd::maps_are_those_of_their_points", maps_are_those_of_their_points),
    ("winograd::amplification_is_that_of_the_matrices", amplification_is_that_of_the_matrices),
];

/// A fraction in lowest terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ratio(i128, i128);

impl Ratio {
    const ZERO: Self = Self(0, 1);
    const ONE: Self = Self(1, 1);

    fn new(a: i128, b: i128) -> Self {
        let gcd = |mut a: i128, mut b: i128| {
            while b != 0 {
                (a, b) = (b, a % b);
            }
            a.abs()
        };
        let by = gcd(a, b) * b.signum();
        Self(a / by, b / by)
    }

    /// Every f64 is a fraction; those of the maps have few digits.
    fn of(x: f64) -> Self {
        let mut bits = 0;
        let mut whole = x;
        while whole != whole.trunc() {
            whole *= 2.0;
            bits += 1;
        }
        assert!(whole.abs() < 2f64.powi(60) && bits < 60, "{x}");
        Self::new(whole as i128, 1 << bits)
    }

    fn over(self, other: Self) -> Self {
        self * Self::new(other.1, other.0)
    }

    fn abs(self) -> Self {
        Self(self.0.abs(), self.1)
    }
}

impl Add for Ratio {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self::new(self.0 * other.1 + other.0 * self.1, self.1 * other.1)
    }
}

impl Sub for Ratio {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self + Self(-other.0, other.1)
    }
}

impl Mul for Ratio {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        Self::new(self.0 * other.0, self.1 * other.1)
    }
}

/// Rows of a matrix.
type Matrix = Vec<Vec<Ratio>>;

/// `Aᵀ`, `G` and `Bᵀ` of F(m, r) by these points and infinity: each row of `B` is the polynomial that vanishes at all points
/// but its own, `A` and `G` are powers of the point, and `G` is divided by what the polynomial is there.
fn of_points(points: &[Ratio], m: usize, r: usize) -> [Matrix; 3] {
    let count = m + r - 1;
    assert_eq!(points.len() + 1, count);
    let product = |roots: &mut dyn Iterator<Item = Ratio>| {
        let mut polynomial = vec![Ratio::ONE];
        for root in roots {
            let mut next = vec![Ratio::ZERO; polynomial.len() + 1];
            for (i, &c) in polynomial.iter().enumerate() {
                next[i + 1] = next[i + 1] + c;
                next[i] = next[i] - root * c;
            }
            polynomial = next;
        }
        polynomial.resize(count, Ratio::ZERO);
        polynomial
    };
    let power = |x: Ratio, n: usize| (0..n).fold(Ratio::ONE, |p, _| p * x);
    let (mut at, mut g, mut bt) = (vec![Vec::new(); m], Matrix::new(), Matrix::new());
    for (i, &point) in points.iter().enumerate() {
        let others = || points.iter().enumerate().filter(move |(j, _)| *j != i).map(|(_, p)| *p);
        let norm = others().fold(Ratio::ONE, |norm, other| norm * (point - other));
        bt.push(product(&mut others()));
        g.push((0..r).map(|k| power(point, k).over(norm)).collect());
        (0..m).for_each(|o| at[o].push(power(point, o)));
    }
    bt.push(product(&mut points.iter().copied()));
    g.push((0..r).map(|k| if k + 1 == r { Ratio::ONE } else { Ratio::ZERO }).collect());
    (0..m).for_each(|o| at[o].push(if o + 1 == m { Ratio::ONE } else { Ratio::ZERO }));
    [at, g, bt]
}

/// The matrix of a map of `I` values to `O`.
fn matrix<const I: usize, const O: usize>(map: impl Fn([[f64; 1]; I]) -> [[f64; 1]; O]) -> Matrix {
    let mut rows = vec![vec![Ratio::ZERO; I]; O];
    for i in 0..I {
        let mut unit = [[0.0]; I];
        unit[i] = [1.0];
        for (row, [x]) in rows.iter_mut().zip(map(unit)) {
            row[i] = Ratio::of(x);
        }
    }
    rows
}

fn transposed(a: &Matrix) -> Matrix {
    (0..a[0].len()).map(|j| a.iter().map(|row| row[j]).collect()).collect()
}

/// The factor by which `row` is another row, if it is a multiple.
fn factor(row: &[Ratio], of: &[Ratio]) -> Option<Ratio> {
    let at = of.iter().position(|x| *x != Ratio::ZERO)?;
    let factor = row[at].over(of[at]);
    row.iter().zip(of).all(|(a, b)| *a == *b * factor).then_some(factor)
}

/// All maps of an algorithm against those of its points.
fn check<A: Algorithm<M, R, P>, const M: usize, const R: usize, const P: usize>(
    points: &[Ratio],
    scale: Ratio,
) {
    let [at, g, bt] = of_points(points, M, R);
    // SAFETY: arrays are vectors of any machine.
    let ([input, output], [weight, grad_weight], grad_output) = unsafe {
        (
            [matrix(|x| A::input(x)), matrix(|x| A::output(x))],
            [matrix(|x| A::weight(x)), matrix(|x| A::grad_weight(x))],
            matrix(|x| A::grad_output(x)),
        )
    };
    assert_eq!(transposed(&output), grad_output, "A");
    assert_eq!(transposed(&weight), grad_weight, "G");
    assert!((scale.0 as f64 / scale.1 as f64 - A::SCALE).abs() <= 1e-16, "{scale:?}");
    let columns = [transposed(&output), transposed(&at)];
    for p in 0..P {
        let of_input = factor(&input[p], &bt[p]).expect("a row of B");
        let of_output = factor(&columns[0][p], &columns[1][p]).expect("a row of A");
        let of_weight = factor(&weight[p], &g[p]).expect("a row of G");
        assert_eq!(of_input * of_output * of_weight * scale, Ratio::ONE, "point {p}");
    }
    // And that they convolve: output o and tap k meet at input o + k.
    for o in 0..M {
        for k in 0..R {
            for d in 0..P {
                let products = (0..P).map(|p| output[o][p] * weight[p][k] * input[p][d]);
                let sum = products.fold(Ratio::ZERO, Add::add) * scale;
                assert_eq!(sum, if d == o + k { Ratio::ONE } else { Ratio::ZERO });
            }
        }
    }
}

fn six() -> [Ratio; 5] {
    [(0, 1), (5, 8), (-5, 8), (8, 5), (-8, 5)].map(|(a, b)| Ratio::new(a, b))
}

fn four() -> [Ratio; 3] {
    [0, 1, -1].map(|a| Ratio::new(a, 1))
}

fn maps_are_those_of_their_points() {
    let scale = Ratio::new(131_072, 86_775);
    check::<F4x3, 4, 3, 6>(&six(), scale);
    check::<F2x5, 2, 5, 6>(&six(), scale);
    check::<F2x3, 2, 3, 4>(&four(), Ratio::ONE);
    check::<F1x1, 1, 1, 1>(&[], Ratio::ONE);
}

/// The largest sum of `|Aᵀ| (|G| 1 ∘ |Bᵀ| 1)`, by the taps.
fn amplification(points: &[Ratio], m: usize, r: usize) -> f64 {
    let [at, g, bt] = of_points(points, m, r);
    let sum = |row: &Vec<Ratio>| row.iter().fold(Ratio::ZERO, |sum, x| sum + x.abs());
    let of_output = |row: &Vec<Ratio>| {
        let points = row.iter().zip(g.iter().zip(&bt));
        points.fold(Ratio::ZERO, |all, (a, (g, b))| all + a.abs() * sum(g) * sum(b))
    };
    let float = |x: Ratio| x.0 as f64 / x.1 as f64 / r as f64;
    at.iter().map(|row| float(of_output(row))).fold(0.0, f64::max)
}

fn amplification_is_that_of_the_matrices() {
    use super::Form;
    let [a, b, c] =
        [amplification(&six(), 4, 3), amplification(&four(), 2, 3), amplification(&six(), 2, 5)];
    for (form, exact) in [
        (Form::F4x4, a * a),
        (Form::F2x2, b * b),
        (Form::F2x2Of5, c * c),
        (Form::F4x1, a),
        (Form::F1x4, a),
    ] {
        assert_eq!(form.amplification(), exact.ceil() as usize, "{form:?}: {exact}");
    }
    assert_eq!(Form::ALL.len(), 5);
}
