//! The status of a durable.

use crate::{
    contract::subject::Feed,
    nats::subject_filter::{filters, matches},
};
use async_nats::jetstream::consumer::Info;
use serde::Serialize;
use std::{fmt, time::Duration};

/// A durable as the broker reports it.
///
/// The names of its fields in JSON are stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "Serialized")]
pub struct DurableStatus {
    feed: Feed,
    name: String,
    pending: u64,
    unanswered: u64,
    redelivered: u64,
    waiting: u64,
    paused_for: Option<Duration>,
    filters: Vec<String>,
    delivered: u64,
    answered: u64,
}

/// The state of one event for a durable, as far as the broker tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeliveryState {
    /// It was not delivered yet.
    Pending,
    /// It was delivered, and so were others; at least one of them is not answered yet, perhaps this one.
    UnansweredOrAnswered,
    /// It was handled or given up: acknowledged or terminated.
    Answered,
}

/// The activity of the processes of a durable, as far as the broker tells by the requests for events that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activity {
    /// It is paused.
    Paused,
    /// A process asks for events.
    Working,
    /// None asks for more, and some events are unanswered: all handlers are busy, or the process waits for its dedupe
    /// store, a circuit breaker or a barrier, or it has died. Its log tells.
    Busy,
    /// None asks, and none has any: none is running.
    Absent,
}

impl DurableStatus {
    pub(super) fn new(feed: Feed, info: Info) -> Self {
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Self {
            feed,
            filters: filters(&info.config),
            name: info.name,
            pending: info.num_pending,
            unanswered: count(info.num_ack_pending),
            redelivered: count(info.num_redelivered),
            waiting: count(info.num_waiting),
            paused_for: info.paused.then(|| info.pause_remaining.unwrap_or_default()),
            delivered: info.delivered.stream_sequence,
            answered: info.ack_floor.stream_sequence,
        }
    }

    /// Returns the feed that it reads.
    #[must_use]
    pub fn feed(&self) -> Feed {
        self.feed
    }

    /// Returns its name. A durable that another program made may have a name that is no
    /// [`ConsumerName`](crate::ConsumerName).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the number of events that were not delivered yet.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.pending
    }

    /// Returns the number of events that were delivered and are not answered yet: being handled, held by a consumer,
    /// or waiting for their next attempt.
    #[must_use]
    pub fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Returns how many of those were delivered more than once.
    #[must_use]
    pub fn redelivered(&self) -> u64 {
        self.redelivered
    }

    /// Returns the number of requests for events that wait at the broker: 0 if no process is at work, or all are busy.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Returns for how long it stays paused; `None` if it is not.
    #[must_use]
    pub fn paused_for(&self) -> Option<Duration> {
        self.paused_for
    }

    /// Returns what its processes are doing.
    #[must_use]
    pub fn activity(&self) -> Activity {
        match (self.paused_for, self.waiting, self.unanswered) {
            (Some(_), ..) => Activity::Paused,
            (None, 0, 0) => Activity::Absent,
            (None, 0, _) => Activity::Busy,
            (None, ..) => Activity::Working,
        }
    }

    /// Returns the subjects that it reads; none if it reads all of the stream.
    #[must_use]
    pub fn filters(&self) -> &[String] {
        &self.filters
    }

    /// Returns the sequence of the last event that it was delivered.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Returns whether it reads what is stored on `subject`.
    #[must_use]
    pub fn reads(&self, subject: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| matches(filter, subject))
    }

    /// Returns how far it is with the event at `sequence` of the stream of its feed, which has to be one that it reads.
    #[must_use]
    pub fn delivery_of(&self, sequence: u64) -> DeliveryState {
        if sequence > self.delivered {
            DeliveryState::Pending
        } else if sequence <= self.answered || self.unanswered == 0 {
            DeliveryState::Answered
        } else {
            DeliveryState::UnansweredOrAnswered
        }
    }
}

impl fmt::Display for Activity {
    /// Writes it as a sentence of a few words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paused => "paused",
            Self::Working => "working",
            Self::Busy => "asks for no more: busy, or waits for its store or a breaker; see its log",
            Self::Absent => "no process asks for events",
        })
    }
}

impl DeliveryState {
    /// Returns the state as one word in `snake_case`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::UnansweredOrAnswered => "unanswered_or_answered",
            Self::Answered => "answered",
        }
    }
}

#[derive(Serialize)]
struct Serialized {
    stream: &'static str,
    name: String,
    pending: u64,
    unanswered: u64,
    redelivered: u64,
    waiting: u64,
    activity: Activity,
    paused_seconds: Option<u64>,
}

impl From<DurableStatus> for Serialized {
    fn from(durable: DurableStatus) -> Self {
        Self {
            activity: durable.activity(),
            stream: durable.feed.stream(),
            name: durable.name,
            pending: durable.pending,
            unanswered: durable.unanswered,
            redelivered: durable.redelivered,
            waiting: durable.waiting,
            paused_seconds: durable.paused_for.map(|left| left.as_secs()),
        }
    }
}
