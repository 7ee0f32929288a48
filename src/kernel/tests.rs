//! Every kernel of every ISA of this machine by itself: what it computes, and what it touches.

#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::{
    CopyRows, Epilogue, Isa, Kernel, Kernels, Multiply, PackB, PackedB, Residual, Store, kernels_of,
};
use crate::element::{Element, ForElement};
use crate::testing::{Unit, nan};
use alloc::vec;
use alloc::vec::Vec;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub(crate) const TESTS: &[Unit] = &[
    ("kernel::a_times_identity_is_a", a_times_identity_is_a),
    ("kernel::rows_side_by_side_need_one_pointer", rows_side_by_side_need_one_pointer),
    ("kernel::terms_in_fours_need_one_pointer", terms_in_fours_need_one_pointer),
    ("kernel::packed_panels_give_the_same_sums", packed_panels_give_the_same_sums),
    ("kernel::rows_are_copied_with_zeros_round_them", rows_are_copied_with_zeros_round_them),
    ("kernel::tiles_are_stored_where_they_belong", tiles_are_stored_where_they_belong),
    #[cfg(unix)]
    ("kernel::vectors::portable", vectors::portable),
    #[cfg(all(unix, target_arch = "aarch64", target_feature = "neon"))]
    ("kernel::vectors::neon", vectors::neon),
    #[cfg(all(unix, target_arch = "x86_64"))]
    ("kernel::vectors::avx2", vectors::avx2),
    #[cfg(all(unix, target_arch = "x86_64"))]
    ("kernel::vectors::avx512", vectors::avx512),
];

/// [`others`].
struct Others;

impl ForElement for Others {
    type Value<T: 'static> = Option<&'static Kernels<T>>;

    fn f32(self) -> Option<&'static Kernels<f32>> {
        #[cfg(target_arch = "x86_64")]
        return avx512::detected().then(avx512::other_f32);
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    fn f64(self) -> Option<&'static Kernels<f64>> {
        #[cfg(target_arch = "x86_64")]
        return avx512::detected().then(avx512::other_f64);
        #[cfg(not(target_arch = "x86_64"))]
        None
    }
}

/// Kernels that this machine can run but has better ones for, of the same ISA.
pub(crate) fn others<T: Element>() -> Option<&'static Kernels<T>> {
    T::choose(Others)
}

pub(super) fn all<T: Element>() -> impl Iterator<Item = &'static Kernels<T>> {
    Isa::ALL.iter().copied().filter_map(kernels_of).chain(others())
}

/// The kernels of every ISA of this machine, and whether they are wide: then tiles may have fewer vectors, and
/// b may lie as it likes; for the others it is packed.
pub(crate) fn kernels<T: Element>() -> impl Iterator<Item = (Isa, &'static Kernel<T>, bool)> {
    all().flat_map(|Kernels { isa, tall, narrow, wide, .. }| {
        let tall = narrow.iter().chain([tall]).map(|kernel| (*isa, kernel, false));
        tall.chain([(*isa, wide, true)])
    })
}

pub(crate) fn number<T: Element>(rng: &mut SmallRng) -> T {
    T::from_f64(f64::from(rng.random_range(-4..=4)))
}

fn same<T: Element>(a: T, b: T) -> bool {
    a == b || (a.into().is_nan() && b.into().is_nan())
}

/// `A * I = A`, onto a tile that holds something and onto one that doesn't, for every number of
/// rows and vectors: every element is where it belongs, none is beyond the tile.
fn check_identity<T: Element>() {
    for (isa, kernel, fewer) in kernels::<T>() {
        let whole = kernel.lanes / kernel.vector;
        let least = if fewer { 1 } else { whole };
        for vectors in least..=whole {
            let lanes = vectors * kernel.vector;
            let a: Vec<T> = (0..kernel.rows * lanes).map(|i| T::from_f64(i as f64 + 1.0)).collect();
            let mut b = vec![T::ZERO; lanes * lanes];
            (0..lanes).for_each(|i| b[i * lanes + i] = T::ONE);
            let rows: Vec<u32> = (0..kernel.rows).map(|r| (r * lanes) as u32).collect();
            let steps_a: Vec<u32> = (0..lanes as u32).rev().collect();
            let steps_b: Vec<u32> = steps_a.iter().map(|&i| i * lanes as u32).collect();
            for count in 1..=kernel.rows {
                for accumulate in [false, true] {
                    let before = if accumulate { T::ONE } else { nan() };
                    let mut tile = vec![before; kernel.rows * lanes + 1];
                    let job = Multiply {
                        count,
                        vectors,
                        a: a.as_ptr(),
                        rows: rows.as_ptr(),
                        neighbours: 1,
                        steps_a: steps_a.as_ptr(),
                        beside_a: false,
                        fours_a: false,
                        b: b.as_ptr(),
                        steps_b: steps_b.as_ptr(),
                        packed_b: false,
                        k: lanes,
                        tile: tile.as_mut_ptr(),
                        tile_pitch: lanes,
                        accumulate,
                        prefetch: a.as_ptr(),
                        prefetch_pitch: 0,
                        prefetch_lines: 0,
                        ahead: a.as_ptr(),
                        ahead_step: 0,
                    };
                    // SAFETY: `rows` rows of a and `lanes` of b have `lanes` elements; the tile
                    // has one more than the kernel may write.
                    unsafe { (kernel.multiply)(&job) };
                    let old = if accumulate { 1.0 } else { 0.0 };
                    for (i, &got) in tile[..count * lanes].iter().enumerate() {
                        assert_eq!(got.into(), i as f64 + 1.0 + old, "{isa}, {count} x {lanes}");
                    }
                    assert!(same(tile[kernel.rows * lanes], before), "{isa}, {count} x {lanes}");
                }
            }
        }
    }
}

fn a_times_identity_is_a() {
    check_identity::<f32>();
    check_identity::<f64>();
}

/// Rows that lie side by side, all of them or in neighbours, or evenly apart, are summed as others are, and so are those
/// that nearly do: two of them are one.
fn check_beside<T: Element>() {
    let mut rng = SmallRng::seed_from_u64(8);
    for (isa, kernel, _) in kernels::<T>() {
        let (k, vectors) = (37, kernel.lanes / kernel.vector);
        // Not an element more than the rows have.
        let a: Vec<T> = (0..3 * k).map(|_| number(&mut rng)).collect();
        let b: Vec<T> = (0..k * kernel.lanes).map(|_| number(&mut rng)).collect();
        let apart = (1..=kernel.rows).filter(|count| count % kernel.row_step == 0);
        let neighbours = kernel.neighbours.iter().flat_map(|&[neighbours, most]| {
            (neighbours..=most).step_by(neighbours).map(move |count| (count, neighbours))
        });
        let apart = apart.flat_map(|count| [(count, 1, 1), (count, 1, 2)]);
        let neighbours = neighbours.map(|(count, neighbours)| (count, neighbours, 1));
        for (count, neighbours, pitch) in apart.chain(neighbours) {
            let most = a.len() - count * pitch;
            let steps_a: Vec<u32> =
                (0..k).map(|t| if t == 0 { most } else { 7 * t % most } as u32).collect();
            let steps_b: Vec<u32> = (0..k).map(|t| (t * kernel.lanes) as u32).collect();
            let row = |r: usize| (r * pitch) as u32;
            let rows: Vec<u32> = (0..count).map(row).collect();
            let twice = |at: usize| (0..count).map(|r| row(r - usize::from(r >= at))).collect();
            // The last of a neighbours, and the first of the next.
            let near = (1..count).filter(|at| at % neighbours == 0).map(twice);
            for rows in core::iter::once(rows.clone()).chain(near) {
                let mut tile = vec![nan::<T>(); kernel.rows * kernel.lanes];
                let job = Multiply {
                    count,
                    vectors,
                    a: a.as_ptr(),
                    rows: rows.as_ptr(),
                    neighbours,
                    steps_a: steps_a.as_ptr(),
                    beside_a: false,
                    fours_a: false,
                    b: b.as_ptr(),
                    steps_b: steps_b.as_ptr(),
                    packed_b: false,
                    k,
                    tile: tile.as_mut_ptr(),
                    tile_pitch: kernel.lanes,
                    accumulate: false,
                    prefetch: a.as_ptr(),
                    prefetch_pitch: 0,
                    prefetch_lines: 0,
                    ahead: a.as_ptr(),
                    ahead_step: 0,
                };
                // SAFETY: every row of a has an element at every step, b has `lanes` at each.
                unsafe { (kernel.multiply)(&job) };
                for (r, lane) in (0..count).flat_map(|r| (0..kernel.lanes).map(move |l| (r, l))) {
                    let product = |t: usize| {
                        let at = (rows[r] + steps_a[t]) as usize;
                        a[at].into() * b[t * kernel.lanes + lane].into()
                    };
                    let expected: f64 = (0..k).map(product).sum();
                    let got = tile[r * kernel.lanes + lane].into();
                    assert_eq!(got, expected, "{isa}: {count} rows, row {r}, lane {lane}");
                }
            }
        }
    }
}

fn rows_side_by_side_need_one_pointer() {
    check_beside::<f32>();
    check_beside::<f64>();
}

/// Terms of which each four follow each other are summed as others are, whatever is left after the last four.
fn check_fours<T: Element>() {
    let mut rng = SmallRng::seed_from_u64(11);
    for (isa, kernel, _) in kernels::<T>() {
        for (count, k) in (1..=kernel.rows).flat_map(|count| [3, 4, 13, 38].map(|k| (count, k))) {
            let a: Vec<T> = (0..200).map(|_| number(&mut rng)).collect();
            let b: Vec<T> = (0..k * kernel.lanes).map(|_| number(&mut rng)).collect();
            let four = |_| rng.random_range(0..=96).min(96 - 4);
            let firsts: Vec<u32> = (0..k.div_ceil(4)).map(four).collect();
            let steps_a: Vec<u32> = (0..k).map(|t| firsts[t / 4] + t as u32 % 4).collect();
            let steps_b: Vec<u32> = (0..k).map(|t| (t * kernel.lanes) as u32).collect();
            let rows: Vec<u32> = (0..count).map(|_| rng.random_range(0..100)).collect();
            let accumulate = count % 2 == 0;
            let before = if accumulate { T::ONE } else { nan() };
            let mut tile = vec![before; kernel.rows * kernel.lanes];
            let job = Multiply {
                count,
                vectors: kernel.lanes / kernel.vector,
                a: a.as_ptr(),
                rows: rows.as_ptr(),
                steps_a: steps_a.as_ptr(),
                fours_a: true,
                b: b.as_ptr(),
                steps_b: steps_b.as_ptr(),
                k,
                tile: tile.as_mut_ptr(),
                tile_pitch: kernel.lanes,
                accumulate,
                ..Multiply::IDLE
            };
            // SAFETY: every row of a has an element at every step, b has `lanes` at each.
            unsafe { (kernel.multiply)(&job) };
            for (r, lane) in (0..count).flat_map(|r| (0..kernel.lanes).map(move |l| (r, l))) {
                let product = |t: usize| {
                    a[(rows[r] + steps_a[t]) as usize].into() * b[t * kernel.lanes + lane].into()
                };
                let old = if accumulate { 1.0 } else { 0.0 };
                let expected = (0..k).map(product).sum::<f64>() + old;
                let got = tile[r * kernel.lanes + lane].into();
                assert_eq!(got, expected, "{isa}: {count} rows, {k} terms, row {r}, lane {lane}");
            }
        }
    }
}

fn terms_in_fours_need_one_pointer() {
    check_fours::<f32>();
    check_fours::<f64>();
}

/// A packed_b panel is what was at each step, and meets terms side by side in a tile at any pitch,
/// of which nothing else is touched: the same sums as through the tables.
fn check_packed_panels<T: Element>() {
    let mut rng = SmallRng::seed_from_u64(10);
    for (isa, kernel, _) in kernels::<T>() {
        let Some(&PackedB { pack_b, rows_of_one, .. }) = kernel.packed_b.as_ref() else {
            continue;
        };
        let whole = kernel.lanes / kernel.vector;
        let tiles = (1..=kernel.rows).flat_map(|rows| (1..=whole).map(move |n| (rows, n)));
        for (count, vectors) in tiles.chain((kernel.rows + 1..=rows_of_one).map(|rows| (rows, 1))) {
            for k in (1..=3 * kernel.vector + 1).chain([8 * kernel.vector - 1]) {
                let lanes = vectors * kernel.vector;
                let first = rng.random_range(0..4);
                let a: Vec<T> = (0..count * (k + first)).map(|_| number(&mut rng)).collect();
                let from: Vec<T> = (0..3 * k + lanes).map(|_| number(&mut rng)).collect();
                let rows: Vec<u32> = (0..count).map(|r| (r * (k + first)) as u32).collect();
                let steps_a: Vec<u32> = (first as u32..(first + k) as u32).collect();
                let steps_b: Vec<u32> =
                    (0..k).map(|_| rng.random_range(0..=3 * k) as u32).collect();
                let mut b = vec![nan::<T>(); k * lanes + 1];
                let job = PackB {
                    from: from.as_ptr(),
                    steps: steps_b.as_ptr(),
                    k,
                    vectors,
                    to: b.as_mut_ptr(),
                };
                // SAFETY: `from` has `lanes` elements at each of `k` steps, `b` room for all.
                unsafe { pack_b(&job) };
                assert!(b.pop().is_some_and(|x| x.into().is_nan()), "{isa}: past the panel");
                for (t, got) in b.chunks(lanes).enumerate() {
                    assert_eq!(got, &from[steps_b[t] as usize..][..lanes], "{isa}: term {t}");
                }
                let tile_pitch = lanes + rng.random_range(0..3);
                for (packed_b, accumulate) in
                    [(true, true), (true, false), (false, true), (false, false)]
                {
                    if !packed_b && count > kernel.rows {
                        continue;
                    }
                    let before = if accumulate { T::ONE } else { nan() };
                    let mut tile = vec![before; count * tile_pitch];
                    let job = Multiply {
                        count,
                        vectors,
                        a: a.as_ptr(),
                        rows: rows.as_ptr(),
                        neighbours: 1,
                        steps_a: steps_a.as_ptr(),
                        beside_a: true,
                        fours_a: false,
                        b: if packed_b { b.as_ptr() } else { from.as_ptr() },
                        steps_b: steps_b.as_ptr(),
                        packed_b,
                        k,
                        tile: tile.as_mut_ptr(),
                        tile_pitch,
                        accumulate,
                        prefetch: a.as_ptr(),
                        prefetch_pitch: 0,
                        prefetch_lines: 0,
                        ahead: a.as_ptr(),
                        ahead_step: 0,
                    };
                    // SAFETY: there are `count` rows with `k` terms from `first` on, side by
                    // side, and `lanes` of b at each; the tile has `count` rows.
                    unsafe { (kernel.multiply)(&job) };
                    for (i, &got) in tile.iter().enumerate() {
                        let (r, lane) = (i / tile_pitch, i % tile_pitch);
                        if lane >= lanes {
                            assert!(same(got, before), "{isa}: between the rows of a tile");
                            continue;
                        }
                        let product = |t: usize| {
                            let a = a[r * (k + first) + first + t];
                            a.into() * b[t * lanes + lane].into()
                        };
                        let old = if accumulate { 1.0 } else { 0.0 };
                        let expected = old + (0..k).map(product).sum::<f64>();
                        assert_eq!(got.into(), expected, "{isa}: {count} x {lanes} x {k}");
                    }
                }
            }
        }
    }
}

fn packed_panels_give_the_same_sums() {
    check_packed_panels::<f32>();
    check_packed_panels::<f64>();
}

/// Rows of every length round that of vectors, with zeros before and after, of steps 1 to 3;
/// nothing is read past the last element taken: a's slice ends with it.
fn check_copies<T: Element>() {
    let mut rng = SmallRng::seed_from_u64(11);
    for Kernels { isa, copy, .. } in all::<T>() {
        for taken in 0..=37 {
            for step in 1..=3 {
                let (before, after) = (rng.random_range(0..6), rng.random_range(0..6));
                let (count, len) = (rng.random_range(1..=3), before + taken + after);
                let (from_pitch, to_pitch) =
                    (taken * step + rng.random_range(0..3), len + rng.random_range(0..3));
                let row = if taken > 0 { (taken - 1) * step + 1 } else { 0 };
                let from: Vec<T> =
                    (0..(count - 1) * from_pitch + row).map(|_| number(&mut rng)).collect();
                let mut to = vec![nan::<T>(); count * to_pitch];
                let job = CopyRows {
                    from: from.as_ptr(),
                    from_pitch,
                    to: to.as_mut_ptr(),
                    to_pitch,
                    count,
                    before,
                    taken,
                    len,
                    step,
                    // Any is good.
                    next: rng.random::<u32>() as usize,
                };
                // SAFETY: `from` ends with the last element taken, `to` has `count` rows.
                unsafe { copy(&job) };
                for (i, &got) in to.iter().enumerate() {
                    let (r, at) = (i / to_pitch, i % to_pitch);
                    let expected = match at.checked_sub(before) {
                        Some(i) if i < taken => from[r * from_pitch + i * step],
                        _ if at < len => T::ZERO,
                        _ => nan(),
                    };
                    assert!(same(got, expected), "{isa}: {at} of row {r}, {taken} by {step}");
                }
            }
        }
    }
}

fn rows_are_copied_with_zeros_round_them() {
    check_copies::<f32>();
    check_copies::<f64>();
}

/// How the rows of a tile lie in memory.
const GAPS: [fn(usize) -> usize; 4] =
    [|r| r, |r| 3 * r, |r| if r < 5 { r } else { r + 7 }, |r| r + r / 3];

/// Tiles of every height and width to rows and columns with and without gaps, added or not,
/// clamped or not; NaN stays NaN, and what lies between is left alone.
fn check_store<T: Element>() {
    let mut rng = SmallRng::seed_from_u64(7);
    for (isa, kernel, _) in kernels::<T>() {
        for (rows, lanes) in (1..=kernel.rows).flat_map(|r| (1..=kernel.lanes).map(move |l| (r, l)))
        {
            let gap = GAPS[rng.random_range(0..GAPS.len())];
            let across: bool = rng.random();
            let (row_pitch, lane_stride) =
                if across { (1, gap(rows) + 2) } else { (lanes + rng.random_range(0..3), 1) };
            let offsets: Vec<u32> = (0..rows).map(|r| (gap(r) * row_pitch) as u32).collect();
            let tile_pitch = lanes.next_multiple_of(kernel.vector);
            let mut tile: Vec<T> = (0..rows * tile_pitch).map(|_| number(&mut rng)).collect();
            tile[(rows - 1) * tile_pitch + lanes / 2] = nan();
            let len = offsets[rows - 1] as usize + (lanes - 1) * lane_stride + 3;
            for case in 0..8 {
                let [accumulate, clamp, added] = [1, 2, 4].map(|bit| case & bit != 0);
                let clamp = clamp.then_some([T::from_f64(-1.0), T::from_f64(2.0)]);
                let [old, residual]: [Vec<T>; 2] =
                    [(); 2].map(|()| (0..len).map(|_| number(&mut rng)).collect());
                let (mut got, mut expected) = (old.clone(), old);
                for (r, &offset) in offsets.iter().enumerate() {
                    for lane in 0..lanes {
                        let place = offset as usize + lane * lane_stride;
                        let to = &mut expected[place];
                        let sum = tile[r * tile_pitch + lane];
                        let sum = if accumulate { *to + sum } else { sum };
                        let sum = if added { residual[place] + sum } else { sum };
                        *to = clamp.map_or(sum, |[low, high]| sum.clamp_to(low, high));
                    }
                }
                let residual = added.then(|| Residual::new(&residual, &got));
                let epilogue = Epilogue { residual, clamp, ..Epilogue::new(accumulate) };
                let job = Store {
                    tile: tile.as_ptr(),
                    tile_pitch,
                    rows,
                    lanes,
                    c: got.as_mut_ptr(),
                    row_offsets: offsets.as_ptr(),
                    lane_stride,
                    epilogue: &epilogue,
                };
                // SAFETY: the tile has `rows` rows, and the last place is within `got`.
                unsafe { (kernel.store)(&job) };
                for (i, (&got, &expected)) in got.iter().zip(&expected).enumerate() {
                    assert!(
                        same(got, expected),
                        "{isa}: {rows} x {lanes}, {lane_stride} apart, rows at {offsets:?}, {epilogue:?}: element {i} is {got}, expected {expected}"
                    );
                }
            }
        }
    }
}

fn tiles_are_stored_where_they_belong() {
    check_store::<f32>();
    check_store::<f64>();
}

#[cfg(unix)]
mod vectors;
