//! Runs that do not end by the fault of their event: they cost no attempt.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{ConsumerOptions, Delivery, EventBridge, Feed, UnitPublished, dedupe::DedupeStore};
use support::{Call, Faulty, Running, Stage, eventually, published, quick};
use tokio::sync::Semaphore;

const EVENTS: usize = 20;

/// An event that is not given back at once is not redelivered while a test lasts.
fn options() -> ConsumerOptions {
    quick().with_ack_wait(Duration::from_mins(5))
}

/// A consumer whose handlers wait for the gate, and the attempts that it made of each event.
struct Gated {
    gate: Arc<Semaphore>,
    started: Arc<AtomicUsize>,
    attempts: Arc<Mutex<HashMap<u64, Vec<u32>>>>,
}

impl Gated {
    fn new() -> Self {
        Self { gate: Arc::new(Semaphore::new(0)), started: Arc::default(), attempts: Arc::default() }
    }

    async fn start(
        &self,
        bridge: &EventBridge,
        store: Arc<dyn DedupeStore>,
        options: ConsumerOptions,
    ) -> Running {
        let (gate, started) = (Arc::clone(&self.gate), Arc::clone(&self.started));
        let attempts = Arc::clone(&self.attempts);
        let consumer = bridge.consumer("patient", store).options(options);
        let consumer = consumer.on(move |delivery: Delivery<UnitPublished>| {
            attempts.lock().unwrap().entry(delivery.sequence()).or_default().push(delivery.attempt());
            started.fetch_add(1, Ordering::SeqCst);
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await?.forget();
                Ok(())
            }
        });
        Running::start(consumer.build().await.unwrap())
    }

    async fn have_started(&self, count: usize) {
        let started = || async { self.started.load(Ordering::SeqCst) };
        eventually("started", started, |started| *started == count).await;
    }

    fn open(&self) {
        self.gate.add_permits(1000);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_a_shutdown_cuts_short_costs_no_attempt() {
    let stage = Stage::new().await;
    let gated = Gated::new();
    for number in 0..EVENTS {
        stage.bridge.publish(published(&format!("unit-{number}"), number as u64)).await.unwrap();
    }
    let options = options().with_shutdown_grace(Duration::from_millis(50));
    for restart in 1..=6 {
        let running = gated.start(&stage.bridge, Arc::clone(&stage.store), options.clone()).await;
        gated.have_started(restart * EVENTS).await;
        let summary = running.stop().await;
        assert_eq!((summary.received, summary.returned), (EVENTS as u64, EVENTS as u64), "{summary:?}");
    }
    gated.open();
    let running = gated.start(&stage.bridge, Arc::clone(&stage.store), options).await;
    stage.all_answered(Feed::Strat, "patient").await;
    assert_eq!(running.stop().await.handled, EVENTS as u64);
    assert_eq!(stage.dead_letters().await.len(), 0);
    for (sequence, attempts) in gated.attempts.lock().unwrap().iter() {
        assert_eq!(attempts.as_slice(), [1; 7], "event {sequence}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_is_granted_during_a_shutdown_is_taken_back() {
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    let gated = Gated::new();
    gated.open();
    store.slow_down(Call::Claim, Duration::from_secs(2));
    let running = gated.start(&stage.bridge, store.clone(), options()).await;
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let stream = stage.stream(Feed::Strat).await;
    let unanswered = || async { stream.consumer_info("patient").await.unwrap().num_ack_pending };
    eventually("delivered", unanswered, |unanswered| *unanswered == 1).await;
    let summary = running.stop().await;
    assert_eq!((summary.received, summary.returned), (1, 1), "{summary:?}");
    gated.have_started(0).await;

    store.slow_down(Call::Claim, Duration::ZERO);
    let running = gated.start(&stage.bridge, store, options()).await;
    stage.all_answered(Feed::Strat, "patient").await;
    assert_eq!(running.stop().await.handled, 1);
    assert_eq!(gated.attempts.lock().unwrap()[&1], [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_defer_whose_answer_is_lost_is_repeated() {
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    let gated = Gated::new();
    let options = options().with_shutdown_grace(Duration::from_millis(50));
    let running = gated.start(&stage.bridge, store.clone(), options.clone()).await;
    stage.bridge.publish(published("a", 1)).await.unwrap();
    gated.have_started(1).await;
    store.lose_answers(Call::Defer, 2);
    assert_eq!(running.stop().await.returned, 1);
    assert_eq!(store.failures(), 2);

    gated.open();
    let running = gated.start(&stage.bridge, store, options).await;
    stage.all_answered(Feed::Strat, "patient").await;
    assert_eq!(running.stop().await.handled, 1);
    assert_eq!(gated.attempts.lock().unwrap()[&1], [1, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_holds_up_no_shutdown() {
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    let gated = Gated::new();
    let grace = Duration::from_millis(500);
    let options = options().with_shutdown_grace(grace).with_lease(Duration::from_secs(2));
    let running = gated.start(&stage.bridge, store.clone(), options.clone()).await;
    stage.bridge.publish(published("a", 1)).await.unwrap();
    gated.have_started(1).await;
    for call in [Call::Claim, Call::Settle, Call::Defer, Call::Renew] {
        store.slow_down(call, Duration::from_hours(1));
    }
    // The grace, five seconds to give back what was cut short, and the time to flush the last answers.
    let stopped = tokio::time::timeout(grace + Duration::from_secs(9), running.stop()).await;
    assert_eq!(stopped.expect("shutdown hangs").handled, 0);
}
