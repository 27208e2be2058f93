//! The end of an event at the durables of a session.

use crate::{
    contract::{consumer_name::ConsumerName, subject::Feed},
    dead_letter::DeadLetter,
    explain::Explanation,
};
use std::{error::Error, fmt};

/// The end of one event at one durable.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub(super) feed: Feed,
    pub(super) durable: ConsumerName,
    pub(super) attempts: Option<u32>,
    pub(super) dead_letter: Option<DeadLetter>,
}

impl Outcome {
    /// Returns the feed that the durable reads.
    #[must_use]
    pub fn feed(&self) -> Feed {
        self.feed
    }

    /// Returns the name of the durable.
    #[must_use]
    pub fn durable(&self) -> &ConsumerName {
        &self.durable
    }

    /// Returns whether the event was handled, now or before; otherwise it has a dead letter.
    #[must_use]
    pub fn is_handled(&self) -> bool {
        self.dead_letter.is_none()
    }

    /// Returns its dead letter, if it could not be handled.
    #[must_use]
    pub fn dead_letter(&self) -> Option<&DeadLetter> {
        self.dead_letter.as_ref()
    }

    /// Returns how many attempts the last run of the event took; `None` if the store of the durable is not
    /// [observed](super::Session::observe), or the event was not claimed since, as a duplicate is not.
    #[must_use]
    pub fn attempts(&self) -> Option<u32> {
        self.attempts
    }
}

/// The outcomes of an event at all durables of a session.
#[derive(Debug, Clone)]
pub struct Settled(pub(super) Vec<Outcome>);

impl Settled {
    /// Returns the outcomes in the order in which the durables were named.
    #[must_use]
    pub fn outcomes(&self) -> &[Outcome] {
        &self.0
    }

    /// Returns the outcome at the first durable of this name; `None` if the session has none.
    #[must_use]
    pub fn at(&self, durable: &str) -> Option<&Outcome> {
        self.0.iter().find(|outcome| outcome.durable.as_str() == durable)
    }

    /// Returns whether the event was handled at every durable.
    #[must_use]
    pub fn is_handled(&self) -> bool {
        self.0.iter().all(Outcome::is_handled)
    }
}

/// An event that did not come to its end in time, or of which that could not be found out.
///
/// `Display` and `Debug` say where it stays, and all that [`explain`](crate::EventBridge::explain) knows of it.
#[derive(thiserror::Error)]
#[error("{message}{}", .explanation.as_ref().map_or_else(String::new, |known| format!("\n{known}")))]
pub struct NotSettled {
    pub(super) message: String,
    pub(super) explanation: Option<Box<Explanation>>,
    pub(super) source: Option<Box<dyn Error + Send + Sync>>,
}

impl NotSettled {
    /// Returns what is known of the event, if that could be found out.
    #[must_use]
    pub fn explanation(&self) -> Option<&Explanation> {
        self.explanation.as_deref()
    }
}

/// As `Display`, since that is what `unwrap` and a test that returns an error print.
impl fmt::Debug for NotSettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
