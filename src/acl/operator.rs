//! The role of an operator of dead letters.

use crate::{
    acl::{Inbox, Permissions},
    contract::{event::EventType, subject::Feed},
    nats::api::ApiSubject,
    topology::DEAD_LETTER_STREAM,
};

/// An operator who lists, shows, redrives and discards the [dead letters](crate::dead_letter::DeadLetters) of all
/// consumers.
///
/// A redrive publishes, in any domain. A payload that was too large for its dead letter is read from the stream of the
/// event, so an operator can read all events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OperatorRole;

impl OperatorRole {
    /// Returns the permissions of the role.
    #[must_use]
    pub fn permissions(self, inbox: &Inbox) -> Permissions {
        let letters = [ApiSubject::stream_info, ApiSubject::message_get, ApiSubject::message_delete]
            .map(|request| request(DEAD_LETTER_STREAM));
        let payloads = [Feed::Strat, Feed::Choco].map(|feed| ApiSubject::message_get(feed.stream()));
        let requests = letters.into_iter().chain(payloads).map(String::from);
        let redriven = EventType::ALL.iter().map(|event_type| Feed::Strat.filter(None, *event_type));
        Permissions::new(requests.chain(redriven), inbox)
    }
}
