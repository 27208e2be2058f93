//! The relay, which publishes committed events in the order of each unit and marks those that the broker has
//! acknowledged.

#[cfg(feature = "metrics")]
mod backlog;
mod batch_policy;
mod flight;
mod jobs;
mod lanes;
mod progress;
mod publish_group;
mod running;

use crate::{
    bridge::EventBridge,
    outbox::{
        OutboxError,
        table::{Signals, Table},
    },
    publish::Publisher,
};
use async_nats::Client;
pub use progress::RelayProgress;
use running::Running;
use std::sync::Arc;
use tokio::task::JoinSet;

/// A relay that publishes the events of an outbox.
///
/// Any number of processes may run one. One relay leads; when it ends, another leads within milliseconds after a
/// shutdown and some 5 s after a crash.
#[derive(Debug)]
#[must_use = "a relay does nothing until it runs"]
pub struct OutboxRelay {
    client: Client,
    publisher: Publisher,
    table: Arc<dyn Table>,
    progress: RelayProgress,
}

/// The counts of a relay between its start and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RelaySummary {
    /// Events that the broker has acknowledged.
    pub published: u64,
    /// Those of them that the broker already had.
    pub duplicates: u64,
    /// Events that can never be published and were quarantined.
    pub quarantined: u64,
}

impl OutboxRelay {
    pub(super) fn new(bridge: &EventBridge, table: Arc<dyn Table>) -> Self {
        let (client, publisher) = (bridge.link().client.clone(), bridge.link().publisher.clone());
        Self { client, publisher, table, progress: RelayProgress::default() }
    }

    /// Returns a handle to the counts of the relay, for use while it runs.
    #[must_use]
    pub fn progress(&self) -> RelayProgress {
        self.progress.clone()
    }

    /// Publishes until `shutdown` resolves. Then publishes what is committed by that time, for up to 5 s, waits for
    /// what is in flight, marks it, and gives up the lead. It ends within 15 s of `shutdown`.
    ///
    /// Events that could not be published within that time, or during an outage of the broker or database, are left to
    /// the next relay. While it runs, outages are waited out.
    ///
    /// # Errors
    ///
    /// [`Mismatch`](super::OutboxErrorKind::Mismatch) when the table is missing,
    /// [`Disconnected`](super::OutboxErrorKind::Disconnected) when the connection to the broker is permanently closed.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped, and no task outlives it: after lease expiry another relay publishes
    /// again what was not yet marked, under the same message id.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<RelaySummary, OutboxError> {
        let signals = Arc::new(Signals::default());
        let mut watching = JoinSet::new();
        let (table, woken) = (Arc::clone(&self.table), Arc::clone(&signals));
        watching.spawn(async move { table.watch(woken).await });
        #[cfg(feature = "metrics")]
        watching.spawn(backlog::measure(Arc::clone(&self.table)));
        let mut running = Running::new(self);
        let stopped = running.publish_until(shutdown, &signals).await;
        running.finish(stopped.is_ok()).await;
        stopped.map(|()| running.relay.progress.summary())
    }
}
