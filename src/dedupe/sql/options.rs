//! The options of a store in a database.

use crate::sql::table_name::TableName;
use std::time::Duration;

/// Options of a [`PostgresStore`](super::PostgresStore) or [`SqliteStore`](super::SqliteStore).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlStoreOptions {
    pub(super) table: Option<TableName>,
    pub(super) retention: Duration,
    pub(super) operation_timeout: Duration,
    #[cfg(feature = "postgres")]
    pub(super) prepares: bool,
}

impl Default for SqlStoreOptions {
    /// Returns options with the table `stratt_dedupe`, a retention of 30 days, an operation timeout of 3 s, and
    /// prepared statements.
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

    /// Sets the table. A schema in its name must exist.
    #[must_use]
    pub fn with_table(mut self, table: TableName) -> Self {
        self.table = Some(table);
        self
    }

    /// Sets how long a settled slot is remembered, and how long the attempts of an unsettled one are counted. A century
    /// is the longest that a table can express; longer times have the same meaning. The retention is recorded with each
    /// slot that is claimed, and does not apply to slots of other stores on the same table.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = retention;
        self
    }

    /// Sets the time limit of one operation, including the wait for a connection from the pool.
    #[must_use]
    pub fn with_operation_timeout(mut self, timeout: Duration) -> Self {
        self.operation_timeout = timeout;
        self
    }

    /// Sets whether a [`PostgresStore`](super::PostgresStore) prepares its most frequent statements by name, once per
    /// connection. Without, throughput falls by about a fifth. SQLite ignores this setting.
    ///
    /// Turn it off behind a pooler that assigns each transaction another connection and does not support prepared
    /// statements, such as PgBouncer before 1.21 in transaction mode.
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
