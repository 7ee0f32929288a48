//! Every pass with every tensor against a page that faults: nothing outside a slice is touched,
//! not even read. (`promises.rs` sees what is written, not what is read.)

#![cfg(unix)]

use im2col::testing::{
    EDGES, Edge, Fill, Guarded, Layer, PASSES, WRITES, bits, for_families, nan, plans,
};
use im2col::{Element, Params, Pass, Plan, Write};

fn run<T: Element>(
    layer: &Layer<T>,
    plan: &Plan<T>,
    (pass, write): (Pass, Write),
    edge: Edge,
) -> Vec<T> {
    let guarded = |tensor: &[T]| Guarded::new(edge, tensor);
    let (input, weight) = (guarded(&layer.input), guarded(&layer.weight));
    let (bias, dg) = (guarded(&layer.bias), guarded(&layer.grad_output));
    let mut to = guarded(&layer.before(pass, write));
    let mut scratch = guarded(&vec![nan(); plan.min_scratch_len(pass)]);
    match pass {
        Pass::Forward => {
            let bias = (write == Write::Accumulate).then_some(&*bias);
            plan.forward_with_scratch(&input, &weight, bias, &mut to, &mut scratch)
        }
        Pass::BackwardData => {
            plan.backward_data_with_scratch(&weight, &dg, &mut to, write, &mut scratch)
        }
        Pass::BackwardWeight => {
            plan.backward_weight_with_scratch(&input, &dg, &mut to, write, &mut scratch)
        }
    }
    .expect("the layer's own lengths");
    to.to_vec()
}

fn check<T: Element>(params: Params) {
    let layer = Layer::<T>::new(params, Fill::Normal);
    for plan in plans(layer.shape) {
        for pass in PASSES {
            for write in WRITES {
                let free = bits(&layer.run(&plan, pass, write));
                for edge in EDGES {
                    // Lost with the process if a page faults, unless asked for by --nocapture.
                    println!("{pass:?} {write:?} {edge:?} {plan:?}");
                    let got = bits(&run(&layer, &plan, (pass, write), edge));
                    assert_eq!(free, got, "{pass:?} {write:?} {edge:?} of {plan:?}");
                }
            }
        }
    }
}

#[test]
fn f32_passes_touch_nothing_outside_their_slices() {
    for_families(4, check::<f32>);
}

#[test]
fn f64_passes_touch_nothing_outside_their_slices() {
    for_families(2, check::<f64>);
}

/// Sizes at which vectors, panels and runs are whole, and one to either side of them.
#[test]
fn whole_vectors_and_one_more_or_less() {
    for size in [15, 16, 17, 63, 64, 65] {
        for (channels, image) in [(size, 4), (3, size)] {
            for layout in [im2col::Layout::ChannelsFirst, im2col::Layout::ChannelsLast] {
                let plain = Params {
                    layout,
                    in_channels: channels,
                    out_channels: channels,
                    input: [image, image, 1],
                    kernel: [3, 3, 1],
                    ..Params::default()
                };
                let padded = Params { pad_begin: [1, 1, 0], pad_end: [1, 1, 0], ..plain };
                check::<f32>(plain);
                check::<f32>(padded);
                check::<f32>(Params { kernel: [1, 1, 1], ..plain });
                check::<f32>(Params { groups: channels, stride: [2, 2, 1], ..padded });
            }
        }
    }
}
