//! Errors of a store.

use crate::error_kind::kind_words;
use std::{borrow::Cow, error::Error};

/// An error of a store: the operation failed, or its outcome is unknown.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The kind of a [`StoreError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The fence is stale: the slot was acquired by another claimant or is no longer held. Nothing was changed.
    Fenced,
    /// There is no room for another slot, or for the store itself.
    Full,
    /// The store did not answer in time or returned an error; the operation may have been carried out.
    Unavailable,
    /// The stored value of this slot cannot be read. It is left unchanged.
    Corrupt,
    /// The store exists with settings that differ from the requested ones.
    Mismatch,
    /// An option of the store has a value that its backend cannot express.
    Invalid,
}

kind_words!(StoreErrorKind {
    Fenced => "fenced", "claim was lost to another claimant";
    Full => "full", "dedupe store is full";
    Unavailable => "unavailable", "dedupe store is not available";
    Corrupt => "corrupt", "slot cannot be read";
    Mismatch => "mismatch", "dedupe store exists with different settings";
    Invalid => "invalid", "options of the dedupe store are invalid";
});

impl StoreError {
    /// Returns an error of this kind.
    #[must_use]
    pub fn new(kind: StoreErrorKind) -> Self {
        Self { kind, message: Cow::Borrowed(kind.words()), source: None }
    }

    /// Replaces the message of the kind by a more specific one.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = message.into();
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}
