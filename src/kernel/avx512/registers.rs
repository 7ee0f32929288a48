//! AVX-512's registers: what a vector of f32, and one of f64, does.

use crate::kernel::vector::{Between, MAX_LANES, Task, Vector, part, read, write};
use core::arch::x86_64::*;
use core::ops::Range;

/// # Safety
/// As [`Vector::outlined`].
#[inline(never)]
#[target_feature(enable = "avx512f")]
unsafe fn outlined(task: impl Task) {
    // SAFETY: the features are on, and the caller vouches for the task.
    unsafe { task.run() }
}

/// `p`, which the compiler can't put together anew from what it was made of.
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block, reason = "an address passes by, nothing is read")]
fn made<T>(mut p: *const T) -> *const T {
    // SAFETY: no instruction at all.
    unsafe { core::arch::asm!("/* {0} */", inout(reg) p, options(nomem, nostack, preserves_flags)) }
    p
}

/// Lanes of a load as bits.
#[derive(Clone, Copy)]
pub(crate) struct Mask {
    /// A bit for each lane, or for each element of two vectors of which every second is a lane.
    bits: u32,
    between: Between,
}

impl Mask {
    #[inline(always)]
    fn new(between: Between) -> Self {
        let Between { step, low, high } = between;
        let below = |lane: usize| ((1u64 << lane) - 1) as u32;
        let bits = match step {
            _ if low >= high => 0,
            1 => below(high) & !below(low),
            _ => below(2 * high.min(MAX_LANES)) & !below(2 * low) & 0x5555_5555,
        };
        Self { bits, between }
    }
}

// SAFETY: each method is the instruction that its name says; masked forms touch only the lanes
// of their mask.
unsafe impl Vector for __m512 {
    #[inline(always)]
    unsafe fn outlined(task: impl Task) {
        // SAFETY: the caller runs with the features, and vouches for the task.
        unsafe { outlined(task) }
    }
    type Element = f32;
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    #[inline(always)]
    fn in_order() {
        // SAFETY: no instruction at all.
        unsafe { core::arch::asm!("", options(nostack, preserves_flags)) }
    }
    #[inline(always)]
    fn at(p: *const f32, elements: usize) -> *const f32 {
        made(p.wrapping_add(elements))
    }
    type Mask = Mask;
    type Narrow = Self;
    type Places = __m512i;

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller runs with avx512f.
        unsafe { _mm512_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller runs with avx512f and `p` is good for 16 elements.
        unsafe { read(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as `load`.
        unsafe { write(p, self) }
    }

    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> Self {
        // SAFETY: the mask keeps the read within the `n <= 16` elements at `p`.
        unsafe { _mm512_maskz_loadu_ps(((1u32 << n) - 1) as u16, p) }
    }

    #[inline(always)]
    unsafe fn mask(between: Between, _row: Range<isize>) -> Mask {
        Mask::new(between)
    }

    #[inline(always)]
    unsafe fn load_masked<const STEP: usize>(p: *const f32, mask: Mask) -> Self {
        // SAFETY: the masks keep the reads to the lanes that the caller vouches for; masked
        // elements are not touched.
        unsafe {
            match STEP {
                1 => _mm512_maskz_loadu_ps(mask.bits as u16, p),
                2 => {
                    let a = _mm512_maskz_loadu_ps(mask.bits as u16, p);
                    let b = _mm512_maskz_loadu_ps((mask.bits >> 16) as u16, p.wrapping_add(16));
                    let index = _mm512_setr_epi32(
                        0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,
                    );
                    _mm512_permutex2var_ps(a, index, b)
                }
                _ => mask.between.load(p),
            }
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize) {
        // SAFETY: the mask keeps the write within the `n <= 16` elements at `p`.
        unsafe { _mm512_mask_storeu_ps(p, ((1u32 << n) - 1) as u16, self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller runs with avx512f.
        unsafe { _mm512_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: the caller runs with avx512f.
        unsafe { _mm512_fmadd_ps(self, b, c) }
    }

    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        // The second operand comes through where one is NaN.
        // SAFETY: the caller runs with avx512f.
        unsafe { _mm512_min_ps(high, _mm512_max_ps(low, self)) }
    }

    #[inline(always)]
    unsafe fn places(lanes: [u8; MAX_LANES]) -> __m512i {
        // SAFETY: 16 bytes are read; the caller runs with avx512f.
        unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(lanes.as_ptr().cast())) }
    }

    #[inline(always)]
    unsafe fn permute(self, places: __m512i) -> Self {
        // SAFETY: the caller runs with avx512f.
        unsafe { _mm512_permutexvar_ps(places, self) }
    }

    #[inline(always)]
    unsafe fn interleave(self, other: Self) -> [Self; 2] {
        // SAFETY: the caller runs with avx512f.
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high =
                _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            [_mm512_permutex2var_ps(self, low, other), _mm512_permutex2var_ps(self, high, other)]
        }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: the caller runs with avx512f.
        unsafe { _mm512_reduce_add_ps(self) }
    }

    #[inline(always)]
    unsafe fn sums<const N: usize>(vectors: &[Self; N], to: *mut f32) {
        // SAFETY: the caller runs with avx512f and vouches for `N` elements, rounded up to vectors.
        unsafe {
            for first in (0..N).step_by(16) {
                let mut v = part::<_, N, 16>(vectors, first);
                // A transposition that adds on its way: pairs of lanes, fours, then 128-bit pieces.
                // Each step halves the vectors, and all stay in whole registers: a part of one, such as
                // `sum` takes, holds the sums of a loop to the first 16.
                for i in 0..8 {
                    let [a, b] = [v[2 * i], v[2 * i + 1]];
                    v[i] = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
                }
                for i in 0..4 {
                    let [a, b] = [v[2 * i], v[2 * i + 1]].map(|v| _mm512_castps_pd(v));
                    let [low, high] = [_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b)];
                    v[i] = _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high));
                }
                for half in [2, 1] {
                    for i in 0..half {
                        let [a, b] = [v[2 * i], v[2 * i + 1]];
                        let even = _mm512_shuffle_f32x4::<0x88>(a, b);
                        v[i] = _mm512_add_ps(even, _mm512_shuffle_f32x4::<0xdd>(a, b));
                    }
                }
                v[0].store(to.add(first));
            }
        }
    }

    #[inline(always)]
    unsafe fn prefetch(p: *const f32) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn prefetch_far(p: *const f32) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn prefetch_write(p: *const f32) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn transpose(
        row: impl Fn(usize) -> *const f32,
        width: usize,
        to: *mut f32,
        step: isize,
    ) {
        // SAFETY: the mask keeps the reads within `width` elements at each of 16 pointers; each
        // of `width` rows at `to` is good for 16 elements.
        unsafe {
            let mask = ((1u32 << width) - 1) as u16;
            let mut a = [_mm512_setzero_ps(); 16];
            for i in 0..16 {
                a[i] = _mm512_maskz_loadu_ps(mask, row(i));
            }
            // Pairs of rows, then fours, within 128 bits; then 128-bit pieces across.
            let mut b = a;
            for i in 0..8 {
                b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
                b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
            }
            let wide = |x: __m512| _mm512_castps_pd(x);
            let narrow = |x: __m512d| _mm512_castpd_ps(x);
            for i in 0..4 {
                let [p, q, r, s] = [b[4 * i], b[4 * i + 1], b[4 * i + 2], b[4 * i + 3]];
                a[4 * i] = narrow(_mm512_unpacklo_pd(wide(p), wide(r)));
                a[4 * i + 1] = narrow(_mm512_unpackhi_pd(wide(p), wide(r)));
                a[4 * i + 2] = narrow(_mm512_unpacklo_pd(wide(q), wide(s)));
                a[4 * i + 3] = narrow(_mm512_unpackhi_pd(wide(q), wide(s)));
            }
            for i in 0..4 {
                let (p, q, r, s) = (a[i], a[4 + i], a[8 + i], a[12 + i]);
                let (even_pq, odd_pq) =
                    (_mm512_shuffle_f32x4::<0x88>(p, q), _mm512_shuffle_f32x4::<0xdd>(p, q));
                let (even_rs, odd_rs) =
                    (_mm512_shuffle_f32x4::<0x88>(r, s), _mm512_shuffle_f32x4::<0xdd>(r, s));
                b[i] = _mm512_shuffle_f32x4::<0x88>(even_pq, even_rs);
                b[4 + i] = _mm512_shuffle_f32x4::<0x88>(odd_pq, odd_rs);
                b[8 + i] = _mm512_shuffle_f32x4::<0xdd>(even_pq, even_rs);
                b[12 + i] = _mm512_shuffle_f32x4::<0xdd>(odd_pq, odd_rs);
            }
            if width == 16 {
                for i in 0..16 {
                    write(to.offset(i as isize * step), b[i]);
                }
            } else {
                for (i, row) in b[..width].iter().enumerate() {
                    write(to.offset(i as isize * step), *row);
                }
            }
        }
    }
}

// SAFETY: as for f32.
unsafe impl Vector for __m512d {
    #[inline(always)]
    unsafe fn outlined(task: impl Task) {
        // SAFETY: the caller runs with the features, and vouches for the task.
        unsafe { outlined(task) }
    }
    type Element = f64;
    const LANES: usize = 8;
    const REGISTERS: usize = 32;
    const SHARES_POINTERS: bool = false;
    #[inline(always)]
    fn in_order() {
        // SAFETY: no instruction at all.
        unsafe { core::arch::asm!("", options(nostack, preserves_flags)) }
    }
    #[inline(always)]
    fn at(p: *const f64, elements: usize) -> *const f64 {
        made(p.wrapping_add(elements))
    }
    type Mask = Mask;
    type Narrow = Self;
    type Places = __m512i;

    #[inline(always)]
    unsafe fn splat(x: f64) -> Self {
        // SAFETY: the caller runs with avx512f.
        unsafe { _mm512_set1_pd(x) }
    }

    #[inline(always)]
    unsafe fn load(p: *const f64) -> Self {
        // SAFETY: the caller runs with avx512f and `p` is good for 8 elements.
        unsafe { read(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f64) {
        // SAFETY: as `load`.
        unsafe { write(p, self) }
    }

    #[inline(always)]
    unsafe fn load_first(p: *const f64, n: usize) -> Self {
        // SAFETY: the mask keeps the read within the `n <= 8` elements at `p`.
        unsafe { _mm512_maskz_loadu_pd(((1u32 << n) - 1) as u8, p) }
    }

    #[inline(always)]
    unsafe fn mask(between: Between, _row: Range<isize>) -> Mask {
        Mask::new(between)
    }

    #[inline(always)]
    unsafe fn load_masked<const STEP: usize>(p: *const f64, mask: Mask) -> Self {
        // SAFETY: the masks keep the reads to the lanes that the caller vouches for; masked
        // elements are not touched.
        unsafe {
            match STEP {
                1 => _mm512_maskz_loadu_pd(mask.bits as u8, p),
                2 => {
                    let a = _mm512_maskz_loadu_pd(mask.bits as u8, p);
                    let b = _mm512_maskz_loadu_pd((mask.bits >> 8) as u8, p.wrapping_add(8));
                    let index = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
                    _mm512_permutex2var_pd(a, index, b)
                }
                _ => mask.between.load(p),
            }
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f64, n: usize) {
        // SAFETY: the mask keeps the write within the `n <= 8` elements at `p`.
        unsafe { _mm512_mask_storeu_pd(p, ((1u32 << n) - 1) as u8, self) }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller runs with avx512f.
        unsafe { _mm512_add_pd(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: the caller runs with avx512f.
        unsafe { _mm512_fmadd_pd(self, b, c) }
    }

    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        // SAFETY: the caller runs with avx512f.
        unsafe { _mm512_min_pd(high, _mm512_max_pd(low, self)) }
    }

    #[inline(always)]
    unsafe fn places(lanes: [u8; MAX_LANES]) -> __m512i {
        // SAFETY: 8 of the bytes are read; the caller runs with avx512f.
        unsafe { _mm512_cvtepu8_epi64(_mm_loadl_epi64(lanes.as_ptr().cast())) }
    }

    #[inline(always)]
    unsafe fn permute(self, places: __m512i) -> Self {
        // SAFETY: the caller runs with avx512f.
        unsafe { _mm512_permutexvar_pd(places, self) }
    }

    #[inline(always)]
    unsafe fn interleave(self, other: Self) -> [Self; 2] {
        // SAFETY: the caller runs with avx512f.
        unsafe {
            let low = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
            let high = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
            [_mm512_permutex2var_pd(self, low, other), _mm512_permutex2var_pd(self, high, other)]
        }
    }

    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        // SAFETY: the caller runs with avx512f.
        unsafe { _mm512_reduce_add_pd(self) }
    }

    #[inline(always)]
    unsafe fn sums<const N: usize>(vectors: &[Self; N], to: *mut f64) {
        // As for f32.
        // SAFETY: the caller runs with avx512f and vouches for `N` elements, rounded up to vectors.
        unsafe {
            for first in (0..N).step_by(8) {
                let mut v = part::<_, N, 8>(vectors, first);
                for i in 0..4 {
                    let [a, b] = [v[2 * i], v[2 * i + 1]];
                    v[i] = _mm512_add_pd(_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
                }
                for half in [2, 1] {
                    for i in 0..half {
                        let [a, b] = [v[2 * i], v[2 * i + 1]];
                        let even = _mm512_shuffle_f64x2::<0x88>(a, b);
                        v[i] = _mm512_add_pd(even, _mm512_shuffle_f64x2::<0xdd>(a, b));
                    }
                }
                v[0].store(to.add(first));
            }
        }
    }

    #[inline(always)]
    unsafe fn prefetch(p: *const f64) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn prefetch_far(p: *const f64) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn prefetch_write(p: *const f64) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn transpose(
        row: impl Fn(usize) -> *const f64,
        width: usize,
        to: *mut f64,
        step: isize,
    ) {
        // SAFETY: the mask keeps the reads within `width` elements at each of 8 pointers; each
        // of `width` rows at `to` is good for 8 elements.
        unsafe {
            let mask = ((1u32 << width) - 1) as u8;
            let mut a = [_mm512_setzero_pd(); 8];
            for i in 0..8 {
                a[i] = _mm512_maskz_loadu_pd(mask, row(i));
            }
            let mut b = a;
            for i in 0..4 {
                b[2 * i] = _mm512_unpacklo_pd(a[2 * i], a[2 * i + 1]);
                b[2 * i + 1] = _mm512_unpackhi_pd(a[2 * i], a[2 * i + 1]);
            }
            for i in 0..2 {
                let (p, q, r, s) = (b[i], b[2 + i], b[4 + i], b[6 + i]);
                let (even_pq, odd_pq) =
                    (_mm512_shuffle_f64x2::<0x88>(p, q), _mm512_shuffle_f64x2::<0xdd>(p, q));
                let (even_rs, odd_rs) =
                    (_mm512_shuffle_f64x2::<0x88>(r, s), _mm512_shuffle_f64x2::<0xdd>(r, s));
                a[i] = _mm512_shuffle_f64x2::<0x88>(even_pq, even_rs);
                a[2 + i] = _mm512_shuffle_f64x2::<0x88>(odd_pq, odd_rs);
                a[4 + i] = _mm512_shuffle_f64x2::<0xdd>(even_pq, even_rs);
                a[6 + i] = _mm512_shuffle_f64x2::<0xdd>(odd_pq, odd_rs);
            }
            if width == 8 {
                for i in 0..8 {
                    write(to.offset(i as isize * step), a[i]);
                }
            } else {
                for (i, row) in a[..width].iter().enumerate() {
                    write(to.offset(i as isize * step), *row);
                }
            }
        }
    }
}
