//! Layers without images, channels or pixels, as a detector has them that found nothing: outputs are the bias, gradients
//! are zero, and what is accumulated stays.

use im2col::testing::{Fill, Layer, Tolerance, isas, plans};
use im2col::{
    Activation, Conv2d, ConvTranspose2d, Element, Error, Layout, Options, Params, Pass, Shape,
};

/// Layers of no elements, each in another way.
fn layers() -> Vec<Params> {
    let base = Params { batch: 2, in_channels: 4, out_channels: 6, ..Params::default() };
    let image = Params { input: [5, 4, 1], kernel: [3, 2, 1], pad_begin: [1; 3], ..base };
    let padded = Params { pad_begin: [2; 3], pad_end: [2; 3], ..image };
    let mut layers = vec![
        Params { batch: 0, ..image },
        Params { batch: 0, groups: 2, stride: [2, 3, 1], ..image },
        Params { in_channels: 0, ..image },
        Params { in_channels: 0, batch: 0, groups: 2, ..image },
        Params { input: [0, 4, 1], ..padded },
        Params { input: [5, 0, 1], stride: [2; 3], dilation: [2; 3], ..padded },
        Params { input: [0, 0, 1], batch: 0, ..padded },
        Params { axes: 1, input: [0, 1, 1], kernel: [1; 3], pad_end: [3; 3], ..base },
        Params { axes: 3, batch: 0, input: [3; 3], kernel: [2; 3], ..base },
        Params { batch: 0, in_channels: 6, groups: 6, ..image },
    ];
    let last: Vec<_> =
        layers.iter().map(|&p| Params { layout: Layout::ChannelsLast, ..p }).collect();
    layers.extend(last);
    layers
}

/// Every pass of every plan gives what the naive loops do, and the options of forward add up.
fn check<T: Element>(params: Params) {
    let layer = Layer::<T>::new(params, Fill::Integers);
    assert!(layer.shape.is_empty());
    for plan in plans::<T>(layer.shape) {
        for expected in layer.all_answers() {
            expected.assert_plan(&plan, Tolerance::Exact);
        }
        let of = |x: f64| T::from_f64(x);
        let bias: Vec<T> = (0..params.out_channels).map(|k| of(k as f64 - 2.0)).collect();
        let mut y = vec![of(10.0); layer.shape.output_len()];
        let (residual, packed) =
            (vec![of(1.0); y.len()], plan.pack_weight(Pass::Forward, &layer.weight));
        let packed = packed.unwrap();
        let call = plan.forward(&layer.input, &packed).bias(&bias).residual(&residual).accumulate();
        call.activation(Activation::Clamp(of(-1.0), of(12.0))).run(&mut y).unwrap();
        let pixels = layer.shape.output_pixels();
        for (i, &y) in y.iter().enumerate() {
            let channel = match params.layout {
                Layout::ChannelsFirst => i / pixels % params.out_channels,
                _ => i % params.out_channels,
            };
            assert_eq!(y.into(), (channel as f64 + 9.0).min(12.0), "{params:?}");
        }
        assert!(!plan.explain().is_empty());
        assert!(plan.with_input(&params.input[..params.axes]).is_ok());
    }
}

#[test]
fn every_pass_of_nothing() {
    for params in layers() {
        check::<f32>(params);
        check::<f64>(params);
    }
}

/// Weights that were packed for images serve a batch of none, and the schedule comes back with the images.
#[test]
fn a_batch_of_none_keeps_the_plan() {
    for isa in isas() {
        let params = Params {
            batch: 8,
            in_channels: 16,
            out_channels: 32,
            input: [12, 12, 1],
            kernel: [3, 3, 1],
            ..Params::default()
        };
        let options = Options::default().isa(isa);
        let plan = im2col::Plan::<f32>::new(Shape::new(params).unwrap(), options).unwrap();
        let packed = plan.pack_weight(Pass::Forward, &[1.0; 32 * 16 * 9]).unwrap();
        let none = plan.with_batch(0).unwrap();
        assert_eq!(none.output_shape(), [0, 32, 10, 10]);
        none.forward(&[], &packed).bias(&[1.0; 32]).run(&mut [0.0; 0]).unwrap();
        let mut grad_weight = [7.0; 32 * 16 * 9];
        none.backward_weight(&[], &[]).accumulate().run(&mut grad_weight).unwrap();
        assert!(grad_weight.iter().all(|&x| x == 7.0));
        none.backward_weight(&[], &[]).run(&mut grad_weight).unwrap();
        assert!(grad_weight.iter().all(|&x| x == 0.0));
        let again = none.with_batch(8).unwrap();
        for &pass in Pass::ALL {
            assert_eq!(again.schedule(pass), plan.schedule(pass), "{isa} {pass}");
        }
        // Lengths are checked as ever.
        assert!(matches!(
            none.forward(&[0.0], &packed).run(&mut [0.0; 0]),
            Err(Error::Length { .. })
        ));
    }
}

#[test]
fn transposed_layers_of_nothing() {
    let layer = ConvTranspose2d::<f32>::new([0, 4, 3, 3], [4, 2, 2, 2]).stride(2);
    let plan = layer.plan().unwrap();
    assert_eq!(plan.output_shape(), [0, 2, 6, 6]);
    plan.forward(&[], &[1.0; 32]).bias(&[1.0; 2]).run(&mut [0.0; 0]).unwrap();
    plan.backward_data(&[1.0; 32], &[]).run(&mut [0.0; 0]).unwrap();
    let mut grad_weight = [7.0; 32];
    plan.backward_weight(&[], &[]).run(&mut grad_weight).unwrap();
    let mut grad_bias = [7.0; 2];
    plan.backward_bias(&[]).run(&mut grad_bias).unwrap();
    assert!(grad_weight.iter().chain(&grad_bias).all(|&x| x == 0.0));
    let one = plan.with_batch(1).unwrap();
    let mut output = [0.0; 72];
    one.forward(&[1.0; 36], &[1.0; 32]).run(&mut output).unwrap();
    assert!(output.iter().all(|&x| x == 4.0));
    assert_eq!(one.with_input(&[2, 5]).unwrap().output_shape(), [1, 2, 4, 10]);
    // Outputs of no channels.
    let none = ConvTranspose2d::<f32>::new([1, 4, 3, 3], [4, 0, 2, 2]).plan().unwrap();
    none.forward(&[1.0; 36], &[]).run(&mut [0.0; 0]).unwrap();
    let mut grad_input = [7.0; 36];
    none.backward_data(&[], &[]).run(&mut grad_input).unwrap();
    assert_eq!(grad_input, [0.0; 36]);
}

/// What torch refuses is refused: no filters, no taps, and a kernel that fits no padded image, however few there are.
/// Found by fuzzing: each of 2⁴⁰ outputs was visited for the elements that it doesn't have.
#[test]
fn cols_of_nothing_take_no_time() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        let input = [1 << 20, 1 << 20, 1];
        let shape = Shape::new(Params { in_channels: 0, input, layout, ..Params::default() });
        let shape = shape.unwrap();
        im2col::im2col::<f32>(&shape, &[], &mut []).unwrap();
        im2col::col2im::<f32>(&shape, &[], &mut [], im2col::Write::Overwrite).unwrap();
    }
}

#[test]
fn what_is_no_layer() {
    let refused = |input, weight| Conv2d::<f32>::new(input, weight).plan().is_err();
    assert!(refused([0, 3, 2, 2], [4, 3, 3, 3]));
    assert!(refused([1, 3, 5, 5], [0, 3, 3, 3]));
    assert!(refused([1, 3, 5, 5], [4, 3, 0, 3]));
    assert!(refused([1, 3, 0, 5], [4, 3, 1, 1]));
    assert!(refused([0, usize::MAX, 5, 5], [4, usize::MAX, 1, 1]));
    assert!(refused([1, 0, usize::MAX / 8, 5], [4, 0, 1, 1]));
    assert!(ConvTranspose2d::<f32>::new([1, 3, 0, 5], [3, 4, 1, 1]).plan().is_err());
}
