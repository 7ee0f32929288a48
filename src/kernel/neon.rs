//! NEON: 4 lanes of f32, 2 of f64, 32 registers, lanes of a register as operands.

use super::body;
use super::stencil::{self, Stencils};
use super::vector::{Between, Vector};
use super::{Dots, Isa, Kernel, Kernels, Multiply};
use crate::element::Element;
use core::arch::aarch64::*;

/// Whether this machine has NEON: the proof that the kernels below may be called. This file is
/// compiled only for targets that have it, which are all but those without floats in registers.
pub(super) fn detected() -> bool {
    cfg!(target_feature = "neon")
}

/// Hand out only if [`detected`].
pub(super) static F32: Kernels<f32> = kernels::<float32x4_t, _>(4);
/// Hand out only if [`detected`].
pub(super) static F64: Kernels<f64> = kernels::<float64x2_t, _>(2);

const fn kernels<V: ByLane<Element = T>, T: Element>(lanes: usize) -> Kernels<T> {
    Kernels {
        isa: Isa::Neon,
        tall: Kernel {
            rows: 6,
            row_step: 1,
            lanes: 4 * lanes,
            vector: lanes,
            multiply: multiply_tall::<V>,
            pack: body::pack::<V, 4>,
            store: body::store::<V>,
        },
        // A product with a register's lane needs no broadcast, but the terms have to lie side by
        // side, and a register for each row is held: 6 rows of four vectors spill, 5 do not.
        narrow: None,
        wide: Kernel {
            rows: 5,
            row_step: 1,
            lanes: 4 * lanes,
            vector: lanes,
            multiply: multiply_wide::<V>,
            pack: body::pack::<V, 4>,
            store: body::store::<V>,
        },
        dots: Dots { rows: 4, cols: 6, sum: body::dots_4x6::<V> },
        copy: body::copy_rows::<V>,
        stencils: Stencils {
            apply_strips: stencil::apply_strips::<V>,
            apply_blocks: stencil::apply_blocks::<V>,
            group: stencil::group::<V>,
            registers: V::REGISTERS,
            correlate: stencil::correlate::<V>,
            apply_row: stencil::apply_row::<V>,
            correlate_row: stencil::correlate_row::<V>,
        },
    }
}

/// Up to 5 rows of `N` vectors: by lane where the terms of a lie side by side, else broadcast.
///
/// # Safety
/// As [`Multiply`].
#[inline(always)]
unsafe fn multiply_rows<V: ByLane, const N: usize>(job: &Multiply<V::Element>) {
    // SAFETY: the caller vouches for the job; the terms were looked at.
    unsafe {
        if !side_by_side(job.steps_a, job.terms) {
            return body::multiply_rows::<V, N>(job);
        }
        match job.count {
            1 => multiply::<V, 1, N>(job),
            2 => multiply::<V, 2, N>(job),
            3 => multiply::<V, 3, N>(job),
            4 => multiply::<V, 4, N>(job),
            _ => multiply::<V, 5, N>(job),
        }
    }
}

/// Up to 6 rows of four vectors: 24 sums, four vectors of b, one of a.
///
/// # Safety
/// As [`Multiply`].
unsafe fn multiply_tall<V: Vector<Element: Element>>(job: &Multiply<V::Element>) {
    // SAFETY: the caller vouches for the job.
    unsafe { body::multiply_rows::<V, 4>(job) }
}

/// Up to 5 rows of up to four vectors.
///
/// # Safety
/// As [`Multiply`].
unsafe fn multiply_wide<V: ByLane>(job: &Multiply<V::Element>) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        match job.vectors {
            1 => multiply_rows::<V, 1>(job),
            2 => multiply_rows::<V, 2>(job),
            3 => multiply_rows::<V, 3>(job),
            _ => multiply_rows::<V, 4>(job),
        }
    }
}

/// Whether each step is one more than that before it.
///
/// # Safety
/// The table has `terms` entries.
#[inline(always)]
unsafe fn side_by_side(steps: *const u32, terms: usize) -> bool {
    let mut apart = 0;
    for term in 0..terms {
        // Without a branch in it, this is a vector's work.
        // SAFETY: the caller vouches for the entries, of which there is one at least.
        unsafe { apart |= (*steps.add(term)).wrapping_sub(*steps) ^ term as u32 }
    }
    apart == 0
}

/// [`body::multiply`] for terms of a that lie side by side: a vector of each row is loaded, and
/// its lanes meet the vectors of b one term after the other. The order of the sums is the same.
///
/// # Safety
/// As there; the steps of a are [`side_by_side`].
#[inline(always)]
unsafe fn multiply<V: ByLane, const R: usize, const N: usize>(job: &Multiply<V::Element>) {
    // SAFETY: the caller vouches that each of the R row pointers is good for every step of a, so
    // for the vector of terms from any but the last few; that b is good for N vectors at every
    // step of b, and that the tile has R * N vectors.
    unsafe {
        let rows = &*job.rows.cast::<[*const V::Element; R]>();
        let first = if job.terms > 0 { *job.steps_a as usize } else { 0 };
        let mut sums = [[V::splat(V::Element::ZERO); N]; R];
        let mut term = 0;
        while term + V::LANES <= job.terms {
            let mut a = [V::splat(V::Element::ZERO); R];
            for r in 0..R {
                a[r] = V::load(rows[r].add(first + term));
            }
            let steps = job.steps_b.add(term);
            add_term::<V, R, N, 0>(&mut sums, &a, job.b.add(*steps as usize));
            add_term::<V, R, N, 1>(&mut sums, &a, job.b.add(*steps.add(1) as usize));
            if V::LANES > 2 {
                add_term::<V, R, N, 2>(&mut sums, &a, job.b.add(*steps.add(2) as usize));
                add_term::<V, R, N, 3>(&mut sums, &a, job.b.add(*steps.add(3) as usize));
            }
            term += V::LANES;
        }
        while term < job.terms {
            let mut a = [V::splat(V::Element::ZERO); R];
            for r in 0..R {
                a[r] = V::splat(*rows[r].add(first + term));
            }
            add_term::<V, R, N, 0>(&mut sums, &a, job.b.add(*job.steps_b.add(term) as usize));
            term += 1;
        }
        for r in 0..R {
            for v in 0..N {
                let at = job.tile.add((r * N + v) * V::LANES);
                let sum = if job.accumulate { sums[r][v].add(V::load(at)) } else { sums[r][v] };
                sum.store(at);
            }
        }
    }
}

/// Adds one term: lane `LANE` of each row times `N` vectors of b.
///
/// # Safety
/// `b` is good for `N` vectors.
#[inline(always)]
unsafe fn add_term<V: ByLane, const R: usize, const N: usize, const LANE: i32>(
    sums: &mut [[V; N]; R],
    a: &[V; R],
    b: *const V::Element,
) {
    for v in 0..N {
        // SAFETY: the caller vouches for the vectors.
        unsafe {
            let vector = V::load(b.add(v * V::LANES));
            for r in 0..R {
                sums[r][v] = sums[r][v].add_product::<LANE>(vector, a[r]);
            }
        }
    }
}

/// A register whose lanes can be operands.
///
/// # Safety
/// As [`Vector`].
unsafe trait ByLane: Vector<Element: Element> {
    /// `self + b * a[LANE]`, rounded once; `LANE` is one of the register's.
    unsafe fn add_product<const LANE: i32>(self, b: Self, a: Self) -> Self;
}

// SAFETY: the method is the instruction.
unsafe impl ByLane for float32x4_t {
    #[inline(always)]
    unsafe fn add_product<const LANE: i32>(self, b: Self, a: Self) -> Self {
        // SAFETY: the target has neon.
        unsafe { vfmaq_laneq_f32::<LANE>(self, b, a) }
    }
}

// SAFETY: the method is the instruction.
unsafe impl ByLane for float64x2_t {
    #[inline(always)]
    unsafe fn add_product<const LANE: i32>(self, b: Self, a: Self) -> Self {
        // SAFETY: the target has neon.
        unsafe {
            match LANE {
                0 => vfmaq_laneq_f64::<0>(self, b, a),
                _ => vfmaq_laneq_f64::<1>(self, b, a),
            }
        }
    }
}

// SAFETY: each method is the instructions that its name says; where only some lanes are named,
// only those are touched, and what lies between them.
unsafe impl Vector for float32x4_t {
    type Element = f32;
    const LANES: usize = 4;
    const REGISTERS: usize = 32;
    type Mask = Between;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the target has neon.
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller vouches for 4 elements.
        unsafe { vld1q_f32(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as `load`.
        unsafe { vst1q_f32(p, self) }
    }

    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> Self {
        // SAFETY: each arm reads `n` elements.
        unsafe {
            let zero = vdupq_n_f32(0.0);
            match n {
                0 => zero,
                1 => vld1q_lane_f32::<0>(p, zero),
                2 => vcombine_f32(vld1_f32(p), vdup_n_f32(0.0)),
                3 => vld1q_lane_f32::<2>(p.add(2), vcombine_f32(vld1_f32(p), vdup_n_f32(0.0))),
                _ => vld1q_f32(p),
            }
        }
    }

    #[inline(always)]
    unsafe fn mask(between: Between) -> Between {
        between
    }

    #[inline(always)]
    unsafe fn load_masked<const STEP: usize>(p: *const f32, between: Between) -> Self {
        // SAFETY: the caller vouches for these lanes; all of them and what lies between are at
        // 0..4, or at 0..7 if 2 apart.
        unsafe {
            match (STEP, between.low, between.high) {
                (1, 0, 4) => vld1q_f32(p),
                (2, 0, 4) => {
                    let (a, b) = (vld1q_f32(p), vld1q_f32(p.add(3)));
                    vuzp1q_f32(a, vextq_f32::<1>(b, b))
                }
                _ => between.load(p),
            }
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize) {
        // SAFETY: each arm writes `n` elements.
        unsafe {
            match n {
                0 => {}
                1 => vst1q_lane_f32::<0>(p, self),
                2 => vst1_f32(p, vget_low_f32(self)),
                3 => {
                    vst1_f32(p, vget_low_f32(self));
                    vst1q_lane_f32::<2>(p.add(2), self);
                }
                _ => vst1q_f32(p, self),
            }
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the target has neon.
        unsafe { vaddq_f32(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: the target has neon.
        unsafe { vfmaq_f32(c, b, self) }
    }

    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        // Both instructions keep NaN.
        // SAFETY: the target has neon.
        unsafe { vminq_f32(vmaxq_f32(self, low), high) }
    }

    #[inline(always)]
    unsafe fn interleave(self, other: Self) -> [Self; 2] {
        // SAFETY: the target has neon.
        unsafe { [vzip1q_f32(self, other), vzip2q_f32(self, other)] }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the target has neon.
        unsafe { vpadds_f32(vadd_f32(vget_low_f32(self), vget_high_f32(self))) }
    }

    #[inline(always)]
    unsafe fn transpose(rows: *const *const f32, width: usize, to: *mut f32, step: isize) {
        // SAFETY: the caller vouches for `width <= 4` elements at each of 4 pointers and for 4
        // elements in each of `width` rows.
        unsafe {
            let mut a = [vdupq_n_f32(0.0); 4];
            for i in 0..4 {
                a[i] = Self::load_first(*rows.add(i), width);
            }
            let (p, q) = (vzip1q_f32(a[0], a[2]), vzip1q_f32(a[1], a[3]));
            let (r, s) = (vzip2q_f32(a[0], a[2]), vzip2q_f32(a[1], a[3]));
            let columns = [vzip1q_f32(p, q), vzip2q_f32(p, q), vzip1q_f32(r, s), vzip2q_f32(r, s)];
            for i in 0..4 {
                if i < width {
                    vst1q_f32(to.offset(i as isize * step), columns[i]);
                }
            }
        }
    }
}

// SAFETY: as for f32.
unsafe impl Vector for float64x2_t {
    type Element = f64;
    const LANES: usize = 2;
    const REGISTERS: usize = 32;
    type Mask = Between;

    #[inline(always)]
    unsafe fn splat(x: f64) -> Self {
        // SAFETY: the target has neon.
        unsafe { vdupq_n_f64(x) }
    }

    #[inline(always)]
    unsafe fn load(p: *const f64) -> Self {
        // SAFETY: the caller vouches for 2 elements.
        unsafe { vld1q_f64(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f64) {
        // SAFETY: as `load`.
        unsafe { vst1q_f64(p, self) }
    }

    #[inline(always)]
    unsafe fn load_first(p: *const f64, n: usize) -> Self {
        // SAFETY: each arm reads `n` elements.
        unsafe {
            match n {
                0 => vdupq_n_f64(0.0),
                1 => vld1q_lane_f64::<0>(p, vdupq_n_f64(0.0)),
                _ => vld1q_f64(p),
            }
        }
    }

    #[inline(always)]
    unsafe fn mask(between: Between) -> Between {
        between
    }

    #[inline(always)]
    unsafe fn load_masked<const STEP: usize>(p: *const f64, between: Between) -> Self {
        // SAFETY: the caller vouches for these lanes; lane 1 lies `step` after lane 0.
        unsafe {
            match (STEP, between.low, between.high) {
                (1, 0, 2) => vld1q_f64(p),
                (2, 0, 2) => vld1q_lane_f64::<1>(p.add(2), vld1q_dup_f64(p)),
                _ => between.load(p),
            }
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f64, n: usize) {
        // SAFETY: each arm writes `n` elements.
        unsafe {
            match n {
                0 => {}
                1 => vst1q_lane_f64::<0>(p, self),
                _ => vst1q_f64(p, self),
            }
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the target has neon.
        unsafe { vaddq_f64(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: the target has neon.
        unsafe { vfmaq_f64(c, b, self) }
    }

    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        // Both instructions keep NaN.
        // SAFETY: the target has neon.
        unsafe { vminq_f64(vmaxq_f64(self, low), high) }
    }

    #[inline(always)]
    unsafe fn interleave(self, other: Self) -> [Self; 2] {
        // SAFETY: the target has neon.
        unsafe { [vzip1q_f64(self, other), vzip2q_f64(self, other)] }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        // SAFETY: the target has neon.
        unsafe { vpaddd_f64(self) }
    }

    #[inline(always)]
    unsafe fn transpose(rows: *const *const f64, width: usize, to: *mut f64, step: isize) {
        // SAFETY: the caller vouches for `width <= 2` elements at each of 2 pointers and for 2
        // elements in each of `width` rows.
        unsafe {
            let a = Self::load_first(*rows, width);
            let b = Self::load_first(*rows.add(1), width);
            if width > 0 {
                vst1q_f64(to, vzip1q_f64(a, b));
            }
            if width > 1 {
                vst1q_f64(to.offset(step), vzip2q_f64(a, b));
            }
        }
    }
}
