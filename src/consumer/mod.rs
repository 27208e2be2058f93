//! Consuming: a durable with typed handlers, deduplicated, retried and dead-lettered.

mod arrivals;
mod ask;
mod builder;
mod decide;
mod delivery;
mod difference;
mod drift;
mod durable;
mod error;
mod expiry;
mod fitness;
mod gap;
mod guarantee;
mod handler;
mod hold;
mod inspector;
mod intake;
mod job;
mod look;
#[cfg(test)]
mod model;
mod monitor;
mod options;
mod order;
mod overflow;
mod postponed;
mod process;
mod pull;
mod pump;
mod reply;
mod run;
mod sequence;
mod streams;
mod summary;
mod takeover;
mod unreadable;
mod vitals;

pub use builder::ConsumerBuilder;
pub use delivery::Delivery;
pub use drift::Drift;
pub use error::{ConsumeError, ConsumeErrorKind};
pub use handler::HandlerError;
pub use monitor::{ConsumerMonitor, ConsumerStatus};
pub use options::ConsumerOptions;
pub use order::Order;
pub use summary::ConsumeSummary;
pub use vitals::ConsumerPhase;

use crate::{connection_watch::ConnectionWatch, subject::Feed};
use async_nats::jetstream::{self, consumer::Config};
use std::sync::Arc;

/// A durable consumer that is ready to run: its options are checked and its durable exists on the server.
///
/// Built by [`EventBridge::consumer`](crate::EventBridge::consumer).
#[derive(Debug)]
#[must_use = "a consumer does nothing until it runs"]
pub struct DurableConsumer {
    context: jetstream::Context,
    feed: Feed,
    watch: ConnectionWatch,
    /// The durable as it was when this was built.
    config: Config,
    shared: Arc<process::Shared>,
}
