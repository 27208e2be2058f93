//! The table of a store, and how it is used.

use crate::sql::table_name::TableName;
use std::time::Duration;

/// The table of a [`PostgresStore`](super::PostgresStore) or [`SqliteStore`](super::SqliteStore), and how it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlStoreOptions {
    pub(super) table: Option<TableName>,
    pub(super) retention: Duration,
    pub(super) operation_timeout: Duration,
    #[cfg(feature = "postgres")]
    pub(super) prepares: bool,
}

impl Default for SqlStoreOptions {
    /// `stratt_dedupe`, 30 days, 3 s for an operation, prepared statements.
    fn default() -> Self {
        Self {
            table: None,
            retention: Self::DEFAULT_RETENTION,
            operation_timeout: Duration::from_secs(3),
            #[cfg(feature = "postgres")]
            prepares: true,
        }
    }
}

impl SqlStoreOptions {
    pub(super) const DEFAULT_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

    /// The table; a schema named with it must exist.
    #[must_use]
    pub fn with_table(mut self, table: TableName) -> Self {
        self.table = Some(table);
        self
    }

    /// How long a settled slot is remembered, and how long the attempts of one that is not are counted. It is written with
    /// each slot that is claimed, and says nothing of those of other stores on the table.
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

    /// Whether a [`PostgresStore`](super::PostgresStore) prepares the statements of every event by name, once for each
    /// connection. Without, it does some four fifths of the events in the same time.
    ///
    /// It must not behind a pooler that gives each transaction another connection and does not know of prepared
    /// statements, such as PgBouncer before 1.21 in its transaction mode.
    #[cfg(feature = "postgres")]
    #[must_use]
    pub fn with_prepared_statements(mut self, prepares: bool) -> Self {
        self.prepares = prepares;
        self
    }

    pub(super) fn into_table(self) -> String {
        self.table.map_or_else(|| "stratt_dedupe".into(), |table| table.as_str().into())
    }
}
