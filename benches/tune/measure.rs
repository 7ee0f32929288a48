//! What the schedules of a pass take on this machine.

use bench_tune::Layer;
use im2col::{Accuracy, Error, Options, Pass, Plan, Schedule, Serial};
use std::time::Instant;

/// The passes with their names.
pub(crate) const PASSES: [(Pass, &str); 3] = [
    (Pass::Forward, "forward"),
    (Pass::BackwardData, "backward_data"),
    (Pass::BackwardWeight, "backward_weight"),
];

/// Seconds of one sample, which calls as often as that takes.
const SAMPLE: f64 = 0.4e-3;

/// Rounds of samples of all schedules in turn: at least, at most, and the seconds after which no more than the least
/// are made.
const ROUNDS: std::ops::Range<usize> = 4..25;
const ENOUGH: f64 = 0.4;

/// A schedule so much slower than the fastest one is sampled no more after the first rounds.
const HOPELESS: f64 = 1.7;

/// The fastest sample counts once another one comes as near to it as this.
const CONFIRMED: f64 = 1.03;

/// The tensors of a pass, and a plan for each of its schedules.
pub(crate) struct Bench {
    pass: Pass,
    operands: [Vec<f32>; 2],
    to: Vec<f32>,
    scratch: Vec<f32>,
    plan: Plan<f32>,
}

impl Bench {
    pub(crate) fn new(layer: &Layer, pass: Pass, accuracy: Accuracy) -> Result<Self, Error> {
        let shape = layer.shape;
        let plan = Plan::new(shape, Options::default().accuracy(accuracy))?;
        let (a, b, to) = match pass {
            Pass::Forward => (shape.input_len(), shape.weight_len(), shape.output_len()),
            Pass::BackwardData => (shape.weight_len(), shape.output_len(), shape.input_len()),
            _ => (shape.input_len(), shape.output_len(), shape.weight_len()),
        };
        let numbers = |len: usize| (0..len).map(|i| (i % 17) as f32 / 16.0 - 0.5).collect();
        let operands = [numbers(a), numbers(b)];
        Ok(Self { pass, operands, to: vec![0.0; to], scratch: Vec::new(), plan })
    }

    /// What is chosen for a pass.
    pub(crate) fn schedule_of(
        layer: &Layer,
        pass: Pass,
        accuracy: Accuracy,
    ) -> Result<Schedule, Error> {
        let plan = Plan::<f32>::new(layer.shape, Options::default().accuracy(accuracy))?;
        plan.schedule(pass).ok_or(Error::Unsupported { what: "a plan without this pass" })
    }

    /// What is chosen for this one.
    pub(crate) fn chosen(&self) -> Option<Schedule> {
        self.plan.schedule(self.pass)
    }

    pub(crate) fn isa(&self) -> im2col::Isa {
        self.plan.isa()
    }

    /// Every schedule that is possible, with the seconds that a call takes. They are
    /// sampled in turn, so that a machine that becomes slower for a while does so for all.
    pub(crate) fn times(&mut self, schedules: &[Schedule]) -> Result<Vec<f64>, Error> {
        let mut plans = Vec::new();
        for &schedule in schedules {
            plans.push(self.plan.clone().with_schedule(self.pass, schedule)?);
        }
        let lens = plans.iter().map(|plan| plan.scratch_len_on(self.pass, &Serial));
        self.scratch = vec![0.0; lens.max().unwrap_or(0)];
        // The first call fetches tables and code. Of each schedule the two fastest samples are kept.
        let mut times = vec![[f64::INFINITY; 2]; plans.len()];
        let mut best = f64::INFINITY;
        let start = Instant::now();
        for round in 0..ROUNDS.end {
            let mut sampled = false;
            for (plan, times) in plans.iter().zip(&mut times) {
                let [fastest, second] = *times;
                let hopeless = round > 0 && fastest > HOPELESS * best;
                let sure = second <= CONFIRMED * fastest || start.elapsed().as_secs_f64() > ENOUGH;
                let far = round > 1 && fastest > 2.0 * HOPELESS * best;
                if far || (round >= ROUNDS.start && (sure || hopeless)) {
                    continue;
                }
                sampled = true;
                let calls = if round == 0 { 1.0 } else { (SAMPLE / fastest).ceil().max(1.0) };
                let time = self.sample(plan, calls as usize)?;
                *times = if time < fastest { [time, fastest] } else { [fastest, time.min(second)] };
                best = best.min(time);
            }
            if !sampled {
                break;
            }
        }
        Ok(times.into_iter().map(|[fastest, _]| fastest).collect())
    }

    pub(crate) fn candidates(&self) -> Result<Vec<Schedule>, Error> {
        self.plan.candidates(self.pass)
    }

    /// Those of these schedules that allow blocks of so many pixels, with such blocks.
    pub(crate) fn in_blocks(&self, schedules: &[Schedule], pixels: usize) -> Vec<Schedule> {
        let mut all: Vec<Schedule> = Vec::new();
        for &schedule in schedules {
            let mut other = schedule;
            other.pixels = pixels;
            other.kept = other.kept.min(pixels);
            let allowed = self.plan.clone().with_schedule(self.pass, other).is_ok();
            if allowed && !schedules.contains(&other) && !all.contains(&other) {
                all.push(other);
            }
        }
        all
    }

    /// Seconds of a call, of so many.
    fn sample(&mut self, plan: &Plan<f32>, calls: usize) -> Result<f64, Error> {
        let Self { pass, operands: [a, b], to, scratch, .. } = self;
        let start = Instant::now();
        for _ in 0..calls {
            match pass {
                Pass::Forward => {
                    plan.forward(&*a, &*b).scratch(scratch).executor(&Serial).run(&mut *to)?
                }
                Pass::BackwardData => {
                    plan.backward_data(&*a, b).scratch(scratch).executor(&Serial).run(&mut *to)?;
                }
                _ => {
                    plan.backward_weight(a, b).scratch(scratch).executor(&Serial).run(&mut *to)?;
                }
            }
        }
        Ok(start.elapsed().as_secs_f64() / calls as f64)
    }
}
