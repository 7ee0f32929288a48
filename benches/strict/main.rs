//! One side of `benches/peers/strict/strict.py`: im2col's passes, asked for line by line.
//!
//! ```text
//! layer batch groups in_channels out_channels input kernel stride dilation pad_begin pad_end output
//!   -> ok PASS:WAY=im2col ..          sizes are joined by x: 56x56
//! time PASS:WAY MILLISECONDS          -> seconds of the fastest call of a burst
//! time peak MILLISECONDS              -> seconds of one operation at the FMA peak
//! sum PASS:WAY                        -> the weighted sum of the result, and that of its amounts
//! ```
//!
//! PASS is `forward`, `backward_data` or `backward_weight`; WAY is `nchw` or `nhwc`, with `_p` where the weights were
//! packed beforehand. Scratch is lent, as a framework does it. One thread.

#[path = "../conv/peak.rs"]
#[allow(unsafe_code, reason = "instructions beyond the baseline")]
mod peak;

use im2col::{Isa, Layout, Options, PackedWeight, Params, Pass, Plan, Serial, Shape};
use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Instant;

const PASSES: [(&str, Pass); 3] = [
    ("forward", Pass::Forward),
    ("backward_data", Pass::BackwardData),
    ("backward_weight", Pass::BackwardWeight),
];

/// The numbers of every tensor, by their place in NCHW order; `onednn.cpp` has the same.
fn value(place: usize, tensor: usize) -> f32 {
    ((place * 40503 + tensor * 977) % 2048) as f32 / 1024.0 - 1.0
}

/// `[n][channels][pixels]` as `[n][pixels][channels]`.
fn channels_last(values: &[f32], n: usize, channels: usize) -> Vec<f32> {
    let pixels = values.len() / n / channels;
    let place = |i: usize| {
        let (image, pixel, channel) =
            (i / (pixels * channels), i / channels % pixels, i % channels);
        (image * channels + channel) * pixels + pixel
    };
    (0..values.len()).map(|i| values[place(i)]).collect()
}

/// A layer in one layout, with what its calls need.
struct Side {
    plan: Plan<f32>,
    /// Input, weight, output.
    tensors: [Vec<f32>; 3],
    /// The gradients of input and weight, and the output.
    results: [Vec<f32>; 3],
    packed: [PackedWeight<f32>; 2],
    scratch: Vec<f32>,
}

impl Side {
    fn new(params: Params) -> Result<Self, im2col::Error> {
        let plan = Plan::<f32>::new(Shape::new(params)?, Options::default())?;
        let shape = plan.shape();
        let lens = [shape.input_len(), shape.weight_len(), shape.output_len()];
        let rows = [params.batch, params.out_channels, params.batch];
        let channels =
            [params.in_channels, params.in_channels / params.groups, params.out_channels];
        let tensors = [0, 1, 2].map(|i| {
            let plain: Vec<f32> = (0..lens[i]).map(|place| value(place, i)).collect();
            match params.layout {
                Layout::ChannelsLast => channels_last(&plain, rows[i], channels[i]),
                _ => plain,
            }
        });
        let packed = [Pass::Forward, Pass::BackwardData].map(|p| plan.pack_weight(p, &tensors[1]));
        let [forward, backward] = packed;
        let longest = PASSES.iter().map(|&(_, pass)| plan.scratch_len_on(pass, &Serial)).max();
        Ok(Self {
            packed: [forward?, backward?],
            results: tensors.clone(),
            scratch: vec![0.0; longest.unwrap_or(0)],
            tensors,
            plan,
        })
    }

    fn call(&mut self, pass: Pass, packed: bool) -> Result<(), im2col::Error> {
        let Self { plan, tensors: [input, weight, output], results, packed: weights, scratch } =
            self;
        match (pass, packed) {
            (Pass::Forward, false) => {
                let call = plan.forward(input, &*weight).scratch(scratch).executor(&Serial);
                call.run(&mut results[2])
            }
            (Pass::Forward, true) => {
                let call = plan.forward(input, &weights[0]).scratch(scratch).executor(&Serial);
                call.run(&mut results[2])
            }
            (Pass::BackwardData, false) => {
                let call = plan.backward_data(&*weight, output).scratch(scratch).executor(&Serial);
                call.run(&mut results[0])
            }
            (Pass::BackwardData, true) => {
                let call =
                    plan.backward_data(&weights[1], output).scratch(scratch).executor(&Serial);
                call.run(&mut results[0])
            }
            _ => {
                let call = plan.backward_weight(input, output).scratch(scratch).executor(&Serial);
                call.run(&mut results[1])
            }
        }
    }
}

/// Seconds of the fastest call in so many milliseconds.
fn burst(
    milliseconds: f64,
    mut call: impl FnMut() -> Result<(), im2col::Error>,
) -> Result<f64, im2col::Error> {
    call()?;
    let start = Instant::now();
    call()?;
    let mut best = start.elapsed().as_secs_f64();
    let times = ((3e-4 / best) as usize).clamp(1, 10_000);
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() * 1e3 < milliseconds {
        let start = Instant::now();
        for _ in 0..times {
            call()?;
        }
        best = best.min(start.elapsed().as_secs_f64() / times as f64);
    }
    Ok(best)
}

/// `56x56` as three sizes, the last ones 1, and how many it has.
fn sizes(text: &str) -> Result<([usize; 3], usize), Box<dyn Error>> {
    let mut all = [1; 3];
    let mut count = 0;
    for (size, part) in all.iter_mut().zip(text.split('x')) {
        *size = part.parse()?;
        count += 1;
    }
    Ok((all, count))
}

/// The layer of a line in both layouts.
fn sides(words: &[&str]) -> Result<[Side; 2], Box<dyn Error>> {
    let [batch, groups, in_channels, out_channels, input, kernel, stride, dilation, begin, end, ..] =
        *words
    else {
        return Err("a layer has ten numbers".into());
    };
    let (input, axes) = sizes(input)?;
    let params = |layout| -> Result<Params, Box<dyn Error>> {
        let mut params = Params::default();
        params.axes = axes;
        params.layout = layout;
        params.batch = batch.parse()?;
        params.groups = groups.parse()?;
        params.in_channels = in_channels.parse()?;
        params.out_channels = out_channels.parse()?;
        params.input = input;
        params.kernel = sizes(kernel)?.0;
        params.stride = sizes(stride)?.0;
        params.dilation = sizes(dilation)?.0;
        // Axes that the layer doesn't have are not looked at.
        (params.pad_begin, params.pad_end) = (sizes(begin)?.0, sizes(end)?.0);
        Ok(params)
    };
    Ok([Side::new(params(Layout::ChannelsFirst)?)?, Side::new(params(Layout::ChannelsLast)?)?])
}

/// `forward:nhwc_p`: the pass, whether channels are last, whether weights are packed.
fn way(name: &str) -> Result<(Pass, bool, bool), Box<dyn Error>> {
    let (pass, way) = name.split_once(':').ok_or("PASS:WAY")?;
    let pass = PASSES.iter().find(|(name, _)| *name == pass).ok_or("no such pass")?.1;
    Ok((pass, way.starts_with("nhwc"), way.ends_with("_p")))
}

fn sum(side: &Side, pass: Pass, last: bool) -> (f64, f64) {
    let params = *side.plan.shape().params();
    let (result, rows, channels) = match pass {
        Pass::Forward => (&side.results[2], params.batch, params.out_channels),
        Pass::BackwardData => (&side.results[0], params.batch, params.in_channels),
        _ => (&side.results[1], params.out_channels, params.in_channels / params.groups),
    };
    // Back to channels first: the same move with the two axes swapped.
    let pixels = result.len() / rows / channels;
    let plain = if last { channels_last(result, rows, pixels) } else { result.clone() };
    plain.iter().enumerate().fold((0.0, 0.0), |(sum, amount), (place, &x)| {
        let term = f64::from(x) * f64::from(value(place, 3));
        (sum + term, amount + term.abs())
    })
}

fn answer(line: &str, layer: &mut Option<[Side; 2]>) -> Result<String, Box<dyn Error>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if let ["layer", rest @ ..] = &words[..] {
        *layer = Some(sides(rest)?);
        let names = ["nchw", "nhwc", "nchw_p", "nhwc_p"].into_iter().flat_map(|way| {
            let passes = PASSES.iter().filter(move |(_, pass)| {
                !(way.ends_with("_p") && matches!(pass, Pass::BackwardWeight))
            });
            passes.map(move |(pass, _)| format!(" {pass}:{way}=im2col"))
        });
        return Ok(format!("ok{}", names.collect::<String>()));
    }
    if let ["time", "peak", milliseconds] = words[..] {
        let peak = peak::best().ok_or("no FMA peak is known here")?;
        let time = burst(milliseconds.parse()?, || {
            peak.run();
            Ok(())
        })?;
        return Ok(format!("{:e}", time / peak.flops() as f64));
    }
    let sides = layer.as_mut().ok_or("no layer yet")?;
    match words[..] {
        ["time", name, milliseconds] => {
            let (pass, last, packed) = way(name)?;
            let side = &mut sides[usize::from(last)];
            Ok(format!("{:e}", burst(milliseconds.parse()?, || side.call(pass, packed))?))
        }
        ["sum", name] => {
            let (pass, last, packed) = way(name)?;
            let side = &mut sides[usize::from(last)];
            side.call(pass, packed)?;
            let (sum, amount) = sum(side, pass, last);
            Ok(format!("{sum:.12e} {amount:.12e}"))
        }
        _ => Err("layer, time or sum".into()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let peak = peak::best().map_or("unknown", |peak| peak.name);
    println!("ready im2col {} ({}; peak of {peak})", env!("CARGO_PKG_VERSION"), Isa::best());
    let mut layer = None;
    for line in std::io::stdin().lock().lines() {
        let said = answer(&line?, &mut layer).unwrap_or_else(|error| format!("error {error}"));
        println!("{said}");
        std::io::stdout().flush()?;
    }
    Ok(())
}
