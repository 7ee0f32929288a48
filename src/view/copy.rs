//! The part of an image that a block of pixels and a block of taps read, copied with its padding: zeros, or copies of
//! the elements that the padding mode wants there.

use super::slots::Slots;
use super::source::{Beside, Pitches, Source};
use crate::axis::Walk;
use crate::element::Element;
use crate::gemm::SET_CONFLICT;
use crate::gemm::copy::{Rows, copy_rows};
use crate::gemm::grid::Block;
use crate::kernel::Kernels;
use crate::padding::PaddingMode;
use crate::shape::{Layout, MAX_AXES};
use core::ops::Range;

/// How a copy is laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copy {
    pub(crate) slots: [Slots; MAX_AXES],
    pub(crate) pitches: Pitches,
    pub(crate) len: usize,
}

impl Copy {
    pub(crate) fn new(
        source: &Source,
        pixel_block: [usize; 4],
        tap_block: [usize; 4],
        beside: Beside,
    ) -> Self {
        let flat = beside == Beside::Planes;
        let [images, outputs @ ..] = pixel_block;
        let (channels, taps) = source.split_layout(tap_block);
        let mut slots = [0, 1, 2].map(|a| {
            let neighbours = flat || (a == 2 && beside == Beside::Rows);
            Slots::new(&source.walks[a], outputs[a], taps[a], neighbours)
        });
        let [d, h, mut w] = slots.map(|slots| slots.len);
        let mut repeats = 1;
        if flat && outputs[1] > 1 && w > outputs[2] {
            // Rows without a gap between them: a copy of all rows for each tap of the width.
            let rows = d.saturating_mul(h).saturating_mul(outputs[2]);
            repeats = taps[2];
            w = outputs[2];
            let step = source.walks[2].stride;
            slots[2] = Slots { len: w, point: 1, tap: rows, step, pieces: repeats };
        }
        let (channel, axes, image) = match source.layout {
            Layout::ChannelsFirst => {
                let plane = h.saturating_mul(w);
                let channel = spread(d.saturating_mul(plane).saturating_mul(repeats));
                (channel, [h.saturating_mul(w), w, 1], channel.saturating_mul(channels))
            }
            Layout::ChannelsLast => {
                let apart = slots[2].point.saturating_mul(channels);
                let pixel =
                    if apart.is_multiple_of(SET_CONFLICT) { channels + 16 } else { channels };
                let row = w.saturating_mul(pixel);
                let plane = h.saturating_mul(row);
                (1, [plane, row, pixel], d.saturating_mul(plane))
            }
        };
        let pitches = Pitches { image, channel, axes };
        // The last lanes of a tile may reach past the pixels that there are.
        let slack = if flat { 64 } else { 0 };
        Self { slots, pitches, len: image.saturating_mul(images).saturating_add(slack) }
    }

    /// Copies what the blocks read, and in the padding zeros or what else stands there.
    pub(crate) fn fill<T: Element>(
        &self,
        (view, unread): (&Source, [bool; 2]),
        kernels: &Kernels<T>,
        image: &[T],
        [pixels, taps]: [&Block; 2],
        scratch: &mut [T],
    ) {
        let source = view.pitches();
        let [n, o @ ..] = pixels.start;
        let [images, outputs @ ..] = pixels.sizes;
        let (first_channel, first_tap) = view.split_layout(taps.start);
        let (channels, tap_count) = view.split_layout(taps.sizes);
        // Each axis' pieces, with the sizes that this block has; the pitches stay the full block's.
        let pieces_of = [0, 1, 2].map(|a| {
            let walk = &view.walks[a];
            let slots = &self.slots[a];
            let pieces = if slots.pieces == 1 { 1 } else { tap_count[a] };
            let len = match slots.pieces {
                1 if slots.step == 1 => {
                    (outputs[a] - 1) * slots.point + (tap_count[a] - 1) * slots.tap + 1
                }
                _ => outputs[a],
            };
            let origin = walk.at(o[a], first_tap[a]);
            let walk = Walk { outputs: len, taps: pieces, stride: slots.step, origin, ..*walk };
            Pieces { walk, apart: slots.tap }
        });
        let [depths, heights, widths] = &pieces_of;
        let to_axes = self.pitches.axes;
        // Channels last: a pixel's channels are one row; channels first: a row has one channel.
        let (outer, inner) = match view.layout {
            Layout::ChannelsFirst => (channels, 1),
            Layout::ChannelsLast => (1, channels),
        };
        for image_index in 0..images {
            let from = (n + image_index) * source.image + first_channel * source.channel;
            let to = image_index * self.pitches.image;
            // Plane after plane: the same row of all channels would touch as many pages each time.
            for channel in 0..outer {
                let image = &image[from + channel * source.channel..];
                let to = to + channel * self.pitches.channel;
                // No processor foresees where the next channel's rows lie: they are fetched while these are copied.
                let next = if channel + 1 < outer { source.channel } else { 0 };
                for (z_to, z) in depths.positions() {
                    let image = z.map(|z| &image[z * source.axes[0]..]);
                    heights.each_span(|h_to, rows| {
                        widths.each_span(|w_to, pixels| {
                            let plane = Plane {
                                rows,
                                row: source.axes[1],
                                to_row: to_axes[1],
                                pixels,
                                pixel: source.axes[2],
                                to_pixel: to_axes[2],
                                inner,
                                next,
                                unread,
                            };
                            let place = z_to * to_axes[0] + h_to * to_axes[1] + w_to * to_axes[2];
                            plane.copy(kernels, image, &mut scratch[to + place..]);
                        });
                    });
                }
            }
        }
    }
}

/// A pitch of whole cache lines without conflicts in a few sets of the cache.
fn spread(len: usize) -> usize {
    let lines = len.saturating_add(15) & !15;
    if lines.is_multiple_of(SET_CONFLICT) { lines.saturating_add(16) } else { lines }
}

/// One axis of a copy as it is filled: pieces of evenly spaced slots.
struct Pieces {
    /// Slot `i` of piece `p` holds what output `i` and tap `p` read.
    walk: Walk,
    /// Slots between the first of two pieces.
    apart: usize,
}

impl Pieces {
    /// Every slot and the image element that it holds, if any.
    fn positions(&self) -> impl Iterator<Item = (usize, Option<usize>)> {
        (0..self.walk.taps).flat_map(move |piece| {
            let slots = 0..self.walk.outputs;
            slots.map(move |i| (piece * self.apart + i, self.walk.element(i, piece)))
        })
    }

    /// Gives `take` where each span begins in the copy, and what it takes. A piece is one span where zeros stand in the
    /// padding; else the slots inside are one, and each slot that holds the copy of an element another.
    fn each_span(&self, mut take: impl FnMut(usize, Span)) {
        for piece in 0..self.walk.taps {
            let Range { start: before, end } = self.walk.inside(piece);
            let (len, count, step) = (self.walk.outputs, end - before, self.walk.stride);
            // Only a slot inside has a place in the image: past the last, a huge step overflows.
            let first = if count > 0 { self.walk.at(before, piece) as usize } else { 0 };
            let place = piece * self.apart;
            if self.walk.border == PaddingMode::Zeros {
                take(place, Span { len, before, count, first, step });
                continue;
            }
            if count > 0 {
                take(place + before, Span { len: count, before: 0, count, first, step });
            }
            for slot in (0..before).chain(end..len) {
                if let Some(first) = self.walk.element(slot, piece) {
                    take(place + slot, Span { len: 1, before: 0, count: 1, first, step: 1 });
                }
            }
        }
    }
}

/// One piece of an axis of a copy: slots in the padding, inside the image, and in the padding.
#[derive(Debug, Clone, Copy)]
struct Span {
    /// Slots in all, before the first inside, and inside.
    len: usize,
    before: usize,
    count: usize,
    /// The image element in the first slot inside, and how far apart those of two slots are.
    first: usize,
    step: usize,
}

/// A piece of a plane of the copy: some rows of some pixels, `row` and `pixel` elements apart in the
/// image, `to_row` and `to_pixel` in the copy, `inner` elements each.
struct Plane {
    rows: Span,
    row: usize,
    to_row: usize,
    pixels: Span,
    pixel: usize,
    to_pixel: usize,
    inner: usize,
    /// Elements to the same plane of the next channel, or 0.
    next: usize,
    /// Whether padding of the rows, and of the columns, may be anything.
    unread: [bool; 2],
}

impl Plane {
    /// Copies it from a plane of the image; all zeros without one.
    fn copy<T: Element>(&self, kernels: &Kernels<T>, image: Option<&[T]>, to: &mut [T]) {
        let &Self { rows, row, to_row, mut pixels, pixel, to_pixel, inner, next, unread } = self;
        let mut to = to;
        if unread[1] && image.is_some() {
            if pixels.count == 0 {
                return;
            }
            to = &mut to[pixels.before * to_pixel..];
            pixels = Span { len: pixels.count, before: 0, ..pixels };
        }
        let len = (pixels.len - 1) * to_pixel + inner;
        let mut zeros = |first: usize, end: usize| {
            if first < end {
                let (from_pitch, to_pitch, count) = (0, to_row, end - first);
                let rows = Rows {
                    count,
                    from_pitch,
                    to_pitch,
                    before: 0,
                    taken: 0,
                    len,
                    step: 1,
                    next: 0,
                };
                copy_rows(kernels, &[], &mut to[first * to_row..], rows);
            }
        };
        let Some(image) = image else { return zeros(0, rows.len) };
        let (before, count) = (rows.before, rows.count);
        if !unread[0] {
            zeros(0, before);
            zeros(before + count, rows.len);
        }
        if pixels.count == 0 {
            zeros(before, before + count);
        }
        if pixels.count == 0 || count == 0 {
            return;
        }
        let from = &image[rows.first * row + pixels.first * pixel..];
        let to = &mut to[before * to_row..];
        // With two slots inside, the step between them lies in the image.
        let (from_pitch, step) = (rows.step.saturating_mul(row), pixels.step.saturating_mul(pixel));
        let whole = Rows {
            count,
            from_pitch,
            to_pitch: to_row,
            before: pixels.before * to_pixel,
            taken: pixels.count * inner,
            len,
            step: 1,
            next,
        };
        if to_pixel == inner && step == inner {
            copy_rows(kernels, from, to, whole);
        } else if to_pixel == 1 && inner == 1 {
            copy_rows(kernels, from, to, Rows { step, ..whole });
        } else {
            for r in 0..count {
                let to = &mut to[r * to_row..][..len];
                let (before, inside) = (pixels.before * to_pixel, pixels.count * to_pixel);
                to[..before].fill(T::ZERO);
                to[(before + inside).min(len)..].fill(T::ZERO);
                let pixels = Rows {
                    count: pixels.count,
                    from_pitch: step,
                    to_pitch: to_pixel,
                    before: 0,
                    taken: inner,
                    len: inner,
                    step: 1,
                    next: 0,
                };
                copy_rows(kernels, &from[r * from_pitch..], &mut to[before..], pixels);
            }
        }
    }
}
