//! The answer to a claim.

use std::time::Duration;

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

    /// The revision.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}
