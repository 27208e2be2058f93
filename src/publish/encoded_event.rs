//! An encoded envelope.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
use crate::telemetry::trace_context::StoredTrace;
use crate::{
    contract::{
        envelope::Envelope,
        event::{Event, key::IdempotencyKey},
    },
    publish::{
        PublishError, PublishErrorKind, attempt::outgoing::Outgoing, cloud_event::CloudEvent,
        span::PublishSpan,
    },
};
use async_nats::{HeaderMap, HeaderName, Subject, header::NATS_MESSAGE_ID, jetstream::Context};
use bytes::Bytes;

/// An encoded envelope: all that every attempt to publish it needs. Cheap to keep, since its headers are made when it
/// is sent.
#[derive(Debug, Clone)]
pub(crate) struct EncodedEvent {
    pub(super) subject: Subject,
    pub(super) key: IdempotencyKey,
    pub(super) payload: Bytes,
    pub(super) cloud_event: Option<Box<CloudEvent>>,
    /// The trace in which it was announced, if that was earlier.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(super) trace: Option<Box<StoredTrace>>,
}

impl EncodedEvent {
    pub(crate) fn new<E: Event>(envelope: &Envelope<E>, is_cloud_event: bool) -> Result<Self, PublishError> {
        let payload = envelope.encode()?;
        if payload.len() > Envelope::MAX_BYTES {
            return Err(PublishError::new(PublishErrorKind::TooLarge));
        }
        let subject = envelope.subject().into();
        let cloud_event = is_cloud_event.then(|| Box::new(CloudEvent::of(envelope)));
        Ok(Self {
            subject,
            key: envelope.idempotency_key(),
            payload: payload.into(),
            cloud_event,
            #[cfg(any(feature = "postgres", feature = "sqlite"))]
            trace: None,
        })
    }

    /// Returns an event that was encoded earlier, and that stays in the trace of that time.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn written(
        subject: String,
        key: IdempotencyKey,
        payload: Bytes,
        trace: Option<StoredTrace>,
    ) -> Self {
        let trace = trace.map(Box::new);
        Self { subject: subject.into(), key, payload, cloud_event: None, trace }
    }

    /// Returns the same event as a CloudEvent.
    ///
    /// # Errors
    ///
    /// When the payload is no envelope for this subject.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(crate) fn into_cloud_event(self) -> Result<Self, crate::contract::envelope::DecodeError> {
        let envelope: Envelope = Envelope::decode(&self.subject, &self.payload)?;
        Ok(Self { cloud_event: Some(Box::new(CloudEvent::of(&envelope))), ..self })
    }

    pub(super) fn span(&self, context: &Context) -> PublishSpan {
        PublishSpan::begin(&self.subject, self.key, self.payload.len(), context)
    }

    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, self.key.to_string());
        headers.insert(HeaderName::from_static("Content-Type"), "application/json");
        if let Some(cloud_event) = &self.cloud_event {
            cloud_event.write(&mut headers);
        }
        #[cfg(any(feature = "postgres", feature = "sqlite"))]
        if let Some(trace) = &self.trace {
            trace.write(&mut headers);
        }
        headers
    }

    /// Returns the parts of a message with these headers.
    pub(super) fn with(&self, headers: HeaderMap) -> (Subject, HeaderMap, Bytes) {
        (self.subject.clone(), headers, self.payload.clone())
    }

    pub(crate) fn into_outgoing(self) -> Outgoing {
        let (subject, message_id) = (self.subject.to_string(), self.key.to_string());
        Outgoing { headers: self.headers(), subject, message_id, payload: self.payload }
    }
}
