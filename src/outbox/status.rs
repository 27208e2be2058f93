//! The status of an outbox.

use std::time::Duration;

/// The number and age of the events in an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxStatus {
    /// Events that are committed and not yet published.
    pub pending: u64,
    /// The age of the oldest pending event, by the database's clock.
    pub oldest_pending: Option<Duration>,
    /// Events that can never be published and were quarantined.
    pub quarantined: u64,
}
