//! The options of an outbox.

use crate::sql::table_name::TableName;
use std::time::Duration;

/// Options of a [`PostgresOutbox`](super::PostgresOutbox) or [`SqliteOutbox`](super::SqliteOutbox).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxOptions {
    table: Option<TableName>,
    pub(super) keep_sent: Duration,
}

impl Default for OutboxOptions {
    /// Returns options with the table `stratt_outbox`, which keep published events for a day.
    fn default() -> Self {
        Self { table: None, keep_sent: Duration::from_secs(24 * 60 * 60) }
    }
}

impl OutboxOptions {
    /// Sets the table. A schema in its name must exist. The leader lease of relays is in a second table,
    /// `{table}_relay`.
    #[must_use]
    pub fn with_table(mut self, table: TableName) -> Self {
        self.table = Some(table);
        self
    }

    /// Sets how long published events are kept for inspection. Times longer than a century count as a century.
    #[must_use]
    pub fn with_keep_sent(mut self, time: Duration) -> Self {
        self.keep_sent = time;
        self
    }

    pub(super) fn into_table(self) -> String {
        self.table.map_or_else(|| "stratt_outbox".into(), |table| table.as_str().into())
    }
}
