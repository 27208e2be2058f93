//! A store that fails and comes back while the consumer holds nothing.

use futures::future::BoxFuture;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    Delivery, UnitPublished,
    dedupe::{Claim, DedupeStore, Fence, MemoryStore, Slot, StoreError, StoreErrorKind},
};
use support::{Running, Stage, eventually, published, short};

/// Fails first, then panics, as a driver with a bug may, and works from then on.
#[derive(Debug)]
struct FailsThenPanics(MemoryStore, AtomicU32);

impl DedupeStore for FailsThenPanics {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        match self.1.fetch_add(1, Ordering::SeqCst) {
            0 => Box::pin(async { Err(StoreError::new(StoreErrorKind::Unavailable)) }),
            1 => Box::pin(async { panic!("a bug of a driver") }),
            _ => self.0.claim(slot, lease),
        }
    }

    fn retention(&self) -> Option<Duration> {
        self.0.retention()
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.settle(slot, fence)
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.release(slot, fence)
    }

    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.defer(slot, fence)
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.0.forget(slot, fence)
    }
}

#[tokio::test]
async fn a_store_is_asked_again_although_nothing_is_held() {
    let stage = Stage::new().await;
    let store = Arc::new(FailsThenPanics(MemoryStore::new(), AtomicU32::new(0)));
    let handled = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&handled);
    // Longer than a request for messages is open, so that none is when the delivery that panicked comes again.
    let options = short().with_ack_wait(Duration::from_secs(15));
    let consumer =
        stage.bridge.consumer("c", store).options(options).on(move |_: Delivery<UnitPublished>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        });
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(published("a", 0)).await.unwrap();
    eventually("handled", || async { handled.load(Ordering::SeqCst) }, |n| *n == 1).await;
    running.stop().await;
}
