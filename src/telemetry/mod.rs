//! What is told to those who look after a service.

mod emission;
mod meter;
pub(crate) mod span;

pub(crate) use emission::Emission;
#[cfg(all(feature = "metrics", feature = "outbox", any(feature = "postgres", feature = "sqlite")))]
pub(crate) use meter::OutboxMeter;
pub(crate) use meter::{Begun, ConsumerMeter, PublisherMeter, dead_lettered};
