//! An event as it waits in the table.

use super::{OutboxError, OutboxErrorKind};
use crate::{
    domain::Domain,
    envelope::Envelope,
    event::{Event, EventType},
    idempotency::IdempotencyKey,
    publish::Fact,
    subject::{Address, Feed},
};

/// What is written for an envelope.
pub(super) struct Entry {
    pub(super) uri: String,
    pub(super) subject: String,
    pub(super) message_id: String,
    pub(super) payload: Vec<u8>,
}

impl Entry {
    /// Refuses what can never be published, before the host commits it.
    pub(super) fn of<E: Event>(envelope: &Envelope<E>) -> Result<Self, OutboxError> {
        let payload =
            envelope.encode().map_err(|error| OutboxError::caused(OutboxErrorKind::Invalid, error))?;
        if payload.len() > Envelope::MAX_BYTES {
            return Err(OutboxError::new(OutboxErrorKind::TooLarge));
        }
        Ok(Self {
            uri: envelope.event().unit_uri().to_string(),
            subject: envelope.subject(),
            message_id: envelope.idempotency_key().to_string(),
            payload,
        })
    }
}

/// A row that is to be published.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: i64,
    /// Rows of one unit are published in the order of their ids.
    pub(super) uri: String,
    pub(super) subject: String,
    pub(super) message_id: String,
    pub(super) payload: Vec<u8>,
}

impl Row {
    /// What is to be published, unless somebody else wrote the row or changed it: what is in a table is not trusted.
    pub(super) fn into_fact(self, is_cloud_event: bool) -> Result<Fact, &'static str> {
        let key: IdempotencyKey =
            self.message_id.parse().map_err(|_| "message id is not an idempotency key")?;
        let address = Address::parse(&self.subject).ok_or("subject is not one of an event")?;
        let domain: Domain = address.domain.parse().map_err(|_| "subject has no valid domain")?;
        let event_type: EventType =
            address.event_type.parse().map_err(|_| "subject has no known event type")?;
        let fact = Fact::written(Feed::Strat.subject(&domain, event_type), key, self.payload);
        if !is_cloud_event {
            return Ok(fact);
        }
        fact.into_cloud_event().map_err(|_| "payload is not a valid envelope of its subject")
    }
}
