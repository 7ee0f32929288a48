//! The layers that are tuned for: the lists of `benches/`, and more of them drawn from what networks use.

use im2col::{Layout, MAX_AXES, Params, Shape};
use rand::rngs::SmallRng;
use rand::{SeedableRng, seq::IndexedRandom};

/// A layer of a list.
#[derive(Debug, Clone)]
pub struct Layer {
    /// The list that it is of.
    pub list: &'static str,
    /// What it is called there.
    pub name: String,
    /// Its sizes.
    pub shape: Shape,
}

/// The lists, each a file of `benches/`.
const FILES: [(&str, &str); 3] = [
    ("layers", include_str!("../layers.csv")),
    ("thin", include_str!("../thin.csv")),
    ("random", include_str!("../random.csv")),
];

/// Every layer of the files and `drawn` more, in both layouts.
///
/// # Panics
/// If a file has a line that is no layer.
pub fn all(drawn: usize, seed: u64) -> Vec<Layer> {
    let mut layers: Vec<_> = FILES.iter().flat_map(|(list, text)| of_file(list, text)).collect();
    let mut rng = SmallRng::seed_from_u64(seed);
    for index in 0..drawn {
        let (kind, params) = draw(&mut rng);
        layers.push(("drawn", format!("{kind}_{seed}_{index}"), params));
    }
    in_both_layouts(&layers)
}

/// The layers of another file like these, in both layouts.
///
/// # Panics
/// If it has a line that is no layer.
pub fn other(text: &str) -> Vec<Layer> {
    in_both_layouts(&of_file("other", text))
}

/// A layer with its list and its name, in any layout.
type Unlaid = (&'static str, String, Params);

fn of_file(list: &'static str, text: &str) -> Vec<Unlaid> {
    let mut lines = text.lines();
    let header: Vec<_> = lines.next().expect("a header").split(',').collect();
    let layer = |line| {
        let (name, params) = parse(&header, line);
        (list, name, params)
    };
    lines.map(layer).collect()
}

fn in_both_layouts(layers: &[Unlaid]) -> Vec<Layer> {
    let both = |(list, name, params): &Unlaid| {
        LAYOUTS.map(|layout| Layer { list, name: name.clone(), shape: shape(*params, layout) })
    };
    layers.iter().flat_map(both).collect()
}

/// Both layouts.
const LAYOUTS: [Layout; 2] = [Layout::ChannelsFirst, Layout::ChannelsLast];

/// The shape of a layer in a layout.
fn shape(mut params: Params, layout: Layout) -> Shape {
    params.layout = layout;
    Shape::new(params).unwrap_or_else(|error| panic!("{params:?}: {error}"))
}

fn parse(header: &[&str], line: &str) -> (String, Params) {
    let fields: Vec<_> = line.split(',').collect();
    let field = |name: &str| {
        let column = header.iter().position(|&column| column == name).expect(name);
        fields[column]
    };
    let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{text:?} in {line:?}"));
    let sizes = |name: &str| {
        let mut sizes = [1; MAX_AXES];
        for (size, text) in sizes.iter_mut().zip(field(name).split('x')) {
            *size = number(text);
        }
        sizes
    };
    let params = Params {
        axes: field("in").split('x').count(),
        batch: number(field("mb")),
        in_channels: number(field("ic")),
        out_channels: number(field("oc")),
        groups: number(field("g")),
        input: sizes("in"),
        kernel: sizes("k"),
        stride: sizes("s"),
        dilation: sizes("d"),
        pad_begin: sizes("pl"),
        pad_end: sizes("pr"),
        ..Params::default()
    };
    (field("name").to_owned(), params)
}

/// Products of an output and a tap that a drawn layer may have, so that none takes long, nor is over at once.
const PRODUCTS: std::ops::RangeInclusive<f64> = 2e5..=4e8;

/// Draws a layer: first what it is for, by how often networks have it, then sizes that such layers have.
///
/// Channels are multiples of 8 with a bias to powers of two, as width multipliers make them; images are what halving
/// 224, 256, 300, 320, 416, 512 and 640 gives. Batches are 1 in half of all layers. Layers whose products are too few
/// or too many are drawn again.
fn draw(rng: &mut SmallRng) -> (&'static str, Params) {
    loop {
        let (kind, params) = propose(rng);
        let Ok(shape) = Shape::new(params) else { continue };
        if PRODUCTS.contains(&(shape.flops() / 2.0)) {
            return (kind, params);
        }
    }
}

fn propose(rng: &mut SmallRng) -> (&'static str, Params) {
    const CHANNELS: [usize; 24] = [
        8, 16, 16, 24, 32, 32, 40, 48, 64, 64, 64, 80, 96, 112, 128, 128, 160, 192, 256, 256, 320,
        384, 512, 1024,
    ];
    const IMAGES: [usize; 24] = [
        4, 7, 8, 10, 13, 14, 16, 19, 20, 26, 28, 32, 38, 40, 52, 56, 64, 75, 80, 96, 112, 128, 160,
        224,
    ];
    let mut pick = |from: &[usize]| *from.choose(rng).expect("not empty");
    let batch = pick(&[1, 1, 1, 1, 2, 4, 8, 16]);
    let (ic, oc) = (pick(&CHANNELS), pick(&CHANNELS));
    let (h, w) = (pick(&IMAGES), pick(&IMAGES));
    let square = pick(&[0, 1, 1, 1, 1, 1]) == 1;
    let (h, w) = if square { (h, h) } else { (h, w) };
    let base = Params {
        axes: 2,
        batch,
        in_channels: ic,
        out_channels: oc,
        input: [h, w, 1],
        ..Params::default()
    };
    let large = |pick: &mut dyn FnMut(&[usize]) -> usize| {
        let size = pick(&[112, 128, 160, 224, 256, 320]);
        [size, size, 1]
    };
    match pick(&(0..40).collect::<Vec<_>>()) {
        0..8 => ("pointwise", same(base, 1, 1, 1)),
        8..16 => ("spatial", same(base, 3, 1, 1)),
        16..19 => ("strided", same(base, pick(&[1, 3, 3, 4, 5]), 2, 1)),
        19..21 => ("large", same(base, pick(&[5, 5, 7, 9]), 1, 1)),
        21..24 => {
            let input = large(&mut pick);
            let base = Params { in_channels: pick(&[1, 3, 3, 3, 4]), input, ..base };
            let (k, stride) = (pick(&[3, 3, 5, 7, 7, 11]), pick(&[1, 2, 2, 4]));
            ("stem", same(base, k, stride, 1))
        }
        24..29 => {
            let base = Params { out_channels: ic, groups: ic, ..base };
            let (k, stride) = (pick(&[3, 3, 3, 5, 5, 7]), pick(&[1, 1, 1, 2]));
            ("depthwise", same(base, k, stride, 1))
        }
        29..31 => {
            let (groups, each) = (pick(&[2, 4, 8, 16, 32]), pick(&[4, 8, 16, 32]));
            let channels = groups * each;
            let base = Params { in_channels: channels, out_channels: channels, groups, ..base };
            ("grouped", same(base, 3, pick(&[1, 1, 2]), 1))
        }
        31..33 => ("dilated", same(base, 3, 1, pick(&[2, 2, 4, 6, 12]))),
        33..36 => {
            let input = large(&mut pick);
            let base = Params { out_channels: pick(&[1, 2, 3, 3, 4, 10, 21]), input, ..base };
            ("head", same(base, pick(&[1, 1, 3, 3, 7]), 1, 1))
        }
        36 => {
            let (k, scale) = (pick(&[2, 4, 8, 14, 16]), pick(&[4, 7, 14, 16]));
            let size = k * scale;
            let base =
                Params { in_channels: pick(&[3, 3, 32, 64]), input: [size, size, 1], ..base };
            ("patches", Params { kernel: [k, k, 1], stride: [k, k, 1], ..base })
        }
        37..39 => {
            let length = pick(&[50, 100, 250, 500, 1000, 3000, 8000, 16000]);
            let base = Params { axes: 1, input: [length, 1, 1], ..base };
            (
                "audio",
                same(base, pick(&[1, 3, 3, 5, 7, 9]), pick(&[1, 1, 1, 2]), pick(&[1, 1, 2, 4])),
            )
        }
        _ => {
            let (depth, size) = (pick(&[4, 8, 16]), pick(&[7, 14, 28, 56]));
            let base = Params { axes: 3, input: [depth, size, size], ..base };
            ("video", same(base, pick(&[1, 3, 3]), pick(&[1, 1, 2]), 1))
        }
    }
}

/// A layer whose kernel has so many taps on each axis and keeps the size of the image, but for the stride.
fn same(mut params: Params, k: usize, stride: usize, dilation: usize) -> Params {
    for axis in 0..params.axes {
        params.kernel[axis] = k;
        params.stride[axis] = stride;
        params.dilation[axis] = dilation;
        params.pad_begin[axis] = dilation * (k - 1) / 2;
        params.pad_end[axis] = dilation * (k - 1) / 2;
    }
    params
}
