//! The one choice: how each pass of a layer is computed.
//!
//! [`schedule`] says it as plain data, [`candidates`] lists what is possible for a layer, [`cost`] says what each of
//! them takes on a [`machine`]. The cheapest is taken. No other place decides what pays.

pub(crate) mod candidates;
pub(crate) mod cost;
pub(crate) mod machine;
pub(crate) mod schedule;
#[cfg(feature = "serde")]
mod stored;
mod view;
mod winograd;

use crate::element::Element;
use crate::error::Error;
use crate::scratch::room;
use alloc::vec::Vec;
use candidates::Question;
use cost::Costs;
use machine::Machine;
use schedule::Schedule;

/// The cheapest of the schedules that are possible for a pass as far as sizes tell.
pub(crate) fn cheapest<T: Element>(question: &Question<'_, T>) -> Result<Option<Schedule>, Error> {
    let costs = Costs::new(question, Machine::of(question.kernels.isa));
    let (mut cheapest, mut least) = (None, f64::INFINITY);
    // Of two that cost the same the first is taken: the order is the same everywhere.
    question.each_candidate(&mut |schedule| {
        let cycles = costs.below(&schedule, least);
        if cycles < least {
            (cheapest, least) = (Some(schedule), cycles);
        }
    });
    question.checked()?;
    Ok(cheapest)
}

/// All of them, the cheapest first.
pub(crate) fn ranked<T: Element>(question: &Question<'_, T>) -> Result<Vec<Schedule>, Error> {
    let costs = Costs::new(question, Machine::of(question.kernels.isa));
    let candidates = question.candidates()?;
    let mut order = room(candidates.len())?;
    let number = |(index, schedule)| (costs.below(schedule, f64::INFINITY), index);
    order.extend(candidates.iter().enumerate().map(number));
    question.checked()?;
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut ranked = room(order.len())?;
    ranked.extend(order.iter().map(|&(_, index)| candidates[index]));
    Ok(ranked)
}
