//! The summary of a consumer's run.

use crate::{consumer::delivery::decide::Ending, dead_letter::DeadLetterReason};

/// The counts of a consumer between its start and its end. Each delivery is counted in `received` and in one other
/// field, up to `abandoned`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ConsumeSummary {
    /// Messages the server delivered.
    pub received: u64,
    /// Events whose handler returned `Ok` and which were settled.
    pub handled: u64,
    /// Deliveries of events that were settled earlier: acknowledged, and not handled again.
    pub duplicates: u64,
    /// Failed attempts that the server was asked to repeat.
    pub retried: u64,
    /// Deliveries of events that could not be handled through no fault of their own, and were given back with a delay:
    /// their handler deferred them, or a circuit breaker was open.
    pub deferred: u64,
    /// Events dead-lettered after their last attempt.
    pub exhausted: u64,
    /// Events dead-lettered because the handler rejected them.
    pub rejected: u64,
    /// Messages dead-lettered because they were not valid. Those that async-nats cannot read are never received and not
    /// counted here.
    pub invalid: u64,
    /// Events that were [parked](crate::ConsumerOptions::with_parking) behind a dead letter of their unit.
    pub parked: u64,
    /// Deliveries whose dead letter could not be stored; the server was asked to deliver them again.
    pub postponed: u64,
    /// Deliveries given back unhandled: at shutdown, after a fail-over, when their lease was lost, or from behind a
    /// handler that blocks its thread.
    pub returned: u64,
    /// Deliveries left to the server, since another worker owns them or may own them.
    pub abandoned: u64,
    /// Events that the stream removed, by age or by hand, while they were still due to this consumer. At the front of
    /// the stream all removed sequences count, whether or not each was an event for this consumer; behind it, the count
    /// is a lower bound. Noticed only while the consumer runs, and only where it may look at the stream.
    pub expired: u64,
}

/// A field of [`ConsumeSummary`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    Received,
    Handled,
    Duplicates,
    Retried,
    Deferred,
    Exhausted,
    Rejected,
    Invalid,
    Parked,
    Postponed,
    Returned,
    Abandoned,
    Expired,
}

impl From<Ending> for Count {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Handled => Self::Handled,
            Ending::Duplicate => Self::Duplicates,
            Ending::Retried(_) => Self::Retried,
            Ending::Deferred(_) => Self::Deferred,
            Ending::Postponed(_) => Self::Postponed,
            Ending::DeadLettered(DeadLetterReason::Exhausted) => Self::Exhausted,
            Ending::DeadLettered(DeadLetterReason::Rejected) => Self::Rejected,
            Ending::DeadLettered(DeadLetterReason::Invalid) => Self::Invalid,
            Ending::DeadLettered(DeadLetterReason::Parked) => Self::Parked,
            Ending::Returned | Ending::BehindStalled(_) => Self::Returned,
            Ending::Abandoned => Self::Abandoned,
        }
    }
}
