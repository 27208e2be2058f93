//! What is counted and measured, through the facade of the crate `metrics`. Nothing without the feature `metrics`.
//!
//! Handles are made once, of each publisher, consumer and outbox: what is counted then costs an atomic addition.

#[cfg(feature = "metrics")]
mod consumer;
#[cfg(feature = "metrics")]
mod names;
#[cfg(not(feature = "metrics"))]
mod off;
#[cfg(all(feature = "metrics", feature = "outbox", any(feature = "postgres", feature = "sqlite")))]
mod outbox;
#[cfg(feature = "metrics")]
mod publisher;

#[cfg(feature = "metrics")]
pub(crate) use consumer::ConsumerMeter;
#[cfg(not(feature = "metrics"))]
pub(crate) use off::{Begun, ConsumerMeter, PublisherMeter, dead_lettered};
#[cfg(all(feature = "metrics", feature = "outbox", any(feature = "postgres", feature = "sqlite")))]
pub(crate) use outbox::OutboxMeter;
#[cfg(feature = "metrics")]
pub(crate) use publisher::{Begun, PublisherMeter, dead_lettered};
