//! Leases that are renewed while a handler runs, however long that takes.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{ConsumerOptions, Delivery, Feed, UnitPublished};
use support::{Call, Faulty, Running, Stage, eventually, published, quick};
use tokio::time::{Instant, sleep};

/// Handlers may run for hours, and a lease lasts two seconds.
fn options() -> ConsumerOptions {
    quick()
        .with_processing_timeout(Duration::from_hours(2))
        .with_lease(Duration::from_secs(2))
        .with_ack_wait(Duration::from_secs(2))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_outlives_many_leases_runs_once() {
    let stage = Stage::new().await;
    let runs = Arc::new(AtomicU32::new(0));
    let left: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let consumer = || {
        let (runs, left) = (Arc::clone(&runs), Arc::clone(&left));
        stage.consumer("long").options(options()).on(move |delivery: Delivery<UnitPublished>| {
            runs.fetch_add(1, Ordering::SeqCst);
            let left = Arc::clone(&left);
            async move {
                left.lock().unwrap().push(delivery.remaining());
                sleep(Duration::from_secs(7)).await;
                left.lock().unwrap().push(delivery.remaining());
                Ok(())
            }
        })
    };
    let one = Running::start(consumer().build().await.unwrap());
    let other = Running::start(consumer().build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    eventually("runs", || async { left.lock().unwrap().len() }, |left| *left == 2).await;
    stage.all_answered(Feed::Strat, "long").await;
    let (one, other) = (one.stop().await, other.stop().await);
    assert_eq!((one.handled + other.handled, runs.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(one.duplicates + other.duplicates + one.abandoned + other.abandoned, 0);
    let left = left.lock().unwrap();
    assert!(left[0] <= Duration::from_hours(2) && left[0] > Duration::from_mins(119), "{left:?}");
    assert!(left[1] + Duration::from_secs(7) <= left[0], "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quick_handler_costs_no_renewal() {
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    let consumer = stage.bridge.consumer("quick", store.clone()).options(options());
    let consumer = consumer.on(|_: Delivery<UnitPublished>| async {
        sleep(Duration::from_millis(100)).await;
        Ok(())
    });
    let running = Running::start(consumer.build().await.unwrap());
    for number in 1..=50 {
        stage.bridge.publish(published(&format!("unit-{number}"), number)).await.unwrap();
    }
    stage.all_answered(Feed::Strat, "quick").await;
    assert_eq!(running.stop().await.handled, 50);
    assert_eq!(store.calls(Call::Renew), 0);
}

/// A handler that never ends, dropped when its lease is lost.
struct Endless {
    started: Arc<Mutex<Vec<u32>>>,
    dropped: Arc<AtomicU32>,
}

struct Guard(Arc<AtomicU32>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Endless {
    async fn start(stage: &Stage, store: Arc<Faulty>) -> (Self, Running) {
        let endless = Self { started: Arc::default(), dropped: Arc::default() };
        let (started, dropped) = (Arc::clone(&endless.started), Arc::clone(&endless.dropped));
        let consumer = stage.bridge.consumer("endless", store).options(options());
        let consumer = consumer.on(move |delivery: Delivery<UnitPublished>| {
            let guard = Guard(Arc::clone(&dropped));
            started.lock().unwrap().push(delivery.attempt());
            let is_first = started.lock().unwrap().len() == 1;
            async move {
                let _guard = guard;
                if is_first {
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        });
        (endless, Running::start(consumer.build().await.unwrap()))
    }

    async fn has_started(&self, times: usize) {
        eventually("started", || async { self.started.lock().unwrap().len() }, |runs| *runs == times).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_whose_lease_is_lost_is_dropped() {
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    let (endless, running) = Endless::start(&stage, store.clone()).await;
    stage.bridge.publish(published("a", 1)).await.unwrap();
    endless.has_started(1).await;
    // The store does not answer for longer than the lease.
    store.is_down(true);
    let away = Instant::now();
    let dropped = || async { endless.dropped.load(Ordering::SeqCst) };
    eventually("dropped", dropped, |dropped| *dropped == 1).await;
    assert!(away.elapsed() < Duration::from_secs(5));
    store.is_down(false);
    // The attempt was not the event's fault.
    endless.has_started(2).await;
    stage.all_answered(Feed::Strat, "endless").await;
    assert_eq!(*endless.started.lock().unwrap(), [1, 1]);
    assert_eq!(running.stop().await.handled, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_fails_for_a_while_costs_nothing() {
    let stage = Stage::new().await;
    let store = Arc::new(Faulty::default());
    let handled = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&handled);
    let consumer = stage.bridge.consumer("bumpy", store.clone()).options(options());
    let consumer = consumer.on(move |_: Delivery<UnitPublished>| {
        let count = Arc::clone(&count);
        async move {
            sleep(Duration::from_secs(5)).await;
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    });
    let running = Running::start(consumer.build().await.unwrap());
    store.lose_answers(Call::Renew, 3);
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.all_answered(Feed::Strat, "bumpy").await;
    assert_eq!((running.stop().await.handled, handled.load(Ordering::SeqCst)), (1, 1));
    assert_eq!(store.failures(), 3);
}
