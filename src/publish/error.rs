//! Why a publish failed, and whether it may have been stored all the same.

use crate::{
    contract::envelope::{EncodeError, EnvelopeBuildError},
    error_kind::kind_words,
};
use std::error::Error;

/// A publish that failed.
///
/// [`is_outcome_unknown`](Self::is_outcome_unknown) is the question to ask before anything else.
#[derive(Debug, thiserror::Error)]
#[error("{kind}{}", if *.outcome_unknown { " (it may have been stored)" } else { "" })]
pub struct PublishError {
    kind: PublishErrorKind,
    outcome_unknown: bool,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Why a publish failed.
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
    /// The stream has reached a limit of its size and refuses what is new.
    StreamFull,
    /// A limit of the account or the server is reached, such as its storage; the source says which. Nothing more is
    /// stored until there is room again or the limit is raised.
    LimitReached,
    /// The server or the stream is there but cannot store at present (no quorum, no resources).
    Unavailable,
    /// The server refused it for a reason that stands in the source.
    Refused,
    /// The user of the connection may not publish to this subject, or not receive the acknowledgement; the source
    /// names the subject. Told only with a [`ConnectionWatch`](crate::ConnectionWatch), else it is a time-out.
    PermissionDenied,
    /// The broker dropped it as a duplicate, but has something else under its message id: somebody stored that first.
    /// Told only where duplicates are [verified](crate::BridgeOptions::with_verify_duplicates). The event is not
    /// stored, and can be once the duplicate window has passed.
    Suppressed,
    /// The server or the stream takes no [batches](crate::EventBridge::publish_batch). Final.
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
    Unsupported => "unsupported", "broker takes no batches";
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

    /// With a cause, where it has none that says more.
    pub(super) fn or_caused(mut self, cause: Option<impl Error + Send + Sync + 'static>) -> Self {
        if self.source.is_none() {
            self.source = cause.map(Into::into);
        }
        self
    }

    /// Why it failed.
    #[must_use]
    pub fn kind(&self) -> PublishErrorKind {
        self.kind
    }

    /// Whether the event may have been stored, or may still be.
    ///
    /// Publishing the same fact again is then the right thing to do: it has the same key and is stored once within
    /// the duplicate window; beyond it, consumers skip the second one.
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
