//! From the wire to a handler: requests, dispatching, order per unit, and the worker.

pub(super) mod arrivals;
mod barrier;
pub(super) mod dispatch;
pub(super) mod lanes;
pub(super) mod pinned;
mod poll_budget;
mod prefetch;
pub(super) mod pull;
pub(super) mod worker;
