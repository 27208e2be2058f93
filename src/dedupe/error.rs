//! Why a store did not do what it was asked.

use crate::error_kind::kind_words;
use std::{borrow::Cow, error::Error};

/// A store that did not do what it was asked, or whose answer is not known.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: Cow<'static, str>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Why a store did not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The fence is stale: another claimant owns the slot, or nobody does. Nothing was changed.
    Fenced,
    /// There is no room for another slot, or for the store itself.
    Full,
    /// The store did not answer, or not in time; it may have done it.
    Unavailable,
    /// What is stored for this slot cannot be read. It is left as it is.
    Corrupt,
    /// The store exists with other settings than were asked for.
    Mismatch,
}

kind_words!(StoreErrorKind {
    Fenced => "fenced", "claim was lost to another";
    Full => "full", "dedupe store is full";
    Unavailable => "unavailable", "dedupe store is not available";
    Corrupt => "corrupt", "slot cannot be read";
    Mismatch => "mismatch", "dedupe store has other settings";
});

impl StoreError {
    /// An error of this kind.
    #[must_use]
    pub fn new(kind: StoreErrorKind) -> Self {
        Self { kind, message: Cow::Borrowed(kind.words()), source: None }
    }

    /// Says more than the kind does.
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

    /// Why.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}
