//! The broker's receipt for a stored message.

use crate::publish::attempt::answer::Stored;
use async_nats::jetstream::publish::PublishAck;
use std::sync::Arc;

/// A receipt of the broker for an event that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishReceipt {
    stream: Arc<str>,
    sequence: u64,
    is_duplicate: bool,
}

impl PublishReceipt {
    pub(super) fn new(stream: Arc<str>, sequence: u64, is_duplicate: bool) -> Self {
        Self { stream, sequence, is_duplicate }
    }

    /// Turns it into the receipt of a repeated publish of the same fact.
    pub(super) fn make_duplicate(&mut self) {
        self.is_duplicate = true;
    }

    /// Returns the stream that stored it.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Returns its sequence in the stream; of a duplicate, the sequence of the one stored first.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns whether the broker had it already, from an earlier attempt or an earlier publish within the duplicate
    /// window.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        self.is_duplicate
    }
}

impl From<PublishAck> for PublishReceipt {
    fn from(ack: PublishAck) -> Self {
        Self { stream: ack.stream.into(), sequence: ack.sequence, is_duplicate: ack.duplicate }
    }
}

impl From<Stored<'_>> for PublishReceipt {
    fn from(stored: Stored<'_>) -> Self {
        Self::new((*stored.stream).into(), stored.sequence, stored.is_duplicate)
    }
}

#[cfg(test)]
pub(super) fn test_receipt(sequence: u64) -> PublishReceipt {
    PublishReceipt::new("STRATT_EVENTS".into(), sequence, false)
}
