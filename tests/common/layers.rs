//! Layers to draw from, by family: each family goes to places where the others rarely are.
//!
//! Every layer drawn is valid: the image is made as large as the padded kernel needs, plus some.

use im2col::{Layout, MAX_AXES, Params};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::ops::RangeInclusive;

/// What a family draws from: ranges, all inclusive.
#[derive(Debug, Clone)]
pub struct Family {
    pub name: &'static str,
    axes: RangeInclusive<usize>,
    batch: RangeInclusive<usize>,
    groups: RangeInclusive<usize>,
    /// Channels of one group, in and out.
    channels: [RangeInclusive<usize>; 2],
    kernel: RangeInclusive<usize>,
    stride: RangeInclusive<usize>,
    dilation: RangeInclusive<usize>,
    /// Zeros of each side, drawn apart.
    pad: RangeInclusive<usize>,
    /// Input elements beyond the fewest that the kernel needs.
    extra: RangeInclusive<usize>,
}

/// An ordinary dense layer: what a family changes, it says.
const DENSE: Family = Family {
    name: "dense",
    axes: 2..=2,
    batch: 1..=4,
    groups: 1..=1,
    channels: [1..=8, 1..=8],
    kernel: 1..=4,
    stride: 1..=2,
    dilation: 1..=1,
    pad: 0..=2,
    extra: 0..=8,
};

/// All families.
pub fn families() -> Vec<Family> {
    let few = [1..=3, 1..=3];
    vec![
        DENSE,
        Family { name: "depthwise", groups: 2..=9, channels: [1..=1, 1..=2], ..DENSE },
        Family { name: "grouped", groups: 2..=4, channels: [1..=4, 1..=4], ..DENSE },
        Family { name: "1-D", axes: 1..=1, kernel: 1..=7, extra: 0..=80, ..DENSE },
        Family { name: "3-D", axes: 3..=3, channels: few.clone(), extra: 0..=3, ..DENSE },
        Family { name: "dilated", axes: 1..=2, kernel: 2..=3, dilation: 1..=4, ..DENSE },
        Family {
            name: "border-heavy",
            channels: few.clone(),
            kernel: 1..=5,
            dilation: 1..=2,
            pad: 0..=6,
            extra: 0..=2,
            ..DENSE
        },
        Family { name: "sparse", kernel: 1..=2, stride: 3..=6, extra: 0..=14, ..DENSE },
        Family {
            name: "phases",
            axes: 1..=2,
            groups: 1..=2,
            channels: few.clone(),
            kernel: 4..=9,
            stride: 2..=4,
            dilation: 1..=3,
            ..DENSE
        },
        Family {
            name: "tiny",
            axes: 1..=3,
            batch: 1..=2,
            groups: 1..=2,
            channels: [1..=2, 1..=2],
            kernel: 1..=2,
            stride: 1..=2,
            dilation: 1..=2,
            pad: 0..=1,
            extra: 0..=1,
        },
        Family {
            name: "wide",
            batch: 1..=2,
            channels: [16..=70, 16..=70],
            kernel: 1..=3,
            pad: 0..=1,
            extra: 0..=6,
            ..DENSE
        },
    ]
}

/// Layers whose gradients can be checked one weight at a time.
pub fn tiny() -> Family {
    families().into_iter().find(|family| family.name == "tiny").expect("it is there")
}

impl Family {
    /// The family's layers; a failing one shrinks towards the small end of every range.
    pub fn layers(&self) -> impl Strategy<Value = Params> + use<> {
        let three = |range: &RangeInclusive<usize>| [range.clone(), range.clone(), range.clone()];
        let Self { pad, extra, kernel, stride, dilation, .. } = self;
        let layout = prop_oneof![Just(Layout::ChannelsFirst), Just(Layout::ChannelsLast)];
        let [group_in, group_out] = self.channels.clone();
        let counts = (self.axes.clone(), self.batch.clone(), self.groups.clone());
        let sizes = (three(kernel), three(stride), three(dilation));
        let room = (three(pad), three(pad), three(extra));
        (layout, counts, group_in, group_out, sizes, room).prop_map(
            |(layout, (axes, batch, groups), group_in, group_out, sizes, room)| {
                let ((kernel, stride, dilation), (pad_begin, pad_end, extra)) = (sizes, room);
                let mut input = [0; MAX_AXES];
                for a in 0..MAX_AXES {
                    let span = dilation[a] * (kernel[a] - 1) + 1;
                    input[a] = span.saturating_sub(pad_begin[a] + pad_end[a]).max(1) + extra[a];
                }
                let (in_channels, out_channels) = (group_in * groups, group_out * groups);
                Params {
                    axes,
                    layout,
                    batch,
                    in_channels,
                    out_channels,
                    groups,
                    input,
                    kernel,
                    stride,
                    dilation,
                    pad_begin,
                    pad_end,
                }
            },
        )
    }
}

/// Runs `test` on `count` layers of a family, or as many as `PROPTEST_CASES` says, and shrinks
/// what panics to a small layer.
pub fn for_layers(family: &Family, count: u32, test: impl Fn(Params)) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(count);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&family.layers(), |params| {
        test(params);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("family {}: {failure}", family.name);
    }
}

/// [`for_layers`] of every family.
pub fn for_families(count: u32, test: impl Fn(Params)) {
    families().iter().for_each(|family| for_layers(family, count, &test));
}
