//! The layers of `benches/layers.csv`.

use im2col::{MAX_AXES, Params, Shape};

/// A layer and its name.
pub(crate) struct Layer {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
}

/// Every layer of the file.
pub(crate) fn all() -> Vec<Layer> {
    let mut lines = include_str!("../layers.csv").lines();
    let header: Vec<_> = lines.next().expect("a header").split(',').collect();
    lines.map(|line| layer(&header, line)).collect()
}

fn layer(header: &[&str], line: &'static str) -> Layer {
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
    let shape = Shape::new(params).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    let outputs: Vec<_> = shape.axes().iter().map(|axis| axis.output).collect();
    assert_eq!(outputs, sizes("out")[..params.axes], "{line:?}");
    Layer { name: field("name"), shape }
}
