//! A store that records the operations of the store inside it.

use crate::{Fact, Journal, journal::now_ms};
use futures::{FutureExt, future::BoxFuture};
use std::{io, sync::Arc, time::Duration};
use stratt_event_bridge::dedupe::{Claim, DedupeStore, Fence, Slot, StoreError, StoreErrorKind};

/// A store that writes into a journal what the store inside it granted, renewed, settled and freed.
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
            let asked_at_ms = now_ms();
            let claim = self.store.claim(slot, lease).await?;
            if let Claim::Acquired { fence, .. } = claim {
                let granted = Fact::Granted {
                    key: slot.key(),
                    fence: fence.get(),
                    claimant: slot.claimant(),
                    asked_at_ms,
                    lease_ms: milliseconds(lease),
                };
                self.journal.record(granted).map_err(unwritten)?;
            }
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
        async move {
            self.store.settle(slot, fence).await?;
            self.journal.settled(slot.key(), fence).map_err(unwritten)
        }
        .boxed()
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            self.store.release(slot, fence).await?;
            self.journal.freed(slot.key(), fence).map_err(unwritten)
        }
        .boxed()
    }

    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            self.store.defer(slot, fence).await?;
            self.journal.freed(slot.key(), fence).map_err(unwritten)
        }
        .boxed()
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            self.store.forget(slot, fence).await?;
            self.journal.freed(slot.key(), fence).map_err(unwritten)
        }
        .boxed()
    }

    fn retention(&self) -> Option<Duration> {
        self.store.retention()
    }
}
