//! Layers that don't fit one run of anything: more pixels, more taps, more channels than the
//! implicit algorithm takes at a time, so that runs follow each other and ends are ragged.

use im2col::testing::{Call, Fill, Layer, Tolerance, WRITES, plans};
use im2col::{Activation, Element, Layout, Params, Pass, Write};

fn check<T: Element>(params: Params) {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        check_as_is::<T>(Params { layout, ..params });
    }
}

fn check_as_is<T: Element>(params: Params) {
    let layer = Layer::<T>::new(params, Fill::Integers);
    let plans = plans(layer.shape);
    for expected in layer.all_answers() {
        plans.iter().for_each(|plan| expected.assert_plan(plan, Tolerance::Exact));
    }
    for write in WRITES {
        let expected = layer.expected(Call::Bias(write));
        plans.iter().for_each(|plan| expected.assert_plan(plan, Tolerance::Exact));
    }
}

/// `[images, channels in, channels out, height, width]`, 3x3, with zeros around.
fn layer([batch, in_channels, out_channels, h, w]: [usize; 5]) -> Params {
    Params {
        batch,
        in_channels,
        out_channels,
        input: [h, w, 1],
        kernel: [3, 3, 1],
        pad_begin: [1, 1, 0],
        pad_end: [1, 1, 0],
        ..Params::default()
    }
}

#[test]
fn many_pixels() {
    check::<f32>(layer([2, 3, 5, 45, 41]));
    check::<f64>(Params { stride: [2, 2, 1], groups: 2, ..layer([1, 6, 18, 67, 70]) });
    check::<f32>(Params { pad_begin: [0; 3], pad_end: [0; 3], ..layer([3, 2, 17, 40, 30]) });
}

/// Where each pixel meets one tap, the gradient of the weights transposes the smaller tensor: one with
/// fewer channels in than out, in groups, with more pixels and more channels than a run has.
#[test]
fn pointwise_layers_that_widen() {
    let one = |[batch, groups, in_channels, out_channels, h, w]: [usize; 6]| {
        let dense = layer([batch, in_channels, out_channels, h, w]);
        Params { groups, kernel: [1; 3], pad_begin: [0; 3], pad_end: [0; 3], ..dense }
    };
    check::<f64>(one([2, 1, 16, 35, 9, 7]));
    check::<f32>(one([1, 2, 32, 64, 33, 32]));
    check::<f32>(one([2, 1, 48, 130, 5, 3]));
}

/// More images than any family draws, on every path: dense, few pixels, a filter per channel, groups
/// of few channels.
#[test]
fn many_images() {
    for params in [
        layer([37, 3, 5, 6, 7]),
        layer([41, 3, 150, 2, 2]),
        Params { groups: 5, ..layer([37, 5, 5, 4, 6]) },
        Params { groups: 2, ..layer([37, 4, 6, 5, 6]) },
    ] {
        check::<f32>(params);
        check::<f64>(Params { stride: [2, 1, 1], ..params });
    }
}

#[test]
fn many_taps() {
    check::<f32>(layer([1, 950, 3, 4, 5]));
    check::<f32>(layer([1, 920, 17, 3, 4]));
    check::<f32>(layer([1, 3, 950, 4, 5]));
    check::<f32>(layer([1, 17, 920, 3, 4]));
}

/// Few channels made of an image that no cache holds: some of its channels at a time.
#[test]
fn few_channels_of_a_far_image() {
    let far = layer([1, 37, 2, 258, 222]);
    let params = Params { kernel: [2, 1, 1], pad_begin: [0; 3], pad_end: [0; 3], ..far };
    let layer = Layer::<f32>::new(params, Fill::Integers);
    let expected = layer.expected(Call::Pass(Pass::Forward, Write::Overwrite));
    plans(layer.shape).iter().for_each(|plan| expected.assert_plan(plan, Tolerance::Exact));
}

/// More rows than a lane of a stencil sums up before it joins a total.
#[test]
fn many_rows_of_one_filter() {
    check::<f32>(Params { groups: 2, ..layer([1, 2, 2, 300, 35]) });
    check::<f64>(Params { groups: 2, kernel: [2, 9, 1], ..layer([1, 2, 4, 290, 20]) });
}

/// Rows longer than what is summed in one go: of one filter per channel, and of several.
#[test]
fn long_rows_of_one_filter() {
    for (out_channels, stride) in [(3, 1), (3, 2), (6, 1)] {
        let line = Params {
            groups: 3,
            stride: [1, stride, 1],
            dilation: [1, 2, 1],
            ..layer([2, 3, out_channels, 3, 701])
        };
        check::<f32>(line);
        check::<f64>(Params { pad_begin: [1, 0, 0], pad_end: [0, 40, 0], ..line });
    }
    // One axis: a row of outputs that one row of taps makes, with padding that ends within a vector.
    for (kernel, dilation, pad) in [(7, 1, 3), (5, 3, 21), (2, 9, 0)] {
        let line = Params {
            axes: 1,
            groups: 3,
            in_channels: 3,
            out_channels: 6,
            input: [301, 1, 1],
            kernel: [kernel, 1, 1],
            dilation: [dilation, 1, 1],
            pad_begin: [pad, 0, 0],
            pad_end: [pad / 2, 0, 0],
            ..Params::default()
        };
        check::<f32>(line);
        check::<f64>(Params { out_channels: 3, ..line });
    }
    // More channels than a block of them.
    check::<f32>(Params { groups: 70, ..layer([1, 70, 70, 6, 270]) });
    // The same of groups, which may not divide a block.
    for (groups, in_channels, out_channels) in [(25, 50, 75), (25, 75, 50), (70, 140, 70)] {
        check::<f32>(Params { groups, ..layer([1, in_channels, out_channels, 6, 270]) });
    }
}

/// Few channels on one side and many on the other: sums made in several goes, in bands of rows.
#[test]
fn few_channels_of_many() {
    check_as_is::<f32>(Params { kernel: [5, 5, 1], ..layer([1, 40, 3, 92, 37]) });
    check_as_is::<f32>(Params { kernel: [5, 5, 1], ..layer([1, 3, 21, 30, 37]) });
    check_as_is::<f32>(Params {
        kernel: [7, 7, 1],
        stride: [2, 2, 1],
        ..layer([1, 3, 40, 121, 48])
    });
}

/// The same plane by plane of three axes.
#[test]
fn few_channels_of_many_in_three_axes() {
    let cube = Params {
        axes: 3,
        input: [6, 11, 18],
        kernel: [3, 3, 3],
        pad_begin: [1, 1, 1],
        pad_end: [2, 0, 1],
        ..layer([1, 2, 70, 1, 1])
    };
    check_as_is::<f32>(cube);
    check_as_is::<f32>(Params { in_channels: 70, out_channels: 2, ..cube });
    check_as_is::<f64>(Params { stride: [3, 2, 2], dilation: [2, 1, 1], ..cube });
    // Planes of outputs that meet no tap, and others that meet padding only.
    check_as_is::<f32>(Params { stride: [4, 1, 1], kernel: [2, 3, 3], ..cube });
    check_as_is::<f32>(Params { pad_begin: [4, 1, 1], pad_end: [5, 1, 1], ..cube });
}

/// The step between rows of which there is one may have any size, where the other rows are other bands.
#[test]
fn bands_without_a_row() {
    let params = Params {
        in_channels: 3,
        out_channels: 100,
        input: [3, 30_000, 1],
        kernel: [1, 2, 1],
        stride: [1 << (usize::BITS - 2), 2, 1],
        ..Params::default()
    };
    let layer = Layer::<f32>::new(params, Fill::Integers);
    let expected = layer.expected(Call::Pass(Pass::BackwardData, Write::Overwrite));
    plans(layer.shape).iter().for_each(|plan| expected.assert_plan(plan, Tolerance::Exact));
}

/// A tap that meets only padding in every column, of rows that are cut into bands: its zeros are
/// read, though the padding above and below isn't. (Found by the property tests.)
#[test]
fn bands_beside_columns_of_padding() {
    let params = Params {
        axes: 2,
        batch: 4,
        in_channels: 2,
        out_channels: 3,
        input: [40, 4, 1],
        kernel: [4, 3, 1],
        stride: [2, 2, 1],
        dilation: [14, 5, 1],
        pad_begin: [1, 11, 0],
        pad_end: [9, 6, 0],
        ..Params::default()
    };
    for out_channels in [3, 8, 16] {
        check_as_is::<f64>(Params { out_channels, ..params });
        check_as_is::<f32>(Params { out_channels, ..params });
    }
}

/// The activation follows the last run of taps, not each: in products of lanes of either sort, and
/// in the dot products of few pixels.
#[test]
fn many_taps_before_an_activation() {
    for params in [
        layer([1, 950, 3, 4, 5]),
        layer([1, 950, 17, 5, 5]),
        layer([1, 950, 30, 3, 3]),
        layer([1, 90, 3, 9, 17]),
    ] {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let layer = Layer::<f32>::new(Params { layout, ..params }, Fill::Integers);
            for plan in plans(layer.shape) {
                // With a bias.
                let plain = layer.run(&plan, Pass::Forward, Write::Accumulate);
                let plan = plan.with_activation(Activation::Relu).unwrap();
                let kept = layer.run(&plan, Pass::Forward, Write::Accumulate);
                let expected: Vec<f32> = plain.iter().map(|y| y.max(0.0)).collect();
                assert_eq!(kept, expected, "{plan:?}");
            }
        }
    }
}

/// Whole panels, and a part of one that a narrower kernel multiplies, in every pass, with a bias.
#[test]
fn panels_and_a_half() {
    for channels in [12, 20, 24, 40, 44, 84] {
        check::<f32>(layer([2, 5, channels, 8, 9]));
        check::<f64>(Params { stride: [2, 1, 1], ..layer([1, channels, 7, 8, 9]) });
        let plain = Params { pad_begin: [0; 3], pad_end: [0; 3], ..layer([1, 30, channels, 9, 8]) };
        check::<f32>(Params { kernel: [1; 3], ..plain });
    }
}

/// Channels last, to few channels: dot products along the many, those of a row of taps together or each by itself, in runs
/// that end within a row or within a tap, in phases, and where other groups' channels lie between.
#[test]
fn few_channels_last() {
    let last = |params: Params| Params { layout: Layout::ChannelsLast, ..params };
    for [many, few] in [[40, 3], [70, 1], [33, 6]] {
        for [inside, out] in [[many, few], [few, many]] {
            let plain = last(layer([2, inside, out, 9, 13]));
            check_as_is::<f32>(plain);
            check_as_is::<f64>(Params { stride: [2, 3, 1], ..plain });
            check_as_is::<f32>(Params { dilation: [2, 3, 1], pad_end: [3, 4, 0], ..plain });
            let groups = Params { in_channels: 2 * inside, out_channels: 2 * out, ..plain };
            check_as_is::<f32>(Params { groups: 2, ..groups });
        }
    }
    // More pixels than a run has; and rows of taps that end with the image.
    check_as_is::<f32>(last(layer([2, 24, 5, 40, 37])));
    let one =
        Params { kernel: [1; 3], pad_begin: [0; 3], pad_end: [0; 3], ..layer([1, 17, 3, 2, 2]) };
    check_as_is::<f32>(last(one));
    check_as_is::<f64>(last(Params { batch: 3, out_channels: 1, ..one }));
    check_as_is::<f32>(last(layer([1, 1000, 2, 4, 5])));
    check_as_is::<f32>(last(layer([1, 3000, 1, 3, 4])));
    check_as_is::<f64>(Params { kernel: [1, 2, 1], ..last(layer([1, 9000, 1, 2, 3])) });
    let cube = Params { axes: 3, kernel: [2, 3, 3], pad_begin: [1; 3], ..layer([1, 40, 2, 5, 6]) };
    check_as_is::<f64>(last(Params { input: [5, 6, 7], ..cube }));
}
