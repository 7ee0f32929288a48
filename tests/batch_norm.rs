//! A batch normalisation folded into the layer before it gives what the two give one after the other.

use im2col::testing::{Fill, Layer, for_families, numbers};
use im2col::{
    Algorithm, BatchNorm, ConvTranspose2d, Error, Layout, Params, Plan, fold_batch_norm,
    fold_batch_norm_transposed,
};

/// Means, variances, factors and summands of channels.
fn learnt(channels: usize) -> [Vec<f32>; 4] {
    let uniform = |tensor| numbers::<f32>(Fill::Uniform, tensor, channels);
    let variance = uniform(5).iter().map(|x| 0.01 + 9.0 * x * x).collect();
    [uniform(4), variance, uniform(6), uniform(7)]
}

fn normalised(x: f64, channel: usize, [mean, variance, gamma, beta]: &[Vec<f32>; 4]) -> f64 {
    let of = |of: &[f32]| f64::from(of[channel]);
    (x - of(mean)) / (of(variance) + 1e-5).sqrt() * of(gamma) + of(beta)
}

fn norm([mean, variance, gamma, beta]: &[Vec<f32>; 4]) -> BatchNorm<'_, f32> {
    BatchNorm { mean, variance, gamma, beta, epsilon: 1e-5 }
}

fn channel(layout: Layout, element: usize, channels: usize, pixels: usize) -> usize {
    match layout {
        Layout::ChannelsFirst => element / pixels % channels,
        _ => element % channels,
    }
}

fn assert_close(found: &[f32], wanted: &[f64], sums: &[f32], of: &str) {
    let largest = sums.iter().chain(found).fold(1.0, |most: f32, x| most.max(x.abs()));
    for (found, wanted) in found.iter().zip(wanted) {
        let error = (f64::from(*found) - wanted).abs();
        assert!(error <= 1e-4 * f64::from(largest) * 10.0, "{found}, not {wanted}: {of}");
    }
}

#[test]
fn a_folded_layer_gives_what_the_two_give() {
    for_families(4, |params: Params| {
        let layer = Layer::<f32>::new(params, Fill::Uniform);
        let plan = Plan::<f32>::new(layer.shape, Algorithm::Auto.into()).unwrap();
        let channels = layer.shape.out_channels();
        let learnt = learnt(channels);
        let mut sums = vec![0.0; layer.shape.output_len()];
        plan.forward(&layer.input, &layer.weight).bias(&layer.bias).run(&mut sums).unwrap();
        let of = |(i, &x): (usize, &f32)| {
            let channel = channel(params.layout, i, channels, layer.shape.output_pixels());
            normalised(x.into(), channel, &learnt)
        };
        let wanted: Vec<f64> = sums.iter().enumerate().map(of).collect();
        let (mut weight, mut bias) = (layer.weight.clone(), layer.bias.clone());
        fold_batch_norm(&mut weight, &mut bias, &norm(&learnt)).unwrap();
        let mut output = vec![0.0; sums.len()];
        plan.forward(&layer.input, &weight).bias(&bias).run(&mut output).unwrap();
        assert_close(&output, &wanted, &sums, &plan.to_string());
    });
}

#[test]
fn a_folded_transposed_layer_too() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        for groups in [1, 2] {
            let layer = ConvTranspose2d::<f32>::new([2, 4, 5, 6], [4, 3, 2, 3]).stride(2);
            let plan = layer.groups(groups).layout(layout).plan().unwrap();
            let channels = 3 * groups;
            let learnt = learnt(channels);
            let uniform = |tensor, len| numbers::<f32>(Fill::Uniform, tensor, len);
            let (x, w) = (uniform(0, plan.input_len()), uniform(1, plan.weight_len()));
            let bias = uniform(2, channels);
            let mut sums = vec![0.0; plan.output_len()];
            plan.forward(&x, &w).bias(&bias).run(&mut sums).unwrap();
            let pixels = sums.len() / 2 / channels;
            let of = |(i, &x): (usize, &f32)| {
                normalised(x.into(), channel(layout, i, channels, pixels), &learnt)
            };
            let wanted: Vec<f64> = sums.iter().enumerate().map(of).collect();
            let (mut weight, mut shift) = (w.clone(), bias.clone());
            let shape = *plan.conv().shape();
            fold_batch_norm_transposed(&shape, &mut weight, &mut shift, &norm(&learnt)).unwrap();
            let mut output = vec![0.0; sums.len()];
            plan.forward(&x, &weight).bias(&shift).run(&mut output).unwrap();
            assert_close(&output, &wanted, &sums, &plan.to_string());
        }
    }
}

/// Powers of four come out exactly; variances of any size keep 15 digits; nothing is written where a length is wrong.
#[test]
fn any_variance_and_any_length() {
    for exponent in -300..300 {
        let variance = [1.7 * 10f64.powi(exponent)];
        let (mut weight, mut bias) = ([1.0], [0.0]);
        let (zero, one) = ([0.0], [1.0]);
        let of =
            BatchNorm { mean: &zero, variance: &variance, gamma: &one, beta: &zero, epsilon: 0.0 };
        fold_batch_norm(&mut weight, &mut bias, &of).unwrap();
        let wanted = 1.0 / variance[0].sqrt();
        assert!((weight[0] / wanted - 1.0).abs() < 1e-15, "{} {wanted}", weight[0]);
        let short = BatchNorm { gamma: &[], ..of };
        let refused = fold_batch_norm(&mut weight, &mut bias, &short).unwrap_err();
        assert_eq!(refused, Error::Length { what: "gamma", expected: 1, found: 0 });
    }
    let two = [1.0; 2];
    let of = BatchNorm { mean: &two, variance: &two, gamma: &two, beta: &two, epsilon: 0.0 };
    let (mut weight, mut bias) = ([7.0; 3], [7.0; 2]);
    let refused = fold_batch_norm(&mut weight, &mut bias, &of).unwrap_err();
    assert_eq!(refused, Error::Length { what: "weight", expected: 2, found: 3 });
    assert!(weight == [7.0; 3] && bias == [7.0; 2]);
    let four = [4.0f32; 2];
    let of = BatchNorm {
        mean: &[0.0; 2],
        variance: &four,
        gamma: &[1.0; 2],
        beta: &[0.0; 2],
        epsilon: 0.0,
    };
    let (mut weight, mut bias) = ([7.0f32; 2], [8.0f32; 2]);
    fold_batch_norm(&mut weight, &mut bias, &of).unwrap();
    assert_eq!((weight, bias), ([3.5; 2], [4.0; 2]));
}
