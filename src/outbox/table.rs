//! What a relay asks of the database.

use crate::{
    outbox::{OutboxError, row::Row},
    sql::schema::Part,
};
use futures::future::BoxFuture;
use std::{fmt::Debug, sync::Arc, time::Duration};
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

/// How long a relay leads without a sign of life, by the database's clock.
pub(super) const LEASE: Duration = Duration::from_secs(5);
/// How many sent rows a statement removes.
pub(super) const PRUNE_BATCH: i64 = 1000;

/// The newest version of the table, which is the one that statements are written for.
pub(super) const VERSION: i64 = 2;
/// What version 2 has added: the trace that a row belongs to, as its two headers.
pub(super) const ADDED: [&str; 2] = ["traceparent text", "tracestate text"];
/// Whose the tables are, in errors.
pub(super) const OWNER: &str = "an outbox";
/// What the tables are recognised by.
pub(super) const EVENTS: Part = Part::table("", &["uri", "message_id", "payload"]);
pub(super) const RELAY: Part = Part::table("_relay", &["holder", "until"]);

/// What waits in an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxStatus {
    /// Events that are committed and not yet published.
    pub pending: u64,
    /// How long the oldest of them has waited, by the database's clock.
    pub oldest_pending: Option<Duration>,
    /// Events that can never be published, and were set aside.
    pub set_aside: u64,
}

/// What a relay is told between its looks.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// There may be new rows.
    pub(super) rows: Notify,
    /// There may be nobody who leads.
    pub(super) lead: Notify,
}

/// What became of rows since the last exchange.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    /// The broker has them.
    pub(super) sent: Vec<i64>,
    /// They can never be published, for this reason.
    pub(super) set_aside: Vec<(i64, String)>,
}

/// Which pending rows a relay wants.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// How many it has room for.
    pub(super) rows: usize,
    /// How many bytes of payload it has room for; the row that exceeds them is the last.
    pub(super) bytes: usize,
    /// How many of one unit.
    pub(super) of_each_unit: usize,
    /// Rows it has already.
    pub(super) held: Vec<i64>,
    /// Units whose rows it does not want now.
    pub(super) blocked: Vec<String>,
}

/// The table of an outbox. The future of each call may be dropped: what it writes is written whole, or not at all, and may be
/// written again.
///
/// The calls run side by side. None waits for another, so that the lease is renewed however long a read or a mark takes.
pub(super) trait Table: Debug + Send + Sync + 'static {
    /// Takes the lead or keeps it, for [`LEASE`] from the returned moment, which is no later than the database's own; `None` if
    /// another relay leads.
    fn lead(&self, relay: Uuid) -> BoxFuture<'_, Result<Option<Instant>, OutboxError>>;

    /// Marks what became of rows, whoever leads.
    fn mark(&self, report: Report) -> BoxFuture<'_, Result<(), OutboxError>>;

    /// Reads the oldest pending rows that are wanted, of each unit an unbroken sequence.
    fn look(&self, look: Look) -> BoxFuture<'_, Result<Vec<Row>, OutboxError>>;

    /// Removes sent rows that were kept long enough, [`PRUNE_BATCH`] at most, and returns how many.
    fn prune(&self) -> BoxFuture<'_, Result<u64, OutboxError>>;

    /// As it stands in statements.
    fn name(&self) -> &str;

    /// What waits.
    fn status(&self) -> BoxFuture<'_, Result<OutboxStatus, OutboxError>>;

    /// Gives the lead up, and wakes those who wait for it.
    fn step_down(&self, relay: Uuid) -> BoxFuture<'_, Result<(), OutboxError>>;

    /// Passes on what relays are told, and never ends. What it misses is found by looking.
    fn watch(&self, signals: Arc<Signals>) -> BoxFuture<'_, ()>;
}

impl Report {
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.set_aside.is_empty()
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.sent.extend(other.sent);
        self.set_aside.extend(other.set_aside);
    }
}
