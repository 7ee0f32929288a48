//! Every error from every entry point: which one it is, what it says, and that nothing was
//! written. Sizes come from callers' files and arithmetic, so every number has to be answered.

use im2col::testing::{Fill, Layer, PASSES, WRITES, numbers, plans};
use im2col::{
    Activation, Algorithm, Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, Error, Layout,
    Params, Pass, Plan, Shape, Size, Write, col2im, im2col, reference,
};

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

fn size(what: &'static str, axis: Option<usize>) -> Size {
    Size::new(what, axis)
}

/// Every size of `params` on its own: name, axis, how to set it.
type Set = fn(&mut Params, usize);
fn sizes() -> Vec<(Size, Set)> {
    vec![
        (size("batch", None), |p, n| p.batch = n),
        (size("in_channels", None), |p, n| p.in_channels = n),
        (size("out_channels", None), |p, n| p.out_channels = n),
        (size("groups", None), |p, n| p.groups = n),
        (size("input", Some(0)), |p, n| p.input[0] = n),
        (size("input", Some(1)), |p, n| p.input[1] = n),
        (size("kernel", Some(0)), |p, n| p.kernel[0] = n),
        (size("kernel", Some(1)), |p, n| p.kernel[1] = n),
        (size("stride", Some(0)), |p, n| p.stride[0] = n),
        (size("stride", Some(1)), |p, n| p.stride[1] = n),
        (size("dilation", Some(0)), |p, n| p.dilation[0] = n),
        (size("dilation", Some(1)), |p, n| p.dilation[1] = n),
        (size("pad_begin", Some(0)), |p, n| p.pad_begin[0] = n),
        (size("pad_begin", Some(1)), |p, n| p.pad_begin[1] = n),
        (size("pad_end", Some(0)), |p, n| p.pad_end[0] = n),
        (size("pad_end", Some(1)), |p, n| p.pad_end[1] = n),
    ]
}

#[test]
fn number_of_axes() {
    for found in [0, 4, usize::MAX] {
        let error = Shape::new(Params { axes: found, ..params() }).unwrap_err();
        assert_eq!(error, Error::Axes { found });
        assert_eq!(error.to_string(), format!("{found} spatial axes: a layer has 1, 2 or 3"));
    }
}

#[test]
fn a_size_of_zero_is_named() {
    for (size, set) in sizes() {
        let mut params = params();
        set(&mut params, 0);
        let shape = Shape::new(params);
        if size.what.starts_with("pad") || ["batch", "in_channels"].contains(&size.what) {
            assert!(shape.is_ok(), "{size:?}");
        } else if size.what == "input" {
            // Padding may fill an axis without elements, but here it is too short.
            assert!(matches!(shape, Err(Error::KernelTooLarge { .. })), "{size:?}");
        } else {
            assert_eq!(shape.unwrap_err(), Error::Zero { size });
        }
    }
    let zero = |size| Error::Zero { size }.to_string();
    assert_eq!(zero(size("groups", None)), "groups is 0: it must be at least 1");
    assert_eq!(zero(size("kernel", Some(1))), "kernel of axis 1 is 0: it must be at least 1");
}

/// Errors are public: one that somebody else makes has a text, too.
#[test]
fn an_error_of_any_numbers_has_a_text() {
    for n in [0, usize::MAX] {
        let errors = [
            Error::WeightChannels { found: n, in_channels: n, groups: n },
            Error::Groups { what: "", channels: n, groups: n },
            Error::KernelTooLarge { axis: n, span: n, padded: n },
            Error::OutputPadding { axis: n, found: n, stride: n, dilation: n },
            Error::Index { what: "", len: n, found: n },
            Error::NothingLeft { axis: n, cut: n, padded: n },
            Error::OutOfMemory { bytes: n },
        ];
        assert!(errors.iter().all(|error| error.to_string().contains(&n.to_string())));
    }
}

#[test]
fn an_overflow_is_named() {
    let one = Params::default();
    let (max, half) = (usize::MAX, 1 << (usize::BITS / 2 - 1));
    let cases = [
        (Params { input: [max, 1, 1], pad_end: [1, 0, 0], ..one }, ("padded input", Some(0))),
        (Params { pad_begin: [0, max, 0], ..one }, ("padded input", Some(1))),
        (Params { kernel: [3, 1, 1], dilation: [max, 1, 1], ..one }, ("dilated kernel", Some(0))),
        (Params { kernel: [1, max, 1], ..one }, ("dilated kernel", Some(1))),
        (Params { batch: max, ..one }, ("input", None)),
        (Params { in_channels: max, ..one }, ("input", None)),
        (Params { out_channels: max, ..one }, ("weight", None)),
        (Params { batch: half, out_channels: half, ..one }, ("output", None)),
    ];
    for (params, (what, axis)) in cases {
        let error = Shape::new(params).unwrap_err();
        assert_eq!(error, Error::Overflow { size: size(what, axis) }, "{params:?}");
    }
    let said = Error::Overflow { size: size("padded input", Some(0)) }.to_string();
    let bytes = isize::MAX;
    let expected = "padded input of axis 0 is too large: it must fit the address space";
    assert_eq!(said, format!("{expected} ({bytes} bytes)"));
}

#[test]
fn groups_that_do_not_divide() {
    let refused = |params| Shape::new(params).unwrap_err();
    let error = refused(Params { in_channels: 7, ..params() });
    assert_eq!(error, Error::Groups { what: "in_channels", channels: 7, groups: 3 });
    let said = "in_channels 7 can't be split into 3 groups: 7 % 3 is not 0";
    assert_eq!(error.to_string(), said);
    let error = refused(Params { out_channels: 8, ..params() });
    assert_eq!(error, Error::Groups { what: "out_channels", channels: 8, groups: 3 });
}

#[test]
fn kernel_larger_than_the_padded_input() {
    let largest = Params { kernel: [11, 4, 1], ..params() };
    assert!(Shape::new(largest).is_ok(), "11 taps on 10 + 1 elements");
    let error = Shape::new(Params { kernel: [12, 4, 1], ..params() }).unwrap_err();
    assert_eq!(error, Error::KernelTooLarge { axis: 0, span: 12, padded: 11 });
    for part in ["axis 0", "spans 12", "padded input has 11", "must not be larger"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = Shape::new(Params { kernel: [3, 8, 1], ..params() }).unwrap_err();
    assert_eq!(error, Error::KernelTooLarge { axis: 1, span: 15, padded: 13 });
}

#[test]
fn weight_of_other_channels() {
    for found in [1, 3, 6, 0, usize::MAX] {
        let layer = Conv2d::<f32>::new([1, 6, 5, 5], [9, found, 3, 3]).groups(3);
        let error = layer.plan().unwrap_err();
        assert_eq!(error, Error::WeightChannels { found, in_channels: 6, groups: 3 });
        let said = "6 input channels and groups(3) it must be 2; sizes of a weight are [out_channels, in_channels";
        assert!(error.to_string().contains(said), "{error}");
    }
}

/// The builders hand every size on to the same checks.
#[test]
fn builders_refuse_what_shapes_refuse() {
    let zero = |what, axis| Error::Zero { size: size(what, axis) };
    let refused = Conv1d::<f32>::new([1, 1, 4], [0, 1, 1]).plan().unwrap_err();
    assert_eq!(refused, zero("out_channels", None));
    let refused = Conv3d::<f64>::new([1, 1, 4, 4, 4], [1, 1, 1, 1, 0]).plan().unwrap_err();
    assert_eq!(refused, zero("kernel", Some(2)));
    let layer = Conv2d::<f32>::new([1, 1, 4, 4], [1, 1, 1, 1]);
    assert_eq!(layer.groups(0).plan().unwrap_err(), zero("groups", None));
    assert_eq!(layer.stride([1, 0]).plan().unwrap_err(), zero("stride", Some(1)));
    assert_eq!(layer.dilation([0, 1]).plan().unwrap_err(), zero("dilation", Some(0)));
    assert!(layer.padding([usize::MAX, 0]).plan().is_err());
}

/// One element short and one long, slice by slice, plain and with scratch: the slice is named
/// and nothing is written, neither to the destination nor to the scratch.
#[test]
fn every_length_is_checked_before_anything_is_written() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let good = Layer::<f32>::new(Params { layout, ..params() }, Fill::Integers);
        for plan in plans(good.shape) {
            for (pass, write) in PASSES.into_iter().flat_map(|p| WRITES.map(|w| (p, w))) {
                for name in slices(pass, write) {
                    refuse(&good, &plan, (pass, write), name);
                }
            }
        }
    }
}

/// The slices that a pass takes. With `Accumulate`, forward takes a bias.
fn slices(pass: Pass, write: Write) -> Vec<&'static str> {
    match (pass, write) {
        (Pass::Forward, Write::Overwrite) => vec!["input", "weight", "output"],
        (Pass::Forward, _) => vec!["input", "weight", "bias", "output"],
        (Pass::BackwardData, _) => vec!["weight", "grad_output", "grad_input"],
        _ => vec!["input", "grad_output", "grad_weight"],
    }
}

fn refuse(good: &Layer<f32>, plan: &Plan<f32>, (pass, write): (Pass, Write), name: &'static str) {
    const SENTINEL: f32 = 12345.0;
    for by in [-1, 1] {
        let mut layer = good.clone();
        let mut destination = vec![SENTINEL; layer.destination_len(pass)];
        let slice = match name {
            "input" => &mut layer.input,
            "weight" => &mut layer.weight,
            "bias" => &mut layer.bias,
            "grad_output" => &mut layer.grad_output,
            _ => &mut destination,
        };
        let expected = slice.len();
        let found = expected.checked_add_signed(by).unwrap();
        slice.resize(found, SENTINEL);
        let mut scratch = vec![SENTINEL; plan.scratch_len(pass)];
        for scratch in [None, Some(scratch.as_mut_slice())] {
            let error = layer.run_into(plan, pass, write, scratch, &mut destination).unwrap_err();
            assert_eq!(error, Error::Length { what: name, expected, found }, "{pass:?}");
            let said = format!("{name} has {found} elements: this layer wants {expected}");
            assert_eq!(error.to_string(), said);
        }
        let untouched = destination.iter().chain(&scratch).all(|&x| x == SENTINEL);
        assert!(untouched, "{pass:?} wrote, though {name} was refused");
    }
}

/// The same of calls with packed weights, whose scratch may be short, too.
#[test]
fn packed_calls_check_every_length() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let layer = Layer::<f64>::new(Params { layout, ..params() }, Fill::Integers);
        let Layer { input: x, weight: w, bias: b, grad_output: g, .. } = &layer;
        let mut longer = [x, w, b, g].map(|tensor| tensor.iter().copied().chain([7.0]).collect());
        let [x2, w2, b2, g2]: &mut [Vec<f64>; 4] = &mut longer;
        for plan in plans(layer.shape) {
            let length = |result: Result<(), Error>, wanted| match result {
                Err(Error::Length { what, .. }) => assert_eq!(what, wanted, "{plan:?}"),
                other => panic!("{other:?} for {wanted} of {plan:?}"),
            };
            for w in [&w[1..], w2] {
                for pass in [Pass::Forward, Pass::BackwardData] {
                    length(plan.pack_weight(pass, w).map(drop), "weight");
                }
            }
            let [forward, backward] =
                [Pass::Forward, Pass::BackwardData].map(|pass| plan.pack_weight(pass, w).unwrap());
            let lens = [Pass::Forward, Pass::BackwardData].map(|pass| plan.min_scratch_len(pass));
            let [mut s, mut t] = lens.map(|len| vec![7.0; len]);
            let (mut y, mut dx) = (vec![7.0; g.len()], vec![7.0; x.len()]);
            for (wrong, x, b) in [
                ("input", &x[1..], &b[..]),
                ("input", x2, b),
                ("bias", x, &b[1..]),
                ("bias", x, b2),
            ] {
                length(plan.forward(x, &forward).bias(b).run(&mut y), wrong);
                let (bias, y) = (Some(b), &mut y);
                length(plan.forward(x, &forward).maybe_bias(bias).scratch(&mut s).run(y), wrong);
            }
            length(plan.forward(x, &forward).run(&mut y[1..]), "output");
            for (g, write) in [(&g[1..], Write::Overwrite), (g2, Write::Accumulate)] {
                length(plan.backward_data(&backward, g).write(write).run(&mut dx), "grad_output");
                let dx = &mut dx;
                let result = plan.backward_data(&backward, g).write(write).scratch(&mut t).run(dx);
                length(result, "grad_output");
            }
            let short = plan.backward_data(&backward, g).run(&mut dx[1..]);
            length(short, "grad_input");
            if let Some(found) = s.len().checked_sub(1) {
                let s = &mut s[1..];
                let result = plan.forward(x, &forward).scratch(s).run(&mut y);
                assert_eq!(result, Err(Error::Scratch { expected: found + 1, found }));
            }
            if let Some(found) = t.len().checked_sub(1) {
                let (dx, t) = (&mut dx, &mut t[1..]);
                let result = plan.backward_data(&backward, g).scratch(t).run(dx);
                assert_eq!(result, Err(Error::Scratch { expected: found + 1, found }));
            }
            let mut all = y.iter().chain(&dx).chain(&s).chain(&t);
            assert!(all.all(|&x| x == 7.0), "written on error: {plan:?}");
        }
    }
}

#[test]
fn scratch_too_short_writes_nothing() {
    let layer = Layer::<f64>::new(params(), Fill::Integers);
    for plan in plans(layer.shape) {
        for pass in PASSES {
            let Some(found) = plan.min_scratch_len(pass).checked_sub(1) else { continue };
            let (mut destination, mut scratch) =
                (vec![7.0; layer.destination_len(pass)], vec![7.0; found]);
            let scratch = Some(scratch.as_mut_slice());
            let to = &mut destination;
            let error = layer.run_into(&plan, pass, Write::Overwrite, scratch, to).unwrap_err();
            assert_eq!(error, Error::Scratch { expected: found + 1, found });
            let wants = format!("wants at least {}", found + 1);
            assert!(error.to_string().contains(&wants), "{error}");
            assert!(destination.iter().all(|&x| x == 7.0), "{pass:?} wrote");
        }
    }
}

#[test]
fn lengths_of_bias_cols_and_reference() {
    let layer = Layer::<f32>::new(params(), Fill::Integers);
    let (shape, short) = (&layer.shape, [7.0; 1]);
    let length = |what, expected| Error::Length { what, expected, found: 1 };
    let plan = Plan::new(*shape, Algorithm::Auto.into()).unwrap();

    let mut sums = [7.0; 9];
    let refused = plan.backward_bias(&short).run(&mut sums).unwrap_err();
    assert_eq!((refused, sums), (length("grad_output", shape.output_len()), [7.0; 9]));
    let mut sums = [7.0; 1];
    let refused = plan.backward_bias(&layer.grad_output).run(&mut sums).unwrap_err();
    assert_eq!((refused, sums), (length("grad_bias", 9), [7.0; 1]));

    let cols_len = shape.cols_len().unwrap();
    let (image, cols) = (numbers::<f32>(Fill::Integers, 0, shape.image_len()), vec![7.0; cols_len]);
    let mut to = cols.clone();
    assert_eq!(im2col(shape, &short, &mut to).unwrap_err(), length("image", shape.image_len()));
    assert_eq!(to, cols);
    assert_eq!(im2col(shape, &image, &mut [7.0]).unwrap_err(), length("cols", cols_len));
    let mut to = image.clone();
    let refused = col2im(shape, &short, &mut to, Write::Overwrite).unwrap_err();
    assert_eq!((refused, to), (length("cols", cols_len), image));
    let refused = col2im(shape, &cols, &mut [7.0], Write::Overwrite).unwrap_err();
    assert_eq!(refused, length("image", shape.image_len()));

    let Layer { input, weight, grad_output, .. } = &layer;
    let input_length = length("input", shape.input_len());
    let weight_length = length("weight", shape.weight_len());
    let gradient_length = length("grad_output", shape.output_len());
    let refused = [
        (reference::forward(shape, &short, weight, None), input_length.clone()),
        (reference::forward(shape, input, &short, None), weight_length.clone()),
        (reference::forward(shape, input, weight, Some(&short)), length("bias", 9)),
        (reference::backward_data(shape, &short, grad_output), weight_length),
        (reference::backward_data(shape, weight, &short), gradient_length.clone()),
        (reference::backward_weight(shape, &short, grad_output), input_length),
        (reference::backward_weight(shape, input, &short), gradient_length.clone()),
        (reference::backward_bias(shape, &short), gradient_length),
    ];
    refused.into_iter().for_each(|(got, expected)| assert_eq!(got.unwrap_err(), expected));
}

#[test]
fn transposed_layers() {
    let layer = ConvTranspose2d::<f32>::new([1, 4, 5, 5], [4, 3, 3, 3]).stride([2, 3]);
    for (padding, axis) in [([2, 0], 0), ([0, 3], 1), ([0, usize::MAX], 1)] {
        let (found, stride) = (padding[axis], [2, 3][axis]);
        let error = layer.output_padding(padding).plan().unwrap_err();
        assert_eq!(error, Error::OutputPadding { axis, found, stride, dilation: 1 });
        let said = format!("output_padding {found} must be smaller than the stride ({stride})");
        assert!(error.to_string().contains(&said), "{error}");
    }
    let error = ConvTranspose1d::<f32>::new([1, 4, 5], [3, 3, 3]).plan().unwrap_err();
    assert!(matches!(error, Error::Length { expected: 4, found: 3, .. }), "{error}");
    let zero = |what| Error::Zero { size: size(what, Some(0)) };
    let one = ConvTranspose1d::<f32>::new([1, 1, 2], [1, 1, 2]);
    let nothing = |cut| Error::NothingLeft { axis: 0, cut, padded: 3 };
    assert_eq!(one.padding([2]).plan().unwrap_err(), nothing(4));
    assert_eq!(one.padding_per_side(1, 2).plan().unwrap_err(), nothing(3));
    assert_eq!(one.stride([0]).plan().unwrap_err(), zero("stride"));
    assert_eq!(one.dilation([0]).plan().unwrap_err(), zero("dilation"));
    let max = usize::MAX;
    for layer in [one.stride([max]), one.dilation([max]), one.padding([max]), one.groups(max)] {
        assert!(layer.plan().is_err());
    }
    for n in [0, max] {
        for i in 0..3 {
            let (mut input, mut weight) = ([1, 1, 2], [1, 1, 2]);
            (input[i], weight[i]) = (n, n);
            // No images, or outputs of no channels, are a layer.
            let plan = ConvTranspose1d::<f32>::new(input, [1, 1, 2]).plan();
            assert_eq!(plan.is_ok(), (n, i) == (0, 0), "{input:?}");
            let plan = ConvTranspose1d::<f32>::new([1, 1, 2], weight).plan();
            assert_eq!(plan.is_ok(), (n, i) == (0, 1), "{weight:?}");
        }
    }
}

/// A refused call of a transposed layer writes nothing, whichever slice it is.
#[test]
fn transposed_lengths() {
    let plan = ConvTranspose1d::<f32>::new([2, 3, 5], [3, 2, 4]).plan().unwrap();
    let (x, w, bias) = (vec![1.0; plan.input_len()], vec![1.0; 24], [1.0; 2]);
    let mut y = vec![7.0; plan.output_len()];
    for (x, w, bias) in [(&x[1..], &w[..], &bias[..]), (&x, &w[1..], &bias), (&x, &w, &bias[1..])] {
        assert!(matches!(plan.forward(x, w).bias(bias).run(&mut y), Err(Error::Length { .. })));
    }
    assert!(y.iter().all(|&y| y == 7.0));
    let longer = |tensor: &[f32]| [tensor, &[7.0]].concat();
    let (x2, w2, y2) = (longer(&x), longer(&w), longer(&y));
    for (x, w, bias) in [(&x2, &w, &bias[..]), (&x, &w2, &bias), (&x, &w, &[1.0; 3])] {
        assert!(matches!(plan.forward(x, w).bias(bias).run(&mut y), Err(Error::Length { .. })));
    }
    assert!(plan.forward(&x, &w).bias(&bias).run(&mut y[1..]).is_err());
    let (mut dx, mut dw) = (vec![7.0; x.len()], vec![7.0; w.len()]);
    for (w, y, len) in
        [(&w[1..], &y[..], 0), (&w2, &y, 0), (&w, &y[1..], 0), (&w, &y2, 0), (&w, &y, 1)]
    {
        let refused = plan.backward_data(w, y).run(&mut dx[len..]);
        assert!(matches!(refused, Err(Error::Length { .. })));
    }
    for (x, y, len) in
        [(&x[1..], &y[..], 0), (&x2, &y, 0), (&x, &y[1..], 0), (&x, &y2, 0), (&x, &y, 1)]
    {
        let refused = plan.backward_weight(x, y).run(&mut dw[len..]);
        assert!(matches!(refused, Err(Error::Length { .. })));
    }
    assert!(dx.iter().chain(&dw).chain(&y).all(|&x| x == 7.0));
}

#[test]
fn the_other_texts() {
    let said = Error::Unsupported { what: "the implicit algorithm" }.to_string();
    assert_eq!(said, "the implicit algorithm is not offered by this build");
    let said = Error::OutOfMemory { bytes: 64 }.to_string();
    assert_eq!(said, "could not allocate 64 bytes");
    let said = Error::Length { what: "bias", expected: 3, found: 1 }.to_string();
    assert_eq!(said, "bias has 1 element: this layer wants 3");
    let said = Error::Scratch { expected: 3, found: 0 }.to_string();
    assert_eq!(said, "scratch has 0 elements: this pass wants at least 3");
    let error: Box<dyn std::error::Error + Send + Sync> = Box::new(Error::Axes { found: 0 });
    assert!(error.downcast_ref::<Error>().is_some());
}

#[test]
fn a_clamp_has_something_between_its_bounds() {
    let conv = Conv2d::<f32>::new([1, 1, 1, 1], [1, 1, 1, 1]);
    let plan = conv.plan().unwrap();
    let cases = [
        (0.1, -1.0, "clamp(0.1, -1)"),
        (f32::NAN, 1.0, "clamp(NaN, 1)"),
        (0.0, f32::NAN, "clamp(0, NaN)"),
    ];
    for (low, high, said) in cases {
        let clamp = Activation::Clamp(low, high);
        let error = conv.activation(clamp).plan().map(|_| ()).unwrap_err();
        let Error::Clamp { low: first, high: second } = error else { panic!("{error}") };
        assert_eq!(
            [first.value(), second.value()].map(f64::to_bits),
            [low, high].map(|x| f64::from(x).to_bits())
        );
        assert!(error.to_string().starts_with(said), "{error}");
        let mut output = [7.0];
        let refused = plan.forward(&[1.0], &[1.0]).activation(clamp).run(&mut output);
        assert_eq!((refused, output), (Err(error), [7.0]));
    }
    // A double in its own digits.
    let doubles = Conv1d::<f64>::new([1, 1, 1], [1, 1, 1]).activation(Activation::Clamp(0.1, 0.05));
    let error = doubles.plan().map(|_| ()).unwrap_err();
    let text =
        "clamp(0.1, 0.05): the first bound must not be above the second, and neither may be NaN";
    assert_eq!(error.to_string(), text);
    assert!(conv.activation(Activation::Clamp(2.0, 2.0)).plan().is_ok());
}

/// What a call says that doesn't fit its plan: the sizes of an image, a mask that masks nothing, weights of another order.
#[test]
fn calls_that_do_not_fit_the_plan() {
    let plan = Conv2d::<f32>::new([1, 1, 3, 3], [1, 1, 2, 2]).plan().unwrap();
    for sizes in [&[9][..], &[9, 9, 9]] {
        let error = plan.with_input(sizes).unwrap_err();
        assert_eq!(error, Error::Sizes { expected: 2, found: sizes.len() });
    }
    let transposed = ConvTranspose2d::<f32>::new([1, 1, 3, 3], [1, 1, 2, 2]).plan().unwrap();
    let error = transposed.with_input(&[9]).unwrap_err();
    let text = "1 size for the image: this layer wants 2, one for each spatial axis";
    assert_eq!(error.to_string(), text);

    // An activation of one call of forward is not the layer's.
    let (x, w, mut y) = ([1.0; 9], [-1.0; 4], [7.0; 4]);
    plan.forward(&x, &w).activation(Activation::Relu).run(&mut y).unwrap();
    let mut to = [7.0; 9];
    let calls = [
        plan.backward_data(&w, &[1.0; 4]).mask(&y).run(&mut to),
        plan.backward_weight(&x, &[1.0; 4]).mask(&y).run(&mut to[..4]),
        plan.backward_bias(&[1.0; 4]).mask(&y).run(&mut to[..1]),
    ];
    for answer in calls {
        assert_eq!(answer, Err(Error::NoActivation));
    }
    assert_eq!(to, [7.0; 9]);
    let sums = plan.backward_bias(&[1.0; 4]).into_vec().unwrap();
    assert_eq!(sums, [4.0]);
    assert!(plan.backward_bias(&[1.0; 4]).accumulate().into_vec().is_err());
}
