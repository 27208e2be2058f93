//! The result of a claim.

use std::time::Duration;
use time::OffsetDateTime;

/// The result of a claim. Exhaustive: a slot is acquired, held by another claimant, or settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The claimant has acquired the slot until the lease expires.
    Acquired {
        /// The fence for writes to the slot.
        fence: Fence,
        /// The number of claims of this slot that were granted, this one included; the first is 1.
        attempt: u32,
        /// The number of those that ended by lease expiry: another claimant acquired the slot after it. A claim that
        /// was settled, released, deferred or forgotten is none of them.
        lapsed: u32,
    },
    /// Another claimant holds the slot.
    Held {
        /// Time until its lease expires, unless the slot is settled or released before.
        retry_in: Duration,
    },
    /// The event was handled.
    Settled,
}

/// The fencing token of a grant: the backend's revision of the slot, new at every grant. A claimant with an older one
/// has lost its claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(u64);

impl Fence {
    /// Returns the fence of this revision.
    #[must_use]
    pub const fn new(revision: u64) -> Self {
        Self(revision)
    }

    /// Returns the first revision of a backend that is created now: the time in microseconds. It is greater than all
    /// revisions of a previous backend, which began the same way and granted less than a million per second.
    pub(super) fn beginning() -> u64 {
        u64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1000).unwrap_or_default()
    }

    /// Returns the revision.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}
