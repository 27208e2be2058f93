//! The connection that a bridge shares with its consumers, dead letters and outboxes.

use crate::{
    nats::connection_watch::ConnectionWatch,
    publish::{BridgeOptions, Publisher},
};
use async_nats::{Client, jetstream};
use std::time::Duration;

/// A connection with its publisher, its watch, and its retry budget.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) publisher: Publisher,
    pub(crate) watch: ConnectionWatch,
    pub(crate) retry_budget: Duration,
}

impl Link {
    pub(crate) fn new(client: Client, options: BridgeOptions, watch: ConnectionWatch) -> Self {
        let publisher = Publisher::new(client.clone(), options, watch.clone());
        Self { client, publisher, watch, retry_budget: options.retry_budget() }
    }

    pub(crate) fn context(&self) -> jetstream::Context {
        jetstream::new(self.client.clone())
    }
}
