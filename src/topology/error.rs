//! The error of streams that are not what they should be.

use crate::{error_kind::kind_words, nats::connection_watch::Disconnected, topology::Difference};
use std::{borrow::Cow, error::Error};

/// Streams that are not, or could not be made, what they should be.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TopologyError {
    kind: TopologyErrorKind,
    message: Cow<'static, str>,
    differences: Vec<Difference>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The reason why streams are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TopologyErrorKind {
    /// The settings contradict each other, or the options of the bridge. Nothing was touched.
    InvalidSettings,
    /// The server is older than 2.10, or ignored a setting that was requested.
    UnsupportedServer,
    /// A stream does not exist.
    NotFound,
    /// A stream differs in a field that the server cannot change. Nothing was touched.
    Conflict,
    /// Streams differ from what they should be.
    Mismatch,
    /// The JetStream of the connection itself has a stream for the same subjects as one behind the
    /// [domain](crate::BridgeOptions::with_jetstream_domain) or [prefix](crate::BridgeOptions::with_api_prefix) of the
    /// bridge. Nothing was touched.
    StoredTwice,
    /// A limit of streams or storage, of the account or the server, is reached; the source says which.
    LimitReached,
    /// The broker refused.
    Refused,
    /// The same was done a short time ago; the message says when it is possible again.
    TooSoon,
    /// The broker did not answer.
    Unavailable,
}

kind_words!(TopologyErrorKind {
    InvalidSettings => "invalid_settings", "settings contradict each other";
    UnsupportedServer => "unsupported_server", "server is too old for what was requested";
    NotFound => "not_found", "stream does not exist";
    Conflict => "conflict", "stream has settings that cannot be changed";
    Mismatch => "mismatch", "streams differ from the settings that are wanted";
    StoredTwice => "stored_twice", "two streams would store each message";
    LimitReached => "limit_reached", "limit of the account or the server is reached";
    Refused => "refused", "broker refused";
    TooSoon => "too_soon", "same was done a short time ago";
    Unavailable => "unavailable", "broker did not answer";
});

impl TopologyError {
    pub(crate) fn new(kind: TopologyErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), differences: Vec::new(), source: None }
    }

    pub(super) fn differing(kind: TopologyErrorKind, differences: Vec<Difference>) -> Self {
        let listed: Vec<_> = differences.iter().map(ToString::to_string).collect();
        Self { kind, message: listed.join("; ").into(), differences, source: None }
    }

    pub(super) fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the reason why there is no connection, if the broker did not answer.
    pub(crate) fn explained(self, disconnected: Option<Disconnected>) -> Self {
        match disconnected {
            Some(cause) if self.kind == TopologyErrorKind::Unavailable => self.caused_by(cause),
            _ => self,
        }
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> TopologyErrorKind {
        self.kind
    }

    /// Returns every field that is not what it should be, if the kind is about differences.
    #[must_use]
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }
}
