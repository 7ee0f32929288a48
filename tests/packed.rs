//! Packed weights and activations: the same bits as without, and errors where they don't belong.

use im2col::testing::{
    Call, Fill, Layer, Special, Tolerance, WRITES, bits, for_families, nan, place,
};
use im2col::{
    Activation, Algorithm, Element, Error, Isa, Layout, Options, Params, Pass, Plan, Shape, Write,
};

/// Layers that take each way through the passes: panels shared, panels of one cell, pixels in
/// lanes, phases, depthwise, groups.
fn layers() -> Vec<Shape> {
    // [batch, C, K, groups], image, kernel, stride, padding.
    let layers = [
        ([2, 5, 7, 1], 40, 3, 1, 0),
        ([2, 40, 50, 1], 7, 3, 1, 1),
        ([2, 3, 2, 1], 20, 3, 1, 1),
        ([2, 5, 7, 1], 13, 3, 2, 1),
        ([2, 12, 24, 12], 17, 3, 1, 1),
        ([2, 12, 24, 3], 9, 3, 1, 1),
        ([1, 33, 70, 1], 4, 1, 1, 0),
    ];
    let layouts = [Layout::ChannelsFirst, Layout::ChannelsLast];
    let layers = layers.iter().flat_map(|layer| layouts.map(|layout| (layer, layout)));
    let shape = |(&(channels, image, kernel, stride, padding), layout)| {
        let [batch, in_channels, out_channels, groups]: [usize; 4] = channels;
        Shape::new(Params {
            axes: 2,
            layout,
            batch,
            in_channels,
            out_channels,
            groups,
            input: [image, image, 1],
            kernel: [kernel, kernel, 1],
            stride: [stride, stride, 1],
            dilation: [1; 3],
            pad_begin: [padding, padding, 0],
            pad_end: [padding, padding, 0],
            ..Params::default()
        })
    };
    layers.map(|layer| shape(layer).unwrap()).collect()
}

fn plans() -> impl Iterator<Item = Plan<f32>> {
    layers().into_iter().flat_map(|shape| {
        let isas = Isa::ALL.iter().copied().filter(|isa| isa.is_available());
        let implicit = isas
            .map(move |isa| Plan::new(shape, Options::from(Algorithm::Implicit).isa(isa)).unwrap());
        let explicit = Plan::new(shape, Algorithm::Explicit.into()).unwrap();
        implicit.chain([explicit])
    })
}

/// Numbers with a prime period, of both signs.
fn paint(len: usize) -> Vec<f32> {
    (0..len).map(|i| (i % 251) as f32 / 16.0 - 7.0).collect()
}

#[test]
fn packed_weights_give_the_same_bits() {
    for plan in plans() {
        let shape = *plan.shape();
        let (x, w) = (paint(shape.input_len()), paint(shape.weight_len()));
        let (g, b) = (paint(shape.output_len()), paint(shape.out_channels()));
        let (mut raw, mut packed) = (vec![0.0; g.len()], vec![f32::NAN; g.len()]);
        plan.forward(&x, &w).bias(&b).run(&mut raw).unwrap();
        let weight = plan.pack_weight(Pass::Forward, &w).unwrap();
        plan.forward(&x, &weight).bias(&b).run(&mut packed).unwrap();
        assert_eq!(raw, packed, "{plan:?}");
        let (mut raw, mut packed) = (vec![0.0; x.len()], vec![f32::NAN; x.len()]);
        plan.backward_data(&w, &g).run(&mut raw).unwrap();
        let weight = plan.pack_weight(Pass::BackwardData, &w).unwrap();
        plan.backward_data(&weight, &g).run(&mut packed).unwrap();
        assert_eq!(raw, packed, "{plan:?}");
    }
}

/// Both packed calls of a layer, in both ways to write, in scratch of their own and in the least that
/// may be lent: the bits of the calls that pack for themselves.
fn check_packed<T: Element>(params: Params) {
    let layer = Layer::<T>::new(params, Fill::Normal);
    let Layer { input, weight, bias, grad_output: dg, .. } = &layer;
    for plan in im2col::testing::plans::<T>(layer.shape) {
        let [forward, backward] =
            [Pass::Forward, Pass::BackwardData].map(|pass| plan.pack_weight(pass, weight).unwrap());
        for write in WRITES {
            let (pass, bias) = (Pass::Forward, (write == Write::Accumulate).then_some(&**bias));
            let wanted = bits(&layer.run(&plan, pass, write));
            let mut y = layer.before(pass, write);
            plan.forward(input, &forward).maybe_bias(bias).run(&mut y).unwrap();
            assert_eq!(bits(&y), wanted, "{write:?} of {plan:?}");
            let (mut y, mut lent) = (y, vec![nan(); plan.min_scratch_len(pass)]);
            y.fill(nan());
            plan.forward(input, &forward).maybe_bias(bias).scratch(&mut lent).run(&mut y).unwrap();
            assert_eq!(bits(&y), wanted, "{write:?} in lent scratch of {plan:?}");

            let pass = Pass::BackwardData;
            let wanted = bits(&layer.run(&plan, pass, write));
            let mut dx = layer.before(pass, write);
            plan.backward_data(&backward, dg).write(write).run(&mut dx).unwrap();
            assert_eq!(bits(&dx), wanted, "{write:?} of {plan:?}");
            let (mut dx, mut lent) = (layer.before(pass, write), lent);
            lent.clear();
            lent.resize(plan.min_scratch_len(pass), nan());
            plan.backward_data(&backward, dg).write(write).scratch(&mut lent).run(&mut dx).unwrap();
            assert_eq!(bits(&dx), wanted, "{write:?} in lent scratch of {plan:?}");
        }
    }
}

#[test]
fn packed_weights_of_every_family_give_the_same_bits() {
    for_families(3, |params| {
        check_packed::<f32>(params);
        check_packed::<f64>(params);
    });
}

/// Forward with bounds, with a bias and without, packed and not, exactly what the naive loops say
/// within them, where NaN stays NaN. Gradients are of the layer before its activation: they know nothing of bounds.
fn check_bounds<T: Element>(params: Params) {
    let clean = Layer::<T>::new(params, Fill::Integers);
    let mut layer = clean.clone();
    let middle = layer.input.len() / 2;
    place(&mut layer.input, Special::Nan, middle);
    let [low, high] = [-3.0, 6.0];
    let activation = Activation::Clamp(T::from_f64(low), T::from_f64(high));
    for plan in im2col::testing::plans::<T>(layer.shape) {
        let plan = plan.with_activation(activation).unwrap();
        let packed = plan.pack_weight(Pass::Forward, &layer.weight).unwrap();
        for write in WRITES {
            let mut expected = layer.expected(Call::Pass(Pass::Forward, write));
            expected.values.iter_mut().for_each(|y| *y = y.clamp(low, high));
            expected.assert_plan(&plan, Tolerance::Exact);
            let bias = (write == Write::Accumulate).then_some(&*layer.bias);
            let mut y = vec![nan(); expected.values.len()];
            plan.forward(&layer.input, &packed).maybe_bias(bias).run(&mut y).unwrap();
            expected.assert_close(&format!("packed, {plan:?}"), &y, Tolerance::Exact);
            for pass in [Pass::BackwardData, Pass::BackwardWeight] {
                clean.expected(Call::Pass(pass, write)).assert_plan(&plan, Tolerance::Exact);
            }
        }
    }
}

#[test]
fn activations_of_every_family_keep_the_naive_outputs_within_bounds() {
    for_families(3, |params| {
        check_bounds::<f32>(params);
        check_bounds::<f64>(params);
    });
}

#[test]
fn weights_packed_for_something_else_are_refused() {
    let plans: Vec<_> = plans().collect();
    let plan = &plans[0];
    let weight = paint(plan.shape().weight_len());
    let (x, g) = (paint(plan.shape().input_len()), paint(plan.shape().output_len()));
    let differs = |result: Result<(), Error>| match result {
        Err(Error::PackedFor { differs, .. }) => differs,
        other => panic!("{other:?}"),
    };
    let mut y = vec![0.25; g.len()];
    let backward = plan.pack_weight(Pass::BackwardData, &weight).unwrap();
    assert_eq!(differs(plan.forward(&x, &backward).run(&mut y)), "pass");
    let other = plans.iter().find(|other| *other.weight_shape() != *plan.weight_shape()).unwrap();
    let elsewhere = paint(other.shape().weight_len());
    let elsewhere = other.pack_weight(Pass::Forward, &elsewhere).unwrap();
    assert_eq!(differs(plan.forward(&x, &elsewhere).run(&mut y)), "weight's shape or layout");
    let same = |other: &&Plan<f32>| other.shape() == plan.shape() && other.isa() != plan.isa();
    if let Some(other) = plans.iter().find(same) {
        let packed = other.pack_weight(Pass::Forward, &weight).unwrap();
        assert_eq!(differs(plan.forward(&x, &packed).run(&mut y)), "ISA");
    }
    let forward = plan.pack_weight(Pass::Forward, &weight).unwrap();
    let mut dx = vec![0.25; x.len()];
    let result = plan.backward_data(&forward, &g).run(&mut dx);
    assert_eq!(differs(result), "pass");
    assert!(y.iter().chain(&dx).all(|&v| v == 0.25), "written on error");
}

#[test]
fn activations_are_forward_kept_within_bounds() {
    for plan in plans() {
        let shape = *plan.shape();
        let (mut x, w) = (paint(shape.input_len()), paint(shape.weight_len()));
        x[3] = f32::NAN;
        let b = paint(shape.out_channels());
        let mut y = vec![0.0; shape.output_len()];
        plan.forward(&x, &w).bias(&b).run(&mut y).unwrap();
        for (activation, low, high) in
            [(Activation::Relu, 0.0, f32::INFINITY), (Activation::Clamp(-3.0, 6.0), -3.0, 6.0)]
        {
            let mut clamped = vec![0.0; y.len()];
            let plan = plan.clone().with_activation(activation).unwrap();
            plan.forward(&x, &w).bias(&b).run(&mut clamped).unwrap();
            for (i, (&y, &c)) in y.iter().zip(&clamped).enumerate() {
                // Not `clamp`: it would hide a NaN that was lost on either side.
                let expected = if y < low {
                    low
                } else if y > high {
                    high
                } else {
                    y
                };
                assert!(
                    c == expected || (c.is_nan() && y.is_nan()),
                    "{i}: {c} not {expected}, {plan:?}"
                );
            }
        }
    }
}
