//! Where the tiles of a pass lie: in the image that it reads, and in the box of pixels that a unit of work makes.

use crate::axis::{Walk, inside};
use crate::kernel::winograd::{Form, Sizes};
use crate::shape::{Axis, Layout, MAX_AXES, Shape};
use core::ops::Range;

/// The input under the axes of the output, of a layer whose stride is 1.
pub(super) fn forward(shape: &Shape) -> [Walk; MAX_AXES] {
    shape.axes3().map(|axis| undilated(axis.walk()))
}

/// The outputs that an input helped to make, under a flipped filter.
pub(super) fn backward(shape: &Shape) -> [Walk; MAX_AXES] {
    let only = |axis: Axis| axis.phase(0).expect("with a stride of 1 all inputs are one phase");
    shape.axes3().map(|axis| undilated(only(axis).walk))
}

/// With one tap, no dilation is ever stepped.
fn undilated(walk: Walk) -> Walk {
    Walk { dilation: if walk.taps == 1 { 1 } else { walk.dilation }, ..walk }
}

/// Those of `count` elements of an axis from `start` on, a dilation apart, that there are.
pub(super) fn rows_inside(walk: &Walk, start: isize, count: usize) -> Range<usize> {
    inside(start, walk.dilation, count, walk.source)
}

/// A tensor of pixels: how it lies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Image {
    pub(super) image: usize,
    pub(super) channel: usize,
    pub(super) axes: [usize; MAX_AXES],
}

impl Image {
    pub(super) fn new(layout: Layout, channels: usize, sizes: [usize; MAX_AXES]) -> Self {
        let [d, h, w] = sizes;
        let (pixel, channel) = match layout {
            Layout::ChannelsFirst => (1, d * h * w),
            Layout::ChannelsLast => (channels, 1),
        };
        Self { image: channels * d * h * w, channel, axes: [h * w * pixel, w * pixel, pixel] }
    }

    /// The layer's input.
    pub(super) fn input(shape: &Shape) -> Self {
        Self::new(shape.layout(), shape.in_channels(), shape.axes3().map(|axis| axis.input))
    }

    /// The layer's output.
    pub(super) fn output(shape: &Shape) -> Self {
        Self::new(shape.layout(), shape.out_channels(), shape.axes3().map(|axis| axis.output))
    }
}

/// The form with `tile` outputs along each axis of the plane for a layer's filter, if there is one.
pub(crate) fn form(shape: &Shape, tile: usize) -> Option<Form> {
    /// The most phases of a dilation, and taps of the depth: planning looks at each of them.
    const MOST: usize = 64;
    let [d, h, w] = shape.axes3();
    let many = |axis: &Axis| axis.kernel > 1 && axis.dilation > MOST;
    if shape.axes3().iter().any(|axis| axis.stride != 1 || many(axis)) || d.kernel > MOST {
        return None;
    }
    match ([h.kernel, w.kernel], tile) {
        ([3, 3], 4) => Some(Form::F4x4),
        ([3, 3], 2) => Some(Form::F2x2),
        ([5, 5], 2) => Some(Form::F2x2Of5),
        ([3, 1], 4) => Some(Form::F4x1),
        ([1, 3], 4) => Some(Form::F1x4),
        _ => None,
    }
}

/// A tile of a box of pixels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Its number in the box.
    pub(super) index: usize,
    /// Its first pixel, within the box.
    pub(super) at: [usize; 4],
    /// Rows and columns of pixels that it has in the box.
    pub(super) count: [usize; 2],
}

/// How boxes of pixels are cut into tiles: rows of pixels that follow each other are of one phase of the dilation,
/// columns of all phases.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiling {
    pub(super) sizes: [Sizes; 2],
    /// The columns' dilation.
    pub(super) step: usize,
}

impl Tiling {
    pub(super) fn new(form: Form, columns: &Walk) -> Self {
        Self { sizes: form.sizes(), step: columns.dilation }
    }

    /// Tiles along `width` columns of pixels.
    pub(super) fn across(&self, width: usize) -> usize {
        (0..self.step.min(width)).map(|phase| self.of_phase(width, phase)).sum()
    }

    fn of_phase(&self, width: usize, phase: usize) -> usize {
        (width - phase).div_ceil(self.step).div_ceil(self.sizes[1].outputs)
    }

    /// Tiles down `height` rows of pixels.
    pub(super) fn down(&self, height: usize) -> usize {
        height.div_ceil(self.sizes[0].outputs)
    }

    /// Tiles of a box.
    pub(super) fn count(&self, [n, d, h, w]: [usize; 4]) -> usize {
        n * d * self.down(h) * self.across(w)
    }

    /// Columns of pixels that whole tiles of `width` columns have.
    pub(super) fn padded(&self, width: usize) -> usize {
        width.next_multiple_of(self.step * self.sizes[1].outputs)
    }

    /// The tiles of plane `d` of image `n` of a box, in order.
    pub(super) fn tiles(
        self,
        sizes: [usize; 4],
        [n, d]: [usize; 2],
    ) -> impl Iterator<Item = Place> {
        let [_, depths, height, width] = sizes;
        let [down, across] = [self.down(height), self.across(width)];
        let (rows, columns) = (self.sizes[0].outputs, self.sizes[1].outputs);
        let first = (n * depths + d) * down * across;
        let of_row = move || {
            (0..self.step.min(width)).flat_map(move |phase| {
                (0..self.of_phase(width, phase)).map(move |q| phase + q * columns * self.step)
            })
        };
        let places = (0..down).flat_map(move |row| of_row().map(move |x| (row * rows, x)));
        places.enumerate().map(move |(index, (y, x))| {
            let count = [rows.min(height - y), columns.min((width - x).div_ceil(self.step))];
            Place { index: first + index, at: [n, d, y, x], count }
        })
    }

    /// A box of at most `most` tiles of `sizes` pixels (at least one), with rows and columns about as many where they are
    /// cut, all boxes about as large.
    pub(super) fn cut(&self, sizes: [usize; 4], most: usize) -> [usize; 4] {
        /// Tiles of a row that is cut, where there are rows enough.
        const ACROSS: usize = 16;
        let even = |all: usize, most: usize| all.div_ceil(all.div_ceil(most.clamp(1, all)));
        let [n, d, h, w] = sizes;
        let unit = self.step * self.sizes[1].outputs;
        let (down, across) = (self.down(h), self.across(w));
        let width = if across <= ACROSS.min(most) || (across <= most && down == 1) {
            w
        } else {
            // Of whole units, each of which has `step` tiles.
            let most = if down == 1 { most } else { ACROSS.min(most) };
            (even(w.div_ceil(unit), most / self.step.min(most)) * unit).min(w)
        };
        let left = most / self.across(width);
        let rows = even(down, left);
        let height = (rows * self.sizes[0].outputs).min(h);
        if width < w || height < h {
            return [1, 1, height, width];
        }
        let left = left / down;
        let depths = even(d, left);
        let images = if depths < d { 1 } else { even(n, left / d) };
        [images, depths, height, width]
    }
}
