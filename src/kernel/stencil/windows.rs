//! Where the taps of a row meet the lanes of a vector of outputs, and how such a vector is stored.

use super::Stencil;
use crate::axis::inside;
use crate::element::Element;
use crate::kernel::Epilogue;
use crate::kernel::vector::{Between, MAX_LANES, Vector};

/// The mask of no lane.
pub(super) const NO_LANES: Between = Between { step: 1, low: 0, high: 0 };

/// Where one tap of the innermost axis meets the lanes of a vector of outputs: the same for every
/// row, so it is found once.
#[derive(Clone, Copy)]
pub(super) struct Window<V: Vector> {
    /// The source element of lane 0, perhaps in the padding.
    pub(super) first: isize,
    /// The lanes that meet the source.
    pub(super) mask: V::Mask,
}

impl<V: Vector> Window<V> {
    /// For the outputs `x..x + count`; `STEP` is the stride where that is 1 or 2, else 0.
    ///
    /// # Safety
    /// The caller runs with the vector's target features.
    #[inline(always)]
    pub(super) unsafe fn new<const STEP: usize>(
        s: &Stencil,
        x: usize,
        count: usize,
        tap: usize,
    ) -> Self {
        let (first, between) = Self::meet::<STEP>(s, x, count, tap);
        let row = first.wrapping_neg()..(s.walks[2].source as isize).wrapping_sub(first);
        // SAFETY: the caller runs with the features.
        Self { first, mask: unsafe { V::mask(between, row) } }
    }

    /// The source element of lane 0, and the lanes that meet the source.
    #[inline(always)]
    pub(super) fn meet<const STEP: usize>(
        s: &Stencil,
        x: usize,
        count: usize,
        tap: usize,
    ) -> (isize, Between) {
        let step = if STEP > 0 { STEP } else { s.walks[2].stride };
        let first = s.walks[2].with_stride(step).at(x, tap);
        let met = inside(first, step, count, s.walks[2].source);
        (first, Between { step, low: met.start, high: met.end })
    }

    /// Whether all lanes meet the source, side by side: then a window needs no mask.
    #[inline(always)]
    pub(super) fn is_whole<const STEP: usize>(
        s: &Stencil,
        x: usize,
        count: usize,
        tap: usize,
    ) -> bool {
        let (_, Between { step, low, high }) = Self::meet::<STEP>(s, x, count, tap);
        step == 1 && low == 0 && high == V::LANES
    }

    /// One that [is whole](Self::is_whole), for the outputs from `x` on.
    ///
    /// # Safety
    /// The caller runs with the vector's target features.
    #[inline(always)]
    pub(super) unsafe fn whole<const STEP: usize>(s: &Stencil, x: usize, tap: usize) -> Self {
        let (first, _) = Self::meet::<STEP>(s, x, V::LANES, tap);
        // SAFETY: the caller runs with the features.
        Self { first, mask: unsafe { V::mask(NO_LANES, 0..0) } }
    }

    /// The lanes that meet a row of the source, zeros in the others.
    ///
    /// # Safety
    /// `row` is a row of the stencil's source, `STEP` that of `new`, and the window is whole if
    /// `WHOLE`.
    #[inline(always)]
    pub(super) unsafe fn load<const STEP: usize, const WHOLE: bool>(
        &self,
        row: *const V::Element,
    ) -> V {
        let from = row.wrapping_offset(self.first);
        // SAFETY: the lanes of the mask are elements of the row.
        unsafe { if WHOLE { V::load(from) } else { V::load_masked::<STEP>(from, self.mask) } }
    }
}

/// The windows of `COLS` neighbouring taps for a vector of outputs, of one stencil or of two whose
/// outputs alternate. Taps that a filter lacks meet nothing.
pub(super) struct Windows<V: Vector, const COMBS: usize, const COLS: usize> {
    pub(super) each: [[Window<V>; COLS]; COMBS],
    /// All are [whole](Window::is_whole), and have no masks.
    pub(super) whole: bool,
}

impl<V: Vector, const COMBS: usize, const COLS: usize> Windows<V, COMBS, COLS> {
    /// For the outputs from `x` on, and the taps from `tap` on.
    ///
    /// # Safety
    /// The caller runs with the vector's target features.
    #[inline(always)]
    pub(super) unsafe fn new<const STEP: usize>(
        combs: [&Stencil; COMBS],
        x: usize,
        tap: usize,
    ) -> Self {
        // Loops, not closures: those are compiled without the caller's target features.
        // Where the stride isn't known to be 1 windows are read by their masks, whole or not.
        let mut whole = const { STEP == 1 };
        for s in combs {
            let count = s.walks[2].outputs.saturating_sub(x).min(V::LANES);
            for col in tap..tap + COLS {
                let count = if col < s.walks[2].taps { count } else { 0 };
                whole &= Window::<V>::is_whole::<STEP>(s, x, count, col);
            }
        }
        // SAFETY: as the caller says.
        unsafe {
            let mut each = [[Window::whole::<STEP>(combs[0], x, 0); COLS]; COMBS];
            for (s, windows) in combs.iter().zip(&mut each) {
                let count = s.walks[2].outputs.saturating_sub(x).min(V::LANES);
                for (col, window) in (tap..).zip(windows) {
                    // A mask is made only where it is read: that takes longer than a row of 3 taps.
                    *window = if whole {
                        Window::whole::<STEP>(s, x, col)
                    } else {
                        let count = if col < s.walks[2].taps { count } else { 0 };
                        Window::new::<STEP>(s, x, count, col)
                    };
                }
            }
            Self { each, whole }
        }
    }
}

/// The windows at the ends of a row, where taps meet padding: they are the same in all rows and
/// planes, so they are found once.
pub(super) struct Ends<V: Vector, const COMBS: usize, const COLS: usize> {
    pub(super) last: usize,
    pub(super) windows: [Windows<V, COMBS, COLS>; 2],
}

impl<V: Vector, const COMBS: usize, const COLS: usize> Ends<V, COMBS, COLS> {
    /// For the taps from `tap` on.
    ///
    /// # Safety
    /// The caller runs with the vector's target features.
    #[inline(always)]
    pub(super) unsafe fn new<const STEP: usize>(combs: [&Stencil; COMBS], tap: usize) -> Self {
        let last = combs[0].walks[2].outputs.saturating_sub(1) / V::LANES * V::LANES;
        // SAFETY: as the caller says.
        let windows = unsafe {
            [Windows::new::<STEP>(combs, 0, tap), Windows::new::<STEP>(combs, last, tap)]
        };
        Self { last, windows }
    }

    /// Those for the outputs from `x` on, if it is an end.
    #[inline(always)]
    pub(super) fn at(&self, x: usize) -> Option<&Windows<V, COMBS, COLS>> {
        if x == 0 {
            Some(&self.windows[0])
        } else if x == self.last {
            Some(&self.windows[1])
        } else {
            None
        }
    }
}

/// Stores the first `count` lanes of a sum, `pitch` apart; without an epilogue, as they are. An epilogue has no
/// residual:
/// [`Stencils`] add it to what was stored.
///
/// # Safety
/// `to` is good for these elements.
#[inline(always)]
pub(super) unsafe fn write<V: Vector>(
    epilogue: Option<&Epilogue<'_, V::Element>>,
    mut sum: V,
    to: *mut V::Element,
    count: usize,
    pitch: usize,
) {
    // SAFETY: the caller promises `count` elements.
    unsafe {
        if pitch != 1 {
            return write_apart(epilogue, sum, to, count, pitch);
        }
        if let Some(epilogue) = epilogue {
            sum = epilogue.of_sum(sum, to, count);
        }
        sum.store_first(to, count);
    }
}

/// [`write`] one element after the other.
///
/// # Safety
/// As `write`.
#[cold]
pub(super) unsafe fn write_apart<V: Vector>(
    epilogue: Option<&Epilogue<'_, V::Element>>,
    sum: V,
    to: *mut V::Element,
    count: usize,
    pitch: usize,
) {
    let epilogue = epilogue.copied().unwrap_or(Epilogue::new(false));
    const { V::FITS };
    let mut lanes = [V::Element::ZERO; MAX_LANES];
    // SAFETY: no vector has more than `MAX_LANES` lanes; the caller promises `to`.
    unsafe {
        sum.store(lanes.as_mut_ptr());
        for (lane, &sum) in lanes[..count].iter().enumerate() {
            epilogue.store_one(sum, to.add(lane * pitch));
        }
    }
}

/// `[first, held[0], held[1], ..]`: what a walk down the rows holds, a row further.
#[inline(always)]
pub(super) fn shifted<V: Copy, const N: usize>(held: [V; N], first: V) -> [V; N] {
    let mut moved = [first; N];
    moved[1..].copy_from_slice(&held[..N - 1]);
    moved
}
