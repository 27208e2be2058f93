//! The role of a service that watches forwarding.

use crate::{
    acl::{Inbox, Permissions},
    nats::api::ApiSubject,
    topology::{CHOCO_STREAM, DURABLE_SOURCE, EVENT_STREAM},
};

/// A watcher of the broker's [forwarding](crate::topology::ForwardingWatch) to Choco.
///
/// It compares the newest events of both streams, and the server cannot limit what is read by subject: a watcher can
/// read all events. It changes nothing, unless it [heals](Self::healing).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WatcherRole {
    heals: bool,
    durable: bool,
}

impl WatcherRole {
    /// Allows [healing](crate::EventBridge::heal_forwarding): letting another server lead the stream of Choco. Each
    /// time interrupts its consumers for a moment.
    #[must_use]
    pub fn healing(mut self) -> Self {
        self.heals = true;
        self
    }

    /// Allows looking at the durable of a [durable source](crate::topology::Topology::with_durable_source).
    #[must_use]
    pub fn with_durable_source(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Returns the permissions of the role.
    #[must_use]
    pub fn permissions(self, inbox: &Inbox) -> Permissions {
        let states = [EVENT_STREAM, CHOCO_STREAM].map(ApiSubject::stream_info);
        let newest = [EVENT_STREAM, CHOCO_STREAM].map(ApiSubject::message_get);
        let heals = self.heals.then(|| ApiSubject::leader_stepdown(CHOCO_STREAM));
        let durable = self.durable.then(|| ApiSubject::durable_info(EVENT_STREAM, DURABLE_SOURCE));
        let requests = states.into_iter().chain(newest).chain(heals).chain(durable);
        Permissions::new(requests.map(ApiSubject::local), inbox)
    }
}
