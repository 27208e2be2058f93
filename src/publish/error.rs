//! The error of a failed publish.

use crate::{
    contract::envelope::{EncodeError, EnvelopeBuildError},
    error_kind::kind_words,
};
use std::error::Error;

/// A publish that failed.
///
/// Check [`is_outcome_unknown`](Self::is_outcome_unknown) before anything else.
#[derive(Debug, thiserror::Error)]
#[error("{kind}{}", if *.outcome_unknown { " (it may have been stored)" } else { "" })]
pub struct PublishError {
    kind: PublishErrorKind,
    outcome_unknown: bool,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The reason why a publish failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublishErrorKind {
    /// The envelope could not be built or written. Final.
    Invalid,
    /// Larger than an envelope, a message of this server, or a batch may be. Final.
    TooLarge,
    /// No acknowledgement came within the retry budget. With a [`ConnectionWatch`](crate::ConnectionWatch), the source
    /// says why there is no connection, if that is the reason.
    TimedOut,
    /// The connection is closed for good.
    Disconnected,
    /// No stream takes this subject: not provisioned, or its leader was not elected within the retry budget.
    StreamNotFound,
    /// The stream has reached its size limit and refuses new messages.
    StreamFull,
    /// A limit of the account or the server is reached, such as its storage; the source says which. Nothing more is
    /// stored until there is room again or the limit is raised.
    LimitReached,
    /// The server or the stream is there but cannot store at present (no quorum, no resources).
    Unavailable,
    /// The broker refused it; the source has the reason.
    Refused,
    /// The user of the connection may not publish to this subject, or not receive the acknowledgement; the source
    /// names the subject. Reported only with a [`ConnectionWatch`](crate::ConnectionWatch); without one it is a
    /// time-out.
    PermissionDenied,
    /// The broker dropped it as a duplicate, but has something else under its message id, which another publisher
    /// stored first. Reported only where duplicates are [verified](crate::BridgeOptions::with_verify_duplicates). The
    /// event is not stored, and can be once the duplicate window has passed.
    Suppressed,
    /// A stream of another [JetStream domain](crate::BridgeOptions::with_jetstream_domain) than the one of the bridge
    /// has acknowledged it; the source names both. Two streams take this subject, or the options name the wrong
    /// domain. Final.
    WrongDomain,
    /// The server does not support [batches](crate::EventBridge::publish_batch), or the stream does not allow them.
    /// Final.
    Unsupported,
}

kind_words!(PublishErrorKind {
    Invalid => "invalid", "envelope is not valid";
    TooLarge => "too_large", "envelope is too large";
    TimedOut => "timed_out", "broker did not acknowledge in time";
    Disconnected => "disconnected", "connection to the broker is closed";
    StreamNotFound => "stream_not_found", "no stream takes this subject";
    StreamFull => "stream_full", "stream is full";
    LimitReached => "limit_reached", "limit of the account or the server is reached";
    Unavailable => "unavailable", "stream is not available";
    Refused => "refused", "broker refused the message";
    PermissionDenied => "permission_denied", "permission is denied";
    Suppressed => "suppressed", "something else is stored under the message id";
    WrongDomain => "wrong_domain", "stream of another JetStream domain has it";
    Unsupported => "unsupported", "batches are not enabled on the server or the stream";
});

impl PublishError {
    pub(crate) fn new(kind: PublishErrorKind) -> Self {
        Self { kind, outcome_unknown: false, source: None }
    }

    pub(crate) fn caused(kind: PublishErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, outcome_unknown: false, source: Some(source.into()) }
    }

    pub(crate) fn with_outcome_unknown(mut self, unknown: bool) -> Self {
        self.outcome_unknown = unknown;
        self
    }

    /// Returns the error with this cause, if it has none yet.
    pub(super) fn or_caused(mut self, cause: Option<impl Error + Send + Sync + 'static>) -> Self {
        if self.source.is_none() {
            self.source = cause.map(Into::into);
        }
        self
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> PublishErrorKind {
        self.kind
    }

    /// Returns whether the event may have been stored, or may still be.
    ///
    /// Then publish the same fact again: it has the same key and is stored once within the duplicate window; beyond
    /// the window, consumers skip the second one.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        self.outcome_unknown
    }
}

impl From<EnvelopeBuildError> for PublishError {
    fn from(error: EnvelopeBuildError) -> Self {
        Self::caused(PublishErrorKind::Invalid, error)
    }
}

impl From<EncodeError> for PublishError {
    fn from(error: EncodeError) -> Self {
        Self::caused(PublishErrorKind::Invalid, error)
    }
}
