//! The stencils of every ISA of this machine by themselves, against their definition.

use super::{Channels, MOST_BLOCK, Planes, Row, Stencil};
use crate::axis::Walk;
use crate::element::Element;
use crate::kernel::tests::{all, number};
use crate::kernel::{Epilogue, Residual};
use crate::testing::{Unit, nan};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

pub(crate) const TESTS: &[Unit] = &[
    ("stencil::stencils_are_their_definition", stencils_are_their_definition),
    (
        "stencil::gradients_of_filters_are_their_definition",
        gradients_of_filters_are_their_definition,
    ),
    ("stencil::blocks_of_filters_are_their_definition", blocks_of_filters_are_their_definition),
    ("stencil::rows_of_channels_are_their_definition", rows_of_channels_are_their_definition),
];

/// A stencil at random; with `square`, of the shapes that are unrolled.
fn stencil(rng: &mut SmallRng, square: bool, grad_output: bool) -> Stencil {
    let mut three = |low: usize, high: usize| [(); 3].map(|()| rng.random_range(low..=high));
    let (mut taps, mut stride, mut dilation) = (three(1, 3), three(1, 3), three(1, 3));
    let (mut outputs, mut source) = (three(1, 11), three(1, 12));
    taps[2] = rng.random_range(1..=19);
    outputs[2] = rng.random_range(1..=70);
    source[2] = rng.random_range(1..=90);
    if square {
        let side = [1, 3, 3, 5, 7, 2][rng.random_range(0..6)];
        let step = rng.random_range(1..=2);
        (taps, stride, dilation) = ([1, side, side], [1, step, step], [1; 3]);
        (outputs[0], source[0]) = (1, 1);
    }
    let mut origin = [(); 3].map(|()| rng.random_range(-6i32..=2) as isize);
    if square {
        origin[0] = 0;
    }
    let pitch = if grad_output || rng.random() { 1 } else { rng.random_range(2..=3) };
    let row = pitch * outputs[2] + rng.random_range(0..3);
    let output_pitches = [row * outputs[1] + rng.random_range(0..3), row, pitch];
    let turned = rng.random::<bool>();
    let tap_pitches =
        [taps[1] * taps[2], taps[2], 1].map(|p| p as isize * if turned { -1 } else { 1 });
    let tap_base = if turned { taps.iter().product::<usize>() - 1 } else { 0 };
    let output_base = rng.random_range(0..4);
    let walks = [0, 1, 2].map(|a| Walk {
        source: source[a],
        outputs: outputs[a],
        taps: taps[a],
        stride: stride[a],
        dilation: dilation[a],
        origin: origin[a],
        ..Walk::UNIT
    });
    Stencil { walks, output_base, output_pitches, tap_base, tap_pitches }
}

/// A stencil for the outputs between those of `s`, where there is room for one; now and then.
fn twin(rng: &mut SmallRng, s: &Stencil) -> Option<Stencil> {
    if s.output_pitches[2] != 2 || s.walks[2].outputs == 1 || rng.random_range(0..4) == 0 {
        return None;
    }
    let mut twin = *s;
    twin.output_base += 1;
    twin.walks[2].outputs -= rng.random_range(0..=1);
    twin.walks[2].taps = rng.random_range(1..=s.walks[2].taps);
    twin.walks[2].origin += rng.random_range(-2i32..=2) as isize;
    Some(twin)
}

/// Calls `meet(source, output, tap)` wherever an output and a tap meet the source.
fn meetings(s: &Stencil, mut meet: impl FnMut(usize, usize, usize)) {
    let every =
        |[a, b, c]: [usize; 3]| (0..a * b * c).map(move |i| [i / (b * c), i / c % b, i % c]);
    for o in every(s.outputs()) {
        'taps: for k in every(s.taps()) {
            let mut at = [0; 3];
            for a in 0..3 {
                let &Walk { source, stride, dilation, origin, .. } = &s.walks[a];
                let x = (o[a] * stride + k[a] * dilation) as isize + origin;
                if x < 0 || x >= source as isize {
                    continue 'taps;
                }
                at[a] = x as usize;
            }
            let source = (at[0] * s.walks[1].source + at[1]) * s.walks[2].source + at[2];
            let output = s.output_base + (0..3).map(|a| o[a] * s.output_pitches[a]).sum::<usize>();
            let tap = (0..3).map(|a| k[a] as isize * s.tap_pitches[a]).sum::<isize>();
            meet(source, output, (s.tap_base as isize + tap) as usize);
        }
    }
}

/// The places of a stencil's outputs.
fn outputs_of(s: &Stencil) -> Vec<usize> {
    let [a, b, c] = s.outputs();
    let place =
        |o: [usize; 3]| s.output_base + (0..3).map(|a| o[a] * s.output_pitches[a]).sum::<usize>();
    (0..a * b * c).map(|i| place([i / (b * c), i / c % b, i % c])).collect()
}

fn check_outputs<T: Element>() {
    let mut rng = SmallRng::seed_from_u64(8);
    for case in 0..300 {
        let s = stencil(&mut rng, case % 2 == 0, false);
        let twin = twin(&mut rng, &s);
        let mut places = outputs_of(&s);
        places.extend(twin.iter().flat_map(outputs_of));
        let planes = rng.random_range(1..=3);
        let mut tensor = |len: usize| -> Vec<T> { (0..len).map(|_| number(&mut rng)).collect() };
        let lens = [
            s.sources().iter().product::<usize>(),
            s.taps().iter().product(),
            places.iter().max().unwrap() + 3,
        ];
        // Planes of the source may be one and the same.
        let pitches = [if case % 3 == 0 { 0 } else { lens[0] + 1 }, lens[1] + 2, lens[2] + 3];
        let [source, weight, old] = [0, 1, 2].map(|i| tensor((planes - 1) * pitches[i] + lens[i]));
        let (bias, residual) = (tensor(planes), tensor(old.len()));
        let [biased, added, accumulate] = [(); 3].map(|()| rng.random::<bool>());
        // Outputs apart are those of backward_data, which has no activation.
        let clamp = s.output_pitches[2] == 1 && rng.random();
        let clamp = clamp.then_some([T::from_f64(-9.0), T::from_f64(11.0)]);
        let mut expected = old.clone();
        for plane in 0..planes {
            let bias = if biased { bias[plane] } else { T::ZERO };
            let [source, weight] = [(&source, 0), (&weight, 1)]
                .map(|(tensor, i)| &tensor[plane * pitches[i]..][..lens[i]]);
            let expected = &mut expected[plane * pitches[2]..][..lens[2]];
            for &place in &places {
                let residual = residual[plane * pitches[2] + place];
                let begun = if added { bias + residual } else { bias };
                expected[place] = if accumulate { expected[place] + begun } else { begun };
            }
            for s in twin.iter().chain([&s]) {
                meetings(s, |from, to, tap| expected[to] += source[from] * weight[tap]);
            }
            if let Some([low, high]) = clamp {
                places
                    .iter()
                    .for_each(|&place| expected[place] = expected[place].clamp_to(low, high));
            }
        }
        for kernels in all::<T>() {
            let mut got = old.clone();
            let (bias, residual) =
                (biased.then_some(&bias[..]), added.then(|| Residual::new(&residual, &got)));
            let epilogue = Epilogue { bias, residual, clamp, ..Epilogue::new(accumulate) };
            let (both, sources) = ([Some(&s), twin.as_ref()], [&source[..], &weight]);
            kernels.stencils.apply(both, planes, pitches, sources, &mut got, epilogue);
            let wrong = got.iter().zip(&expected).position(|(a, b)| a != b);
            assert_eq!(wrong, None, "{}: {s:?}, {twin:?}, {epilogue:?}", kernels.isa);
        }
    }
}

fn check_gradients<T: Element>() {
    let mut rng = SmallRng::seed_from_u64(9);
    for case in 0..300 {
        let mut s = stencil(&mut rng, case % 2 == 0, true);
        if case % 10 == 0 {
            // More rows than a lane sums up at once.
            (s.walks[1].outputs, s.walks[1].source) = (600, 601);
            s.output_pitches[0] = s.output_pitches[1] * s.walks[1].outputs;
        }
        let planes = rng.random_range(1..=3);
        let places = outputs_of(&s);
        let reach = [s.sources().iter().product::<usize>(), places[places.len() - 1] + 1];
        let plane_pitches = [reach[0] + 2, reach[1] + 3];
        let lens = [0, 1].map(|i| (planes - 1) * plane_pitches[i] + reach[i]);
        let taps: usize = s.taps().iter().product();
        let filters = rng.random_range(1..=3);
        // Filters may share a source.
        let source_pitch = if case % 3 == 0 { 0 } else { lens[0] + 1 };
        let pitches = [source_pitch, lens[1].next_multiple_of(plane_pitches[1]), taps + 1];
        let source = tensor_of::<T>(&mut rng, (filters - 1) * pitches[0] + lens[0]);
        let mut grad_output = tensor_of::<T>(&mut rng, (filters - 1) * pitches[1] + lens[1]);
        // What lies between the outputs is none of them.
        for (i, x) in grad_output.iter_mut().enumerate() {
            if places.binary_search(&(i % plane_pitches[1])).is_err() {
                *x = nan();
            }
        }
        let old = tensor_of::<T>(&mut rng, (filters - 1) * pitches[2] + taps);
        let accumulate: bool = rng.random();
        let mut expected = old.clone();
        for filter in 0..filters {
            let expected = &mut expected[filter * pitches[2]..][..taps];
            if !accumulate {
                expected.fill(T::ZERO);
            }
            for plane in 0..planes {
                let source = &source[filter * pitches[0] + plane * plane_pitches[0]..];
                let grad_output = &grad_output[filter * pitches[1] + plane * plane_pitches[1]..];
                meetings(&s, |from, to, tap| expected[tap] += source[from] * grad_output[to]);
            }
        }
        for kernels in all::<T>() {
            let mut got = old.clone();
            let (counts, sources) = ([filters, planes], [&source[..], &grad_output]);
            let stencils = &kernels.stencils;
            stencils.correlate(&s, counts, pitches, plane_pitches, sources, &mut got, accumulate);
            let wrong = got.iter().zip(&expected).position(|(a, b)| a != b);
            assert_eq!(wrong, None, "{}: {s:?}, {accumulate}", kernels.isa);
        }
    }
}

fn stencils_are_their_definition() {
    check_outputs::<f32>();
    check_outputs::<f64>();
}

fn gradients_of_filters_are_their_definition() {
    check_gradients::<f32>();
    check_gradients::<f64>();
}

/// Blocks of filters over several planes, of every shape that is unrolled: each output is in a slice of
/// its own.
fn check_groups<T: Element>() {
    let mut rng = SmallRng::seed_from_u64(10);
    let shapes = (1..=9).flat_map(|rows| [(rows, 1, false), (rows, 2, false), (rows, 1, true)]);
    let mut taken = vec![0; all::<T>().count()];
    for (case, ((rows, step, has_twin), block)) in
        shapes.flat_map(|shape| (1..=MOST_BLOCK).map(move |block| (shape, block))).enumerate()
    {
        let cols = rng.random_range(1..=9);
        let outputs = [1, rng.random_range(1..=13), rng.random_range(2..=70)];
        let source = [rng.random_range(1..=15), rng.random_range(1..=90)];
        let pitch = if has_twin { 2 } else { 1 };
        let row = pitch * outputs[2] + rng.random_range(0..3);
        let mut walk = |a: usize, source, taps| Walk {
            source,
            outputs: outputs[a],
            taps,
            stride: step,
            dilation: 1,
            origin: rng.random_range(-6i32..=2) as isize,
            ..Walk::UNIT
        };
        let [rows_walk, cols_walk] = [walk(1, source[0], rows), walk(2, source[1], cols)];
        let s = Stencil {
            walks: [Walk::UNIT, rows_walk, cols_walk],
            output_base: rng.random_range(0..4),
            output_pitches: [row * outputs[1], row, pitch],
            tap_base: 0,
            tap_pitches: [(rows * cols) as isize, cols as isize, 1],
        };
        let twin = has_twin.then(|| {
            let taps = rng.random_range(1..=cols);
            let columns = Walk { outputs: outputs[2] - case % 2, taps, ..s.walks[2] };
            let walks = [s.walks[0], s.walks[1], columns];
            Stencil { output_base: s.output_base + 1, walks, ..s }
        });
        let (inputs, wanted) = (rng.random_range(1..=3), rng.random_range(1..=block));
        let mut places = outputs_of(&s);
        places.extend(twin.iter().flat_map(outputs_of));
        let plane = s.sources().iter().product::<usize>();
        let source_pitch = plane + rng.random_range(0..3);
        let source = tensor_of::<T>(&mut rng, (inputs - 1) * source_pitch + plane);
        let weights: Vec<T> = tensor_of(&mut rng, block * inputs * rows * cols);
        let bias = tensor_of::<T>(&mut rng, wanted);
        let len = places.iter().max().unwrap() + 3;
        let [old, residual] = [(); 2].map(|()| tensor_of::<T>(&mut rng, wanted * len));
        let [added, accumulate] = [(); 2].map(|()| rng.random::<bool>());
        let clamp = Some([T::from_f64(-9.0), T::from_f64(11.0)]);

        let mut expected = old.clone();
        for (k, expected) in expected.chunks_mut(len).enumerate() {
            for &place in &places {
                let residual = residual[k * len + place];
                let begun = if added { bias[k] + residual } else { bias[k] };
                expected[place] = if accumulate { expected[place] + begun } else { begun };
            }
            for input in 0..inputs {
                let weights = &weights[(k * inputs + input) * rows * cols..];
                let source = &source[input * source_pitch..];
                for s in [Some(&s), twin.as_ref()].into_iter().flatten() {
                    meetings(s, |from, to, tap| expected[to] += source[from] * weights[tap]);
                }
            }
            places.iter().for_each(|&at| {
                expected[at] = expected[at].clamp_to(T::from_f64(-9.0), T::from_f64(11.0));
            });
        }
        let packed = |s: &Stencil| {
            let mut packed = Vec::new();
            for input in 0..inputs {
                for col in 0..s.walks[2].taps {
                    for row in 0..rows {
                        let at = |k: usize| ((k * inputs + input) * rows + row) * cols + col;
                        packed.extend((0..block).map(|k| weights[at(k)]));
                    }
                }
            }
            packed
        };
        let packed = [packed(&s), twin.as_ref().map_or(Vec::new(), packed)];
        for (kernels, taken) in all::<T>().zip(&mut taken) {
            let both = [Some(&s), twin.as_ref()];
            if !kernels.stencils.takes(both, block) {
                continue;
            }
            *taken += 1;
            let mut got = old.clone();
            let residual = added.then(|| Residual::new(&residual, &got));
            let bias = Some(&bias[..]);
            let epilogue = Epilogue { bias, residual, clamp, ..Epilogue::new(accumulate) };
            let mut slices: Vec<&mut [T]> = got.chunks_mut(len).collect();
            let planes = Planes { block, inputs, source_pitch };
            let weights = [&packed[0][..], &packed[1]];
            kernels.stencils.group(both, planes, &source, weights, &mut slices, epilogue);
            assert_eq!(got, expected, "{}: {s:?}, {twin:?}, {planes:?}", kernels.isa);
        }
    }
    for (kernels, taken) in all::<T>().zip(taken) {
        let none = kernels.stencils.group.is_none();
        assert!(if none { taken == 0 } else { taken >= 14 }, "{}: {taken}", kernels.isa);
    }
}

fn blocks_of_filters_are_their_definition() {
    check_groups::<f32>();
    check_groups::<f64>();
}

/// Rows of pixels of several channels, each with a filter of its own: some outputs of a row, for
/// fewer channels than a vector has lanes, and for more.
fn check_rows<T: Element>() {
    let mut rng = SmallRng::seed_from_u64(9);
    for case in 0..400 {
        let s = stencil(&mut rng, case % 2 == 0, false);
        // Every second case has groups, for vectors of 16 lanes, of 8 or of 4.
        let most = if case / 2 % 2 == 0 { 1 } else { 2 << rng.random_range(0..3) };
        let [inputs, outputs] = [0; 2].map(|_| rng.random_range(1..=most));
        let groups = rng.random_range(1..=37_usize.div_ceil(inputs.max(outputs)));
        let (sources, channels) = (groups * inputs, groups * outputs);
        let width = rng.random_range(1..=groups) * outputs;
        let at = [rng.random_range(0..s.walks[0].outputs), rng.random_range(0..s.walks[1].outputs)];
        let start = rng.random_range(0..s.walks[2].outputs);
        let x = start..rng.random_range(start..=s.walks[2].outputs);
        let (first, pitch) = (rng.random_range(0..3), s.output_pitches[2]);
        let taps = s.taps().iter().product::<usize>();
        let mut tensor = |len: usize| -> Vec<T> { tensor_of(&mut rng, len) };
        let source = tensor(s.sources().iter().product::<usize>() * sources);
        let weight = tensor(taps * inputs * channels);
        let bias = tensor(channels);
        let [old, residual] = [(); 2].map(|()| tensor((first + x.len() * pitch + 1) * channels));
        let grad_output = tensor(x.len() * channels);
        let old_sums = tensor(taps * inputs * width);
        let [biased, added, accumulate] = [(); 3].map(|()| rng.random::<bool>());
        let clamp = rng.random::<bool>().then_some([T::from_f64(-9.0), T::from_f64(11.0)]);

        let mut sums = old_sums.clone();
        let mut expected = old.clone();
        let written: Vec<_> = (0..x.len()).map(|i| (first + i * pitch) * channels).collect();
        for &place in &written {
            for c in 0..channels {
                let bias = if biased { bias[c] } else { T::ZERO };
                let begun = if added { bias + residual[place + c] } else { bias };
                let to = &mut expected[place + c];
                *to = if accumulate { *to + begun } else { begun };
            }
        }
        meetings(&s, |from, to, tap| {
            let row = s.output_base + at[0] * s.output_pitches[0] + at[1] * s.output_pitches[1];
            let place = |o: usize| row + o * pitch;
            let Some(i) = x.clone().position(|o| place(o) == to) else { return };
            for (c, term) in (0..channels).flat_map(|c| (0..inputs).map(move |term| (c, term))) {
                let source = source[from * sources + c / outputs * inputs + term];
                let tap = tap * inputs + term;
                expected[written[i] + c] += source * weight[tap * channels + c];
                if c < width {
                    sums[tap * width + c] += source * grad_output[i * channels + c];
                }
            }
        });
        if let Some([low, high]) = clamp {
            for &place in &written {
                let pixel = &mut expected[place..][..channels];
                pixel.iter_mut().for_each(|x| *x = x.clamp_to(low, high));
            }
        }
        for kernels in all::<T>() {
            let row = Row { at, x: x.clone() };
            let group = [inputs, outputs];
            if !Channels::fit(group, kernels.stencils.lanes) {
                continue;
            }
            let channels = Channels { count: channels, group };
            let what = format!("{}: {row:?}, {channels:?}, {s:?}", kernels.isa);
            let mut got = old.clone();
            let (bias, residual) =
                (biased.then_some(&bias[..]), added.then(|| Residual::new(&residual, &got)));
            let epilogue = Epilogue { bias, residual, clamp, ..Epilogue::new(accumulate) };
            let (stencils, sources) = (&kernels.stencils, [&source[..], &weight]);
            let forward = row.clone();
            stencils.apply_row(&s, forward, channels, sources, &mut got, first, epilogue);
            assert_eq!(got.iter().zip(&expected).position(|(a, b)| a != b), None, "{what}");

            let mut got = old_sums.clone();
            let sources = [&source[..], &grad_output];
            stencils.correlate_row(&s, row, (channels, width), sources, &mut got);
            assert_eq!(got.iter().zip(&sums).position(|(a, b)| a != b), None, "{what}");
        }
    }
}

fn tensor_of<T: Element>(rng: &mut SmallRng, len: usize) -> Vec<T> {
    (0..len).map(|_| number(rng)).collect()
}

fn rows_of_channels_are_their_definition() {
    check_rows::<f32>();
    check_rows::<f64>();
}
