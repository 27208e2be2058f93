//! The errors of building and running a consumer.

use crate::{error_kind::kind_words, nats::connection_watch::Disconnected};
use std::{borrow::Cow, error::Error};

/// A durable consumer that could not be built, or had to stop.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConsumeError {
    kind: ConsumeErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The reason why a consumer could not be built, or had to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConsumeErrorKind {
    /// The consumer's name is not valid.
    InvalidName,
    /// There is no handler, or two for one event type.
    InvalidHandlers,
    /// The options are not valid, or contradict each other.
    InvalidOptions,
    /// The dedupe store forgets sooner than the stream does.
    StoreRetention,
    /// The stream of the feed, or the one of dead letters, does not exist.
    StreamNotFound,
    /// The stream of the feed, or the one of dead letters, has settings with which events could be lost or repeated.
    UnfitStream,
    /// The durable exists with settings that the server cannot change.
    Conflict,
    /// The durable exists, or was changed while the consumer ran, with settings that differ from the options
    /// ([`OnMismatch`](crate::OnMismatch)) or break a guarantee.
    Mismatch,
    /// The durable, or its stream, was deleted while the consumer ran.
    ConsumerGone,
    /// The stream has lost its end, and the durable has delivered beyond what is left: the server would not deliver new
    /// events until the stream has grown as long as it was.
    ConsumerAhead,
    /// The user of the connection lacks a permission; the message names the subject. Reported only with a
    /// [`ConnectionWatch`](crate::ConnectionWatch).
    PermissionDenied,
    /// A limit of the account or the stream does not allow another consumer, or not one with these settings; the source
    /// says which.
    LimitReached,
    /// The server is too old.
    UnsupportedServer,
    /// The broker did not answer, or refused; the source says more.
    Unavailable,
}

kind_words!(ConsumeErrorKind {
    InvalidName => "invalid_name", "name of the consumer is not valid";
    InvalidHandlers => "invalid_handlers", "consumer has no handler, or two for one event type";
    InvalidOptions => "invalid_options", "options contradict each other";
    StoreRetention => "store_retention", "dedupe store forgets sooner than the stream does";
    StreamNotFound => "stream_not_found", "stream does not exist";
    UnfitStream => "unfit_stream", "stream has settings that break a guarantee";
    Conflict => "conflict", "durable has settings that cannot be changed";
    Mismatch => "mismatch", "durable has settings other than those wanted";
    ConsumerGone => "consumer_gone", "durable or its stream was deleted";
    ConsumerAhead => "consumer_ahead", "durable has delivered beyond the end of its stream";
    PermissionDenied => "permission_denied", "permission is denied";
    LimitReached => "limit_reached", "limit of the account or the stream is reached";
    UnsupportedServer => "unsupported_server", "server is too old";
    Unavailable => "unavailable", "broker did not answer or refused";
});

impl ConsumeError {
    pub(super) fn new(kind: ConsumeErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(super) fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Adds the reason why there is no connection, if the error is that the broker did not answer.
    pub(super) fn explained(self, disconnected: Option<Disconnected>) -> Self {
        match disconnected {
            Some(cause) if self.kind == ConsumeErrorKind::Unavailable => self.caused_by(cause),
            _ => self,
        }
    }

    /// Adds another cure.
    pub(super) fn advised(mut self, alternative: &str) -> Self {
        self.message = format!("{}, or {alternative}", self.message).into();
        self
    }

    /// Returns the reason.
    #[must_use]
    pub fn kind(&self) -> ConsumeErrorKind {
        self.kind
    }
}
