//! A dedupe store that is down, slow, full, or whose answers are lost: consumers wait, and nothing is lost or repeated.

use async_nats::jetstream::{consumer::pull, stream};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    ConsumerBuilder, ConsumerOptions, Delivery, Feed, UnitPublished, async_nats,
    dedupe::{DedupeStore, KvStore, KvStoreOptions, MemoryStore, Slot, StoreErrorKind},
};
use support::{Call, DEADLINE, Faulty, Running, Stage, eventually, published, quick};
use tokio::time::Instant;

const ACK_WAIT: Duration = Duration::from_secs(2);

/// A consumer with this store that notes the attempt of every run.
fn noting(
    stage: &Stage,
    store: Arc<dyn DedupeStore>,
    options: ConsumerOptions,
) -> (ConsumerBuilder, Arc<Mutex<Vec<u32>>>) {
    let attempts: Arc<Mutex<Vec<u32>>> = Arc::default();
    let seen = Arc::clone(&attempts);
    let consumer = stage.bridge.consumer("c", store).options(options);
    let consumer = consumer.on(move |delivery: Delivery<UnitPublished>| {
        seen.lock().unwrap().push(delivery.attempt());
        async { Ok(()) }
    });
    (consumer, attempts)
}

/// Calls of the store are given up after 250 ms, and messages are redelivered after two seconds.
fn hasty() -> ConsumerOptions {
    quick()
        .with_processing_timeout(Duration::from_millis(400))
        .with_lease(Duration::from_millis(900))
        .with_ack_wait(ACK_WAIT)
}

/// All that was published is held, and over an ack wait neither answered nor delivered again.
async fn nothing_happens(stage: &Stage, held: usize) {
    let stream = stage.stream(Feed::Strat).await;
    let state = || async {
        let info = stream.get_consumer::<pull::Config>("c").await.unwrap().cached_info().clone();
        (info.num_ack_pending, info.num_redelivered)
    };
    eventually("unanswered", state, |state| state.0 == held).await;
    // There is no sign to wait for: what must not happen happens within the ack wait, or never.
    tokio::time::sleep(ACK_WAIT + Duration::from_millis(500)).await;
    assert_eq!(state().await, (held, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_down_nothing_runs_or_is_requested() {
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    store.is_down(true);
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
    eventually("failed claims", || async { store.failures() }, |failed| *failed >= 12).await;
    assert!(attempts.lock().unwrap().is_empty());
    let stream = stage.stream(Feed::Strat).await;
    let info = stream.get_consumer::<async_nats::jetstream::consumer::pull::Config>("closed").await.unwrap();
    assert_eq!((info.cached_info().num_ack_pending, info.cached_info().num_redelivered), (4, 0));
    // The first claim that is granted loses its answer: recognised when it is repeated, at no cost of an attempt.
    store.lose_answers(Call::Claim, 1);
    store.is_down(false);
    eventually("attempts", || async { attempts.lock().unwrap().len() }, |count| *count == 20).await;
    assert!(attempts.lock().unwrap().iter().all(|attempt| *attempt == 1));
    stage.all_answered(Feed::Strat, "closed").await;
    assert_eq!(running.stop().await.handled, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_down_no_ended_request_is_repeated() {
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    store.is_down(true);
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
    store.is_down(false);
    stage.bridge.publish(published("b", 2)).await.unwrap();
    stage.all_answered(Feed::Strat, "closed").await;
    assert_eq!(running.stop().await.handled, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unanswered_settle_is_repeated_when_the_store_is_back() {
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    let runs = Arc::new(AtomicU32::new(0));
    let (count, goes_down) = (Arc::clone(&runs), Arc::clone(&store));
    let consumer = stage.bridge.consumer("late", store.clone()).options(quick()).on(
        move |_: Delivery<UnitPublished>| {
            count.fetch_add(1, Ordering::SeqCst);
            goes_down.is_down(true);
            async { Ok(()) }
        },
    );
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    eventually("failed settles", || async { store.failures() }, |failed| *failed >= 3).await;
    store.is_down(false);
    stage.all_answered(Feed::Strat, "late").await;
    assert_eq!(running.stop().await.handled, 1);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_with_lost_answers_cost_no_attempt() {
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    let (consumer, attempts) = noting(&stage, store.clone(), quick());
    store.lose_answers(Call::Claim, 4);
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let running = Running::start(consumer.build().await.unwrap());
    stage.all_answered(Feed::Strat, "c").await;
    // Neither taken for another's claim, and waited for until its lease of 40 s is over, nor acknowledged as such.
    assert_eq!((running.stop().await.handled, store.failures()), (1, 4));
    assert_eq!(*attempts.lock().unwrap(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settles_whose_answers_are_lost_are_repeated() {
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    let (consumer, attempts) = noting(&stage, store.clone(), quick());
    store.lose_answers(Call::Settle, 3);
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let running = Running::start(consumer.build().await.unwrap());
    stage.all_answered(Feed::Strat, "c").await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.duplicates, store.failures()), (1, 0, 3));
    assert_eq!(*attempts.lock().unwrap(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_acked_on_redelivery_if_its_settle_is_unanswered() {
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    let (consumer, attempts) = noting(&stage, store.clone(), hasty());
    store.lose_answers(Call::Settle, u32::MAX);
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let running = Running::start(consumer.build().await.unwrap());
    stage.all_answered(Feed::Strat, "c").await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.abandoned, summary.duplicates), (0, 1, 1));
    assert_eq!(*attempts.lock().unwrap(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_slow_messages_stay_in_flight() {
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    let (consumer, attempts) = noting(&stage, store.clone(), hasty());
    // Every claim is granted, and none is waited for so long.
    store.slow_down(Call::Claim, Duration::from_secs(10));
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let running = Running::start(consumer.build().await.unwrap());
    nothing_happens(&stage, 1).await;
    assert!(attempts.lock().unwrap().is_empty());
    store.slow_down(Call::Claim, Duration::ZERO);
    stage.all_answered(Feed::Strat, "c").await;
    assert_eq!(running.stop().await.handled, 1);
    assert_eq!(*attempts.lock().unwrap(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_full_is_waited_for_and_forgets_nothing() {
    let stage = Stage::new().await;
    let small = KvStoreOptions::default().with_max_bytes(1000).with_skew_margin(Duration::from_millis(100));
    let store = Arc::new(KvStore::create(stage.client.clone(), small).await.unwrap());
    // Other work has filled it.
    let (mut others, full) = (0, StoreErrorKind::Full);
    loop {
        let slot = Slot::new("d".parse().unwrap(), format!("{others:064x}").parse().unwrap());
        match store.claim(&slot, Duration::from_hours(1)).await {
            Ok(_) => others += 1,
            Err(error) => break assert_eq!(error.kind(), full),
        }
    }
    let (consumer, attempts) = noting(&stage, store, hasty());
    for number in 1..=20 {
        stage.bridge.publish(published(&format!("u{number}"), number)).await.unwrap();
    }
    let running = Running::start(consumer.build().await.unwrap());
    nothing_happens(&stage, 20).await;
    assert!(attempts.lock().unwrap().is_empty());
    let bucket =
        || async { stage.context().get_stream("KV_STRATT_DEDUPE").await.unwrap().cached_info().clone() };
    let larger = stream::Config { max_bytes: -1, ..bucket().await.config };
    stage.context().update_stream(larger).await.unwrap();
    stage.all_answered(Feed::Strat, "c").await;
    assert_eq!(running.stop().await.handled, 20);
    assert_eq!(*attempts.lock().unwrap(), [1; 20]);
    // Nothing was evicted.
    assert_eq!(bucket().await.state.messages, others + 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_gone_is_waited_for() {
    let stage = Stage::new().await;
    let create = || KvStore::create(stage.client.clone(), KvStoreOptions::default());
    let (consumer, attempts) = noting(&stage, Arc::new(create().await.unwrap()), hasty());
    stage.context().delete_stream("KV_STRATT_DEDUPE").await.unwrap();
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let running = Running::start(consumer.build().await.unwrap());
    nothing_happens(&stage, 1).await;
    assert!(attempts.lock().unwrap().is_empty());
    create().await.unwrap();
    stage.all_answered(Feed::Strat, "c").await;
    assert_eq!(running.stop().await.handled, 1);
    assert_eq!(*attempts.lock().unwrap(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_memory_store_full_of_running_events_makes_others_wait() {
    let stage = Stage::new().await;
    let store = Arc::new(MemoryStore::with_capacity(2));
    let (gate, started) = (Arc::new(tokio::sync::Semaphore::new(0)), Arc::new(AtomicU32::new(0)));
    let (opens, count) = (Arc::clone(&gate), Arc::clone(&started));
    let consumer = stage.bridge.consumer("c", store.clone()).options(quick()).on(
        move |delivery: Delivery<UnitPublished>| {
            let (opens, count) = (Arc::clone(&opens), Arc::clone(&count));
            async move {
                assert_eq!(delivery.attempt(), 1);
                count.fetch_add(1, Ordering::SeqCst);
                opens.acquire().await?.forget();
                Ok(())
            }
        },
    );
    for number in 1..=5 {
        stage.bridge.publish(published(&format!("u{number}"), number)).await.unwrap();
    }
    let running = Running::start(consumer.build().await.unwrap());
    eventually("started", || async { started.load(Ordering::SeqCst) }, |started| *started == 2).await;
    for settled in 1..=3 {
        gate.add_permits(1);
        // The settled one makes room for one more, and says so.
        eventually("started", || async { started.load(Ordering::SeqCst) }, |started| *started == 2 + settled)
            .await;
        assert_eq!(store.evicted(), u64::from(settled));
    }
    gate.add_permits(2);
    stage.all_answered(Feed::Strat, "c").await;
    assert_eq!(running.stop().await.handled, 5);
}
