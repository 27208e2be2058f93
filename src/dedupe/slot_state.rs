//! The state of a slot, for those who only look.

use std::time::Duration;

/// The state of a slot when it was looked at. Exhaustive, as [`Claim`](super::Claim) is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotState {
    /// The next claim acquires it: its event was not handled, or is not remembered any more.
    Free {
        /// The claims granted so far; 0 if the slot is not known, or was forgotten.
        attempts: u32,
    },
    /// A claimant holds it.
    Held {
        /// The claims granted so far, this one included.
        attempts: u32,
        /// Time until its lease expires. Zero once it has, until another claimant acquires the slot.
        expires_in: Duration,
    },
    /// The event was handled.
    Settled,
}

impl SlotState {
    /// The state of a slot that the store knows nothing about.
    pub const UNKNOWN: Self = Self::Free { attempts: 0 };
}
