//! Every path of the library on layers so small that an interpreter runs them: Miri takes seconds
//! for each. It has no SIMD, so there the kernels are the portable ones, on one thread; elsewhere they
//! are those of every ISA that there is (Valgrind has AVX2).
//!
//! What they compute is judged elsewhere: here the passes are held to each other, which costs the
//! interpreter less than the naive loops would.
//!
//! `bash .ci/memory miri`

#![allow(unsafe_code, reason = "the C interface as C calls it")]

use im2col::testing::{Fill, Layer, PASSES, bits, dot, isas};
use im2col::{Algorithm, Element, Isa, Layout, Options, Params, Pass, Plan, Shape, Write};
use im2col::{col2im, im2col};

/// Layers whose plans differ: products with lanes of pixels and of channels, phases, copies, few
/// pixels, stencils and their twins, groups of few channels, one axis and three.
fn layers() -> Vec<(&'static str, Params)> {
    let dense = Params {
        in_channels: 2,
        out_channels: 3,
        input: [4, 5, 1],
        kernel: [3, 2, 1],
        pad_begin: [1, 0, 0],
        pad_end: [0, 1, 0],
        ..Params::default()
    };
    let channels = Params { out_channels: 18, batch: 2, input: [3, 4, 1], ..dense };
    let last = Params { layout: Layout::ChannelsLast, ..channels };
    let square = Params { kernel: [3, 3, 1], pad_begin: [1, 1, 0], pad_end: [1, 1, 0], ..dense };
    let depthwise = Params { out_channels: 4, groups: 2, ..square };
    let depthwise_last = Params {
        layout: Layout::ChannelsLast,
        in_channels: 3,
        out_channels: 3,
        groups: 3,
        ..square
    };
    let grouped = Params { in_channels: 4, out_channels: 4, groups: 2, ..square };
    let strided = |layer: Params| Params { stride: [2, 2, 1], ..layer };
    let few = Params { in_channels: 4, out_channels: 10, input: [3, 3, 1], ..square };
    let line = Params { axes: 1, input: [19, 1, 1], pad_end: [2, 0, 0], ..dense };
    vec![
        ("dense", dense),
        ("strided", strided(dense)),
        ("dilated", Params { dilation: [1, 3, 1], ..dense }),
        ("lanes of channels", channels),
        ("channels last", last),
        ("channels last, strided", strided(last)),
        ("depthwise", depthwise),
        ("depthwise, strided", strided(depthwise)),
        ("depthwise, channels last", depthwise_last),
        ("depthwise, channels last, strided", strided(depthwise_last)),
        ("grouped", grouped),
        ("grouped, strided", strided(grouped)),
        ("few pixels", few),
        ("whole image", Params { pad_begin: [0; 3], pad_end: [0; 3], ..few }),
        ("one axis", line),
        ("three axes", Params { axes: 3, input: [2, 3, 4], kernel: [2, 2, 1], ..dense }),
    ]
}

/// `<conv(x, w), g> = <w, dW> = <x, dV>`, exact on whole numbers: the passes judge each other.
#[test]
fn every_path() {
    for (name, params) in layers() {
        let layer = Layer::<f32>::new(params, Fill::Integers);
        isas().for_each(|isa| check_path(name, &layer, isa));
    }
}

fn check_path(name: &str, layer: &Layer<f32>, isa: Isa) {
    let implicit = Algorithm::Implicit;
    let plan = Plan::new(layer.shape, Options::from(implicit).isa(isa)).unwrap();
    // In lent scratch, as little as there may be, full of NaN; and in scratch of its own.
    let len = plan.min_scratch_len(Pass::Forward);
    let y = layer.run_with_scratch(&plan, Pass::Forward, Write::Overwrite, len).unwrap();
    let dv = layer.run(&plan, Pass::BackwardData, Write::Overwrite);
    let len = plan.min_scratch_len(Pass::BackwardWeight);
    let dw = layer.run_with_scratch(&plan, Pass::BackwardWeight, Write::Overwrite, len);
    let sum = dot(&y, &layer.grad_output);
    assert_eq!(sum, dot(&layer.input, &dv), "{name}, {isa}");
    assert_eq!(sum, dot(&layer.weight, &dw.unwrap()), "{name}, {isa}");
}

#[test]
fn added_to_doubles_as_by_the_textbook() {
    for (name, params) in layers().into_iter().step_by(5) {
        let layer = Layer::<f64>::new(params, Fill::Integers);
        let plans = [Algorithm::Implicit, Algorithm::Explicit].map(|how| plan(&layer, how));
        for pass in PASSES {
            let [a, b] = plans.each_ref().map(|plan| layer.run(plan, pass, Write::Accumulate));
            assert_eq!(bits(&a), bits(&b), "{pass:?} of {name}");
        }
    }
}

fn plan<T: Element>(layer: &Layer<T>, algorithm: Algorithm) -> Plan<T> {
    Plan::new(layer.shape, algorithm.into()).unwrap()
}

#[test]
fn cols_and_their_adjoint() {
    for (name, params) in layers().into_iter().step_by(5) {
        let layer = Layer::<f32>::new(params, Fill::Integers);
        let shape = &layer.shape;
        let image = &layer.input[..shape.image_len()];
        let mut cols = vec![f32::NAN; shape.cols_len().unwrap()];
        im2col(shape, image, &mut cols).unwrap();
        let mut back = vec![f32::NAN; image.len()];
        col2im(shape, &cols, &mut back, Write::Overwrite).unwrap();
        // <im2col(x), im2col(x)> = <x, col2im(im2col(x))>, exact on whole numbers.
        assert_eq!(dot(&cols, &cols), dot(image, &back), "{name}");
    }
}

/// Any numbers: an error or a plan, and neither panics nor overflows.
#[test]
fn wild_sizes() {
    let huge = [0, 3, usize::MAX / 8 + 1, usize::MAX];
    let (_, layer) = layers().swap_remove(6);
    for (a, b) in huge.into_iter().flat_map(|a| huge.map(|b| (a, b))) {
        let wild = [
            Params { batch: a, in_channels: b, ..layer },
            Params { stride: [a, b, 1], ..layer },
            Params { dilation: [a, b, 1], kernel: [1, 2, 1], ..layer },
            Params { pad_begin: [a, 0, 0], pad_end: [b, 0, 0], stride: [b, 1, 1], ..layer },
        ];
        for params in wild {
            let Ok(shape) = Shape::new(params) else { continue };
            if let Ok(plan) = Plan::<f32>::new(shape, Algorithm::Auto.into()) {
                assert!(plan.scratch_len(Pass::Forward) >= plan.min_scratch_len(Pass::Forward));
            }
        }
    }
}

#[cfg(feature = "capi")]
#[test]
fn the_c_interface() {
    use im2col::capi::*;
    use std::ffi::{CStr, c_void};
    use std::ptr::{null, null_mut};

    let mut params = im2col_conv_params {
        spatial_dims: 2,
        dtype: IM2COL_F32,
        layout: IM2COL_CHANNELS_FIRST,
        algorithm: IM2COL_ALGORITHM_AUTO,
        batch: 1,
        in_channels: 2,
        out_channels: 3,
        groups: 1,
        input: [4, 4, 0],
        kernel: [3, 3, 0],
        stride: [1, 1, 0],
        dilation: [1, 1, 0],
        pad_begin: [1, 1, 0],
        pad_end: [1, 1, 0],
    };
    let mut conv = null_mut();
    let (x, w, mut y) = ([1f32; 32], [1f32; 54], [f32::NAN; 48]);
    let mut scratch = [f32::NAN; 4096];
    // SAFETY: pointers are NULL, or come from arrays of the plan's lengths; the plan is destroyed
    // once.
    unsafe {
        assert_eq!(im2col_conv_create(&params, &mut conv), IM2COL_OK);
        let [x, w] = [x.as_ptr(), w.as_ptr()].map(|p| p.cast::<c_void>());
        for bytes in [0, size_of_val(&scratch)] {
            let lent = if bytes == 0 { null_mut() } else { scratch.as_mut_ptr().cast() };
            y.fill(f32::NAN);
            let to = y.as_mut_ptr().cast();
            assert_eq!(im2col_conv_forward(conv, x, w, null(), to, lent, bytes), IM2COL_OK);
            assert_eq!([y[0], y[5]], [8.0, 18.0]);
        }
        let status = im2col_conv_forward(conv, x, w, null(), x.cast_mut(), null_mut(), 0);
        assert_eq!(status, IM2COL_INVALID_ARGUMENT);
        let said = CStr::from_ptr(im2col_last_error()).to_str().unwrap();
        assert!(said.contains("share memory"), "{said}");
        assert_eq!(im2col_conv_forward(conv, null(), w, null(), null_mut(), null_mut(), 0), 1);
        im2col_conv_destroy(conv);
        im2col_conv_destroy(null_mut());
        params.groups = 2;
        assert_eq!(im2col_conv_create(&params, &mut conv), IM2COL_INVALID_ARGUMENT);
        assert!(conv.is_null());
    }
}
