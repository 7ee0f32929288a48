//! The image that a view reads: its channels, its axes, how far its elements lie apart.

use super::slots::Slots;
use crate::axis::Walk;
use crate::gemm::SET_CONFLICT;
use crate::gemm::grid;
use crate::shape::{Layout, MAX_AXES, Shape};

/// Elements of an image that no cache is expected to hold.
const FAR: usize = 2 << 20;

/// The image under a view: some channels of each image of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    pub(crate) layout: Layout,
    pub(crate) batch: usize,
    /// Images by which blocks are sized, where the order of a sum depends on them.
    pub(crate) weighed: usize,
    /// Channels that a patch has.
    pub(crate) channels: usize,
    /// Channels that a pixel has, over all groups.
    pub(crate) all_channels: usize,
    pub(crate) walks: [Walk; MAX_AXES],
}

impl Source {
    fn pixels(&self) -> usize {
        self.walks.iter().map(|walk| walk.source).product()
    }

    /// The input of a layer, as forward reads it.
    pub(crate) fn input(shape: &Shape) -> Self {
        Self {
            layout: shape.layout(),
            batch: shape.batch(),
            weighed: shape.weighed(),
            channels: shape.group_in(),
            all_channels: shape.in_channels(),
            walks: shape.axes3().map(|axis| axis.walk()),
        }
    }

    /// The gradient of a layer's output, read by these walks.
    pub(crate) fn grad_output(shape: &Shape, walks: [Walk; MAX_AXES]) -> Self {
        Self {
            layout: shape.layout(),
            batch: shape.batch(),
            weighed: shape.weighed(),
            channels: shape.group_out(),
            all_channels: shape.out_channels(),
            walks,
        }
    }

    /// Whether no cache is expected to hold an image.
    pub(crate) fn is_far(&self) -> bool {
        self.channels.saturating_mul(self.pixels()) > FAR
    }

    /// Elements between neighbouring images, channels, and elements of each axis.
    pub(crate) fn pitches(&self) -> Pitches {
        let [_, h, w] = self.walks.map(|walk| walk.source);
        let image = self.all_channels * self.pixels();
        match self.layout {
            Layout::ChannelsFirst => Pitches { image, channel: self.pixels(), axes: [h * w, w, 1] },
            Layout::ChannelsLast => {
                let c = self.all_channels;
                Pitches { image, channel: 1, axes: [h * w * c, w * c, c] }
            }
        }
    }

    /// The pitches of the pixels' grid and of the taps' where the image is read as it lies.
    pub(crate) fn direct_pitches(&self) -> ([usize; 4], [usize; 4]) {
        let pitches = self.pitches();
        let each = |value: fn(&Walk) -> usize| {
            [0, 1, 2].map(|a| value(&self.walks[a]).saturating_mul(pitches.axes[a]))
        };
        let [d, h, w] = each(|walk| walk.stride);
        let taps = self.by_layout(pitches.channel, each(|walk| walk.dilation));
        ([pitches.image, d, h, w], taps)
    }

    /// Whether what the rows of a tile read lies a multiple of 2 KiB apart, and meets in the same few sets of the
    /// L1 cache: 28 such rows run at a quarter of the speed. Rows are channels, or pixels.
    pub(crate) fn has_set_conflicts(&self) -> bool {
        let pitches = self.pitches();
        let apart = match self.layout {
            Layout::ChannelsFirst if self.channels > 1 => pitches.channel,
            Layout::ChannelsLast if self.walks[2].outputs > 1 => {
                self.walks[2].stride.saturating_mul(pitches.axes[2])
            }
            _ => 1,
        };
        apart.is_multiple_of(SET_CONFLICT)
    }

    /// Whether rows of the image follow each other as those of the outputs do, for each tap.
    pub(crate) fn is_side_by_side(&self) -> bool {
        let [_, h, w] = &self.walks;
        w.stride == 1
            && (h.outputs == 1 || (h.stride == 1 && w.outputs == w.source))
            && h.outputs * w.outputs >= 64
    }

    /// What it takes to copy all that the outputs of one image read, for vectors of so many lanes: rows, vectors and
    /// gaps between elements that don't follow each other.
    pub(crate) fn copied(&self, beside: Beside, vector: usize) -> [f64; 3] {
        let flat = beside == Beside::Planes;
        let [d, h, w] = &self.walks;
        let rows = Slots::of_all(d, false).len as f64 * Slots::of_all(h, false).len as f64;
        if self.layout == Layout::ChannelsLast {
            let columns = Slots::of_all(w, false).len;
            // The channels of one group are rows of their own.
            return if self.channels == self.all_channels {
                [rows, rows * columns.saturating_mul(self.channels).div_ceil(vector) as f64, 0.0]
            } else {
                let rows = rows * columns as f64;
                [rows, rows * self.channels.div_ceil(vector) as f64, 0.0]
            };
        }
        // Each tap's outputs by themselves, or all that a row has.
        let by_tap = flat && (w.stride > 1 || (w.taps > 1 && h.outputs > 1));
        let neighbours = beside != Beside::None;
        let columns = if by_tap { w.outputs } else { Slots::of_all(w, neighbours).len };
        let rows = rows * self.channels as f64 * if by_tap { w.taps as f64 } else { 1.0 };
        let vectors = rows * columns.div_ceil(vector) as f64;
        let gaps = match w.stride {
            _ if !by_tap => 0.0,
            1 => 0.0,
            2 => vectors,
            _ => rows * columns as f64 / 4.0,
        };
        [rows, vectors, gaps]
    }

    /// The sizes of the grid of pixels: the batch, then the outputs.
    pub(crate) fn pixel_sizes(&self) -> [usize; 4] {
        let [d, h, w] = self.walks.map(|walk| walk.outputs);
        [self.batch, d, h, w]
    }

    /// The sizes of the grid of taps, in the order of the weight's own elements.
    pub(crate) fn tap_sizes(&self) -> [usize; 4] {
        let taps = self.walks.map(|walk| walk.taps);
        self.by_layout(self.channels, taps)
    }

    /// A channel's and three axes' values in the order of the layout.
    pub(crate) fn by_layout(&self, channel: usize, [d, h, w]: [usize; 3]) -> [usize; 4] {
        match self.layout {
            Layout::ChannelsFirst => [channel, d, h, w],
            Layout::ChannelsLast => [d, h, w, channel],
        }
    }

    /// The channel's and the axes' values of four in the order of the layout: the reverse of
    /// [`by_layout`](Self::by_layout).
    pub(crate) fn split_layout(&self, [a, b, c, d]: [usize; 4]) -> (usize, [usize; 3]) {
        match self.layout {
            Layout::ChannelsFirst => (a, [b, c, d]),
            Layout::ChannelsLast => (d, [a, b, c]),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Pitches {
    pub(crate) image: usize,
    pub(crate) channel: usize,
    pub(crate) axes: [usize; MAX_AXES],
}

/// Pixels that lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// Perhaps none.
    None,
    /// Those of a row.
    Rows,
    /// Those of a plane, and with them all of a block.
    Planes,
}

/// The pitches of a grid of pixels whose elements lie densely, `pixel` apart, images `image` apart.
pub(crate) fn pixel_pitches(sizes: [usize; 4], image: usize, pixel: usize) -> [usize; 4] {
    let [_, d, h, w] = grid::dense(sizes);
    [image, d * pixel, h * pixel, w * pixel]
}
