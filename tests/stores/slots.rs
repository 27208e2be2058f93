//! Slots of the consumer `tests`, and claims that must be granted.

use std::time::Duration;
use stratt_event_bridge::{
    Event,
    dedupe::{Claim, DedupeStore, Fence, Slot},
};
use support::published;

/// A lease that does not expire within a test.
pub(crate) const LEASE: Duration = Duration::from_mins(1);

pub(crate) fn slot(number: u64) -> Slot {
    Slot::new("tests".parse().unwrap(), published("a", number).idempotency_key())
}

pub(crate) async fn acquire(store: &dyn DedupeStore, slot: &Slot) -> Fence {
    acquire_for(store, slot, LEASE).await
}

pub(crate) async fn acquire_for(store: &dyn DedupeStore, slot: &Slot, lease: Duration) -> Fence {
    match store.claim(slot, lease).await.unwrap() {
        Claim::Acquired { fence, .. } => fence,
        claim => panic!("not granted: {claim:?}"),
    }
}
