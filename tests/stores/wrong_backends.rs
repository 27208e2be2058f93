//! Backends that are wrong on purpose: the behaviours that take several stores are seen to fail.

use futures::{FutureExt, future::BoxFuture};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use stratt_event_bridge::{
    dedupe::{Claim, DedupeStore, Fence, MemoryStore, Slot, SlotState, StoreError},
    testing::conformance,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Nothing,
    ForgetsByItsOwnRetention,
    RemembersByItsOwnRetention,
    StartsAgain,
}

/// The state that the stores on it share: slots that outlive their retention get another name.
#[derive(Debug, Default)]
struct Backend {
    slots: MemoryStore,
    /// When each slot was last written, and how long its store remembers it.
    written: Mutex<HashMap<Slot, (Instant, Duration)>>,
    forgotten: Mutex<HashMap<Slot, u32>>,
    first_fence: Mutex<Option<u64>>,
}

#[derive(Debug)]
struct Shared {
    backend: Arc<Backend>,
    retention: Duration,
    fault: Fault,
}

impl Shared {
    fn on(backend: &Arc<Backend>, retention: Duration, fault: Fault) -> Arc<dyn DedupeStore> {
        Arc::new(Self { backend: Arc::clone(backend), retention, fault })
    }

    /// The slot by the name it has now.
    fn named(&self, slot: &Slot) -> Slot {
        let forgotten = self.backend.forgotten.lock().unwrap().get(slot).copied().unwrap_or_default();
        Slot::new(format!("{}-{forgotten}", slot.consumer()).parse().unwrap(), slot.key())
    }

    fn forget_what_is_over(&self, slot: &Slot) {
        let mut written = self.backend.written.lock().unwrap();
        let Some((since, kept)) = written.get(slot) else { return };
        let kept = match self.fault {
            Fault::ForgetsByItsOwnRetention => self.retention.min(*kept),
            Fault::RemembersByItsOwnRetention => self.retention.max(*kept),
            Fault::Nothing | Fault::StartsAgain => *kept,
        };
        if since.elapsed() >= kept {
            written.remove(slot);
            *self.backend.forgotten.lock().unwrap().entry(slot.clone()).or_default() += 1;
        }
    }

    /// Fences as they are told outside: from 1 on, when they start again.
    fn told(&self, fence: Fence) -> Fence {
        let first = *self.backend.first_fence.lock().unwrap().get_or_insert(fence.get());
        if self.fault == Fault::StartsAgain { Fence::new(fence.get() - first + 1) } else { fence }
    }

    fn known(&self, fence: Fence) -> Fence {
        let first = self.backend.first_fence.lock().unwrap().unwrap_or_default();
        if self.fault == Fault::StartsAgain { Fence::new(fence.get() + first - 1) } else { fence }
    }

    fn wrote(&self, slot: &Slot) {
        self.backend.written.lock().unwrap().insert(slot.clone(), (Instant::now(), self.retention));
    }
}

impl DedupeStore for Shared {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        async move {
            self.forget_what_is_over(slot);
            match self.backend.slots.claim(&self.named(slot), lease).await? {
                Claim::Acquired { fence, attempt, lapsed } => {
                    Ok(Claim::Acquired { fence: self.told(fence), attempt, lapsed })
                }
                claim => Ok(claim),
            }
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
            self.backend.slots.renew(&self.named(slot), self.known(fence), lease).await?;
            self.wrote(slot);
            Ok(())
        }
        .boxed()
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            self.backend.slots.settle(&self.named(slot), self.known(fence)).await?;
            self.wrote(slot);
            Ok(())
        }
        .boxed()
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            self.backend.slots.release(&self.named(slot), self.known(fence)).await?;
            self.wrote(slot);
            Ok(())
        }
        .boxed()
    }

    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move { self.backend.slots.defer(&self.named(slot), self.known(fence)).await }.boxed()
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move { self.backend.slots.forget(&self.named(slot), self.known(fence)).await }.boxed()
    }

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        async move { self.backend.slots.peek(&self.named(slot)).await }.boxed()
    }

    fn retention(&self) -> Option<Duration> {
        Some(self.retention)
    }
}

async fn retention_with(lasting: Fault, brief: Fault) -> conformance::Verdict {
    let backend = Arc::default();
    conformance::retention_is_the_slots_own(
        Shared::on(&backend, Duration::from_hours(1), lasting),
        Shared::on(&backend, Duration::from_millis(500), brief),
    )
    .await
}

async fn fences_with(fault: Fault) -> conformance::Verdict {
    // The first store sees what the second one does, as a process that was frozen.
    let hour = Duration::from_hours(1);
    let backend = Arc::new(Backend::default());
    let recreate = async || Shared::on(&backend, hour, fault);
    let lost = Arc::new(Frozen { before: Shared::on(&Arc::default(), hour, fault), after: recreate().await });
    conformance::fences_never_start_again(lost, recreate).await
}

/// Claims before its backend is lost, and writes to the one that is made in its place.
#[derive(Debug)]
struct Frozen {
    before: Arc<dyn DedupeStore>,
    after: Arc<dyn DedupeStore>,
}

impl DedupeStore for Frozen {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        self.before.claim(slot, lease)
    }

    fn renew<'a>(
        &'a self,
        slot: &'a Slot,
        fence: Fence,
        lease: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.after.renew(slot, fence, lease)
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.after.settle(slot, fence)
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.after.release(slot, fence)
    }

    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.after.defer(slot, fence)
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.after.forget(slot, fence)
    }

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        self.after.peek(slot)
    }

    fn retention(&self) -> Option<Duration> {
        self.before.retention()
    }
}

#[tokio::test]
async fn a_store_that_forgets_for_another_is_noticed() {
    retention_with(Fault::Nothing, Fault::Nothing).await.unwrap();
    for (lasting, brief) in [
        (Fault::Nothing, Fault::ForgetsByItsOwnRetention),
        (Fault::RemembersByItsOwnRetention, Fault::Nothing),
    ] {
        assert!(retention_with(lasting, brief).await.is_err(), "not noticed: {lasting:?}, {brief:?}");
    }
}

#[tokio::test]
async fn a_store_whose_fences_start_again_is_noticed() {
    fences_with(Fault::Nothing).await.unwrap();
    assert!(fences_with(Fault::StartsAgain).await.is_err());
}
