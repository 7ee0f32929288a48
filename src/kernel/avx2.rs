//! AVX2 with FMA: 8 lanes of f32, 4 of f64, 16 registers.

use super::body;
use super::stencil::{self, Apply, ApplyRow, Correlate, CorrelateRow, Group, Groups, Stencils};
use super::vector::Vector;
use super::winograd::{self, Transform};
use super::{
    CopyRows, Dot, Dots, Isa, Kernel, Kernels, Multiply, Pack, PackB, PackedB, Proof, Store, Stream,
};
use crate::element::Element;
use core::arch::x86_64::*;

mod registers;

/// Whether this machine has AVX2 and FMA: the proof that the kernels below may be called.
pub(super) fn detected() -> bool {
    #[cfg(feature = "std")]
    return std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("fma");
    #[cfg(not(feature = "std"))]
    cfg!(all(target_feature = "avx2", target_feature = "fma"))
}

/// Hand out only if [`detected`].
pub(super) static F32: Kernels<f32> = kernels::<__m256, _>(8);
/// Hand out only if [`detected`].
pub(super) static F64: Kernels<f64> = kernels::<__m256d, _>(4);

const fn kernels<V: Vector<Element = T>, T: Element>(lanes: usize) -> Kernels<T> {
    Kernels {
        _proof: Proof,
        isa: Isa::Avx2,
        tall: tile::<V, T>(lanes),
        narrow: Some(Kernel {
            rows: 10,
            lanes,
            multiply: multiply_narrow::<V>,
            pack: pack::<V>,
            packed_b: None,
            stream: None,
            _proof: Proof,
            ..tile::<V, T>(lanes)
        }),
        wide: tile::<V, T>(lanes),
        dots: Dots { columns: body::DOTS_IN_16, sum: dots::<V>, _proof: Proof },
        copy: copy::<V>,
        transform: transform::<V>,
        stencils: Stencils {
            lanes: V::LANES,
            apply: apply::<V>,
            group: Some(Groups { apply: group::<V>, takes: stencil::takes::<V> }),
            correlate: correlate::<V>,
            apply_row: apply_row::<V>,
            correlate_row: correlate_row::<V>,
        },
    }
    .checked()
}

/// 6 rows of two vectors, whichever operand the vectors are of: 12 sums, two vectors of b, one of a.
/// 4 rows of three need every register there is: the compiler spills a sum, whose next product waits for it.
const fn tile<V: Vector<Element = T>, T: Element>(lanes: usize) -> Kernel<T> {
    Kernel {
        rows: 6,
        row_step: 1,
        neighbours: &[],
        fours: false,
        lanes: 2 * lanes,
        vector: lanes,
        // Channels first, few of the elements that tiles read share a line: 24 KiB of b leave no room for
        // them.
        block: 192,
        multiply: multiply::<V>,
        pack: pack::<V>,
        store: store::<V>,
        // Terms that lie a plane of the image apart cost a part of a tile's time; a copied panel costs less where there
        // are several tiles of rows.
        packed_b: Some(PackedB {
            pack_b: pack_b::<V>,
            by_lane: false,
            rows_of_one: 6,
            fewest: [2, 3],
            _proof: Proof,
        }),
        stream: Some(stream::<V>),
        _proof: Proof,
    }
}

/// Up to 6 rows of one vector or two.
///
/// # Safety
/// As [`Multiply`].
#[target_feature(enable = "avx2,fma")]
unsafe fn multiply<V: Vector<Element: Element>>(job: &Multiply<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe {
        match (job.vectors, job.packed_b) {
            (1, false) => body::multiply_rows::<V, 1, false>(job),
            (_, false) => body::multiply_rows::<V, 2, false>(job),
            (1, true) => body::multiply_rows::<V, 1, true>(job),
            (_, true) => body::multiply_rows::<V, 2, true>(job),
        }
    }
}

/// Up to 10 rows of one vector, each with a register for its pointer.
///
/// # Safety
/// As [`Multiply`].
#[target_feature(enable = "avx2,fma")]
unsafe fn multiply_narrow<V: Vector<Element: Element>>(job: &Multiply<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { body::multiply_narrow::<V>(job) }
}

/// # Safety
/// As [`Stream`].
#[target_feature(enable = "avx2,fma")]
unsafe fn stream<V: Vector<Element: Element>>(job: &Stream<'_, V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { body::stream::<V, 2>(job) }
}

/// # Safety
/// As [`PackB`].
#[target_feature(enable = "avx2,fma")]
unsafe fn pack_b<V: Vector>(job: &PackB<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { body::pack_b::<V>(job) }
}

/// # Safety
/// As [`Dot`].
#[target_feature(enable = "avx2,fma")]
unsafe fn dots<V: Vector>(job: &Dot<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { body::dots_in_16::<V>(job) }
}

/// # Safety
/// As [`Pack`].
#[target_feature(enable = "avx2,fma")]
unsafe fn pack<V: Vector<Element: Element>>(job: &Pack<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { body::pack::<V>(job) }
}

/// # Safety
/// As [`Store`].
#[target_feature(enable = "avx2,fma")]
unsafe fn store<V: Vector<Element: Element>>(job: &Store<'_, V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { body::store::<V>(job) }
}

/// # Safety
/// As [`CopyRows`].
#[target_feature(enable = "avx2,fma")]
unsafe fn copy<V: Vector<Element: Element>>(job: &CopyRows<V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { body::copy_rows::<V>(job) }
}

/// # Safety
/// As [`Transform`].
#[target_feature(enable = "avx2,fma")]
unsafe fn transform<V: Vector<Element: Element>>(job: &Transform<'_, V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { winograd::transform::<V>(job) }
}

/// # Safety
/// As [`Apply`].
#[target_feature(enable = "avx2,fma")]
unsafe fn apply<V: Vector<Element: Element>>(job: &Apply<'_, V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { stencil::apply::<V>(job) }
}

/// # Safety
/// As [`Group`].
#[target_feature(enable = "avx2,fma")]
unsafe fn group<V: Vector>(job: &Group<'_, V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { stencil::group::<V>(job) }
}

/// # Safety
/// As [`Correlate`].
#[target_feature(enable = "avx2,fma")]
unsafe fn correlate<V: Vector<Element: Element>>(job: &Correlate<'_, V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { stencil::correlate::<V>(job) }
}

/// # Safety
/// As [`ApplyRow`].
#[target_feature(enable = "avx2,fma")]
unsafe fn apply_row<V: Vector<Element: Element>>(job: &ApplyRow<'_, V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { stencil::apply_row::<V>(job) }
}

/// # Safety
/// As [`CorrelateRow`].
#[target_feature(enable = "avx2,fma")]
unsafe fn correlate_row<V: Vector<Element: Element>>(job: &CorrelateRow<'_, V::Element>) {
    // SAFETY: the features are on, and the caller vouches for the job.
    unsafe { stencil::correlate_row::<V>(job) }
}
