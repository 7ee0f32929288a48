//! Layers with their numbers, and the bound that each of their elements has: computed from the points alone, in f64.

use super::{BLOCK, PASSES, with_tile};
use im2col::testing::nan;
use im2col::{
    Algorithm, Axis, Element, Layout, Options, Params, Pass, Plan, Shape, Write, reference,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// Roundings beside those of the sum: docs/numerics.md.
const TRANSFORMS: f64 = 26.0;

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
pub(super) struct Case<T> {
    pub(super) shape: Shape,
    pub(super) tile: usize,
    pub(super) input: Vec<T>,
    pub(super) weight: Vec<T>,
    pub(super) grad_output: Vec<T>,
}

/// Which numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fill {
    Normal,
    /// One large pixel among small ones.
    Spiked,
    /// All the same.
    Constant,
    /// Of both signs, so that sums cancel.
    Alternating,
}

pub(super) const FILLS: [Fill; 4] = [Fill::Normal, Fill::Spiked, Fill::Constant, Fill::Alternating];

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
    pub(super) fn new(params: Params, tile: usize, fill: Fill) -> Self {
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
    pub(super) fn plan(&self, isa: im2col::Isa) -> Plan<T> {
        let plan = Plan::new(self.shape, Options::from(Algorithm::Implicit).isa(isa)).unwrap();
        PASSES.into_iter().fold(plan, |plan, pass| with_tile(plan, pass, self.tile))
    }

    pub(super) fn run(
        &self,
        plan: &Plan<T>,
        pass: Pass,
        write: Write,
        scratch: &mut [T],
    ) -> Vec<T> {
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
    pub(super) fn before(&self, pass: Pass, write: Write) -> Vec<T> {
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
    pub(super) fn check(&self, plan: &Plan<T>, pass: Pass, write: Write) {
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
