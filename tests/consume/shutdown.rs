//! Consumers that end under load, by a signal or by being dropped.

use futures::StreamExt;
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    ConsumerBuilder, Delivery, EventBridge, Feed, Order, UnitPublished, async_nats,
    dedupe::{KvStore, KvStoreOptions},
};
use support::{Load, Running, Stage, eventually, published, quick, source, test_process};
use tokio::signal::unix::{SignalKind, signal};

const URL: &str = "SHUTDOWN_TEST_URL";

/// Reports every effect on a subject.
async fn consumer(url: &str) -> ConsumerBuilder {
    let client = async_nats::connect(url).await.unwrap();
    let store = KvStore::create(client.clone(), KvStoreOptions::default()).await.unwrap();
    // An event that is not given back at once is not redelivered while the test lasts.
    let options = quick().with_ack_wait(Duration::from_mins(5));
    EventBridge::new(client.clone(), source()).consumer("leaving", Arc::new(store)).options(options).on(
        move |delivery: Delivery<UnitPublished>| {
            let client = client.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                client.publish("effects", delivery.sequence().to_string().into()).await?;
                Ok(())
            }
        },
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test below in a process of its own"]
async fn child_that_consumes_until_sigterm() {
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let consumer = consumer(&std::env::var(URL).expect("the parent names its server")).await;
    let shutdown = async move {
        terminate.recv().await;
    };
    let summary = consumer.build().await.unwrap().run(shutdown).await.unwrap();
    assert_eq!(summary.handled + summary.returned, summary.received, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_under_load_hands_over_the_rest_at_once() {
    let stage = Stage::new().await;
    let effects: Arc<Mutex<HashMap<u64, u32>>> = Arc::default();
    let mut told = stage.client.subscribe("effects").await.unwrap();
    stage.client.flush().await.unwrap();
    let seen = Arc::clone(&effects);
    let collector = tokio::spawn(async move {
        while let Some(effect) = told.next().await {
            let sequence = str::from_utf8(&effect.payload).unwrap().parse().unwrap();
            *seen.lock().unwrap().entry(sequence).or_default() += 1;
        }
    });
    let mut load = Load::start(&stage.bridge, 4);
    let mut child = test_process("shutdown::child_that_consumes_until_sigterm")
        .env(URL, stage.server.url())
        .spawn()
        .unwrap();
    eventually("effects", || async { effects.lock().unwrap().len() }, |effects| *effects > 50).await;
    support::signal(&child, "-TERM").await;
    assert!(child.wait().await.unwrap().success());
    let before = effects.lock().unwrap().len();
    let heir = Running::start(consumer(stage.server.url()).await.build().await.unwrap());
    eventually("effects", || async { effects.lock().unwrap().len() }, |effects| *effects > before).await;
    let stored = load.stop().await.len();
    stage.all_answered(Feed::Strat, "leaving").await;
    let heir = heir.stop().await;
    eventually("effects", || async { effects.lock().unwrap().len() }, |effects| *effects == stored).await;
    collector.abort();
    assert!(effects.lock().unwrap().values().all(|effects| *effects == 1));
    // Nothing that was handled was delivered again.
    assert_eq!((heir.duplicates, heir.abandoned), (0, 0));
}

/// Lets consumers take over from each other while events are published, and checks that none waits for the ack wait.
async fn hand_over_again_and_again(stage: &Stage, order: Order) {
    let handled = Arc::new(AtomicU32::new(0));
    let consumer = || {
        let handled = Arc::clone(&handled);
        let options = quick().with_order(order).with_ack_wait(Duration::from_mins(5));
        stage.consumer("leaving").options(options).on(move |_: Delivery<UnitPublished>| {
            handled.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        })
    };
    let mut load = Load::start(&stage.bridge, 8);
    let mut running = Running::start(consumer().build().await.unwrap());
    for _ in 0..20 {
        let heir = Running::start(consumer().build().await.unwrap());
        let enough = handled.load(Ordering::SeqCst) + 20;
        eventually("handled", || async { handled.load(Ordering::SeqCst) }, |handled| *handled > enough).await;
        std::mem::replace(&mut running, heir).stop().await;
    }
    let stored = load.stop().await.len();
    stage.all_answered(Feed::Strat, "leaving").await;
    running.stop().await;
    assert_eq!(handled.load(Ordering::SeqCst) as usize, stored);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_its_way_to_one_that_shuts_down() {
    hand_over_again_and_again(&Stage::new().await, Order::Relaxed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_its_way_to_a_pinned_one_that_shuts_down() {
    hand_over_again_and_again(&Stage::since(11).await, Order::PerUnit).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_is_dropped_leaves_its_work_to_another() {
    let stage = Stage::new().await;
    let options = || {
        quick()
            .with_processing_timeout(Duration::from_millis(500))
            .with_lease(Duration::from_secs(1))
            .with_ack_wait(Duration::from_secs(1))
    };
    let started = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&started);
    let first = stage.consumer("dropped").options(options()).on(move |_: Delivery<UnitPublished>| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::pending()
    });
    // The second waits for the first.
    for number in 1..=2 {
        stage.bridge.publish(published("one", number)).await.unwrap();
    }
    let first = tokio::spawn(first.build().await.unwrap().run(std::future::pending()));
    eventually("started", || async { started.load(Ordering::SeqCst) }, |started| *started == 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let attempts: Arc<Mutex<Vec<u32>>> = Arc::default();
    let seen = Arc::clone(&attempts);
    let heir = stage.consumer("dropped").options(options()).on(move |delivery: Delivery<UnitPublished>| {
        seen.lock().unwrap().push(delivery.attempt());
        async { Ok(()) }
    });
    let heir = Running::start(heir.build().await.unwrap());
    stage.all_answered(Feed::Strat, "dropped").await;
    assert_eq!(heir.stop().await.handled, 2);
    attempts.lock().unwrap().sort_unstable();
    assert_eq!((attempts.lock().unwrap().as_slice(), started.load(Ordering::SeqCst)), (&[1, 1][..], 1));
}

/// Reports that it is dropped.
struct Guard(Arc<AtomicU32>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_is_dropped_drops_its_handlers() {
    let stage = Stage::new().await;
    let (started, dropped) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (count, tells) = (Arc::clone(&started), Arc::clone(&dropped));
    // Their timeout would drop them as well, after five minutes.
    let options = quick().with_processing_timeout(Duration::from_mins(5));
    let consumer = stage.consumer("dropped").options(options).on(move |_: Delivery<UnitPublished>| {
        let guard = Guard(Arc::clone(&tells));
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    });
    for unit in ["a", "b"] {
        stage.bridge.publish(published(unit, 1)).await.unwrap();
    }
    let running = tokio::spawn(consumer.build().await.unwrap().run(std::future::pending()));
    eventually("started", || async { started.load(Ordering::SeqCst) }, |started| *started == 2).await;
    running.abort();
    eventually("dropped", || async { dropped.load(Ordering::SeqCst) }, |dropped| *dropped == 2).await;
}
