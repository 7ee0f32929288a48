//! AVX-512F: 16 lanes of f32, 8 of f64, 32 registers, broadcasts as operands.

use super::body::{self, MAX_LANES};
use super::stencil::{self, Apply, ApplyRow, Correlate, CorrelateRow, Group, Groups, Stencils};
use super::vector::{Between, Task, Vector, part};
use super::{CopyRows, Dot, Dots, Isa, Kernel, Kernels, Multiply, Pack, Store};
use crate::element::Element;
use core::arch::x86_64::*;
use core::ops::Range;
use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Whether this machine has AVX-512F: the proof that the kernels below may be called.
pub(super) fn detected() -> bool {
    #[cfg(feature = "std")]
    return std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(feature = "std"))]
    cfg!(target_feature = "avx512f")
}

static F32: [Kernels<f32>; 2] =
    [kernels::<__m512, __m256, _>(16, false), kernels::<__m512, __m256, _>(16, true)];
static F64: [Kernels<f64>; 2] =
    [kernels::<__m512d, __m256d, _>(8, false), kernels::<__m512d, __m256d, _>(8, true)];

/// The kernels of f32: hand out only if [`detected`].
pub(super) fn f32() -> &'static Kernels<f32> {
    &F32[usize::from(two_units())]
}

/// The kernels of f64: hand out only if [`detected`].
pub(super) fn f64() -> &'static Kernels<f64> {
    &F64[usize::from(two_units())]
}

/// Those of f32 for the other kind of machine, which this one can run too.
#[cfg(feature = "testing")]
pub(super) fn other_f32() -> &'static Kernels<f32> {
    &F32[usize::from(!two_units())]
}

/// Those of f64 for the other kind of machine.
#[cfg(feature = "testing")]
pub(super) fn other_f64() -> &'static Kernels<f64> {
    &F64[usize::from(!two_units())]
}

/// Whether to expect two multiplications of whole vectors in a cycle: Intel's servers, not Zen 4.
/// The loads of a tile of one vector, a pointer and an element for each multiplication, are then
/// too many (Sapphire Rapids, operands in the L1 cache: 28x1 runs at 167 GFLOP/s, 14x2 at 214,
/// 14x2 of rows side by side at 237; the peak is 240). With one unit both reach the peak, and 28x1 leaves fewer lanes empty.
///
/// Asked once, as the standard library asks for features: in a virtual machine the instruction ends
/// in its host, and took 9 of the 10 us of planning a depthwise layer.
fn two_units() -> bool {
    /// 0 before it is known, then 1 or 2: every thread that comes first writes the same.
    static ANSWER: AtomicU8 = AtomicU8::new(0);
    match ANSWER.load(Relaxed) {
        0 => {
            // SAFETY: every x86-64 has the instruction.
            #[allow(unused_unsafe, reason = "safe since Rust 1.94, and we build with 1.89")]
            let vendor = unsafe { __cpuid(0) };
            let vendor = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes);
            let intel = vendor.as_flattened() == b"GenuineIntel";
            ANSWER.store(1 + u8::from(intel), Relaxed);
            intel
        }
        answer => answer == 2,
    }
}

const fn kernels<V: Vector<Element = T>, H: Vector<Element = T>, T: Element>(
    lanes: usize,
    two_units: bool,
) -> Kernels<T> {
    let single = Kernel {
        rows: 28,
        row_step: 2,
        lanes,
        vector: lanes,
        // On Zen 4 3x3 layers were 3 % slower by 192.
        block: 384,
        multiply: multiply_tall::<V>,
        pack: pack::<V, 1>,
        store: store::<V>,
        gathering: None,
    };
    let pairs = Kernel {
        rows: 14,
        row_step: 2,
        lanes: 2 * lanes,
        vector: lanes,
        // On Sapphire Rapids, weights read as they lie 2 KiB apart: 33 GFLOP/s by 512, 80 so.
        block: 192,
        multiply: multiply_pairs::<V>,
        pack: pack::<V, 2>,
        store: store::<V>,
        gathering: None,
    };
    let (tall, narrow) = if two_units { (pairs, Some(single)) } else { (single, None) };
    Kernels {
        isa: Isa::Avx512,
        tall,
        narrow,
        wide: Kernel {
            rows: 6,
            row_step: 1,
            lanes: 4 * lanes,
            vector: lanes,
            block: 192,
            multiply: multiply_wide::<V>,
            pack: pack::<V, 4>,
            store: store::<V>,
            gathering: None,
        },
        dots: Dots { columns: body::DOTS_IN_32, sum: dots::<V> },
        copy: copy::<V>,
        stencils: Stencils {
            lanes: V::LANES,
            apply: apply::<V, H>,
            group: Some(Groups { apply: group::<V, H>, takes: stencil::takes::<V> }),
            correlate: correlate::<V, H>,
            apply_row: apply_row::<V>,
            correlate_row: correlate_row::<V>,
        },
    }
}

/// 28 rows of one vector: 28 sums, one vector of b, and the elements of a broadcast by the
/// multiplication itself. Fewer rows in steps of 2.
///
/// # Safety
/// As [`Multiply`].
#[target_feature(enable = "avx512f")]
unsafe fn multiply_tall<V: Vector<Element: Element>>(job: &Multiply<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe {
        match job.count.div_ceil(2) {
            1 => body::multiply_beside::<V, 2, 1>(job),
            2 => body::multiply_beside::<V, 4, 1>(job),
            3 => body::multiply_beside::<V, 6, 1>(job),
            4 => body::multiply_beside::<V, 8, 1>(job),
            5 => body::multiply_beside::<V, 10, 1>(job),
            6 => body::multiply_beside::<V, 12, 1>(job),
            7 => body::multiply_beside::<V, 14, 1>(job),
            8 => body::multiply_beside::<V, 16, 1>(job),
            9 => body::multiply_beside::<V, 18, 1>(job),
            10 => body::multiply_beside::<V, 20, 1>(job),
            11 => body::multiply_beside::<V, 22, 1>(job),
            12 => body::multiply_beside::<V, 24, 1>(job),
            13 => body::multiply_beside::<V, 26, 1>(job),
            _ => body::multiply_beside::<V, 28, 1>(job),
        }
    }
}

/// 14 rows of two vectors: 28 sums, two vectors of b, one of a. Fewer rows in steps of 2. Rows
/// side by side, such as the pixels of an image's row, need one pointer instead of 14, and 14
/// divides the rows of most of the images that networks make (vgg_3_2 on Sapphire Rapids: 162
/// GFLOP/s by 12 pointers, 195 so).
///
/// # Safety
/// As [`Multiply`].
#[target_feature(enable = "avx512f")]
unsafe fn multiply_pairs<V: Vector<Element: Element>>(job: &Multiply<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe {
        match job.count.div_ceil(2) {
            1 => body::multiply_beside::<V, 2, 2>(job),
            2 => body::multiply_beside::<V, 4, 2>(job),
            3 => body::multiply_beside::<V, 6, 2>(job),
            4 => body::multiply_beside::<V, 8, 2>(job),
            5 => body::multiply_beside::<V, 10, 2>(job),
            6 => body::multiply_beside::<V, 12, 2>(job),
            _ => body::multiply_beside::<V, 14, 2>(job),
        }
    }
}

/// Up to 6 rows of up to four vectors: 24 sums, four vectors of b, one of a.
///
/// # Safety
/// As [`Multiply`].
#[target_feature(enable = "avx512f")]
unsafe fn multiply_wide<V: Vector<Element: Element>>(job: &Multiply<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe {
        match job.vectors {
            1 => body::multiply_rows::<V, 1, false>(job),
            2 => body::multiply_rows::<V, 2, false>(job),
            3 => body::multiply_rows::<V, 3, false>(job),
            _ => body::multiply_rows::<V, 4, false>(job),
        }
    }
}

/// # Safety
/// As [`Dot`].
#[target_feature(enable = "avx512f")]
unsafe fn dots<V: Vector>(job: &Dot<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { body::dots_in_32::<V>(job) }
}

/// # Safety
/// As [`Pack`].
#[target_feature(enable = "avx512f")]
unsafe fn pack<V: Vector<Element: Element>, const N: usize>(job: &Pack<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { body::pack::<V, N>(job) }
}

/// # Safety
/// As [`Store`].
#[target_feature(enable = "avx512f")]
unsafe fn store<V: Vector<Element: Element>>(job: &Store<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { body::store::<V>(job) }
}

/// # Safety
/// As [`CopyRows`].
#[target_feature(enable = "avx512f")]
unsafe fn copy<V: Vector<Element: Element>>(job: &CopyRows<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { body::copy_rows::<V>(job) }
}

/// # Safety
/// As [`Apply`].
#[target_feature(enable = "avx512f")]
unsafe fn apply<V: Vector, H: Vector<Element = V::Element>>(job: &Apply<'_, V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe {
        if job.width() > H::LANES { stencil::apply::<V>(job) } else { stencil::apply::<H>(job) }
    }
}

/// # Safety
/// As [`Group`].
#[target_feature(enable = "avx512f")]
unsafe fn group<V: Vector, H: Vector<Element = V::Element>>(job: &Group<'_, V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe {
        if job.width() > H::LANES || H::REGISTERS < V::REGISTERS {
            stencil::group::<V>(job)
        } else {
            stencil::group::<H>(job)
        }
    }
}

/// # Safety
/// As [`Correlate`].
#[target_feature(enable = "avx512f")]
unsafe fn correlate<V: Vector, H: Vector<Element = V::Element>>(job: &Correlate<'_, V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe {
        if job.width() > H::LANES {
            stencil::correlate::<V>(job)
        } else {
            stencil::correlate::<H>(job)
        }
    }
}

/// # Safety
/// As [`ApplyRow`].
#[target_feature(enable = "avx512f")]
unsafe fn apply_row<V: Vector<Element: Element>>(job: &ApplyRow<'_, V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { stencil::apply_row::<V>(job) }
}

/// # Safety
/// As [`CorrelateRow`].
#[target_feature(enable = "avx512f")]
unsafe fn correlate_row<V: Vector<Element: Element>>(job: &CorrelateRow<'_, V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { stencil::correlate_row::<V>(job) }
}

/// # Safety
/// As [`Vector::apart`].
#[inline(never)]
#[target_feature(enable = "avx512f")]
unsafe fn apart(task: impl Task) {
    // SAFETY: the features are on, and the caller vouches for the task.
    unsafe { task.run() }
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
            _ => below(2 * high.min(16)) & !below(2 * low) & 0x5555_5555,
        };
        Self { bits, between }
    }
}

// SAFETY: each method is the instruction that its name says; masked forms touch only the lanes
// of their mask.
unsafe impl Vector for __m512 {
    #[inline(always)]
    unsafe fn apart(task: impl Task) {
        // SAFETY: the caller runs with the features, and vouches for the task.
        unsafe { apart(task) }
    }
    type Element = f32;
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    const MASKED: bool = true;
    #[inline(always)]
    fn in_order() {
        // SAFETY: no instruction at all.
        unsafe { core::arch::asm!("", options(nostack, preserves_flags)) }
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
        unsafe { _mm512_loadu_ps(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f32) {
        // SAFETY: as `load`.
        unsafe { _mm512_storeu_ps(p, self) }
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
    unsafe fn prefetch_write(p: *const f32) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn transpose(rows: *const *const f32, width: usize, to: *mut f32, step: isize) {
        // SAFETY: the mask keeps the reads within `width` elements at each of 16 pointers; each
        // of `width` rows at `to` is good for 16 elements.
        unsafe {
            let mask = ((1u32 << width) - 1) as u16;
            let mut a = [_mm512_setzero_ps(); 16];
            for i in 0..16 {
                a[i] = _mm512_maskz_loadu_ps(mask, *rows.add(i));
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
                    _mm512_storeu_ps(to.offset(i as isize * step), b[i]);
                }
            } else {
                for (i, row) in b[..width].iter().enumerate() {
                    _mm512_storeu_ps(to.offset(i as isize * step), *row);
                }
            }
        }
    }
}

// SAFETY: as for f32.
unsafe impl Vector for __m512d {
    #[inline(always)]
    unsafe fn apart(task: impl Task) {
        // SAFETY: the caller runs with the features, and vouches for the task.
        unsafe { apart(task) }
    }
    type Element = f64;
    const LANES: usize = 8;
    const REGISTERS: usize = 32;
    const MASKED: bool = true;
    #[inline(always)]
    fn in_order() {
        // SAFETY: no instruction at all.
        unsafe { core::arch::asm!("", options(nostack, preserves_flags)) }
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
        unsafe { _mm512_loadu_pd(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut f64) {
        // SAFETY: as `load`.
        unsafe { _mm512_storeu_pd(p, self) }
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
    unsafe fn prefetch_write(p: *const f64) {
        // SAFETY: a prefetch never faults.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(p.cast()) }
    }

    #[inline(always)]
    unsafe fn transpose(rows: *const *const f64, width: usize, to: *mut f64, step: isize) {
        // SAFETY: the mask keeps the reads within `width` elements at each of 8 pointers; each
        // of `width` rows at `to` is good for 8 elements.
        unsafe {
            let mask = ((1u32 << width) - 1) as u8;
            let mut a = [_mm512_setzero_pd(); 8];
            for i in 0..8 {
                a[i] = _mm512_maskz_loadu_pd(mask, *rows.add(i));
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
                    _mm512_storeu_pd(to.offset(i as isize * step), a[i]);
                }
            } else {
                for (i, row) in a[..width].iter().enumerate() {
                    _mm512_storeu_pd(to.offset(i as isize * step), *row);
                }
            }
        }
    }
}
