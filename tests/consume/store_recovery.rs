//! A store that fails and comes back while the consumer holds nothing that could ask it.

use futures::future::BoxFuture;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    CircuitBreaker, Delivery, Feed, HandlerError, Order, UnitPublished,
    dedupe::{Claim, DedupeStore, Fence, MemoryStore, Slot, SlotState, StoreError, StoreErrorKind},
};
use support::{Running, Stage, eventually, published, quick, short};

/// A store whose second claim panics, as a driver with a bug may, and that works from then on.
#[derive(Debug)]
struct Panics {
    store: MemoryStore,
    /// The first claim fails.
    fails_first: bool,
    claims: AtomicU32,
}

impl Panics {
    fn new(fails_first: bool) -> Arc<Self> {
        Arc::new(Self { store: MemoryStore::new(), fails_first, claims: AtomicU32::new(0) })
    }

    async fn has_panicked(&self) {
        let claims = || async { self.claims.load(Ordering::SeqCst) };
        eventually("panicked", claims, |claims| *claims >= 2).await;
    }
}

impl DedupeStore for Panics {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        match self.claims.fetch_add(1, Ordering::SeqCst) {
            0 if self.fails_first => Box::pin(async { Err(StoreError::new(StoreErrorKind::Unavailable)) }),
            1 => Box::pin(async { panic!("a bug of a driver") }),
            _ => self.store.claim(slot, lease),
        }
    }

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        self.store.peek(slot)
    }

    fn retention(&self) -> Option<Duration> {
        self.store.retention()
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
}

/// Longer than a request for messages stays open, so that none is open when the delivery that panicked is retried.
const ACK_WAIT: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_store_is_asked_again_although_nothing_is_held() {
    let stage = Stage::new().await;
    let store = Panics::new(true);
    let handled = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&handled);
    let consumer = stage.bridge.consumer("c", store).options(short().with_ack_wait(ACK_WAIT)).on(
        move |_: Delivery<UnitPublished>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        },
    );
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(published("a", 0)).await.unwrap();
    eventually("handled", || async { handled.load(Ordering::SeqCst) }, |n| *n == 1).await;
    running.stop().await;
}

#[tokio::test]
async fn a_store_is_asked_again_although_all_that_is_held_waits() {
    let stage = Stage::since(11).await;
    let store = Panics::new(true);
    let handled: Arc<Mutex<Vec<u64>>> = Arc::default();
    let seen = Arc::clone(&handled);
    let options = short().with_ack_wait(ACK_WAIT).with_order(Order::PerUnit);
    let consumer = stage.bridge.consumer("c", Arc::clone(&store) as Arc<dyn DedupeStore>).options(options);
    let consumer = consumer.on(move |delivery: Delivery<UnitPublished>| {
        seen.lock().unwrap().push(delivery.sequence());
        async { Ok(()) }
    });
    // The first one fails and panics while the others of its unit wait for it.
    for number in 1..=3 {
        stage.bridge.publish(published("a", number)).await.unwrap();
    }
    let running = Running::start(consumer.build().await.unwrap());
    store.has_panicked().await;
    // These arrive while no handler starts.
    for number in 4..=6 {
        stage.bridge.publish(published(&format!("other-{number}"), number)).await.unwrap();
    }
    stage.all_answered(Feed::Strat, "c").await;
    let summary = running.stop().await;
    let handled = handled.lock().unwrap().clone();
    let of_unit: Vec<_> = handled.iter().filter(|sequence| **sequence <= 3).collect();
    assert_eq!((of_unit, handled.len()), (vec![&1, &2, &3], 6));
    assert_eq!((summary.handled, summary.abandoned), (6, 1));
}

#[tokio::test]
async fn a_probe_that_ends_in_the_store_is_followed_by_another() {
    let stage = Stage::new().await;
    let runs = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&runs);
    let breaker = CircuitBreaker::default().with_probe_interval(Duration::from_millis(100));
    let options = quick().with_circuit_breaker(breaker).with_max_in_flight(1);
    let consumer = stage.bridge.consumer("c", Panics::new(false)).options(options);
    let consumer = consumer.on(move |_: Delivery<UnitPublished>| {
        let is_first = count.fetch_add(1, Ordering::SeqCst) == 0;
        async move { if is_first { Err(HandlerError::defer("away")) } else { Ok(()) } }
    });
    let running = Running::start(consumer.build().await.unwrap());
    for number in 1..=3 {
        stage.bridge.publish(published(&format!("unit-{number}"), number)).await.unwrap();
    }
    // The probe that panicked is redelivered after the ack wait only.
    eventually("runs", || async { runs.load(Ordering::SeqCst) }, |runs| *runs >= 3).await;
    running.stop().await;
}
