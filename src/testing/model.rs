//! The cost model, for those who tune a machine: what a schedule is expected to take, and a machine's numbers.

use crate::choose::candidates::Question;
use crate::choose::cost::Costs;
use crate::choose::schedule::Schedule;
use crate::error::Error;
use crate::kernel::{Isa, Kernels, kernels};
use crate::options::Accuracy;
use crate::pass::Pass;
use crate::shape::Shape;

pub use crate::choose::machine::Machine;

/// A pass of a layer of `f32`, as its schedules are weighed.
pub struct Model {
    question: Question<'static, f32>,
}

impl Model {
    /// The pass, on the kernels of an ISA that this machine has.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if there is no room for its tables.
    pub fn new(shape: &Shape, pass: Pass, isa: Isa) -> Result<Self, Error> {
        let kernels: &'static Kernels<f32> = kernels(isa);
        Ok(Self { question: Question::new(shape, pass, Accuracy::Element, kernels)? })
    }

    /// What a schedule takes, in cycles of one thread.
    pub fn cycles(&self, schedule: &Schedule, machine: &Machine) -> f64 {
        Costs::new(&self.question, machine).cycles(schedule)
    }

    /// The row of this processor for an ISA.
    pub fn machine(isa: Isa) -> Machine {
        *Machine::of(isa)
    }
}
