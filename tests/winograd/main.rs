//! Winograd's engine: the bound of docs/numerics.md on numbers chosen to hurt, for every form, pass, layout, type and ISA,
//! and what every engine promises: the same bits on any number of threads and from any scratch, nothing touched outside of
//! a slice, epilogues, packed weights, and an infinity that spoils its tile alone.
//!
//! The bound is computed here from the points alone, with none of the library's matrices.

mod bound;

use bound::{Case, FILLS, Fill};
#[cfg(feature = "rayon")]
use im2col::testing::bits;
use im2col::testing::{isas, nan};
use im2col::{
    Accuracy, Activation, Algorithm, Conv2d, Element, Layout, Options, Params, Pass, Plan,
    Schedule, Shape, Write,
};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

const PASSES: [Pass; 3] = [Pass::Forward, Pass::BackwardData, Pass::BackwardWeight];

/// Tiles of a block, and channels that it sums at once.
const BLOCK: usize = 16;

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
