//! NEON: 4 lanes of f32, 2 of f64, 32 registers, lanes of a register as operands.

use super::body;
use super::stencil::{self, Stencils};
use super::vector::{Between, Lanes, MAX_LANES, Vector, bytes_of, read, write};
use super::winograd;
use super::{Dots, Isa, Kernel, Kernels, PackedB, Proof};
use crate::element::Element;
use core::arch::aarch64::*;
use core::ops::Range;
use loops::{ByLane, copy_rows, multiply_tall, multiply_wide};

mod loops;

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
        _proof: Proof,
        isa: Isa::Neon,
        tall: Kernel {
            rows: 6,
            row_step: 1,
            neighbours: &[],
            fours: false,
            lanes: 4 * lanes,
            vector: lanes,
            block: 384,
            multiply: multiply_tall::<V>,
            pack: body::pack::<V>,
            store: body::store::<V>,
            packed_b: None,
            stream: None,
            _proof: Proof,
        },
        narrow: None,
        // A product with a register's lane needs no broadcast, but the terms have to lie side by
        // side, and a register for each row is held: 24 sums, 6 of a and 2 of b are all that
        // there are.
        wide: Kernel {
            rows: 6,
            row_step: 1,
            neighbours: &[],
            fours: false,
            lanes: 4 * lanes,
            vector: lanes,
            block: 384,
            multiply: multiply_wide::<V>,
            pack: body::pack::<V>,
            store: body::store::<V>,
            packed_b: Some(PackedB {
                pack_b: body::pack_b::<V>,
                by_lane: true,
                rows_of_one: 12,
                // A copy costs some 6 instructions a term, and saves 2 in each tile.
                fewest: [3, 3],
                _proof: Proof,
            }),
            stream: Some(body::stream::<V, 4>),
            _proof: Proof,
        },
        dots: Dots { columns: body::DOTS_IN_32, sum: body::dots_in_32::<V>, _proof: Proof },
        copy: copy_rows::<V>,
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

// SAFETY: the methods are an instruction each, or none.
unsafe impl ByLane for float32x4_t {
    #[inline(always)]
    unsafe fn add_product<const LANE: i32>(self, b: Self, a: Self) -> Self {
        // SAFETY: the target has neon.
        unsafe { vfmaq_laneq_f32::<LANE>(self, b, a) }
    }

    #[inline(always)]
    unsafe fn made(self) -> Self {
        #[cfg(not(miri))]
        {
            let mut made = self;
            // SAFETY: no instruction at all.
            unsafe {
                core::arch::asm!("/* {0:v} */", inout(vreg) made, options(nomem, nostack, preserves_flags));
            }
            made
        }
        #[cfg(miri)]
        self
    }

    #[inline(always)]
    unsafe fn load_alternate(p: *const f32) -> [Self; 2] {
        // SAFETY: the caller vouches for so many elements.
        let float32x4x2_t(even, odd) = unsafe { vld2q_f32(p) };
        [even, odd]
    }
}

// SAFETY: the methods are an instruction each, or none.
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

    #[inline(always)]
    unsafe fn made(self) -> Self {
        #[cfg(not(miri))]
        {
            let mut made = self;
            // SAFETY: no instruction at all.
            unsafe {
                core::arch::asm!("/* {0:v} */", inout(vreg) made, options(nomem, nostack, preserves_flags));
            }
            made
        }
        #[cfg(miri)]
        self
    }

    #[inline(always)]
    unsafe fn load_alternate(p: *const f64) -> [Self; 2] {
        // SAFETY: the caller vouches for so many elements.
        let float64x2x2_t(even, odd) = unsafe { vld2q_f64(p) };
        [even, odd]
    }
}

/// A register of any `bytes` of one vector, or of two if `STEP` is 2.
///
/// # Safety
/// `p` is good for what is read.
#[inline(always)]
unsafe fn permuted<const STEP: usize>(p: *const u8, bytes: uint8x16_t) -> uint8x16_t {
    // SAFETY: the caller vouches for what is read.
    unsafe {
        let a = vld1q_u8(p);
        if STEP == 1 {
            return vqtbl1q_u8(a, bytes);
        }
        vqtbl2q_u8(uint8x16x2_t(a, vld1q_u8(p.add(16))), bytes)
    }
}

// SAFETY: each method is the instructions that its name says; where only some lanes are named,
// only those are touched, and what lies between them.
unsafe impl Vector for float32x4_t {
    type Element = f32;
    const LANES: usize = 4;
    const REGISTERS: usize = 32;
    #[inline(always)]
    fn in_order() {
        #[cfg(not(miri))]
        // SAFETY: no instruction at all.
        unsafe {
            core::arch::asm!("", options(nostack, preserves_flags));
        }
    }
    type Mask = Lanes<uint8x16_t>;
    const ROW: usize = Self::LANES;
    type Narrow = [f32; 4];
    type Places = uint8x16_t;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the target has neon.
        unsafe { vdupq_n_f32(x) }
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller vouches for 4 elements.
        unsafe { read(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as `load`.
        unsafe { write(p, self) }
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
                _ => read(p),
            }
        }
    }

    #[inline(always)]
    unsafe fn mask(between: Between, row: Range<isize>) -> Lanes<uint8x16_t> {
        // SAFETY: 16 bytes.
        Lanes::new::<Self>(between, row, |bytes| unsafe { vld1q_u8(bytes.as_ptr()) })
    }

    #[inline(always)]
    unsafe fn load_masked<const STEP: usize>(p: *const f32, lanes: Lanes<uint8x16_t>) -> Self {
        // SAFETY: the caller vouches for these lanes and for their row.
        unsafe {
            if STEP == 0 {
                return lanes.between.load(p);
            }
            vreinterpretq_f32_u8(permuted::<STEP>(
                p.wrapping_offset(lanes.first).cast(),
                lanes.bytes,
            ))
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
                _ => write(p, self),
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
    unsafe fn places(lanes: [u8; MAX_LANES]) -> uint8x16_t {
        // SAFETY: 16 bytes.
        unsafe { vld1q_u8(bytes_of::<Self>(lanes).as_ptr()) }
    }

    #[inline(always)]
    unsafe fn permute(self, places: uint8x16_t) -> Self {
        // SAFETY: the target has neon.
        unsafe { vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(self), places)) }
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
    unsafe fn transpose(
        row: impl Fn(usize) -> *const f32,
        width: usize,
        to: *mut f32,
        step: isize,
    ) {
        // SAFETY: the caller vouches for `width <= 4` elements at each of 4 pointers and for 4
        // elements in each of `width` rows.
        unsafe {
            let mut a = [vdupq_n_f32(0.0); 4];
            for i in 0..4 {
                a[i] = Self::load_first(row(i), width);
            }
            let (p, q) = (vzip1q_f32(a[0], a[2]), vzip1q_f32(a[1], a[3]));
            let (r, s) = (vzip2q_f32(a[0], a[2]), vzip2q_f32(a[1], a[3]));
            let columns = [vzip1q_f32(p, q), vzip2q_f32(p, q), vzip1q_f32(r, s), vzip2q_f32(r, s)];
            for i in 0..4 {
                if i < width {
                    write(to.offset(i as isize * step), columns[i]);
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
    #[inline(always)]
    fn in_order() {
        #[cfg(not(miri))]
        // SAFETY: no instruction at all.
        unsafe {
            core::arch::asm!("", options(nostack, preserves_flags));
        }
    }
    type Mask = Lanes<uint8x16_t>;
    const ROW: usize = Self::LANES;
    type Narrow = [f64; 2];
    type Places = uint8x16_t;

    #[inline(always)]
    unsafe fn splat(x: f64) -> Self {
        // SAFETY: the target has neon.
        unsafe { vdupq_n_f64(x) }
    }

    #[inline(always)]
    unsafe fn load(p: *const f64) -> Self {
        // SAFETY: the caller vouches for 2 elements.
        unsafe { read(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f64) {
        // SAFETY: as `load`.
        unsafe { write(p, self) }
    }

    #[inline(always)]
    unsafe fn load_first(p: *const f64, n: usize) -> Self {
        // SAFETY: each arm reads `n` elements.
        unsafe {
            match n {
                0 => vdupq_n_f64(0.0),
                1 => vld1q_lane_f64::<0>(p, vdupq_n_f64(0.0)),
                _ => read(p),
            }
        }
    }

    #[inline(always)]
    unsafe fn mask(between: Between, row: Range<isize>) -> Lanes<uint8x16_t> {
        // SAFETY: 16 bytes.
        Lanes::new::<Self>(between, row, |bytes| unsafe { vld1q_u8(bytes.as_ptr()) })
    }

    #[inline(always)]
    unsafe fn load_masked<const STEP: usize>(p: *const f64, lanes: Lanes<uint8x16_t>) -> Self {
        // SAFETY: the caller vouches for these lanes and for their row.
        unsafe {
            if STEP == 0 {
                return lanes.between.load(p);
            }
            vreinterpretq_f64_u8(permuted::<STEP>(
                p.wrapping_offset(lanes.first).cast(),
                lanes.bytes,
            ))
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f64, n: usize) {
        // SAFETY: each arm writes `n` elements.
        unsafe {
            match n {
                0 => {}
                1 => vst1q_lane_f64::<0>(p, self),
                _ => write(p, self),
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
    unsafe fn places(lanes: [u8; MAX_LANES]) -> uint8x16_t {
        // SAFETY: 16 bytes.
        unsafe { vld1q_u8(bytes_of::<Self>(lanes).as_ptr()) }
    }

    #[inline(always)]
    unsafe fn permute(self, places: uint8x16_t) -> Self {
        // SAFETY: the target has neon.
        unsafe { vreinterpretq_f64_u8(vqtbl1q_u8(vreinterpretq_u8_f64(self), places)) }
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
            if width > 0 {
                write(to, vzip1q_f64(a, b));
            }
            if width > 1 {
                write(to.offset(step), vzip2q_f64(a, b));
            }
        }
    }
}
