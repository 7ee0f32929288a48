//! An image has the same bits in a batch of any size: plans made from one plan keep its schedule and its blocks.

use im2col::testing::{Fill, Layer, bits, for_families, isas};
use im2col::{
    Activation, Conv2d, Element, Layout, Options, Params, Pass, Plan, Serial, Staging, Write,
};

/// The first `batch` images of a layer.
fn first<T: Element>(layer: &Layer<T>, plan: &Plan<T>) -> Layer<T> {
    let shape = *plan.shape();
    let cut = |tensor: &[T], len: usize| tensor[..len].to_vec();
    Layer {
        shape,
        input: cut(&layer.input, shape.input_len()),
        grad_output: cut(&layer.grad_output, shape.output_len()),
        ..layer.clone()
    }
}

/// Plans for fewer images, for one, and for more, made from a plan: each image as in the whole batch.
fn check<T: Element>(layer: &Layer<T>, plan: &Plan<T>) {
    let batch = layer.shape.batch();
    for pass in [Pass::Forward, Pass::BackwardData] {
        let whole = bits(&layer.run(plan, pass, Write::Accumulate));
        let mut wanted = whole.chunks(whole.len() / batch);
        // From the plan, and from a plan of one image that was made from it.
        let one = plan.with_batch(1).unwrap();
        for (plan, from) in [(plan, "the plan"), (&one, "a plan of one image")] {
            for images in [1, 2, batch - 1, batch] {
                let other = plan.with_batch(images).unwrap();
                let few = first(layer, &other);
                let mut to = few.before(pass, Write::Accumulate);
                few.run_on(&other, pass, Write::Accumulate, &Serial, None, &mut to).unwrap();
                let got = bits(&to);
                assert!(
                    got[..] == whole[..got.len()],
                    "{images} of {batch} images, {pass} from {from}: {plan:#?}"
                );
            }
        }
        assert!(wanted.all(|image| image.len() == whole.len() / batch));
    }
}

#[test]
fn an_image_has_the_same_bits_in_any_batch() {
    fn family<T: Element>(params: Params) {
        let layer = Layer::<T>::new(Params { batch: params.batch + 3, ..params }, Fill::Normal);
        for plan in im2col::testing::plans(layer.shape) {
            check(&layer, &plan);
        }
    }
    for_families(4, family::<f32>);
    for_families(1, family::<f64>);
}

/// From a plan of one image to many: wherever the schedule is possible there, the bits are the same; and it is for all but
/// layers of few pixels, whose cols would be too large to be written down.
/// Scratch that serves several plans is as long as the longest of theirs, which need not be the largest batch's: the masked
/// gradients of 11 images are one block, those of 20 are two blocks of 10.
#[test]
fn scratch_for_batches_of_several_sizes() {
    let layer = Conv2d::<f32>::new([20, 8, 56, 56], [16, 1, 7, 7]).groups(8);
    let plan = layer.activation(Activation::Relu).plan().unwrap();
    let plans = [20, 11, 1].map(|images| plan.with_batch(images).unwrap());
    let pass = Pass::BackwardData;
    let lens = plans.each_ref().map(|plan| plan.min_scratch_len(pass));
    assert!(lens[1] > lens[0], "{lens:?}: then the largest batch's serves them all");
    let mut scratch = vec![f32::NAN; lens.into_iter().max().unwrap()];
    for plan in &plans {
        let numbers = |len: usize| -> Vec<f32> { (0..len).map(|i| (i % 7) as f32 - 3.0).collect() };
        let shape = plan.shape();
        let (w, g) = (numbers(shape.weight_len()), numbers(shape.output_len()));
        let wanted = plan.backward_data(&w, &g).mask(&g).into_vec().unwrap();
        let mut got = vec![0.0; wanted.len()];
        plan.backward_data(&w, &g).mask(&g).scratch(&mut scratch).run(&mut got).unwrap();
        assert_eq!(bits(&got), bits(&wanted));
    }
}

#[test]
fn from_one_image_to_many() {
    for_families(4, |params| {
        let layer = Layer::<f32>::new(Params { batch: 13, ..params }, Fill::Normal);
        let one = Layer::<f32>::new(Params { batch: 1, ..params }, Fill::Normal);
        for plan in im2col::testing::plans(one.shape) {
            let many = plan.with_batch(13).unwrap();
            let one = first(&layer, &plan);
            for pass in [Pass::Forward, Pass::BackwardData] {
                let (old, new) = (plan.schedule(pass).unwrap(), many.schedule(pass).unwrap());
                if old.cols == Staging::Written && new != old {
                    continue;
                }
                let few = bits(&one.run(&plan, pass, Write::Accumulate));
                let all = bits(&layer.run(&many, pass, Write::Accumulate));
                assert!(all[..few.len()] == few[..], "{pass} of {plan:#?} and {many:#?}");
            }
        }
    });
}

/// Layers of networks, whose blocks and cuts depend on sizes, by every schedule that there is.
#[test]
fn with_every_schedule() {
    let base = Params { batch: 9, pad_begin: [1, 1, 0], pad_end: [1, 1, 0], ..Params::default() };
    let square = |c, k, size, kernel| Params {
        in_channels: c,
        out_channels: k,
        input: [size, size, 1],
        kernel: [kernel, kernel, 1],
        ..base
    };
    let layers = [
        square(24, 40, 7, 3),
        square(3, 20, 23, 5),
        square(96, 16, 6, 1),
        Params { stride: [2, 2, 1], ..square(16, 33, 14, 3) },
        Params { groups: 16, ..square(16, 16, 15, 3) },
        Params {
            dilation: [4, 4, 1],
            pad_begin: [4, 4, 0],
            pad_end: [4, 4, 0],
            ..square(12, 20, 8, 3)
        },
    ];
    for params in layers {
        for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
            let layer = Layer::<f32>::new(Params { layout, ..params }, Fill::Normal);
            for isa in isas() {
                let plan = Plan::<f32>::new(layer.shape, Options::default().isa(isa)).unwrap();
                let forward = plan.candidates(Pass::Forward).unwrap();
                let data = plan.candidates(Pass::BackwardData).unwrap();
                let most = forward.len().max(data.len());
                let pairs = forward.iter().cycle().zip(data.iter().cycle()).take(most);
                for (forward, data) in pairs.step_by(3) {
                    let plan = plan.clone().with_schedule(Pass::Forward, *forward).unwrap();
                    check(&layer, &plan.with_schedule(Pass::BackwardData, *data).unwrap());
                }
            }
        }
    }
}
