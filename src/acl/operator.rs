//! Who decides about dead letters.

use crate::{
    acl::{Inbox, Permissions, api::about_stream},
    contract::{event::EventType, subject::Feed},
    topology::DEAD_LETTER_STREAM,
};

/// Lists, shows, redrives and discards the [dead letters](crate::dead_letter::DeadLetters) of all consumers.
///
/// A redrive publishes, in any domain. Bytes that were too many for the dead letter are read from the stream of the event:
/// an operator sees all events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OperatorRole;

impl OperatorRole {
    /// What it may do.
    #[must_use]
    pub fn permissions(self, inbox: &Inbox) -> Permissions {
        let letters = ["INFO", "MSG.GET", "MSG.DELETE"].map(|verb| about_stream(verb, DEAD_LETTER_STREAM));
        let payloads = [Feed::Strat, Feed::Choco].map(|feed| about_stream("MSG.GET", feed.stream()));
        let redriven = EventType::ALL.iter().map(|event_type| Feed::Strat.filter(None, *event_type));
        Permissions::new(letters.into_iter().chain(payloads).chain(redriven), inbox)
    }
}
