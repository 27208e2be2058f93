//! The progress of a durable with an event.

use crate::{contract::subject::Feed, dedupe::SlotState, durables::DeliveryState};
use serde::Serialize;
use std::fmt;

/// The progress of one durable with one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "Serialized")]
pub struct Way {
    pub(super) feed: Feed,
    pub(super) durable: String,
    pub(super) sequence: u64,
    pub(super) delivery: DeliveryState,
    pub(super) slot: SeenSlot,
}

/// The slot of an event in the dedupe store of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SeenSlot {
    /// Not asked: no store was given, or the durable is none of this crate.
    NotAsked,
    /// The store answered.
    Seen(SlotState),
    /// The store failed, for this reason.
    Failed(String),
}

impl Way {
    /// Returns the feed that the durable reads.
    #[must_use]
    pub fn feed(&self) -> Feed {
        self.feed
    }

    /// Returns the name of the durable.
    #[must_use]
    pub fn durable(&self) -> &str {
        &self.durable
    }

    /// Returns the sequence of the event in the stream that the durable reads.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns whether the event was delivered and answered, as far as the broker knows.
    #[must_use]
    pub fn delivery(&self) -> DeliveryState {
        self.delivery
    }

    /// Returns what the dedupe store knows of it.
    #[must_use]
    pub fn slot(&self) -> &SeenSlot {
        &self.slot
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { feed, durable, delivery, slot, .. } = self;
        let delivery = delivery.as_str().replace('_', " ");
        write!(f, "{} {durable}: {delivery}; dedupe slot: {slot}", feed.stream())
    }
}

impl fmt::Display for SeenSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => f.write_str("not known here"),
            Self::Failed(why) => write!(f, "not known: {why}"),
            Self::Seen(SlotState::Settled) => f.write_str("settled"),
            Self::Seen(SlotState::Free { attempts: 0 }) => f.write_str("free, no attempt"),
            Self::Seen(SlotState::Free { attempts }) => write!(f, "free after {attempts} attempts"),
            Self::Seen(SlotState::Held { attempts, expires_in }) => {
                write!(f, "held for attempt {attempts}, its lease ends in {} s", expires_in.as_secs())
            }
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Serialized {
    stream: &'static str,
    name: String,
    sequence: u64,
    delivery: DeliveryState,
    slot: Option<&'static str>,
    attempts: Option<u32>,
    lease_seconds: Option<u64>,
}

impl From<Way> for Serialized {
    fn from(way: Way) -> Self {
        let (slot, attempts, lease_seconds) = match way.slot {
            SeenSlot::NotAsked | SeenSlot::Failed(_) => (None, None, None),
            SeenSlot::Seen(SlotState::Settled) => (Some("settled"), None, None),
            SeenSlot::Seen(SlotState::Free { attempts }) => (Some("free"), Some(attempts), None),
            SeenSlot::Seen(SlotState::Held { attempts, expires_in }) => {
                (Some("held"), Some(attempts), Some(expires_in.as_secs()))
            }
        };
        let Way { feed, durable: name, sequence, delivery, .. } = way;
        Self { stream: feed.stream(), name, sequence, delivery, slot, attempts, lease_seconds }
    }
}
