//! Fits a machine's row to measured times.
//!
//! First by least squares of the logarithms of all times, weighted by how near a schedule comes to the fastest of its
//! pass, as the slow ones only have to be known as slow. Then by what the row is for: small changes are kept that
//! lower the regret, softened so that near misses count, as long as the times stay explained.

use crate::measure::PASSES;
use crate::report::Record;
use im2col::testing::{Machine, Model};
use im2col::{Isa, Schedule};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// How far a schedule's time may be from the fastest and still count in full.
const NEAR: f64 = 0.3;

/// How sharply the softened regret tells two costs apart, as a share of them.
const SHARP: f64 = 0.04;

/// How much the fit of the times counts beside the regret.
const EXPLAINED: f64 = 0.08;

/// A schedule, its logarithm of seconds, and the weight of its residual.
struct Point {
    schedule: Schedule,
    time: f64,
    weight: f64,
}

/// A pass with its model.
struct Case {
    model: Model,
    points: Vec<Point>,
    best: f64,
}

/// The row's numbers as logarithms, the last of them that of the seconds of a cycle.
type Row = Vec<f64>;

/// The row that explains these records best, beginning from today's.
pub(crate) fn fit(records: &[Record], rounds: usize) -> Result<Machine, im2col::Error> {
    let Some(first) = records.first() else { return Ok(Model::machine(Isa::best())) };
    let isa = Isa::ALL.iter().copied().find(|isa| isa.name() == first.isa).unwrap_or(Isa::best());
    let mut cases = Vec::new();
    for record in records {
        let Some(best) = record.best() else { continue };
        let model = Model::new(&record.shape, PASSES[record.pass].0, isa)?;
        let point = |timed: &crate::report::Timed| {
            let off = (timed.seconds / best.seconds).ln();
            let weight = 1.0 / (1.0 + (off / NEAR).powi(2));
            Point { schedule: timed.schedule, time: timed.seconds.ln(), weight }
        };
        let finite =
            |point: &Point| model.cycles(&point.schedule, &Model::machine(isa)).is_finite();
        let points: Vec<_> = record.times.iter().map(point).filter(finite).collect();
        cases.push(Case { model, points, best: best.seconds.ln() });
    }
    let mut machine = Model::machine(isa);
    let mut row: Row = machine.numbers().iter().map(|(_, number)| number.max(1e-3).ln()).collect();
    row.push((0.4e-9f64).ln());
    row = least_squares(&cases, machine, row);
    row = lower_regret(&cases, machine, row, rounds);
    set(&mut machine, &row);
    Ok(machine)
}

fn set(machine: &mut Machine, row: &Row) {
    for ((_, number), log) in machine.numbers().into_iter().zip(row) {
        *number = log.exp();
    }
}

/// The logarithms of all predicted seconds.
fn predict(cases: &[Case], mut machine: Machine, row: &Row) -> Vec<f64> {
    set(&mut machine, row);
    let scale = row[row.len() - 1];
    let of = |case: &Case| {
        case.points
            .iter()
            .map(|point| case.model.cycles(&point.schedule, &machine).ln() + scale)
            .collect::<Vec<_>>()
    };
    cases.iter().flat_map(of).collect()
}

/// A damped Gauss-Newton, held near the row that it begins from where the times don't say.
fn least_squares(cases: &[Case], machine: Machine, start: Row) -> Row {
    const ROUNDS: usize = 25;
    const HELD: f64 = 2.0;
    let points: Vec<&Point> = cases.iter().flat_map(|case| &case.points).collect();
    let n = start.len();
    let error = |predicted: &[f64], row: &Row| {
        let off = predicted.iter().zip(&points).map(|(p, point)| {
            let off = (p - point.time).clamp(-1.0, 1.0);
            point.weight * off * off
        });
        let moved = row.iter().zip(&start).map(|(a, b)| HELD * (a - b).powi(2));
        off.sum::<f64>() + moved.sum::<f64>()
    };
    let mut row = start.clone();
    let mut predicted = predict(cases, machine, &row);
    let mut least = error(&predicted, &row);
    let mut damping = 1.0;
    for round in 0..ROUNDS {
        const STEP: f64 = 1e-4;
        let columns: Vec<Vec<f64>> = (0..n)
            .map(|i| {
                let mut moved = row.clone();
                moved[i] += STEP;
                let moved = predict(cases, machine, &moved);
                moved.iter().zip(&predicted).map(|(a, b)| (a - b) / STEP).collect()
            })
            .collect();
        let mut matrix = vec![vec![0.0; n + 1]; n];
        for i in 0..n {
            for j in 0..n {
                let both = columns[i].iter().zip(&columns[j]).zip(&points);
                matrix[i][j] = both.map(|((a, b), point)| point.weight * a * b).sum();
            }
            let with = columns[i].iter().zip(&predicted).zip(&points);
            let pull =
                with.map(|((a, p), point)| point.weight * a * (point.time - p).clamp(-1.0, 1.0));
            matrix[i][n] = pull.sum::<f64>() + HELD * (start[i] - row[i]);
            matrix[i][i] += HELD;
        }
        let mut improved = false;
        for _ in 0..6 {
            let mut damped = matrix.clone();
            (0..n).for_each(|i| damped[i][i] += damping);
            let step = solve(damped);
            let next: Row = row.iter().zip(&step).map(|(a, b)| a + b.clamp(-0.7, 0.7)).collect();
            let next_predicted = predict(cases, machine, &next);
            let next_error = error(&next_predicted, &next);
            if next_error < least {
                (row, predicted, least) = (next, next_predicted, next_error);
                damping = (damping / 3.0).max(1e-3);
                improved = true;
                break;
            }
            damping *= 4.0;
        }
        let weight: f64 = points.iter().map(|point| point.weight).sum();
        eprintln!("least squares {round}: {:.4}", (least / weight).sqrt());
        if !improved {
            break;
        }
    }
    row
}

/// Solves a system given with its right side as the last column.
fn solve(mut m: Vec<Vec<f64>>) -> Vec<f64> {
    let n = m.len();
    for i in 0..n {
        let pivot = (i..n).max_by(|&a, &b| m[a][i].abs().total_cmp(&m[b][i].abs())).unwrap_or(i);
        m.swap(i, pivot);
        let (above, below) = m.split_at_mut(i + 1);
        let pivot = &above[i];
        for row in below {
            let factor = row[i] / pivot[i];
            row.iter_mut().zip(pivot).skip(i).for_each(|(x, p)| *x -= factor * p);
        }
    }
    let mut x = vec![0.0; n];
    for i in (0..n).rev() {
        let known: f64 = (i + 1..n).map(|j| m[i][j] * x[j]).sum();
        x[i] = (m[i][n] - known) / m[i][i];
    }
    x
}

/// Softened regret, and how well the times are explained.
fn judge(cases: &[Case], machine: Machine, row: &Row) -> f64 {
    let predicted = predict(cases, machine, row);
    let (mut regret, mut off, mut weight) = (0.0, 0.0, 0.0);
    let mut rest = predicted.as_slice();
    for case in cases {
        let (of_case, others) = rest.split_at(case.points.len());
        rest = others;
        let least = of_case.iter().copied().fold(f64::INFINITY, f64::min);
        let (mut sum, mut all) = (0.0, 0.0);
        for (p, point) in of_case.iter().zip(&case.points) {
            let share = (-(p - least) / SHARP).exp();
            let lost = point.time - case.best;
            // Twice over where much is lost, so that the worst cases count.
            sum += share * lost * (1.0 + 2.0 * lost);
            all += share;
            off += point.weight * (p - point.time).clamp(-1.0, 1.0).powi(2);
            weight += point.weight;
        }
        regret += sum / all.max(1e-300);
    }
    regret / cases.len() as f64 + EXPLAINED * (off / weight).sqrt()
}

/// Keeps random changes of one or two numbers that are for the better.
fn lower_regret(cases: &[Case], machine: Machine, mut row: Row, rounds: usize) -> Row {
    let mut rng = SmallRng::seed_from_u64(5);
    let mut least = judge(cases, machine, &row);
    for round in 0..rounds {
        let mut next = row.clone();
        let size = [0.3, 0.1, 0.03][round % 3];
        for _ in 0..rng.random_range(1..=2) {
            let at = rng.random_range(0..next.len());
            next[at] += rng.random_range(-size..size);
        }
        let judged = judge(cases, machine, &next);
        if judged < least {
            (row, least) = (next, judged);
        }
        if round % 500 == 0 {
            eprintln!("regret {round}: {least:.5}");
        }
    }
    row
}
