//! The three 1-D algorithms, as straight-line maps of vectors.
//!
//! F(m, r) makes m outputs of a filter of r taps from `m + r - 1` inputs by as many products, one for each *point*
//! at which polynomials are evaluated:
//!
//! ```text
//!     output = Aᵀ (G weight ∘ Bᵀ input)        the product ∘ is of each point by itself
//! ```
//!
//! F(4,3) and F(2,5) share the points 0, 5/8, -5/8, 8/5, -8/5 and infinity. Each point's row of B, A and G may be
//! scaled, as long as the three scales cancel; they are chosen so that every constant below is exact in f32, and what is
//! left of G is one factor for all points: [`Algorithm::SCALE`]. The tests derive all matrices from the points with
//! rational arithmetic.

use crate::element::Element;
use crate::kernel::vector::Vector;

/// A 1-D algorithm of `M` outputs, `R` taps and `P` points.
pub(super) trait Algorithm<const M: usize, const R: usize, const P: usize> {
    /// What the weight is multiplied by, beside its map.
    const SCALE: f64;

    /// `Bᵀ`.
    ///
    /// # Safety
    /// As [`Vector`]'s methods, here and below: the caller runs with the features of the vector.
    unsafe fn input<V: Vector>(d: [V; P]) -> [V; P];
    /// `Aᵀ`.
    ///
    /// # Safety
    /// As above.
    unsafe fn output<V: Vector>(m: [V; P]) -> [V; M];
    /// `A`.
    ///
    /// # Safety
    /// As above.
    unsafe fn grad_output<V: Vector>(y: [V; M]) -> [V; P];
    /// `G`, without its scale.
    ///
    /// # Safety
    /// As above.
    unsafe fn weight<V: Vector>(g: [V; R]) -> [V; P];
    /// `Gᵀ`, without its scale.
    ///
    /// # Safety
    /// As above.
    unsafe fn grad_weight<V: Vector>(u: [V; P]) -> [V; R];
}

/// `x` in every lane.
///
/// # Safety
/// The caller runs with the features.
#[inline(always)]
unsafe fn all<V: Vector>(x: f64) -> V {
    // SAFETY: the caller runs with the features.
    unsafe { V::splat(V::Element::from_f64(x)) }
}

/// `a * x + b`.
///
/// # Safety
/// The caller runs with the features.
#[inline(always)]
unsafe fn fma<V: Vector>(a: V, x: f64, b: V) -> V {
    // SAFETY: the caller runs with the features.
    unsafe { a.mul_add(all(x), b) }
}

/// `a + b` and `a - b`.
///
/// # Safety
/// The caller runs with the features.
#[inline(always)]
unsafe fn both<V: Vector>(a: V, b: V) -> [V; 2] {
    // SAFETY: the caller runs with the features.
    unsafe { [a.add(b), fma(b, -1.0, a)] }
}

/// `a * x`.
///
/// # Safety
/// The caller runs with the features.
#[inline(always)]
unsafe fn times<V: Vector>(a: V, x: f64) -> V {
    // SAFETY: the caller runs with the features.
    unsafe { fma(a, x, all(0.0)) }
}

/// 5/8, its square and its cube; the other points are its inverse's.
const H: f64 = 0.625;
const C: f64 = H * H;
const H3: f64 = H * C;
/// What is left of G at 0 and infinity.
const ENDS: f64 = -3471.0 / 2048.0;
/// The common factor of G.
const SCALE: f64 = 131_072.0 / 86_775.0;

/// `Bᵀ` of six points: each pair of opposite points shares its even and its odd terms.
///
/// # Safety
/// The caller runs with the features.
#[inline(always)]
unsafe fn input_of_six<V: Vector>(d: [V; 6]) -> [V; 6] {
    // SAFETY: the caller runs with the features.
    unsafe {
        let (even, odd) = (fma(d[4], -C, d[2]), fma(d[3], -C, d[1]));
        let (even_far, odd_far) = (fma(d[2], -C, d[4]), fma(d[1], -C, d[3]));
        [
            fma(fma(d[2], -C, d[0]), -C, even),
            fma(odd, H, even),
            fma(odd, -H, even),
            fma(even_far, H, odd_far),
            fma(even_far, -H, odd_far),
            fma(fma(d[3], -C, d[5]), -C, odd_far),
        ]
    }
}

/// F(4,3).
pub(super) struct F4x3;

impl Algorithm<4, 3, 6> for F4x3 {
    const SCALE: f64 = SCALE;

    #[inline(always)]
    unsafe fn input<V: Vector>(d: [V; 6]) -> [V; 6] {
        // SAFETY: the caller runs with the features, here and in all that follow.
        unsafe { input_of_six(d) }
    }

    #[inline(always)]
    unsafe fn output<V: Vector>(m: [V; 6]) -> [V; 4] {
        // SAFETY: as above.
        unsafe {
            let ([p, q], [r, s]) = (both(m[1], m[2]), both(m[3], m[4]));
            [
                fma(s, H3, m[0].add(p)),
                fma(r, C, times(q, H)),
                fma(p, C, times(s, H)),
                fma(q, H3, m[5].add(r)),
            ]
        }
    }

    #[inline(always)]
    unsafe fn grad_output<V: Vector>(y: [V; 4]) -> [V; 6] {
        // SAFETY: as above.
        unsafe {
            let (even, odd) = (fma(y[2], C, y[0]), fma(y[3], C, y[1]));
            let (even_far, odd_far) = (fma(y[0], C, y[2]), fma(y[1], C, y[3]));
            [
                y[0],
                fma(odd, H, even),
                fma(odd, -H, even),
                fma(even_far, H, odd_far),
                fma(even_far, -H, odd_far),
                y[3],
            ]
        }
    }

    #[inline(always)]
    unsafe fn weight<V: Vector>(g: [V; 3]) -> [V; 6] {
        // SAFETY: as above.
        unsafe {
            let (near, far) = (fma(g[2], C, g[0]), fma(g[0], C, g[2]));
            [
                times(g[0], ENDS),
                fma(g[1], H, near),
                fma(g[1], -H, near),
                fma(g[1], H, far),
                fma(g[1], -H, far),
                times(g[2], ENDS),
            ]
        }
    }

    #[inline(always)]
    unsafe fn grad_weight<V: Vector>(u: [V; 6]) -> [V; 3] {
        // SAFETY: as above.
        unsafe {
            let ([p, q], [r, s]) = (both(u[1], u[2]), both(u[3], u[4]));
            [fma(u[0], ENDS, fma(r, C, p)), times(q.add(s), H), fma(u[5], ENDS, fma(p, C, r))]
        }
    }
}

/// F(2,5).
pub(super) struct F2x5;

impl Algorithm<2, 5, 6> for F2x5 {
    const SCALE: f64 = SCALE;

    #[inline(always)]
    unsafe fn input<V: Vector>(d: [V; 6]) -> [V; 6] {
        // SAFETY: as above.
        unsafe { input_of_six(d) }
    }

    #[inline(always)]
    unsafe fn output<V: Vector>(m: [V; 6]) -> [V; 2] {
        // SAFETY: as above.
        unsafe {
            let ([p, q], [r, s]) = (both(m[1], m[2]), both(m[3], m[4]));
            [fma(s, H, m[0].add(p)), fma(q, H, m[5].add(r))]
        }
    }

    #[inline(always)]
    unsafe fn grad_output<V: Vector>(y: [V; 2]) -> [V; 6] {
        // SAFETY: as above.
        unsafe {
            let [a, b] = y;
            [a, fma(b, H, a), fma(b, -H, a), fma(a, H, b), fma(a, -H, b), b]
        }
    }

    #[inline(always)]
    unsafe fn weight<V: Vector>(g: [V; 5]) -> [V; 6] {
        // SAFETY: as above.
        unsafe {
            let (near, far) = (fma(fma(g[4], C, g[2]), C, g[0]), fma(fma(g[0], C, g[2]), C, g[4]));
            let (odd, odd_far) = (fma(g[3], C, g[1]), fma(g[1], C, g[3]));
            [
                times(g[0], ENDS),
                fma(odd, H, near),
                fma(odd, -H, near),
                fma(odd_far, H, far),
                fma(odd_far, -H, far),
                times(g[4], ENDS),
            ]
        }
    }

    #[inline(always)]
    unsafe fn grad_weight<V: Vector>(u: [V; 6]) -> [V; 5] {
        // SAFETY: as above.
        unsafe {
            let ([p, q], [r, s]) = (both(u[1], u[2]), both(u[3], u[4]));
            [
                fma(u[0], ENDS, fma(r, C * C, p)),
                fma(s, H3, times(q, H)),
                times(p.add(r), C),
                fma(q, H3, times(s, H)),
                fma(u[5], ENDS, fma(p, C * C, r)),
            ]
        }
    }
}

/// F(2,3), of the points 0, 1, -1 and infinity.
pub(super) struct F2x3;

impl Algorithm<2, 3, 4> for F2x3 {
    const SCALE: f64 = 1.0;

    #[inline(always)]
    unsafe fn input<V: Vector>(d: [V; 4]) -> [V; 4] {
        // SAFETY: as above.
        unsafe {
            let [sum, difference] = both(d[2], d[1]);
            [fma(d[2], -1.0, d[0]), sum, difference, fma(d[3], -1.0, d[1])]
        }
    }

    #[inline(always)]
    unsafe fn output<V: Vector>(m: [V; 4]) -> [V; 2] {
        // SAFETY: as above.
        unsafe {
            let [sum, difference] = both(m[1], m[2]);
            [m[0].add(sum), fma(m[3], -1.0, difference)]
        }
    }

    #[inline(always)]
    unsafe fn grad_output<V: Vector>(y: [V; 2]) -> [V; 4] {
        // SAFETY: as above.
        unsafe {
            let [sum, difference] = both(y[0], y[1]);
            [y[0], sum, difference, times(y[1], -1.0)]
        }
    }

    #[inline(always)]
    unsafe fn weight<V: Vector>(g: [V; 3]) -> [V; 4] {
        // SAFETY: as above.
        unsafe {
            let ends = times(g[0].add(g[2]), 0.5);
            [g[0], fma(g[1], 0.5, ends), fma(g[1], -0.5, ends), g[2]]
        }
    }

    #[inline(always)]
    unsafe fn grad_weight<V: Vector>(u: [V; 4]) -> [V; 3] {
        // SAFETY: as above.
        unsafe {
            let [sum, difference] = both(u[1], u[2]);
            [fma(sum, 0.5, u[0]), times(difference, 0.5), fma(sum, 0.5, u[3])]
        }
    }
}

/// An axis along which the kernel has one tap: nothing to transform.
pub(super) struct F1x1;

impl Algorithm<1, 1, 1> for F1x1 {
    const SCALE: f64 = 1.0;

    #[inline(always)]
    unsafe fn input<V: Vector>(d: [V; 1]) -> [V; 1] {
        d
    }

    #[inline(always)]
    unsafe fn output<V: Vector>(m: [V; 1]) -> [V; 1] {
        m
    }

    #[inline(always)]
    unsafe fn grad_output<V: Vector>(y: [V; 1]) -> [V; 1] {
        y
    }

    #[inline(always)]
    unsafe fn weight<V: Vector>(g: [V; 1]) -> [V; 1] {
        g
    }

    #[inline(always)]
    unsafe fn grad_weight<V: Vector>(u: [V; 1]) -> [V; 1] {
        u
    }
}
