//! The role of an operator of dead letters and durables.

use crate::{
    acl::{Inbox, Permissions},
    contract::{event::EventType, subject::Feed},
    nats::api::ApiSubject,
    topology::DEAD_LETTER_STREAM,
};

/// An operator who lists, shows, redrives and discards the [dead letters](crate::dead_letter::DeadLetters) of all
/// consumers, and lists, pauses, resumes and replays their [durables](crate::durables::Durables).
///
/// A redrive or a replay publishes for any consumer, and nothing else. A redrive looks for newer events of the same
/// unit, and reads a payload that was too large for its dead letter from the stream of the event; a replay reads what
/// it publishes: an operator can read all events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OperatorRole;

impl OperatorRole {
    /// Returns the permissions of the role.
    #[must_use]
    pub fn permissions(self, inbox: &Inbox) -> Permissions {
        let feeds = [Feed::Strat, Feed::Choco].map(Feed::stream);
        let read = [DEAD_LETTER_STREAM].into_iter().chain(feeds).flat_map(|stream| {
            [ApiSubject::stream_info, ApiSubject::message_get, ApiSubject::direct_get_many]
                .map(|request| request(stream))
        });
        let consumers = feeds.into_iter().flat_map(|stream| {
            [
                ApiSubject::durable_info(stream, "*"),
                ApiSubject::durable_list(stream),
                ApiSubject::durable_pause(stream, "*"),
            ]
        });
        let discard = [ApiSubject::message_delete(DEAD_LETTER_STREAM)];
        let requests = discard.into_iter().chain(read).chain(consumers).map(ApiSubject::local);
        let prefix = Feed::Strat.redrive_prefix();
        let redriven = EventType::ALL.iter().map(|event_type| format!("{prefix}*.*.{event_type}"));
        Permissions::new(requests.chain(redriven), inbox)
    }
}
