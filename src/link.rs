//! The connection that a bridge shares with its consumers, dead letters and outboxes.

use crate::{
    nats::{api_context::ApiContext, connection_watch::ConnectionWatch},
    publish::{BridgeOptions, Publisher},
};
use async_nats::Client;
use std::time::Duration;

/// A connection with its JetStream, its publisher, its watch, and its retry budget.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) context: ApiContext,
    pub(crate) publisher: Publisher,
    pub(crate) watch: ConnectionWatch,
    pub(crate) retry_budget: Duration,
}

impl Link {
    pub(crate) fn new(context: ApiContext, options: BridgeOptions, watch: ConnectionWatch) -> Self {
        let (client, retry_budget) = (context.client(), options.retry_budget());
        let publisher = Publisher::new(&context, options, watch.clone());
        Self { client, context, publisher, watch, retry_budget }
    }
}
