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
    domain: Option<Arc<str>>,
}

impl PublishReceipt {
    pub(super) fn new(stream: Arc<str>, sequence: u64, is_duplicate: bool) -> Self {
        Self { stream, sequence, is_duplicate, domain: None }
    }

    /// Returns the receipt of a stream in this domain.
    pub(super) fn with_domain(self, domain: Option<Arc<str>>) -> Self {
        Self { domain, ..self }
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

    /// Returns the JetStream domain of the stream; `None` if its server has none.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }
}

impl From<PublishAck> for PublishReceipt {
    fn from(ack: PublishAck) -> Self {
        let domain = (!ack.domain.is_empty()).then(|| ack.domain.into());
        Self::new(ack.stream.into(), ack.sequence, ack.duplicate).with_domain(domain)
    }
}

impl From<Stored<'_>> for PublishReceipt {
    fn from(stored: Stored<'_>) -> Self {
        let domain = stored.domain.as_deref().map(Arc::from);
        Self::new((*stored.stream).into(), stored.sequence, stored.is_duplicate).with_domain(domain)
    }
}

#[cfg(test)]
pub(super) fn test_receipt(sequence: u64) -> PublishReceipt {
    PublishReceipt::new("STRATT_EVENTS".into(), sequence, false)
}
