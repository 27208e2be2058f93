//! One delivery, from its claim to its answer.

pub(super) mod breaker;
pub(super) mod breakers;
pub(super) mod circuit_breaker;
pub(crate) mod company;
pub(super) mod decide;
pub(super) mod handed;
pub(super) mod in_progress;
pub(super) mod job;
#[cfg(test)]
mod model;
pub(super) mod postponed;
pub(super) mod process;
pub(super) mod reply;
