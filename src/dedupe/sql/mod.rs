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

use super::{StoreError, StoreErrorKind};

/// How a slot stands in its table.
mod state {
    pub(super) const FREE: i64 = 0;
    pub(super) const HELD: i64 = 1;
    pub(super) const SETTLED: i64 = 2;
}

/// How many expired slots a statement removes.
const PURGE_BATCH: i64 = 1000;
/// What an error of the database means for a store.
fn failed(error: sqlx::Error) -> StoreError {
    /// <https://www.postgresql.org/docs/current/errcodes-appendix.html>: undefined table, undefined column.
    const OTHER_SCHEMA: [&str; 2] = ["42P01", "42703"];
    /// The same page: disk full; and <https://www.sqlite.org/rescode.html>: `SQLITE_FULL`.
    const NO_ROOM: [&str; 2] = ["53100", "13"];
    let database = error.as_database_error();
    let code = database.and_then(sqlx::error::DatabaseError::code).unwrap_or_default().into_owned();
    // SQLite has no code for it.
    let is_missing = database.is_some_and(|error| error.message().starts_with("no such "));
    if is_missing || OTHER_SCHEMA.contains(&code.as_str()) {
        let message = "table is missing or of another version: call migrate()";
        return StoreError::new(StoreErrorKind::Mismatch).with_message(message).caused_by(error);
    }
    let kind =
        if NO_ROOM.contains(&code.as_str()) { StoreErrorKind::Full } else { StoreErrorKind::Unavailable };
    StoreError::new(kind).caused_by(error)
}
