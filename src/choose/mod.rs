//! The one choice: how each pass of a layer is computed.
//!
//! [`schedule`] says it as plain data, [`candidates`] lists what is possible for a layer, [`cost`] says what each of them
//! takes on a [`machine`]. The cheapest is taken. No other place decides what pays.

pub(crate) mod candidates;
pub(crate) mod cost;
pub(crate) mod machine;
pub(crate) mod schedule;
pub(crate) mod winograd;

use crate::element::Element;
use crate::engine::winograd::form;
use crate::error::Error;
use crate::kernel::winograd::Form;
use crate::options::Accuracy;
use crate::scratch::room;
use alloc::vec::Vec;
use candidates::Question;
use cost::Costs;
use machine::Machine;
use schedule::Schedule;

/// Every schedule that is possible for a pass as far as sizes tell, the cheapest first.
pub(crate) fn ranked<T: Element>(question: &Question<'_, T>) -> Result<Vec<Schedule>, Error> {
    let costs = Costs::new(question, Machine::of(question.kernels.isa));
    let candidates = question.candidates()?;
    let mut order = room(candidates.len())?;
    let number = |(index, schedule)| (costs.cycles(schedule), index);
    order.extend(candidates.iter().enumerate().map(number));
    // Of two that cost the same the first is taken: the order is the same everywhere.
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut ranked = room(order.len())?;
    ranked.extend(order.iter().map(|&(_, index)| candidates[index]));
    Ok(ranked)
}

/// The schedule that an accuracy allows, where it is expected to be faster than any other.
pub(crate) fn winograd_allowed<T: Element>(
    q: &Question<'_, T>,
    accuracy: Accuracy,
) -> Result<Option<Schedule>, Error> {
    let tiles: &[usize] = match accuracy {
        Accuracy::Element => &[],
        Accuracy::Tile2 => &[2],
        Accuracy::Tile => &[4, 2],
    };
    let cost = |&tile: &usize| {
        let form = form(&q.shape, tile)?;
        let within = accuracy == Accuracy::Tile || form == Form::F2x2;
        within.then(|| (winograd::cycles(q, form), tile))
    };
    let best = tiles.iter().filter_map(cost).min_by(|a, b| a.0.total_cmp(&b.0));
    let Some((cycles, tile)) = best else { return Ok(None) };
    let costs = Costs::new(q, Machine::of(q.kernels.isa));
    let others = q.candidates()?;
    let other = others.iter().map(|schedule| costs.cycles(schedule)).fold(f64::INFINITY, f64::min);
    Ok((cycles < other).then(|| winograd::schedule(q, tile)))
}
