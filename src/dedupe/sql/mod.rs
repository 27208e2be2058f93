//! Stores in a table of the host's database.
//!
//! Both databases work the same way: the [coalescer](super::coalesce) combines many slots into one statement, and the
//! database's clock and counter decide.

mod batch;
mod engine;
mod failure;
mod options;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;

pub use options::SqlStoreOptions;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use store::SqlStore;

use failure::{failed, not_migrated};
use std::time::Duration;

/// The states of a slot in its table.
mod state {
    pub(super) const FREE: i64 = 0;
    pub(super) const HELD: i64 = 1;
    pub(super) const SETTLED: i64 = 2;
}

/// The most expired slots that are removed at once.
const PURGE_BATCH: i64 = 1000;
/// The schema version of the table. Version 2 added the retention and the lapses of each slot.
const VERSION: i64 = 2;
/// The owner of the table, in errors.
const OWNER: &str = "a dedupe store";

/// Returns the retention of slots that version 1 wrote without one: that of the store that migrates, at least the
/// default.
fn of_version_1(retention: Duration) -> Duration {
    retention.max(SqlStoreOptions::DEFAULT_RETENTION)
}
