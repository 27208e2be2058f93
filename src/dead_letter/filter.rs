//! The selection of dead letters.

use crate::{
    contract::{consumer_name::ConsumerName, domain::Domain, event::EventType, subject::dead_letter_filter},
    dead_letter::{DeadLetter, DeadLetterReason},
};

/// A filter for dead letters: it selects those that match everything that is set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeadLetterFilter {
    consumer: Option<ConsumerName>,
    domain: Option<Domain>,
    event_type: Option<EventType>,
    reason: Option<DeadLetterReason>,
}

impl DeadLetterFilter {
    /// Selects the dead letters of this consumer only.
    #[must_use]
    pub fn with_consumer(mut self, consumer: ConsumerName) -> Self {
        self.consumer = Some(consumer);
        self
    }

    /// Selects the dead letters of this domain only.
    #[must_use]
    pub fn with_domain(mut self, domain: Domain) -> Self {
        self.domain = Some(domain);
        self
    }

    /// Selects the dead letters of this event type only.
    #[must_use]
    pub fn with_event_type(mut self, event_type: EventType) -> Self {
        self.event_type = Some(event_type);
        self
    }

    /// Selects the dead letters with this reason only.
    #[must_use]
    pub fn with_reason(mut self, reason: DeadLetterReason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Returns the subject that the broker filters by.
    pub(super) fn subject(&self) -> String {
        dead_letter_filter(
            self.consumer.as_ref().map_or("*", ConsumerName::as_str),
            self.domain.as_ref().map_or("*", Domain::as_str),
            self.event_type.as_ref().map_or(">", EventType::as_str),
        )
    }

    /// Returns whether a dead letter passes the part of the filter that the broker cannot apply.
    pub(super) fn accepts(&self, letter: &DeadLetter) -> bool {
        self.reason.is_none_or(|reason| letter.reason() == Some(reason))
    }
}
