//! The gradient of an image in whose padding elements of its own stand: reflected, replicated or circular.
//!
//! The padded image is cut into windows: the image itself, and two windows of padding for each axis. The gradient of a
//! window is that of a layer whose image is the window and whose padding is all the rest, with the same outputs:
//!
//! ```text
//!     +-----------------+     before and after the rows: whole rows of the padded image
//!     +---+---------+---+
//!     |   |  image  |   |     before and after the columns: of the image's rows
//!     +---+---------+---+
//!     +-----------------+
//! ```
//!
//! The image's is computed as if zeros stood in the padding, straight into the gradient, by any engine. Each window of
//! padding is computed into scratch, of some images at a time, and then added to the elements whose copies stand in it.

use crate::axis::windows;
use crate::choose::candidates::of_window;
use crate::choose::schedule::Schedule;
use crate::element::Element;
use crate::engine::Engine;
use crate::engine::layer::{Layer, Order, Weights};
use crate::error::Error;
use crate::kernel::{Epilogue, Kernels, total};
use crate::pass::Pass;
use crate::scratch::{Need, aligned, copied, room};
use crate::shape::{Layout, MAX_AXES, Params, Shape, flat, positions};
use aligned_vec::{AVec, ConstAlign};
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

/// Elements of a window that are computed at once, unless one image has more: 2 MiB of f32.
const BLOCK: usize = 512 << 10;

/// The gradient of the image with zeros in its padding, and those of the windows of padding.
#[derive(Debug, Clone)]
pub(super) struct Folded {
    inside: Engine,
    windows: Vec<Window>,
    /// Elements of scratch that any window takes, in whole cache lines.
    len: usize,
    /// Elements of weights that are packed once for the image and all windows, with the slack that lets them begin on a line.
    packed: usize,
}

/// A window of padding.
#[derive(Debug, Clone)]
struct Window {
    /// Where it is in the padded image.
    axes: [Range<usize>; MAX_AXES],
    /// Images that are computed at once, but for the last, which may be fewer.
    images: usize,
    /// The layers of so many images, and of those that are left.
    parts: [Option<(Shape, Engine)>; 2],
}

impl Folded {
    /// The gradient of a layer whose padding isn't zeros, from that of the same layer with zeros. None if a window doesn't
    /// fit the address space: a huge stride reads next to nothing of it.
    pub(super) fn new<T: Element>(
        inside: Engine,
        schedule: Schedule,
        shape: &Shape,
        kernels: &Kernels<T>,
    ) -> Result<Option<Self>, Error> {
        let cuts = shape.axes3().map(|axis| windows(&axis));
        let padded = cuts.iter().map(|cut| cut[2].end).chain([shape.in_channels()]);
        let bytes = padded.fold(size_of::<T>(), usize::saturating_mul);
        if bytes > isize::MAX as usize {
            return Ok(None);
        }
        let mut windows: Vec<Window> = room(2 * MAX_AXES)?;
        for axis in 0..MAX_AXES {
            for side in [0, 2] {
                // The axes before this one are inside; those after it are whole.
                let axes = [0, 1, 2].map(|a| match a {
                    _ if a < axis => cuts[a][1].clone(),
                    _ if a == axis => cuts[a][side].clone(),
                    _ => 0..cuts[a][2].end,
                });
                if !axes.iter().any(Range::is_empty) {
                    windows.push(Window::new(axes, &schedule, shape, kernels)?);
                }
            }
        }
        let len = |window: &Window| window.images * window.image_len(shape);
        let len = windows.iter().map(len).max().unwrap_or(0).next_multiple_of(16);
        let packed = inside.product().map_or(0, |product| product.packed_len() + 16);
        Ok(Some(Self { inside, windows, len, packed: packed.next_multiple_of(16) }))
    }

    /// What the pass wants: the most that any window does.
    pub(super) fn need<T: Element>(&self, shape: &Shape, kernels: &Kernels<T>) -> Need {
        let mut need = self.inside.need(&shape.with_zeros(), kernels);
        for (shape, engine) in self.windows.iter().flat_map(|w| w.parts.iter().flatten()) {
            let of_window = engine.need(shape, kernels);
            need.units = need.units.max(of_window.units);
            need.shared = need.shared.max(of_window.shared);
            need.piece = need.piece.max(of_window.piece);
        }
        Need { shared: total([need.shared, self.len, self.packed]), ..need }
    }

    /// The order in which the pass reads its weights: image and windows share the panels of a product, and nothing else.
    pub(super) fn order(&self, schedule: &Schedule, shape: &Shape) -> Order {
        match self.inside.product() {
            Some(_) => self.inside.order(schedule, shape),
            None => Order::AsGiven,
        }
    }

    /// The weights as the pass reads them.
    pub(super) fn pack<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        weight: &[T],
    ) -> Result<AVec<T, ConstAlign<64>>, Error> {
        match self.inside.product() {
            Some(_) => self.inside.pack(layer, weight),
            None => copied(weight),
        }
    }

    /// In words: how the image's gradient is computed, and how many windows there are.
    pub(super) fn explain<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        f: &mut fmt::Formatter<'_>,
    ) -> fmt::Result {
        self.inside.explain(layer.shape, f)?;
        let mode = layer.shape.params().padding_mode;
        write!(f, "; {} windows of its {mode} padding, added to the image", self.windows.len())
    }

    /// Runs the pass.
    pub(super) fn run<T: Element>(
        &self,
        layer: &Layer<'_, T>,
        grad_output: &[T],
        weights: Weights<'_, T>,
        epilogue: Epilogue<'_, T>,
        grad_input: &mut [T],
        scratch: &mut [T],
    ) {
        let shape = layer.shape;
        let zeros = shape.with_zeros();
        let layer_of = |shape| Layer { shape, ..*layer };
        let inside = layer_of(&zeros);
        let (window, scratch) = scratch.split_at_mut(self.len);
        let (packed, scratch) = scratch.split_at_mut(self.packed);
        let weights = match (weights, self.inside.product()) {
            (Weights::Raw(weight), Some(product)) => {
                let packed = &mut aligned(packed)[..product.packed_len()];
                product.pack(&inside, weight, packed);
                Weights::Packed(&*packed)
            }
            // Packed for an engine that doesn't share its order: they are as they were given.
            (Weights::Packed(weight), None) => Weights::Raw(weight),
            (weights, _) => weights,
        };
        self.inside.over_taps(&inside, grad_output, weights, epilogue, grad_input, scratch);
        let of_output = grad_output.len() / shape.batch();
        for of in &self.windows {
            let len = of.image_len(shape);
            for first in (0..shape.batch()).step_by(of.images) {
                let images = first..shape.batch().min(first + of.images);
                let part = &of.parts[usize::from(images.len() < of.images)];
                let Some((part, engine)) = part else { continue };
                let window = &mut window[..images.len() * len];
                let from = &grad_output[images.start * of_output..images.end * of_output];
                let epilogue = Epilogue::new(false);
                engine.over_taps(&layer_of(part), from, weights, epilogue, window, scratch);
                let to = images.start * shape.image_len()..images.end * shape.image_len();
                let to = grad_input[to].chunks_mut(shape.image_len());
                let units = to.zip(window.chunks(len));
                layer.parallelism.for_all(images.len(), units, |(to, from)| {
                    of.fold(shape, from, to);
                });
            }
        }
    }
}

impl Window {
    fn new<T: Element>(
        axes: [Range<usize>; MAX_AXES],
        inside: &Schedule,
        shape: &Shape,
        kernels: &Kernels<T>,
    ) -> Result<Self, Error> {
        let of_images = |batch| -> Result<(Shape, Engine), Error> {
            let mut params = Params { batch, ..*shape.with_zeros().params() };
            let first = MAX_AXES - params.axes;
            for (a, window) in axes[first..].iter().enumerate() {
                let padded = windows(&shape.axes()[a])[2].end;
                params.input[a] = window.len();
                params.pad_begin[a] = window.start;
                params.pad_end[a] = padded - window.end;
            }
            let layer = Shape::new(params)?.weighed_as(shape);
            for schedule in of_window(&layer, inside, kernels) {
                let made = Engine::new(&layer, kernels, Pass::BackwardData, schedule)?;
                if let Some(made) = made {
                    return Ok((layer, made));
                }
            }
            Err(Error::Unsupported { what: "this padding with this schedule" })
        };
        let batch = shape.batch();
        let window = Self { axes: axes.clone(), images: batch, parts: [None, None] };
        // No more for a smaller batch than for a larger one.
        let images = (BLOCK / window.image_len(shape)).clamp(1, batch);
        let rest = batch % images;
        let rest = if rest > 0 { Some(of_images(rest)?) } else { None };
        let parts = [Some(of_images(images)?), rest];
        Ok(Self { images, parts, ..window })
    }

    /// Elements of one image's window.
    fn image_len(&self, shape: &Shape) -> usize {
        shape.in_channels() * self.axes.iter().map(Range::len).product::<usize>()
    }

    /// Adds one image's window to the elements of the image whose copies stand there.
    fn fold<T: Element>(&self, shape: &Shape, from: &[T], to: &mut [T]) {
        let axes = shape.axes3();
        let inputs = axes.map(|axis| axis.input);
        let sizes = self.axes.each_ref().map(Range::len);
        let [planes, rows, columns] = sizes;
        let channels = shape.in_channels();
        let element = |a: usize, at: usize| axes[a].copied(self.axes[a].start + at);
        match shape.layout() {
            Layout::ChannelsFirst => {
                for (channel, z, y) in (0..channels)
                    .flat_map(|c| (0..planes).flat_map(move |z| (0..rows).map(move |y| (c, z, y))))
                {
                    let (Some(to_z), Some(to_y)) = (element(0, z), element(1, y)) else { continue };
                    let to_row = channel * shape.input_pixels() + flat([to_z, to_y, 0], inputs);
                    let to = &mut to[to_row..][..inputs[2]];
                    let row = (channel * planes + z) * rows + y;
                    for (x, &from) in from[row * columns..][..columns].iter().enumerate() {
                        if let Some(x) = element(2, x) {
                            to[x] += from;
                        }
                    }
                }
            }
            Layout::ChannelsLast => {
                for (at, from) in positions(sizes).zip(from.chunks(channels)) {
                    let at = [0, 1, 2].map(|a| element(a, at[a]));
                    let [Some(z), Some(y), Some(x)] = at else { continue };
                    let to = &mut to[flat([z, y, x], inputs) * channels..][..channels];
                    to.iter_mut().zip(from).for_each(|(to, &from)| *to += from);
                }
            }
        }
    }
}
