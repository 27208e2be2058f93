//! Consuming: a durable with typed handlers, deduplicated, retried and dead-lettered.

mod builder;
mod decide;
mod delivery;
mod durable;
mod error;
mod handler;
mod hold;
#[cfg(test)]
mod model;
mod options;
mod order;
mod process;
mod pull;
mod reply;
mod run;
mod sequence;
mod summary;
mod takeover;

pub use builder::ConsumerBuilder;
pub use delivery::Delivery;
pub use error::{ConsumeError, ConsumeErrorKind};
pub use handler::HandlerError;
pub use options::ConsumerOptions;
pub use order::Order;
pub use summary::ConsumeSummary;

use crate::subject::Feed;
use async_nats::jetstream;
use std::sync::Arc;

/// A durable consumer that is ready to run: its options are checked and its durable exists on the server.
///
/// Built by [`EventBridge::consumer`](crate::EventBridge::consumer).
#[derive(Debug)]
#[must_use = "a consumer does nothing until it runs"]
pub struct DurableConsumer {
    context: jetstream::Context,
    feed: Feed,
    shared: Arc<process::Shared>,
}
