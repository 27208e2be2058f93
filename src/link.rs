//! A connection and what is known of it: what consumers, dead letters and outboxes hold of the bridge that made them.

use crate::{
    nats::connection_watch::ConnectionWatch,
    publish::{BridgeOptions, Publisher},
};
use async_nats::{Client, jetstream};
use std::time::Duration;

/// A connection with its publisher, what is heard of it, and how long it repeats a publish.
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
