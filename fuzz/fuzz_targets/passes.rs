//! Any small layer, with whole numbers for its tensors: every pass, algorithm, layout and type
//! answers exactly as the naive loops do, whatever its scratch and its outputs held before.

#![no_main]

use arbitrary::{Arbitrary, Result, Unstructured};
use im2col::{
    Algorithm, Element, Layout, Parallelism, Params, Pass, Plan, Shape, Write, reference,
};
use libfuzzer_sys::fuzz_target;

/// The most products in one layer: more would only be slow.
const WORK: f64 = 3e4;

#[derive(Debug)]
struct Layer {
    params: Params,
    accumulate: bool,
    extra_scratch: usize,
    double: bool,
    seed: u8,
}

impl<'a> Arbitrary<'a> for Layer {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let groups = u.int_in_range(1..=4)?;
        let mut params = Params {
            axes: u.int_in_range(1..=3)?,
            layout: *u.choose(&[Layout::ChannelsFirst, Layout::ChannelsLast])?,
            batch: u.int_in_range(1..=9)?,
            in_channels: groups * u.int_in_range(1..=40)?,
            out_channels: groups * u.int_in_range(1..=40)?,
            groups,
            ..Params::default()
        };
        for a in 0..params.axes {
            params.kernel[a] = u.int_in_range(1..=5)?;
            params.stride[a] = u.int_in_range(1..=5)?;
            params.dilation[a] = u.int_in_range(1..=3)?;
            params.pad_begin[a] = u.int_in_range(0..=6)?;
            params.pad_end[a] = u.int_in_range(0..=6)?;
            let span = (params.kernel[a] - 1) * params.dilation[a] + 1;
            let fewest = span.saturating_sub(params.pad_begin[a] + params.pad_end[a]).max(1);
            params.input[a] = fewest + u.int_in_range(0..=40)?;
        }
        Ok(Self {
            params,
            accumulate: u.arbitrary()?,
            extra_scratch: u.int_in_range(0..=70)?,
            double: u.arbitrary()?,
            seed: u.arbitrary()?,
        })
    }
}

fuzz_target!(|layer: Layer| {
    let shape = Shape::new(layer.params).expect("made to be valid");
    if shape.flops() <= 2.0 * WORK {
        if layer.double { check::<f64>(&layer, shape) } else { check::<f32>(&layer, shape) }
    }
});

/// Whole numbers from -3 to 3 whose order depends on the seed.
fn numbers<T: Element>(seed: u8, len: usize) -> Vec<T> {
    let mut state = u64::from(seed) * 2 + 1;
    let next = |_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        T::from_f64((state >> 40) as f64 % 7.0 - 3.0)
    };
    (0..len).map(next).collect()
}

fn check<T: Element>(layer: &Layer, shape: Shape) {
    let tensor = |which, len| numbers::<T>(layer.seed ^ which, len);
    let (x, w) = (tensor(0, shape.input_len()), tensor(1, shape.weight_len()));
    let (dg, bias) = (tensor(2, shape.output_len()), tensor(3, shape.out_channels()));
    let bias = layer.accumulate.then_some(bias.as_slice());
    let write = if layer.accumulate { Write::Accumulate } else { Write::Overwrite };
    let y = reference::forward(&shape, &x, &w, bias).unwrap();
    let dv = reference::backward_data(&shape, &w, &dg).unwrap();
    let dw = reference::backward_weight(&shape, &x, &dg).unwrap();
    let db = reference::backward_bias(&shape, &dg).unwrap();
    // What an overwritten destination held must not matter, so it is NaN.
    let held = if layer.accumulate { T::ONE } else { T::from_f64(f64::NAN) };
    let onto = if layer.accumulate { 1.0 } else { 0.0 };

    for algorithm in [Algorithm::Auto, Algorithm::Explicit, Algorithm::Implicit] {
        let Ok(plan) = Plan::<T>::new(shape, algorithm, Parallelism::Serial) else { continue };
        let scratch =
            |pass| vec![T::from_f64(f64::NAN); plan.min_scratch_len(pass) + layer.extra_scratch];
        let mut to = vec![T::from_f64(f64::NAN); y.len()];
        let s = &mut scratch(Pass::Forward);
        plan.forward_with_scratch(&x, &w, bias, &mut to, s).unwrap();
        same(&to, &y, 0.0, "forward");
        let mut to = vec![held; dv.len()];
        let s = &mut scratch(Pass::BackwardData);
        plan.backward_data_with_scratch(&w, &dg, &mut to, write, s).unwrap();
        same(&to, &dv, onto, "backward_data");
        let mut to = vec![held; dw.len()];
        let s = &mut scratch(Pass::BackwardWeight);
        plan.backward_weight_with_scratch(&x, &dg, &mut to, write, s).unwrap();
        same(&to, &dw, onto, "backward_weight");
        let mut to = vec![held; db.len()];
        plan.backward_bias(&dg, &mut to, write).unwrap();
        same(&to, &db, onto, "backward_bias");
    }
}

fn same<T: Element>(got: &[T], expected: &[f64], onto: f64, pass: &str) {
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        assert!(got.into() == expected + onto, "{pass}[{i}] is {got}, not {}", expected + onto);
    }
}
