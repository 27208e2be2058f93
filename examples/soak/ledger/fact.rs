//! The facts that a journal records.

use serde::{Deserialize, Serialize};
use stratt_event_bridge::{IdempotencyKey, dead_letter::DeadLetterReason};
use uuid::Uuid;

/// One line: an observation, its process and its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since 1970, by the clock of the machine.
    pub at_ms: u64,
    /// The process that made the observation.
    pub process: u32,
    /// The observation.
    #[serde(flatten)]
    pub fact: Fact,
}

/// An observation. The names are those of Jepsen's tests where they have one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Fact {
    /// A publish was begun.
    Attempted {
        /// The key of the event.
        key: IdempotencyKey,
    },
    /// A publish returned `Ok`.
    Acknowledged {
        /// The key of the event.
        key: IdempotencyKey,
    },
    /// A publish failed, and may have been stored all the same.
    Unknown {
        /// The key of the event.
        key: IdempotencyKey,
    },
    /// A publish failed and was not stored.
    Rejected {
        /// The key of the event.
        key: IdempotencyKey,
    },
    /// An event is about to be published that no attempt can handle.
    Condemned {
        /// The key of the event.
        key: IdempotencyKey,
        /// The reason that its dead letter must give.
        reason: DeadLetterReason,
    },
    /// A claim is about to be sent to a store, which may grant it even if its answer is lost.
    Claiming {
        /// The key of the event.
        key: IdempotencyKey,
        /// The claimant.
        claimant: Uuid,
    },
    /// A store answered that it did not grant a claim.
    Declined {
        /// The key of the event.
        key: IdempotencyKey,
        /// The claimant.
        claimant: Uuid,
    },
    /// A store granted a claim.
    Granted {
        /// The key of the event.
        key: IdempotencyKey,
        /// The fence of the grant.
        fence: u64,
        /// The claimant.
        claimant: Uuid,
        /// The number of claims granted, as the store counts them.
        attempt: u32,
        /// The number of those that ended by lease expiry, as the store counts them.
        lapsed: u32,
        /// The time at which the claim was sent, as [`Entry::at_ms`].
        asked_at_ms: u64,
        /// The length of the lease.
        lease_ms: u64,
    },
    /// A store renewed a lease.
    Renewed {
        /// The key of the event.
        key: IdempotencyKey,
        /// The fence of the grant.
        fence: u64,
        /// The time at which the renewal was sent, as [`Entry::at_ms`].
        asked_at_ms: u64,
        /// The length of the lease from then on.
        lease_ms: u64,
    },
    /// A handler began.
    Ran {
        /// The key of the event.
        key: IdempotencyKey,
        /// The fence of the grant that it runs under.
        fence: u64,
    },
    /// A handler made its effect.
    Effect {
        /// The key of the event.
        key: IdempotencyKey,
        /// The fence of the grant that it ran under.
        fence: u64,
    },
    /// The end of a grant is about to be sent to a store, which may carry it out even if its answer is lost.
    Ending {
        /// The key of the event.
        key: IdempotencyKey,
        /// The fence of the grant.
        fence: u64,
        /// The operation.
        end: End,
    },
    /// A store ended a grant.
    Ended {
        /// The key of the event.
        key: IdempotencyKey,
        /// The fence of the grant.
        fence: u64,
        /// The operation.
        end: End,
    },
    /// A process was killed, or is about to be.
    Crashed {
        /// The id of the process.
        victim: u32,
    },
}

impl Fact {
    /// Returns the key of the event that it is about.
    pub(crate) fn key(&self) -> Option<IdempotencyKey> {
        match self {
            Self::Attempted { key }
            | Self::Acknowledged { key }
            | Self::Unknown { key }
            | Self::Rejected { key }
            | Self::Condemned { key, .. }
            | Self::Claiming { key, .. }
            | Self::Declined { key, .. }
            | Self::Granted { key, .. }
            | Self::Renewed { key, .. }
            | Self::Ran { key, .. }
            | Self::Effect { key, .. }
            | Self::Ending { key, .. }
            | Self::Ended { key, .. } => Some(*key),
            Self::Crashed { .. } => None,
        }
    }
}

/// An operation that ends a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum End {
    /// Its event was handled.
    Settle,
    /// Its event was not handled, and the attempt counts.
    Release,
    /// Its event was not handled, and the attempt does not count.
    Defer,
    /// Its event was dead-lettered, and the counts begin afresh.
    Forget,
}
