//! What an option of a call adds to the layers of benches/layers.csv: the gradient of the bias, and padding that isn't zero.

use crate::layers::{self, Layer};
use im2col::{Layout, Options, PaddingMode, Params, Pass, Plan, Serial, Shape};
use std::time::{Duration, Instant};

const LAYOUTS: [Layout; 2] = [Layout::ChannelsFirst, Layout::ChannelsLast];

/// How long the calls of a layer are repeated.
const TIME: Duration = Duration::from_millis(150);

/// Microseconds of each call, in turns: the least of each.
fn in_turns<const N: usize>(mut call: impl FnMut(usize)) -> [f64; N] {
    let mut least = [f64::INFINITY; N];
    let begin = Instant::now();
    for round in 0.. {
        if round > 2 && begin.elapsed() > TIME {
            break;
        }
        for (which, least) in least.iter_mut().enumerate() {
            let start = Instant::now();
            call(which);
            *least = least.min(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    least
}

/// backward_weight, and what it takes with the gradient of the bias.
pub(crate) fn bias() {
    println!("backward_weight, and with the gradient of the bias; microseconds on one thread");
    for layout in LAYOUTS {
        for Layer { name, shape } in layers::all() {
            let shape = Shape::new(Params { layout, ..*shape.params() }).expect("a layer");
            let plan = Plan::<f32>::new(shape, Options::default()).expect("a plan");
            let (x, dg) = (vec![0.5; shape.input_len()], vec![0.5; shape.output_len()]);
            let mut dw = vec![0.0; shape.weight_len()];
            let mut db = vec![0.0; shape.out_channels()];
            let mut scratch = vec![0.0; plan.scratch_len_on(Pass::BackwardWeight, &Serial)];
            let [alone, both] = in_turns(|which| {
                let call = plan.backward_weight(&x, &dg).scratch(&mut scratch).executor(&Serial);
                let call = if which == 1 { call.grad_bias(&mut db) } else { call };
                call.run(&mut dw).expect("the layer's lengths");
            });
            let more = 100.0 * (both / alone - 1.0);
            println!("{name:14} {layout:15} {alone:9.1} {both:9.1} {more:6.1} %");
        }
    }
}

/// The three passes of padded layers with zeros, and with a reflected image.
pub(crate) fn padding() {
    println!(
        "forward, backward_data, backward_weight: zeros, reflected; microseconds on one thread"
    );
    for layout in LAYOUTS {
        let padded = |layer: &Layer| layer.shape.params().pad_begin[0] > 0;
        for Layer { name, shape } in layers::all().into_iter().filter(padded) {
            let modes = [PaddingMode::Zeros, PaddingMode::Reflect];
            let plans = modes.map(|padding_mode| {
                let params = Params { layout, padding_mode, ..*shape.params() };
                let shape = Shape::new(params).expect("a layer");
                Plan::<f32>::new(shape, Options::default()).expect("a plan")
            });
            let shape = plans[0].shape();
            let (mut x, mut y) = (vec![0.5; shape.input_len()], vec![0.5; shape.output_len()]);
            let mut w = vec![0.5; shape.weight_len()];
            let forward = in_turns(|which| {
                let call = plans[which].forward(&x, &w).executor(&Serial);
                call.run(&mut y).expect("the layer's lengths");
            });
            let data = in_turns(|which| {
                let call = plans[which].backward_data(&w, &y).executor(&Serial);
                call.run(&mut x).expect("the layer's lengths");
            });
            let weight = in_turns(|which| {
                let call = plans[which].backward_weight(&x, &y).executor(&Serial);
                call.run(&mut w).expect("the layer's lengths");
            });
            print!("{name:14} {layout:15}");
            for [zeros, reflected] in [forward, data, weight] {
                print!(" {zeros:9.1} {reflected:9.1} ({:5.2})", reflected / zeros);
            }
            println!();
        }
    }
}
