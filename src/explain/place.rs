//! The places of an event in a stream.

use crate::contract::subject::Feed;
use serde::Serialize;
use std::fmt;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A place where an event is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "Serialized")]
pub struct Place {
    pub(super) feed: Feed,
    pub(super) sequence: u64,
    pub(super) subject: String,
    pub(super) stored_at: OffsetDateTime,
}

impl Place {
    /// Returns the feed of the stream.
    #[must_use]
    pub fn feed(&self) -> Feed {
        self.feed
    }

    /// Returns its sequence in the stream.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the subject.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Returns when it was stored, by the server's clock.
    #[must_use]
    pub fn stored_at(&self) -> OffsetDateTime {
        self.stored_at
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { feed, sequence, stored_at, .. } = self;
        write!(f, "{} {sequence} at {}", feed.stream(), stored_at.format(&Rfc3339).unwrap_or_default())
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Serialized {
    stream: &'static str,
    sequence: u64,
    subject: String,
    stored_at: Option<String>,
}

impl From<Place> for Serialized {
    fn from(place: Place) -> Self {
        let Place { feed, sequence, subject, stored_at } = place;
        Self { stream: feed.stream(), sequence, subject, stored_at: stored_at.format(&Rfc3339).ok() }
    }
}
