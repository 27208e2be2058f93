//! The place in the stream where a new durable begins.

use async_nats::jetstream::consumer::DeliverPolicy;
use serde_json::json;
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

/// The place in the stream where a new durable begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum StartAt {
    /// The oldest event that the stream has.
    #[default]
    All,
    /// The first event that is stored after the durable is created.
    New,
    /// The newest event of each subject: of each domain and event type.
    LastPerSubject,
    /// The event at this sequence, or the next one that the stream has. Sequences begin at 1.
    Sequence(u64),
    /// The first event that was stored at this time or later, by the clock of the server.
    Time(OffsetDateTime),
}

impl StartAt {
    /// Returns the setting of the durable; `None` if the server could not read it.
    pub(crate) fn deliver_policy(self) -> Option<DeliverPolicy> {
        match self {
            Self::All => Some(DeliverPolicy::All),
            Self::New => Some(DeliverPolicy::New),
            Self::LastPerSubject => Some(DeliverPolicy::LastPerSubject),
            Self::Sequence(0) => None,
            Self::Sequence(start_sequence) => Some(DeliverPolicy::ByStartSequence { start_sequence }),
            Self::Time(time) => {
                // Through JSON, since the date type of async-nats depends on its features.
                let time = time.checked_to_offset(UtcOffset::UTC)?.format(&Rfc3339).ok()?;
                let policy = json!({ "deliver_policy": "by_start_time", "opt_start_time": time });
                serde_json::from_value(policy).ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn each_place_has_its_deliver_policy() {
        let json = |start: StartAt| serde_json::to_value(start.deliver_policy().unwrap()).unwrap();
        assert_eq!(json(StartAt::default()), json!({ "deliver_policy": "all" }));
        assert_eq!(json(StartAt::New), json!({ "deliver_policy": "new" }));
        assert_eq!(json(StartAt::LastPerSubject), json!({ "deliver_policy": "last_per_subject" }));
        let seventh = json!({ "deliver_policy": "by_start_sequence", "opt_start_seq": 7 });
        assert_eq!(json(StartAt::Sequence(7)), seventh);
        let time = StartAt::Time(datetime!(2026-03-31 12:15:00.5 +02:00));
        let written =
            json!({ "deliver_policy": "by_start_time", "opt_start_time": "2026-03-31T10:15:00.5Z" });
        assert_eq!(json(time), written);
    }

    #[test]
    fn a_place_that_the_server_could_not_read_has_none() {
        assert_eq!(StartAt::Sequence(0).deliver_policy(), None);
        assert_eq!(StartAt::Time(datetime!(-1-01-01 00:00 UTC)).deliver_policy(), None);
    }
}
