//! WebAssembly's simd128: 4 lanes of f32, 2 of f64. A module has no registers of its own; its
//! engine has the 16 of an x86-64, but for what it keeps to itself, or the 32 of an ARM.
//!
//! A module whose engine lacks an instruction is refused as a whole, so there is nothing to ask at
//! run time: `cfg` is the proof. With the target feature `relaxed-simd` product and sum are one
//! instruction, which rounds once where the engine's processor can, and that is always or never.

use super::body;
use super::stencil::{self, Stencils};
use super::vector::{Between, Lanes, MAX_LANES, Vector, bytes_of, read, write};
use super::winograd;
use super::{Dots, Isa, Kernel, Kernels, Multiply, Proof};
use crate::element::Element;
use core::arch::wasm32::*;
use core::ops::Range;

/// Whether this machine has simd128: the proof that the kernels below may be called. This file is
/// compiled only for targets that have it.
pub(super) fn detected() -> bool {
    cfg!(target_feature = "simd128")
}

/// Hand out only if [`detected`].
pub(super) static F32: Kernels<f32> = kernels::<F32x4, _>(4);
/// Hand out only if [`detected`].
pub(super) static F64: Kernels<f64> = kernels::<F64x2, _>(2);

const fn kernels<V: Vector<Element = T>, T: Element>(lanes: usize) -> Kernels<T> {
    Kernels {
        _proof: Proof,
        isa: Isa::Simd128,
        tall: tile::<V, T>(lanes),
        narrow: None,
        wide: tile::<V, T>(lanes),
        dots: Dots { columns: body::DOTS_IN_16, sum: body::dots_in_16::<V>, _proof: Proof },
        copy: body::copy_rows::<V>,
        transform: winograd::transform::<V>,
        stencils: Stencils {
            lanes: V::LANES,
            apply: stencil::apply::<V>,
            group: None,
            correlate: stencil::correlate::<V>,
            apply_row: stencil::apply_row::<V>,
            correlate_row: stencil::correlate_row::<V>,
        },
    }
    .checked()
}

/// 5 rows of two vectors, whichever operand the vectors are of: 10 sums, two vectors of b, one of
/// a, and one of products where they aren't added as they are made. 6 rows spill.
const fn tile<V: Vector<Element = T>, T: Element>(lanes: usize) -> Kernel<T> {
    Kernel {
        rows: 5,
        row_step: 1,
        neighbours: &[],
        fours: false,
        lanes: 2 * lanes,
        vector: lanes,
        block: 384,
        multiply: multiply::<V>,
        pack: body::pack::<V>,
        store: body::store::<V>,
        packed_b: None,
        stream: Some(body::stream::<V, 2>),
        _proof: Proof,
    }
}

/// Up to 5 rows of one or two vectors.
///
/// # Safety
/// As [`Multiply`].
unsafe fn multiply<V: Vector<Element: Element>>(job: &Multiply<V::Element>) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        match job.vectors {
            1 => body::multiply_rows::<V, 1, false>(job),
            _ => body::multiply_rows::<V, 2, false>(job),
        }
    }
}

/// Four lanes of f32.
#[derive(Clone, Copy)]
struct F32x4(v128);

/// Two lanes of f64.
#[derive(Clone, Copy)]
struct F64x2(v128);

/// A register of any `bytes` of one vector, or of two if `STEP` is 2.
///
/// # Safety
/// `p` is good for what is read.
#[inline(always)]
unsafe fn permuted<const STEP: usize>(p: *const u8, bytes: v128) -> v128 {
    // SAFETY: the caller vouches for what is read.
    unsafe {
        let a = i8x16_swizzle(v128_load(p.cast()), bytes);
        if STEP == 1 {
            return a;
        }
        // Bytes of the first vector are past the second's, and the other way round.
        let rest = i8x16_sub(bytes, i8x16_splat(16));
        v128_or(a, i8x16_swizzle(v128_load(p.add(16).cast()), rest))
    }
}

// SAFETY: each method is the instructions that its name says; where only some lanes are named,
// only those are touched, and what lies between them.
unsafe impl Vector for F32x4 {
    type Element = f32;
    const LANES: usize = 4;
    type Mask = Lanes<v128>;
    const ROW: usize = Self::LANES;
    type Narrow = [f32; 4];
    type Places = v128;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        Self(f32x4_splat(x))
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller vouches for 4 elements.
        Self(unsafe { read(p) })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as `load`.
        unsafe { write(p, self.0) }
    }

    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> Self {
        // SAFETY: each arm reads `n` elements.
        Self(unsafe {
            match n {
                0 => f32x4_splat(0.0),
                1 => v128_load32_zero(p.cast()),
                2 => v128_load64_zero(p.cast()),
                3 => v128_load32_lane::<2>(v128_load64_zero(p.cast()), p.add(2).cast()),
                _ => v128_load(p.cast()),
            }
        })
    }

    #[inline(always)]
    unsafe fn mask(between: Between, row: Range<isize>) -> Lanes<v128> {
        // SAFETY: 16 bytes.
        Lanes::new::<Self>(between, row, |bytes| unsafe { v128_load(bytes.as_ptr().cast()) })
    }

    #[inline(always)]
    unsafe fn load_masked<const STEP: usize>(p: *const f32, lanes: Lanes<v128>) -> Self {
        // SAFETY: the caller vouches for these lanes and for their row.
        unsafe {
            if STEP == 0 {
                return lanes.between.load(p);
            }
            Self(permuted::<STEP>(p.wrapping_offset(lanes.first).cast(), lanes.bytes))
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize) {
        // SAFETY: each arm writes `n` elements.
        unsafe {
            match n {
                0 => {}
                1 => v128_store32_lane::<0>(self.0, p.cast()),
                2 => v128_store64_lane::<0>(self.0, p.cast()),
                3 => {
                    v128_store64_lane::<0>(self.0, p.cast());
                    v128_store32_lane::<2>(self.0, p.add(2).cast());
                }
                _ => write(p, self.0),
            }
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(f32x4_add(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        #[cfg(target_feature = "relaxed-simd")]
        return Self(f32x4_relaxed_madd(self.0, b.0, c.0));
        #[cfg(not(target_feature = "relaxed-simd"))]
        Self(f32x4_add(f32x4_mul(self.0, b.0), c.0))
    }

    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        // "Pseudo": the first operand comes through but where the second is beyond it, so NaN
        // does. One instruction each on an x86-64; `min` and `max` are five.
        Self(f32x4_pmin(f32x4_pmax(self.0, low.0), high.0))
    }

    #[inline(always)]
    unsafe fn places(lanes: [u8; MAX_LANES]) -> v128 {
        // SAFETY: 16 bytes.
        unsafe { v128_load(bytes_of::<Self>(lanes).as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn permute(self, places: v128) -> Self {
        Self(i8x16_swizzle(self.0, places))
    }

    #[inline(always)]
    unsafe fn interleave(self, other: Self) -> [Self; 2] {
        let (a, b) = (self.0, other.0);
        [Self(i32x4_shuffle::<0, 4, 1, 5>(a, b)), Self(i32x4_shuffle::<2, 6, 3, 7>(a, b))]
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        let halves = f32x4_add(self.0, i32x4_shuffle::<2, 3, 2, 3>(self.0, self.0));
        f32x4_extract_lane::<0>(halves) + f32x4_extract_lane::<1>(halves)
    }

    #[inline(always)]
    unsafe fn transpose(
        row: impl Fn(usize) -> *const f32,
        width: usize,
        to: *mut f32,
        step: isize,
    ) {
        // SAFETY: the caller vouches for `width <= 4` elements at each of 4 pointers and for 4
        // elements in each of `width` rows.
        unsafe {
            let mut a = [Self::splat(0.0); 4];
            for i in 0..4 {
                a[i] = Self::load_first(row(i), width);
            }
            let ([p, q], [r, s]) = (a[0].interleave(a[2]), a[1].interleave(a[3]));
            let ([a, b], [c, d]) = (p.interleave(r), q.interleave(s));
            for (i, row) in [a, b, c, d].into_iter().enumerate() {
                if i < width {
                    row.store(to.offset(i as isize * step));
                }
            }
        }
    }
}

// SAFETY: as for f32.
unsafe impl Vector for F64x2 {
    type Element = f64;
    const LANES: usize = 2;
    type Mask = Lanes<v128>;
    const ROW: usize = Self::LANES;
    type Narrow = [f64; 2];
    type Places = v128;

    #[inline(always)]
    unsafe fn splat(x: f64) -> Self {
        Self(f64x2_splat(x))
    }

    #[inline(always)]
    unsafe fn load(p: *const f64) -> Self {
        // SAFETY: the caller vouches for 2 elements.
        Self(unsafe { read(p) })
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f64) {
        // SAFETY: as `load`.
        unsafe { write(p, self.0) }
    }

    #[inline(always)]
    unsafe fn load_first(p: *const f64, n: usize) -> Self {
        // SAFETY: each arm reads `n` elements.
        Self(unsafe {
            match n {
                0 => f64x2_splat(0.0),
                1 => v128_load64_zero(p.cast()),
                _ => v128_load(p.cast()),
            }
        })
    }

    #[inline(always)]
    unsafe fn mask(between: Between, row: Range<isize>) -> Lanes<v128> {
        // SAFETY: 16 bytes.
        Lanes::new::<Self>(between, row, |bytes| unsafe { v128_load(bytes.as_ptr().cast()) })
    }

    #[inline(always)]
    unsafe fn load_masked<const STEP: usize>(p: *const f64, lanes: Lanes<v128>) -> Self {
        // SAFETY: the caller vouches for these lanes and for their row.
        unsafe {
            if STEP == 0 {
                return lanes.between.load(p);
            }
            Self(permuted::<STEP>(p.wrapping_offset(lanes.first).cast(), lanes.bytes))
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f64, n: usize) {
        // SAFETY: each arm writes `n` elements.
        unsafe {
            match n {
                0 => {}
                1 => v128_store64_lane::<0>(self.0, p.cast()),
                _ => write(p, self.0),
            }
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(f64x2_add(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        #[cfg(target_feature = "relaxed-simd")]
        return Self(f64x2_relaxed_madd(self.0, b.0, c.0));
        #[cfg(not(target_feature = "relaxed-simd"))]
        Self(f64x2_add(f64x2_mul(self.0, b.0), c.0))
    }

    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        // As for f32.
        Self(f64x2_pmin(f64x2_pmax(self.0, low.0), high.0))
    }

    #[inline(always)]
    unsafe fn places(lanes: [u8; MAX_LANES]) -> v128 {
        // SAFETY: 16 bytes.
        unsafe { v128_load(bytes_of::<Self>(lanes).as_ptr().cast()) }
    }

    #[inline(always)]
    unsafe fn permute(self, places: v128) -> Self {
        Self(i8x16_swizzle(self.0, places))
    }

    #[inline(always)]
    unsafe fn interleave(self, other: Self) -> [Self; 2] {
        let (a, b) = (self.0, other.0);
        [Self(i64x2_shuffle::<0, 2>(a, b)), Self(i64x2_shuffle::<1, 3>(a, b))]
    }

    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        f64x2_extract_lane::<0>(self.0) + f64x2_extract_lane::<1>(self.0)
    }

    #[inline(always)]
    unsafe fn transpose(
        row: impl Fn(usize) -> *const f64,
        width: usize,
        to: *mut f64,
        step: isize,
    ) {
        // SAFETY: the caller vouches for `width <= 2` elements at each of 2 pointers and for 2
        // elements in each of `width` rows.
        unsafe {
            let a = Self::load_first(row(0), width);
            let b = Self::load_first(row(1), width);
            let [first, second] = a.interleave(b);
            if width > 0 {
                first.store(to);
            }
            if width > 1 {
                second.store(to.offset(step));
            }
        }
    }
}
