//! A layer with its tensors: what runs a pass, and knows the answer.

use super::compare::Expected;
use super::numbers::{Fill, nan, numbers};
use crate::element::Element;
use crate::error::Error;
use crate::kernel::Isa;
use crate::options::{Algorithm, Options};
use crate::parallel::{DEFAULT, Executor};
use crate::pass::{Pass, Write};
use crate::plan::Plan;
use crate::reference;
use crate::shape::{Params, Shape};

/// The passes that take scratch.
pub const PASSES: [Pass; 3] = [Pass::Forward, Pass::BackwardData, Pass::BackwardWeight];

/// Both ways to write.
pub const WRITES: [Write; 2] = [Write::Overwrite, Write::Accumulate];

/// One thing to compute: a pass and how it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// A pass that takes scratch. For [`Pass::Forward`], [`Write::Accumulate`] means with a bias.
    Pass(Pass, Write),
    /// The gradient of the bias.
    Bias(Write),
}

impl Call {
    /// The same, written in this way.
    pub(super) fn written(self, write: Write) -> Self {
        match self {
            Call::Pass(pass, _) => Call::Pass(pass, write),
            Call::Bias(_) => Call::Bias(write),
        }
    }
}

/// Every pass that takes scratch, in both ways to write.
pub fn calls() -> impl Iterator<Item = (Pass, Write)> {
    PASSES.into_iter().flat_map(|pass| WRITES.map(|write| (pass, write)))
}

/// The ISAs of this machine whose kernels this crate has.
pub fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.iter().copied().filter(|isa| isa.is_available())
}

/// Every way in which this crate computes a layer on this machine: the textbook once, the implicit
/// algorithm on every ISA. What [`Algorithm::Auto`] chooses is one of them.
///
/// # Panics
/// If the layer can't be planned.
pub fn plans<T: Element>(shape: Shape) -> Vec<Plan<T>> {
    let failed = |error: Error| -> Plan<T> { panic!("{shape:?}: {error}") };
    let textbook = Plan::new(shape, Algorithm::Explicit.into());
    let on = |isa| Plan::new(shape, Options::from(Algorithm::Implicit).isa(isa));
    [textbook].into_iter().chain(isas().map(on)).map(|plan| plan.unwrap_or_else(failed)).collect()
}

/// A layer's tensors, and what the destinations held before.
#[derive(Debug, Clone)]
pub struct Layer<T> {
    /// The geometry.
    pub shape: Shape,
    /// `shape.input_len()` elements.
    pub input: Vec<T>,
    /// `shape.weight_len()` elements.
    pub weight: Vec<T>,
    /// One element for each output channel.
    pub bias: Vec<T>,
    /// `shape.output_len()` elements.
    pub grad_output: Vec<T>,
    /// What `grad_input`, `grad_weight` and `grad_bias` hold before an accumulating pass: the
    /// first elements of this.
    pub old: Vec<T>,
}

impl<T: Element> Layer<T> {
    /// A layer filled with numbers, the same in every run.
    ///
    /// # Panics
    /// If the parameters are those of no layer.
    pub fn new(params: Params, fill: Fill) -> Self {
        let shape = Shape::new(params).unwrap_or_else(|error| panic!("{params:?}: {error}"));
        let old = shape.input_len().max(shape.weight_len()).max(shape.out_channels());
        Self {
            shape,
            input: numbers(fill, 0, shape.input_len()),
            weight: numbers(fill, 1, shape.weight_len()),
            bias: numbers(fill, 2, shape.out_channels()),
            grad_output: numbers(fill, 3, shape.output_len()),
            old: numbers(fill, 4, old),
        }
    }

    /// Elements of a pass's destination.
    pub fn destination_len(&self, pass: Pass) -> usize {
        match pass {
            Pass::Forward => self.shape.output_len(),
            Pass::BackwardData => self.shape.input_len(),
            Pass::BackwardWeight => self.shape.weight_len(),
        }
    }

    /// What a destination holds before the pass: NaN where it must not be read.
    pub fn before(&self, pass: Pass, write: Write) -> Vec<T> {
        match (pass, write) {
            (Pass::Forward, _) | (_, Write::Overwrite) => vec![nan(); self.destination_len(pass)],
            (_, Write::Accumulate) => self.old[..self.destination_len(pass)].to_vec(),
        }
    }

    /// Runs a pass of a plan of this crate; for forward, `Accumulate` means with a bias.
    ///
    /// # Panics
    /// If the plan is another layer's.
    pub fn run(&self, plan: &Plan<T>, pass: Pass, write: Write) -> Vec<T> {
        let mut destination = self.before(pass, write);
        self.run_into(plan, pass, write, None, &mut destination).expect("the layer's own lengths");
        destination
    }

    /// [`run`](Self::run) with NaN-filled scratch of `len` elements.
    ///
    /// # Errors
    /// What the plan says.
    pub fn run_with_scratch(
        &self,
        plan: &Plan<T>,
        pass: Pass,
        write: Write,
        len: usize,
    ) -> Result<Vec<T>, Error> {
        let mut destination = self.before(pass, write);
        let mut scratch = vec![nan(); len];
        self.run_into(plan, pass, write, Some(&mut scratch), &mut destination)?;
        Ok(destination)
    }

    /// Runs a pass with the caller's scratch, or the plan's own, into the caller's destination.
    ///
    /// # Errors
    /// What the plan says.
    pub fn run_into(
        &self,
        plan: &Plan<T>,
        pass: Pass,
        write: Write,
        scratch: Option<&mut [T]>,
        to: &mut [T],
    ) -> Result<(), Error> {
        self.run_on(plan, pass, write, &DEFAULT, scratch, to)
    }

    /// [`run_into`](Self::run_into) on the caller's executor.
    ///
    /// # Errors
    /// What the plan says.
    pub fn run_on(
        &self,
        plan: &Plan<T>,
        pass: Pass,
        write: Write,
        executor: &dyn Executor,
        scratch: Option<&mut [T]>,
        to: &mut [T],
    ) -> Result<(), Error> {
        let Self { input, weight, bias, grad_output: dg, .. } = self;
        match pass {
            Pass::Forward => {
                let bias = (write == Write::Accumulate).then_some(bias.as_slice());
                let call = plan.forward(input, weight).maybe_bias(bias).executor(executor);
                call.maybe_scratch(scratch).run(to)
            }
            Pass::BackwardData => {
                let call = plan.backward_data(weight, dg).write(write).executor(executor);
                call.maybe_scratch(scratch).run(to)
            }
            Pass::BackwardWeight => {
                let call = plan.backward_weight(input, dg).write(write).executor(executor);
                call.maybe_scratch(scratch).run(to)
            }
        }
    }

    /// Runs backward_bias of a plan of this crate.
    ///
    /// # Panics
    /// If the plan is another layer's.
    pub fn run_bias(&self, plan: &Plan<T>, write: Write) -> Vec<T> {
        let mut sums = match write {
            Write::Overwrite => vec![nan(); self.shape.out_channels()],
            Write::Accumulate => self.old[..self.shape.out_channels()].to_vec(),
        };
        plan.backward_bias(&self.grad_output)
            .write(write)
            .run(&mut sums)
            .expect("the layer's own lengths");
        sums
    }

    /// What the naive loops answer, with what is needed to judge another answer.
    pub fn expected(&self, call: Call) -> Expected<'_, T> {
        let plain = Expected::new(self, call.written(Write::Overwrite));
        if call == plain.call { plain } else { plain.accumulated() }
    }

    /// What the naive loops answer for a pass, overwriting and accumulating: as
    /// [`expected`](Self::expected) says, with the loops run once for both.
    pub fn answers(&self, pass: Pass) -> [Expected<'_, T>; 2] {
        let plain = self.expected(Call::Pass(pass, Write::Overwrite));
        let accumulated = plain.accumulated();
        [plain, accumulated]
    }

    /// The same for every pass that takes scratch.
    pub fn all_answers(&self) -> impl Iterator<Item = Expected<'_, T>> {
        PASSES.into_iter().flat_map(|pass| self.answers(pass))
    }

    /// The sums of the naive loops, whatever the call adds them to.
    pub(super) fn naive(&self, call: Call) -> Vec<f64> {
        let Self { shape, input, weight, grad_output: dg, .. } = self;
        let sums = match call {
            Call::Pass(Pass::Forward, _) => reference::forward(shape, input, weight, None),
            Call::Pass(Pass::BackwardData, _) => reference::backward_data(shape, weight, dg),
            Call::Pass(Pass::BackwardWeight, _) => reference::backward_weight(shape, input, dg),
            Call::Bias(_) => reference::backward_bias(shape, dg),
        };
        sums.expect("the layer's own lengths")
    }

    /// What an accumulating call adds element `i` of the sums to.
    pub(super) fn added_to(&self, call: Call, i: usize) -> f64 {
        match call {
            Call::Pass(Pass::Forward, _) => self.bias[reference::channel(&self.shape, i)].into(),
            Call::Pass(..) | Call::Bias(_) => self.old[i].into(),
        }
    }

    /// The same layer with every number changed.
    pub fn map(&self, f: impl Fn(T) -> T) -> Self {
        let map = |tensor: &[T]| tensor.iter().map(|&x| f(x)).collect();
        Self {
            shape: self.shape,
            input: map(&self.input),
            weight: map(&self.weight),
            bias: map(&self.bias),
            grad_output: map(&self.grad_output),
            old: map(&self.old),
        }
    }
}
