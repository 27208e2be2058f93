//! What a relay asks of the database.

use super::{OutboxError, row::Row};
use crate::sql_schema::Part;
use futures::future::BoxFuture;
use std::{fmt::Debug, sync::Arc, time::Duration};
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

/// How long a relay leads without a sign of life, by the database's clock.
pub(super) const LEASE: Duration = Duration::from_secs(5);
/// How many sent rows a statement removes.
pub(super) const PRUNE_BATCH: u64 = 1000;

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

/// What a relay reports, while it asks for the lead.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    pub(super) relay: Uuid,
    pub(super) report: Report,
    /// Whether sent rows that were kept long enough are to be removed.
    pub(super) prunes: bool,
}

/// Which pending rows a relay wants.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// How many rows it has room for.
    pub(super) rows: usize,
    /// How many bytes of payload. The row that goes beyond it is the last.
    pub(super) bytes: usize,
    /// How many rows of one unit.
    pub(super) of_each_unit: usize,
    /// Rows it has already.
    pub(super) held: Vec<i64>,
    /// Units whose rows it does not want now.
    pub(super) blocked: Vec<String>,
}

/// The answer to an exchange: what was reported is written in any case.
#[derive(Debug)]
pub(super) enum Turn {
    /// This relay leads for [`LEASE`].
    Leads {
        /// By its own clock, no later than by the database's.
        since: Instant,
        /// How many sent rows were removed, if that was asked for.
        pruned: Option<u64>,
    },
    /// Another relay leads.
    Waits,
}

/// The table of an outbox. Each call is a transaction of its own: its future may be dropped.
pub(super) trait Table: Debug + Send + Sync + 'static {
    fn exchange(&self, exchange: Exchange) -> BoxFuture<'_, Result<Turn, OutboxError>>;

    /// Reads the oldest pending rows, apart from the exchange: however long it takes, the lease is renewed meanwhile.
    fn look(&self, look: Look) -> BoxFuture<'_, Result<Vec<Row>, OutboxError>>;

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
