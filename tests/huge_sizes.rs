//! Sizes up to those of the address space: a plan or an error, at once, and no panic. Layers with strides and paddings that
//! large, whose tensors are small, are right as well.

use im2col::testing::{Fill, Layer, PASSES, Tolerance, plans};
use im2col::{Accuracy, Algorithm, Axis, Error, Layout, Options, Params, Plan, Shape, Size};
use std::time::Instant;

/// A layer in which every size is another number.
fn params() -> Params {
    Params {
        batch: 2,
        in_channels: 6,
        out_channels: 9,
        groups: 3,
        input: [10, 11, 1],
        kernel: [3, 4, 1],
        stride: [2, 1, 1],
        dilation: [1, 2, 1],
        pad_begin: [1, 0, 0],
        pad_end: [0, 2, 0],
        ..Params::default()
    }
}

/// Sets a size, or some of them.
type Set = fn(&mut Params, usize);

/// Every size of a layer of two axes by itself.
const SIZES: [Set; 16] = [
    |p, n| p.batch = n,
    |p, n| p.in_channels = n,
    |p, n| p.out_channels = n,
    |p, n| p.groups = n,
    |p, n| p.input[0] = n,
    |p, n| p.input[1] = n,
    |p, n| p.kernel[0] = n,
    |p, n| p.kernel[1] = n,
    |p, n| p.stride[0] = n,
    |p, n| p.stride[1] = n,
    |p, n| p.dilation[0] = n,
    |p, n| p.dilation[1] = n,
    |p, n| p.pad_begin[0] = n,
    |p, n| p.pad_begin[1] = n,
    |p, n| p.pad_end[0] = n,
    |p, n| p.pad_end[1] = n,
];

/// Every pass of every plan of a layer gives what the naive loops do.
fn assert_every_plan(layer: &Layer<f32>) {
    for expected in layer.all_answers() {
        for plan in plans(layer.shape) {
            expected.assert_plan(&plan, Tolerance::Exact);
        }
    }
}

/// `2^n` where an address has 64 bits, and as large beside the others where it has fewer.
const fn power(n: u32) -> usize {
    1 << (n * usize::BITS / 64)
}

/// Any size, or two at once, as large as there is and near every power that could wrap: a plan
/// or an error, and no panic. No plan allocates.
#[test]
fn a_huge_size_never_panics() {
    let huge = [usize::MAX, usize::MAX / 2, usize::MAX / 4, usize::MAX / 8, power(32), 1 << 31];
    let depthwise = Params { in_channels: 3, ..params() };
    for set in SIZES {
        for second in SIZES {
            let sizes = huge.iter().flat_map(|&n| [n - 1, n, n.saturating_add(1)]);
            for (n, layer) in sizes.flat_map(|n| [(n, params()), (n, depthwise)]) {
                let mut params = layer;
                set(&mut params, n);
                second(&mut params, n);
                let Ok(shape) = Shape::new(params) else { continue };
                for algorithm in [Algorithm::Auto, Algorithm::Explicit, Algorithm::Implicit] {
                    if let Ok(plan) = Plan::<f64>::new(shape, algorithm.into()) {
                        let lens = |pass| [plan.min_scratch_len(pass), plan.scratch_len(pass)];
                        assert!(PASSES.map(lens).iter().all(|[min, full]| min <= full));
                    }
                }
            }
        }
    }
}

/// A stride or dilation that is never stepped may have any size: the layer is planned, and right.
/// (Found by the fuzzer: a depthwise layer's plan multiplied a stride of 2⁵⁹ by a pitch.)
#[test]
fn steps_that_are_never_taken_may_have_any_size() {
    for huge in [usize::MAX, usize::MAX / 2, usize::MAX / 7 + 1, power(59), power(32)] {
        for groups in [1, 2, 6] {
            for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
                for (kernel, dilation) in [(1, huge), (7, 1)] {
                    let layer = Params {
                        axes: 3,
                        layout,
                        in_channels: 6,
                        out_channels: 6,
                        groups,
                        input: [7; 3],
                        kernel: [kernel, 2, 1],
                        stride: [huge, 1, huge],
                        dilation: [dilation, 1, huge],
                        ..Params::default()
                    };
                    let layer = Layer::<f32>::new(layer, Fill::Integers);
                    assert_every_plan(&layer);
                }
            }
        }
    }
}

/// The same of rows that are copied: a tap that meets nothing but padding has no place in the image.
/// (Found by the fuzzer through C: the slot after the last lay a stride of 2⁶² further on.)
#[test]
fn slots_of_a_copy_past_the_last_have_no_place() {
    for huge in [usize::MAX, usize::MAX / 2, isize::MAX as usize / 2 + 1, power(60)] {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            for (channels, groups) in [(3, 1), (20, 1), (8, 2)] {
                for stride in [[huge; 3], [1, huge, 1], [2, 1, huge]] {
                    let layer = Params {
                        layout,
                        in_channels: channels,
                        out_channels: channels,
                        groups,
                        input: [4, 6, 1],
                        kernel: [2, 3, 1],
                        stride,
                        dilation: [2, 2, 1],
                        pad_begin: [1, 3, 0],
                        ..Params::default()
                    };
                    let layer = Layer::<f32>::new(layer, Fill::Integers);
                    assert_every_plan(&layer);
                }
            }
        }
    }
}

/// The second row of outputs meets the image with a stride that no row of it has room for, the first meets nothing: an image
/// that is read as it lies has to be one whose places can be counted.
#[test]
fn rows_of_outputs_further_apart_than_memory() {
    let far: usize = if usize::BITS == 64 { power(61) } else { 1 << 23 };
    for (height, pad) in [(3, far - 1), (1, far)] {
        let layer = Params {
            in_channels: 32,
            out_channels: 64,
            input: [height, 1000, 1],
            kernel: [1, 3, 1],
            stride: [far, 1, 1],
            pad_begin: [pad, 1, 0],
            pad_end: [0, 1, 0],
            ..Params::default()
        };
        let layer = Layer::<f32>::new(layer, Fill::Integers);
        assert_every_plan(&layer);
    }
}

/// Padding lets a few numbers have far more outputs and taps than memory: what plans make of both
/// at once can overflow. A plan or an error, whatever the sizes.
/// (Found by the fuzzer: a layer with 2⁵³ taps and more; its cells were sized by pixels times terms.)
#[test]
fn outputs_times_taps_may_be_any_number() {
    check_outputs_times_taps(Layout::ChannelsFirst, &[1, 2, usize::MAX / 2]);
}

#[test]
fn outputs_times_taps_may_be_any_number_channels_last() {
    check_outputs_times_taps(Layout::ChannelsLast, &[1, 2]);
}

fn check_outputs_times_taps(layout: Layout, strides: &[usize]) {
    let sizes = [3, 1 << 9, power(20), power(31), power(45), power(53), power(57)];
    for (taps, outputs) in sizes.into_iter().flat_map(|a| sizes.map(|b| (a, b))) {
        for (channels, groups) in [(1, 1), (2, 2), (4, 2), (40, 1)] {
            for &stride in strides {
                let reach = |outputs: usize| (outputs - 1).saturating_mul(stride);
                for outputs in [[outputs, 1, 1], [1, outputs, 1], [2, 1, outputs]] {
                    let layer = Params {
                        axes: 3,
                        layout,
                        in_channels: channels,
                        out_channels: channels,
                        groups,
                        input: [1; 3],
                        kernel: outputs.map(|n| if n > 2 { taps } else { 1 }),
                        stride: [stride; 3],
                        pad_begin: outputs.map(|n| if n > 2 { taps - 1 } else { 0 }),
                        pad_end: outputs.map(reach),
                        ..Params::default()
                    };
                    let Ok(shape) = Shape::new(layer) else { continue };
                    for algorithm in [Algorithm::Implicit, Algorithm::Explicit] {
                        let plan = Plan::<f32>::new(shape, algorithm.into());
                        let Ok(plan) = plan else { continue };
                        for pass in PASSES {
                            assert!(plan.min_scratch_len(pass) <= plan.scratch_len(pass));
                        }
                        let refused = plan.forward(&[], &[]).run(&mut [0.0; 0]);
                        assert!(matches!(refused, Err(Error::Length { .. })));
                    }
                }
            }
        }
    }
}

/// An axis answers any numbers, also one that nobody checked.
#[test]
fn an_axis_answers_any_numbers() {
    let checked = Shape::new(params()).unwrap();
    let any =
        [0, 1, 2, 7, power(32), usize::MAX / 2, usize::MAX / 2 + 1, usize::MAX - 1, usize::MAX];
    let check = |axis: Axis| {
        for k in any {
            let inside = axis.inside(k);
            assert!(inside.start <= axis.output && inside.end <= axis.output, "{axis:?}");
            for o in any {
                let read = axis.source(o, k);
                assert!(read.is_none_or(|i| i < axis.input), "{axis:?}");
            }
        }
    };
    checked.axes().iter().for_each(|&axis| check(axis));
    for (o, k) in (0..20).flat_map(|o| (0..5).map(move |k| (o, k))) {
        for axis in checked.axes().iter().filter(|axis| o < axis.output && k < axis.kernel) {
            assert_eq!(axis.source(o, k).is_some(), axis.inside(k).contains(&o), "{axis:?}");
        }
    }
    for stride in any {
        for dilation in any {
            for (input, pad_begin) in any.into_iter().flat_map(|n| any.map(|pad| (n, pad))) {
                let output = pad_begin / 2;
                let mut axis: Axis = checked.axes()[0];
                (axis.input, axis.output, axis.stride) = (input, output, stride);
                (axis.dilation, axis.pad_begin) = (dilation, pad_begin);
                check(axis);
            }
        }
    }
}

/// Neither may rows that don't exist be reached by such a step: kernels sum several rows at once.
/// (Found by the fuzzer: a stride of 2⁶² was stepped three times; the fourth row could be
/// taken for one of the image.)
#[test]
fn rows_that_do_not_exist_are_not_read() {
    const HUGE: usize = isize::MAX as usize / 2;
    // Where the outputs past the first are said to lie: strides and the paddings before them.
    let steps = [
        ([HUGE + 1, 1], [0, 0]),
        ([HUGE + 1 + (HUGE >> 31), 1], [0, 0]),
        ([usize::MAX / 3 + 1, 1], [1, 1]),
        ([usize::MAX, usize::MAX], [0, 0]),
        ([HUGE - 9, 1], [HUGE - 9, 0]),
        ([1, HUGE - 40], [0, HUGE - 40]),
    ];
    for ([h, w], [top, left]) in steps {
        for groups in [6, 3] {
            let layer = Params {
                in_channels: 6,
                out_channels: 6,
                groups,
                input: [9, 40, 1],
                kernel: [3, 3, 1],
                stride: [h, w, 1],
                pad_begin: [top, left, 0],
                ..Params::default()
            };
            let layer = Layer::<f32>::new(layer, Fill::Integers);
            assert_every_plan(&layer);
        }
    }
}

/// A layer whose tensors fit, but whose patch matrix doesn't.
#[test]
fn cols_that_do_not_fit() {
    let side = power(28);
    let params = Params {
        axes: 1,
        input: [power(35), 1, 1],
        kernel: [side, 1, 1],
        pad_begin: [side, 0, 0],
        ..Params::default()
    };
    let shape = Shape::new(params).unwrap();
    let error = Error::Overflow { size: Size::new("cols", None) };
    assert_eq!(shape.cols_len().unwrap_err(), error);
    let plan = Plan::<f32>::new(shape, Algorithm::Explicit.into());
    assert_eq!(plan.unwrap_err(), error);
}

/// Planning looks at phases, taps and tables, never at as many things as a layer has elements: a layer that nobody
/// could compute is planned, or refused, at once.
/// (Found by the fuzzer through C: 2⁵⁶ output channels had a table of gigabytes, and a kernel of 2³² taps of which
/// padding meets all but one was walked tap by tap for each of a few pixels; a batch of none has more input channels than
/// weights' places have bits.)
#[test]
fn any_layer_is_planned_at_once() {
    let wide: [Set; 12] = [
        |p, n| p.batch = n,
        |p, n| p.in_channels = n,
        |p, n| p.out_channels = n,
        |p, n| (p.in_channels, p.groups) = (n, n),
        |p, n| (p.in_channels, p.out_channels, p.groups) = (n, n, n),
        |p, n| p.input = [1, n, 1],
        |p, n| p.input = [1, 1, n],
        |p, n| (p.kernel[0], p.pad_begin[0]) = (n, n - 1),
        |p, n| (p.kernel[2], p.pad_begin[2]) = (n, n / 2 + 8),
        |p, n| (p.input[1], p.dilation[1]) = (2 * n + 1, n),
        |p, n| (p.input[2], p.dilation[2]) = (2 * n + 1, n),
        |p, n| (p.input[1], p.stride[1], p.kernel[1]) = (2 * n, n, n),
    ];
    for (batch, kernel) in [(1, 3), (0, 3), (1, 1), (0, 1)] {
        let pad = [0, kernel / 2, kernel / 2];
        let base = Params {
            batch,
            in_channels: 40,
            out_channels: 64,
            axes: 3,
            input: [1, 5, 5],
            kernel: [1, kernel, kernel],
            pad_begin: pad,
            pad_end: pad,
            ..Params::default()
        };
        for (i, first) in wide.iter().enumerate() {
            for second in &wide[i..] {
                for bits in [12, 20, 26, 32, 40, 48, 56] {
                    let mut params = base;
                    first(&mut params, power(bits));
                    second(&mut params, power(bits));
                    assert_is_planned_at_once(params);
                }
            }
        }
    }
}

fn assert_is_planned_at_once(params: Params) {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let Ok(shape) = Shape::new(Params { layout, ..params }) else { continue };
        for accuracy in [Accuracy::Element, Accuracy::Tile] {
            let start = Instant::now();
            let _planned_or_refused =
                Plan::<f32>::new(shape, Options::default().accuracy(accuracy));
            let took = start.elapsed();
            // Milliseconds, but for emulated processors.
            assert!(took.as_secs() < 60, "{took:?} for {params:?}");
        }
    }
}

/// A layer without channels has no terms, however many taps it has.
/// (Found by the fuzzer through C: the naive loop visited 2³⁹ taps for each output.)
#[test]
fn taps_without_channels_are_not_visited() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        assert_every_plan(&Layer::<f32>::new(
            Params {
                layout,
                in_channels: 0,
                kernel: [power(39), 4, 1],
                pad_begin: [power(39), 0, 0],
                ..params()
            },
            Fill::Integers,
        ));
    }
}
