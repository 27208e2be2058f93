//! The rows of the table, written and read.

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

/// The columns written for an envelope.
pub(super) struct Entry {
    pub(super) uri: String,
    pub(super) subject: String,
    pub(super) message_id: String,
    pub(super) payload: Vec<u8>,
    pub(super) traceparent: Option<String>,
    pub(super) tracestate: Option<String>,
}

impl Entry {
    /// Encodes an envelope. Rejects one that can never be published, before the host commits it.
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

/// A pending row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) id: i64,
    /// Rows of one unit are published in the order of their ids.
    pub(super) uri: String,
    pub(super) subject: String,
    pub(super) message_id: String,
    /// The envelope, shared with the published message.
    pub(super) payload: Bytes,
    /// The trace of the transaction.
    pub(super) trace: Option<StoredTrace>,
}

/// The columns of a row, in the order of the statement.
pub(super) type Columns = (i64, String, String, String, Vec<u8>, Option<String>, Option<String>);

impl From<Columns> for Row {
    fn from((id, uri, subject, message_id, payload, parent, state): Columns) -> Self {
        let trace = StoredTrace::read(parent.as_deref(), state.as_deref());
        Self { id, uri, subject, message_id, payload: payload.into(), trace }
    }
}

impl Row {
    /// Returns the event to publish, or why the row is not one that `enqueue` wrote: the content of a table is not
    /// trusted.
    pub(super) fn into_encoded(self, is_cloud_event: bool) -> Result<EncodedEvent, &'static str> {
        let key: IdempotencyKey =
            self.message_id.parse().map_err(|_| "message id is not an idempotency key")?;
        let address = Address::parse(&self.subject).ok_or("not an event subject")?;
        let domain: Domain = address.domain.parse().map_err(|_| "subject has no valid domain")?;
        let event_type: EventType =
            address.event_type.parse().map_err(|_| "subject has no known event type")?;
        let subject = Feed::Strat.subject(&domain, event_type);
        let event = EncodedEvent::written(subject, key, self.payload, self.trace);
        if !is_cloud_event {
            return Ok(event);
        }
        event.into_cloud_event().map_err(|_| "payload is not a valid envelope of its subject")
    }
}
