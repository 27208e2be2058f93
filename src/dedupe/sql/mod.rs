//! Stores in a table of the host's database.
//!
//! Both work the same way: many slots in one statement, put together by the [coalescer](super::coalesce); the database's
//! clock and a counter of its own decide.

mod batch;
mod engine;
mod options;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

pub use options::SqlStoreOptions;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;

use crate::{
    dedupe::{StoreError, StoreErrorKind},
    sql::{error::is_other_schema, schema::MigrateError},
};
use std::time::Duration;

/// How a slot stands in its table.
mod state {
    pub(super) const FREE: i64 = 0;
    pub(super) const HELD: i64 = 1;
    pub(super) const SETTLED: i64 = 2;
}

/// How many expired slots are removed at once.
const PURGE_BATCH: i64 = 1000;
/// The version of the table: the second one has added for each slot how long it is remembered.
const VERSION: i64 = 2;
/// Whose the table is, in errors.
const OWNER: &str = "a dedupe store";

/// How long slots are remembered that do not say it, since version 1 wrote them: as long as the store that migrates
/// remembers, and no less than by default.
fn of_version_1(retention: Duration) -> Duration {
    retention.max(SqlStoreOptions::DEFAULT_RETENTION)
}

/// What an error of the database means for a store.
fn failed(error: sqlx::Error) -> StoreError {
    /// <https://www.postgresql.org/docs/current/errcodes-appendix.html>: disk full; and
    /// <https://www.sqlite.org/rescode.html>: `SQLITE_FULL`.
    const NO_ROOM: [&str; 2] = ["53100", "13"];
    if is_other_schema(&error) {
        let message = "table is missing or of another version: call migrate()";
        return StoreError::new(StoreErrorKind::Mismatch).with_message(message).caused_by(error);
    }
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    let is_full = code.is_some_and(|code| NO_ROOM.contains(&&*code));
    let kind = if is_full { StoreErrorKind::Full } else { StoreErrorKind::Unavailable };
    StoreError::new(kind).caused_by(error)
}

fn not_migrated(error: MigrateError) -> StoreError {
    match error {
        MigrateError::Database(error) => failed(error),
        MigrateError::Newer(newer) => {
            StoreError::new(StoreErrorKind::Mismatch).with_message(newer.to_string())
        }
        MigrateError::Occupied(occupied) => {
            StoreError::new(StoreErrorKind::Mismatch).with_message(occupied.to_string())
        }
    }
}
