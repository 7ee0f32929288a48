//! Regret, and times that were kept.

use crate::measure::{Bench, PASSES};
use crate::{parse, passes};
use bench_tune::Layer;
use im2col::testing::{Machine, Model};
use im2col::{Accuracy, Isa, Schedule, Shape};
use std::collections::HashMap;
use std::path::Path;

/// A schedule and the seconds of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timed {
    pub(crate) schedule: Schedule,
    pub(crate) seconds: f64,
}

/// What is known of a pass.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) name: String,
    pub(crate) isa: String,
    pub(crate) shape: Shape,
    pub(crate) pass: usize,
    pub(crate) chosen: Schedule,
    pub(crate) times: Vec<Timed>,
}

impl Record {
    /// The fastest.
    pub(crate) fn best(&self) -> Option<Timed> {
        self.times.iter().copied().min_by(|a, b| a.seconds.total_cmp(&b.seconds))
    }

    /// Time of the chosen schedule over time of the fastest; none if the chosen one wasn't timed.
    pub(crate) fn regret(&self) -> Option<f64> {
        let chosen = self.times.iter().find(|timed| timed.schedule == self.chosen)?;
        Some(chosen.seconds / self.best()?.seconds)
    }
}

/// Reads times that were kept, of passes of these layers. The choice is asked for anew.
pub(crate) fn read(
    file: &Path,
    layers: &[Layer],
    accuracy: Accuracy,
) -> Result<Vec<Record>, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(file)?;
    let mut times: HashMap<&str, Vec<Timed>> = HashMap::new();
    let mut isas: HashMap<&str, &str> = HashMap::new();
    for line in text.lines() {
        let mut ends = line.match_indices(',').map(|(at, _)| at);
        let (first, fifth) = (ends.next().ok_or(line)?, ends.nth(3).ok_or(line)?);
        let last = line.rfind(',').ok_or(line)?;
        let timed =
            Timed { schedule: parse(&line[fifth + 1..last])?, seconds: line[last + 1..].parse()? };
        isas.insert(&line[first + 1..fifth], &line[..first]);
        let known = times.entry(&line[first + 1..fifth]).or_default();
        match known.iter_mut().find(|known| known.schedule == timed.schedule) {
            Some(known) => known.seconds = known.seconds.min(timed.seconds),
            None => known.push(timed),
        }
    }
    let mut records = Vec::new();
    for (name, layer, pass) in passes(layers) {
        if let Some(times) = times.remove(name.as_str()) {
            let chosen = Bench::schedule_of(layer, PASSES[pass].0, accuracy)?;
            let isa = isas[name.as_str()].to_owned();
            records.push(Record { name, isa, shape: layer.shape, pass, chosen, times });
        }
    }
    Ok(records)
}

/// Prints the regret of what a fitted row would choose among the schedules that were timed.
pub(crate) fn print_fitted(
    records: &[Record],
    machine: &Machine,
    worst: usize,
) -> Result<(), im2col::Error> {
    let mut fitted = records.to_vec();
    for record in &mut fitted {
        let isa = Isa::ALL.iter().copied().find(|isa| isa.name() == record.isa);
        let isa = isa.unwrap_or(Isa::best());
        let model = Model::new(&record.shape, PASSES[record.pass].0, isa)?;
        let cost = |timed: &&Timed| model.cycles(&timed.schedule, machine);
        let cheapest = record.times.iter().min_by(|a, b| cost(a).total_cmp(&cost(b)));
        record.chosen = cheapest.map_or(record.chosen, |timed| timed.schedule);
    }
    println!("with the fitted row:");
    print(&fitted, worst);
    Ok(())
}

/// Prints the time of every schedule beside what the model expects, in units of the fastest one's.
pub(crate) fn print_all(records: &[Record]) -> Result<(), im2col::Error> {
    for record in records {
        let gflops = |seconds: f64| record.shape.flops() / seconds / 1e9;
        println!("{} {}", record.name, sizes(&record.shape));
        let isa = Isa::ALL.iter().copied().find(|isa| isa.name() == record.isa);
        let isa = isa.unwrap_or(Isa::best());
        let model = Model::new(&record.shape, PASSES[record.pass].0, isa)?;
        let cycles = |schedule| model.cycles(schedule, &Model::machine(isa));
        let mut times = record.times.clone();
        times.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let Some(best) = times.first() else { continue };
        for Timed { schedule, seconds } in &times {
            let taken = seconds / best.seconds;
            let expected = cycles(schedule) / cycles(&best.schedule);
            let rate = gflops(*seconds);
            println!("  {rate:6.1} GFLOP/s, {taken:5.2}, expected {expected:5.2}: {schedule}");
        }
    }
    Ok(())
}

/// The sizes of a layer in short: batch, channels to channels, image, kernel, and what isn't usual.
fn sizes(shape: &Shape) -> String {
    let by = |value: fn(&im2col::Axis) -> usize| {
        let values: Vec<_> = shape.axes().iter().map(|axis| value(axis).to_string()).collect();
        values.join("x")
    };
    let mut text =
        format!("{} of {} -> {}", shape.batch(), shape.in_channels(), shape.out_channels());
    if shape.groups() > 1 {
        text += &format!(" in {} groups", shape.groups());
    }
    text + &format!(
        ", {} by {}, stride {}, dilation {}, padding {}",
        by(|axis| axis.input),
        by(|axis| axis.kernel),
        by(|axis| axis.stride),
        by(|axis| axis.dilation),
        by(|axis| axis.pad_begin)
    )
}

/// Prints the geometric mean of regret and so many of the worst passes.
pub(crate) fn print(records: &[Record], worst: usize) {
    let mut judged: Vec<_> =
        records.iter().filter_map(|record| Some((record.regret()?, record))).collect();
    let unknown = records.len() - judged.len();
    judged.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    for (regret, record) in judged.iter().take(worst) {
        let Some(best) = record.best() else { continue };
        println!("{regret:.3} {} {}", record.name, sizes(&record.shape));
        println!("      chosen {}", record.chosen);
        println!("        best {} ({:.3e} s)", best.schedule, best.seconds);
    }
    let mut lists: Vec<(String, Vec<f64>)> = Vec::new();
    for (regret, record) in &judged {
        let mut fields = record.name.split(',');
        let (list, pass) = (fields.next().unwrap_or(""), fields.nth(2).unwrap_or(""));
        let key = format!("{list} {pass}");
        match lists.iter_mut().find(|(known, _)| *known == key) {
            Some((_, all)) => all.push(*regret),
            None => lists.push((key, vec![*regret])),
        }
    }
    lists.sort_by(|a, b| a.0.cmp(&b.0));
    for (key, all) in &lists {
        println!("{key}: geomean {:.4} worst {:.3} over {}", geomean(all), all[0], all.len());
    }
    if unknown > 0 {
        println!("{unknown} passes whose chosen schedule was not timed");
    }
    let all: Vec<_> = judged.iter().map(|(regret, _)| *regret).collect();
    let isa = records.first().map_or("no passes", |record| record.isa.as_str());
    let worst = all.first().copied().unwrap_or(1.0);
    println!(
        "regret: geomean {:.4} worst {worst:.3} over {} passes ({isa})",
        geomean(&all),
        all.len()
    );
}

fn geomean(all: &[f64]) -> f64 {
    (all.iter().map(|x| x.ln()).sum::<f64>() / all.len().max(1) as f64).exp()
}
