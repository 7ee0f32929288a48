//! Cols as a view: the patch matrix of an image without the matrix.
//!
//! Tap `k` of output `o` reads the image at `o * stride + k * dilation - padding` on every axis:
//! a part that depends on the output plus a part that depends on the tap. So the element
//! `cols[tap][pixel]` lies at `taps[tap] + pixels[pixel]`, an outer sum of two small tables:
//!
//! ```text
//!                pixels   0   1   .. O-1      (rows of forward, terms of backward_weight)
//!        taps           +---------------+
//!         0             |               |
//!         1             |  image[ taps[tap] + pixels[pixel] ]
//!         :             |               |
//!        C·R-1          +---------------+     (terms of forward, rows of backward_weight)
//! ```
//!
//! The image is read as it lies. Where a tap can meet padding, or where the image's pitch would
//! crowd one set of the cache, the part that a run of pixels needs is first copied, with its
//! zeros, into scratch of a fixed size; the tables then describe the copy.

use crate::element::Element;
use crate::gemm::CROWDED;
use crate::gemm::grid::{self, Grid, Run, fit_tables, run_box};
use crate::kernel::Kernels;
use crate::shape::{Layout, MAX_AXES, Shape};
use copy::{Copy, Slots};
use core::fmt;
use core::ops::Range;

mod copy;

/// Elements of an image that no cache is expected to hold.
const FAR: usize = 2 << 20;

/// One spatial axis of a view: output `o` and tap `k` read `o * stride + k * dilation + origin`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Walk {
    /// Elements of the image.
    pub(crate) source: usize,
    /// Outputs.
    pub(crate) outputs: usize,
    /// Taps.
    pub(crate) taps: usize,
    /// Elements between neighbouring outputs.
    pub(crate) stride: usize,
    /// Elements between neighbouring taps.
    pub(crate) dilation: usize,
    /// Where output 0 reads with tap 0; negative in padding.
    pub(crate) origin: isize,
}

impl Walk {
    /// Whether every tap of every output reads the image itself.
    pub(crate) fn is_inside(&self) -> bool {
        let last = (self.outputs - 1) * self.stride + (self.taps - 1) * self.dilation;
        self.origin >= 0 && self.origin as usize + last < self.source
    }

    /// The outputs for which a tap reads the image itself.
    pub(crate) fn inside(&self, tap: usize) -> Range<usize> {
        let first = (tap * self.dilation) as isize + self.origin;
        let start = ((-first).max(0) as usize).div_ceil(self.stride).min(self.outputs);
        let end = ((self.source as isize - first).max(0) as usize).div_ceil(self.stride);
        start..end.clamp(start, self.outputs)
    }

    /// How many of the products of an output and a tap are with the image itself, of 1.
    pub(crate) fn met(&self) -> f64 {
        // To ask each tap takes a division or two, and most walks are inside.
        if self.is_inside() {
            return 1.0;
        }
        let met: usize = (0..self.taps).map(|tap| self.inside(tap).len()).sum();
        met as f64 / (self.taps as f64 * self.outputs as f64)
    }

    /// How a copy holds `outputs` by `taps` of this axis: every element between the first and
    /// the last once, or the outputs of each tap by themselves, whichever is smaller; by tap for
    /// sure if the outputs have to be neighbours.
    fn slots(&self, outputs: usize, taps: usize, neighbours: bool) -> Slots {
        let points = (outputs - 1).saturating_mul(self.stride);
        let reach = (taps - 1).saturating_mul(self.dilation);
        let by_tap = outputs.saturating_mul(taps);
        match points.saturating_add(reach).saturating_add(1) {
            dense if dense <= by_tap && (!neighbours || self.stride == 1 || outputs == 1) => {
                Slots { len: dense, point: self.stride, tap: self.dilation, step: 1, pieces: 1 }
            }
            _ => Slots { len: by_tap, point: 1, tap: outputs, step: self.stride, pieces: taps },
        }
    }
}

/// The image under a view: some channels of each image of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source {
    pub(crate) layout: Layout,
    pub(crate) batch: usize,
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
        let walks = shape.axes3().map(|axis| Walk {
            source: axis.input,
            outputs: axis.output,
            taps: axis.kernel,
            stride: axis.stride,
            dilation: axis.dilation,
            origin: -(axis.pad_begin as isize),
        });
        Self {
            layout: shape.layout(),
            batch: shape.batch(),
            channels: shape.group_in(),
            all_channels: shape.in_channels(),
            walks,
        }
    }

    /// The outputs' errors of a layer, read by these walks.
    pub(crate) fn errors(shape: &Shape, walks: [Walk; MAX_AXES]) -> Self {
        Self {
            layout: shape.layout(),
            batch: shape.batch(),
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
    fn pitches(&self) -> Pitches {
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
    fn direct_pitches(&self) -> ([usize; 4], [usize; 4]) {
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
    pub(crate) fn is_crowded(&self) -> bool {
        let pitches = self.pitches();
        let apart = match self.layout {
            Layout::ChannelsFirst if self.channels > 1 => pitches.channel,
            Layout::ChannelsLast if self.walks[2].outputs > 1 => {
                self.walks[2].stride.saturating_mul(pitches.axes[2])
            }
            _ => 1,
        };
        apart.is_multiple_of(CROWDED)
    }

    /// Whether rows of the image follow each other as those of the outputs do, for each tap.
    pub(crate) fn is_side_by_side(&self) -> bool {
        let [_, h, w] = &self.walks;
        w.stride == 1
            && (h.outputs == 1 || (h.stride == 1 && w.outputs == w.source))
            && h.outputs * w.outputs >= 64
    }

    /// Cycles that it takes to copy what one plane of outputs reads of a channel, for vectors of so
    /// many lanes: 6 for each row, 4 for each vector, and more with gaps between its elements.
    pub(crate) fn copying(&self, beside: Beside, vector: usize) -> f64 {
        let flat = beside == Beside::Planes;
        let inside = self.walks.iter().all(Walk::is_inside);
        if inside && (!flat || self.is_side_by_side()) {
            return 0.0;
        }
        let [d, h, w] = &self.walks;
        // Each tap's outputs by themselves, or all that a row has.
        let by_tap = flat && (w.stride > 1 || (w.taps > 1 && h.outputs > 1));
        let columns = if by_tap { w.outputs } else { w.slots(w.outputs, w.taps, flat).len };
        let vectors = columns.div_ceil(vector) as f64;
        let gaps = match w.stride {
            _ if !by_tap => 0.0,
            1 => 0.0,
            2 => 4.0 * vectors,
            _ => columns as f64,
        };
        let row = 6.0 + 4.0 * vectors + gaps;
        let rows = d.taps as f64 * h.slots(h.outputs, h.taps, false).len as f64;
        rows * row * if by_tap { w.taps as f64 } else { 1.0 }
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

    /// The channel's and the axes' values of four in the order of the layout: the reverse of [`by_layout`](Self::by_layout).
    pub(crate) fn split_layout(&self, [a, b, c, d]: [usize; 4]) -> (usize, [usize; 3]) {
        match self.layout {
            Layout::ChannelsFirst => (a, [b, c, d]),
            Layout::ChannelsLast => (d, [a, b, c]),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Pitches {
    image: usize,
    channel: usize,
    axes: [usize; MAX_AXES],
}

/// The patch matrix of an image as two grids over it, or over a copy of the part that a run of
/// pixels and a run of taps need.
#[derive(Debug, Clone)]
pub(crate) struct Patches {
    source: Source,
    /// Where each output position reads with the first tap.
    pub(crate) pixels: Grid,
    /// How far each tap reads from the first.
    pub(crate) taps: Grid,
    copy: Option<Copy>,
    /// Nobody reads the padding of the rows, and of the columns.
    unread: [bool; 2],
}

impl fmt::Display for Patches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pixels, taps) = (self.pixels.run_len(), self.taps.run_len());
        write!(f, "{pixels} pixels by {taps} taps at a time, ")?;
        match &self.copy {
            Some(copy) => write!(f, "from a copy of {} elements", copy.len),
            None => write!(f, "from the image as it lies"),
        }
    }
}

/// Which part of the image a worker's scratch holds: group, first pixel, first tap.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Held(Option<[usize; 3]>);

/// At most how many positions the runs of a view may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Pixels of a run.
    pub(crate) pixels: usize,
    /// Taps of a run.
    pub(crate) taps: usize,
    /// Elements that a run of pixels by a run of taps touches.
    pub(crate) touched: usize,
    /// Pixels that a run keeps where the touched elements are too many, if there are taps that can give way.
    pub(crate) kept: usize,
    /// Which pixels of a run lie side by side, so that they can be the lanes of a vector.
    pub(crate) beside: Beside,
    /// The image is read as it lies where that is possible; else it is always copied.
    pub(crate) in_place: bool,
}

/// Pixels that lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beside {
    /// Perhaps none.
    None,
    /// Those of a row.
    Rows,
    /// Those of a plane, and with them all of a run.
    Planes,
}

impl Patches {
    /// A view whose runs keep the limits, without tables yet: not all readers want both. `with_pixels` and `with_taps` are
    /// pitches of further grids that will be cut in the same runs.
    pub(crate) fn new(
        source: Source,
        limits: Limits,
        with_pixels: &[[usize; 4]],
        with_taps: &[[usize; 4]],
    ) -> Self {
        let (pixel_sizes, tap_sizes) = (source.pixel_sizes(), source.tap_sizes());
        let flat = limits.beside == Beside::Planes;
        let beside = match limits.beside {
            Beside::None => true,
            Beside::Rows => source.walks[2].stride == 1,
            Beside::Planes => source.is_side_by_side(),
        };
        let direct = limits.in_place && source.walks.iter().all(Walk::is_inside) && beside;

        // Lanes follow each other in one image, and in one plane of it.
        let [mut most_pixels, mut most_taps] = [limits.pixels, limits.taps];
        if flat {
            most_pixels = most_pixels.min(pixel_sizes[2] * pixel_sizes[3]);
        }
        let (mut pixel_run, mut tap_run, mut copy);
        loop {
            pixel_run = run_box(pixel_sizes, most_pixels);
            tap_run = run_box(tap_sizes, most_taps);
            copy = Copy::new(&source, pixel_run, tap_run, limits.beside);
            // 64 by 64 is small enough whatever the strides are.
            let (pixels, taps) = (most_pixels > 64, most_taps > 64);
            if copy.len <= limits.touched || !(pixels || taps) {
                break;
            }
            if pixels && (most_pixels > limits.kept || !taps) {
                let kept = if taps { limits.kept } else { 0 };
                most_pixels = (most_pixels.min(pixel_run.iter().product()) * 7 / 8).max(kept);
            } else {
                most_taps = most_taps.min(tap_run.iter().product()) * 7 / 8;
            }
        }
        let cut = (0..4).rfind(|&axis| tap_run[axis] < tap_sizes[axis]);
        if let Some(axis) = cut.filter(|_| flat) {
            // Else the last run is shorter, and the others touch more than they need to (30 passes on Zen 5: 2 %).
            let parts = tap_sizes[axis].div_ceil(tap_run[axis]);
            tap_run[axis] = tap_sizes[axis].div_ceil(parts);
        }
        let (direct_pixels, direct_taps) = source.direct_pitches();
        if direct {
            let pixel_run = fit_tables(fit_tables(pixel_run, with_pixels), &[direct_pixels]);
            let tap_run = fit_tables(fit_tables(tap_run, with_taps), &[direct_taps]);
            let pixels = Grid::untabled(pixel_sizes, direct_pixels, pixel_run);
            let taps = Grid::untabled(tap_sizes, direct_taps, tap_run);
            return Self { source, pixels, taps, copy: None, unread: [false; 2] };
        }
        let pixel_run = fit_tables(pixel_run, with_pixels);
        let tap_run = fit_tables(tap_run, with_taps);
        let copy = Copy::new(&source, pixel_run, tap_run, limits.beside);
        let point = |a: usize| copy.slots[a].point.saturating_mul(copy.pitches.axes[a]);
        let tap = |a: usize| copy.slots[a].tap.saturating_mul(copy.pitches.axes[a]);
        let pixel_pitches = [copy.pitches.image, point(0), point(1), point(2)];
        let tap_pitches = source.by_layout(copy.pitches.channel, [0, 1, 2].map(tap));
        let pixels = Grid::untabled(pixel_sizes, pixel_pitches, pixel_run);
        let taps = Grid::untabled(tap_sizes, tap_pitches, tap_run);
        Self { source, pixels, taps, copy: Some(copy), unread: [false; 2] }
    }

    /// Leaves the padding out of copies: whoever reads them leaves out the taps that meet padding
    /// between rows, or between columns.
    pub(crate) fn without_padding(&mut self, unread: [bool; 2]) {
        self.unread = unread;
    }

    /// Reads the image as it lies where the tables allow it, which are made afterwards: whoever reads it leaves out all
    /// taps that meet padding, and what the tables count from may lie before it.
    pub(crate) fn in_place(&mut self) {
        let (pixels, taps) = self.source.direct_pitches();
        let (pixel_run, tap_run) = (self.pixels.run_sizes(), self.taps.run_sizes());
        let fit = |run, pitches| fit_tables(run, &[pitches]) == run;
        // Outputs that meet nothing may lie anywhere: no pitch between them may have been cut off.
        let reach = |sizes, pitches| grid::reach(sizes, pitches).unwrap_or(usize::MAX);
        let all = reach(self.source.pixel_sizes(), pixels)
            .saturating_add(reach(self.source.tap_sizes(), taps));
        let near = all <= isize::MAX as usize;
        if !near || !fit(pixel_run, pixels) || !fit(tap_run, taps) {
            return;
        }
        self.pixels = Grid::untabled(self.source.pixel_sizes(), pixels, pixel_run);
        self.taps = Grid::untabled(self.source.tap_sizes(), taps, tap_run);
        self.copy = None;
    }

    /// Elements of scratch for a copy; 0 where the image is read as it lies.
    pub(crate) fn copy_len(&self) -> usize {
        self.copy.map_or(0, |copy| copy.len)
    }

    /// The slice that the tables of these runs index, from the channels of `group` on, and the place in
    /// it from which they count, modulo a word if that lies [before the image](Self::in_place).
    ///
    /// `scratch` has [`copy_len`](Self::copy_len) elements; `held` says what is in it already.
    #[allow(clippy::too_many_arguments, reason = "what to copy, from where, and to where")]
    pub(crate) fn part<'a, T: Element>(
        &self,
        kernels: &Kernels<T>,
        image: &'a [T],
        group: usize,
        pixels: &Run,
        taps: &Run,
        scratch: &'a mut [T],
        held: &mut Held,
    ) -> (&'a [T], usize) {
        let pitches = self.source.pitches();
        let first = group * self.source.channels * pitches.channel;
        let Some(copy) = &self.copy else {
            let origin = |a: usize| self.source.walks[a].origin * pitches.axes[a] as isize;
            let origin = origin(0) + origin(1) + origin(2);
            // The runs may be another grid's, of the same positions.
            let place = self.pixels.place(pixels.start) + self.taps.place(taps.start);
            return (image, (first + place).wrapping_add_signed(origin));
        };
        let wanted = Held(Some([group, pixels.first, taps.first]));
        if *held != wanted {
            copy.fill(self, kernels, &image[first..], pixels, taps, scratch);
            *held = wanted;
        }
        (scratch, 0)
    }
}

/// The pitches of a grid of pixels whose elements lie densely, `pixel` apart, images `image` apart.
pub(crate) fn pixel_pitches(sizes: [usize; 4], image: usize, pixel: usize) -> [usize; 4] {
    let [_, d, h, w] = grid::dense(sizes);
    [image, d * pixel, h * pixel, w * pixel]
}
