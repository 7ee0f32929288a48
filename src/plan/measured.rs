//! Plans that are chosen by the clock instead of the model.

use super::Plan;
use crate::element::Element;
use crate::error::Error;
use crate::pass::Pass;
use crate::scratch::allocate;
use std::time::{Duration, Instant};

/// How much faster than the expected one another schedule has to be: less than that is noise.
const WORTH: f64 = 0.97;

impl<T: Element> Plan<T> {
    /// The same plan with the schedules that are the fastest by the clock: those that are possible are tried on this machine,
    /// the cheapest by the model first, for about `budget` in all.
    ///
    /// Which one is the fastest is the machine's and the moment's, and the bits of a result follow the schedule. Where they
    /// have to be the same every time, keep what was picked and [give it back](Self::with_schedule).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] if there is no room for the layer's tensors, which are made of zeros for this.
    ///
    /// ```
    /// use im2col::{Conv2d, Pass};
    /// use std::time::Duration;
    /// let conv = Conv2d::<f32>::new([1, 8, 14, 14], [16, 8, 3, 3]).plan()?;
    /// let conv = conv.measured(Duration::from_millis(3))?;
    /// let schedule = |&pass| Some((pass, conv.schedule(pass)?.to_string()));
    /// let kept: Vec<_> = Pass::ALL.iter().filter_map(schedule).collect();
    ///
    /// // In another process:
    /// let mut conv = Conv2d::<f32>::new([1, 8, 14, 14], [16, 8, 3, 3]).plan()?;
    /// for (pass, schedule) in &kept {
    ///     conv = conv.with_schedule(*pass, schedule.parse()?)?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn measured(mut self, budget: Duration) -> Result<Self, Error> {
        let planned = Pass::ALL.iter().filter(|&&pass| self.schedule(pass).is_some()).count();
        let share = budget / (planned as u32).max(1);
        if self.shape.is_empty() {
            return Ok(self);
        }
        for &pass in Pass::ALL {
            if self.schedule(pass).is_some() {
                self = self.measured_for(pass, share)?;
            }
        }
        Ok(self)
    }

    /// The same for one pass.
    fn measured_for(self, pass: Pass, budget: Duration) -> Result<Self, Error> {
        let shape = self.shape;
        let input = allocate::<T>(shape.input_len())?;
        let weight = allocate::<T>(shape.weight_len())?;
        let output = allocate::<T>(shape.output_len())?;
        let (a, b, len) = match pass {
            Pass::Forward => (&input, &weight, output.len()),
            Pass::BackwardData => (&weight, &output, input.len()),
            Pass::BackwardWeight => (&input, &output, weight.len()),
        };
        let mut to = allocate::<T>(len)?;
        let start = Instant::now();
        let candidates = self.candidates(pass)?;
        let share = budget.checked_div(candidates.len() as u32 + 1).unwrap_or(budget);
        let mut best = self.chosen.clone();
        let mut least = time(&self, pass, [a, b], &mut to, share)?.mul_f64(WORTH);
        for schedule in candidates {
            if start.elapsed() >= budget {
                break;
            }
            if self.schedule(pass) != Some(schedule) {
                let tried = self.clone().with_schedule(pass, schedule)?;
                let taken = time(&tried, pass, [a, b], &mut to, share)?;
                if taken < least {
                    (best, least) = (tried.chosen, taken);
                }
            }
        }
        Self { chosen: best, ..self }.cut_into_blocks()
    }
}

/// The least time that a call takes, of as many as there is time for, but for the first.
fn time<T: Element>(
    plan: &Plan<T>,
    pass: Pass,
    [a, b]: [&[T]; 2],
    to: &mut [T],
    budget: Duration,
) -> Result<Duration, Error> {
    let mut scratch = allocate::<T>(plan.scratch_len(pass))?;
    let mut call = || {
        let start = Instant::now();
        match pass {
            Pass::Forward => plan.forward(a, b).scratch(&mut scratch).run(&mut *to)?,
            Pass::BackwardData => plan.backward_data(a, b).scratch(&mut scratch).run(&mut *to)?,
            Pass::BackwardWeight => {
                plan.backward_weight(a, b).scratch(&mut scratch).run(&mut *to)?;
            }
        }
        Ok(start.elapsed())
    };
    let start = Instant::now();
    call()?;
    let mut least = call()?;
    while start.elapsed() < budget {
        least = least.min(call()?);
    }
    Ok(least)
}
