//! The order of packed weights: what decides whether a plan can read them.

use crate::engine::layer::Order;
use crate::kernel::Isa;
use crate::pass::Pass;
use crate::shape::{Layout, Shape};

/// The order in which a pass reads its weights. Batch, image, stride and padding have no part in it, but where an engine
/// packs each phase of a stride for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) pass: Pass,
    isa: Isa,
    layout: Layout,
    groups: usize,
    /// Output channels, input channels of a group, kernel.
    weight: [usize; 5],
    order: Order,
}

impl Format {
    pub(crate) fn new(shape: &Shape, isa: Isa, pass: Pass, order: Order) -> Self {
        let [d, h, w] = shape.axes3().map(|axis| axis.kernel);
        let weight = [shape.out_channels(), shape.group_in(), d, h, w];
        Self { pass, isa, layout: shape.layout(), groups: shape.groups(), weight, order }
    }

    /// What differs, if anything does.
    pub(crate) fn differs(&self, wanted: &Self) -> Option<&'static str> {
        let of_layer = |format: &Self| (format.layout, format.groups, format.weight);
        if self.pass != wanted.pass {
            Some("pass")
        } else if of_layer(self) != of_layer(wanted) {
            Some("weight's shape or layout")
        } else if self.isa != wanted.isa {
            Some("ISA")
        } else if self.order != wanted.order {
            Some("schedule")
        } else {
            None
        }
    }
}
