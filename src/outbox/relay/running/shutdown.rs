//! How a relay ends: within a bound, whatever is away, since a service must not wait for it.

use crate::{outbox::relay::running::Running, report::report};
use async_nats::connection::State;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// How long a relay that ends goes on with what is committed.
const DRAIN: Duration = Duration::from_secs(5);
/// How long the last acknowledgements may take after it, and then the last marks.
const AT_THE_END: Duration = Duration::from_secs(5);

impl Running {
    /// Drains what is committed if it is to, waits for what is under way, marks it, and gives up the lead.
    pub(in crate::outbox::relay) async fn finish(&mut self, drains: bool) {
        if drains && timeout(DRAIN, self.drain()).await.is_err() {
            tracing::warn!("outbox is not drained in time; the next relay publishes the rest");
        }
        let under_way = async {
            while let Some(published) = self.flight.next().await {
                // What has failed is left to the next relay.
                let _is_known = self.all_published(published);
            }
        };
        let _all_ended = timeout(AT_THE_END, under_way).await;
        let marks = std::mem::take(&mut self.report);
        match timeout(AT_THE_END, self.jobs.finish(self.id, marks)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %report(&error), "last events could not be marked; they are published again");
            }
            Err(_elapsed) => {
                tracing::warn!("last events could not be marked in time; they are published again");
            }
        }
    }

    /// Publishes what is committed, as long as this relay leads and nothing is away.
    async fn drain(&mut self) {
        // What is committed is found by a look that begins now, and not by one that is under way.
        self.may_be_more = true;
        while self.is_draining() && self.step().await.is_ok() {}
    }

    fn is_draining(&self) -> bool {
        let is_at_work = self.may_be_more || self.jobs.looks() || self.lanes.len() > 0;
        let is_connected = self.relay.client.connection_state() == State::Connected;
        is_at_work && is_connected && self.leads() && Instant::now() >= self.asks_after
    }
}
