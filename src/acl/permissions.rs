//! The permissions of one user, as nats-server reads them.

use crate::{
    acl::Inbox,
    nats::api::{ApiPrefix, ApiSubject, JetStreamDomain},
};
use std::{collections::BTreeSet, fmt};

/// The subjects that one user may publish and subscribe to; all others are refused.
///
/// [`Display`](fmt::Display) is the block that stands after `permissions:` in the configuration of nats-server,
/// always in the same order. The parts of the subjects are tokens by their types, so that nothing needs to be
/// escaped.
///
/// ```
/// use stratt_event_bridge::acl::{Inbox, PublisherRole};
///
/// let permissions = PublisherRole::of(["dev".parse()?]).permissions(&Inbox::of_user("orchestrator")?);
/// assert!(permissions.publish().any(|subject| subject == "strat.dev.unit.published"));
/// assert!(permissions.subscribe().eq(["_INBOX_orchestrator.>"]));
/// println!("{{ user: orchestrator, password: $PASSWORD, permissions: {permissions} }}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    publish: BTreeSet<String>,
    subscribe: BTreeSet<String>,
    /// Requests to the JetStream of the connection itself, which are made where that of the role is elsewhere.
    beside: BTreeSet<String>,
}

impl Permissions {
    pub(crate) fn new(publish: impl IntoIterator<Item = String>, inbox: &Inbox) -> Self {
        Self {
            publish: publish.into_iter().collect(),
            subscribe: BTreeSet::from([format!("{}.>", inbox.prefix())]),
            beside: BTreeSet::new(),
        }
    }

    /// Adds a request to the JetStream of the connection itself, which is made where that of the role is elsewhere.
    pub(super) fn asking_beside(mut self, request: ApiSubject) -> Self {
        self.beside.insert(request.local());
        self
    }

    /// Returns the permissions of a user of a bridge with a
    /// [JetStream domain](crate::BridgeOptions::with_jetstream_domain), on the servers of other domains, such as a leaf
    /// node. A server of the domain itself checks the subjects without it.
    #[must_use]
    pub fn with_jetstream_domain(self, domain: JetStreamDomain) -> Self {
        self.with_api_prefix(domain.into())
    }

    /// Returns the permissions of a user of a bridge with an [API prefix](crate::BridgeOptions::with_api_prefix):
    /// requests to JetStream and writes to buckets have it, and all other subjects stay as they are.
    #[must_use]
    pub fn with_api_prefix(mut self, prefix: ApiPrefix) -> Self {
        if prefix.is_local() {
            return self;
        }
        self.publish = self.publish.into_iter().map(move |subject| prefix.moved(subject)).collect();
        self.publish.append(&mut self.beside);
        self
    }

    /// Returns the permissions of both, for a user with several roles.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.publish.extend(other.publish);
        self.subscribe.extend(other.subscribe);
        self.beside.extend(other.beside);
        self
    }

    /// Returns the subjects to publish to, in order.
    pub fn publish(&self) -> impl Iterator<Item = &str> {
        self.publish.iter().map(String::as_str)
    }

    /// Returns the subjects to subscribe to, in order.
    pub fn subscribe(&self) -> impl Iterator<Item = &str> {
        self.subscribe.iter().map(String::as_str)
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{\n")?;
        for (verb, subjects) in [("publish", &self.publish), ("subscribe", &self.subscribe)] {
            if subjects.is_empty() {
                // To the server, an empty list of what is allowed allows everything.
                writeln!(f, "  {verb}: {{ deny: \">\" }}")?;
                continue;
            }
            writeln!(f, "  {verb}: {{ allow: [")?;
            for subject in subjects {
                writeln!(f, "    \"{subject}\"")?;
            }
            writeln!(f, "  ] }}")?;
        }
        f.write_str("}")
    }
}
