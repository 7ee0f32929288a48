//! The kit itself: what is wrong is found, and said so that it can be mended.

use im2col::testing::{
    Call, EXACT, Family, Fill, Guarded, Layer, Special, Tolerance, assert_adjoint, assert_gradient,
    calls, families, for_families, for_layers, numbers, place, plans, sprinkle,
};
use im2col::{Algorithm, Layout, Params, Pass, Plan, Shape, Write, reference};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a panic says; fails if there is none.
fn panic_of(test: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(test)).expect_err("this has to fail");
    *panic.downcast::<String>().expect("panics with a message")
}

/// A 2-D layer in which every size is another number.
fn params(layout: Layout) -> Params {
    Params {
        layout,
        batch: 2,
        in_channels: 3,
        out_channels: 4,
        input: [5, 6, 1],
        kernel: [2, 3, 1],
        pad_begin: [1, 0, 0],
        ..Params::default()
    }
}

/// Every element of every answer, changed by itself, is found and named.
#[test]
fn one_wrong_element_is_found_wherever_it_is() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let layer = Layer::<f32>::new(params(layout), Fill::Integers);
        let passes = calls().map(|(pass, write)| Call::Pass(pass, write));
        for call in passes.chain([Call::Bias(Write::Overwrite)]) {
            let expected = layer.expected(call);
            let right: Vec<f32> = expected.values.iter().map(|&x| x as f32).collect();
            expected.assert_close("the naive loops", &right, Tolerance::Exact);
            for i in 0..right.len() {
                for wrong in [right[i] + 1.0, f32::NAN, f32::INFINITY] {
                    let mut got = right.clone();
                    got[i] = wrong;
                    for tolerance in [Tolerance::Exact, Tolerance::Factor(100.0)] {
                        let mismatch = expected.check("", &got, tolerance).unwrap_err();
                        assert_eq!((mismatch.index, mismatch.wrong), (i, 1), "{mismatch}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_failure_says_all_there_is_to_know() {
    let layer = Layer::<f32>::new(params(Layout::ChannelsFirst), Fill::Painted);
    let expected = layer.expected(Call::Pass(Pass::Forward, Write::Accumulate));
    let mut got: Vec<f32> = expected.values.iter().map(|&x| x as f32).collect();
    // Image 1, channel 2, row 0, column 3 of 5 x 4 outputs.
    let index = ((4 + 2) * 5) * 4 + 3;
    got[index] += 0.5;
    let said = panic_of(|| expected.assert_close("my kernel", &got, Tolerance::Exact));
    let sum = expected.values[index];
    let parts = [
        "my kernel: forward with bias is wrong at output[1, 2, 0, 3], element 123".to_owned(),
        "1 of 160 elements are".to_owned(),
        format!("found    {}\nexpected {sum}\n", sum + 0.5),
        "off by   5e-1, allowed 0e0".to_owned(),
        "input [2, 3, 5, 6], weight [4, 3, 2, 3], stride [1, 1]".to_owned(),
        "padding [1, 0] and [0, 0], groups 1, ChannelsFirst".to_owned(),
        "bias[2] = 3\n".to_owned(),
        // Row 0 sees one row of padding: of 3 channels of 6 taps a half is left.
        "the patch that met there, 9 products".to_owned(),
        format!(
            "  input[1, 0, 0, 3] {} * weight[2, 0, 1, 0] {}",
            layer.input[93], layer.weight[39]
        ),
    ];
    for part in parts {
        assert!(said.contains(&part), "{part:?} is not in:\n{said}");
    }
    let said = panic_of(|| expected.assert_close("my kernel", &got[1..], Tolerance::Exact));
    assert!(said.contains("output has 159 elements, not 160"), "{said}");
}

/// Half of what the contract allows passes, twice as much doesn't.
#[test]
fn the_contract_is_as_tight_as_it_says() {
    let layer = Layer::<f64>::new(params(Layout::ChannelsLast), Fill::Normal);
    for expected in layer.all_answers() {
        let factor = im2col::testing::contract(expected.terms);
        for (share, passes) in [(0.5, true), (2.0, false)] {
            let off = |(i, value): (usize, &f64)| {
                value + share * factor * f64::EPSILON * expected.magnitude(i)
            };
            let got: Vec<f64> = expected.values.iter().enumerate().map(off).collect();
            let result = expected.check("", &got, Tolerance::Contract);
            assert_eq!(result.is_ok(), passes, "{:?} {share}", expected.call);
        }
    }
}

/// The judge's own bias, where the answers add one themselves.
#[test]
fn a_bias_is_added_once() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let layer = Layer::<f32>::new(params(layout), Fill::Integers);
        let Layer { shape, input, weight, bias, .. } = &layer;
        let judged = reference::forward(shape, input, weight, Some(bias)).unwrap();
        assert_eq!(judged, layer.expected(Call::Pass(Pass::Forward, Write::Accumulate)).values);
    }
}

/// What the library chooses by itself is one of the plans that are tested.
#[test]
fn the_choice_is_one_of_the_plans() {
    for_families(4, |params| {
        let shape = Shape::new(params).unwrap();
        let choice = Plan::<f32>::new(shape, Algorithm::Auto.into()).unwrap();
        let is = |plan: &Plan<f32>| format!("{plan:?}") == format!("{choice:?}");
        assert!(plans(shape).iter().any(is), "{choice:?}");
    });
}

/// Where the answer isn't finite, only the same is right.
#[test]
fn infinities_and_nan_are_compared() {
    for special in Special::NON_FINITE {
        let mut layer = Layer::<f32>::new(params(Layout::ChannelsFirst), Fill::Normal);
        place(&mut layer.input, special, 17);
        let expected = layer.expected(Call::Pass(Pass::Forward, Write::Overwrite));
        let right: Vec<f32> = expected.values.iter().map(|&x| x as f32).collect();
        let i = right.iter().position(|x| !x.is_finite()).expect("it spreads");
        expected.check("", &right, Tolerance::Contract).unwrap();
        for other in [0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut got = right.clone();
            got[i] = other;
            let same = other == right[i] || (other.is_nan() && right[i].is_nan());
            assert_eq!(expected.check("", &got, Tolerance::Contract).is_ok(), same, "{other}");
        }
    }
}

/// A family shrinks what fails to its small end.
#[test]
fn a_failing_layer_shrinks() {
    let said = panic_of(|| {
        for_layers(&Family::dense(), 50, |params| assert!(params.kernel[1] < 3, "too wide"));
    });
    for part in ["family dense", "too wide", "kernel: [1, 3, 1]", "batch: 1"] {
        assert!(said.contains(part), "{part:?} is not in {said}");
    }
}

/// Every family draws layers, what it says it draws, and another than every other.
#[test]
fn families_are_what_they_say() {
    let families = families();
    let named = |name: &str| families.iter().find(|f| f.name == name).expect(name);
    let each = |name: &str, test: fn(&Params, &Shape)| {
        for_layers(named(name), 50, |params| test(&params, &Shape::new(params).unwrap()));
    };
    let mut names: Vec<_> = families.iter().map(|family| family.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), families.len());
    each("depthwise", |_, shape| assert!(shape.group_in() == 1 && shape.groups() > 1));
    each("grouped", |_, shape| assert!(shape.groups() > 1));
    each("depthwise-multiplier", |_, shape| {
        assert!(shape.group_in() == 1 && shape.group_out() > 1)
    });
    each("depthwise-wide", |_, shape| assert!(shape.group_out() == 1 && shape.groups() >= 15));
    each("depthwise-long", |_, shape| {
        assert!(shape.group_in() == 1 && shape.groups() > 1 && shape.input_pixels() > 240 - 18);
    });
    each("groups-of-4-to-32", |_, shape| {
        assert!(shape.groups() > 1 && shape.group_in().min(shape.group_out()) >= 4);
    });
    each("few-pixels", |_, shape| {
        assert!(shape.output_pixels() < 81 && shape.out_channels() >= 24, "{shape:?}");
    });
    each("1d-long", |_, shape| assert!(shape.axes().len() == 1 && shape.input_pixels() > 200));
    each("1d", |_, shape| assert_eq!(shape.axes().len(), 1));
    each("3d", |_, shape| assert_eq!(shape.axes().len(), 3));
    each("pointwise", |_, shape| assert_eq!(shape.kernel_taps(), 1));
    each("large-dilation", |_, shape| assert!(shape.axes().iter().all(|a| a.dilation >= 5)));
    each("kernel-as-large-as-image", |_, shape| {
        let as_large = |a: &im2col::Axis| a.output == 1 || a.pad_begin + a.pad_end >= a.kernel;
        assert!(shape.axes().iter().all(as_large), "{shape:?}");
    });
    each("few-channels", |_, shape| assert!(shape.in_channels() <= 3));
    each("few-output-channels", |_, shape| assert!(shape.out_channels() <= 3));
    each("wide", |_, shape| assert!(shape.in_channels().min(shape.out_channels()) >= 16));
    each("sparse", |params, _| assert!(params.stride[..2].iter().all(|&s| s > 2)));
}

/// Sums of exact fills are exact in f32: the largest of any family stays below 2²⁴.
#[test]
fn exact_fills_are_exact() {
    for family in families() {
        for_layers(&family, 10, |params| {
            for fill in EXACT {
                let layer = Layer::<f32>::new(params, fill);
                for expected in layer.all_answers() {
                    let largest = (0..expected.values.len())
                        .map(|i| expected.magnitude(i))
                        .fold(0.0, f64::max);
                    let call = expected.call;
                    assert!(largest < f64::from(1 << 24), "{fill:?} {call:?}: {largest}");
                }
            }
        });
    }
}

#[test]
fn gradients_that_are_wrong() {
    let (x, y) = ([1.0f32, 2.0, 3.0], [5.0f32, 7.0]);
    let sums = |x: &[f32]| vec![x[0] + x[1], x[1] + x[2]];
    assert_adjoint("sums", &x, &y, sums, |y| vec![y[0], y[0] + y[1], y[1]], 0.0);
    let said = panic_of(|| {
        assert_adjoint("sums", &x, &y, sums, |y| vec![y[0], y[0], y[1]], 4.0);
    });
    assert!(said.contains("sums: not adjoint: <f(x), y> = 50"), "{said}");
    let said = panic_of(|| assert_adjoint("", &x, &y, sums, |_| vec![f32::NAN; 3], 4.0));
    assert!(said.contains("NaN"), "{said}");

    let square = |x: &[f64]| x.iter().map(|x| x * x).sum();
    assert_gradient("square", &[1.0, 2.0], &[2.0, 4.0], square, 1.0, 0.0);
    let said = panic_of(|| assert_gradient("square", &[1.0, 2.0], &[2.0, 5.0], square, 1.0, 0.5));
    assert!(said.contains("square: gradient[1] is 5, a step of 1 says 4"), "{said}");
}

/// Products of denormals lose digits that no arithmetic can keep, and no more than those.
#[test]
fn what_denormals_lose_is_allowed() {
    fn check<T: im2col::Element>(smallest: f64) {
        let mut layer = Layer::<T>::new(params(Layout::ChannelsFirst), Fill::Normal);
        layer.input.fill(Special::Denormal.number());
        let expected = layer.expected(Call::Pass(Pass::Forward, Write::Overwrite));
        let mut sums = vec![T::ZERO; layer.shape.output_len()];
        im2col::reference::terms(&layer.shape, |o, i, w| {
            sums[o] += layer.input[i] * layer.weight[w];
        });
        expected.check("one term after the other", &sums, Tolerance::Contract).unwrap();
        let terms = expected.terms as f64;
        sums[7] += T::from_f64(4.0 * terms * smallest);
        let mismatch = expected.check("", &sums, Tolerance::Contract).unwrap_err();
        assert_eq!((mismatch.index, mismatch.wrong), (7, 1), "{mismatch}");
    }
    check::<f32>(2f64.powi(-149));
    check::<f64>(f64::from_bits(1));
}

#[test]
fn special_numbers_are_special() {
    assert!(Special::Denormal.number::<f32>().is_subnormal());
    assert!(Special::Denormal.number::<f64>().is_subnormal());
    assert!(Special::Nan.number::<f64>().is_nan());
    assert!(Special::NegativeZero.number::<f32>().to_bits() == 1 << 31);
    let mut tensor: Vec<f32> = numbers(Fill::Normal, 0, 10_000);
    sprinkle(&mut tensor, Special::Denormal, 10);
    let hit = tensor.iter().filter(|x| x.is_subnormal()).count();
    assert!((800..1200).contains(&hit), "{hit} of 10000");
}

/// A page that faults is really there, on both sides: a child of this process dies of it.
#[test]
#[cfg(unix)]
#[allow(unsafe_code, reason = "touches what is guarded")]
fn guarded_pages_fault() {
    use im2col::testing::{EDGES, Edge};
    use std::os::unix::process::ExitStatusExt;
    const SAY: &str = "IM2COL_TEST_TOUCH";
    if let Some(edge) = std::env::var_os(SAY) {
        let edge = EDGES.into_iter().find(|e| *format!("{e:?}") == *edge).expect("an edge");
        let tensor = Guarded::new(edge, &[1.0f32; 5]);
        let outside = match edge {
            Edge::Start => tensor.as_ptr().wrapping_sub(1),
            Edge::End => tensor.as_ptr().wrapping_add(5),
        };
        // SAFETY: none: this read is to fault, and the process with it.
        println!("read {}", unsafe { outside.read_volatile() });
        return;
    }
    for edge in EDGES {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "guarded_pages_fault"]).env(SAY, format!("{edge:?}"));
        let status = child.output().unwrap().status;
        assert_eq!(status.signal(), Some(11), "{edge:?}: {status}");
    }
}
