//! Plain arrays, for any machine: the compiler turns the loops into the vectors it knows.

use super::body;
use super::stencil::{self, Stencils};
use super::vector::{Between, MAX_LANES, Vector, read, write};
use super::winograd;
use super::{Dots, Isa, Kernel, Kernels, Multiply, Proof};
use crate::element::Element;
use core::ops::Range;
use core::sync::atomic::{Ordering, compiler_fence};

/// f32 in fours: the width of SSE2, NEON and simd128.
pub(super) static F32: Kernels<f32> = kernels::<[f32; 4], _>(4);
/// f64 in pairs.
pub(super) static F64: Kernels<f64> = kernels::<[f64; 2], _>(2);

const fn kernels<V: Vector<Element = T>, T: Element>(lanes: usize) -> Kernels<T> {
    Kernels {
        _proof: Proof,
        isa: Isa::Portable,
        tall: Kernel {
            rows: 6,
            row_step: 1,
            neighbours: &[],
            fours: false,
            lanes: 2 * lanes,
            vector: lanes,
            block: 384,
            multiply: body::multiply_rows::<V, 2, false>,
            pack: body::pack::<V>,
            store: body::store::<V>,
            packed_b: None,
            stream: None,
            _proof: Proof,
        },
        // An odd shape, which shakes what is built on it.
        narrow: None,
        wide: Kernel {
            rows: 3,
            row_step: 1,
            neighbours: &[],
            fours: false,
            lanes: 3 * lanes,
            vector: lanes,
            block: 256,
            multiply: multiply_wide::<V>,
            pack: body::pack::<V>,
            store: body::store::<V>,
            packed_b: None,
            stream: Some(body::stream::<V, 3>),
            _proof: Proof,
        },
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

/// # Safety
/// As [`Multiply`].
unsafe fn multiply_wide<V: Vector<Element: Element>>(job: &Multiply<V::Element>) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        match job.vectors {
            1 => body::multiply_rows::<V, 1, false>(job),
            2 => body::multiply_rows::<V, 2, false>(job),
            _ => body::multiply_rows::<V, 3, false>(job),
        }
    }
}

/// The elements `low..high` of a vector whose lanes are `step` apart at `p`, zeros in the others. A
/// function of its own, as all that isn't a whole vector: inlined into every form of every loop, these
/// few lines would be half of the library's code.
///
/// # Safety
/// `p` is good for these elements.
#[inline(never)]
unsafe fn load_some<T: Element, const L: usize>(p: *const T, between: Between) -> [T; L] {
    // SAFETY: the caller vouches for these elements.
    unsafe { between.load(p) }
}

/// Writes the first `n <= L` elements of a vector.
///
/// # Safety
/// `p` is good for them.
#[inline(never)]
unsafe fn store_some<T: Element, const L: usize>(v: [T; L], p: *mut T, n: usize) {
    for (i, &v) in v.iter().take(n).enumerate() {
        // SAFETY: the caller vouches for `n` elements at `p`.
        unsafe { *p.add(i) = v }
    }
}

// SAFETY: each method reads and writes the elements of its arrays and those that it names.
unsafe impl<T: Element, const L: usize> Vector for [T; L] {
    type Element = T;
    const LANES: usize = L;
    const FEW_FORMS: bool = true;
    type Mask = Between;
    type Narrow = Self;
    type Places = [u8; MAX_LANES];

    #[inline(always)]
    fn in_order() {
        compiler_fence(Ordering::SeqCst);
    }

    #[inline(always)]
    unsafe fn splat(x: T) -> Self {
        [x; L]
    }

    #[inline(always)]
    unsafe fn load(p: *const T) -> Self {
        // SAFETY: the caller vouches for `L` elements at `p`.
        unsafe { read(p) }
    }

    #[inline(always)]
    unsafe fn store(self, p: *mut T) {
        // SAFETY: the caller vouches for `L` elements at `p`.
        unsafe { write(p, self) }
    }

    #[inline(always)]
    unsafe fn load_first(p: *const T, n: usize) -> Self {
        if n == L {
            // SAFETY: the caller vouches for `n` elements at `p`.
            return unsafe { Self::load(p) };
        }
        // SAFETY: the caller vouches for `n` elements at `p`.
        unsafe { load_some(p, Between { step: 1, low: 0, high: n }) }
    }

    #[inline(always)]
    unsafe fn mask(between: Between, _row: Range<isize>) -> Between {
        between
    }

    #[inline(always)]
    unsafe fn load_masked<const STEP: usize>(p: *const T, between: Between) -> Self {
        // SAFETY: the caller vouches for these lanes.
        unsafe {
            if between.step == 1 && between.low == 0 && between.high == L {
                return Self::load(p);
            }
            load_some(p, between)
        }
    }

    #[inline(always)]
    unsafe fn store_first(self, p: *mut T, n: usize) {
        // SAFETY: the caller vouches for `n` elements at `p`.
        unsafe { if n == L { self.store(p) } else { store_some(self, p, n) } }
    }

    #[inline(always)]
    unsafe fn add(mut self, other: Self) -> Self {
        for i in 0..L {
            self[i] += other[i];
        }
        self
    }

    #[inline(always)]
    unsafe fn mul_add(self, b: Self, mut c: Self) -> Self {
        // Rounded twice: without the instruction, `mul_add` would be a call per lane.
        for i in 0..L {
            c[i] += self[i] * b[i];
        }
        c
    }

    #[inline(always)]
    unsafe fn clamp(mut self, low: Self, high: Self) -> Self {
        for i in 0..L {
            self[i] = self[i].clamp_to(low[i], high[i]);
        }
        self
    }

    #[inline(always)]
    unsafe fn places(lanes: [u8; MAX_LANES]) -> Self::Places {
        lanes
    }

    #[inline(always)]
    unsafe fn permute(self, places: Self::Places) -> Self {
        let mut permuted = self;
        for i in 0..L {
            // The remainder spares a check.
            permuted[i] = self[usize::from(places[i]) % L];
        }
        permuted
    }

    #[inline(always)]
    unsafe fn transpose(row: impl Fn(usize) -> *const T, width: usize, to: *mut T, step: isize) {
        for i in 0..L {
            for j in 0..width {
                // SAFETY: the caller vouches for `width` elements at each of `L` pointers and
                // for `L` elements at each of `width` rows.
                unsafe { *to.offset(j as isize * step).add(i) = *row(i).add(j) }
            }
        }
    }
}
