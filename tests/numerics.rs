//! Rounding on inputs chosen to hurt. On random numbers errors cancel; on a constant like 0.1
//! every addition to a large sum is rounded the same way, and a sum of `terms` terms in a row
//! is off by up to `terms * eps / 2`. The contract is blocked summation: an error of
//! `c * eps * Σ|a||b|` where c is about `block + terms / block` (docs/numerics.md).

use im2col::testing::{Call, Fill, Layer, PASSES, Tolerance, isas, plans};
use im2col::{
    Algorithm, Conv1d, Corner, Element, Engine, Layout, Options, Params, Pass, Plan, Schedule,
    Staging, Write,
};

/// Terms that a block of a product has at most: B of docs/numerics.md, or more.
const BLOCK: usize = 384;

/// c of the products: the depth of a block, plus a term for each block and each run that is added.
fn blocked<T: Element>(plan: &Plan<T>, pass: Pass, terms: usize) -> f64 {
    match (plan.algorithm(), pass) {
        // Blocks of a run of 8192; as many taps meet a pixel of few, one by one.
        (Algorithm::Implicit, Pass::Forward | Pass::BackwardData) => {
            let of_run = 8192usize.div_ceil(BLOCK);
            let blocks = (BLOCK + of_run) as f64 + terms as f64 / 2048.0 + 2.0;
            let taps = plan.shape().kernel_taps() as f64;
            (blocks + taps).min(terms as f64 + 2.0)
        }
        // Products in runs of 1024 pixels, or dot products of rows in runs of 4096: a lane of a vector,
        // which has 16 bytes or more, adds up its share of each row.
        (Algorithm::Implicit, Pass::BackwardWeight) => {
            let lanes = 16 / size_of::<T>();
            let row = plan.shape().axes().last().map_or(1, |axis| axis.output).min(4096);
            let of_lane = 4096 / row * row.div_ceil(lanes);
            let dots = (of_lane + 2 + 2 + 3) as f64 + terms as f64 / 1024.0 + 1.0;
            dots.max(BLOCK as f64 + 6.0 + terms as f64 / 256.0 + 4.0).min(terms as f64 + 2.0)
        }
        // The textbook: images of a batch are added one by one.
        _ => 512.0 + terms as f64 / 256.0,
    }
}

/// c of a sum of `n` numbers in 16 lanes: 16 rows in a block, no more blocks than rows, their tree, the lanes.
fn tree(n: usize) -> f64 {
    let rows = n as f64 / 16.0;
    16.0 + rows.log2().ceil() + 1.0 + 4.0
}

/// Numbers that don't cancel what rounding does to them.
#[derive(Debug, Clone, Copy)]
enum Hurt {
    /// 0.1, never exact: the sum grows past it and every addition rounds alike.
    Constant,
    /// From 1e-4 to 1e4 and back: late terms meet a small sum, early ones a large one.
    Growing,
    /// Large numbers that cancel in pairs and leave small ones.
    Cancelling,
    /// Every term but the first is below half an ulp of the sum, beside ones: a sum in a row loses all
    /// of them, so its error is the bound but for a twentieth.
    Vanishing,
}

const HURT: [Hurt; 4] = [Hurt::Constant, Hurt::Growing, Hurt::Cancelling, Hurt::Vanishing];

fn hurtful<T: Element>(hurt: Hurt, len: usize) -> Vec<T> {
    let number = |i: usize| {
        let place = i as f64 / len as f64;
        match hurt {
            Hurt::Constant => 0.1,
            Hurt::Growing => 10f64.powf(8.0 * place - 4.0),
            Hurt::Cancelling => [1000.1, 0.1, -1000.1][i % 3],
            Hurt::Vanishing => {
                if i == 0 {
                    1.0
                } else {
                    T::EPSILON / 2.1
                }
            }
        }
    };
    (0..len).map(number).map(T::from_f64).collect()
}

/// Layers with long sums in every pass: many taps and channels for the outputs and the pixels,
/// many pixels and images for the weights.
fn long_sums() -> [Params; 4] {
    let layer = Params::default();
    let taps = Params { input: [5, 5, 1], kernel: [3, 3, 1], ..layer };
    [
        Params { in_channels: 910, out_channels: 5, ..taps },
        Params { in_channels: 5, out_channels: 600, layout: Layout::ChannelsLast, ..taps },
        Params { batch: 11, out_channels: 3, input: [70, 70, 1], kernel: [3, 3, 1], ..layer },
        Params { axes: 1, batch: 2, input: [30_000, 1, 1], kernel: [3, 1, 1], ..layer },
    ]
}

/// A layer of numbers that hurt a pass.
fn hurt_layer<T: Element>(params: Params, hurt: Hurt, pass: Pass) -> Layer<T> {
    let mut layer = Layer::<T>::new(params, Fill::Uniform);
    layer.input = hurtful(hurt, layer.input.len());
    layer.weight = hurtful(hurt, layer.weight.len());
    layer.grad_output = hurtful(hurt, layer.grad_output.len());
    if let Hurt::Vanishing = hurt {
        // One factor vanishes: the products of two would be gone for good.
        match pass {
            Pass::BackwardWeight => layer.grad_output.fill(T::ONE),
            _ => layer.weight.fill(T::ONE),
        }
    }
    layer
}

fn check_products<T: Element>() {
    for params in long_sums() {
        for (hurt, pass) in HURT.into_iter().flat_map(|h| PASSES.map(move |pass| (h, pass))) {
            let layer = hurt_layer::<T>(params, hurt, pass);
            for expected in layer.answers(pass) {
                // The judge sums in f64, one term after the other.
                let judge = if T::EPSILON == f64::EPSILON { expected.terms } else { 0 };
                for plan in plans(layer.shape) {
                    // Half an ε for each rounding.
                    let factor = blocked(&plan, pass, expected.terms) / 2.0 + 1.0 + judge as f64;
                    expected.assert_plan(&plan, Tolerance::Factor(factor));
                }
            }
        }
    }
}

/// Which schedules of a pass a bound is of.
type Way = fn(&Schedule, Pass) -> bool;

/// Dot products; those of backward_weight of few channels are the others' way, too.
fn is_dots(way: &Schedule, pass: Pass) -> bool {
    let along = if pass == Pass::BackwardWeight { Corner::Pixels } else { Corner::Taps };
    way.engine == Engine::Implicit && way.lanes == along && way.cols != Staging::Written
}

/// Direct convolutions; where there are none of backward_weight, dot products are the way.
fn is_direct(way: &Schedule, pass: Pass) -> bool {
    way.engine == Engine::Direct || is_dots(way, pass) && pass == Pass::BackwardWeight
}

/// Lanes are rows of taps as they lie, in backward_weight.
fn is_rows(way: &Schedule, pass: Pass) -> bool {
    let as_they_lie = way.lanes == Corner::Taps && way.other == Staging::InPlace;
    pass == Pass::BackwardWeight && way.engine == Engine::Implicit && as_they_lie
}

/// Ways with blocks of their own, and what docs/numerics.md says of each pass: the terms that a register adds up, and what
/// its sum joins, of vectors with `lanes` lanes and more.
fn other_paths(lanes: usize) -> Vec<(Way, Params, [usize; 3])> {
    let square = Params {
        axes: 2,
        kernel: [3, 3, 1],
        pad_begin: [1, 1, 0],
        pad_end: [1, 1, 0],
        ..Params::default()
    };
    let tree = lanes.ilog2() as usize;
    let is_engine: Way = |way, _| way.engine == Engine::Direct;
    // 2700 taps in two runs of dot products; 40 outputs and 9 taps; 9 pixels.
    let few = Params { in_channels: 300, out_channels: 40, input: [3, 3, 1], ..square };
    let of_few = [2048 / lanes + tree + 1, 40 + 9 - 1, 9];
    // 12 and 4 channels, 9 taps; the sum over the pixels in dot products of rows of 40, in three runs at most and
    // eight parts.
    let grouped = Params { in_channels: 12, out_channels: 4, input: [130, 40, 1], ..square };
    let row = 40usize.div_ceil(lanes);
    let of_grouped = [12 * 9, 4 * 9, 4096 / 40 * row + tree + 2 + 3];
    // Rows so short that their last vector is mostly empty.
    let short = Params { in_channels: 2, out_channels: 3, input: [900, 6, 1], ..square };
    let row = 6usize.div_ceil(lanes);
    let of_short = [512, 512, 4096 / 6 * row + tree + 2 + 3];
    // A filter for each channel: all of its taps at once, 300 columns and 120 rows in two images; 16
    // parts of the sum over the pixels where channels lie side by side.
    let groups = Params { in_channels: 3, out_channels: 3, groups: 3, ..square };
    let planes = Params { batch: 2, input: [120, 300, 1], ..groups };
    let steps = 2 * 120 * 300usize.div_ceil(lanes);
    let of_planes = [9, 9, 255 + 32 + steps.div_ceil(256) + tree];
    let last = Params { layout: Layout::ChannelsLast, ..planes };
    let lines = (2 * 120 * 2usize).div_ceil(16);
    let of_last = [9, 9, 256 + 3 * lines + 4];
    // A row of many taps, and an input channel with two outputs.
    let row = Params { axes: 1, kernel: [31, 1, 1], pad_begin: [15, 0, 0], ..square };
    let row = Params { in_channels: 3, out_channels: 6, groups: 3, input: [200, 1, 1], ..row };
    let of_row = [31, 31 + 1, 200usize.div_ceil(lanes) + 1 + tree];
    // Few channels, channels last, in two parts of 4096 terms or three rows of 3 taps.
    let wide = Params {
        in_channels: 8100,
        input: [4, 5, 1],
        kernel: [1; 3],
        layout: Layout::ChannelsLast,
        ..Params::default()
    };
    let of_wide = [4096 / lanes + tree + 1, 1, 20];
    let rows =
        Params { in_channels: 1200, input: [9, 8, 1], layout: Layout::ChannelsLast, ..square };
    let of_rows = [3 * 1200usize.div_ceil(lanes) + tree + 2, 9, 72];
    // Sums over the pixels that grow in their places, channels last: blocks of 8 pixels at least, in runs of 512.
    let streamed = Params { batch: 4, in_channels: 256, out_channels: 4, ..wide };
    let streamed = Params { input: [32, 32, 1], ..streamed };
    let of_streamed = [256, 4, BLOCK + 4096 / 8 + 8 + 3];
    vec![
        (is_dots, wide, of_wide),
        (is_dots, rows, of_rows),
        (is_engine, planes, of_planes),
        (is_engine, last, of_last),
        (is_engine, row, of_row),
        (|way, _| way.cols == Staging::Written, few, of_few),
        (is_direct, grouped, of_grouped),
        (is_dots, short, of_short),
        (is_rows, streamed, of_streamed),
    ]
}

fn check_other_paths<T: Element>(lanes: usize) {
    for (way, params, roundings) in other_paths(lanes) {
        let mut tried = 0;
        for (hurt, pass) in HURT.into_iter().flat_map(|h| PASSES.map(move |pass| (h, pass))) {
            let layer = hurt_layer::<T>(params, hurt, pass);
            // Adding to what was there rounds once more than overwriting it.
            let expected = layer.expected(Call::Pass(pass, Write::Accumulate));
            let judge = if T::EPSILON == f64::EPSILON { expected.terms } else { 0 };
            // One more joins: the bias, or what was there.
            let c = roundings[PASSES.iter().position(|&p| p == pass).unwrap()] + 1;
            // Half an ε for each rounding: the whole of the bound, nothing to spare.
            let factor = c as f64 / 2.0 * (1.0 + c as f64 * T::EPSILON) + judge as f64;
            for isa in isas() {
                let plan = Plan::new(layer.shape, Options::from(Algorithm::Implicit).isa(isa));
                let plan = plan.unwrap();
                let ways = plan.candidates(pass).unwrap();
                for &schedule in ways.iter().filter(|schedule| way(schedule, pass)) {
                    let forced = plan.clone().with_schedule(pass, schedule).unwrap();
                    expected.assert_plan(&forced, Tolerance::Factor(factor));
                    tried += 1;
                }
            }
        }
        assert!(tried >= HURT.len() * isas().count(), "{params:?}: no such schedule");
    }
}

#[test]
fn other_paths_keep_their_bounds() {
    check_other_paths::<f32>(4);
    check_other_paths::<f64>(2);
}

#[test]
fn f32_products_of_hurtful_numbers() {
    check_products::<f32>();
}

#[test]
fn f64_products_of_hurtful_numbers() {
    check_products::<f64>();
}

/// The sum of a sequence with the rounding of each addition kept and added at the end (Neumaier).
fn compensated(numbers: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut lost) = (0.0f64, 0.0);
    for x in numbers {
        let next = sum + x;
        lost += if sum.abs() >= x.abs() { (sum - next) + x } else { (x - next) + sum };
        sum = next;
    }
    sum + lost
}

/// A million errors in each of three channels: one after the other this would be off by a
/// thousandth of the sum in f32.
fn check_bias<T: Element>(layout: Layout) {
    let (batch, channels, pixels) = (4, 3, 250_000);
    let conv = Conv1d::<T>::new([batch, 1, pixels], [channels, 1, 1]).layout(layout);
    let plan = conv.plan().unwrap();
    let mut layer = Layer::new(*plan.shape().params(), Fill::Integers);
    for hurt in HURT {
        let dg: Vec<T> = hurtful(hurt, plan.shape().output_len());
        let channel = |o: usize| match layout {
            Layout::ChannelsFirst => o / pixels % channels,
            _ => o % channels,
        };
        let sums = |of: fn(f64) -> f64| -> Vec<f64> {
            let numbers = |k| (0..dg.len()).filter(move |&o| channel(o) == k);
            (0..channels).map(|k| compensated(numbers(k).map(|o| of(dg[o].into())))).collect()
        };
        let (values, magnitudes) = (sums(|x| x), sums(f64::abs));
        layer.grad_output = dg;
        let naive = layer.expected(Call::Bias(Write::Overwrite));
        let expected = naive.with_values(values, magnitudes);
        expected.assert_plan(&plan, Tolerance::Factor(tree(batch * pixels) / 2.0));
    }
}

#[test]
fn bias_of_a_million_hurtful_numbers() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        check_bias::<f32>(layout);
        check_bias::<f64>(layout);
    }
}
