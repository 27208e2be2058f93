//! Handlers that receive several deliveries in one call.

mod collector;
mod members;
mod options;

pub(super) use collector::Batches;
pub use options::BatchOptions;
