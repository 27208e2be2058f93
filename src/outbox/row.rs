//! An event as it waits in the table.

use crate::{
    contract::{
        domain::Domain,
        envelope::Envelope,
        event::{Event, EventType, key::IdempotencyKey},
        subject::{Address, Feed},
    },
    outbox::{OutboxError, OutboxErrorKind},
    publish::EncodedEvent,
    telemetry::trace_context::StoredTrace,
};
use bytes::Bytes;

/// What is written for an envelope.
pub(super) struct Entry {
    pub(super) uri: String,
    pub(super) subject: String,
    pub(super) message_id: String,
    pub(super) payload: Vec<u8>,
    pub(super) traceparent: Option<String>,
    pub(super) tracestate: Option<String>,
}

impl Entry {
    /// Refuses what can never be published, before the host commits it.
    pub(super) fn of<E: Event>(envelope: &Envelope<E>) -> Result<Self, OutboxError> {
        let payload =
            envelope.encode().map_err(|error| OutboxError::caused(OutboxErrorKind::Invalid, error))?;
        if payload.len() > Envelope::MAX_BYTES {
            return Err(OutboxError::new(OutboxErrorKind::TooLarge));
        }
        let (traceparent, tracestate) = StoredTrace::of_current();
        Ok(Self {
            uri: envelope.event().unit_uri().to_string(),
            subject: envelope.subject(),
            message_id: envelope.idempotency_key().to_string(),
            payload,
            traceparent,
            tracestate,
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
    /// Shared with what is published of it.
    pub(super) payload: Bytes,
    /// That of the transaction.
    pub(super) trace: Option<StoredTrace>,
}

/// The columns of a row, in the order in which they are asked for.
pub(super) type Columns = (i64, String, String, String, Vec<u8>, Option<String>, Option<String>);

impl From<Columns> for Row {
    fn from((id, uri, subject, message_id, payload, parent, state): Columns) -> Self {
        let trace = StoredTrace::read(parent.as_deref(), state.as_deref());
        Self { id, uri, subject, message_id, payload: payload.into(), trace }
    }
}

impl Row {
    /// What is to be published, unless somebody else wrote the row or changed it: what is in a table is not trusted.
    pub(super) fn into_fact(self, is_cloud_event: bool) -> Result<EncodedEvent, &'static str> {
        let key: IdempotencyKey =
            self.message_id.parse().map_err(|_| "message id is not an idempotency key")?;
        let address = Address::parse(&self.subject).ok_or("subject is not one of an event")?;
        let domain: Domain = address.domain.parse().map_err(|_| "subject has no valid domain")?;
        let event_type: EventType =
            address.event_type.parse().map_err(|_| "subject has no known event type")?;
        let subject = Feed::Strat.subject(&domain, event_type);
        let fact = EncodedEvent::written(subject, key, self.payload, self.trace);
        if !is_cloud_event {
            return Ok(fact);
        }
        fact.into_cloud_event().map_err(|_| "payload is not a valid envelope of its subject")
    }
}
