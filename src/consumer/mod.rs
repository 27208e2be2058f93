//! Consuming: a durable with typed handlers, deduplicated, retried and dead-lettered.

mod batch;
mod builder;
mod checks;
mod delivery;
mod durable;
mod error;
mod handler;
mod meter;
mod monitor;
mod on_mismatch;
mod options;
mod order;
mod receive;
mod run;
mod shared;
mod start_at;
mod state;
mod summary;

pub use batch::BatchOptions;
pub use builder::ConsumerBuilder;
pub use delivery::circuit_breaker::{BreakerCause, CircuitBreaker, OpenBreaker};
pub(crate) use delivery::company::Company;
pub use delivery::handed::Delivery;
pub use error::{ConsumeError, ConsumeErrorKind};
pub use handler::HandlerError;
pub use monitor::{ConsumerMonitor, ConsumerStatus};
pub use on_mismatch::OnMismatch;
pub use options::ConsumerOptions;
pub use order::Order;
pub use start_at::StartAt;
pub use state::ConsumerPhase;
pub use summary::ConsumeSummary;

use crate::{
    contract::{consumer_name::ConsumerName, subject::Feed},
    nats::{api_context::ApiContext, connection_watch::ConnectionWatch},
};
use async_nats::jetstream::consumer::Config;
use std::sync::Arc;

/// A durable consumer that is ready to run: its options are checked and its durable exists on the server.
///
/// Built by [`EventBridge::consumer`](crate::EventBridge::consumer).
#[derive(Debug)]
#[must_use = "a consumer does nothing until it runs"]
pub struct DurableConsumer {
    context: ApiContext,
    feed: Feed,
    watch: ConnectionWatch,
    /// The durable as it was when this was built.
    config: Config,
    shared: Arc<shared::Shared>,
}

impl DurableConsumer {
    /// Returns the name of the consumer, which is that of its durable.
    #[must_use]
    pub fn name(&self) -> &ConsumerName {
        &self.shared.name
    }
}
