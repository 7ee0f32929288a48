//! Weights packed once for many calls: what inference and frozen layers want.

use crate::choose::schedule::Schedule;
use crate::element::Element;
use crate::error::Error;
use crate::kernel::Isa;
use crate::options::Algorithm;
use crate::pass::Pass;
use crate::plan::Plan;
use crate::shape::Shape;
use aligned_vec::{AVec, ConstAlign};

/// A layer's weights in the order in which one pass reads them, made by [`Plan::pack_weight`].
///
/// It knows what it was packed for; using it for another layer, pass or ISA is an error.
#[derive(Debug, Clone)]
pub struct PackedWeight<T: Copy> {
    shape: Shape,
    pass: Pass,
    isa: Isa,
    algorithm: Algorithm,
    schedule: Schedule,
    data: AVec<T, ConstAlign<64>>,
}

impl<T: Element> PackedWeight<T> {
    pub(crate) fn new(plan: &Plan<T>, pass: Pass, data: AVec<T, ConstAlign<64>>) -> Self {
        let (shape, isa, algorithm) = (*plan.shape(), plan.isa(), plan.algorithm());
        let schedule = plan.schedule(pass);
        Self { shape, pass, isa, algorithm, schedule, data }
    }

    /// The pass that the weights were packed for.
    pub fn pass(&self) -> Pass {
        self.pass
    }

    pub(crate) fn data(&self) -> &[T] {
        &self.data
    }

    /// `Ok` if these are the weights of this pass of this plan.
    pub(crate) fn check(&self, plan: &Plan<T>, pass: Pass) -> Result<(), Error> {
        let differs = if self.pass != pass {
            "pass"
        } else if self.shape != *plan.shape() {
            "shape"
        } else if self.isa != plan.isa() {
            "ISA"
        } else if self.algorithm != plan.algorithm() {
            "algorithm"
        } else if self.schedule != plan.schedule(pass) {
            "schedule"
        } else {
            return Ok(());
        };
        Err(Error::PackedFor { differs, packed: self.pass, used: pass })
    }
}
