//! The outbox over a table of the host's database, for both databases.

use crate::{
    bridge::EventBridge,
    contract::{envelope::Envelope, event::Event},
    outbox::{OutboxError, OutboxRelay, OutboxStatus, QuarantinedEvent, row::Entry, table::Queue},
};
use sqlx::{Database, Transaction};
use std::{fmt, sync::Arc};

/// An outbox in a table of the host's database, over a pool that the host owns:
/// [`PostgresOutbox`](super::PostgresOutbox) or [`SqliteOutbox`](super::SqliteOutbox).
pub struct SqlOutbox<D: Database> {
    queue: Arc<dyn Queue<D>>,
}

impl<D: Database> SqlOutbox<D> {
    pub(super) fn over(queue: impl Queue<D>) -> Self {
        Self { queue: Arc::new(queue) }
    }

    /// Creates the tables and indexes where they are missing, and upgrades a table of an
    /// [older version](crate::docs::outbox#another-version), keeping its rows. Several processes may call it
    /// concurrently.
    ///
    /// In PostgreSQL, nothing is changed where nothing is missing, and no privilege to create is needed. The host then
    /// needs `INSERT` and `SELECT` on the table, and the relay `SELECT`, `UPDATE` and `DELETE` on it and all four on
    /// `{table}_relay`. In SQLite, the version is recorded in a table `{table}_schema`.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](super::OutboxErrorKind::Unavailable) when the database does not answer, is busy for too long or
    /// rejects the change, or, in PostgreSQL, when a transaction blocks the upgrade of an older table for more than 3
    /// s; [`Newer`](super::OutboxErrorKind::Newer) when the table was created by a newer program, and
    /// [`Occupied`](super::OutboxErrorKind::Occupied) when its name belongs to something else, such as a dedupe store:
    /// then nothing is touched.
    ///
    /// # Cancel safety
    ///
    /// Runs in one transaction: dropping the future leaves all of it or nothing.
    pub async fn migrate(&self) -> Result<(), OutboxError> {
        Ok(self.queue.migrate().await?)
    }

    /// Announces an event if the host's transaction commits, and only then.
    ///
    /// Events of one unit are published in the order in which they are enqueued. Concurrent transactions that announce
    /// the same unit are ordered only if one waits for the other: enqueue after the write that locks the subject of the
    /// event. In SQLite, begin the transaction as a writer, with `pool.begin_with("BEGIN IMMEDIATE")`: SQLite does not
    /// let a reader become a writer once another connection has written.
    ///
    /// With the feature `otel` the event belongs to the [trace](crate::docs::outbox#traces) in which this is called.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](super::OutboxErrorKind::TooLarge) and [`Invalid`](super::OutboxErrorKind::Invalid) for an envelope
    /// that could never be published; the transaction is unaffected. After any other error, roll the transaction back:
    /// in PostgreSQL it has failed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the transaction in an unknown state: roll it back, for example by dropping it.
    pub async fn enqueue<E: Event>(
        &self,
        tx: &mut Transaction<'_, D>,
        envelope: &Envelope<E>,
    ) -> Result<(), OutboxError> {
        Ok(self.queue.enqueue(Entry::of(envelope)?, tx).await?)
    }

    /// Returns a relay that publishes what is committed, over `bridge`. In PostgreSQL it keeps one connection of the
    /// pool to listen.
    pub fn relay(&self, bridge: &EventBridge) -> OutboxRelay {
        let queue: Arc<dyn Queue<D>> = Arc::clone(&self.queue);
        OutboxRelay::new(bridge, queue)
    }

    /// Reads the number and age of pending events and the number of quarantined ones.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](super::OutboxErrorKind::Unavailable) when the database does not answer,
    /// [`Mismatch`](super::OutboxErrorKind::Mismatch) when the table is missing.
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn status(&self) -> Result<OutboxStatus, OutboxError> {
        self.queue.status().await
    }

    /// Returns the quarantined events, oldest first and at most `limit`.
    ///
    /// # Errors
    ///
    /// As for [`status`](Self::status).
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn quarantined(&self, limit: u32) -> Result<Vec<QuarantinedEvent>, OutboxError> {
        self.queue.quarantined(limit.into()).await
    }

    /// Makes quarantined events pending again, once the cause is mended, and returns how many: those that are not
    /// quarantined any more are left alone.
    ///
    /// A retried event may be published after later ones of its unit.
    ///
    /// # Errors
    ///
    /// As for [`status`](Self::status).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves all of them pending or none; retrying them again is harmless.
    pub async fn retry_quarantined(&self, ids: impl IntoIterator<Item = i64>) -> Result<u64, OutboxError> {
        self.queue.retry(ids.into_iter().collect()).await
    }

    /// Removes quarantined events for good, and returns how many: they are never announced.
    ///
    /// # Errors
    ///
    /// As for [`status`](Self::status).
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves all of them removed or none.
    pub async fn drop_quarantined(&self, ids: impl IntoIterator<Item = i64>) -> Result<u64, OutboxError> {
        self.queue.drop_quarantined(ids.into_iter().collect()).await
    }
}

impl<D: Database> Clone for SqlOutbox<D> {
    fn clone(&self) -> Self {
        Self { queue: Arc::clone(&self.queue) }
    }
}

impl<D: Database> fmt::Debug for SqlOutbox<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlOutbox").field("queue", &self.queue).finish()
    }
}
