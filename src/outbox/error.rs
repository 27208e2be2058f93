//! Why an outbox did not do what it was asked.

use crate::{
    error_kind::kind_words,
    sql::{error::is_other_schema, schema::MigrateError},
};
use std::error::Error;

/// An outbox that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct OutboxError {
    kind: OutboxErrorKind,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Why an outbox did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutboxErrorKind {
    /// The envelope could not be written.
    Invalid,
    /// Larger than an envelope may be.
    TooLarge,
    /// The table is missing or of an older version: nobody has called `migrate()`.
    Mismatch,
    /// A newer program has made the table; the source names the versions.
    Newer,
    /// Something else has the name of the table or of what is made beside it, such as a dedupe store. Nothing was touched;
    /// the source names it and the cure.
    Occupied,
    /// The database did not answer, or refused; the source says more.
    Unavailable,
    /// The connection to the broker is closed for good.
    Disconnected,
}

kind_words!(OutboxErrorKind {
    Invalid => "invalid", "envelope cannot be written";
    TooLarge => "too_large", "envelope is too large";
    Mismatch => "mismatch", "outbox table is missing or of an older version: call migrate()";
    Newer => "newer", "outbox table is of a newer version than this program knows";
    Occupied => "occupied", "name of the outbox's table belongs to something else";
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

    /// Why.
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
