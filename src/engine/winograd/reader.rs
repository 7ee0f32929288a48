//! The tiles of a box of pixels, read from a tensor and transformed into points.

use super::geometry::{Image, Place, Tiling, rows_inside};
use crate::axis::{Walk, inside};
use crate::element::Element;
use crate::gemm::pack::{Source, pack};
use crate::gemm::tiles::{Kind, Tile, transform};
use crate::kernel::winograd::{Form, Stage};
use crate::kernel::{Kernel, Kernels};
use crate::shape::Layout;
use core::ops::Range;

/// What a pass reads in tiles: its input, or the gradient of its output.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) form: Form,
    pub(super) stage: Stage,
    pub(super) layout: Layout,
    pub(super) image: Image,
    pub(super) walks: [Walk; 3],
    pub(super) tiling: Tiling,
}

/// A box of pixels: its first, in rows of a phase of the dilation, and its sizes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pixels {
    pub(super) phase: usize,
    pub(super) start: [usize; 4],
    pub(super) sizes: [usize; 4],
}

/// Points of tiles in memory: point, tile and channel meet at `point * pitch[0] + tile * pitch[1] + channel`.
pub(super) struct Points<'a, T> {
    pub(super) data: &'a mut [T],
    pub(super) pitch: [usize; 2],
    /// For planes whose channels are turned into lanes.
    pub(super) strip: &'a mut [T],
}

/// What a call reads with.
#[derive(Clone, Copy)]
pub(super) struct From<'a, T: 'static> {
    pub(super) kernels: &'a Kernels<T>,
    /// Whose panels' width the strips have.
    pub(super) kernel: &'a Kernel<T>,
    pub(super) data: &'a [T],
}

/// A plane of an image as a box reads it.
struct Plane {
    /// Where its first pixel lies.
    start: usize,
    /// The row and the column of the box's first pixel.
    y: isize,
    x: isize,
    /// Whether there is such a plane: else it is padding.
    is_there: bool,
}

impl Reader {
    /// Rows and columns that a tile reads.
    fn tile(&self) -> [usize; 2] {
        self.stage.sizes(self.form)[0]
    }

    /// Rows and columns of pixels that the tiles of a box read.
    fn span(&self, sizes: [usize; 4]) -> [usize; 2] {
        let ([rows, columns], tile) = (self.tiling.sizes, self.tile());
        let height = sizes[2].next_multiple_of(rows.outputs) + tile[0] - rows.outputs;
        let more = (tile[1] - columns.outputs) * self.tiling.step;
        [height, self.tiling.padded(sizes[3]) + more]
    }

    /// Elements of a strip for boxes of these sizes, in panels of `width` lanes.
    pub(super) fn strip_len(&self, sizes: [usize; 4], width: usize) -> usize {
        let [height, columns] = self.span(sizes);
        if self.layout == Layout::ChannelsLast { 0 } else { height * columns * width }
    }

    /// Transforms the tiles of a box: some channels, met by tap `depth` of the depth.
    pub(super) fn read<T: Element>(
        &self,
        from: From<'_, T>,
        pixels: &Pixels,
        channels: Range<usize>,
        depth: usize,
        to: &mut Points<'_, T>,
    ) {
        let [depths, heights, widths] = &self.walks;
        let [images, planes, ..] = pixels.sizes;
        for (n, d) in (0..images).flat_map(|n| (0..planes).map(move |d| (n, d))) {
            let met = depths.meet(pixels.start[1] + d, depth);
            let (is_there, z) = (met.is_some(), met.unwrap_or(0));
            let image = (pixels.start[0] + n) * self.image.image;
            let plane = Plane {
                start: image + channels.start * self.image.channel + z * self.image.axes[0],
                y: heights.at(pixels.phase, pixels.start[2]),
                x: widths.at(pixels.start[3], 0),
                is_there,
            };
            match self.layout {
                Layout::ChannelsFirst => {
                    self.read_strip(from, pixels.sizes, [n, d], &plane, channels.len(), to);
                }
                Layout::ChannelsLast => {
                    self.read_in_place(from, pixels.sizes, [n, d], &plane, channels.len(), to);
                }
            }
        }
    }

    fn kind<T: Element>(&self, lanes: usize) -> Kind<T> {
        Kind { form: self.form, stage: self.stage, lanes, scale: T::ONE }
    }

    /// Elements between rows and columns of points.
    fn to_pitch(&self, point: usize) -> [usize; 2] {
        [self.stage.sizes(self.form)[1][1] * point, point]
    }

    /// Reads pixels whose channels lie side by side.
    fn read_in_place<T: Element>(
        &self,
        from: From<'_, T>,
        sizes: [usize; 4],
        of: [usize; 2],
        plane: &Plane,
        lanes: usize,
        to: &mut Points<'_, T>,
    ) {
        let ([_, heights, widths], [rows, columns]) = (&self.walks, self.tile());
        let [_, y_pitch, x_pitch] = self.image.axes.map(|pitch| pitch as isize);
        let pitch = [heights.dilation as isize * y_pitch, widths.dilation as isize * x_pitch];
        let rows = if plane.is_there { rows } else { 0 };
        for Place { index, at: [.., row, column], .. } in self.tiling.tiles(sizes, of) {
            let (y, x) = (plane.y + (row * heights.dilation) as isize, plane.x + column as isize);
            let tile = Tile {
                start: plane.start as isize + y * y_pitch + x * x_pitch,
                pitch,
                inside: [rows_inside(heights, y, rows), rows_inside(widths, x, columns)],
            };
            let place = (&mut to.data[index * to.pitch[1]..], self.to_pitch(to.pitch[0]));
            transform(from.kernels, self.kind(lanes), (from.data, &tile), place, None);
        }
    }

    /// Reads pixels whose channels lie apart, a panel's at a time.
    fn read_strip<T: Element>(
        &self,
        from: From<'_, T>,
        sizes: [usize; 4],
        of: [usize; 2],
        plane: &Plane,
        channels: usize,
        to: &mut Points<'_, T>,
    ) {
        let width = from.kernel.lanes;
        let row = self.span(sizes)[1] * width;
        for first in (0..channels).step_by(width) {
            let lanes = width.min(channels - first);
            self.fill_strip(from, sizes, plane, (first, lanes), to.strip);
            for Place { index, at: [.., y, x], .. } in self.tiling.tiles(sizes, of) {
                let tile =
                    Tile::whole(y * row + x * width, [row, self.tiling.step * width], self.tile());
                let place =
                    (&mut to.data[index * to.pitch[1] + first..], self.to_pitch(to.pitch[0]));
                transform(from.kernels, self.kind(lanes), (&*to.strip, &tile), place, None);
            }
        }
    }

    /// Transposes the part of a plane that the tiles of a box read: `lanes` channels from `first` on become the lanes of
    /// each pixel, with zeros round them.
    fn fill_strip<T: Element>(
        &self,
        from: From<'_, T>,
        sizes: [usize; 4],
        plane: &Plane,
        (first, lanes): (usize, usize),
        strip: &mut [T],
    ) {
        let ([_, heights, widths], width) = (&self.walks, from.kernel.lanes);
        let [height, columns] = self.span(sizes);
        let there = rows_inside(heights, plane.y, if plane.is_there { height } else { 0 });
        let inside = inside(plane.x, 1, columns, widths.source);
        for (row, to) in strip.chunks_exact_mut(columns * width).take(height).enumerate() {
            if !there.contains(&row) || inside.is_empty() {
                to.fill(T::ZERO);
                continue;
            }
            let y = (plane.y + (row * heights.dilation) as isize) as usize;
            let x = (plane.x + inside.start as isize) as usize;
            let start = plane.start + first * self.image.channel + y * self.image.axes[1] + x;
            let source = Source {
                data: &from.data[start..],
                lanes,
                lane: self.image.channel,
                cols: inside.len(),
                col: 1,
                blocks: 1,
                block: 0,
            };
            let (before, rest) = to.split_at_mut(inside.start * width);
            let (to, after) = rest.split_at_mut(inside.len() * width);
            before.fill(T::ZERO);
            after.fill(T::ZERO);
            pack(from.kernel, source, to, false);
        }
    }
}
