//! The decoding of an envelope, with all its checks.

use crate::{
    contract::{
        consumer_name::ConsumerName,
        envelope::{Envelope, EventVersion, Meta, timestamp},
        event::{Event, EventType, key::IdempotencyKey},
        source::Source,
        subject::Address,
    },
    error_kind::kind_words,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use uuid::Uuid;

/// The envelope as it is read: all fields required, in any order, others ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Read<'a> {
    event_id: Uuid,
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    event_version: Cow<'a, str>,
    #[serde(borrow)]
    domain: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    /// As text, since comparing it is cheaper than reading it.
    #[serde(borrow)]
    idempotency_key: Cow<'a, str>,
    source: Source,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(borrow)]
    meta: &'a RawValue,
}

impl Envelope {
    /// The most bytes an envelope may have unless set otherwise: 256 KiB.
    pub const MAX_BYTES: usize = 256 * 1024;
}

impl<E: Event> Envelope<E> {
    /// Reads an envelope that was received on `subject`, of at most [`MAX_BYTES`](Envelope::MAX_BYTES).
    ///
    /// Checked are the version, that subject, type, domain and the URI inside the payload agree, and that the key
    /// is the key of the event: a forged key could otherwise suppress another event.
    ///
    /// # Errors
    ///
    /// A [`DecodeError`] whose kind says what is wrong. A retry never helps.
    pub fn decode(subject: &str, bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_at_most(Envelope::MAX_BYTES, subject, bytes)
    }

    /// Reads an envelope like [`decode`](Self::decode), of at most `max_bytes`.
    ///
    /// # Errors
    ///
    /// As for [`decode`](Self::decode).
    pub fn decode_at_most(max_bytes: usize, subject: &str, bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > max_bytes {
            let message = format!("envelope has {} bytes, more than {max_bytes}", bytes.len());
            return Err(DecodeError::new(DecodeErrorKind::TooLarge, message));
        }
        let read = read(bytes)?;
        let version =
            EventVersion::parse(&read.event_version).ok_or_else(|| unsupported(&read.event_version))?;
        let event_type: EventType = read
            .event_type
            .parse()
            .map_err(|error| DecodeError::caused(DecodeErrorKind::UnknownEventType, error))?;
        let event: E = payload(event_type, read.payload)?;
        let envelope = Self {
            event_id: read.event_id,
            version,
            timestamp: timestamp::parse(&read.timestamp)
                .ok_or_else(|| malformed("timestamp is not rfc 3339"))?,
            idempotency_key: event.idempotency_key(),
            source: read.source,
            event,
            meta: Meta::from_raw(read.meta).ok_or_else(|| malformed("meta is not a json object"))?,
        };
        envelope.check(subject, &read.domain, &read.idempotency_key)?;
        Ok(envelope)
    }

    /// Reads an envelope like [`decode_at_most`](Self::decode_at_most), as the consumer of this name: one that is
    /// redriven for another consumer is an error.
    pub(crate) fn decode_as(
        consumer: &ConsumerName,
        max_bytes: usize,
        subject: &str,
        bytes: &[u8],
    ) -> Result<Self, DecodeError> {
        let envelope = Self::decode_at_most(max_bytes, subject, bytes)?;
        match Address::parse(subject).and_then(|address| address.consumer) {
            Some(other) if other != consumer.as_str() => {
                Err(DecodeError::new(DecodeErrorKind::OtherConsumer, DecodeErrorKind::OtherConsumer.words()))
            }
            _ => Ok(envelope),
        }
    }

    fn check(&self, subject: &str, domain: &str, key: &str) -> Result<(), DecodeError> {
        let address = Address::parse(subject).ok_or_else(|| {
            DecodeError::new(DecodeErrorKind::SubjectMismatch, "subject is not an event subject")
        })?;
        if address.event_type != self.event_type().as_str() || address.domain != domain {
            let message = "subject disagrees with event type or domain";
            return Err(DecodeError::new(DecodeErrorKind::SubjectMismatch, message));
        }
        if self.domain().as_str() != domain {
            return Err(DecodeError::new(
                DecodeErrorKind::DomainMismatch,
                "domain disagrees with the uri in the payload",
            ));
        }
        if self.idempotency_key.with_hex(|hex| hex != key) {
            key.parse::<IdempotencyKey>()
                .map_err(|error| DecodeError::caused(DecodeErrorKind::Malformed, error))?;
            return Err(DecodeError::new(
                DecodeErrorKind::KeyMismatch,
                "idempotency key does not match the event",
            ));
        }
        Ok(())
    }
}

fn read(bytes: &[u8]) -> Result<Read<'_>, DecodeError> {
    // Serde would take an array for a struct.
    if bytes.first() != Some(&b'{') {
        return Err(malformed("envelope is not a json object"));
    }
    let text =
        str::from_utf8(bytes).map_err(|error| DecodeError::caused(DecodeErrorKind::Malformed, error))?;
    serde_json::from_str(text).map_err(|error| {
        // Another major version may well have other fields: say that first.
        match serde_json::from_str::<VersionOnly<'_>>(text) {
            Ok(found) if EventVersion::parse(&found.event_version).is_none() => {
                unsupported(&found.event_version)
            }
            _ => DecodeError::caused(DecodeErrorKind::Malformed, error),
        }
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VersionOnly<'a> {
    #[serde(borrow)]
    event_version: Cow<'a, str>,
}

fn payload<E: Event>(event_type: EventType, payload: &RawValue) -> Result<E, DecodeError> {
    if !E::TYPES.contains(&event_type) {
        return Err(DecodeError::new(DecodeErrorKind::OtherEventType, format!("event is a {event_type}")));
    }
    if !payload.get().starts_with('{') {
        return Err(malformed("payload is not a json object"));
    }
    E::from_payload(event_type, payload.get())
        .map_err(|error| DecodeError::caused(DecodeErrorKind::Malformed, error))
}

fn malformed(message: &'static str) -> DecodeError {
    DecodeError::new(DecodeErrorKind::Malformed, message)
}

fn unsupported(version: &str) -> DecodeError {
    let shown: String = version.chars().take(32).collect();
    DecodeError::new(DecodeErrorKind::UnsupportedVersion, format!("event version {shown:?} is not 1.x"))
}

/// An error of bytes that are not a valid envelope, or not one for the subject they arrived on.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    kind: DecodeErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The defect of an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// More bytes than allowed. Found before anything is parsed.
    TooLarge,
    /// Not JSON, not an object, a field missing or not valid.
    Malformed,
    /// Another major version of the contract than 1.
    UnsupportedVersion,
    /// An event type that the contract does not have.
    UnknownEventType,
    /// A valid event type, but not the one asked for.
    OtherEventType,
    /// The subject has another domain or event type, or is not an event subject.
    SubjectMismatch,
    /// The domain is not that of the URI in the payload.
    DomainMismatch,
    /// The idempotency key is not that of the event: forged or corrupt.
    KeyMismatch,
    /// The event is redriven for another consumer than the one that reads it.
    OtherConsumer,
}

kind_words!(DecodeErrorKind {
    TooLarge => "too_large", "envelope is too large";
    Malformed => "malformed", "envelope is malformed";
    UnsupportedVersion => "unsupported_version", "event version is not supported";
    UnknownEventType => "unknown_event_type", "event type is unknown";
    OtherEventType => "other_event_type", "event is of another type";
    SubjectMismatch => "subject_mismatch", "subject disagrees with the envelope";
    DomainMismatch => "domain_mismatch", "domain disagrees with the uri in the payload";
    KeyMismatch => "key_mismatch", "idempotency key does not match the event";
    OtherConsumer => "other_consumer", "event is redriven for another consumer";
});

impl DecodeError {
    fn new(kind: DecodeErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    fn caused(kind: DecodeErrorKind, error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self { kind, message: kind.words().into(), source: Some(Box::new(error)) }
    }

    /// Returns the kind of the defect.
    #[must_use]
    pub fn kind(&self) -> DecodeErrorKind {
        self.kind
    }
}
