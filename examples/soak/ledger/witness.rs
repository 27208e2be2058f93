//! A store that records the operations of the store inside it.

use crate::{End, Fact, Journal, journal::now_ms};
use futures::{FutureExt, future::BoxFuture};
use std::{io, sync::Arc, time::Duration};
use stratt_event_bridge::dedupe::{Claim, DedupeStore, Fence, Slot, SlotState, StoreError, StoreErrorKind};

/// A store that writes into a journal what the store inside it was asked for, granted, renewed and ended.
#[derive(Debug)]
pub struct WitnessStore {
    store: Arc<dyn DedupeStore>,
    journal: Arc<Journal>,
}

impl WitnessStore {
    /// Makes a store that records the operations of `store`.
    #[must_use]
    pub fn new(store: Arc<dyn DedupeStore>, journal: Arc<Journal>) -> Self {
        Self { store, journal }
    }

    /// Ends a grant by `call`. What was asked is recorded before, since an answer may be lost.
    async fn end(
        &self,
        slot: &Slot,
        fence: Fence,
        end: End,
        call: BoxFuture<'_, Result<(), StoreError>>,
    ) -> Result<(), StoreError> {
        let (key, fence) = (slot.key(), fence.get());
        self.journal.record(Fact::Ending { key, fence, end }).map_err(unwritten)?;
        call.await?;
        self.journal.record(Fact::Ended { key, fence, end }).map_err(unwritten)
    }
}

/// Returns the error of an operation that could not be recorded, and so must not pass as done.
fn unwritten(error: io::Error) -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable).with_message("journal cannot be written").caused_by(error)
}

fn milliseconds(lease: Duration) -> u64 {
    u64::try_from(lease.as_millis()).unwrap_or(u64::MAX)
}

impl DedupeStore for WitnessStore {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        async move {
            let (key, claimant) = (slot.key(), slot.claimant());
            self.journal.record(Fact::Claiming { key, claimant }).map_err(unwritten)?;
            let asked_at_ms = now_ms();
            let claim = self.store.claim(slot, lease).await?;
            let answered = match claim {
                Claim::Acquired { fence, attempt, lapsed } => {
                    let (fence, lease_ms) = (fence.get(), milliseconds(lease));
                    Fact::Granted { key, fence, claimant, attempt, lapsed, asked_at_ms, lease_ms }
                }
                Claim::Held { .. } | Claim::Settled => Fact::Declined { key, claimant },
            };
            self.journal.record(answered).map_err(unwritten)?;
            Ok(claim)
        }
        .boxed()
    }

    fn renew<'a>(
        &'a self,
        slot: &'a Slot,
        fence: Fence,
        lease: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            let asked_at_ms = now_ms();
            self.store.renew(slot, fence, lease).await?;
            let (key, fence, lease_ms) = (slot.key(), fence.get(), milliseconds(lease));
            let renewed = Fact::Renewed { key, fence, asked_at_ms, lease_ms };
            self.journal.record(renewed).map_err(unwritten)
        }
        .boxed()
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.end(slot, fence, End::Settle, self.store.settle(slot, fence)).boxed()
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.end(slot, fence, End::Release, self.store.release(slot, fence)).boxed()
    }

    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.end(slot, fence, End::Defer, self.store.defer(slot, fence)).boxed()
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.end(slot, fence, End::Forget, self.store.forget(slot, fence)).boxed()
    }

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        self.store.peek(slot)
    }

    fn retention(&self) -> Option<Duration> {
        self.store.retention()
    }
}
