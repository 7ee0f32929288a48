//! Winograd's transforms: a tile of pixels, or of taps, into points and back, for vectors of channels.
//!
//! `maps` holds the 1-D algorithms. Here they are applied to both axes of a plane: to the columns of each row, and
//! then down each column of what that gave.

mod maps;
#[cfg(feature = "testing")]
pub(crate) mod tests;

use super::Epilogue;
use super::vector::{Task, Vector};
use crate::element::Element;
use core::marker::PhantomData;
use core::ops::Range;
use maps::{Algorithm, F1x1, F2x3, F2x5, F4x3};

/// Which algorithms the rows and the columns of a plane have, named after the outputs of a tile and the filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// 4x4 outputs of a 3x3 filter.
    F4x4,
    /// 2x2 outputs of a 3x3 filter.
    F2x2,
    /// 2x2 outputs of a 5x5 filter.
    F2x2Of5,
    /// 4x1 outputs of a 3x1 filter.
    F4x1,
    /// 1x4 outputs of a 1x3 filter.
    F1x4,
}

/// The sizes of an algorithm along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Outputs of a tile.
    pub(crate) outputs: usize,
    /// Taps of the filter.
    pub(crate) taps: usize,
}

impl Sizes {
    /// Inputs that a tile reads, and points.
    pub(crate) const fn points(self) -> usize {
        self.outputs + self.taps - 1
    }
}

impl Form {
    /// Every form.
    #[cfg(feature = "testing")]
    pub(crate) const ALL: [Form; 5] =
        [Form::F4x4, Form::F2x2, Form::F2x2Of5, Form::F4x1, Form::F1x4];

    /// The sizes along the rows' axis and the columns'.
    pub(crate) const fn sizes(self) -> [Sizes; 2] {
        const fn of(outputs: usize, taps: usize) -> Sizes {
            Sizes { outputs, taps }
        }
        match self {
            Form::F4x4 => [of(4, 3), of(4, 3)],
            Form::F2x2 => [of(2, 3), of(2, 3)],
            Form::F2x2Of5 => [of(2, 5), of(2, 5)],
            Form::F4x1 => [of(4, 3), of(1, 1)],
            Form::F1x4 => [of(1, 1), of(4, 3)],
        }
    }

    /// Points of a tile.
    pub(crate) const fn points(self) -> usize {
        let [rows, columns] = self.sizes();
        rows.points() * columns.points()
    }

    /// The largest factor, κ, between an error and that of a sum of the same products: of `|Aᵀ| (|G| |g| ∘ |Bᵀ| |d|)` by
    /// `|g| |d|`, where all elements of the tile and all taps are of one size, rounded up.
    pub(crate) const fn amplification(self) -> usize {
        match self {
            Form::F4x4 => 55,
            Form::F2x2 => 8,
            Form::F2x2Of5 => 41,
            Form::F4x1 | Form::F1x4 => 8,
        }
    }

    /// What weights are multiplied by, beside their map.
    pub(crate) fn scale(self) -> f64 {
        match self {
            Form::F4x4 => F4x3::SCALE * F4x3::SCALE,
            Form::F2x2 => F2x3::SCALE * F2x3::SCALE,
            Form::F2x2Of5 => F2x5::SCALE * F2x5::SCALE,
            Form::F4x1 | Form::F1x4 => F4x3::SCALE,
        }
    }
}

/// What is transformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Pixels that a tile reads, into points: `Bᵀ d B`.
    Input,
    /// Points into the pixels that a tile makes: `Aᵀ m A`.
    Output,
    /// Pixels that a tile made, into points: `A y Aᵀ`.
    GradOutput,
    /// Taps into points: `G g Gᵀ`.
    Weight,
    /// Points into taps: `Gᵀ u G`.
    GradWeight,
}

impl Stage {
    /// Rows and columns that are read, and that are written.
    pub(crate) const fn sizes(self, form: Form) -> [[usize; 2]; 2] {
        let [rows, columns] = form.sizes();
        let points = [rows.points(), columns.points()];
        let outputs = [rows.outputs, columns.outputs];
        let taps = [rows.taps, columns.taps];
        match self {
            Stage::Input => [points, points],
            Stage::Output => [points, outputs],
            Stage::GradOutput => [outputs, points],
            Stage::Weight => [taps, points],
            Stage::GradWeight => [points, taps],
        }
    }
}

/// One tile for `lanes` channels, which lie side by side: element `(i, j)` is read at `from + i * from_pitch[0] +
/// j * from_pitch[1]`, and written likewise.
///
/// Asked of the caller: all elements within `inside` (rows, columns) are good for `lanes` elements, those outside of it
/// are zeros and not read. The first rows and columns, as many as `wanted`, are ours: for `lanes` elements if the stage is
/// `Output` or `GradWeight`, else for whole vectors. Those of an `Output` are of the residual's destination, and initialised if
/// the epilogue accumulates; its bias has `lanes` elements.
pub(crate) struct Transform<'a, T> {
    pub(crate) form: Form,
    pub(crate) stage: Stage,
    pub(crate) lanes: usize,
    pub(crate) from: *const T,
    pub(crate) from_pitch: [isize; 2],
    pub(crate) inside: [Range<usize>; 2],
    pub(crate) to: *mut T,
    pub(crate) to_pitch: [usize; 2],
    pub(crate) wanted: [usize; 2],
    /// What weights and their gradients are multiplied by.
    pub(crate) scale: T,
    /// What happens to outputs; the channels of its bias are the lanes.
    pub(crate) epilogue: &'a Epilogue<'a, T>,
}

/// A stage of an algorithm, `I` values into `O`.
trait Map<const I: usize, const O: usize> {
    /// # Safety
    /// The caller runs with the features of the vector.
    unsafe fn map<V: Vector>(x: [V; I]) -> [V; O];
}

struct Input<A, const M: usize, const R: usize, const P: usize>(PhantomData<A>);
struct Output<A, const M: usize, const R: usize, const P: usize>(PhantomData<A>);
struct GradOutput<A, const M: usize, const R: usize, const P: usize>(PhantomData<A>);
struct Weight<A, const M: usize, const R: usize, const P: usize>(PhantomData<A>);
struct GradWeight<A, const M: usize, const R: usize, const P: usize>(PhantomData<A>);

impl<A: Algorithm<M, R, P>, const M: usize, const R: usize, const P: usize> Map<P, P>
    for Input<A, M, R, P>
{
    #[inline(always)]
    unsafe fn map<V: Vector>(x: [V; P]) -> [V; P] {
        // SAFETY: the caller runs with the features, here and below.
        unsafe { A::input(x) }
    }
}

impl<A: Algorithm<M, R, P>, const M: usize, const R: usize, const P: usize> Map<P, M>
    for Output<A, M, R, P>
{
    #[inline(always)]
    unsafe fn map<V: Vector>(x: [V; P]) -> [V; M] {
        // SAFETY: as above.
        unsafe { A::output(x) }
    }
}

impl<A: Algorithm<M, R, P>, const M: usize, const R: usize, const P: usize> Map<M, P>
    for GradOutput<A, M, R, P>
{
    #[inline(always)]
    unsafe fn map<V: Vector>(x: [V; M]) -> [V; P] {
        // SAFETY: as above.
        unsafe { A::grad_output(x) }
    }
}

impl<A: Algorithm<M, R, P>, const M: usize, const R: usize, const P: usize> Map<R, P>
    for Weight<A, M, R, P>
{
    #[inline(always)]
    unsafe fn map<V: Vector>(x: [V; R]) -> [V; P] {
        // SAFETY: as above.
        unsafe { A::weight(x) }
    }
}

impl<A: Algorithm<M, R, P>, const M: usize, const R: usize, const P: usize> Map<P, R>
    for GradWeight<A, M, R, P>
{
    #[inline(always)]
    unsafe fn map<V: Vector>(x: [V; P]) -> [V; R] {
        // SAFETY: as above.
        unsafe { A::grad_weight(x) }
    }
}

/// What is done with a result beside storing it.
const PLAIN: u8 = 0;
/// It is multiplied by the scale.
const SCALED: u8 = 1;
/// It has the epilogue.
const EPILOGUE: u8 = 2;

/// A [`Transform`] by one map for the rows' axis, of `I` values into `O`, and one for the columns', `J` into `Q`.
struct Planar<
    'a,
    V: Vector,
    A,
    B,
    const I: usize,
    const O: usize,
    const J: usize,
    const Q: usize,
    const THEN: u8,
> {
    job: &'a Transform<'a, V::Element>,
    maps: PhantomData<(V, A, B)>,
}

impl<V, A, B, const I: usize, const O: usize, const J: usize, const Q: usize, const THEN: u8> Task
    for Planar<'_, V, A, B, I, O, J, Q, THEN>
where
    V: Vector<Element: Element>,
    A: Map<I, O>,
    B: Map<J, Q>,
{
    #[inline(always)]
    unsafe fn run(self) {
        let job = self.job;
        let inside = job.inside[0] == (0..I) && job.inside[1] == (0..J);
        let whole = if inside && job.wanted == [O, Q] { job.lanes / V::LANES } else { 0 };
        // SAFETY: the caller vouches for the job; each vector but those that are looked at is whole, inside and wanted.
        unsafe {
            for v in 0..whole {
                self.vector::<false>(v * V::LANES, V::LANES);
            }
            for first in (whole * V::LANES..job.lanes).step_by(V::LANES) {
                self.vector::<true>(first, (job.lanes - first).min(V::LANES));
            }
        }
    }
}

impl<V, A, B, const I: usize, const O: usize, const J: usize, const Q: usize, const THEN: u8>
    Planar<'_, V, A, B, I, O, J, Q, THEN>
where
    V: Vector<Element: Element>,
    A: Map<I, O>,
    B: Map<J, Q>,
{
    /// `count` lanes from `first` on; where `LOOK`, some of them, or of the elements, may be missing.
    ///
    /// # Safety
    /// As [`Transform`]; the lanes are among the job's, and fill a vector unless `LOOK`.
    #[inline(always)]
    unsafe fn vector<const LOOK: bool>(&self, first: usize, count: usize) {
        let job = self.job;
        let [rows, columns] = &job.inside;
        // SAFETY: the caller vouches for every element that is inside, and for those that are wanted.
        unsafe {
            let zero = V::splat(V::Element::ZERO);
            let from = job.from.wrapping_add(first);
            let mut half = [[zero; Q]; I];
            for i in 0..I {
                let row = from.wrapping_offset(i as isize * job.from_pitch[0]);
                let mut values = [zero; J];
                for j in 0..J {
                    let at = row.wrapping_offset(j as isize * job.from_pitch[1]);
                    values[j] = match LOOK {
                        false => V::load(at),
                        true if rows.contains(&i) && columns.contains(&j) => {
                            V::load_first(at, count)
                        }
                        true => zero,
                    };
                }
                half[i] = B::map(values);
            }
            for q in 0..Q {
                let mut column = [zero; I];
                for i in 0..I {
                    column[i] = half[i][q];
                }
                let results = A::map(column);
                for o in 0..O {
                    if !LOOK || (o < job.wanted[0] && q < job.wanted[1]) {
                        let to = job.to.add(o * job.to_pitch[0] + q * job.to_pitch[1] + first);
                        self.store::<LOOK>(results[o], to, first, count);
                    }
                }
            }
        }
    }

    /// Stores the result of one element.
    ///
    /// # Safety
    /// As [`vector`](Self::vector); `to` is the element's place.
    #[inline(always)]
    unsafe fn store<const LOOK: bool>(
        &self,
        x: V,
        to: *mut V::Element,
        first: usize,
        count: usize,
    ) {
        let job = self.job;
        // SAFETY: the caller vouches for the place, and for the bias.
        unsafe {
            let mut x = x;
            if THEN == SCALED {
                x = x.mul_add(V::splat(job.scale), V::splat(V::Element::ZERO));
            }
            if THEN == EPILOGUE {
                if let Some(bias) = job.epilogue.bias {
                    let bias = bias.as_ptr().add(first);
                    let bias = if LOOK { V::load_first(bias, count) } else { V::load(bias) };
                    x = x.add(bias);
                }
                if let Some(epilogue) = job.epilogue.changes() {
                    x = epilogue.of(x, to, count);
                }
            }
            // Beside points, which are ours to whole vectors, there is nothing.
            let alone = matches!(job.stage, Stage::Output | Stage::GradWeight);
            if LOOK && alone { x.store_first(to, count) } else { x.store(to) }
        }
    }
}

/// Transforms a tile.
///
/// # Safety
/// As [`Transform`], and the caller runs with the features of the vector.
#[inline(always)]
pub(super) unsafe fn transform<V: Vector<Element: Element>>(job: &Transform<'_, V::Element>) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        match job.form {
            Form::F4x4 => of_stage::<V, F4x3, F4x3, _, _, _, _, _, _>(job),
            Form::F2x2 => of_stage::<V, F2x3, F2x3, _, _, _, _, _, _>(job),
            Form::F2x2Of5 => of_stage::<V, F2x5, F2x5, _, _, _, _, _, _>(job),
            Form::F4x1 => of_stage::<V, F4x3, F1x1, _, _, _, _, _, _>(job),
            Form::F1x4 => of_stage::<V, F1x1, F4x3, _, _, _, _, _, _>(job),
        }
    }
}

/// [`transform`] by one algorithm for each axis.
///
/// # Safety
/// As there.
#[inline(always)]
unsafe fn of_stage<
    V: Vector<Element: Element>,
    A: Algorithm<M, R, P>,
    B: Algorithm<N, S, Q>,
    const M: usize,
    const R: usize,
    const P: usize,
    const N: usize,
    const S: usize,
    const Q: usize,
>(
    job: &Transform<'_, V::Element>,
) {
    // SAFETY: the caller vouches for the job.
    unsafe {
        match job.stage {
            Stage::Input => {
                outlined::<V, Input<A, M, R, P>, Input<B, N, S, Q>, P, P, Q, Q, PLAIN>(job);
            }
            Stage::Output => {
                outlined::<V, Output<A, M, R, P>, Output<B, N, S, Q>, P, M, Q, N, EPILOGUE>(job);
            }
            Stage::GradOutput => {
                outlined::<V, GradOutput<A, M, R, P>, GradOutput<B, N, S, Q>, M, P, N, Q, PLAIN>(
                    job,
                );
            }
            Stage::Weight => {
                outlined::<V, Weight<A, M, R, P>, Weight<B, N, S, Q>, R, P, S, Q, SCALED>(job);
            }
            Stage::GradWeight => {
                outlined::<V, GradWeight<A, M, R, P>, GradWeight<B, N, S, Q>, P, R, Q, S, SCALED>(
                    job,
                );
            }
        }
    }
}

/// Runs the maps in a function of their own.
///
/// # Safety
/// As [`transform`].
#[inline(always)]
unsafe fn outlined<
    V,
    A,
    B,
    const I: usize,
    const O: usize,
    const J: usize,
    const Q: usize,
    const THEN: u8,
>(
    job: &Transform<'_, V::Element>,
) where
    V: Vector<Element: Element>,
    A: Map<I, O>,
    B: Map<J, Q>,
{
    // SAFETY: the caller vouches for the job.
    unsafe { V::outlined(Planar::<V, A, B, I, O, J, Q, THEN> { job, maps: PhantomData }) }
}
