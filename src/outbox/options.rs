//! The table of an outbox, and how it is used.

use crate::sql::table_name::TableName;
use std::time::Duration;

/// The table of an outbox, and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxOptions {
    table: Option<TableName>,
    pub(super) keep_sent: Duration,
}

impl Default for OutboxOptions {
    /// `stratt_outbox`; what is published is kept for a day.
    fn default() -> Self {
        Self { table: None, keep_sent: Duration::from_secs(24 * 60 * 60) }
    }
}

impl OutboxOptions {
    /// The table; a schema named with it must exist. Beside it, `{table}_relay` says which relay is at work.
    #[must_use]
    pub fn with_table(mut self, table: TableName) -> Self {
        self.table = Some(table);
        self
    }

    /// How long an event that was published is kept, for those who want to look it up.
    #[must_use]
    pub fn with_keep_sent(mut self, time: Duration) -> Self {
        self.keep_sent = time;
        self
    }

    pub(super) fn into_table(self) -> String {
        self.table.map_or_else(|| "stratt_outbox".into(), |table| table.as_str().into())
    }
}
