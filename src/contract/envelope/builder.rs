//! The builder of an envelope.

use crate::contract::{
    envelope::{Envelope, EventVersion, Meta, timestamp},
    event::Event,
    source::Source,
};
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

/// A builder of an [`Envelope`]. Values that are not set become a fresh id and the time of [`build`](Self::build).
#[derive(Debug, Clone)]
pub struct EnvelopeBuilder<E> {
    event: E,
    source: Source,
    event_id: Option<Uuid>,
    timestamp: Option<OffsetDateTime>,
    meta: Vec<(String, Value)>,
}

impl<E: Event> EnvelopeBuilder<E> {
    pub(super) fn new(event: E, source: Source) -> Self {
        Self { event, source, event_id: None, timestamp: None, meta: Vec::new() }
    }

    /// Sets the id of the announcement; the default is a new UUID v7.
    #[must_use]
    pub fn event_id(mut self, event_id: Uuid) -> Self {
        self.event_id = Some(event_id);
        self
    }

    /// Sets when the event happened, cut to milliseconds; the default is now.
    #[must_use]
    pub fn timestamp(mut self, timestamp: OffsetDateTime) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Sets a member of `meta`, in place of one of the same name.
    #[must_use]
    pub fn meta(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let (name, value) = (name.into(), value.into());
        match self.meta.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => self.meta.push((name, value)),
        }
        self
    }

    /// Returns the envelope.
    ///
    /// # Errors
    ///
    /// If the timestamp lies outside the years 0 to 9999 in UTC, or `meta` cannot be written as JSON.
    pub fn build(self) -> Result<Envelope<E>, EnvelopeBuildError> {
        let timestamp = self.timestamp.unwrap_or_else(OffsetDateTime::now_utc);
        Ok(Envelope {
            event_id: self.event_id.unwrap_or_else(Uuid::now_v7),
            version: EventVersion::CURRENT,
            timestamp: timestamp::normal(timestamp).ok_or_else(EnvelopeBuildError::timestamp)?,
            idempotency_key: self.event.idempotency_key(),
            source: self.source,
            event: self.event,
            meta: Meta::new(&self.meta).map_err(EnvelopeBuildError::meta)?,
        })
    }
}

/// An envelope that could not be built.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EnvelopeBuildError {
    message: &'static str,
    source: Option<serde_json::Error>,
}

impl EnvelopeBuildError {
    fn timestamp() -> Self {
        Self { message: "timestamp is outside the years 0 to 9999 in utc", source: None }
    }

    fn meta(error: serde_json::Error) -> Self {
        Self { message: "meta cannot be written as json", source: Some(error) }
    }
}
