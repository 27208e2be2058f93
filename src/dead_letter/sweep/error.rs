//! The error of a sweeper.

use crate::error_kind::kind_words;
use std::{borrow::Cow, error::Error};

/// A sweeper that could not start, or had to stop.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SweepError {
    kind: SweepErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The reason why a sweeper could not start, or had to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SweepErrorKind {
    /// The stream of advisories does not exist: [`provision`](super::Sweeper::provision) it.
    StreamNotFound,
    /// The server is older than 2.10.
    UnsupportedServer,
    /// The broker refused.
    Refused,
    /// The broker did not answer.
    Unavailable,
}

kind_words!(SweepErrorKind {
    StreamNotFound => "stream_not_found", "stream of advisories does not exist";
    UnsupportedServer => "unsupported_server", "server is too old";
    Refused => "refused", "broker refused";
    Unavailable => "unavailable", "broker did not answer";
});

impl SweepError {
    pub(super) fn new(kind: SweepErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(super) fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> SweepErrorKind {
        self.kind
    }
}
