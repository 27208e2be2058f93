//! The error of an operation on dead letters.

use crate::error_kind::kind_words;
use std::error::Error;

/// A failed operation on dead letters.
#[derive(Debug, thiserror::Error)]
#[error("{}{kind}", .sequence.map_or_else(String::new, |sequence| format!("dead letter {sequence}: ")))]
pub struct DeadLetterError {
    kind: DeadLetterErrorKind,
    sequence: Option<u64>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The reason why an operation on dead letters failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadLetterErrorKind {
    /// There is no such dead letter: it never existed, or was redriven, discarded or expired.
    NotFound,
    /// Its consumer, its stream or its subject is not valid, so it is not known who it is to be redriven for.
    NotRedrivable,
    /// The consumer would not receive the event: its durable does not exist, or does not filter redriven events.
    NotReceived,
    /// Newer events of the same unit were stored since, and this consumer may have handled them.
    Superseded,
    /// An earlier event of its unit is dead-lettered, which is to be redriven or discarded first.
    Parked,
    /// Its payload was not stored with it, and the stream no longer has it: there is no event, or another one, at its
    /// sequence.
    PayloadGone,
    /// The event could not be published again; the dead letter stays.
    Publish,
    /// The first event of a group was redriven and dead-lettered again: no other was redriven.
    CanaryFailed,
    /// The first event of a group was redriven and not handled in time: no other was redriven.
    CanaryPending,
    /// Too many redriven events of a group were dead-lettered again: the others were not redriven.
    FailedAgain,
    /// The broker did not answer, or refused.
    Unavailable,
}

kind_words!(DeadLetterErrorKind {
    NotFound => "not_found", "not found";
    NotRedrivable => "not_redrivable", "its consumer, stream or subject is not valid";
    NotReceived => "not_received", "its consumer does not receive redriven events";
    Superseded => "superseded", "newer events of its unit were stored since";
    Parked => "parked", "an earlier event of its unit is to be redriven or discarded first";
    PayloadGone => "payload_gone", "its payload is gone from the stream";
    Publish => "publish", "event cannot be published again";
    CanaryFailed => "canary_failed", "its event failed again, and no other of the group was redriven";
    CanaryPending => "canary_pending", "its event was not handled in time, and no other of the group was redriven";
    FailedAgain => "failed_again", "too many redriven events failed again";
    Unavailable => "unavailable", "broker did not answer or refused";
});

impl DeadLetterError {
    pub(super) fn new(kind: DeadLetterErrorKind, sequence: Option<u64>) -> Self {
        Self { kind, sequence, source: None }
    }

    pub(super) fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> DeadLetterErrorKind {
        self.kind
    }

    /// Returns the sequence of the dead letter that the operation failed for, if it was about a single one.
    #[must_use]
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }
}
