//! The role of whoever watches forwarding.

use crate::{
    acl::{Inbox, Permissions},
    nats::api::ApiSubject,
    topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM},
};

/// A watcher of the broker's [forwarding](crate::topology::ForwardingWatch) and its [status](crate::EventBridge::status).
///
/// It compares the newest events of both streams, and the server cannot limit what is read by subject: a watcher can
/// read all events. It changes nothing, unless it [heals](Self::healing).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WatcherRole {
    heals: bool,
}

impl WatcherRole {
    /// Allows [healing](crate::EventBridge::heal_forwarding): letting another server lead the stream of Choco. Each
    /// time interrupts its consumers for a moment.
    #[must_use]
    pub fn healing(mut self) -> Self {
        self.heals = true;
        self
    }

    /// Returns the permissions of the role.
    #[must_use]
    pub fn permissions(self, inbox: &Inbox) -> Permissions {
        let states = [EVENT_STREAM, CHOCO_STREAM, DEAD_LETTER_STREAM].map(ApiSubject::stream_info);
        let newest = [EVENT_STREAM, CHOCO_STREAM].map(ApiSubject::message_get);
        let heals = self.heals.then(|| ApiSubject::leader_stepdown(CHOCO_STREAM));
        Permissions::new(states.into_iter().chain(newest).chain(heals).map(String::from), inbox)
    }
}
