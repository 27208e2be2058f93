//! Conversion of database errors to store errors.

use crate::{
    dedupe::{StoreError, StoreErrorKind},
    sql::{error::is_other_schema, schema::MigrateError},
};

/// Converts an error of a statement.
pub(super) fn failed(error: sqlx::Error) -> StoreError {
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

/// Converts an error of a migration.
pub(super) fn not_migrated(error: MigrateError) -> StoreError {
    let mismatch = |message: String| StoreError::new(StoreErrorKind::Mismatch).with_message(message);
    match error {
        MigrateError::Database(error) => failed(error),
        MigrateError::Newer(newer) => mismatch(newer.to_string()),
        MigrateError::Occupied(occupied) => mismatch(occupied.to_string()),
    }
}
