//! AVX2's registers: what a vector of f32, and one of f64, does.

use crate::kernel::vector::{Between, MAX_LANES, Task, Vector, part, read, write};
use core::arch::x86_64::*;
use core::ops::Range;

/// # Safety
/// As [`Vector::outlined`].
#[inline(never)]
#[target_feature(enable = "avx2,fma")]
unsafe fn outlined(task: impl Task) {
    // SAFETY: the features are on, and the caller vouches for the task.
    unsafe { task.run() }
}

/// Ones and zeros: 8 entries from `8 - n` on switch on the first `n` lanes of f32.
const MASK32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
/// The same for 4 lanes of f64.
const MASK64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

/// The mask of the first `n <= 8` lanes.
///
/// # Safety
/// The caller runs with avx2.
#[inline(always)]
unsafe fn mask32(n: usize) -> __m256i {
    debug_assert!(n <= 8);
    // SAFETY: 8 entries from `8 - n` end within 16.
    unsafe { _mm256_loadu_si256(MASK32.as_ptr().add(8 - n).cast()) }
}

/// The mask of the first `n <= 4` lanes.
///
/// # Safety
/// The caller runs with avx2.
#[inline(always)]
unsafe fn mask64(n: usize) -> __m256i {
    debug_assert!(n <= 4);
    // SAFETY: 4 entries from `4 - n` end within 8.
    unsafe { _mm256_loadu_si256(MASK64.as_ptr().add(4 - n).cast()) }
}

/// Ones for the lanes wanted, among 8 elements from `first` on; any step but 1 counts as 2.
///
/// # Safety
/// The caller runs with avx2.
#[inline(always)]
unsafe fn lanes32(Between { step, low, high }: Between, first: usize) -> __m256i {
    let step = step.min(2);
    let low = (step * low).saturating_sub(first).min(8);
    let high = (step * high).saturating_sub(first).min(8);
    // SAFETY: the caller runs with avx2.
    unsafe {
        let lanes = _mm256_andnot_si256(mask32(low), mask32(high));
        let even = _mm256_setr_epi32(-1, 0, -1, 0, -1, 0, -1, 0);
        if step == 2 { _mm256_and_si256(lanes, even) } else { lanes }
    }
}

/// The same among 4 elements of f64.
///
/// # Safety
/// The caller runs with avx2.
#[inline(always)]
unsafe fn lanes64(Between { step, low, high }: Between, first: usize) -> __m256i {
    let step = step.min(2);
    let low = (step * low).saturating_sub(first).min(4);
    let high = (step * high).saturating_sub(first).min(4);
    // SAFETY: the caller runs with avx2.
    unsafe {
        let lanes = _mm256_andnot_si256(mask64(low), mask64(high));
        let even = _mm256_setr_epi64x(-1, 0, -1, 0);
        if step == 2 { _mm256_and_si256(lanes, even) } else { lanes }
    }
}

/// Lanes of a load.
#[derive(Clone, Copy)]
pub(crate) struct Mask {
    /// Ones for the lanes, among the elements of the vector and of the one after it.
    masks: [__m256i; 2],
    between: Between,
}

// SAFETY: each method is the instruction that its name says; masked forms touch only the lanes
// of their mask.
unsafe impl Vector for __m256 {
    #[inline(always)]
    unsafe fn outlined(task: impl Task) {
        // SAFETY: the caller runs with the features, and vouches for the task.
        unsafe { outlined(task) }
    }
    type Element = f32;
    const LANES: usize = 8;
    // A loop of one term is faster or slower by where in memory the compiler puts it.
    const PAIRED: bool = true;
    // One micro-operation; `permute` is two on Zen 2 and 3, which wait for each other.
    const WITHIN: bool = true;
    type Mask = Mask;
    type Narrow = Self;
    type Places = __m256i;

    #[inline(always)]
    unsafe fn in_turn(self) {
        // SAFETY: no instruction at all. The caller runs with avx2.
        unsafe {
            let half = _mm256_castps256_ps128(self);
            core::arch::asm!("/* {0} */", in(xmm_reg) half, options(nostack, preserves_flags));
        }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: the caller runs with avx2.
        unsafe { _mm256_set1_ps(x) }
    }

    #[inline(always)]
    unsafe fn load(p: *const f32) -> Self {
        // SAFETY: the caller runs with avx2 and `p` is good for 8 elements.
        unsafe { read(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as `load`.
        unsafe { write(p, self) }
    }

    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> Self {
        // SAFETY: the mask keeps the read within the `n <= 8` elements at `p`.
        unsafe { _mm256_maskload_ps(p, mask32(n)) }
    }

    #[inline(always)]
    unsafe fn mask(between: Between, _row: Range<isize>) -> Self::Mask {
        // SAFETY: the caller runs with avx2.
        let masks = unsafe { [lanes32(between, 0), lanes32(between, 8)] };
        Mask { masks, between }
    }

    #[inline(always)]
    unsafe fn load_masked<const STEP: usize>(p: *const f32, mask: Self::Mask) -> Self {
        // SAFETY: the masks keep the reads to the lanes that the caller vouches for, masked
        // elements are not touched.
        unsafe {
            match STEP {
                1 => _mm256_maskload_ps(p, mask.masks[0]),
                2 => {
                    let a = _mm256_maskload_ps(p, mask.masks[0]);
                    let b = _mm256_maskload_ps(p.wrapping_add(8), mask.masks[1]);
                    let pairs = _mm256_castps_pd(_mm256_shuffle_ps::<0x88>(a, b));
                    _mm256_castpd_ps(_mm256_permute4x64_pd::<0xd8>(pairs))
                }
                _ => mask.between.load(p),
            }
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize) {
        // Whole, or in halves: a masked store takes tens of cycles on AMD's machines.
        // SAFETY: each piece is within the `n <= 8` elements at `p`.
        unsafe {
            if n == 8 {
                return write(p, self);
            }
            let (mut at, mut rest) = (p, _mm256_castps256_ps128(self));
            if n & 4 != 0 {
                write(at, rest);
                (at, rest) = (at.add(4), _mm256_extractf128_ps::<1>(self));
            }
            if n & 2 != 0 {
                _mm_storel_epi64(at.cast(), _mm_castps_si128(rest));
                (at, rest) = (at.add(2), _mm_movehl_ps(rest, rest));
            }
            if n & 1 != 0 {
                _mm_store_ss(at, rest);
            }
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller runs with avx2.
        unsafe { _mm256_add_ps(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: the caller runs with fma.
        unsafe { _mm256_fmadd_ps(self, b, c) }
    }

    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        // The second operand comes through where one is NaN.
        // SAFETY: the caller runs with avx2.
        unsafe { _mm256_min_ps(high, _mm256_max_ps(low, self)) }
    }

    #[inline(always)]
    unsafe fn places(lanes: [u8; MAX_LANES]) -> __m256i {
        // SAFETY: 8 of the bytes are read; the caller runs with avx2.
        unsafe { _mm256_cvtepu8_epi32(_mm_loadl_epi64(lanes.as_ptr().cast())) }
    }

    #[inline(always)]
    unsafe fn permute(self, places: __m256i) -> Self {
        // SAFETY: the caller runs with avx2.
        unsafe { _mm256_permutevar8x32_ps(self, places) }
    }

    #[inline(always)]
    unsafe fn permute_within(self, places: __m256i) -> Self {
        // SAFETY: the caller runs with avx2.
        unsafe { _mm256_permutevar_ps(self, places) }
    }

    #[inline(always)]
    unsafe fn interleave(self, other: Self) -> [Self; 2] {
        // SAFETY: the caller runs with avx2.
        unsafe {
            let (a, b) = (_mm256_unpacklo_ps(self, other), _mm256_unpackhi_ps(self, other));
            [_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b)]
        }
    }

    #[inline(always)]
    unsafe fn sums<const N: usize>(vectors: &[Self; N], to: *mut f32) {
        // SAFETY: the caller runs with avx2 and vouches for `N` elements, rounded up to vectors.
        unsafe {
            for first in (0..N).step_by(8) {
                let mut v = part::<_, N, 8>(vectors, first);
                // Neighbours are added, then what is left of the halves.
                for half in [4, 2] {
                    for i in 0..half {
                        v[i] = _mm256_hadd_ps(v[2 * i], v[2 * i + 1]);
                    }
                }
                let low = _mm256_permute2f128_ps::<0x20>(v[0], v[1]);
                low.add(_mm256_permute2f128_ps::<0x31>(v[0], v[1])).store(to.add(first));
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
        // SAFETY: the mask keeps the reads within `width` elements at each of 8 pointers; each
        // of `width` rows at `to` is good for 8 elements.
        unsafe {
            let mut a = [_mm256_setzero_ps(); 8];
            for i in 0..8 {
                let row = row(i);
                a[i] = if width == 8 { Self::load(row) } else { Self::load_first(row, width) };
            }
            let mut b = a;
            for i in 0..4 {
                b[2 * i] = _mm256_unpacklo_ps(a[2 * i], a[2 * i + 1]);
                b[2 * i + 1] = _mm256_unpackhi_ps(a[2 * i], a[2 * i + 1]);
            }
            for i in 0..2 {
                let [p, q, r, s] = [b[4 * i], b[4 * i + 1], b[4 * i + 2], b[4 * i + 3]];
                a[4 * i] = _mm256_shuffle_ps::<0x44>(p, r);
                a[4 * i + 1] = _mm256_shuffle_ps::<0xee>(p, r);
                a[4 * i + 2] = _mm256_shuffle_ps::<0x44>(q, s);
                a[4 * i + 3] = _mm256_shuffle_ps::<0xee>(q, s);
            }
            for i in 0..4 {
                b[i] = _mm256_permute2f128_ps::<0x20>(a[i], a[4 + i]);
                b[4 + i] = _mm256_permute2f128_ps::<0x31>(a[i], a[4 + i]);
            }
            if width == 8 {
                for i in 0..8 {
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
unsafe impl Vector for __m256d {
    #[inline(always)]
    unsafe fn outlined(task: impl Task) {
        // SAFETY: the caller runs with the features, and vouches for the task.
        unsafe { outlined(task) }
    }
    type Element = f64;
    const LANES: usize = 4;
    const PAIRED: bool = true;
    const WITHIN: bool = true;
    type Mask = Mask;
    type Narrow = Self;
    type Places = __m256i;

    #[inline(always)]
    unsafe fn in_turn(self) {
        // SAFETY: no instruction at all. The caller runs with avx2.
        unsafe {
            let half = _mm256_castpd256_pd128(self);
            core::arch::asm!("/* {0} */", in(xmm_reg) half, options(nostack, preserves_flags));
        }
    }

    #[inline(always)]
    unsafe fn splat(x: f64) -> Self {
        // SAFETY: the caller runs with avx2.
        unsafe { _mm256_set1_pd(x) }
    }

    #[inline(always)]
    unsafe fn load(p: *const f64) -> Self {
        // SAFETY: the caller runs with avx2 and `p` is good for 4 elements.
        unsafe { read(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f64) {
        // SAFETY: as `load`.
        unsafe { write(p, self) }
    }

    #[inline(always)]
    unsafe fn load_first(p: *const f64, n: usize) -> Self {
        // SAFETY: the mask keeps the read within the `n <= 4` elements at `p`.
        unsafe { _mm256_maskload_pd(p, mask64(n)) }
    }

    #[inline(always)]
    unsafe fn mask(between: Between, _row: Range<isize>) -> Self::Mask {
        // SAFETY: the caller runs with avx2.
        let masks = unsafe { [lanes64(between, 0), lanes64(between, 4)] };
        Mask { masks, between }
    }

    #[inline(always)]
    unsafe fn load_masked<const STEP: usize>(p: *const f64, mask: Self::Mask) -> Self {
        // SAFETY: as for f32.
        unsafe {
            match STEP {
                1 => _mm256_maskload_pd(p, mask.masks[0]),
                2 => {
                    let a = _mm256_maskload_pd(p, mask.masks[0]);
                    let b = _mm256_maskload_pd(p.wrapping_add(4), mask.masks[1]);
                    _mm256_permute4x64_pd::<0xd8>(_mm256_unpacklo_pd(a, b))
                }
                _ => mask.between.load(p),
            }
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut f64, n: usize) {
        // As for f32.
        // SAFETY: each piece is within the `n <= 4` elements at `p`.
        unsafe {
            if n == 4 {
                return write(p, self);
            }
            let (mut at, mut rest) = (p, _mm256_castpd256_pd128(self));
            if n & 2 != 0 {
                write(at, rest);
                (at, rest) = (at.add(2), _mm256_extractf128_pd::<1>(self));
            }
            if n & 1 != 0 {
                _mm_store_sd(at, rest);
            }
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller runs with avx2.
        unsafe { _mm256_add_pd(self, other) }
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, c: Self) -> Self {
        // SAFETY: the caller runs with fma.
        unsafe { _mm256_fmadd_pd(self, b, c) }
    }

    #[inline(always)]
    unsafe fn clamp(self, low: Self, high: Self) -> Self {
        // SAFETY: the caller runs with avx2.
        unsafe { _mm256_min_pd(high, _mm256_max_pd(low, self)) }
    }

    #[inline(always)]
    unsafe fn places(lanes: [u8; MAX_LANES]) -> __m256i {
        let mut halves = [0; MAX_LANES];
        for (i, half) in halves[..8].iter_mut().enumerate() {
            *half = lanes[i / 2].wrapping_mul(2).wrapping_add((i % 2) as u8);
        }
        // SAFETY: the caller runs with avx2.
        unsafe { __m256::places(halves) }
    }

    #[inline(always)]
    unsafe fn permute(self, places: __m256i) -> Self {
        // SAFETY: the caller runs with avx2.
        unsafe { _mm256_castps_pd(_mm256_castpd_ps(self).permute(places)) }
    }

    #[inline(always)]
    unsafe fn permute_within(self, places: __m256i) -> Self {
        // The instruction looks at the second bit of each place.
        // SAFETY: the caller runs with avx2.
        unsafe { _mm256_permutevar_pd(self, places) }
    }

    #[inline(always)]
    unsafe fn interleave(self, other: Self) -> [Self; 2] {
        // SAFETY: the caller runs with avx2.
        unsafe {
            let (a, b) = (_mm256_unpacklo_pd(self, other), _mm256_unpackhi_pd(self, other));
            [_mm256_permute2f128_pd::<0x20>(a, b), _mm256_permute2f128_pd::<0x31>(a, b)]
        }
    }

    #[inline(always)]
    unsafe fn sums<const N: usize>(vectors: &[Self; N], to: *mut f64) {
        // As for f32.
        // SAFETY: the caller runs with avx2 and vouches for `N` elements, rounded up to vectors.
        unsafe {
            for first in (0..N).step_by(4) {
                let mut v = part::<_, N, 4>(vectors, first);
                for i in 0..2 {
                    v[i] = _mm256_hadd_pd(v[2 * i], v[2 * i + 1]);
                }
                let low = _mm256_permute2f128_pd::<0x20>(v[0], v[1]);
                low.add(_mm256_permute2f128_pd::<0x31>(v[0], v[1])).store(to.add(first));
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
        // SAFETY: the mask keeps the reads within `width` elements at each of 4 pointers; each
        // of `width` rows at `to` is good for 4 elements.
        unsafe {
            let mut a = [_mm256_setzero_pd(); 4];
            for i in 0..4 {
                let row = row(i);
                a[i] = if width == 4 { Self::load(row) } else { Self::load_first(row, width) };
            }
            let (p, q) = (_mm256_unpacklo_pd(a[0], a[1]), _mm256_unpackhi_pd(a[0], a[1]));
            let (r, s) = (_mm256_unpacklo_pd(a[2], a[3]), _mm256_unpackhi_pd(a[2], a[3]));
            let columns = [
                _mm256_permute2f128_pd::<0x20>(p, r),
                _mm256_permute2f128_pd::<0x20>(q, s),
                _mm256_permute2f128_pd::<0x31>(p, r),
                _mm256_permute2f128_pd::<0x31>(q, s),
            ];
            for (i, row) in columns[..width].iter().enumerate() {
                write(to.offset(i as isize * step), *row);
            }
        }
    }
}
