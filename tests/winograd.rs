//! Winograd's engine: the bound of docs/numerics.md on numbers chosen to hurt, for every form, pass, layout, type and ISA,
//! and what every engine promises: the same bits on any number of threads and from any scratch, nothing touched outside of
//! a slice, epilogues, packed weights, and an infinity that spoils its tile alone.
//!
//! The bound is computed here from the points alone, with none of the library's matrices.

#[cfg(feature = "rayon")]
use im2col::testing::bits;
use im2col::testing::{isas, nan};
use im2col::{
    Accuracy, Activation, Algorithm, Axis, Conv2d, Element, Layout, Options, Params, Pass, Plan,
    Schedule, Shape, Write, reference,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const PASSES: [Pass; 3] = [Pass::Forward, Pass::BackwardData, Pass::BackwardWeight];

/// Roundings beside those of the sum: docs/numerics.md.
const TRANSFORMS: f64 = 26.0;

/// Tiles of a block, and channels that it sums at once.
const BLOCK: usize = 16;

/// `|Aᵀ|`, `|G|` and `|Bᵀ|` of F(m, r), scaled as it may be: the bound doesn't depend on that.
#[derive(Clone)]
struct Matrices {
    m: usize,
    a: Vec<Vec<f64>>,
    g: Vec<Vec<f64>>,
    b: Vec<Vec<f64>>,
}

impl Matrices {
    fn new(m: usize, r: usize) -> Self {
        let points: &[f64] = match m + r - 1 {
            1 => &[],
            4 => &[0.0, 1.0, -1.0],
            6 => &[0.0, 0.625, -0.625, 1.6, -1.6],
            points => panic!("{points} points"),
        };
        let count = m + r - 1;
        let polynomial = |roots: &mut dyn Iterator<Item = f64>| {
            let mut p = vec![1.0];
            for root in roots {
                let mut next = vec![0.0; p.len() + 1];
                for (i, c) in p.iter().enumerate() {
                    next[i + 1] += c;
                    next[i] -= root * c;
                }
                p = next;
            }
            p.resize(count, 0.0);
            p.into_iter().map(f64::abs).collect::<Vec<_>>()
        };
        let (mut a, mut g, mut b) = (vec![vec![]; m], vec![], vec![]);
        for (i, &x) in points.iter().enumerate() {
            let others =
                || points.iter().copied().enumerate().filter(move |(j, _)| *j != i).map(|p| p.1);
            let norm: f64 = others().map(|other| x - other).product();
            b.push(polynomial(&mut others()));
            g.push((0..r).map(|k| (x.powi(k as i32) / norm).abs()).collect());
            (0..m).for_each(|o| a[o].push(x.powi(o as i32).abs()));
        }
        b.push(polynomial(&mut points.iter().copied()));
        g.push((0..r).map(|k| f64::from(k + 1 == r)).collect());
        (0..m).for_each(|o| a[o].push(f64::from(o + 1 == m)));
        Self { m, a, g, b }
    }

    fn points(&self) -> usize {
        self.b.len()
    }
}

/// `left · x · rightᵀ`.
fn both(left: &[Vec<f64>], x: &[Vec<f64>], right: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let row = |l: &Vec<f64>| {
        let half = |j: usize| l.iter().zip(x).map(|(l, x)| l * x[j]).sum::<f64>();
        let half: Vec<f64> = (0..x[0].len()).map(half).collect();
        right.iter().map(|r| r.iter().zip(&half).map(|(r, h)| r * h).sum()).collect()
    };
    left.iter().map(row).collect()
}

fn transposed(a: &[Vec<f64>]) -> Vec<Vec<f64>> {
    (0..a[0].len()).map(|j| a.iter().map(|row| row[j]).collect()).collect()
}

/// Tiles along an axis of `length` outputs: where each output of a tile lies.
fn tiles(length: usize, dilation: usize, m: usize) -> Vec<Vec<usize>> {
    let phases = dilation.min(length);
    let of_phase = |phase: usize| {
        let outputs: Vec<usize> = (phase..length).step_by(dilation).collect();
        outputs.chunks(m).map(<[usize]>::to_vec).collect::<Vec<_>>()
    };
    (0..phases).flat_map(of_phase).collect()
}

/// A layer, its tensors, and the tile's outputs along an axis that isn't of one tap.
struct Case<T> {
    shape: Shape,
    tile: usize,
    input: Vec<T>,
    weight: Vec<T>,
    grad_output: Vec<T>,
}

/// Which numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fill {
    Normal,
    /// One large pixel among small ones.
    Spiked,
    /// All the same.
    Constant,
    /// Of both signs, so that sums cancel.
    Alternating,
}

const FILLS: [Fill; 4] = [Fill::Normal, Fill::Spiked, Fill::Constant, Fill::Alternating];

impl Fill {
    fn numbers<T: Element>(self, len: usize, rng: &mut SmallRng) -> Vec<T> {
        let at = rng.random_range(0..len);
        let number = |i: usize| match self {
            Fill::Normal => rng.random_range(-1.0..1.0),
            Fill::Spiked if i == at => 1e6,
            Fill::Spiked => rng.random_range(-1.0..1.0),
            Fill::Constant => 0.1,
            Fill::Alternating => f64::from(i as u32 % 3) * 0.7 - 0.7001,
        };
        (0..len).map(number).map(T::from_f64).collect()
    }
}

impl<T: Element> Case<T> {
    fn new(params: Params, tile: usize, fill: Fill) -> Self {
        let shape = Shape::new(params).unwrap_or_else(|error| panic!("{params:?}: {error}"));
        let rng = &mut SmallRng::seed_from_u64(7);
        Self {
            shape,
            tile,
            input: fill.numbers(shape.input_len(), rng),
            weight: fill.numbers(shape.weight_len(), rng),
            grad_output: fill.numbers(shape.output_len(), rng),
        }
    }

    /// A plan whose passes are all Winograd's.
    fn plan(&self, isa: im2col::Isa) -> Plan<T> {
        let plan = Plan::new(self.shape, Options::from(Algorithm::Implicit).isa(isa)).unwrap();
        PASSES.into_iter().fold(plan, |plan, pass| with_tile(plan, pass, self.tile))
    }

    fn run(&self, plan: &Plan<T>, pass: Pass, write: Write, scratch: &mut [T]) -> Vec<T> {
        let Self { input, weight, grad_output, .. } = self;
        let mut to = self.before(pass, write);
        match pass {
            Pass::Forward => plan.forward(input, weight).scratch(scratch).run(&mut to),
            Pass::BackwardData => {
                plan.backward_data(weight, grad_output).write(write).scratch(scratch).run(&mut to)
            }
            _ => {
                plan.backward_weight(input, grad_output).write(write).scratch(scratch).run(&mut to)
            }
        }
        .unwrap();
        to
    }

    /// What the destination holds before.
    fn before(&self, pass: Pass, write: Write) -> Vec<T> {
        let len = match pass {
            Pass::Forward => self.shape.output_len(),
            Pass::BackwardData => self.shape.input_len(),
            _ => self.shape.weight_len(),
        };
        vec![if write == Write::Overwrite { nan() } else { T::from_f64(0.25) }; len]
    }

    fn exact(&self, pass: Pass) -> Vec<f64> {
        let Self { shape, input, weight, grad_output, .. } = self;
        match pass {
            Pass::Forward => reference::forward(shape, input, weight, None),
            Pass::BackwardData => reference::backward_data(shape, weight, grad_output),
            _ => reference::backward_weight(shape, input, grad_output),
        }
        .unwrap()
    }

    fn matrices(&self) -> [Matrices; 2] {
        let all = axes3(&self.shape);
        [all[1], all[2]].map(|axis| match axis.kernel {
            1 => Matrices::new(1, 1),
            r => Matrices::new(self.tile, r),
        })
    }

    /// The bound of each element, without its factor of roundings.
    fn bound(&self, pass: Pass) -> Vec<f64> {
        let shape = &self.shape;
        let [rows, columns] = self.matrices();
        let axes = axes3(shape);
        let magnitudes = |x: &[T]| x.iter().map(|&x| x.into().abs()).collect::<Vec<f64>>();
        let (x, w, g) =
            (magnitudes(&self.input), magnitudes(&self.weight), magnitudes(&self.grad_output));
        let inputs = axes.map(|axis| axis.input);
        let outputs = axes.map(|axis| axis.output);
        let place = |[n, c, d, h, w]: [usize; 5], channels: usize, sizes: [usize; 3]| {
            let pixel = (d * sizes[1] + h) * sizes[2] + w;
            let pixels = sizes[0] * sizes[1] * sizes[2];
            match shape.layout() {
                Layout::ChannelsFirst => (n * channels + c) * pixels + pixel,
                _ => (n * pixels + pixel) * channels + c,
            }
        };
        let kernel = axes.map(|axis| axis.kernel);
        let filter = |k: usize, c: usize, depth: usize| {
            let tap = |i, j| w[place([k, c, depth, i, j], shape.group_in(), kernel)];
            let taps: Vec<Vec<f64>> =
                (0..kernel[1]).map(|i| (0..kernel[2]).map(|j| tap(i, j)).collect()).collect();
            taps
        };
        let back = pass == Pass::BackwardData;
        // What is read by tiles, and what tiles are of.
        let (source, sizes, from_channels, made) = match back {
            false => (&x, inputs, shape.in_channels(), outputs),
            true => (&g, outputs, shape.out_channels(), inputs),
        };
        let origin = |axis: &Axis| match back {
            false => -(axis.pad_begin as isize),
            true => axis.pad_begin as isize - ((axis.kernel - 1) * axis.dilation) as isize,
        };
        let step = |axis: &Axis| if axis.kernel == 1 { 1 } else { axis.dilation };
        let patch = |n: usize, c: usize, z: isize, at: [usize; 2]| {
            let read = |i: usize, j: usize| {
                let y = at[0] as isize + (i * step(&axes[1])) as isize + origin(&axes[1]);
                let x = at[1] as isize + (j * step(&axes[2])) as isize + origin(&axes[2]);
                let inside = [z, y, x].iter().zip(sizes).all(|(&p, s)| p >= 0 && p < s as isize);
                let at = [n, c, z as usize, y as usize, x as usize];
                if inside { source[place(at, from_channels, sizes)] } else { 0.0 }
            };
            let rows = 0..rows.points();
            let row = |i| (0..columns.points()).map(|j| read(i, j)).collect::<Vec<f64>>();
            let patch: Vec<Vec<f64>> = rows.map(row).collect();
            patch
        };
        let (downs, acrosses) =
            (tiles(made[1], step(&axes[1]), rows.m), tiles(made[2], step(&axes[2]), columns.m));
        let (ci, co) = (shape.group_in(), shape.group_out());
        let mut bound = vec![0.0; self.before(pass, Write::Overwrite).len()];
        let mut sums = vec![vec![vec![0.0; columns.points()]; rows.points()]; bound.len()];
        for n in 0..shape.batch() {
            for d in 0..made[0] {
                for (down, across) in
                    downs.iter().flat_map(|y| acrosses.iter().map(move |x| (y, x)))
                {
                    let at = [down[0], across[0]];
                    for depth in 0..kernel[0] {
                        let z = (d + depth * axes[0].dilation) as isize + origin(&axes[0]);
                        for group in 0..shape.groups() {
                            if pass == Pass::BackwardWeight {
                                for k in 0..co {
                                    let mut dy = vec![vec![0.0; columns.m]; rows.m];
                                    for (i, &y) in down.iter().enumerate() {
                                        for (j, &x) in across.iter().enumerate() {
                                            let at = [n, group * co + k, d, y, x];
                                            dy[i][j] = g[place(at, shape.out_channels(), outputs)];
                                        }
                                    }
                                    let a = [transposed(&rows.a), transposed(&columns.a)];
                                    let dy = both(&a[0], &dy, &a[1]);
                                    for c in 0..ci {
                                        let v = patch(n, group * ci + c, z, at);
                                        let v = both(&rows.b, &v, &columns.b);
                                        let sum = &mut sums[(group * co + k) * ci * kernel[0]
                                            + c * kernel[0]
                                            + depth];
                                        for p in 0..rows.points() {
                                            for q in 0..columns.points() {
                                                sum[p][q] += dy[p][q] * v[p][q];
                                            }
                                        }
                                    }
                                }
                                continue;
                            }
                            let (terms, lanes) = if back { (co, ci) } else { (ci, co) };
                            for lane in 0..lanes {
                                let mut m = vec![vec![0.0; columns.points()]; rows.points()];
                                for term in 0..terms {
                                    let v = patch(n, group * terms + term, z, at);
                                    let v = both(&rows.b, &v, &columns.b);
                                    let mut taps = match back {
                                        false => filter(group * co + lane, term, depth),
                                        true => {
                                            filter(group * co + term, lane, kernel[0] - 1 - depth)
                                        }
                                    };
                                    if back {
                                        taps.reverse();
                                        taps.iter_mut().for_each(|row| row.reverse());
                                    }
                                    let u = both(&rows.g, &taps, &columns.g);
                                    for p in 0..rows.points() {
                                        for q in 0..columns.points() {
                                            m[p][q] += u[p][q] * v[p][q];
                                        }
                                    }
                                }
                                let y = both(&rows.a, &m, &columns.a);
                                for (i, &h) in down.iter().enumerate() {
                                    for (j, &w) in across.iter().enumerate() {
                                        let at = [n, group * lanes + lane, d, h, w];
                                        bound[place(at, lanes * shape.groups(), made)] += y[i][j];
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        if pass == Pass::BackwardWeight {
            let g = [transposed(&rows.g), transposed(&columns.g)];
            for k in 0..shape.out_channels() {
                for c in 0..ci {
                    for depth in 0..kernel[0] {
                        let sum = &sums[k * ci * kernel[0] + c * kernel[0] + depth];
                        let taps = both(&g[0], sum, &g[1]);
                        for (i, row) in taps.iter().enumerate() {
                            for (j, &tap) in row.iter().enumerate() {
                                bound[place([k, c, depth, i, j], ci, kernel)] = tap;
                            }
                        }
                    }
                }
            }
        }
        bound
    }

    /// Roundings on the way of a product: those of its block, one for each block that joins, those of the transforms, and
    /// the one of what the destination held.
    fn roundings(&self, pass: Pass) -> f64 {
        let axes = axes3(&self.shape);
        let blocks = |terms: usize| terms.min(BLOCK) + axes[0].kernel * terms.div_ceil(BLOCK);
        let sum = match pass {
            Pass::Forward => blocks(self.shape.group_in()),
            Pass::BackwardData => blocks(self.shape.group_out()),
            _ => {
                let [rows, columns] = self.matrices();
                let of = |axis: &Axis, m| {
                    tiles(axis.output, if axis.kernel == 1 { 1 } else { axis.dilation }, m).len()
                };
                let all = self.shape.batch() * axes[0].output;
                let all = all * of(&axes[1], rows.m) * of(&axes[2], columns.m);
                // A box may have one tile.
                all.min(BLOCK) + all
            }
        };
        sum as f64 + TRANSFORMS + 1.0
    }

    /// Holds a pass to its bound.
    fn check(&self, plan: &Plan<T>, pass: Pass, write: Write) {
        let mut scratch = vec![nan(); plan.min_scratch_len(pass)];
        let got = self.run(plan, pass, write, &mut scratch);
        let (exact, bound) = (self.exact(pass), self.bound(pass));
        let before: f64 =
            if write == Write::Overwrite || pass == Pass::Forward { 0.0 } else { 0.25 };
        let factor = self.roundings(pass) * T::EPSILON / 2.0;
        for (i, ((&got, exact), bound)) in got.iter().zip(exact).zip(bound).enumerate() {
            let error = (got.into() - (exact + before)).abs();
            let bound = factor * (1.0 + factor) * (bound + before) + f64::from(f32::MIN_POSITIVE);
            assert!(
                error <= bound,
                "{pass:?} {write:?} element {i}: {got} for {exact}, off by {error:e}, bound {bound:e}, tile {} of {:?} by {}",
                self.tile,
                self.shape,
                plan.schedule(pass).unwrap()
            );
        }
    }
}

/// All three axes, those that the layer lacks of one element.
fn axes3(shape: &Shape) -> [Axis; 3] {
    let unit = Shape::new(Params::default()).unwrap();
    let mut axes: [Axis; 3] = [unit.axes()[0]; 3];
    let own = shape.axes();
    axes[3 - own.len()..].copy_from_slice(own);
    axes
}

/// The plan with a pass by tiles, of any panel's width that there is, with small blocks.
fn with_tile<T: Element>(plan: Plan<T>, pass: Pass, tile: usize) -> Plan<T> {
    with_blocks(plan, pass, tile, [BLOCK; 2])
}

fn with_blocks<T: Element>(
    mut plan: Plan<T>,
    pass: Pass,
    tile: usize,
    blocks: [usize; 2],
) -> Plan<T> {
    let [pixels, taps] = blocks;
    for width in [32, 16, 8, 4] {
        let text = format!(
            "winograd lanes=channels cols=copied other=packed padding=zeros tile={tile} width={width} pixels={pixels} taps={taps}"
        );
        let schedule: Schedule = text.parse().unwrap();
        let shape = *plan.shape();
        let isa = plan.isa();
        plan = match plan.with_schedule(pass, schedule) {
            Ok(plan) => return plan,
            Err(_) => {
                // Passes before this one had theirs.
                let again = Plan::new(shape, Options::from(Algorithm::Implicit).isa(isa)).unwrap();
                PASSES
                    .into_iter()
                    .take_while(|&before| before != pass)
                    .fold(again, |plan, pass| with_tile(plan, pass, tile))
            }
        };
    }
    panic!("no winograd of tile {tile} for {:?}", plan.shape());
}

/// A layer of each kind, drawn.
fn draw(rng: &mut SmallRng) -> (Params, usize) {
    let (kernel, tile, axes) = [
        ([1, 3, 3], 4, 2),
        ([1, 3, 3], 2, 2),
        ([1, 5, 5], 2, 2),
        ([1, 3, 1], 4, 2),
        ([1, 1, 3], 4, 2),
        ([1, 1, 3], 4, 1),
        ([2, 3, 3], 4, 3),
        ([3, 3, 3], 2, 3),
    ][rng.random_range(0..8)];
    let groups = [1, 1, 2, 3][rng.random_range(0..4)];
    let channels = |rng: &mut SmallRng| {
        [1, 2, 3, 5, 16, 17, 33, 40]
            [rng.random_range(0..if groups == 1 && axes < 3 { 8 } else { 4 })]
    };
    let (input, output) = (channels(rng), channels(rng));
    let dilation = [0, 1, 2].map(|_| [1, 1, 2, 3][rng.random_range(0..4)]);
    let mut sizes = [1; 3];
    let (mut begin, mut end) = ([0; 3], [0; 3]);
    let first = 3 - axes;
    for axis in first..3 {
        let span: usize = (kernel[axis] - 1) * dilation[axis] + 1;
        begin[axis] = rng.random_range(0..=span);
        end[axis] = rng.random_range(0..=span);
        let least = span.saturating_sub(begin[axis] + end[axis]).max(1);
        sizes[axis] = least + rng.random_range(0..if axis == 0 { 3 } else { 14 });
    }
    let shift = |a: [usize; 3]| core::array::from_fn(|i| if i < axes { a[first + i] } else { 1 });
    let zeros = |a: [usize; 3]| core::array::from_fn(|i| if i < axes { a[first + i] } else { 0 });
    let params = Params {
        axes,
        layout: [Layout::ChannelsFirst, Layout::ChannelsLast][rng.random_range(0..2)],
        batch: rng.random_range(1..=3),
        in_channels: groups * input,
        out_channels: groups * output,
        groups,
        input: shift(sizes),
        kernel: shift(kernel),
        dilation: shift(dilation),
        pad_begin: zeros(begin),
        pad_end: zeros(end),
        ..Params::default()
    };
    (params, tile)
}

fn check_bound<T: Element>(count: usize, seed: u64) {
    let rng = &mut SmallRng::seed_from_u64(seed);
    for i in 0..count {
        let (params, tile) = draw(rng);
        let case = Case::<T>::new(params, tile, FILLS[i % FILLS.len()]);
        for isa in isas() {
            let plan = case.plan(isa);
            for pass in PASSES {
                case.check(&plan, pass, [Write::Overwrite, Write::Accumulate][i % 2]);
            }
        }
    }
}

#[test]
fn every_element_of_f32_is_within_the_bound() {
    check_bound::<f32>(120, 1);
}

#[test]
fn every_element_of_f64_is_within_the_bound() {
    check_bound::<f64>(60, 2);
}

/// A layer of several blocks of everything.
fn blocks(layout: Layout) -> Params {
    Params {
        layout,
        batch: 2,
        in_channels: 70,
        out_channels: 100,
        input: [30, 29, 1],
        kernel: [3, 3, 1],
        pad_begin: [1, 1, 0],
        pad_end: [1, 1, 0],
        ..Params::default()
    }
}

#[cfg(feature = "rayon")]
#[test]
fn same_bits_at_any_number_of_threads_from_any_scratch() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let case = Case::<f32>::new(blocks(layout), 4, Fill::Normal);
        let isa = im2col::Isa::best();
        let plan = case.plan(isa);
        for pass in PASSES {
            let alone =
                case.run(&plan, pass, Write::Overwrite, &mut vec![0.0; plan.min_scratch_len(pass)]);
            for threads in 1..=5 {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let again = pool.install(|| {
                    let mut scratch = vec![f32::NAN; plan.scratch_len(pass)];
                    case.run(&plan, pass, Write::Overwrite, &mut scratch)
                });
                assert!(bits(&alone) == bits(&again), "{pass:?} {layout:?} on {threads} threads");
            }
        }
    }
}

#[test]
fn packed_weights_bias_and_activation() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        for isa in isas() {
            let case = Case::<f32>::new(blocks(layout), 4, Fill::Normal);
            let plan = case.plan(isa);
            let plain = case.run(
                &plan,
                Pass::Forward,
                Write::Overwrite,
                &mut vec![0.0; plan.min_scratch_len(Pass::Forward)],
            );
            let bias: Vec<f32> = (0..100).map(|k| k as f32 / 16.0 - 3.0).collect();
            let packed = plan.pack_weight(Pass::Forward, &case.weight).unwrap();
            let mut output = vec![f32::NAN; plain.len()];
            plan.forward(&case.input, &packed)
                .bias(&bias)
                .activation(Activation::Relu)
                .run(&mut output)
                .unwrap();
            let pixels = case.shape.output_pixels();
            for (i, (&got, plain)) in output.iter().zip(plain).enumerate() {
                let k = if layout == Layout::ChannelsLast { i % 100 } else { i / pixels % 100 };
                assert_eq!(got, (plain + bias[k]).max(0.0), "element {i}, {layout:?} on {isa}");
            }
        }
    }
}

#[test]
fn an_infinity_spoils_its_tile_alone() {
    let mut case = Case::<f32>::new(blocks(Layout::ChannelsLast), 4, Fill::Normal);
    let plan = case.plan(im2col::Isa::best());
    // Row 9, column 10 of the first image: read by the tiles of rows 4.., 8.. and columns 8..
    case.input[(9 * 29 + 10) * 70 + 3] = f32::INFINITY;
    let mut scratch = vec![0.0; plan.min_scratch_len(Pass::Forward)];
    let output = case.run(&plan, Pass::Forward, Write::Overwrite, &mut scratch);
    for (i, y) in output.iter().enumerate() {
        let (n, row, column) = (i / 100 / (30 * 29), i / 100 / 29 % 30, i / 100 % 29);
        // A tile reads a pixel more on each side of its outputs.
        let reads = |tile: usize, at: usize| (tile * 4..tile * 4 + 6).contains(&(at + 1));
        let spoiled = n == 0 && reads(row / 4, 9) && reads(column / 4, 10);
        assert!(spoiled || y.is_finite(), "row {row}, column {column}: {y}");
    }
    assert!(output.iter().any(|y| !y.is_finite()));
}

#[cfg(unix)]
#[test]
fn nothing_is_touched_outside_of_a_slice() {
    use im2col::testing::{EDGES, Guarded};
    let rng = &mut SmallRng::seed_from_u64(3);
    for _ in 0..24 {
        let (params, tile) = draw(rng);
        let case = Case::<f32>::new(params, tile, Fill::Normal);
        for isa in isas() {
            let plan = case.plan(isa);
            for edge in EDGES {
                let [x, w, g] =
                    [&case.input, &case.weight, &case.grad_output].map(|t| Guarded::new(edge, t));
                for pass in PASSES {
                    let mut to = Guarded::new(edge, &case.before(pass, Write::Overwrite));
                    let mut scratch =
                        Guarded::new(edge, &vec![nan::<f32>(); plan.min_scratch_len(pass)]);
                    let scratch = &mut scratch[..];
                    match pass {
                        Pass::Forward => {
                            plan.forward(&x[..], &w[..]).scratch(scratch).run(&mut to[..])
                        }
                        Pass::BackwardData => {
                            plan.backward_data(&w[..], &g[..]).scratch(scratch).run(&mut to[..])
                        }
                        _ => plan.backward_weight(&x[..], &g[..]).scratch(scratch).run(&mut to[..]),
                    }
                    .unwrap();
                }
            }
        }
    }
}

#[test]
fn only_where_the_accuracy_allows_it() {
    let layer = |accuracy| {
        let layer = Conv2d::<f32>::new([8, 64, 56, 56], [64, 64, 3, 3]).padding([1, 1]);
        layer.accuracy(accuracy).plan().unwrap()
    };
    for pass in PASSES {
        let uses = |accuracy| layer(accuracy).schedule(pass).unwrap().to_string();
        assert!(!uses(Accuracy::Element).contains("winograd"));
        let tile = uses(Accuracy::Tile);
        assert!(!tile.contains("winograd") || tile.contains("tile=4"), "{tile}");
        let tile2 = uses(Accuracy::Tile2);
        assert!(!tile2.contains("winograd") || tile2.contains("tile=2"), "{tile2}");
    }
    assert!(
        layer(Accuracy::Tile).schedule(Pass::Forward).unwrap().to_string().contains("winograd")
    );
    assert!(layer(Accuracy::Tile).explain().contains("κ 55"));
}

/// Layers of which taps or outputs meet only padding: what is zero exactly isn't rounded among its neighbours in a tile.
#[test]
fn what_meets_only_padding_is_exactly_zero() {
    let one_axis = |input, dilation, pads: [usize; 2]| Params {
        layout: Layout::ChannelsLast,
        batch: 2,
        in_channels: 16,
        out_channels: 16,
        input: [input, 1, 1],
        kernel: [3, 1, 1],
        dilation: [dilation, 1, 1],
        pad_begin: [pads[0], 0, 0],
        pad_end: [pads[1], 0, 0],
        ..Params::default()
    };
    for params in [
        one_axis(1, 1, [100, 1]),
        one_axis(5, 3, [3, 0]),
        one_axis(40, 1, [2, 9]),
        one_axis(2, 4, [4, 4]),
    ] {
        let shape = Shape::new(params).unwrap();
        let plan = Plan::<f32>::new(shape, Options::default().accuracy(Accuracy::Tile)).unwrap();
        let ones = |len: usize| (0..len).map(|i| (i % 7) as f32 * 0.3 + 0.1).collect::<Vec<_>>();
        let (input, weight) = (ones(shape.input_len()), ones(shape.weight_len()));
        let grad_output = ones(shape.output_len());
        let mut output = vec![f32::NAN; shape.output_len()];
        plan.forward(&input, &weight).run(&mut output).unwrap();
        let mut grad_weight = vec![f32::NAN; shape.weight_len()];
        plan.backward_weight(&input, &grad_output).run(&mut grad_weight).unwrap();
        let (axis, channels) = (shape.axes()[0], params.in_channels);
        let meets = |o, k| axis.source(o, k).is_some();
        for (o, pixel) in output.chunks(params.out_channels).enumerate() {
            let met = (0..axis.kernel).any(|k| meets(o % axis.output, k));
            assert!(
                pixel.iter().all(|&y| (y != 0.0) == met),
                "output {o} of {params:?}: {pixel:?}"
            );
        }
        for (tap, of_tap) in grad_weight.chunks(channels).enumerate() {
            let met = (0..axis.output).any(|o| meets(o, tap % axis.kernel));
            assert!(
                of_tap.iter().all(|&w| (w != 0.0) == met),
                "tap {tap} of {params:?}: {of_tap:?}"
            );
        }
    }
}

#[test]
fn scratch_is_bounded() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        for (channels, size) in [(64, 224), (128, 112), (256, 56), (512, 28), (512, 7), (48, 97)] {
            let layer = Conv2d::<f32>::new([16, channels, size, size], [channels, channels, 3, 3]);
            let layer = layer.padding([1, 1]).layout(layout).accuracy(Accuracy::Tile);
            let plan = layer.plan().unwrap();
            for pass in PASSES {
                let partials = if pass == Pass::BackwardWeight { 8 << 20 } else { 0 };
                let weights = 36 * channels.next_multiple_of(32) * channels * 4;
                let bytes = 4 * plan.min_scratch_len(pass);
                assert!(
                    bytes <= (2 << 20) + partials + weights + 64,
                    "{pass:?} {channels}: {bytes}"
                );
            }
        }
    }
}
