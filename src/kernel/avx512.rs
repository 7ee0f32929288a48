//! AVX-512F: 16 lanes of f32, 8 of f64, 32 registers, broadcasts as operands.

use super::body;
use super::cpu::{Cpu, Vendor, cpu};
use super::stencil::{self, Apply, ApplyRow, Correlate, CorrelateRow, Group, Groups, Stencils};
use super::vector::Vector;
use super::winograd::{self, Transform};
use super::{
    CopyRows, Dot, Dots, Isa, Kernel, Kernels, Multiply, Pack, PackB, PackedB, Proof, Store, Stream,
};
use crate::element::Element;
use core::arch::x86_64::*;

mod registers;

/// Whether this machine has AVX-512F, and AVX2 and FMA, whose vectors the kernels use for short rows: the proof that they
/// may be called.
pub(super) fn detected() -> bool {
    #[cfg(feature = "std")]
    let own = std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(feature = "std"))]
    let own = cfg!(target_feature = "avx512f");
    own && super::avx2::detected()
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

/// Whether to expect two multiplications of whole vectors in a cycle: Intel's servers and Zen 5, not Zen 4.
/// The loads of a tile of one vector, a pointer and an element for each multiplication, are then
/// too many. With one unit both tiles reach the peak, and 28x1 leaves fewer lanes empty.
fn two_units() -> bool {
    /// AMD's number of the first family whose units are as wide as the vectors.
    const ZEN_5: u32 = 0x1a;
    let Cpu { vendor, family, .. } = cpu();
    match vendor {
        Vendor::Intel => true,
        Vendor::Amd => family >= ZEN_5,
        Vendor::Other => false,
    }
}

const fn kernels<V: Vector<Element = T>, H: Vector<Element = T>, T: Element>(
    lanes: usize,
    two_units: bool,
) -> Kernels<T> {
    let single = Kernel {
        rows: 28,
        row_step: 2,
        neighbours: &[[7, 28], [5, 25], [4, 28], [3, 27]],
        fours: true,
        lanes,
        vector: lanes,
        block: 384,
        multiply: multiply_tall::<V>,
        pack: pack::<V>,
        store: store::<V>,
        packed_b: None,
        stream: None,
        _proof: Proof,
    };
    let pairs = Kernel {
        rows: 14,
        row_step: 2,
        neighbours: &[],
        fours: false,
        lanes: 2 * lanes,
        vector: lanes,
        // With more, weights that are read as they lie 2 KiB apart meet in the same few sets of the cache.
        block: 192,
        multiply: multiply_pairs::<V>,
        pack: pack::<V>,
        store: store::<V>,
        packed_b: None,
        stream: None,
        _proof: Proof,
    };
    let (tall, narrow) = if two_units { (pairs, Some(single)) } else { (single, None) };
    Kernels {
        _proof: Proof,
        isa: Isa::Avx512,
        tall,
        narrow,
        wide: Kernel {
            rows: 6,
            row_step: 1,
            neighbours: &[],
            fours: false,
            lanes: 4 * lanes,
            vector: lanes,
            block: 192,
            multiply: multiply_wide::<V>,
            pack: pack::<V>,
            store: store::<V>,
            // Of few terms, for then a tile is summed in its place, in a few parts at most.
            packed_b: Some(PackedB {
                pack_b: pack_b::<V>,
                by_lane: false,
                rows_of_one: 6,
                fewest: [6, usize::MAX],
                _proof: Proof,
            }),
            stream: Some(stream::<V>),
            _proof: Proof,
        },
        dots: Dots { columns: body::DOTS_IN_32, sum: dots::<V>, _proof: Proof },
        copy: copy::<V>,
        transform: transform::<V>,
        stencils: Stencils {
            lanes: V::LANES,
            apply: apply::<V, H>,
            group: Some(Groups { apply: group::<V, H>, takes: stencil::takes::<V> }),
            correlate: correlate::<V, H>,
            apply_row: apply_row::<V>,
            correlate_row: correlate_row::<V>,
        },
    }
    .checked()
}

/// 28 rows of one vector: 28 sums, one vector of b, and the elements of a broadcast by the
/// multiplication itself. Fewer rows in steps of 2, or of a neighbours.
///
/// # Safety
/// As [`Multiply`].
#[target_feature(enable = "avx512f")]
unsafe fn multiply_tall<V: Vector<Element: Element>>(job: &Multiply<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe {
        match (job.neighbours, job.count) {
            (7, 7) => body::multiply_neighbours::<V, 7, 7>(job),
            (7, 14) => body::multiply_neighbours::<V, 14, 7>(job),
            (7, 21) => body::multiply_neighbours::<V, 21, 7>(job),
            (7, 28) => body::multiply_neighbours::<V, 28, 7>(job),
            (5, 5) => body::multiply_neighbours::<V, 5, 5>(job),
            (5, 10) => body::multiply_neighbours::<V, 10, 5>(job),
            (5, 15) => body::multiply_neighbours::<V, 15, 5>(job),
            (5, 20) => body::multiply_neighbours::<V, 20, 5>(job),
            (5, 25) => body::multiply_neighbours::<V, 25, 5>(job),
            (4, 4) => body::multiply_neighbours::<V, 4, 4>(job),
            (4, 8) => body::multiply_neighbours::<V, 8, 4>(job),
            (4, 12) => body::multiply_neighbours::<V, 12, 4>(job),
            (4, 16) => body::multiply_neighbours::<V, 16, 4>(job),
            (4, 20) => body::multiply_neighbours::<V, 20, 4>(job),
            (4, 24) => body::multiply_neighbours::<V, 24, 4>(job),
            (4, 28) => body::multiply_neighbours::<V, 28, 4>(job),
            (3, 3) => body::multiply_neighbours::<V, 3, 3>(job),
            (3, 6) => body::multiply_neighbours::<V, 6, 3>(job),
            (3, 9) => body::multiply_neighbours::<V, 9, 3>(job),
            (3, 12) => body::multiply_neighbours::<V, 12, 3>(job),
            (3, 15) => body::multiply_neighbours::<V, 15, 3>(job),
            (3, 18) => body::multiply_neighbours::<V, 18, 3>(job),
            (3, 21) => body::multiply_neighbours::<V, 21, 3>(job),
            (3, 24) => body::multiply_neighbours::<V, 24, 3>(job),
            (3, 27) => body::multiply_neighbours::<V, 27, 3>(job),
            _ if job.fours_a => multiply_fours::<V>(job),
            _ => multiply_apart::<V>(job),
        }
    }
}

/// [`multiply_tall`] of rows that each read four steps side by side: in two parts, as the vectors of four terms need
/// registers, too.
///
/// # Safety
/// As [`Multiply`], whose `fours_a` is true.
#[target_feature(enable = "avx512f")]
unsafe fn multiply_fours<V: Vector<Element: Element>>(job: &Multiply<V::Element>) {
    let parts = if job.count > 14 { 2 } else { 1 };
    let most = job.count.div_ceil(parts).next_multiple_of(2);
    for first in (0..job.count).step_by(most) {
        let count = most.min(job.count - first);
        // SAFETY: the features are on, and the caller vouches for the job: these are some of its rows.
        unsafe {
            let (rows, tile) = (job.rows.add(first), job.tile.add(first * job.tile_pitch));
            let prefetch_lines = if first == 0 { job.prefetch_lines } else { 0 };
            let job = &Multiply { count, rows, tile, prefetch_lines, ..*job };
            match count.div_ceil(2) {
                1 => body::multiply_fours::<V, 2>(job),
                2 => body::multiply_fours::<V, 4>(job),
                3 => body::multiply_fours::<V, 6>(job),
                4 => body::multiply_fours::<V, 8>(job),
                5 => body::multiply_fours::<V, 10>(job),
                6 => body::multiply_fours::<V, 12>(job),
                _ => body::multiply_fours::<V, 14>(job),
            }
        }
    }
}

/// [`multiply_tall`] of rows that aren't in neighbours.
///
/// # Safety
/// As [`Multiply`].
#[target_feature(enable = "avx512f")]
unsafe fn multiply_apart<V: Vector<Element: Element>>(job: &Multiply<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe {
        match job.count.div_ceil(2) {
            1 => body::multiply_beside::<V, 2>(job),
            2 => body::multiply_beside::<V, 4>(job),
            3 => body::multiply_beside::<V, 6>(job),
            4 => body::multiply_beside::<V, 8>(job),
            5 => body::multiply_beside::<V, 10>(job),
            6 => body::multiply_beside::<V, 12>(job),
            7 => body::multiply_beside::<V, 14>(job),
            8 => body::multiply_beside::<V, 16>(job),
            9 => body::multiply_beside::<V, 18>(job),
            10 => body::multiply_beside::<V, 20>(job),
            11 => body::multiply_beside::<V, 22>(job),
            12 => body::multiply_beside::<V, 24>(job),
            13 => body::multiply_beside::<V, 26>(job),
            _ => body::multiply_beside::<V, 28>(job),
        }
    }
}

/// 14 rows of two vectors: 28 sums, two vectors of b, one of a. Fewer rows in steps of 2. Rows
/// evenly apart, such as the pixels of an image's row, need three pointers instead of 14, and 14
/// divides the rows of most of the images that networks make.
///
/// # Safety
/// As [`Multiply`].
#[target_feature(enable = "avx512f")]
unsafe fn multiply_pairs<V: Vector<Element: Element>>(job: &Multiply<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe {
        match job.count.div_ceil(2) {
            1 => body::multiply_even::<V, 2, 2>(job),
            2 => body::multiply_even::<V, 4, 2>(job),
            3 => body::multiply_even::<V, 6, 2>(job),
            4 => body::multiply_even::<V, 8, 2>(job),
            5 => body::multiply_even::<V, 10, 2>(job),
            6 => body::multiply_even::<V, 12, 2>(job),
            _ => body::multiply_even::<V, 14, 2>(job),
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
        match (job.vectors, job.packed_b) {
            (1, false) => body::multiply_rows::<V, 1, false>(job),
            (2, false) => body::multiply_rows::<V, 2, false>(job),
            (3, false) => body::multiply_rows::<V, 3, false>(job),
            (_, false) => body::multiply_rows::<V, 4, false>(job),
            (1, true) => body::multiply_rows::<V, 1, true>(job),
            (2, true) => body::multiply_rows::<V, 2, true>(job),
            (3, true) => body::multiply_rows::<V, 3, true>(job),
            (_, true) => body::multiply_rows::<V, 4, true>(job),
        }
    }
}

/// # Safety
/// As [`Stream`].
#[target_feature(enable = "avx512f")]
unsafe fn stream<V: Vector<Element: Element>>(job: &Stream<'_, V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { body::stream::<V, 4>(job) }
}

/// # Safety
/// As [`PackB`].
#[target_feature(enable = "avx512f")]
unsafe fn pack_b<V: Vector>(job: &PackB<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { body::pack_b::<V>(job) }
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
unsafe fn pack<V: Vector<Element: Element>>(job: &Pack<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { body::pack::<V>(job) }
}

/// # Safety
/// As [`Store`].
#[target_feature(enable = "avx512f")]
unsafe fn store<V: Vector<Element: Element>>(job: &Store<'_, V::Element>) {
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
/// As [`Transform`].
#[target_feature(enable = "avx512f")]
unsafe fn transform<V: Vector<Element: Element>>(job: &Transform<'_, V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { winograd::transform::<V>(job) }
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
