//! The events that a relay has quarantined.

use time::OffsetDateTime;

/// An event that can never be published as it is. Its row stays until it is retried or dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuarantinedEvent {
    /// The id of its row.
    pub id: i64,
    /// The unit URI, as it stands in the row.
    pub uri: String,
    /// The subject, as it stands in the row.
    pub subject: String,
    /// The message id: the idempotency key, if `enqueue` has written it.
    pub message_id: String,
    /// The reason.
    pub error: String,
    /// When it was quarantined, by the database's clock.
    pub quarantined_at: OffsetDateTime,
}

/// The columns of a row, in the order of the statement; the time in microseconds since 1970.
pub(super) type Columns = (i64, String, String, String, Option<String>, i64);

impl From<Columns> for QuarantinedEvent {
    fn from((id, uri, subject, message_id, error, micros): Columns) -> Self {
        let quarantined_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000);
        let quarantined_at = quarantined_at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
        Self { id, uri, subject, message_id, error: error.unwrap_or_default(), quarantined_at }
    }
}
