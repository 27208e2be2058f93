//! The role of a reader of Choco's stream that does not use this crate.

use crate::{
    acl::{Inbox, Permissions, durable::use_of},
    contract::{consumer_name::ConsumerName, subject::Feed},
};

/// A reader of `CHOCO_STRATT` with any JetStream client, which pulls from one durable that others create, and
/// acknowledges.
///
/// It serves readers in the account of Choco as well. Dead letters and deduplication are up to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderRole {
    durable: ConsumerName,
}

impl ReaderRole {
    /// Returns the role of a reader with this durable.
    #[must_use]
    pub fn new(durable: ConsumerName) -> Self {
        Self { durable }
    }

    /// Returns the permissions of the role.
    #[must_use]
    pub fn permissions(&self, inbox: &Inbox) -> Permissions {
        Permissions::new(use_of(Feed::Choco, &self.durable), inbox)
    }
}
