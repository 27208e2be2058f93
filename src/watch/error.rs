//! The errors of a watch.

use crate::{contract::envelope::DecodeError, error_kind::kind_words};
use std::{borrow::Cow, error::Error};

/// A watch that could not be opened, or what it reports in place of an event.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct WatchError {
    kind: WatchErrorKind,
    message: Cow<'static, str>,
    sequence: Option<u64>,
    subject: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The reason of a [`WatchError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WatchErrorKind {
    /// The options are not valid.
    InvalidOptions,
    /// The stream of the feed does not exist.
    StreamNotFound,
    /// The user of the connection lacks a permission; the message names the subject. Reported only with a
    /// [`ConnectionWatch`](crate::ConnectionWatch).
    PermissionDenied,
    /// The broker did not answer, or refused; the source says more.
    Unavailable,
    /// One event could not be decoded, and the watch goes on behind it. The source is a [`DecodeError`].
    Undecodable,
    /// One event has a subject or a header that the client library cannot read, and the watch goes on behind it.
    Unreadable,
    /// The stream removed events before the watch received them; the watch goes on with the oldest that is left.
    Removed,
    /// The stream was recreated, or lost its end: the watch goes on with what it has now, and events of before that
    /// were not received are gone.
    Recreated,
    /// The connection is closed for good. The watch has ended.
    Closed,
}

kind_words!(WatchErrorKind {
    InvalidOptions => "invalid_options", "options are not valid";
    StreamNotFound => "stream_not_found", "stream does not exist";
    PermissionDenied => "permission_denied", "permission is denied";
    Unavailable => "unavailable", "broker did not answer or refused";
    Undecodable => "undecodable", "event cannot be decoded";
    Unreadable => "unreadable", "event cannot be read by the client library";
    Removed => "removed", "events were removed before they were received";
    Recreated => "recreated", "stream was recreated or has lost its end";
    Closed => "closed", "connection is closed";
});

impl WatchError {
    pub(super) fn new(kind: WatchErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), sequence: None, subject: None, source: None }
    }

    pub(super) fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the error in place of the event at `sequence`.
    pub(super) fn of_event(sequence: u64, subject: &str, why: Result<DecodeError, &'static str>) -> Self {
        let kind = if why.is_ok() { WatchErrorKind::Undecodable } else { WatchErrorKind::Unreadable };
        let message = format!("event at sequence {sequence}: {kind}");
        let subject = Some(subject.to_owned());
        let error = Self { subject, sequence: Some(sequence), ..Self::new(kind, message) };
        match why {
            Ok(decode) => error.caused_by(decode),
            Err(why) => error.caused_by(why),
        }
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> WatchErrorKind {
        self.kind
    }

    /// Returns the sequence of the event that the error stands for, if it stands for one.
    #[must_use]
    pub fn sequence(&self) -> Option<u64> {
        self.sequence
    }

    /// Returns the subject of the event that the error stands for, if it stands for one. It is foreign text.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.subject.as_deref()
    }
}
