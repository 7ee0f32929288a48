//! Padding that isn't zero: the naive loops against an image padded by hand, every plan against the naive loops, and what
//! a plan promises beside numbers.

use im2col::testing::{
    EXACT, Family, Fill, Layer, PASSES, ROUNDED, Tolerance, bits, calls, dot, for_families,
    for_layers, isas, plans,
};
use im2col::{
    Activation, Algorithm, Conv1d, Conv2d, ConvTranspose2d, Element, Engine, Error, Layout,
    Options, PaddingMode, Params, Pass, Plan, Serial, Shape, Write, col2im, im2col, reference,
};
use std::mem::MaybeUninit;

const MIRRORED: [PaddingMode; 3] =
    [PaddingMode::Reflect, PaddingMode::Replicate, PaddingMode::Circular];

/// The layer with a padding mode, its image large enough for that.
fn mirrored(params: Params, mode: PaddingMode) -> Params {
    let mut params = Params { padding_mode: mode, ..params };
    for a in 0..params.axes {
        let least = params.pad_begin[a].max(params.pad_end[a]);
        params.input[a] = params.input[a].max(least + usize::from(mode == PaddingMode::Reflect));
        params.input[a] = params.input[a].max(1);
    }
    params
}

/// `test` on layers of every family, in each mode.
fn for_modes(count: u32, test: impl Fn(Params)) {
    for_families(count, |params| {
        MIRRORED.into_iter().for_each(|mode| test(mirrored(params, mode)));
    });
}

/// An axis padded by hand: the number of the element at each place of it.
fn padded(mode: PaddingMode, len: usize, begin: usize, end: usize) -> Vec<usize> {
    let mut line: std::collections::VecDeque<usize> = (0..len).collect();
    for i in 0..begin {
        line.push_front(match mode {
            PaddingMode::Reflect => i + 1,
            PaddingMode::Replicate => 0,
            PaddingMode::Circular => len - 1 - i,
            _ => unreachable!(),
        });
    }
    for i in 0..end {
        line.push_back(match mode {
            PaddingMode::Reflect => len - 2 - i,
            PaddingMode::Replicate => len - 1,
            PaddingMode::Circular => i,
            _ => unreachable!(),
        });
    }
    line.into()
}

/// Where each element of the padded input, which is a layer's without padding, comes from in the layer's own.
fn padded_input(params: &Params) -> (Shape, Vec<usize>) {
    let mut whole = Params { padding_mode: PaddingMode::Zeros, ..*params };
    let mut lines = [vec![0], vec![0], vec![0]];
    for a in 0..params.axes {
        let (begin, end) = (params.pad_begin[a], params.pad_end[a]);
        lines[3 - params.axes + a] = padded(params.padding_mode, params.input[a], begin, end);
        whole.input[a] += begin + end;
        (whole.pad_begin[a], whole.pad_end[a]) = (0, 0);
    }
    let channels = params.in_channels;
    let sizes = |p: &Params| {
        let mut sizes = [1; 3];
        sizes[3 - p.axes..].copy_from_slice(&p.input[..p.axes]);
        sizes
    };
    let ([d, h, w], [dp, hp, wp]) = (sizes(params), sizes(&whole));
    let mut from = vec![0; params.batch * channels * dp * hp * wp];
    for n in 0..params.batch {
        for c in 0..channels {
            for (z, y, x) in
                (0..dp).flat_map(|z| (0..hp).flat_map(move |y| (0..wp).map(move |x| (z, y, x))))
            {
                let place = |[z, y, x]: [usize; 3], [d, h, w]: [usize; 3]| match params.layout {
                    Layout::ChannelsLast => (((n * d + z) * h + y) * w + x) * channels + c,
                    _ => (((n * channels + c) * d + z) * h + y) * w + x,
                };
                let element = [lines[0][z], lines[1][y], lines[2][x]];
                from[place([z, y, x], [dp, hp, wp])] = place(element, [d, h, w]);
            }
        }
    }
    (Shape::new(whole).unwrap(), from)
}

#[test]
fn an_axis_is_padded_as_torch_does() {
    // torch.nn.functional.pad(torch.tensor([[0., 1., 2., 3.]]), (2, 3), mode=..)
    assert_eq!(padded(PaddingMode::Reflect, 4, 2, 3), [2, 1, 0, 1, 2, 3, 2, 1, 0]);
    assert_eq!(padded(PaddingMode::Replicate, 4, 2, 3), [0, 0, 0, 1, 2, 3, 3, 3, 3]);
    assert_eq!(padded(PaddingMode::Circular, 4, 2, 3), [2, 3, 0, 1, 2, 3, 0, 1, 2]);
    for mode in MIRRORED {
        let conv = Conv1d::<f32>::new([1, 1, 4], [1, 1, 1]).padding_mode(mode);
        let conv = conv.padding_per_side(2, 3).plan().unwrap();
        let mut output = [0.0; 9];
        conv.forward(&[0.0, 1.0, 2.0, 3.0], &[1.0]).run(&mut output).unwrap();
        assert_eq!(output.map(|x| x as usize)[..], padded(mode, 4, 2, 3), "{mode}");
        let axis = conv.shape().axes()[0];
        let sources: Vec<_> = (0..9).filter_map(|o| axis.source(o, 0)).collect();
        assert_eq!(sources, padded(mode, 4, 2, 3), "{mode}");
        assert_eq!([axis.source(9, 0), axis.source(usize::MAX, 0)], [None; 2]);
    }
}

/// The judge: an image padded by hand, and the layer without padding over it.
#[test]
fn the_naive_loops_are_those_over_a_padded_image() {
    for_modes(4, |params| {
        let layer = Layer::<f64>::new(params, Fill::Integers);
        let (whole, from) = padded_input(&params);
        let input: Vec<f64> = from.iter().map(|&i| layer.input[i]).collect();
        let Layer { shape, weight, grad_output: dg, .. } = &layer;
        let output = reference::forward(&whole, &input, weight, None).unwrap();
        assert_eq!(output, reference::forward(shape, &layer.input, weight, None).unwrap());
        let of_padded = reference::backward_data(&whole, weight, dg).unwrap();
        let mut grad_input = vec![0.0; shape.input_len()];
        from.iter().zip(of_padded).for_each(|(&i, dv)| grad_input[i] += dv);
        assert_eq!(grad_input, reference::backward_data(shape, weight, dg).unwrap());
        let grad_weight = reference::backward_weight(&whole, &input, dg).unwrap();
        assert_eq!(grad_weight, reference::backward_weight(shape, &layer.input, dg).unwrap());
    });
}

/// Every pass and write of every plan on every ISA, and the textbook, against the naive loops.
fn check_plans<T: Element>(params: Params, fills: &[Fill], tolerance: Tolerance) {
    for &fill in fills {
        let layer = Layer::<T>::new(params, fill);
        let plans = plans::<T>(layer.shape);
        for expected in layer.all_answers() {
            plans.iter().for_each(|plan| expected.assert_plan(plan, tolerance));
        }
    }
}

#[test]
fn integers_are_exact() {
    for_modes(3, |params| {
        check_plans::<f32>(params, &EXACT, Tolerance::Exact);
        check_plans::<f64>(params, &EXACT[..1], Tolerance::Exact);
    });
}

#[test]
fn random_numbers_are_within_the_contract() {
    for_modes(2, |params| {
        check_plans::<f32>(params, &ROUNDED, Tolerance::Contract);
        check_plans::<f64>(params, &ROUNDED[..1], Tolerance::Contract);
    });
}

/// Layers as they are in use, larger than those of the families: blocks of pixels and taps, tiles, many panels.
#[test]
fn layers_of_many_blocks() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        for (mode, stride, dilation) in [
            (PaddingMode::Reflect, 1, 1),
            (PaddingMode::Replicate, 2, 1),
            (PaddingMode::Circular, 1, 2),
        ] {
            let params = Params {
                layout,
                batch: 3,
                in_channels: 37,
                out_channels: 36,
                input: [27, 33, 0],
                kernel: [3, 3, 0],
                stride: [stride; 3],
                dilation: [dilation; 3],
                pad_begin: [2, 1, 0],
                pad_end: [1, 2, 0],
                padding_mode: mode,
                ..Params::default()
            };
            check_plans::<f32>(params, &[Fill::Integers], Tolerance::Exact);
        }
    }
}

/// Every schedule that is possible, whether it would be chosen or not; those that are possible for zeros alone are refused.
#[test]
fn every_schedule_is_right_or_refused() {
    for_modes(2, |params| {
        let layer = Layer::<f32>::new(params, Fill::Integers);
        let zeros = Params { padding_mode: PaddingMode::Zeros, ..params };
        for isa in isas() {
            let options = Options::from(Algorithm::Implicit).isa(isa);
            let plan = Plan::<f32>::new(layer.shape, options).unwrap();
            let of_zeros = Plan::<f32>::new(Shape::new(zeros).unwrap(), options).unwrap();
            for pass in PASSES {
                let answers = layer.answers(pass);
                let candidates = plan.candidates(pass).unwrap();
                // Where no element meets a tap, there is nothing but the textbook.
                let textbook = plan.schedule(pass).unwrap().engine == Engine::Explicit;
                assert!(textbook || !candidates.is_empty(), "{plan} {pass}");
                for schedule in candidates.iter().chain(&of_zeros.candidates(pass).unwrap()) {
                    match plan.clone().with_schedule(pass, *schedule) {
                        Ok(forced) => answers
                            .iter()
                            .for_each(|expected| expected.assert_plan(&forced, Tolerance::Exact)),
                        Err(error) => {
                            assert!(!candidates.contains(schedule), "{plan} {schedule}: {error}");
                            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
                        }
                    }
                }
            }
        }
    });
}

/// `<conv(x, w), g> = <w, dW> = <x, dV>`, and cols are adjoint to col2im.
#[test]
fn adjoints() {
    for_modes(3, |params| {
        let layer = Layer::<f64>::new(params, Fill::Integers);
        let Layer { shape, input, weight, grad_output, .. } = &layer;
        for plan in plans(*shape) {
            let run = |pass| layer.run(&plan, pass, Write::Overwrite);
            let energy = |y: Vec<f64>| dot(&y, grad_output);
            let product = dot(&run(Pass::BackwardData), input);
            // Without the bias that an accumulating forward adds.
            assert_eq!(energy(run(Pass::Forward)), product, "{plan}");
            assert_eq!(dot(&run(Pass::BackwardWeight), weight), product, "{plan}");
        }
        let image = &input[..shape.image_len()];
        let mut cols = vec![0.0; shape.cols_len().unwrap()];
        im2col(shape, image, &mut cols).unwrap();
        let other: Vec<f64> = (0..cols.len()).map(|i| (i % 7) as f64).collect();
        let mut back = vec![0.0; image.len()];
        col2im(shape, &other, &mut back, Write::Overwrite).unwrap();
        assert_eq!(dot(&cols, &other), dot(image, &back));
    });
}

/// Packed weights, the least scratch and the most, other batches and images: the same bits.
#[test]
fn the_same_bits_however_it_is_called() {
    for_modes(2, |params| {
        let params = Params { batch: params.batch + 2, ..params };
        let layer = Layer::<f32>::new(params, Fill::Normal);
        for isa in isas() {
            let plan = Plan::<f32>::new(layer.shape, Options::default().isa(isa)).unwrap();
            for (pass, write) in calls() {
                let whole = bits(&layer.run(&plan, pass, write));
                for len in [plan.min_scratch_len(pass), plan.scratch_len(pass)] {
                    let got = layer.run_with_scratch(&plan, pass, write, len).unwrap();
                    assert_eq!(bits(&got), whole, "{plan} {pass} in {len}");
                }
                let mut serial = layer.before(pass, write);
                layer.run_on(&plan, pass, write, &Serial, None, &mut serial).unwrap();
                assert_eq!(bits(&serial), whole, "{plan} {pass}");
            }
            let (whole, data) = [Pass::Forward, Pass::BackwardData]
                .map(|pass| layer.run(&plan, pass, Write::Overwrite))
                .into();
            let packed = |pass| plan.pack_weight(pass, &layer.weight).unwrap();
            let (forward, backward) = (packed(Pass::Forward), packed(Pass::BackwardData));
            for batch in [1, 2, params.batch] {
                let part = plan.with_batch(batch).unwrap();
                let mut y = vec![MaybeUninit::<f32>::uninit(); part.shape().output_len()];
                let input = &layer.input[..part.shape().input_len()];
                part.forward(input, &forward).run(&mut y[..]).unwrap();
                let mut y = vec![f32::NAN; part.shape().output_len()];
                part.forward(input, &forward).run(&mut y).unwrap();
                assert_eq!(bits(&y), bits(&whole[..y.len()]), "{plan} of {batch}");
                let mut dv = vec![f32::NAN; input.len()];
                let dg = &layer.grad_output[..y.len()];
                part.backward_data(&backward, dg).run(&mut dv).unwrap();
                assert_eq!(bits(&dv), bits(&data[..dv.len()]), "{plan} of {batch}");
            }
        }
    });
}

/// Images too large to be written down with their padding as a whole: some groups at a time, or an image at a time where
/// channels lie side by side; and one too large for that, too.
#[test]
fn large_images_of_depthwise_layers() {
    for (layout, groups, input) in [
        (Layout::ChannelsFirst, 7, [300, 301, 0]),
        (Layout::ChannelsLast, 7, [300, 301, 0]),
        (Layout::ChannelsLast, 24, [301, 300, 0]),
    ] {
        let params = Params {
            layout,
            groups,
            batch: 2,
            in_channels: groups,
            out_channels: groups,
            input,
            kernel: [3, 3, 0],
            stride: [1, 2, 0],
            pad_begin: [1, 2, 0],
            pad_end: [2, 0, 0],
            padding_mode: PaddingMode::Reflect,
            ..Params::default()
        };
        let layer = Layer::<f32>::new(params, Fill::Integers);
        let plan = Plan::<f32>::new(layer.shape, Options::default()).unwrap();
        let is_direct = plan.schedule(Pass::Forward).unwrap().engine == Engine::Direct;
        assert_eq!(is_direct, groups == 7, "{plan}");
        for expected in layer.all_answers() {
            expected.assert_plan(&plan, Tolerance::Exact);
        }
        for (pass, write) in calls() {
            let most = plan.scratch_len(pass);
            assert!(most <= 3 * layer.shape.weight_len() + (8 << 18) + (4 << 19), "{plan} {most}");
            let wanted = bits(&layer.run(&plan, pass, write));
            let got = layer.run_with_scratch(&plan, pass, write, plan.min_scratch_len(pass));
            assert_eq!(bits(&got.unwrap()), wanted, "{plan} {pass}");
        }
    }
}

/// A window of padding that is computed some images at a time: each image has the bits that it has alone.
#[test]
fn windows_of_many_images() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let params = Params {
            layout,
            batch: 19,
            in_channels: 64,
            input: [3, 600, 0],
            kernel: [3, 3, 0],
            pad_begin: [1; 3],
            pad_end: [1; 3],
            padding_mode: PaddingMode::Reflect,
            ..Params::default()
        };
        let layer = Layer::<f32>::new(params, Fill::Normal);
        let plan = Plan::<f32>::new(layer.shape, Options::default()).unwrap();
        let whole = layer.run(&plan, Pass::BackwardData, Write::Overwrite);
        let one = plan.with_batch(1).unwrap();
        let images = layer.grad_output.chunks(one.shape().output_len());
        for (n, (dg, wanted)) in images.zip(whole.chunks(one.shape().input_len())).enumerate() {
            let mut dv = vec![f32::NAN; wanted.len()];
            one.backward_data(&layer.weight, dg).run(&mut dv).unwrap();
            assert_eq!(bits(&dv), bits(wanted), "image {n}, {layout}");
        }
        let expected = layer.answers(Pass::BackwardData);
        expected.iter().for_each(|expected| expected.assert_plan(&plan, Tolerance::Contract));
        // A window of at most 2 MiB, what the products of the image want, and nothing that grows with the batch.
        let more = plan.with_batch(190).unwrap();
        let of = |plan: &Plan<f32>| plan.min_scratch_len(Pass::BackwardData);
        assert!(of(&more) <= of(&one) + (512 << 10) + 16, "{} {}", of(&more), of(&one));
    }
}

/// A gradient through an activation's mask, with the gradient of the bias.
#[test]
fn masks() {
    for_layers(&Family::dense(), 8, |params| {
        for mode in MIRRORED {
            let mut layer = Layer::<f64>::new(mirrored(params, mode), Fill::Integers);
            let plan = Plan::<f64>::new(layer.shape, Options::default()).unwrap();
            let plan = plan.with_activation(Activation::Relu).unwrap();
            let mut y = vec![0.0; layer.shape.output_len()];
            plan.forward(&layer.input, &layer.weight).run(&mut y).unwrap();
            let gradient = layer.grad_output.clone();
            layer.grad_output =
                y.iter().zip(&gradient).map(|(&y, &g)| if y > 0.0 { g } else { 0.0 }).collect();
            let mut dv = vec![0.0; layer.shape.input_len()];
            plan.backward_data(&layer.weight, &gradient).mask(&y).run(&mut dv).unwrap();
            let [expected, _] = layer.answers(Pass::BackwardData);
            expected.assert_close("masked", &dv, Tolerance::Exact);
            let (mut dw, mut db) = (layer.weight.clone(), layer.bias.clone());
            let call = plan.backward_weight(&layer.input, &gradient).mask(&y);
            call.grad_bias(&mut db).run(&mut dw).unwrap();
            let [expected, _] = layer.answers(Pass::BackwardWeight);
            expected.assert_close("masked", &dw, Tolerance::Exact);
        }
    });
}

#[test]
fn wrong_paddings_are_refused() {
    let text = |conv: Conv2d<f32>| conv.plan().map(|_| ()).unwrap_err().to_string();
    let layer = |h| Conv2d::<f32>::new([1, 1, h, 5], [1, 1, 1, 1]);
    let conv = layer(3).padding([3, 0]);
    assert_eq!(
        text(conv.padding_mode(PaddingMode::Reflect)),
        "axis 0: padding 3 is too large for padding_mode reflect of 3 elements: it must be at most 2"
    );
    assert!(conv.padding_mode(PaddingMode::Circular).plan().is_ok());
    assert_eq!(
        text(layer(3).padding_per_side([0, 6], 0).padding_mode(PaddingMode::Circular)),
        "axis 1: padding 6 is too large for padding_mode circular of 5 elements: it must be at most 5"
    );
    assert!(layer(1).padding([90, 0]).padding_mode(PaddingMode::Replicate).plan().is_ok());
    assert_eq!(
        text(layer(0).padding([1, 0]).padding_mode(PaddingMode::Replicate)),
        "axis 0: padding 1 is too large for padding_mode replicate of 0 elements: it must be at most 0"
    );
    // Another image of the same plan is checked as well.
    let plan = conv.padding_mode(PaddingMode::Circular).plan().unwrap();
    assert!(matches!(plan.with_input(&[2, 5]), Err(Error::PaddingMode { axis: 0, .. })));
    let transposed = im2col::TransposedPlan::<f32>::new(
        Params { padding_mode: PaddingMode::Reflect, ..Params::default() },
        [0; 3],
        Options::default(),
    );
    assert!(matches!(transposed, Err(Error::Unsupported { .. })));
    assert!(ConvTranspose2d::<f32>::new([1, 1, 3, 3], [1, 1, 2, 2]).plan().is_ok());
}

#[test]
fn a_mode_is_written_and_read() {
    for &mode in PaddingMode::ALL {
        assert_eq!(mode.to_string().parse(), Ok(mode));
    }
    assert!("Zeros".parse::<PaddingMode>().is_err());
    let conv = Conv2d::<f32>::new([1, 1, 3, 3], [1, 1, 3, 3]).padding_mode(PaddingMode::Circular);
    let padded = conv.padding(1).plan().unwrap();
    assert!(padded.to_string().contains("padding 1, circular"), "{padded}");
    assert!(padded.explain().contains("its circular padding"), "{}", padded.explain());
    // Without padding, a layer is the same in any mode.
    let plain = Conv2d::<f32>::new([1, 1, 3, 3], [1, 1, 3, 3]).shape().unwrap();
    assert_eq!(conv.shape().unwrap(), plain);
    assert_eq!(conv.padding(1).shape().unwrap().params().padding_mode, PaddingMode::Circular);
    assert_ne!(
        conv.padding(1).shape().unwrap(),
        conv.padding(1).padding_mode(PaddingMode::Zeros).shape().unwrap()
    );
}

/// Layers of no images and of no channels: outputs are the bias, gradients are zero.
#[test]
fn layers_without_elements() {
    for (batch, channels) in [(0, 2), (2, 0)] {
        let conv = Conv2d::<f32>::new([batch, channels, 3, 3], [4, channels, 3, 3]).padding(2);
        let conv = conv.padding_mode(PaddingMode::Reflect).plan().unwrap();
        let mut y = vec![f32::NAN; conv.shape().output_len()];
        let weight = vec![1.0; conv.shape().weight_len()];
        conv.forward(&[], &weight).bias(&[3.0; 4]).run(&mut y).unwrap();
        assert!(y.iter().all(|&y| y == 3.0));
        let mut dw = vec![f32::NAN; weight.len()];
        conv.backward_weight(&[], &y).run(&mut dw).unwrap();
        assert!(dw.iter().all(|&dw| dw == 0.0));
        conv.backward_data(&weight, &y).run(&mut Vec::new()).unwrap();
    }
}
