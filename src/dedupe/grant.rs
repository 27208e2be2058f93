//! A claim that was granted.

use crate::dedupe::{Fence, Slot};

/// A slot with the fence of its granted claim, as required by writes to a store.
///
/// A [`Delivery`](crate::Delivery) has one, so `&delivery` can be passed as `impl Into<Grant>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub(super) slot: Slot,
    pub(super) fence: Fence,
}

impl Grant {
    /// Returns the grant of `slot` with this fence.
    #[must_use]
    pub const fn new(slot: Slot, fence: Fence) -> Self {
        Self { slot, fence }
    }

    /// Returns the slot.
    #[must_use]
    pub const fn slot(&self) -> &Slot {
        &self.slot
    }

    /// Returns the fence of the claim.
    #[must_use]
    pub const fn fence(&self) -> Fence {
        self.fence
    }
}
