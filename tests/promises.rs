//! What the passes promise beyond numbers: the same bits whoever computes them and with
//! whatever memory, nothing read that they don't own, and no number hidden or made up where the
//! naive loop meets infinities and NaN.

use im2col::testing::{Call, Fill, Layer, PASSES, bits, calls, for_families, nan, plans};
use im2col::{Element, Error, Layout, MAX_AXES, Params, Pass, Plan, Shape, Write, reference};

/// Scratch of exactly what one thread needs, of more, and of what the pool can use: NaN-filled,
/// as are the outputs, and the bits are those of the plan's own scratch.
#[test]
fn scratch_of_any_length_and_content_gives_the_same_bits() {
    for_families(4, check_scratch::<f32>);
    for_families(2, check_scratch::<f64>);
}

fn check_scratch<T: Element>(params: Params) {
    let layer = Layer::<T>::new(params, Fill::Normal);
    for plan in plans(layer.shape) {
        for (pass, write) in calls() {
            let own = bits(&layer.run(&plan, pass, write));
            let (min, full) = (plan.min_scratch_len(pass), plan.scratch_len(pass));
            assert!(min <= full, "{pass:?} of {plan:?}: {min} > {full}");
            for len in [min, min + 1, full, 3 * full + 5] {
                let lent = layer.run_with_scratch(&plan, pass, write, len).unwrap();
                assert_eq!(own, bits(&lent), "{pass:?} with {len} elements of {plan:?}");
            }
            if let Some(found) = min.checked_sub(1) {
                let refused = layer.run_with_scratch(&plan, pass, write, found).unwrap_err();
                assert_eq!(refused, Error::Scratch { expected: min, found });
            }
        }
    }
}

#[test]
#[cfg(feature = "rayon")]
fn any_number_of_threads_gives_the_same_bits() {
    for_families(1, check_threads::<f32>);
    for_families(1, check_threads::<f64>);
}

#[cfg(feature = "rayon")]
fn check_threads<T: Element>(params: Params) {
    static POOLS: std::sync::LazyLock<[rayon::ThreadPool; 7]> = std::sync::LazyLock::new(|| {
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        [1, 2, 3, 4, 5, 6, 7].map(pool)
    });
    let params = Params { batch: params.batch + 7, ..params };
    let layer = Layer::<T>::new(params, Fill::Normal);
    for plan in plans(layer.shape) {
        let (algorithm, isa) = (plan.algorithm(), plan.isa());
        let serial = Plan::new(layer.shape, im2col::Options::from(algorithm).isa(isa)).unwrap();
        for (pass, write) in calls() {
            let alone = bits(&layer.run(&serial, pass, write));
            for pool in &*POOLS {
                let got = pool.install(|| bits(&layer.run(&plan, pass, write)));
                assert_eq!(alone, got, "{pass:?} on {pool:?} of {plan:?}");
            }
        }
        let bias = |plan: &Plan<T>| bits(&layer.run_bias(plan, Write::Overwrite));
        let alone = bias(&serial);
        for pool in &*POOLS {
            assert_eq!(alone, pool.install(|| bias(&plan)), "bias on {pool:?} of {plan:?}");
        }
    }
}

/// All slices at odd offsets, with NaN on both sides: same bits, and the NaN stay where they are.
#[test]
fn misaligned_slices_give_the_same_bits_and_nothing_outside_is_touched() {
    for_families(3, check_misaligned::<f32>);
    for_families(2, check_misaligned::<f64>);
}

fn check_misaligned<T: Element>(params: Params) {
    let layer = Layer::<T>::new(params, Fill::Normal);
    for plan in plans(layer.shape) {
        for (pass, write) in calls() {
            let aligned = bits(&layer.run(&plan, pass, write));
            for offset in [1, 3] {
                let got = run_misaligned(&layer, &plan, (pass, write), offset);
                assert_eq!(aligned, bits(&got), "{pass:?} {offset} elements off of {plan:?}");
            }
        }
    }
}

fn run_misaligned<T: Element>(
    layer: &Layer<T>,
    plan: &Plan<T>,
    (pass, write): (Pass, Write),
    offset: usize,
) -> Vec<T> {
    let shift = |tensor: &[T]| {
        let mut all = vec![nan::<T>(); tensor.len() + 2 * offset];
        all[offset..][..tensor.len()].copy_from_slice(tensor);
        all
    };
    let [input, weight] = [&layer.input, &layer.weight].map(|t| shift(t));
    let [bias, dg] = [&layer.bias, &layer.grad_output].map(|t| shift(t));
    let within = |len: usize| offset..offset + len;
    let input = &input[within(layer.input.len())];
    let weight = &weight[within(layer.weight.len())];
    let bias = &bias[within(layer.bias.len())];
    let dg = &dg[within(layer.grad_output.len())];
    let mut all = shift(&layer.before(pass, write));
    let mut scratch = shift(&vec![nan::<T>(); plan.scratch_len(pass)]);
    let s = &mut scratch[within(plan.scratch_len(pass))];
    let to = &mut all[within(layer.destination_len(pass))];
    match pass {
        Pass::Forward => {
            let bias = (write == Write::Accumulate).then_some(bias);
            plan.forward(input, weight).maybe_bias(bias).scratch(s).run(to)
        }
        Pass::BackwardData => plan.backward_data(weight, dg).write(write).scratch(s).run(to),
        _ => plan.backward_weight(input, dg).write(write).scratch(s).run(to),
    }
    .unwrap();
    let outside = all[..offset].iter().chain(&all[offset + layer.destination_len(pass)..]);
    assert!(
        outside.into_iter().all(|x| (*x).into().is_nan()),
        "{pass:?} of {plan:?} wrote outside"
    );
    all[within(layer.destination_len(pass))].to_vec()
}

/// One image, repeated: every copy answers with the same bits.
#[test]
fn an_image_gives_the_same_bits_wherever_it_is_in_the_batch() {
    for_families(4, |params| {
        let params = Params { batch: 5, ..params };
        let mut layer = Layer::<f32>::new(params, Fill::Normal);
        for tensor in [&mut layer.input, &mut layer.grad_output] {
            *tensor = tensor[..tensor.len() / params.batch].repeat(params.batch);
        }
        for plan in plans(layer.shape) {
            for pass in [Pass::Forward, Pass::BackwardData] {
                let all = bits(&layer.run(&plan, pass, Write::Overwrite));
                let images: Vec<_> = all.chunks(all.len() / params.batch).collect();
                assert!(images.iter().all(|&i| i == images[0]), "{pass:?} of {plan:?}");
            }
        }
    });
}

/// Infinities and NaN. Wherever the naive loop is not finite, neither is the pass. The other way
/// round, padding is real zeros, and `0 * NaN` is NaN: the naive loop over a layer whose padding
/// is written out says where that may be.
#[test]
fn what_is_not_finite_goes_where_the_naive_loop_says() {
    for_families(8, |params| {
        // In the middle, and at both ends: there a row of taps has no output to meet.
        for (value, place) in [(f32::NAN, 1), (f32::INFINITY, 0), (f32::NEG_INFINITY, 2)] {
            check_non_finite(Layer::new(params, Fill::Normal), value, place);
        }
    });
}

/// One filter per channel, without padding: the rows of taps that have no output to meet at the ends
/// of a plane are left out, not multiplied with zeros.
#[test]
fn what_is_not_finite_at_the_ends_of_a_plane_stays_there() {
    let kernel = [3, 3, 1];
    let layer = Params { in_channels: 2, out_channels: 2, groups: 2, kernel, ..Params::default() };
    for stride in [[1, 1, 1], [2, 2, 1]] {
        for place in 0..3 {
            let params = Params { input: [9, 7, 1], stride, ..layer };
            check_non_finite(Layer::new(params, Fill::Normal), f32::INFINITY, place);
        }
    }
}

fn check_non_finite(clean: Layer<f32>, value: f32, place: usize) {
    type Field = fn(&mut Layer<f32>) -> &mut Vec<f32>;
    let tensors: [Field; 3] = [|l| &mut l.input, |l| &mut l.weight, |l| &mut l.grad_output];
    for tensor in tensors {
        let mut layer = clean.clone();
        let len = tensor(&mut layer).len();
        tensor(&mut layer)[(len - 1) * place / 2] = value;
        let padded = written_out(&layer);
        let plans = plans(layer.shape);
        for pass in PASSES {
            let must = layer.expected(Call::Pass(pass, Write::Overwrite)).values;
            let may = padded(pass);
            for plan in &plans {
                let got = layer.run(plan, pass, Write::Overwrite);
                for (i, got) in got.iter().enumerate() {
                    let said = (got.is_finite(), must[i].is_finite(), may[i].is_finite());
                    assert!(
                        matches!(said, (false, false, _) | (true, true, _) | (false, _, false)),
                        "{value} in a tensor: {pass:?}[{i}] is {got}, naive {} of {plan:?}",
                        must[i]
                    );
                }
            }
        }
    }
}

/// The naive loops over layers whose padding is real: the image with its zeros for forward and
/// backward_weight, the gradient with zeros all round for backward_data.
fn written_out(layer: &Layer<f32>) -> impl Fn(Pass) -> Vec<f64> {
    let p = *layer.shape.params();
    let outputs: Vec<usize> = layer.shape.axes().iter().map(|a| a.output).collect();
    let (mut image, mut gradient) = (p, p);
    let (mut reach, mut grown) = ([0; MAX_AXES], [1; MAX_AXES]);
    for a in 0..p.axes {
        image.input[a] += p.pad_begin[a] + p.pad_end[a];
        (image.pad_begin[a], image.pad_end[a]) = (0, 0);
        // So many more outputs on both sides that every tap of every pixel finds one.
        reach[a] = (p.kernel[a] * p.dilation[a]).div_ceil(p.stride[a]) + 1;
        gradient.pad_begin[a] += reach[a] * p.stride[a];
        gradient.pad_end[a] += reach[a] * p.stride[a];
        grown[a] = outputs[a] + 2 * reach[a];
    }
    let channels = [p.in_channels, p.out_channels];
    let mut from = [1; MAX_AXES];
    from[..p.axes].copy_from_slice(&outputs);
    let input = embed(&p, channels[0], &layer.input, p.input, p.pad_begin, image.input);
    let dg = embed(&p, channels[1], &layer.grad_output, from, reach, grown);
    let [image, gradient] = [image, gradient].map(|params| Shape::new(params).unwrap());
    let Layer { weight, grad_output, .. } = layer.clone();
    move |pass| match pass {
        Pass::Forward => reference::forward(&image, &input, &weight, None).unwrap(),
        Pass::BackwardData => reference::backward_data(&gradient, &weight, &dg).unwrap(),
        _ => reference::backward_weight(&image, &input, &grad_output).unwrap(),
    }
}

/// A tensor of spatial sizes `from` within a zero tensor of sizes `to`, moved by `offset`.
fn embed<T: Element>(
    params: &Params,
    channels: usize,
    tensor: &[T],
    mut from: [usize; MAX_AXES],
    mut offset: [usize; MAX_AXES],
    mut to: [usize; MAX_AXES],
) -> Vec<T> {
    for a in params.axes..MAX_AXES {
        (from[a], offset[a], to[a]) = (1, 0, 1);
    }
    let (pixels, room): (usize, usize) = (from.iter().product(), to.iter().product());
    let at = |n, c, pixel, pixels| match params.layout {
        Layout::ChannelsFirst => (n * channels + c) * pixels + pixel,
        _ => (n * pixels + pixel) * channels + c,
    };
    let mut all = vec![T::ZERO; params.batch * channels * room];
    for pixel in 0..pixels {
        let [x, y, z] = [pixel / (from[1] * from[2]), pixel / from[2] % from[1], pixel % from[2]];
        let moved = [x + offset[0], y + offset[1], z + offset[2]];
        let place = (moved[0] * to[1] + moved[1]) * to[2] + moved[2];
        for n in 0..params.batch {
            for c in 0..channels {
                all[at(n, c, place, room)] = tensor[at(n, c, pixel, pixels)];
            }
        }
    }
    all
}

/// A result that overwrites is never mixed with what was there, in any type.
#[test]
fn overwriting_never_reads_the_destination() {
    for_families(2, |params| {
        let layer = Layer::<f64>::new(params, Fill::Integers);
        for plan in plans(layer.shape) {
            for pass in PASSES {
                let onto_nan = layer.run(&plan, pass, Write::Overwrite);
                let mut onto_numbers = vec![7.0; layer.destination_len(pass)];
                layer
                    .run_into(&plan, pass, Write::Overwrite, None, &mut onto_numbers)
                    .expect("the layer's own lengths");
                assert_eq!(bits(&onto_nan), bits(&onto_numbers), "{pass:?} of {plan:?}");
                assert!(!onto_nan.contains(&nan()));
            }
        }
    });
}
