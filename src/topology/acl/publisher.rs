//! Who announces events.

use super::{Inbox, Permissions, api::about_stream};
use crate::{domain::Domain, event::EventType, subject::Feed};
use std::collections::BTreeSet;

/// Announces the events of given domains, and reads nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    domains: BTreeSet<Domain>,
    verifies_duplicates: bool,
}

impl Publisher {
    /// Of these domains; of none, it may publish nothing.
    #[must_use]
    pub fn of(domains: impl IntoIterator<Item = Domain>) -> Self {
        Self { domains: domains.into_iter().collect(), verifies_duplicates: false }
    }

    /// For [`with_verify_duplicates`](crate::BridgeOptions::with_verify_duplicates). It opens every event of every domain
    /// to this user, since the server cannot limit what is read by sequence.
    #[must_use]
    pub fn with_verify_duplicates(mut self) -> Self {
        self.verifies_duplicates = true;
        self
    }

    /// What it may do.
    #[must_use]
    pub fn permissions(&self, inbox: &Inbox) -> Permissions {
        let events = self.domains.iter().flat_map(|domain| {
            EventType::ALL.iter().map(move |event_type| Feed::Strat.subject(domain, *event_type))
        });
        let reads = self.verifies_duplicates.then(|| about_stream("MSG.GET", Feed::Strat.stream()));
        Permissions::new(events.chain(reads), inbox)
    }
}
