//! The reason why an event was dead-lettered.

use crate::contract::value::{ParseError, text_traits};
use std::str::FromStr;

/// The reason why an event was dead-lettered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum DeadLetterReason {
    /// Every attempt failed, or the last one killed the process.
    Exhausted,
    /// The handler said that no attempt will ever succeed.
    Rejected,
    /// It is not a valid envelope; no handler saw it.
    Invalid,
    /// An earlier event of its unit is dead-lettered, and the consumer [parks](crate::ConsumerOptions::with_parking)
    /// what follows one; no handler saw it.
    Parked,
}

impl DeadLetterReason {
    pub(crate) const ALL: [Self; 4] = [Self::Exhausted, Self::Rejected, Self::Invalid, Self::Parked];

    /// Returns the word on the wire.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Rejected => "rejected",
            Self::Invalid => "invalid",
            Self::Parked => "parked",
        }
    }
}

impl FromStr for DeadLetterReason {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text).ok_or_else(|| {
            ParseError::new("dead-letter reason", "must be exhausted, rejected, invalid or parked", text)
        })
    }
}

text_traits!(DeadLetterReason);
