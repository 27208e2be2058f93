//! Publishing and consuming at once, until all is consumed.

use crate::{
    Bench, Failure, IN_FLIGHT,
    consume::{BRIDGE, Load, RAW, pull_parse_ack},
    measure::{Sample, Stopwatch},
    publish::{publish_all, publish_in_ring},
};
use std::sync::Arc;
use stratt_event_bridge::dedupe::MemoryStore;
use tokio::task::JoinHandle;

impl Bench {
    pub(crate) async fn raw_together(&self, count: usize) -> Result<Sample, Failure> {
        self.empty().await?;
        let (messages, context) = (self.messages(count)?, self.context.clone());
        let consumer = self.raw_consumer().await?;
        let begun = Stopwatch::start();
        let publishing = tokio::spawn(async move { publish_in_ring(&context, messages, IN_FLIGHT).await });
        tokio::try_join!(pull_parse_ack(&consumer, count), joined(publishing))?;
        let sample = begun.stop(count);
        self.delete(RAW).await?;
        Ok(sample)
    }

    pub(crate) async fn bridge_together(&self, count: usize) -> Result<Sample, Failure> {
        self.empty().await?;
        let (envelopes, bridge) = (self.envelopes(count)?, self.bridge_with(IN_FLIGHT));
        let load = Load { in_flight: IN_FLIGHT, waits: None };
        let consumer = self.counted(BRIDGE, count, load, Arc::new(MemoryStore::new())).await?;
        let begun = Stopwatch::start();
        let publishing = tokio::spawn(async move { publish_all(&bridge, envelopes).await });
        tokio::try_join!(consumer.run(), joined(publishing))?;
        let sample = begun.stop(count);
        self.delete(BRIDGE).await?;
        Ok(sample)
    }
}

/// A publisher that fails ends the wait for what it did not publish.
async fn joined(publishing: JoinHandle<Result<(), Failure>>) -> Result<(), Failure> {
    publishing.await?
}
