//! The role of a publisher of events.

use crate::{
    acl::{Inbox, Permissions},
    contract::{domain::Domain, event::EventType, subject::Feed},
    nats::api::ApiSubject,
};
use std::collections::BTreeSet;

/// A publisher of the events of given domains, which reads nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherRole {
    domains: BTreeSet<Domain>,
    verifies_duplicates: bool,
    checks_stream: bool,
}

impl PublisherRole {
    /// Returns the role of a publisher for these domains. Without any, it may publish nothing.
    #[must_use]
    pub fn of(domains: impl IntoIterator<Item = Domain>) -> Self {
        Self { domains: domains.into_iter().collect(), verifies_duplicates: false, checks_stream: false }
    }

    /// Allows [`with_verify_duplicates`](crate::BridgeOptions::with_verify_duplicates). It opens every event of every
    /// domain to this user, since the server cannot limit what is read by sequence.
    #[must_use]
    pub fn with_verify_duplicates(mut self) -> Self {
        self.verifies_duplicates = true;
        self
    }

    /// Allows looking up the stream of events, for a service that reports whether it is ready. It then
    /// knows the size and the settings of that stream, and no event.
    #[must_use]
    pub fn checking_stream(mut self) -> Self {
        self.checks_stream = true;
        self
    }

    /// Returns the permissions of the role.
    #[must_use]
    pub fn permissions(&self, inbox: &Inbox) -> Permissions {
        let events = self.domains.iter().flat_map(|domain| {
            EventType::ALL.iter().map(move |event_type| Feed::Strat.subject(domain, *event_type))
        });
        let stream = Feed::Strat.stream();
        let reads = self.verifies_duplicates.then(|| ApiSubject::message_get(stream));
        let checks = self.checks_stream.then(|| ApiSubject::stream_info(stream));
        Permissions::new(events.chain(reads.into_iter().chain(checks).map(ApiSubject::local)), inbox)
    }
}
