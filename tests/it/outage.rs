//! What is missing for a while: the dead-letter stream, the server, the dedupe store. Nothing is lost meanwhile.

use crate::support::{DEADLINE, Effects, Load, Running, Stage, eventually, published, quick, short};
use futures::{FutureExt, future::BoxFuture};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    ConsumeErrorKind, Delivery, Feed, HandlerError, UnitPublished,
    dead_letter::{DeadLetter, DeadLetterReason},
    dedupe::{Claim, DedupeStore, Fence, MemoryStore, Slot, StoreError, StoreErrorKind},
    topology::{DEAD_LETTER_STREAM, Topology},
};
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_dead_letter_stream_nothing_is_lost_and_no_handler_runs_again() {
    let stage = Stage::new().await;
    let runs = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&runs);
    // The lease bounds how long a dead letter is tried.
    let options = quick()
        .with_max_attempts(2)
        .with_processing_timeout(Duration::from_millis(500))
        .with_lease(Duration::from_secs(2))
        .with_ack_wait(Duration::from_secs(3));
    let consumer = stage.consumer("patient").options(options).on(move |_: Delivery<UnitPublished>| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Err(HandlerError::retry("never works")) }
    });
    let running = Running::start(consumer.build().await.unwrap());
    stage.context().delete_stream(DEAD_LETTER_STREAM).await.unwrap();
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.context().publish("strat.dev.unit.published", "not json".into()).await.unwrap().await.unwrap();
    // Delivered again after its dead letter could not be stored, at least once.
    let deliveries = || async {
        let info = stage.stream(Feed::Strat).await;
        let info =
            info.get_consumer::<async_nats::jetstream::consumer::pull::Config>("patient").await.unwrap();
        info.cached_info().delivered.consumer_sequence
    };
    eventually("deliveries", deliveries, |deliveries| *deliveries >= 4).await;
    stage.bridge.provision(&Topology::default()).await.unwrap();
    let letters = stage.dead_letters_are(2).await;
    let reasons: Vec<_> = letters.iter().filter_map(DeadLetter::reason).collect();
    assert!(reasons.contains(&DeadLetterReason::Exhausted) && reasons.contains(&DeadLetterReason::Invalid));
    stage.all_answered(Feed::Strat, "patient").await;
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    let summary = running.stop().await;
    assert!(summary.postponed > 0, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_killed_under_load_and_every_acknowledged_event_is_handled_once() {
    let mut stage = Stage::new().await;
    let effects = Effects::default();
    let consumer = stage.consumer("survivor").options(short()).feed(Feed::Choco).on(effects.handler());
    let running = Running::start(consumer.build().await.unwrap());
    let mut load = Load::start(&stage.bridge, 8);
    for round in 1..=2 {
        effects.exceed(round * 200).await;
        stage.server.kill();
        stage.server.restart().await.unwrap();
    }
    let acknowledged = load.stop().await;
    effects.are_each_once(&acknowledged).await;
    stage.all_answered(Feed::Choco, "survivor").await;
    running.stop().await;
}

/// A memory store that fails while it is told to.
#[derive(Debug, Default)]
struct Failing {
    right: MemoryStore,
    is_down: AtomicBool,
    failed: AtomicU32,
    /// The next claim is granted, and its answer lost.
    loses_reply: AtomicBool,
}

impl Failing {
    fn check(&self) -> Result<(), StoreError> {
        if self.is_down.load(Ordering::SeqCst) {
            self.failed.fetch_add(1, Ordering::SeqCst);
            return Err(StoreError::new(StoreErrorKind::Unavailable));
        }
        Ok(())
    }
}

impl DedupeStore for Failing {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        async move {
            self.check()?;
            let claim = self.right.claim(slot, lease).await?;
            if self.loses_reply.swap(false, Ordering::SeqCst) {
                return Err(StoreError::new(StoreErrorKind::Unavailable));
            }
            Ok(claim)
        }
        .boxed()
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        async move {
            self.check()?;
            self.right.settle(slot, fence).await
        }
        .boxed()
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.right.release(slot, fence)
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.right.forget(slot, fence)
    }

    fn retention(&self) -> Option<Duration> {
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_down_nothing_runs_and_nothing_is_asked_for() {
    let stage = Stage::new().await;
    let store = Arc::new(Failing::default());
    store.is_down.store(true, Ordering::SeqCst);
    let attempts: Arc<Mutex<Vec<u32>>> = Arc::default();
    let seen = Arc::clone(&attempts);
    let options = quick().with_max_in_flight(4);
    let consumer = stage.bridge.consumer("closed", store.clone()).options(options).on(
        move |delivery: Delivery<UnitPublished>| {
            seen.lock().unwrap().push(delivery.attempt());
            async { Ok(()) }
        },
    );
    for number in 1..=20 {
        stage.bridge.publish(published(&format!("u{number}"), number)).await.unwrap();
    }
    let running = Running::start(consumer.build().await.unwrap());
    eventually("failed claims", || async { store.failed.load(Ordering::SeqCst) }, |failed| *failed >= 12)
        .await;
    assert!(attempts.lock().unwrap().is_empty());
    let stream = stage.stream(Feed::Strat).await;
    let info = stream.get_consumer::<async_nats::jetstream::consumer::pull::Config>("closed").await.unwrap();
    assert_eq!((info.cached_info().num_ack_pending, info.cached_info().num_redelivered), (4, 0));
    // The first claim that is granted loses its answer: recognised when it is repeated, at no cost of an attempt.
    store.loses_reply.store(true, Ordering::SeqCst);
    store.is_down.store(false, Ordering::SeqCst);
    eventually("attempts", || async { attempts.lock().unwrap().len() }, |count| *count == 20).await;
    assert!(attempts.lock().unwrap().iter().all(|attempt| *attempt == 1));
    stage.all_answered(Feed::Strat, "closed").await;
    assert_eq!(running.stop().await.handled, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_down_a_request_that_ended_is_not_made_again() {
    let stage = Stage::new().await;
    let store = Arc::new(Failing::default());
    store.is_down.store(true, Ordering::SeqCst);
    let consumer = stage.bridge.consumer("closed", store.clone()).options(quick());
    let consumer = consumer.on(|_: Delivery<UnitPublished>| async { Ok(()) });
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let running = Running::start(consumer.build().await.unwrap());
    let stream = stage.stream(Feed::Strat).await;
    let mut unasked_in_a_row = 0;
    // The first request has room for 63 more and stays open until it expires.
    let unasked = || {
        let info = stream.get_consumer::<async_nats::jetstream::consumer::pull::Config>("closed");
        async { info.await.unwrap().cached_info().num_waiting }
    };
    eventually("unasked", unasked, |waiting| *waiting == 1).await;
    let deadline = Instant::now() + DEADLINE;
    while unasked_in_a_row < 30 {
        assert!(Instant::now() < deadline, "it goes on asking");
        unasked_in_a_row = if unasked().await == 0 { unasked_in_a_row + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    store.is_down.store(false, Ordering::SeqCst);
    stage.bridge.publish(published("b", 2)).await.unwrap();
    stage.all_answered(Feed::Strat, "closed").await;
    assert_eq!(running.stop().await.handled, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_whose_settle_is_not_answered_is_settled_when_the_store_is_back() {
    let stage = Stage::new().await;
    let store = Arc::new(Failing::default());
    let runs = Arc::new(AtomicU32::new(0));
    let (count, goes_down) = (Arc::clone(&runs), Arc::clone(&store));
    let consumer = stage.bridge.consumer("late", store.clone()).options(quick()).on(
        move |_: Delivery<UnitPublished>| {
            count.fetch_add(1, Ordering::SeqCst);
            goes_down.is_down.store(true, Ordering::SeqCst);
            async { Ok(()) }
        },
    );
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    eventually("failed settles", || async { store.failed.load(Ordering::SeqCst) }, |failed| *failed >= 3)
        .await;
    store.is_down.store(false, Ordering::SeqCst);
    stage.all_answered(Feed::Strat, "late").await;
    assert_eq!(running.stop().await.handled, 1);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_that_is_deleted_under_its_consumer_is_reported_as_that() {
    let stage = Stage::new().await;
    let consumer = stage.consumer("doomed").on(|_: Delivery<UnitPublished>| async { Ok(()) });
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.all_answered(Feed::Strat, "doomed").await;
    stage.stream(Feed::Strat).await.delete_consumer("doomed").await.unwrap();
    let error = running.failure().await;
    assert_eq!(error.kind(), ConsumeErrorKind::ConsumerGone);
    assert!(error.to_string().contains("doomed"), "{error}");
}
