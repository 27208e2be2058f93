//! Who announces events.

use crate::{
    acl::{Inbox, Permissions, api::about_stream},
    contract::{domain::Domain, event::EventType, subject::Feed},
};
use std::collections::BTreeSet;

/// Announces the events of given domains, and reads nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublisherRole {
    domains: BTreeSet<Domain>,
    verifies_duplicates: bool,
    checks_stream: bool,
}

impl PublisherRole {
    /// Of these domains; of none, it may publish nothing.
    #[must_use]
    pub fn of(domains: impl IntoIterator<Item = Domain>) -> Self {
        Self { domains: domains.into_iter().collect(), verifies_duplicates: false, checks_stream: false }
    }

    /// For [`with_verify_duplicates`](crate::BridgeOptions::with_verify_duplicates). It opens every event of every domain
    /// to this user, since the server cannot limit what is read by sequence.
    #[must_use]
    pub fn with_verify_duplicates(mut self) -> Self {
        self.verifies_duplicates = true;
        self
    }

    /// May ask whether the stream of events is there, for a service that tells whether it is ready. It then
    /// knows the size and the settings of that stream, and no event.
    #[must_use]
    pub fn checking_stream(mut self) -> Self {
        self.checks_stream = true;
        self
    }

    /// What it may do.
    #[must_use]
    pub fn permissions(&self, inbox: &Inbox) -> Permissions {
        let events = self.domains.iter().flat_map(|domain| {
            EventType::ALL.iter().map(move |event_type| Feed::Strat.subject(domain, *event_type))
        });
        let asked = |is_asked: bool, verb| is_asked.then(|| about_stream(verb, Feed::Strat.stream()));
        let reads = asked(self.verifies_duplicates, "MSG.GET");
        let checks = asked(self.checks_stream, "INFO");
        Permissions::new(events.chain(reads).chain(checks), inbox)
    }
}
