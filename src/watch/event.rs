//! An event of a watch.

use crate::contract::{envelope::Envelope, event::AnyEvent};
use time::OffsetDateTime;

/// An event as a [`Watch`](crate::watch::Watch) received it.
#[derive(Debug, Clone)]
pub struct WatchedEvent {
    pub(super) envelope: Envelope<AnyEvent>,
    pub(super) sequence: u64,
    pub(super) stored_at: OffsetDateTime,
}

impl WatchedEvent {
    /// Returns the event.
    #[must_use]
    pub fn event(&self) -> &AnyEvent {
        self.envelope.event()
    }

    /// Returns the envelope.
    #[must_use]
    pub fn envelope(&self) -> &Envelope<AnyEvent> {
        &self.envelope
    }

    /// Returns the envelope, owned.
    #[must_use]
    pub fn into_envelope(self) -> Envelope<AnyEvent> {
        self.envelope
    }

    /// Returns the sequence in the stream of the feed.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns when the stream stored it, by the clock of the server: for [`Feed::Choco`](crate::Feed::Choco), when it
    /// was forwarded.
    #[must_use]
    pub fn stored_at(&self) -> OffsetDateTime {
        self.stored_at
    }
}
