//! An envelope, written.

use super::{Outgoing, PublishError, PublishErrorKind};
use crate::{envelope::Envelope, event::Event, idempotency::IdempotencyKey};
use async_nats::{HeaderMap, HeaderName, Subject, header::NATS_MESSAGE_ID};
use bytes::Bytes;

/// An envelope, written once: what every attempt to publish it needs. Cheap to keep, since its headers are made when they
/// are sent.
#[derive(Debug, Clone)]
pub(crate) struct Fact {
    pub(super) subject: Subject,
    pub(super) key: IdempotencyKey,
    pub(super) payload: Bytes,
}

impl Fact {
    pub(crate) fn new<E: Event>(envelope: &Envelope<E>) -> Result<Self, PublishError> {
        let payload = envelope.encode()?;
        if payload.len() > Envelope::MAX_BYTES {
            return Err(PublishError::new(PublishErrorKind::TooLarge));
        }
        let subject = envelope.subject().into();
        Ok(Self { subject, key: envelope.idempotency_key(), payload: payload.into() })
    }

    /// One that was written earlier, by whoever had the envelope.
    #[cfg(feature = "outbox")]
    pub(crate) fn written(subject: String, key: IdempotencyKey, payload: Vec<u8>) -> Self {
        Self { subject: subject.into(), key, payload: payload.into() }
    }

    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, self.key.to_string());
        headers.insert(HeaderName::from_static("Content-Type"), "application/json");
        headers
    }

    pub(crate) fn into_outgoing(self) -> Outgoing {
        Outgoing { headers: self.headers(), subject: self.subject.to_string(), payload: self.payload }
    }
}
