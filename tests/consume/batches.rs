//! Handlers that receive several deliveries in one call.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    BatchOptions, ConsumeErrorKind, ConsumerBuilder, Delivery, Feed, HandlerError, UnitPublished,
};
use support::{Running, Stage, eventually, published, quick};

const EVENTS: u64 = 40;
const BAD: u64 = 17;

/// The sequences of each call, and the attempt of each event at its last call.
#[derive(Debug, Clone, Default)]
struct Calls {
    all: Arc<Mutex<Vec<Vec<u64>>>>,
    attempts: Arc<Mutex<BTreeMap<u64, u32>>>,
}

impl Calls {
    fn note(&self, batch: &[Delivery<UnitPublished>]) -> Vec<u64> {
        let sequences: Vec<_> = batch.iter().map(Delivery::sequence).collect();
        self.all.lock().unwrap().push(sequences.clone());
        let attempts = batch.iter().map(|delivery| (delivery.sequence(), delivery.attempt()));
        self.attempts.lock().unwrap().extend(attempts);
        sequences
    }

    fn all(&self) -> Vec<Vec<u64>> {
        self.all.lock().unwrap().clone()
    }
}

async fn publish(stage: &Stage) {
    for number in 1..=EVENTS {
        stage.bridge.publish(published(&format!("unit-{number}"), number)).await.unwrap();
    }
}

/// Returns a consumer of batches of up to sixteen, which fail as `fails` says of an event.
fn failing<F>(stage: &Stage, calls: &Calls, fails: F) -> ConsumerBuilder
where
    F: Fn() -> HandlerError + Clone + Send + Sync + 'static,
{
    let (calls, options) = (calls.clone(), BatchOptions::default().with_max_events(16));
    let options = options.with_max_wait(Duration::from_millis(50));
    stage.consumer("batches").on_batch(options, move |batch: Vec<Delivery<UnitPublished>>| {
        let is_bad = calls.note(&batch).contains(&BAD);
        let fails = fails.clone();
        async move { if is_bad { Err(fails()) } else { Ok(()) } }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_different_units_are_handled_together() {
    let stage = Stage::new().await;
    publish(&stage).await;
    stage.bridge.publish(published("unit-1", EVENTS + 1)).await.unwrap();
    let calls = Calls::default();
    let seen = calls.clone();
    let options = BatchOptions::default().with_max_events(16).with_max_wait(Duration::from_millis(50));
    let consumer = stage.consumer("batches").on_batch(options, move |batch: Vec<Delivery<UnitPublished>>| {
        seen.note(&batch);
        async { Ok(()) }
    });
    let running = Running::start(consumer.build().await.unwrap());
    stage.all_answered(Feed::Strat, "batches").await;
    assert_eq!(running.stop().await.handled, EVENTS + 1);
    let calls = calls.all();
    assert!(calls.iter().all(|call| call.len() <= 16), "{calls:?}");
    assert!(calls.iter().any(|call| call.len() > 8), "{calls:?}");
    // The second event of a unit is never with the first.
    assert!(!calls.iter().any(|call| call.contains(&1) && call.contains(&(EVENTS + 1))), "{calls:?}");
    let mut handled: Vec<_> = calls.into_iter().flatten().collect();
    handled.sort_unstable();
    assert_eq!(handled, (1..=EVENTS + 1).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_event_that_fails_its_batch_has_failed() {
    let stage = Stage::new().await;
    publish(&stage).await;
    let calls = Calls::default();
    let running = Running::start(failing(&stage, &calls, || "bad".into()).build().await.unwrap());
    let letters = stage.dead_letters_are(1).await;
    stage.all_answered(Feed::Strat, "batches").await;
    assert_eq!((letters[0].stream_sequence(), letters[0].error()), (BAD, "bad"));
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.exhausted), (EVENTS - 1, 1));
    let attempts = calls.attempts.lock().unwrap().clone();
    assert!(attempts.iter().all(|(&event, &attempt)| (attempt > 1) == (event == BAD)), "{attempts:?}");
    // Each of the others was in one call that succeeded.
    let succeeded = calls.all().into_iter().filter(|call| !call.contains(&BAD)).flatten();
    assert_eq!(succeeded.count() as u64, EVENTS - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_panics_or_hangs_is_halved_as_well() {
    let stage = Stage::new().await;
    publish(&stage).await;
    let calls = Calls::default();
    let seen = calls.clone();
    let options = quick().with_processing_timeout(Duration::from_secs(2));
    let consumer = stage.consumer("batches").options(options).on_batch(
        BatchOptions::default(),
        move |batch: Vec<Delivery<UnitPublished>>| {
            let sequences = seen.note(&batch);
            assert!(!sequences.contains(&5), "a panic on purpose");
            async move {
                if sequences.contains(&BAD) {
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        },
    );
    let running = Running::start(consumer.build().await.unwrap());
    let letters = stage.dead_letters_are(2).await;
    stage.all_answered(Feed::Strat, "batches").await;
    let mut errors: Vec<_> =
        letters.iter().map(|letter| (letter.stream_sequence(), letter.error())).collect();
    errors.sort_unstable();
    assert_eq!(errors, [(5, "handler panicked"), (BAD, "handler did not end within 2s")]);
    assert_eq!(running.stop().await.handled, EVENTS - 2);
    let attempts = calls.attempts.lock().unwrap().clone();
    assert!(attempts.iter().all(|(&event, &attempt)| attempt == 1 || event == BAD || event == 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_defers_is_not_halved() {
    let stage = Stage::new().await;
    publish(&stage).await;
    let calls = Calls::default();
    let is_away = Arc::new(AtomicU32::new(1));
    let (away, seen) = (Arc::clone(&is_away), calls.clone());
    let options = quick().with_circuit_breaker(None);
    let consumer = stage.consumer("batches").options(options).on_batch(
        BatchOptions::default().with_max_wait(Duration::from_millis(500)),
        move |batch: Vec<Delivery<UnitPublished>>| {
            seen.note(&batch);
            let is_away = away.load(Ordering::SeqCst) == 1;
            async move { if is_away { Err(HandlerError::defer("away")) } else { Ok(()) } }
        },
    );
    let consumer = consumer.build().await.unwrap();
    let monitor = consumer.monitor();
    let running = Running::start(consumer);
    eventually("deferred", || async { monitor.status().counts().deferred }, |deferred| *deferred >= 32).await;
    is_away.store(0, Ordering::SeqCst);
    stage.all_answered(Feed::Strat, "batches").await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.retried), (EVENTS, 0));
    assert!(calls.attempts.lock().unwrap().values().all(|attempt| *attempt == 1));
    assert!(calls.all()[0].len() > 8, "{calls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_grace_drops_the_call() {
    let stage = Stage::new().await;
    publish(&stage).await;
    let options = quick().with_shutdown_grace(Duration::from_millis(100));
    let begun = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&begun);
    let consumer = stage.consumer("batches").options(options).on_batch(
        BatchOptions::default(),
        move |_: Vec<Delivery<UnitPublished>>| {
            let guard = Guard::new(&count);
            async move {
                std::future::pending::<()>().await;
                drop(guard);
                Ok(())
            }
        },
    );
    let running = Running::start(consumer.build().await.unwrap());
    eventually("begun", || async { begun.load(Ordering::SeqCst) }, |begun| *begun > 0).await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.retried), (0, 0));
    eventually("dropped", || async { begun.load(Ordering::SeqCst) }, |begun| *begun == 0).await;
}

/// Counts the calls that have not ended.
struct Guard(Arc<AtomicU32>);

impl Guard {
    fn new(count: &Arc<AtomicU32>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_that_cannot_be_are_refused() {
    let stage = Stage::new().await;
    for (options, text) in [
        (BatchOptions::default().with_max_events(0), "batches of no event: allow at least one"),
        (
            BatchOptions::default().with_max_events(65),
            "batches of 65 with 64 in flight: allow more in flight",
        ),
        (
            BatchOptions::default().with_max_wait(Duration::from_secs(5)),
            "a batch is collected for 5s of a processing timeout of 5s: shorten it",
        ),
    ] {
        let consumer =
            stage.consumer("batches").options(quick().with_processing_timeout(Duration::from_secs(5)));
        let consumer = consumer.on_batch(options, |_: Vec<Delivery<UnitPublished>>| async { Ok(()) });
        let error = consumer.build().await.unwrap_err();
        assert_eq!(error.kind(), ConsumeErrorKind::InvalidOptions);
        assert!(error.to_string().ends_with(text), "{error}");
    }
}
