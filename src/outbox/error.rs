//! Errors of an outbox.

use crate::{
    error_kind::kind_words,
    sql::{error::is_other_schema, schema::MigrateError},
};
use std::error::Error;

/// An error of an outbox operation.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct OutboxError {
    kind: OutboxErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The kind of an [`OutboxError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutboxErrorKind {
    /// The envelope cannot be encoded.
    Invalid,
    /// The envelope is larger than the limit.
    TooLarge,
    /// The table is missing or of an older version: `migrate()` was not called.
    Mismatch,
    /// The table was created by a newer program; the source names the versions.
    Newer,
    /// The name of the table, or of an object derived from it, belongs to something else, such as a dedupe store.
    /// Nothing was touched; the source names the object and the remedy.
    Occupied,
    /// The database did not answer or returned an error; see the source.
    Unavailable,
    /// The connection to the broker is permanently closed.
    Disconnected,
}

kind_words!(OutboxErrorKind {
    Invalid => "invalid", "envelope cannot be encoded";
    TooLarge => "too_large", "envelope is too large";
    Mismatch => "mismatch", "outbox table is missing or of an older version: call migrate()";
    Newer => "newer", "outbox table is of a newer version than this program knows";
    Occupied => "occupied", "table name of the outbox belongs to something else";
    Unavailable => "unavailable", "outbox database is not available";
    Disconnected => "disconnected", "connection to the broker is closed";
});

impl OutboxError {
    pub(super) fn new(kind: OutboxErrorKind) -> Self {
        Self { kind, source: None }
    }

    pub(super) fn caused(kind: OutboxErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, source: Some(source.into()) }
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> OutboxErrorKind {
        self.kind
    }
}

impl From<sqlx::Error> for OutboxError {
    fn from(error: sqlx::Error) -> Self {
        let is_mismatch = is_other_schema(&error);
        Self::caused(
            if is_mismatch { OutboxErrorKind::Mismatch } else { OutboxErrorKind::Unavailable },
            error,
        )
    }
}

impl From<MigrateError> for OutboxError {
    fn from(error: MigrateError) -> Self {
        match error {
            MigrateError::Database(error) => error.into(),
            MigrateError::Newer(newer) => Self::caused(OutboxErrorKind::Newer, newer),
            MigrateError::Occupied(occupied) => Self::caused(OutboxErrorKind::Occupied, occupied),
        }
    }
}
