//! What a consumer did.

use crate::{consumer::delivery::decide::Ending, dead_letter::DeadLetterReason};

/// What a consumer did between its start and its end. Each delivery is counted in `received` and one other field, up to
/// `abandoned`.
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
    /// Dead-lettered after the last attempt.
    pub exhausted: u64,
    /// Dead-lettered because the handler rejected them.
    pub rejected: u64,
    /// Dead-lettered because they were not valid. Those that async-nats cannot read are not among them: they are never
    /// received.
    pub invalid: u64,
    /// To be dead-lettered, which failed; the server was asked to deliver them again.
    pub postponed: u64,
    /// Given back at shutdown.
    pub returned: u64,
    /// Left to the server, since another worker owns them or may own them.
    pub abandoned: u64,
    /// Events that the stream removed, by age or by hand, and that this consumer was still due. Of what is removed at the
    /// front of the stream all sequences count, whether or not there was an event for this consumer at each; of what is
    /// removed behind it, so many events at least. Seen only while it ran, and only where it may look at the stream.
    pub expired: u64,
}

impl ConsumeSummary {
    pub(super) fn count(&mut self, ending: Ending) {
        let counter = match ending {
            Ending::Handled => &mut self.handled,
            Ending::Duplicate => &mut self.duplicates,
            Ending::Retried(_) => &mut self.retried,
            Ending::Postponed(_) => &mut self.postponed,
            Ending::DeadLettered(DeadLetterReason::Exhausted) => &mut self.exhausted,
            Ending::DeadLettered(DeadLetterReason::Rejected) => &mut self.rejected,
            Ending::DeadLettered(DeadLetterReason::Invalid) => &mut self.invalid,
            Ending::Returned => &mut self.returned,
            Ending::Abandoned => &mut self.abandoned,
        };
        *counter += 1;
    }
}
