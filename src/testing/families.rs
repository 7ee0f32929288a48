//! Layers to draw from, by family: each family goes to places where the others rarely are.
//!
//! Every layer drawn is valid: the image is made as large as the padded kernel needs, plus some.

use crate::shape::{Layout, MAX_AXES, Params};
use core::ops::RangeInclusive;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

/// What a family draws from: ranges, all inclusive, in both layouts.
///
/// ```
/// use im2col::testing::Family;
/// // What stem layers look like: few channels, large strides.
/// let stems = Family { name: "stems", channels: [3..=3, 8..=64], stride: 2..=4, ..Family::dense() };
/// # im2col::testing::for_layers(&stems, 3, |params| assert_eq!(params.in_channels, 3));
/// ```
#[derive(Debug, Clone)]
pub struct Family {
    /// What it is called, in failures and in the names of tests.
    pub name: &'static str,
    /// Spatial axes.
    pub axes: RangeInclusive<usize>,
    /// Images.
    pub batch: RangeInclusive<usize>,
    /// Groups.
    pub groups: RangeInclusive<usize>,
    /// Channels of one group, in and out.
    pub channels: [RangeInclusive<usize>; 2],
    /// Taps of each axis.
    pub kernel: RangeInclusive<usize>,
    /// Input elements between outputs.
    pub stride: RangeInclusive<usize>,
    /// Input elements between taps.
    pub dilation: RangeInclusive<usize>,
    /// Zeros of each side, drawn apart.
    pub pad: RangeInclusive<usize>,
    /// Input elements beyond the fewest that the kernel needs.
    pub extra: RangeInclusive<usize>,
}

/// All families, by name: those that [`Family`] has functions for, and more of them.
pub fn families() -> Vec<Family> {
    let dense = Family::dense();
    let few = [1..=3, 1..=3];
    vec![
        dense.clone(),
        Family::depthwise(),
        Family {
            name: "depthwise-multiplier",
            axes: 1..=3,
            groups: 2..=20,
            channels: [1..=1, 2..=4],
            extra: 0..=4,
            ..Family::dense()
        },
        Family {
            name: "depthwise-wide",
            axes: 1..=2,
            batch: 1..=2,
            groups: 15..=70,
            channels: [1..=1, 1..=1],
            kernel: 1..=7,
            stride: 1..=3,
            dilation: 1..=2,
            pad: 0..=4,
            ..Family::dense()
        },
        Family {
            name: "depthwise-long",
            axes: 1..=1,
            batch: 1..=2,
            groups: 2..=6,
            channels: [1..=1, 1..=2],
            kernel: 1..=5,
            stride: 1..=3,
            dilation: 1..=3,
            pad: 0..=9,
            extra: 240..=700,
        },
        Family::grouped(),
        Family {
            name: "groups-of-4-to-32",
            batch: 1..=2,
            groups: 2..=4,
            channels: [4..=32, 4..=32],
            kernel: 1..=3,
            extra: 0..=10,
            ..Family::dense()
        },
        Family {
            name: "few-pixels",
            batch: 1..=2,
            channels: [24..=80, 24..=80],
            kernel: 1..=3,
            pad: 0..=1,
            extra: 0..=2,
            ..Family::dense()
        },
        Family {
            name: "1d-long",
            axes: 1..=1,
            batch: 1..=2,
            kernel: 2..=3,
            dilation: 1..=64,
            extra: 200..=900,
            ..Family::dense()
        },
        Family::one_axis(),
        Family::three_axes(),
        Family::dilated(),
        Family {
            name: "large-dilation",
            axes: 1..=2,
            channels: few.clone(),
            kernel: 2..=4,
            dilation: 5..=19,
            pad: 0..=12,
            ..Family::dense()
        },
        Family::border_heavy(),
        Family { name: "kernel-as-large-as-image", kernel: 2..=7, extra: 0..=0, ..Family::dense() },
        Family {
            name: "pointwise",
            axes: 1..=3,
            groups: 1..=2,
            channels: [1..=40, 1..=40],
            kernel: 1..=1,
            pad: 0..=0,
            ..Family::dense()
        },
        Family {
            name: "few-channels",
            channels: [1..=3, 12..=40],
            stride: 1..=3,
            extra: 0..=20,
            ..Family::dense()
        },
        Family {
            name: "few-output-channels",
            channels: [12..=40, 1..=3],
            stride: 1..=3,
            extra: 0..=20,
            ..Family::dense()
        },
        Family {
            name: "heads",
            batch: 1..=2,
            channels: [1..=40, 1..=14],
            kernel: 1..=1,
            stride: 1..=1,
            pad: 0..=0,
            extra: 15..=20,
            ..Family::dense()
        },
        Family { name: "sparse", kernel: 1..=2, stride: 3..=6, extra: 0..=14, ..Family::dense() },
        Family {
            name: "phases",
            axes: 1..=2,
            groups: 1..=2,
            channels: few,
            kernel: 4..=9,
            stride: 2..=4,
            dilation: 1..=3,
            ..Family::dense()
        },
        // Around as many phases of backward_data as are a product each.
        Family {
            name: "cut-into-patches",
            axes: 2..=2,
            batch: 1..=2,
            groups: 1..=2,
            channels: [1..=3, 10..=40],
            kernel: 7..=10,
            stride: 8..=10,
            dilation: 1..=1,
            pad: 0..=2,
            extra: 0..=50,
        },
        // No pixel of the input lies in two patches, where the stride is drawn so.
        Family {
            name: "patches-apart",
            axes: 2..=3,
            batch: 1..=2,
            groups: 1..=2,
            channels: [1..=12, 1..=20],
            kernel: 2..=4,
            stride: 2..=4,
            dilation: 1..=1,
            pad: 0..=0,
            extra: 0..=24,
        },
        Family::tiny(),
        Family {
            name: "wide",
            batch: 1..=2,
            channels: [16..=70, 16..=70],
            kernel: 1..=3,
            pad: 0..=1,
            extra: 0..=6,
            ..dense
        },
    ]
}

impl Family {
    /// Ordinary layers of two axes: what a family changes, it says.
    pub fn dense() -> Self {
        Self {
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
        }
    }

    /// Layers with a filter or two for each channel.
    pub fn depthwise() -> Self {
        Self { name: "depthwise", groups: 2..=9, channels: [1..=1, 1..=2], ..Self::dense() }
    }

    /// Layers of one axis, as of sound.
    pub fn one_axis() -> Self {
        Self { name: "1d", axes: 1..=1, kernel: 1..=7, extra: 0..=80, ..Self::dense() }
    }

    /// Layers of three axes, as of volumes.
    pub fn three_axes() -> Self {
        let channels = [1..=3, 1..=3];
        Self { name: "3d", axes: 3..=3, channels, extra: 0..=3, ..Self::dense() }
    }

    /// Layers whose taps lie apart.
    pub fn dilated() -> Self {
        Self { name: "dilated", axes: 1..=2, kernel: 2..=3, dilation: 1..=4, ..Self::dense() }
    }

    /// Layers most of whose patches meet padding, some nothing else.
    pub fn border_heavy() -> Self {
        Self {
            name: "border-heavy",
            channels: [1..=3, 1..=3],
            kernel: 1..=5,
            dilation: 1..=2,
            pad: 0..=6,
            extra: 0..=2,
            ..Self::dense()
        }
    }

    /// Layers of 2 to 4 groups of several channels.
    pub fn grouped() -> Self {
        Self { name: "grouped", groups: 2..=4, channels: [1..=4, 1..=4], ..Self::dense() }
    }

    /// Layers so small that a gradient can be checked one number at a time.
    pub fn tiny() -> Self {
        Self {
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
        }
    }

    /// The family's layers, for `proptest!` and other strategies of yours (of proptest 1, which your
    /// crate names for itself); a failing one shrinks towards the small end of every range.
    ///
    /// ```
    /// use im2col::testing::Family;
    /// use proptest::prelude::*;
    /// proptest!(|(params in Family::depthwise().layers())| prop_assert!(params.groups > 1));
    /// ```
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
                    ..Params::default()
                }
            },
        )
    }
}

/// Runs `test` on `count` layers of a family, or as many as the variable `PROPTEST_CASES` says.
///
/// # Panics
/// If `test` does: with the smallest layer that it could be shrunk to.
pub fn for_layers(family: &Family, count: u32, test: impl Fn(Params)) {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(count);
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&family.layers(), |params| {
        test(params);
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(reason, params)) => {
            panic!("family {}: {reason}\nthe smallest layer that fails: {params:?}", family.name)
        }
        Err(TestError::Abort(reason)) => panic!("family {}: {reason}", family.name),
    }
}

/// [`for_layers`] of every family.
pub fn for_families(count: u32, test: impl Fn(Params)) {
    families().iter().for_each(|family| for_layers(family, count, &test));
}
