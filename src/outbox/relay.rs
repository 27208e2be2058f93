//! The relay: publishes what is committed, in the order of each unit, and marks what the broker has acknowledged.

#[cfg(feature = "metrics")]
mod backlog;
mod flight;
mod group;
mod jobs;
mod lanes;
mod pace;
mod progress;
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

/// Publishes the events of an outbox.
///
/// Any number of processes may run one; one of them is at work, and another takes over when it ends, within
/// milliseconds when it is shut down and some 5 s after its death.
#[derive(Debug)]
#[must_use = "a relay does nothing until it runs"]
pub struct OutboxRelay {
    client: Client,
    publisher: Publisher,
    table: Arc<dyn Table>,
    progress: RelayProgress,
}

/// What a relay did between its start and its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RelaySummary {
    /// Events the broker has acknowledged.
    pub published: u64,
    /// Those of them that the broker had already.
    pub duplicates: u64,
    /// Events that can never be published, and were set aside.
    pub set_aside: u64,
}

impl OutboxRelay {
    pub(super) fn new(bridge: &EventBridge, table: Arc<dyn Table>) -> Self {
        let (client, publisher) = (bridge.link().client.clone(), bridge.link().publisher.clone());
        Self { client, publisher, table, progress: RelayProgress::default() }
    }

    /// Tells what it does once it runs.
    #[must_use]
    pub fn progress(&self) -> RelayProgress {
        self.progress.clone()
    }

    /// Publishes until `shutdown` resolves, then what is committed by then, for 5 s at most; waits for what is under way,
    /// marks it, and gives up the lead. It ends within 15 s.
    ///
    /// What could not be published within that time, or while the broker or the database is away, stays for the next relay.
    ///
    /// Outages of the broker and of the database are waited out.
    ///
    /// # Errors
    ///
    /// [`Mismatch`](super::OutboxErrorKind::Mismatch) when the table is missing, [`Disconnected`](super::OutboxErrorKind::Disconnected)
    /// when the connection to the broker is closed for good.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped, and no task outlives it: another relay publishes again what was not
    /// yet marked, under the same message id, once the lease of this one is over.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<RelaySummary, OutboxError> {
        let signals = Arc::new(Signals::default());
        let mut watching = JoinSet::new();
        let (table, told) = (Arc::clone(&self.table), Arc::clone(&signals));
        watching.spawn(async move { table.watch(told).await });
        #[cfg(feature = "metrics")]
        watching.spawn(backlog::measure(Arc::clone(&self.table)));
        let mut running = Running::new(self);
        let stopped = running.publish_until(shutdown, &signals).await;
        running.finish(stopped.is_ok()).await;
        stopped.map(|()| running.relay.progress.summary())
    }
}
