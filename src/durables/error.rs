//! The error of an operation on durables.

use crate::error_kind::kind_words;
use std::{borrow::Cow, error::Error};

/// A failed operation on durables.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct DurablesError {
    kind: DurablesErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The reason of a [`DurablesError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DurablesErrorKind {
    /// The stream of the feed does not exist.
    StreamNotFound,
    /// The stream has no durable of this name.
    NotFound,
    /// The server is too old; the message says which version is needed.
    Unsupported,
    /// The durable would not receive an event that is published again for it.
    NotReceived,
    /// An event could not be published again; the source says more.
    Publish,
    /// The broker did not answer, or refused; the source says more.
    Unavailable,
}

kind_words!(DurablesErrorKind {
    StreamNotFound => "stream_not_found", "stream does not exist";
    NotFound => "not_found", "durable does not exist";
    Unsupported => "unsupported", "server is too old";
    NotReceived => "not_received", "durable would not receive the event";
    Publish => "publish", "event could not be published again";
    Unavailable => "unavailable", "broker did not answer or refused";
});

impl DurablesError {
    pub(super) fn new(kind: DurablesErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(super) fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> DurablesErrorKind {
        self.kind
    }
}
