//! The error of an explanation.

use std::error::Error;

/// A failure to find out what became of an event: the broker did not answer, or refused. The source says more.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be read: does the broker answer, and may this user ask for that?")]
pub struct ExplainError {
    what: &'static str,
    source: Box<dyn Error + Send + Sync>,
}

impl ExplainError {
    pub(super) fn new(what: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { what, source: source.into() }
    }
}
