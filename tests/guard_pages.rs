//! Every pass with every tensor against a page that faults: nothing outside a slice is touched,
//! not even read. (`promises.rs` sees what is written, not what is read.)
//!
//! A tensor that ends at its page's end begins at whatever alignment its length gives, so the
//! lengths are drawn to meet each one. What runs is printed: lost with the process if a page
//! faults, unless asked for by `--nocapture`.

#![cfg(unix)]

use im2col::testing::{EDGES, Edge, Fill, Guarded, Layer, bits, calls, for_families, nan, plans};
use im2col::{Element, Layout, PaddingMode, Params, Pass, Plan, Write, col2im, im2col};

/// A layer's tensors at an edge of their pages.
struct Tensors<T> {
    edge: Edge,
    input: Guarded<T>,
    weight: Guarded<T>,
    bias: Guarded<T>,
    grad_output: Guarded<T>,
}

impl<T: Element> Tensors<T> {
    fn new(layer: &Layer<T>, edge: Edge) -> Self {
        let guarded = |tensor: &[T]| Guarded::new(edge, tensor);
        let (input, weight) = (guarded(&layer.input), guarded(&layer.weight));
        let (bias, grad_output) = (guarded(&layer.bias), guarded(&layer.grad_output));
        Self { edge, input, weight, bias, grad_output }
    }

    /// Memory for a call to write, at the same edge.
    fn to(&self, before: &[T]) -> Guarded<T> {
        Guarded::new(self.edge, before)
    }

    fn run(&self, plan: &Plan<T>, pass: Pass, write: Write, before: &[T]) -> Guarded<T> {
        let Self { input, weight, bias, grad_output: dg, .. } = self;
        let mut to = self.to(before);
        let mut scratch = self.to(&vec![nan(); plan.min_scratch_len(pass)]);
        match pass {
            Pass::Forward => {
                let bias = (write == Write::Accumulate).then_some(&**bias);
                plan.forward(input, &weight[..])
                    .maybe_bias(bias)
                    .scratch(&mut scratch)
                    .run(&mut to[..])
            }
            Pass::BackwardData => plan
                .backward_data(&weight[..], dg)
                .write(write)
                .scratch(&mut scratch)
                .run(&mut to[..]),
            _ => {
                plan.backward_weight(input, dg).write(write).scratch(&mut scratch).run(&mut to[..])
            }
        }
        .expect("the layer's own lengths");
        to
    }

    /// Forward and backward_data with packed weights, which adds to what is there, and the gradient
    /// of the bias.
    fn run_others(&self, plan: &Plan<T>, old: &[T]) -> [Guarded<T>; 3] {
        let (shape, dg) = (plan.shape(), &self.grad_output);
        let empty = |len: usize| self.to(&vec![nan(); len]);
        let scratch = |pass| empty(plan.min_scratch_len(pass));
        let pack = |pass| plan.pack_weight(pass, &self.weight).unwrap();
        let (pass, mut y) = (Pass::Forward, empty(shape.output_len()));
        let (packed, bias) = (pack(pass), Some(&*self.bias));
        let scratch_of = &mut scratch(pass);
        plan.forward(&self.input, &packed)
            .maybe_bias(bias)
            .scratch(scratch_of)
            .run(&mut y[..])
            .unwrap();
        let (pass, mut dx, add) = (Pass::BackwardData, self.to(old), Write::Accumulate);
        let (packed, scratch_of) = (pack(pass), &mut scratch(pass));
        plan.backward_data(&packed, dg).write(add).scratch(scratch_of).run(&mut dx[..]).unwrap();
        let mut db = empty(shape.out_channels());
        plan.backward_bias(dg).run(&mut db[..]).unwrap();
        [y, dx, db]
    }
}

fn check<T: Element>(params: Params) {
    let layer = Layer::<T>::new(params, Fill::Normal);
    for plan in plans(layer.shape) {
        let run = |pass, write| bits(&layer.run(&plan, pass, write));
        let free: Vec<_> = calls().map(|(pass, write)| run(pass, write)).collect();
        let bias = bits(&layer.run_bias(&plan, Write::Overwrite));
        let added = run(Pass::BackwardData, Write::Accumulate);
        let old = layer.before(Pass::BackwardData, Write::Accumulate);
        let others = [&free[1], &added, &bias].map(Vec::clone);
        for edge in EDGES {
            let tensors = Tensors::new(&layer, edge);
            for ((pass, write), free) in calls().zip(&free) {
                println!("{pass:?} {write:?} {edge:?} {plan:?}");
                let got = tensors.run(&plan, pass, write, &layer.before(pass, write));
                assert!(*free == bits(&got), "{pass:?} {write:?} {edge:?} of {plan:?}");
            }
            println!("packed weights and bias {edge:?} {plan:?}");
            let got = tensors.run_others(&plan, &old).each_ref().map(|to| bits(to));
            assert!(others == got, "packed weights or bias {edge:?} of {plan:?}");
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

#[test]
fn cols_touch_nothing_outside_their_slices() {
    for_families(4, |params| {
        let layer = Layer::<f32>::new(Params { batch: 1, ..params }, Fill::Integers);
        let (shape, len) = (&layer.shape, layer.shape.cols_len().unwrap());
        for edge in EDGES {
            let (image, mut cols) =
                (Guarded::new(edge, &layer.input), Guarded::new(edge, &vec![nan(); len]));
            im2col(shape, &image, &mut cols).unwrap();
            let mut sums = Guarded::new(edge, &vec![nan(); image.len()]);
            col2im(shape, &cols, &mut sums, Write::Overwrite).unwrap();
            assert!(cols.iter().chain(&*sums).all(|x| x.is_finite()));
        }
    });
}

/// Sizes at which vectors, panels and runs are whole, and one to either side of them.
const AROUND_WHOLE: [usize; 6] = [15, 16, 17, 63, 64, 65];

/// Dense, pointwise and depthwise layers of `channels` channels and as many pixels, squared.
fn check_square(channels: usize, image: usize) {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
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
        check::<f32>(Params { padding_mode: PaddingMode::Reflect, ..padded });
        check::<f32>(Params { kernel: [1, 1, 1], ..plain });
        check::<f32>(Params { groups: channels, stride: [2, 2, 1], ..padded });
    }
}

#[test]
fn whole_vectors_of_channels_and_one_more_or_less() {
    AROUND_WHOLE.into_iter().for_each(|channels| check_square(channels, 4));
}

#[test]
fn whole_vectors_of_pixels_and_one_more_or_less() {
    AROUND_WHOLE.into_iter().for_each(|image| check_square(3, image));
}

/// Rows of every length modulo the widest vector: tensors that end at a page begin at every
/// alignment. Dense, depthwise and strided.
#[test]
fn every_alignment() {
    for length in 17..=32 {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            for (groups, stride, padding_mode) in [
                (1, 1, PaddingMode::Zeros),
                (3, 2, PaddingMode::Zeros),
                (1, 1, PaddingMode::Circular),
            ] {
                check::<f32>(Params {
                    axes: 1,
                    layout,
                    in_channels: 3,
                    out_channels: 3,
                    groups,
                    input: [length, 1, 1],
                    kernel: [3, 1, 1],
                    stride: [stride, 1, 1],
                    pad_begin: [1, 0, 0],
                    padding_mode,
                    ..Params::default()
                });
            }
        }
    }
}
