//! The one choice: how each pass of a layer is computed.
//!
//! [`schedule`] says it as plain data, [`candidates`] lists what is possible for a layer.

pub(crate) mod candidates;
pub(crate) mod first;
mod orientation;
pub(crate) mod schedule;
