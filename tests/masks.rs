//! Gradients that are read through the layer's activation, and the gradient of the bias in the same call.

use im2col::testing::{Fill, Layer, Tolerance, for_families, isas, nan, numbers, plans};
use im2col::{
    Activation, Conv2d, Element, Error, Executor, Layout, Options, Params, Pass, Plan, Serial,
    Shape, Write,
};

/// Two threads of the standard library.
struct Two;

impl Executor for Two {
    fn workers(&self) -> usize {
        2
    }

    fn run(&self, jobs: usize, job: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            (0..jobs).for_each(|index| drop(scope.spawn(move || job(index))))
        });
    }
}

/// What an activation's output lets through, as torch has it: nothing at a bound, everything where the output is NaN.
fn masked<T: Element>(gradient: &[T], output: &[T], activation: Activation<T>) -> Vec<T> {
    let blocks = |y: f64| match activation {
        Activation::Relu => y <= 0.0,
        Activation::Clamp(low, high) => y <= low.into() || y >= high.into(),
        _ => false,
    };
    let of = |(&g, &y): (&T, &T)| if blocks(y.into()) { T::ZERO } else { g };
    gradient.iter().zip(output).map(of).collect()
}

/// Integers between the bounds, on them and, at some places, NaN.
fn output<T: Element>(len: usize) -> Vec<T> {
    let clipped = |(i, x): (usize, T)| match i % 11 {
        3 => nan(),
        4 => T::INFINITY,
        _ => x.clamp_to(T::ZERO, T::from_f64(3.0)),
    };
    numbers::<T>(Fill::Integers, 9, len).into_iter().enumerate().map(clipped).collect()
}

fn activations<T: Element>() -> [Activation<T>; 2] {
    [Activation::Relu, Activation::Clamp(T::ZERO, T::from_f64(3.0))]
}

/// Every masked pass of a plan gives what the plain pass makes of the masked gradient: integers, so every sum is exact.
fn check_plan<T: Element>(layer: &Layer<T>, plan: &Plan<T>, executor: &dyn Executor) {
    let output = output::<T>(layer.shape.output_len());
    let plain = Layer {
        grad_output: masked(&layer.grad_output, &output, plan.activation()),
        ..layer.clone()
    };
    let dg = &layer.grad_output;
    let packed = plan.pack_weight(Pass::BackwardData, &layer.weight).unwrap();
    for write in [Write::Overwrite, Write::Accumulate] {
        let expected = plain.expected(im2col::testing::Call::Pass(Pass::BackwardData, write));
        for len in [plan.min_scratch_len(Pass::BackwardData), plan.scratch_len(Pass::BackwardData)]
        {
            let mut scratch = vec![nan::<T>(); len];
            let mut to = layer.before(Pass::BackwardData, write);
            let call = plan.backward_data(&layer.weight, dg).mask(&output).write(write);
            call.executor(executor).scratch(&mut scratch).run(&mut to).unwrap();
            expected.assert_close("masked", &to, Tolerance::Exact);
        }
        let mut to = layer.before(Pass::BackwardData, write);
        plan.backward_data(&packed, dg).mask(&output).write(write).run(&mut to).unwrap();
        expected.assert_close("masked and packed", &to, Tolerance::Exact);

        let expected = plain.expected(im2col::testing::Call::Pass(Pass::BackwardWeight, write));
        let of_bias = plain.expected(im2col::testing::Call::Bias(write));
        let before = || match write {
            Write::Accumulate => layer.old[..layer.shape.out_channels()].to_vec(),
            _ => vec![nan(); layer.shape.out_channels()],
        };
        let mut scratch = vec![nan::<T>(); plan.min_scratch_len(Pass::BackwardWeight)];
        let (mut to, mut sums) = (layer.before(Pass::BackwardWeight, write), before());
        let call = plan.backward_weight(&layer.input, dg).mask(&output).write(write);
        let call = call.grad_bias(&mut sums).executor(executor).scratch(&mut scratch);
        call.run(&mut to).unwrap();
        expected.assert_close("masked", &to, Tolerance::Exact);
        of_bias.assert_close("the bias in the same call", &sums, Tolerance::Exact);
        let mut sums = before();
        plan.backward_bias(dg).mask(&output).write(write).run(&mut sums).unwrap();
        of_bias.assert_close("masked", &sums, Tolerance::Exact);

        // Without a mask.
        let expected = layer.expected(im2col::testing::Call::Bias(write));
        let (mut to, mut sums) = (layer.before(Pass::BackwardWeight, write), before());
        let call = plan.backward_weight(&layer.input, dg).grad_bias(&mut sums).write(write);
        call.run(&mut to).unwrap();
        expected.assert_close("not masked", &sums, Tolerance::Exact);
    }
}

fn check<T: Element>(params: Params) {
    let layer = Layer::<T>::new(params, Fill::Integers);
    for (number, plan) in plans::<T>(layer.shape).into_iter().enumerate() {
        let activation = activations()[(number + params.batch) % 2];
        check_plan(&layer, &plan.with_activation(activation).unwrap(), &Serial);
    }
}

#[test]
fn every_engine_reads_a_masked_gradient() {
    for_families(5, check::<f32>);
    for_families(2, check::<f64>);
}

/// Gradients of several blocks, with a rest, by every schedule that there is.
#[test]
fn a_masked_batch_is_cut_into_blocks() {
    for layout in [Layout::ChannelsFirst, Layout::ChannelsLast] {
        for (channels, groups, kernel) in [(1, 1, 2), (64, 64, 1)] {
            let params = Params {
                batch: 5,
                in_channels: channels,
                out_channels: 64,
                groups,
                layout,
                input: [64, 66, 1],
                kernel: [1, kernel, 1],
                ..Params::default()
            };
            let layer = Layer::<f32>::new(params, Fill::Integers);
            for isa in isas() {
                let plan = Plan::<f32>::new(layer.shape, Options::default().isa(isa)).unwrap();
                let plan = plan.with_activation(Activation::Relu).unwrap();
                let of_image = layer.shape.output_len() / 5;
                let room = plan.min_scratch_len(Pass::BackwardWeight);
                assert!(room < 4 * of_image + (1 << 20), "{plan}: {room}");
                check_plan(&layer, &plan, &Two);
                let data = plan.candidates(Pass::BackwardData).unwrap();
                let weight = plan.candidates(Pass::BackwardWeight).unwrap();
                for (data, weight) in data.iter().zip(weight.iter().cycle()).step_by(14) {
                    let plan = plan.clone().with_schedule(Pass::BackwardData, *data).unwrap();
                    let plan = plan.with_schedule(Pass::BackwardWeight, *weight).unwrap();
                    check_plan(&layer, &plan, &Serial);
                }
            }
        }
    }
}

/// A transposed layer's gradients have the shape of the convolution's input.
#[test]
fn transposed_layers_are_masked_too() {
    for_families(4, |params| {
        let layer = Layer::<f32>::new(Params { batch: params.batch + 1, ..params }, Fill::Integers);
        for plan in plans::<f32>(layer.shape) {
            let activation = Activation::Relu;
            let plan = plan.with_activation(activation).unwrap().transposed().unwrap();
            let (x, w, dg) = (&layer.grad_output, &layer.weight, &layer.input);
            let y = output::<f32>(dg.len());
            let of = masked(dg, &y, activation);
            let mut grad_input = [vec![nan(); x.len()], vec![nan(); x.len()]];
            let mut grad_weight = [vec![nan(); w.len()], vec![nan(); w.len()]];
            let mut grad_bias =
                [vec![nan(); plan.output_shape()[1]], vec![nan(); plan.output_shape()[1]]];
            plan.backward_data(w, dg).mask(&y).run(&mut grad_input[0]).unwrap();
            plan.backward_data(w, &of).run(&mut grad_input[1]).unwrap();
            let call = plan.backward_weight(x, dg).mask(&y).grad_bias(&mut grad_bias[0]);
            call.run(&mut grad_weight[0]).unwrap();
            plan.backward_weight(x, &of).run(&mut grad_weight[1]).unwrap();
            plan.backward_bias(&of).run(&mut grad_bias[1]).unwrap();
            assert!(grad_input[0] == grad_input[1] && grad_weight[0] == grad_weight[1], "{plan}");
            assert_eq!(grad_bias[0], grad_bias[1], "{plan}");
            // The convolution inside reads no gradient of this shape.
            let conv = plan.conv();
            let call = conv.backward_data(w, x).mask(x).run(&mut vec![0.0; dg.len()]);
            assert!(matches!(call, Err(Error::Unsupported { .. })));
        }
    });
}

/// A residual block: `y = relu(conv(x) + bias + x)`. Trained by a step with everything in the calls, and by the plain passes with
/// loops around them: the same numbers, as all are integers.
#[test]
fn a_residual_layer_trains() {
    let layer = Conv2d::<f32>::new([3, 8, 9, 10], [8, 8, 3, 3]).padding(1);
    let tensor = |number, len| numbers::<f32>(Fill::Integers, number, len);
    let shape: Shape = layer.shape().unwrap();
    let (x, w) = (tensor(0, shape.input_len()), tensor(1, shape.weight_len()));
    let (b, dy) = (tensor(2, 8), tensor(3, shape.output_len()));
    for isa in isas() {
        let plan = layer.isa(isa).activation(Activation::Relu).plan().unwrap();
        let scratch_len = |pass| plan.scratch_len_on(pass, &Two);
        let longest = Pass::ALL.iter().map(|&pass| scratch_len(pass)).max().unwrap();
        let mut scratch = vec![nan::<f32>(); longest];
        let mut y = vec![nan(); dy.len()];
        let call = plan.forward(&x, &w).bias(&b).residual(&x).executor(&Two);
        call.scratch(&mut scratch).run(&mut y).unwrap();
        let (mut dw, mut db) = (vec![nan(); w.len()], vec![nan(); 8]);
        let call = plan.backward_weight(&x, &dy).mask(&y).grad_bias(&mut db).executor(&Two);
        call.scratch(&mut scratch).run(&mut dw).unwrap();
        // The shortcut's gradient is there first.
        let mut dx = masked(&dy, &y, Activation::Relu);
        let call = plan.backward_data(&w, &dy).mask(&y).accumulate().executor(&Two);
        call.scratch(&mut scratch).run(&mut dx).unwrap();

        let plain = layer.isa(isa).plan().unwrap();
        let mut sums = vec![0.0; y.len()];
        plain.forward(&x, &w).run(&mut sums).unwrap();
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = (*sum + b[i / 90 % 8] + x[i]).max(0.0);
        }
        assert_eq!(sums, y, "{plan}");
        let gradient: Vec<f32> =
            dy.iter().zip(&y).map(|(&dy, &y)| if y > 0.0 { dy } else { 0.0 }).collect();
        let (mut grad_weight, mut grad_bias) = (vec![0.0; w.len()], vec![0.0; 8]);
        let mut grad_input = vec![0.0; x.len()];
        plain.backward_weight(&x, &gradient).run(&mut grad_weight).unwrap();
        plain.backward_bias(&gradient).run(&mut grad_bias).unwrap();
        plain.backward_data(&w, &gradient).run(&mut grad_input).unwrap();
        grad_input.iter_mut().zip(&gradient).for_each(|(to, &shortcut)| *to += shortcut);
        assert!(dw == grad_weight && db == grad_bias && dx == grad_input, "{plan}");
    }
}

/// Refused, with nothing written: a mask or sums of another length.
#[test]
fn lengths_are_checked() {
    let plan = Conv2d::<f32>::new([1, 1, 3, 3], [1, 1, 2, 2]).activation(Activation::Relu);
    let plan = plan.plan().unwrap();
    let (mut to, mut sums) = ([7.0; 9], [7.0; 2]);
    let named = |error: Result<(), Error>, name| {
        assert!(matches!(error, Err(Error::Length { what, .. }) if what == name), "{error:?}");
    };
    named(plan.backward_data(&[1.0; 4], &[1.0; 4]).mask(&[1.0; 3]).run(&mut to), "mask");
    named(plan.backward_bias(&[1.0; 4]).mask(&[1.0; 5]).run(&mut sums[..1]), "mask");
    let call = plan.backward_weight(&[1.0; 9], &[1.0; 4]).mask(&[1.0; 9]);
    named(call.run(&mut to[..4]), "mask");
    let call = plan.backward_weight(&[1.0; 9], &[1.0; 4]).grad_bias(&mut sums);
    named(call.run(&mut to[..4]), "grad_bias");
    assert!(to == [7.0; 9] && sums == [7.0; 2]);
}
