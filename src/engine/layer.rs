//! What the engines are given: a layer with its kernels, and weights in some order.

use crate::choose::schedule::{Corner, Engine};
use crate::kernel::Kernels;
use crate::parallel::Parallelism;
use crate::shape::Shape;

/// A layer as a call runs it.
pub(crate) struct Layer<'a, T: 'static> {
    pub(crate) shape: &'a Shape,
    pub(crate) kernels: &'static Kernels<T>,
    pub(crate) parallelism: Parallelism<'a>,
}

/// The weights of a pass that sums over taps.
#[derive(Clone, Copy)]
pub(crate) enum Weights<'a, T> {
    /// As the caller's tensor.
    Raw(&'a [T]),
    /// As the pass packs them.
    Packed(&'a [T]),
}

impl<'a, T> Weights<'a, T> {
    /// The weights of an engine that reads them as they lie: packed ones are a copy of the caller's.
    pub(crate) fn given(self) -> &'a [T] {
        let (Weights::Raw(weight) | Weights::Packed(weight)) = self;
        weight
    }
}

/// The order in which an engine reads its weights: packed weights serve every pass with the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The caller's order.
    AsGiven,
    /// Panels or rows of an engine's, so many channels wide.
    Packed { engine: Engine, lanes: Corner, width: usize },
    /// In points: a tile's outputs along an axis, lanes of a panel and of a block, terms of a block.
    Points([usize; 4]),
    /// The same as `Packed`, phase by phase: stride, dilation, padding and the phases that there are, for each axis.
    Phases { engine: Engine, width: usize, axes: [[usize; 4]; 3] },
}

impl Order {
    /// Packed phase by phase, by the sizes that phases depend on.
    pub(crate) fn of_phases(engine: Engine, width: usize, shape: &Shape) -> Self {
        let axes = shape.axes3().map(|axis| {
            let present = axis.input.min(axis.stride);
            [axis.stride, axis.dilation, axis.pad_begin, present]
        });
        Order::Phases { engine, width, axes }
    }
}
