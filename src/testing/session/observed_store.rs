//! A dedupe store whose claims are counted.

use crate::dedupe::{BoxFuture, Claim, DedupeStore, Fence, Slot, SlotState, StoreError};
use futures::FutureExt;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// A store that remembers the attempt of the last claim that it granted, for each slot.
#[derive(Debug)]
pub(super) struct ObservedStore {
    store: Arc<dyn DedupeStore>,
    attempts: Mutex<HashMap<Slot, u32>>,
}

impl ObservedStore {
    pub(super) fn over(store: Arc<dyn DedupeStore>) -> Self {
        Self { store, attempts: Mutex::default() }
    }

    /// Returns the attempt of the last claim; `None` if none was granted.
    pub(super) fn attempts(&self, slot: &Slot) -> Option<u32> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).get(slot).copied()
    }
}

impl DedupeStore for ObservedStore {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        async move {
            let claim = self.store.claim(slot, lease).await?;
            if let Claim::Acquired { attempt, .. } = claim {
                let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
                attempts.insert(slot.clone(), attempt);
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
        self.store.renew(slot, fence, lease)
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.settle(slot, fence)
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.release(slot, fence)
    }

    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.defer(slot, fence)
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.forget(slot, fence)
    }

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        self.store.peek(slot)
    }

    fn retention(&self) -> Option<Duration> {
        self.store.retention()
    }
}
