//! Any numbers at all as a layer: a plan or an error, never a panic, and no memory taken.

#![no_main]

use arbitrary::Arbitrary;
use im2col::{
    Algorithm, Conv3d, ConvTranspose3d, Error, Layout, PaddingMode, Params, Pass, Plan, Shape,
};
use im2col_fuzz::Number;
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Sizes {
    axes: u8,
    channels_last: bool,
    padding_mode: u8,
    counts: [Number; 4],
    spatial: [[Number; 3]; 6],
    output_padding: [Number; 3],
}

fuzz_target!(|sizes: Sizes| {
    let [batch, in_channels, out_channels, groups] = sizes.counts.map(Number::get);
    let spatial = sizes.spatial.map(|sizes| sizes.map(Number::get));
    let [input, kernel, stride, dilation, pad_begin, pad_end] = spatial;
    let layout = if sizes.channels_last { Layout::ChannelsLast } else { Layout::ChannelsFirst };
    let modes = PaddingMode::ALL;
    let padding_mode = modes[usize::from(sizes.padding_mode) % modes.len()];
    let params = Params {
        axes: usize::from(sizes.axes % 5),
        layout,
        batch,
        in_channels,
        out_channels,
        groups,
        input,
        kernel,
        stride,
        dilation,
        pad_begin,
        pad_end,
        padding_mode,
    };
    if let Ok(shape) = Shape::new(params) {
        check(shape);
    }

    let [d, h, w] = input;
    let [q, r, s] = kernel;
    let layer = Conv3d::<f32>::new([batch, in_channels, d, h, w], [out_channels, groups, q, r, s]);
    let layer = layer.stride(stride).dilation(dilation).padding_per_side(pad_begin, pad_end);
    let layer = layer.padding_mode(padding_mode);
    let _ = layer.layout(layout).groups(groups).plan().map_err(|error| error.to_string());

    let output_padding = sizes.output_padding.map(Number::get);
    let weight = [in_channels, out_channels, q, r, s];
    let layer = ConvTranspose3d::<f64>::new([batch, in_channels, d, h, w], weight);
    let layer = layer.stride(stride).dilation(dilation).padding(pad_begin).groups(groups);
    if let Ok(plan) = layer.output_padding(output_padding).layout(layout).plan() {
        check(*plan.conv().shape());
    }
});

/// Every length of a valid layer can be asked for, and no short slice gets past the checks.
fn check(shape: Shape) {
    for axis in shape.axes() {
        let last = (axis.output - 1) * axis.stride + (axis.kernel - 1) * axis.dilation;
        assert!(last < axis.input + axis.pad_begin + axis.pad_end);
        for tap in [0, axis.kernel / 2, axis.kernel - 1] {
            let inside = axis.inside(tap);
            assert!(inside.start <= inside.end && inside.end <= axis.output);
            for o in [inside.start, inside.end.wrapping_sub(1), inside.end, 0, axis.output - 1] {
                if o < axis.output {
                    let is_read = inside.contains(&o)
                        || (axis.padding_mode != PaddingMode::Zeros && axis.input > 0);
                    assert_eq!(axis.source(o, tap).is_some(), is_read);
                }
            }
        }
    }
    for algorithm in [Algorithm::Auto, Algorithm::Explicit, Algorithm::Implicit] {
        let Ok(plan) = Plan::<f64>::new(shape, algorithm.into()) else { continue };
        for pass in [Pass::Forward, Pass::BackwardData, Pass::BackwardWeight] {
            assert!(plan.min_scratch_len(pass) <= plan.scratch_len(pass));
        }
        // Slices without elements are those of a layer that has none.
        let nothing = shape.input_len() + shape.weight_len() + shape.output_len() == 0;
        match plan.forward(&[], &[]).run(&mut [0.0; 0]) {
            Ok(()) => assert!(nothing),
            Err(error) => assert!(!nothing && matches!(error, Error::Length { .. }), "{error}"),
        }
    }
}
