//! Grids, targets, panels and the product of every kernel, against loops that a child could write.

use super::grid::{AXES, Grid, Offsets, dense, fit_tables, largest_block};
use super::target::{Order, Target};
use super::{Left, ROWS, Right, multiply};
use crate::element::Element;
use crate::kernel::tests::{kernels, number};
use crate::kernel::{Epilogue, Isa, Kernel, Residual, Side};
use crate::numerics::KC;
use crate::testing::Unit;
use alloc::vec;
use alloc::vec::Vec;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

mod pack;

pub(crate) const TESTS: &[Unit] = &[
    (
        "gemm::runs_tile_the_grid_and_tables_agree_with_places",
        runs_tile_the_grid_and_tables_agree_with_places,
    ),
    ("gemm::distinct_grids_have_distinct_places", distinct_grids_have_distinct_places),
    ("gemm::tables_fit_or_are_cut", tables_fit_or_are_cut),
    ("gemm::cells_are_disjoint_and_cover", cells_are_disjoint_and_cover),
    ("gemm::a_target_whose_elements_meet_is_refused", a_target_whose_elements_meet_is_refused),
    ("gemm::panels", pack::panels),
    ("gemm::rows_of_a_part_ascend", rows_of_a_part_ascend),
    ("gemm::products_around_every_edge", products_around_every_edge),
    ("gemm::products_of_many_terms", products_of_many_terms),
    ("gemm::products_of_many_rows", products_of_many_rows),
    ("gemm::products_that_are_streamed", products_that_are_streamed),
];

/// Whether it panics, and says so; where a panic ends the process, nothing is block.
fn assert_panics(words: &str, run: impl FnOnce() + std::panic::UnwindSafe) {
    if cfg!(panic = "unwind") {
        let panic = std::panic::catch_unwind(run).expect_err("no panic");
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or(panic.downcast_ref::<&str>().copied());
        assert!(said.is_some_and(|said| said.contains(words)), "{said:?}");
    }
}

fn numbers<T: Element>(rng: &mut SmallRng, len: usize) -> Vec<T> {
    (0..len).map(|_| number(rng)).collect()
}

fn sizes(rng: &mut SmallRng) -> [usize; AXES] {
    [(); AXES].map(|()| rng.random_range(1..=5))
}

/// Every position of a box, in row-major order.
fn positions(sizes: [usize; AXES]) -> impl Iterator<Item = [usize; AXES]> {
    let [_, b, c, d] = sizes;
    (0..sizes.iter().product()).map(move |i| [i / (b * c * d), i / (c * d) % b, i / d % c, i % d])
}

fn runs_tile_the_grid_and_tables_agree_with_places() {
    let mut rng = SmallRng::seed_from_u64(1);
    for _ in 0..300 {
        let (sizes, pitches) = (sizes(&mut rng), [(); AXES].map(|()| rng.random_range(0..50)));
        let most = rng.random_range(0..=sizes.iter().product::<usize>() + 1);
        let run = largest_block(sizes, most);
        assert!(run.iter().product::<usize>() <= most.max(1), "{run:?} of {sizes:?}");
        let grid = Grid::new(sizes, pitches, run).unwrap();
        assert_eq!(grid.table().len(), run.iter().product());
        let all: Vec<_> = positions(sizes).collect();
        let mut next = 0;
        for index in 0..grid.blocks() {
            let run = grid.block(index);
            assert_eq!(run.range(), next..next + run.len, "{grid:?}");
            assert_eq!((run.start, run.len), (all[next], run.sizes.iter().product()), "{grid:?}");
            for (i, &position) in all[run.range()].iter().enumerate() {
                let place = run.base + grid.table()[i] as usize;
                assert_eq!(place, grid.place(position), "{position:?} of {grid:?}");
            }
            next += run.len;
        }
        assert_eq!((next, grid.len()), (all.len(), all.len()), "{grid:?}");
        assert_eq!(grid.reach(), all.iter().map(|&p| grid.place(p)).max().unwrap());
    }
}

/// What `is_distinct_with` accepts is distinct, and dense arrays are accepted however their axes
/// are shared out. (It may refuse what happens to be distinct.)
fn distinct_grids_have_distinct_places() {
    let mut rng = SmallRng::seed_from_u64(2);
    let mut accepted = 0;
    for _ in 0..2000 {
        let grid = |rng: &mut SmallRng| {
            let sizes = [(); AXES].map(|()| rng.random_range(1..=3));
            let pitches =
                [(); AXES].map(|()| [0, 1, 2, 3, 4, 6, 9, 12, 27, 30][rng.random_range(0..10)]);
            Grid::new(sizes, pitches, [1; AXES]).unwrap()
        };
        let (a, b) = (grid(&mut rng), grid(&mut rng));
        if a.is_distinct_with(&b) {
            accepted += 1;
            let (a, b) = (&a, &b);
            let places = positions(a.run_all())
                .flat_map(|p| positions(b.run_all()).map(move |q| a.place(p) + b.place(q)));
            let mut places: Vec<_> = places.collect();
            let count = places.len();
            places.sort_unstable();
            places.dedup();
            assert_eq!(places.len(), count, "{a:?} and {b:?}");
        }
    }
    assert!(accepted > 20, "{accepted} of 2000");
    let whole = [2, 3, 4, 5];
    let [a, b, c, d] = dense(whole);
    let (rows, lanes) = (Grid::new([2, 1, 4, 1], [a, 0, c, 0], [1; 4]).unwrap(), [1, 3, 1, 5]);
    assert!(rows.is_distinct_with(&Grid::new(lanes, [0, b, 0, d], [1; 4]).unwrap()));
    assert!(!rows.is_distinct_with(&Grid::new(lanes, [0, b, 0, d + 1], [1; 4]).unwrap()));
}

impl Grid {
    /// The sizes that `run(i)` covers over all blocks: those of the grid itself.
    fn run_all(&self) -> [usize; AXES] {
        let last = self.block(self.blocks() - 1);
        core::array::from_fn(|axis| last.start[axis] + last.sizes[axis])
    }
}

fn tables_fit_or_are_cut() {
    let most = u32::MAX as usize;
    let wide = [0, 0, 0, most / 3];
    assert_eq!(fit_tables([1, 1, 1, 4], &[wide]), [1, 1, 1, 4]);
    assert_eq!(fit_tables([1, 1, 1, 5], &[wide]), [1, 1, 1, 3]);
    assert_eq!(fit_tables([4, 2, 1, 2], &[[most, 1, 0, 1], wide]), [1, 2, 1, 2]);
    assert_eq!(fit_tables([4, 2, 1, 2], &[[most - 2, 1, 0, 1], wide]), [2, 2, 1, 2]);
    // With 32 bits, the largest pitch is one that a table holds.
    let held = if usize::MAX == most { 2 } else { 1 };
    assert_eq!(fit_tables([2, 2, 1, 2], &[[usize::MAX; AXES]]), [1, 1, 1, held]);
    assert_eq!(largest_block([2, 3, 4, 5], 0), [1; AXES]);
    assert_eq!(largest_block([2, 3, 4, 5], 20), [1, 1, 4, 5]);
    assert_eq!(largest_block([2, 3, 4, 5], 39), [1, 1, 4, 5]);
    assert_eq!(largest_block([2, 3, 4, 5], 40), [1, 2, 4, 5]);
}

/// Cells are all of the matrix and no element twice, in either order.
fn cells_are_disjoint_and_cover() {
    let mut rng = SmallRng::seed_from_u64(3);
    for order in [Order::RowsOutside, Order::ColumnsOutside] {
        for _ in 0..100 {
            let (row_sizes, lane_sizes) = (sizes(&mut rng), sizes(&mut rng));
            let lanes: usize = lane_sizes.iter().product();
            let lane_most = rng.random_range(1..=lanes);
            let lane_pitches = dense(lane_sizes);
            let row_pitches = dense(row_sizes).map(|pitch| pitch * (lanes + 2));
            let row_most = rng.random_range(1..=row_sizes.iter().product());
            let rows =
                Grid::new(row_sizes, row_pitches, largest_block(row_sizes, row_most)).unwrap();
            let lane_run = largest_block(lane_sizes, lane_most);
            let lane_grid = Grid::untabled(lane_sizes, lane_pitches, lane_run);
            let base = rng.random_range(0..5);
            let target = Target::new(rows, lane_grid, base, 1, order);
            let count = row_sizes.iter().product::<usize>();
            let mut data = vec![0u32; base + (count - 1) * (lanes + 2) + lanes];
            let start = data.as_mut_ptr() as usize;
            let mut touched = vec![0; data.len()];
            let mut blocks = 0;
            for mut block in target.over(&mut data) {
                let place = (block.start() as usize - start) / size_of::<u32>();
                for &row in block.row_offsets() {
                    for lane in 0..block.columns().len {
                        touched[place + row as usize + lane * block.column_pitch()] += 1;
                    }
                }
                blocks += 1;
            }
            assert_eq!(blocks, target.blocks());
            for (i, &times) in touched.iter().enumerate() {
                let inside = i >= base && (i - base) % (lanes + 2) < lanes;
                assert_eq!(times, u32::from(inside), "element {i} of {target:?}");
            }
        }
    }
}

fn a_target_whose_elements_meet_is_refused() {
    assert_panics("overlap", || {
        let (rows, lanes) = (Grid::line(3, 2, 3).unwrap(), Grid::line(3, 1, 3).unwrap());
        Target::new(rows, lanes, 0, 1, Order::RowsOutside);
    });
}

/// A product to try: its sizes and how its result is finished.
#[derive(Debug, Clone, Copy)]
struct Job {
    rows: usize,
    lanes: usize,
    k: usize,
    /// Lanes are neighbours in the result; otherwise rows are.
    straight: bool,
    /// b is packed in panels; otherwise its lanes lie side by side.
    packed: bool,
    /// Elements between products of b that isn't packed, at least.
    apart: usize,
    bias: Option<Side>,
    accumulate: bool,
    clamp: bool,
}

fn check_multiply<T: Element>(isa: Isa, kernel: &Kernel<T>, job: Job, rng: &mut SmallRng) {
    let Job { rows, lanes, k, straight, packed, .. } = job;
    // Rows and products of a at any places, or products side by side; products of b in any order.
    let places = |rng: &mut SmallRng, count: usize, most: u32| -> Vec<u32> {
        (0..count).map(|_| rng.random_range(0..most)).collect()
    };
    let (mut row_table, mut term_table) = (places(rng, rows, 300), places(rng, k, 500));
    if rng.random() {
        // Neighbouring rows that lie side by side, or all but one of them.
        let neighbours = rng.random_range(2..=8);
        for rows in row_table.chunks_mut(neighbours) {
            let first = rows[0].min(292);
            rows.iter_mut().zip(first..).for_each(|(row, place)| *row = place);
        }
        if rng.random() {
            row_table[rng.random_range(0..rows)] += 1;
        }
    }
    if rng.random() {
        term_table = (7..7 + k as u32).collect();
    }
    let a = numbers::<T>(rng, 300 + 7 + k.max(500));
    let panels = lanes.div_ceil(kernel.lanes);
    let (line, pitch) =
        if packed { (kernel.lanes, k * kernel.lanes) } else { ((lanes + 3).max(job.apart), 0) };
    // The last vector reaches back over lanes of panels before it; where there are too few of those
    // it reads on, or before the first lane, or there are enough for a vector.
    let excess = lanes.next_multiple_of(kernel.vector) - lanes;
    let (first, slack) = match rng.random_range(0..3) {
        _ if packed => (0, 0),
        0 => (excess, 0),
        1 if lanes >= kernel.vector => (rng.random_range(0..excess.max(1)), 0),
        _ => (0, excess.saturating_sub((panels - 1) * kernel.lanes)),
    };
    let lines: Vec<u32> = (0..k).map(|t| ((k - 1 - t) * line) as u32).collect();
    let len = if packed { panels * pitch } else { first + (k - 1) * line + lanes + slack };
    let b = numbers::<T>(rng, len);
    let [lane_bias, row_bias] = [lanes, rows].map(|len| numbers::<T>(rng, len));
    // Lanes in one line, or in several with a gap between them.
    let lines_of_lanes = [2, 3, 1][rng.random_range(0..3)];
    let of_line = if lanes % lines_of_lanes == 0 { lanes / lines_of_lanes } else { lanes };
    let step = rng.random_range(1..=2);
    let column_pitch = if straight { step } else { rows + 2 };
    let line_pitch = of_line * column_pitch + 1;
    let column_place = |lane: usize| lane / of_line * line_pitch + lane % of_line * column_pitch;
    let row_pitch = if straight { column_place(lanes - 1) + 3 } else { 1 };
    // Rows evenly apart, or in two blocks with a gap between them.
    let blocks = if rows % 2 == 0 && straight && rng.random() { 2 } else { 1 };
    let block = rows / blocks * row_pitch + blocks - 1;
    let (sizes, pitches) = ([1, 1, blocks, rows / blocks], [0, 0, block, row_pitch]);
    let target = Target::new(
        Grid::new(sizes, pitches, sizes).unwrap(),
        {
            let run = [1, 1, lanes / of_line, of_line];
            Grid::untabled(run, [0, 0, line_pitch, column_pitch], run)
        },
        1,
        column_pitch,
        Order::RowsOutside,
    );
    let len = 1 + (rows - 1) * row_pitch + blocks - 1 + column_place(lanes - 1) + 2;
    let old =
        if job.accumulate { numbers::<T>(rng, len) } else { vec![T::from_f64(f64::NAN); len] };
    let mut c = old.clone();
    let bounds = [T::from_f64(-20.0), T::from_f64(30.0)];
    let (residual, added) = (numbers::<T>(rng, len), rng.random());
    let epilogue = Epilogue {
        bias: job.bias.map(|side| if side == Side::Rows { &*row_bias } else { &lane_bias }),
        channels: job.bias.unwrap_or(Side::Columns),
        residual: if added { Some(Residual::new(&residual, &c)) } else { None },
        accumulate: job.accumulate,
        clamp: job.clamp.then_some(bounds),
    };
    {
        let mut block = target.over(&mut c).next().unwrap();
        let [rows_of_a, terms_of_a, terms_of_b] =
            [&row_table, &term_table, &lines].map(|table| Offsets::new(table));
        let weighed = rows_of_a.all().len();
        let left = Left { data: &a, rows: rows_of_a, k: terms_of_a, weighed };
        let right = Right { data: &b, first, panel_pitch: packed.then_some(pitch), k: terms_of_b };
        multiply(kernel, &mut block, left, right, epilogue);
    }
    let mut expected = old;
    for (r, &row) in row_table.iter().enumerate() {
        for (lane, &bias) in lane_bias.iter().enumerate().take(lanes) {
            let mut sum = T::ZERO;
            for t in 0..k {
                let (panel, l) =
                    if packed { (lane / kernel.lanes, lane % kernel.lanes) } else { (0, lane) };
                sum += a[row as usize + term_table[t] as usize]
                    * b[first + panel * pitch + lines[t] as usize + l];
            }
            sum += match job.bias {
                Some(Side::Columns) => bias,
                Some(Side::Rows) => row_bias[r],
                None => T::ZERO,
            };
            let [in_block, of_block] = [r % (rows / blocks), r / (rows / blocks)];
            let place = 1 + of_block * block + in_block * row_pitch + column_place(lane);
            if job.accumulate {
                sum += expected[place];
            }
            if added {
                sum += residual[place];
            }
            expected[place] = if job.clamp { sum.clamp_to(bounds[0], bounds[1]) } else { sum };
        }
    }
    for (i, (&got, &expected)) in c.iter().zip(&expected).enumerate() {
        let same = got == expected || (got.into().is_nan() && expected.into().is_nan());
        assert!(same, "{isa} {job:?}: element {i} is {got}, expected {expected}");
    }
}

/// A row that is taken twice would be written twice.
fn rows_of_a_part_ascend() {
    assert_panics("rows don't ascend", || {
        let rows = Grid::line(4, 3, 4).unwrap();
        let lanes = Grid::line(3, 1, 3).unwrap();
        let target = Target::new(rows, lanes, 0, 1, Order::RowsOutside);
        let mut data = [0.0; 12];
        let mut block = target.over(&mut data).next().unwrap();
        block.part(&[0, 2, 2], &mut [0; 4]);
    });
}

/// Rows and lanes around every edge of every kernel's tile.
fn check_edges<T: Element>() {
    let mut rng = SmallRng::seed_from_u64(5);
    for (isa, kernel, free) in kernels::<T>() {
        for rows in (1..=kernel.rows + 1).chain([2 * kernel.rows + 1]) {
            let around = |n: usize| [n - 1, n, n + 1];
            let lanes = [1, 2, 3].into_iter().chain(around(kernel.vector));
            let lanes =
                lanes.chain(around(kernel.lanes)).chain([2 * kernel.lanes + kernel.vector + 1]);
            for lanes in lanes.filter(|&lanes| lanes > 0) {
                for packed in [true, !free] {
                    let [straight, accumulate, clamp] = [(); 3].map(|()| rng.random());
                    let bias =
                        [None, Some(Side::Columns), Some(Side::Rows)][rng.random_range(0..3)];
                    let k = rng.random_range(1..=9);
                    let job =
                        Job { rows, lanes, k, straight, packed, apart: 0, bias, accumulate, clamp };
                    check_multiply(isa, kernel, job, &mut rng);
                }
            }
        }
    }
}

fn products_around_every_edge() {
    check_edges::<f32>();
    check_edges::<f64>();
}

/// Sums that are cut into blocks of [`KC`].
fn check_long<T: Element>() {
    let mut rng = SmallRng::seed_from_u64(6);
    for (isa, kernel, free) in kernels::<T>() {
        for k in [KC - 1, KC, KC + 1, 2 * KC, 2 * KC + 76] {
            for (packed, bias) in
                [(true, Some(Side::Columns)), (false, Some(Side::Rows)), (true, None)]
            {
                let packed = packed || !free;
                let (rows, lanes) = (2 * kernel.rows + 1, kernel.lanes + 1);
                let (straight, accumulate) = (packed, !packed);
                let job = Job {
                    rows,
                    lanes,
                    k,
                    straight,
                    packed,
                    apart: 0,
                    bias,
                    accumulate,
                    clamp: false,
                };
                check_multiply(isa, kernel, job, &mut rng);
            }
        }
    }
}

fn products_of_many_terms() {
    check_long::<f32>();
    check_long::<f64>();
}

/// More rows than a kernel that packs b has pointers for at a time, and than meet one part of b.
fn check_many_rows<T: Element>() {
    let mut rng = SmallRng::seed_from_u64(9);
    for (isa, kernel, free) in kernels::<T>() {
        for (rows, chunks) in [(192, 0), (193, 0), (204, 0), (ROWS - 1, 1), (ROWS + 9, 2)] {
            for (bias, accumulate) in [(None, true), (Some(Side::Rows), false)] {
                let lanes = if chunks == 0 { kernel.lanes } else { kernel.vector } + 1;
                let k = chunks * kernel.block + rng.random_range(1..=12);
                let (straight, packed, clamp) = (rng.random(), !free, rng.random());
                let job =
                    Job { rows, lanes, k, straight, packed, apart: 0, bias, accumulate, clamp };
                check_multiply(isa, kernel, job, &mut rng);
            }
        }
    }
}

fn products_of_many_rows() {
    check_many_rows::<f32>();
    check_many_rows::<f64>();
}

/// Few rows, or few products, of many lanes: some products at a time, in place, whether or not products of b meet in
/// the same sets of a cache.
fn check_streamed<T: Element>() {
    let mut rng = SmallRng::seed_from_u64(11);
    for (isa, kernel, _) in kernels::<T>().filter(|(_, _, wide)| *wide) {
        let sizes = (1..=kernel.rows).map(|rows| (rows, rng.random_range(1..=40))).chain([
            (1, kernel.block * 17),
            (kernel.rows + 1, 3),
            (3 * kernel.rows + 2, 8),
        ]);
        let sizes: Vec<_> = sizes.map(|(rows, k)| (rows, k, 0)).collect();
        let far = (kernel.rows + 1, 19, 60_000);
        for (rows, k, apart) in sizes.into_iter().chain([far]) {
            for finish in 0..4 {
                let lanes = rng.random_range(256..=256 + 2 * kernel.lanes);
                let conflicting = if rng.random() { 512 } else { 0 };
                let bias = (finish % 2 > 0).then_some(Side::Rows);
                let [accumulate, clamp] = [rng.random(), finish / 2 > 0];
                let apart = apart.max(conflicting);
                let job = Job {
                    rows,
                    lanes,
                    k,
                    straight: true,
                    packed: false,
                    apart,
                    bias,
                    accumulate,
                    clamp,
                };
                check_multiply(isa, kernel, job, &mut rng);
            }
        }
    }
}

fn products_that_are_streamed() {
    check_streamed::<f32>();
    check_streamed::<f64>();
}
