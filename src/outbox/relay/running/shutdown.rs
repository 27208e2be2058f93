//! The end of a relay, in bounded time even during outages, since the service waits for it.

use crate::{outbox::relay::running::Running, report::report};
use async_nats::connection::State;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Time limit for publishing what is committed.
const DRAIN: Duration = Duration::from_secs(5);
/// Time limit of the last acknowledgements after that, and then of the last marks.
const AT_THE_END: Duration = Duration::from_secs(5);

impl Running {
    /// Publishes what is committed if `drains`, waits for what is in flight, marks it, and gives up the lead.
    pub(in crate::outbox::relay) async fn finish(&mut self, drains: bool) {
        if drains && timeout(DRAIN, self.drain()).await.is_err() {
            tracing::warn!("outbox was not drained in time; the next relay publishes the rest");
        }
        let in_flight = async {
            while let Some(published) = self.flight.next().await {
                // Failed rows are left to the next relay.
                let _is_known = self.all_published(published);
            }
        };
        let _all_ended = timeout(AT_THE_END, in_flight).await;
        let marks = std::mem::take(&mut self.report);
        match timeout(AT_THE_END, self.jobs.finish(self.id, marks)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %report(&error), "failed to mark the last events; they will be published again");
            }
            Err(_elapsed) => {
                tracing::warn!("timed out marking the last events; they will be published again");
            }
        }
    }

    /// Publishes what is committed, as long as this relay leads and broker and database are available.
    async fn drain(&mut self) {
        // Only a look that begins now finds all that is committed, not one in flight.
        self.may_be_more = true;
        while self.is_draining() && self.step().await.is_ok() {}
    }

    fn is_draining(&self) -> bool {
        let is_at_work = self.may_be_more || self.jobs.looks() || self.lanes.len() > 0;
        let is_connected = self.relay.client.connection_state() == State::Connected;
        is_at_work && is_connected && self.leads() && Instant::now() >= self.asks_after
    }
}
