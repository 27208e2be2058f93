//! The answer to a claim.

use std::time::Duration;
use time::OffsetDateTime;

/// The answer to a claim. Complete: a slot is the claimant's, another's, or done with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The slot is the claimant's until the lease is over.
    Acquired {
        /// What its writes are fenced by.
        fence: Fence,
        /// How many claims of this slot were granted, this one included; the first is 1.
        attempt: u32,
    },
    /// Another claimant has it.
    Held {
        /// When its lease will be over, unless it settles or releases the slot before.
        retry_in: Duration,
    },
    /// It was handled.
    Settled,
}

/// The backend's revision of a slot, new at every grant: whoever has an older one has lost the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence(u64);

impl Fence {
    /// A fence of this revision.
    #[must_use]
    pub const fn new(revision: u64) -> Self {
        Self(revision)
    }

    /// Returns a revision that fences may begin with in a backend that is made now: the time in microseconds. It is greater
    /// than what another one granted that was there before, since that had the same beginning and granted less than a
    /// million in a second.
    pub(super) fn beginning() -> u64 {
        u64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1000).unwrap_or_default()
    }

    /// The revision.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}
