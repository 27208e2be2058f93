//! The envelope: an event with its author, time and idempotency key.

mod builder;
mod decode;
mod encode;
mod meta;
pub(crate) mod timestamp;

pub use builder::{EnvelopeBuildError, EnvelopeBuilder};
pub use decode::{DecodeError, DecodeErrorKind};
pub use encode::EncodeError;
pub use meta::Meta;

use crate::contract::{
    domain::Domain,
    event::{AnyEvent, Event, EventType, key::IdempotencyKey},
    source::Source,
    subject::Feed,
};
use std::fmt;
use time::OffsetDateTime;
use uuid::Uuid;

/// An event ready to be published, or as it was received: who announced it, when, and its idempotency key.
///
/// A value of this type is valid: its parts agree with each other, and its key is the key of its event.
///
/// ```
/// use stratt_event_bridge::{Envelope, UnitPublished};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let fingerprint = format!("blake3:{}", "0".repeat(64)).parse()?;
/// let event = UnitPublished::new("strat://dev/rule/no-secrets@1.0.0".parse()?, fingerprint);
/// let envelope = Envelope::builder(event, "orchestrator-http:publisher:1.4.0".parse()?)
///     .meta("correlationId", "42")
///     .build()?;
/// let bytes = envelope.encode()?;
/// let read: Envelope = Envelope::decode(&envelope.subject(), &bytes)?;
/// assert_eq!(read, envelope.into_any());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope<E = AnyEvent> {
    event_id: Uuid,
    version: EventVersion,
    timestamp: OffsetDateTime,
    idempotency_key: IdempotencyKey,
    source: Source,
    event: E,
    meta: Meta,
}

impl<E: Event> Envelope<E> {
    /// Begins an envelope of `event`, announced by `source`.
    #[must_use]
    pub fn builder(event: E, source: Source) -> EnvelopeBuilder<E> {
        EnvelopeBuilder::new(event, source)
    }

    /// Returns the id of this announcement; a UUID v7 when made by this crate. Two announcements of one fact have two.
    #[must_use]
    pub fn event_id(&self) -> Uuid {
        self.event_id
    }

    /// Returns the type of the event.
    #[must_use]
    pub fn event_type(&self) -> EventType {
        self.event.event_type()
    }

    /// Returns the version of the contract it was written to. What this crate writes is [`EventVersion::CURRENT`].
    #[must_use]
    pub fn event_version(&self) -> EventVersion {
        self.version
    }

    /// Returns the domain: that of the event's unit, chain or importer.
    #[must_use]
    pub fn domain(&self) -> &Domain {
        self.event.unit_uri().domain()
    }

    /// Returns when the event happened, in UTC with milliseconds.
    #[must_use]
    pub fn timestamp(&self) -> OffsetDateTime {
        self.timestamp
    }

    /// Returns the same, as it is written.
    pub(crate) fn written_timestamp(&self) -> String {
        timestamp::format(self.timestamp)
    }

    /// Returns the key by which the event is deduplicated.
    #[must_use]
    pub fn idempotency_key(&self) -> IdempotencyKey {
        self.idempotency_key
    }

    /// Returns who wrote the envelope.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Returns the event.
    #[must_use]
    pub fn event(&self) -> &E {
        &self.event
    }

    /// Returns the free-form companions of the event, such as a correlation id.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Returns the subject it is published on: `strat.{domain}.{event-type}`.
    #[must_use]
    pub fn subject(&self) -> String {
        Feed::Strat.subject(self.domain(), self.event_type())
    }

    /// Returns the event alone.
    #[must_use]
    pub fn into_event(self) -> E {
        self.event
    }

    /// Returns the same envelope with the type of its event left open.
    #[must_use]
    pub fn into_any(self) -> Envelope {
        self.with_event(Into::into)
    }

    fn with_event<T>(self, convert: impl FnOnce(E) -> T) -> Envelope<T> {
        let Self { event_id, version, timestamp, idempotency_key, source, event, meta } = self;
        Envelope { event_id, version, timestamp, idempotency_key, source, event: convert(event), meta }
    }
}

impl Envelope {
    /// Returns the same envelope with the type of its event fixed, or `None` if the event is of another type.
    #[must_use]
    pub fn narrow<E: Event>(self) -> Option<Envelope<E>> {
        let Envelope { event, version, event_id, timestamp, idempotency_key, source, meta } = self;
        let event = E::from_any(event)?;
        Some(Envelope { event_id, version, timestamp, idempotency_key, source, event, meta })
    }
}

/// The version of the wire contract that an envelope was written to: `1.{minor}`.
///
/// Every minor version can be read; another major version is a [`DecodeErrorKind::UnsupportedVersion`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventVersion {
    minor: u32,
}

impl EventVersion {
    /// The version that this crate writes: 1.0.
    pub const CURRENT: Self = Self { minor: 0 };

    /// Returns the number behind the dot.
    #[must_use]
    pub fn minor(self) -> u32 {
        self.minor
    }

    fn parse(text: &str) -> Option<Self> {
        let minor = text.strip_prefix("1.")?;
        let only_digits = minor.bytes().all(|b| b.is_ascii_digit());
        only_digits.then(|| minor.parse().ok().map(|minor| Self { minor })).flatten()
    }
}

impl fmt::Display for EventVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "1.{}", self.minor)
    }
}
