//! The table of a store, and how it is used.

use crate::table_name::TableName;
use std::time::Duration;

/// The table of a [`PostgresStore`](super::PostgresStore) or [`SqliteStore`](super::SqliteStore), and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlStoreOptions {
    pub(super) table: Option<TableName>,
    pub(super) retention: Duration,
    pub(super) operation_timeout: Duration,
}

impl Default for SqlStoreOptions {
    /// `stratt_dedupe`, 30 days, 3 s for an operation.
    fn default() -> Self {
        Self {
            table: None,
            retention: Duration::from_secs(30 * 24 * 60 * 60),
            operation_timeout: Duration::from_secs(3),
        }
    }
}

impl SqlStoreOptions {
    /// The table; a schema named with it must exist.
    #[must_use]
    pub fn with_table(mut self, table: TableName) -> Self {
        self.table = Some(table);
        self
    }

    /// How long a settled slot is remembered, and how long the attempts of one that is not are counted.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// How long one operation may take, the wait for a connection of the pool included.
    #[must_use]
    pub fn with_operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    pub(super) fn into_table(self) -> String {
        self.table.map_or_else(|| "stratt_dedupe".into(), |table| table.as_str().into())
    }
}
