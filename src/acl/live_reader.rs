//! The role of a process that watches a feed.

use crate::{
    acl::{Inbox, Permissions},
    contract::{consumer_name::ConsumerName, subject::Feed},
    nats::api::ApiSubject,
    watch::temporary_name,
};

/// A process that reads live events of one feed by [`EventBridge::watch`](crate::EventBridge::watch), under a
/// [name](crate::watch::WatchOptions::with_name) of its own.
///
/// The server cannot limit what a temporary consumer reads: the user can read the whole feed, and may let its consumer
/// deliver to any subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveReaderRole {
    feed: Feed,
    name: ConsumerName,
}

impl LiveReaderRole {
    /// Returns the role of a process that watches `feed` under this name.
    #[must_use]
    pub fn new(feed: Feed, name: ConsumerName) -> Self {
        Self { feed, name }
    }

    /// Returns the permissions of the role.
    #[must_use]
    pub fn permissions(&self, inbox: &Inbox) -> Permissions {
        let (stream, name) = (self.feed.stream(), &*temporary_name(&self.name));
        let requests = [
            ApiSubject::stream_info(stream),
            ApiSubject::durable_delete(stream, name),
            ApiSubject::durable_create(stream, name),
            ApiSubject::next_messages(stream, name),
            // To find an event that the client library cannot read.
            ApiSubject::message_get(stream),
        ];
        Permissions::new(requests.map(ApiSubject::local), inbox)
    }
}
