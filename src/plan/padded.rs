//! A layer in whose padding elements of the image stand, by an engine that has no place for them: one that reads the image
//! as it lies.
//!
//! The image is written down with its padding, and the engine computes a layer without any on that:
//!
//! ```text
//!     forward, backward_weight    image -> padded image -> engine
//!     backward_data               engine -> gradient of the padded image -> added to the elements that its places are copies of
//! ```
//!
//! Some images at a time are written down, or where one has many elements and its channels lie apart, some of its groups.

use crate::choose::schedule::Schedule;
use crate::element::Element;
use crate::engine::Engine;
use crate::engine::layer::{Layer, Order, Weights};
use crate::error::Error;
use crate::kernel::{Epilogue, Kernels, total};
use crate::pass::{Pass, Write};
use crate::scratch::{Need, allocate};
use crate::shape::{Axis, Layout, Params, Shape};
use aligned_vec::{AVec, ConstAlign};
use core::fmt;
use core::ops::Range;

/// Elements that are written down at once, unless one image or group has more: 2 MiB of f32.
const PIECE: usize = 512 << 10;

/// Bytes of an image or group that are written down at all.
const MOST: usize = 8 << 20;

/// Elements of the unit of work of a copy, or a row that has more.
const UNIT: usize = 16 << 10;

/// The engine for a layer without padding, and what of the image it gets at once.
#[derive(Debug, Clone)]
pub(super) struct Padded {
    cut: Cut,
    /// Images or groups of a piece, but for the last, which may have fewer.
    each: usize,
    /// Layers of a whole piece, and of what is left.
    parts: [Option<(Shape, Engine)>; 2],
    /// Elements of a piece with its padding, in whole lines of the cache.
    len: usize,
}

/// What pieces are cut from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// The batch.
    Images,
    /// The groups of each image, channels first.
    Groups,
}

/// What is computed at once.
struct Piece {
    images: Range<usize>,
    groups: Range<usize>,
}

impl Piece {
    /// The piece's part of a tensor with so many elements for each group of an image; none of a piece has a gap.
    fn of(&self, shape: &Shape, len: usize) -> Range<usize> {
        let start = (self.images.start * shape.groups() + self.groups.start) * len;
        start..start + self.images.len() * self.groups.len() * len
    }

    /// The same of weights.
    fn of_weights<'a, T>(&self, shape: &Shape, weights: Weights<'a, T>) -> Weights<'a, T> {
        let part = |all: &'a [T]| {
            let len = all.len() / shape.groups();
            &all[self.groups.start * len..self.groups.end * len]
        };
        match weights {
            Weights::Raw(all) => Weights::Raw(part(all)),
            Weights::Packed(all) => Weights::Packed(part(all)),
        }
    }
}

impl Padded {
    /// A pass by this schedule; none if it isn't possible, or a piece would have too many elements.
    pub(super) fn new<T: Element>(
        shape: &Shape,
        pass: Pass,
        schedule: Schedule,
        kernels: &Kernels<T>,
    ) -> Result<Option<Self>, Error> {
        let sizes = shape.axes3().map(|axis| padded(&axis));
        let group = sizes.into_iter().fold(shape.group_in(), usize::saturating_mul);
        let image = group.saturating_mul(shape.groups());
        let cut = match shape.layout() {
            Layout::ChannelsFirst if image > PIECE => Cut::Groups,
            Layout::ChannelsFirst | Layout::ChannelsLast => Cut::Images,
        };
        let (all, one) = match cut {
            Cut::Images => (shape.batch(), image),
            Cut::Groups => (shape.groups(), group),
        };
        if one.saturating_mul(size_of::<T>()) > MOST {
            return Ok(None);
        }
        let most = (PIECE / one.max(1)).clamp(1, all);
        let each = match cut {
            // No more for a smaller batch than for a larger one.
            Cut::Images => most,
            // As even as can be.
            Cut::Groups => all.div_ceil(all.div_ceil(most)),
        };
        let layer = |count| Self::layer(shape, cut, count);
        let mut parts = [None, None];
        for (part, count) in parts.iter_mut().zip([each, all % each]).filter(|(_, n)| *n > 0) {
            let Ok(layer) = layer(count) else { return Ok(None) };
            let engine = Engine::new(&layer, kernels, pass, schedule)?;
            let Some(engine) = engine else { return Ok(None) };
            *part = Some((layer, engine));
        }
        Ok(Some(Self { cut, each, parts, len: (each * one).next_multiple_of(16) }))
    }

    /// The layer without padding of so many images or groups.
    fn layer(shape: &Shape, cut: Cut, count: usize) -> Result<Shape, Error> {
        let mut params = *shape.with_zeros().params();
        for (a, axis) in shape.axes().iter().enumerate() {
            params.input[a] = padded(axis);
            params.pad_begin[a] = 0;
            params.pad_end[a] = 0;
        }
        let params = match cut {
            Cut::Images => Params { batch: count, ..params },
            Cut::Groups => Params {
                batch: 1,
                groups: count,
                in_channels: count * shape.group_in(),
                out_channels: count * shape.group_out(),
                ..params
            },
        };
        Ok(Shape::new(params)?.weighed_as(shape))
    }

    /// All pieces, each with its layer.
    fn pieces<'a>(
        &'a self,
        shape: &'a Shape,
    ) -> impl Iterator<Item = (Piece, &'a (Shape, Engine))> {
        let (outer, all) = match self.cut {
            Cut::Images => (1, shape.batch()),
            Cut::Groups => (shape.batch(), shape.groups()),
        };
        let cuts = move |n| (0..all).step_by(self.each).map(move |first| (n, first));
        (0..outer).flat_map(cuts).filter_map(move |(n, first)| {
            let some = first..all.min(first + self.each);
            let part = self.parts[usize::from(some.len() < self.each)].as_ref()?;
            let piece = match self.cut {
                Cut::Images => Piece { images: some, groups: 0..shape.groups() },
                Cut::Groups => Piece { images: n..n + 1, groups: some },
            };
            Some((piece, part))
        })
    }

    /// What the pass wants: the most that any piece does, and room for one.
    pub(super) fn need<T: Element>(&self, kernels: &Kernels<T>) -> Need {
        let needs = self.parts.iter().flatten().map(|(layer, engine)| engine.need(layer, kernels));
        let need = needs.fold(Need::of_units(1), |need, of| Need {
            units: need.units.max(of.units),
            shared: need.shared.max(of.shared),
            piece: need.piece.max(of.piece),
        });
        Need { shared: total([need.shared, self.len]), ..need }
    }

    /// The order in which the engine reads its weights: the same for all pieces.
    pub(super) fn order(&self, schedule: &Schedule) -> Order {
        let part = self.parts.iter().flatten().next();
        part.map_or(Order::AsGiven, |(layer, engine)| engine.order(schedule, layer))
    }

    /// The weights as the pieces read them, one group after the other.
    pub(super) fn pack<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        weight: &[T],
    ) -> Result<AVec<T, ConstAlign<64>>, Error> {
        let shape = layer.shape;
        let mut all = allocate(0)?;
        // The first image's pieces have every group.
        for (piece, (of_piece, engine)) in
            self.pieces(shape).take_while(|(p, _)| p.images.start == 0)
        {
            let part = piece.of_weights(shape, Weights::Raw(weight)).given();
            let packed = engine.pack(&Layer { shape: of_piece, ..*layer }, part)?;
            if self.cut == Cut::Images {
                return Ok(packed);
            }
            if all.is_empty() {
                all = allocate(packed.len() / piece.groups.len() * shape.groups())?;
            }
            let len = all.len() / shape.groups();
            all[piece.groups.start * len..piece.groups.end * len].copy_from_slice(&packed);
        }
        Ok(all)
    }

    /// Runs forward, from the input, or backward_data, from grad_output.
    pub(super) fn over_taps<T: Element>(
        &self,
        (layer, pass): (&Layer<'_, T>, Pass),
        source: &[T],
        weights: Weights<'_, T>,
        epilogue: Epilogue<'_, T>,
        destination: &mut [T],
        scratch: &mut [T],
    ) {
        let shape = layer.shape;
        let (padded, scratch) = scratch.split_at_mut(self.len);
        let inputs = shape.group_in() * shape.input_pixels();
        let outputs = shape.group_out() * shape.output_pixels();
        for (piece, (of_piece, engine)) in self.pieces(shape) {
            let inner = Layer { shape: of_piece, ..*layer };
            let padded = &mut padded[..of_piece.batch() * of_piece.image_len()];
            let weights = piece.of_weights(shape, weights);
            let (inputs, outputs) = (piece.of(shape, inputs), piece.of(shape, outputs));
            if pass == Pass::Forward {
                write(layer, &source[inputs], padded);
                let channels = |group: usize| group * shape.group_out();
                let channels = channels(piece.groups.start)..channels(piece.groups.end);
                let epilogue = epilogue.of_channels(channels);
                let to = &mut destination[outputs];
                engine.over_taps(&inner, padded, weights, epilogue, to, scratch);
            } else {
                let none = Epilogue::new(false);
                engine.over_taps(&inner, &source[outputs], weights, none, padded, scratch);
                add(layer, padded, &mut destination[inputs], epilogue.write());
            }
        }
    }

    /// Runs backward_weight, from the input and grad_output: piece after piece is added to its groups' weights.
    pub(super) fn over_pixels<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        [input, grad_output]: [&[T]; 2],
        grad_weight: &mut [T],
        write_first: Write,
        scratch: &mut [T],
    ) {
        let shape = layer.shape;
        let (padded, scratch) = scratch.split_at_mut(self.len);
        let inputs = shape.group_in() * shape.input_pixels();
        let outputs = shape.group_out() * shape.output_pixels();
        let weights = grad_weight.len() / shape.groups();
        for (piece, (of_piece, engine)) in self.pieces(shape) {
            let inner = Layer { shape: of_piece, ..*layer };
            let padded = &mut padded[..of_piece.batch() * of_piece.image_len()];
            write(layer, &input[piece.of(shape, inputs)], padded);
            let sources = [&*padded, &grad_output[piece.of(shape, outputs)]];
            let to = &mut grad_weight[piece.groups.start * weights..piece.groups.end * weights];
            let write = if piece.images.start == 0 { write_first } else { Write::Accumulate };
            engine.over_pixels(&inner, sources, to, write, scratch);
        }
    }

    /// In words: how the engine computes a piece, and how many there are.
    pub(super) fn explain<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        let Some((_, engine)) = self.parts.iter().flatten().next() else { return Ok(()) };
        engine.explain(layer.shape, f)?;
        let mode = layer.shape.params().padding_mode;
        let what = match self.cut {
            Cut::Images => "images",
            Cut::Groups => "groups",
        };
        write!(
            f,
            "; the image is written down with its {mode} padding, {} {what} at a time",
            self.each
        )
    }
}

/// Elements of an axis with its padding, as far as they can be counted.
fn padded(axis: &Axis) -> usize {
    total([axis.pad_begin, axis.input, axis.pad_end])
}

/// Elements of a pixel that lie side by side.
fn beside(shape: &Shape) -> usize {
    match shape.layout() {
        Layout::ChannelsFirst => 1,
        Layout::ChannelsLast => shape.in_channels(),
    }
}

/// Writes a piece of the image with its padding.
fn write<T: Element>(layer: &Layer<'_, T>, image: &[T], padded_image: &mut [T]) {
    let (axes, beside) = (layer.shape.axes3(), beside(layer.shape));
    let [depth, height, width] = axes.map(|axis| padded(&axis));
    let [planes, rows, columns] = axes.map(|axis| axis.input);
    let (row_len, len) = (width * beside, columns * beside);
    let begin = axes[2].pad_begin * beside;
    let border = Border::new(&axes[2]);
    let at_once = (UNIT / row_len).max(1);
    let units = padded_image.chunks_mut(at_once * row_len).enumerate();
    layer.parallelism.for_all(units.len(), units, |(unit, some)| {
        let first = unit * at_once;
        let mut at = [first / height / depth, first / height % depth, first % height];
        for to in some.chunks_mut(row_len) {
            let [plane, z, y] = at;
            if let (Some(z), Some(y)) = (axes[0].copied(z), axes[1].copied(y)) {
                let from = ((plane * planes + z) * rows + y) * len;
                let from = &image[from..from + len];
                to[begin..begin + len].copy_from_slice(from);
                border.for_each(|x, at| {
                    if beside == 1 {
                        to[x] = from[at];
                    } else {
                        to[x * beside..][..beside].copy_from_slice(&from[at * beside..][..beside]);
                    }
                });
            } else {
                to.fill(T::ZERO);
            }
            at[2] += 1;
            if at[2] == height {
                at = if z + 1 == depth { [plane + 1, 0, 0] } else { [plane, z + 1, 0] };
            }
        }
    });
}

/// Adds the gradient of a piece with its padding to the gradient of the image, whose channels lie apart.
fn add<T: Element>(layer: &Layer<'_, T>, from: &[T], to: &mut [T], write: Write) {
    let axes = layer.shape.axes3();
    let [depth, height, width] = axes.map(|axis| padded(&axis));
    let [planes, rows, columns] = axes.map(|axis| axis.input);
    let (plane, padded_plane) = (planes * rows * columns, depth * height * width);
    let border = Border::new(&axes[2]);
    let at_once = (UNIT / padded_plane).max(1);
    let units = to.chunks_mut(at_once * plane).zip(from.chunks(at_once * padded_plane));
    layer.parallelism.for_all(units.len(), units, |(to, from)| {
        if write == Write::Overwrite {
            to.fill(T::ZERO);
        }
        for (to, from) in to.chunks_mut(plane).zip(from.chunks(padded_plane)) {
            for (z, from) in from.chunks(height * width).enumerate() {
                let Some(z) = axes[0].copied(z) else { continue };
                for (y, from) in from.chunks(width).enumerate() {
                    let Some(y) = axes[1].copied(y) else { continue };
                    let to = &mut to[(z * rows + y) * columns..][..columns];
                    let inside = &from[axes[2].pad_begin..][..columns];
                    to.iter_mut().zip(inside).for_each(|(to, &from)| *to += from);
                    border.for_each(|x, at| to[at] += from[x]);
                }
            }
        }
    });
}

/// The places of an axis' padding, each with the element that stands there.
struct Border {
    axis: Axis,
    /// Those of a narrow padding, which is nearly every one: looked up once for all rows.
    narrow: [[usize; 2]; NARROW],
    len: usize,
}

/// Places of a narrow padding.
const NARROW: usize = 16;

impl Border {
    fn new(axis: &Axis) -> Self {
        let mut narrow = [[0; 2]; NARROW];
        let mut len = axis.pad_begin + axis.pad_end;
        if len <= NARROW {
            len = 0;
            for place in places(axis) {
                narrow[len] = place;
                len += 1;
            }
        }
        Self { axis: *axis, narrow, len }
    }

    /// Calls `each` with every place and its element.
    fn for_each(&self, mut each: impl FnMut(usize, usize)) {
        match self.narrow.get(..self.len) {
            Some(narrow) => narrow.iter().for_each(|&[place, element]| each(place, element)),
            None => places(&self.axis).for_each(|[place, element]| each(place, element)),
        }
    }
}

/// All places of an axis' padding: an image with elements has one for each of them.
fn places(axis: &Axis) -> impl Iterator<Item = [usize; 2]> {
    let end = axis.pad_begin + axis.input;
    let places = (0..axis.pad_begin).chain(end..end + axis.pad_end);
    places.filter_map(|place| Some([place, axis.copied(place)?]))
}
