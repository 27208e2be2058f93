//! Who reads Choco's stream without this crate.

use crate::{
    acl::{Inbox, Permissions, durable::use_of},
    contract::{consumer_name::ConsumerName, subject::Feed},
};

/// Reads `CHOCO_STRATT` with any JetStream client: pulls from one durable that somebody else creates, and acknowledges.
///
/// For readers in the account of Choco as well. Dead letters and deduplication are their own affair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderRole {
    durable: ConsumerName,
}

impl ReaderRole {
    /// By this durable.
    #[must_use]
    pub fn new(durable: ConsumerName) -> Self {
        Self { durable }
    }

    /// What it may do.
    #[must_use]
    pub fn permissions(&self, inbox: &Inbox) -> Permissions {
        Permissions::new(use_of(Feed::Choco, &self.durable), inbox)
    }
}
