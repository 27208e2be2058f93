//! The interface of an outbox table, for hosts and relays.

use crate::{
    outbox::{
        OutboxError, OutboxStatus, QuarantinedEvent,
        row::{Entry, Row},
    },
    sql::schema::{MigrateError, Part, Schema},
};
use futures::future::BoxFuture;
use sqlx::Database;
use std::{fmt::Debug, sync::Arc, time::Duration};
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

/// The time for which a relay leads without renewing its lease, by the database's clock.
pub(super) const LEASE: Duration = Duration::from_secs(5);
/// The most sent rows that a statement removes.
pub(super) const PRUNE_BATCH: i64 = 1000;

/// The newest schema version of the table, for which the statements are written.
const VERSION: i64 = 2;
/// The columns added by version 2: the trace of a row, as its two headers.
const ADDED: [&str; 2] = ["traceparent text", "tracestate text"];
/// The owner of the tables, in errors.
const OWNER: &str = "an outbox";
/// The table of events, recognised by some of its columns.
pub(super) const EVENTS: Part = Part::table("", &["uri", "message_id", "payload"]);
/// The table of the leader lease, recognised by some of its columns.
pub(super) const RELAY: Part = Part::table("_relay", &["holder", "until"]);

/// Returns the schema of an outbox, given the statement that creates it and its parts.
pub(super) fn schema<'a>(table: &'a str, create: &'a str, parts: &'a [Part]) -> Schema<'a> {
    Schema { table, owner: OWNER, version: VERSION, create, added: &ADDED, parts }
}

/// Wake-up signals of a relay.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// There may be new rows.
    pub(super) rows: Notify,
    /// The lead may be free.
    pub(super) lead: Notify,
}

/// The results of rows since the last mark.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    /// Rows that the broker has acknowledged.
    pub(super) sent: Vec<i64>,
    /// Rows that can never be published, with the reason.
    pub(super) quarantined: Vec<(i64, String)>,
}

/// The pending rows that a relay asks for.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// The most rows.
    pub(super) rows: usize,
    /// The most bytes of payload; the row that exceeds them is the last.
    pub(super) bytes: usize,
    /// The most rows of one unit.
    pub(super) of_each_unit: usize,
    /// Rows that the relay already holds.
    pub(super) held: Vec<i64>,
    /// Units whose rows are not wanted now.
    pub(super) blocked: Vec<String>,
}

/// The table of an outbox, for relays. The future of each call may be dropped: its write then happened whole or not at
/// all, and may be repeated.
///
/// The calls run concurrently. None waits for another, so the lease is renewed however long a read or a mark takes.
pub(super) trait Table: Debug + Send + Sync + 'static {
    /// Takes or renews the lead for [`LEASE`] from the returned moment, which is not after that of the database;
    /// returns `None` if another relay leads.
    fn lead(&self, relay: Uuid) -> BoxFuture<'_, Result<Option<Instant>, OutboxError>>;

    /// Records the results of rows, no matter which relay leads.
    fn mark(&self, report: Report) -> BoxFuture<'_, Result<(), OutboxError>>;

    /// Reads the oldest pending rows that are wanted, an unbroken sequence for each unit.
    fn look(&self, look: Look) -> BoxFuture<'_, Result<Vec<Row>, OutboxError>>;

    /// Removes sent rows that were kept long enough, at most [`PRUNE_BATCH`], and returns how many.
    fn prune(&self) -> BoxFuture<'_, Result<u64, OutboxError>>;

    /// Returns the name of the table.
    fn name(&self) -> &str;

    /// Reads the status of the outbox.
    fn status(&self) -> BoxFuture<'_, Result<OutboxStatus, OutboxError>>;

    /// Gives up the lead and wakes the relays that wait for it.
    fn step_down(&self, relay: Uuid) -> BoxFuture<'_, Result<(), OutboxError>>;

    /// Forwards wake-ups to `signals`, and never ends. Missed ones are made up for by polling.
    fn watch(&self, signals: Arc<Signals>) -> BoxFuture<'_, ()>;
}

/// The table of an outbox, for the host.
pub(super) trait Queue<D: Database>: Table {
    /// Creates or upgrades the tables.
    fn migrate(&self) -> BoxFuture<'_, Result<(), MigrateError>>;

    /// Returns the quarantined rows with the lowest ids.
    fn quarantined(&self, limit: i64) -> BoxFuture<'_, Result<Vec<QuarantinedEvent>, OutboxError>>;

    /// Makes those of these rows pending that are quarantined, and returns how many.
    fn retry(&self, ids: Vec<i64>) -> BoxFuture<'_, Result<u64, OutboxError>>;

    /// Removes those of these rows that are quarantined, and returns how many.
    fn drop_quarantined(&self, ids: Vec<i64>) -> BoxFuture<'_, Result<u64, OutboxError>>;

    /// Writes an event in the transaction of a connection.
    fn enqueue<'a>(
        &'a self,
        entry: Entry,
        connection: &'a mut D::Connection,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>>;
}

impl Report {
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.quarantined.is_empty()
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.sent.extend(other.sent);
        self.quarantined.extend(other.quarantined);
    }
}
