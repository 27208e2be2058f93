//! Slow handlers, long queues, and handlers that never end.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    Delivery, Event, Feed, UnitDeprecated, UnitPublished, dead_letter::DeadLetterReason,
};
use support::{Running, Stage, eventually, published, quick};
use tokio::time::sleep;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_outlives_the_ack_wait_is_handled_once() {
    let stage = Stage::new().await;
    let options = quick()
        .with_processing_timeout(Duration::from_secs(1))
        .with_lease(Duration::from_millis(1500))
        .with_ack_wait(Duration::from_secs(2));
    let runs: Arc<Mutex<Vec<u64>>> = Arc::default();
    let seen = Arc::clone(&runs);
    let consumer = stage.consumer("slow").options(options).on(move |delivery: Delivery<UnitPublished>| {
        seen.lock().unwrap().push(delivery.sequence());
        async {
            sleep(Duration::from_millis(120)).await;
            Ok(())
        }
    });
    // All of one unit, so that the last waits for the 63 before it: four times the ack wait.
    for number in 1..=64 {
        stage.bridge.publish(published("one", number)).await.unwrap();
    }
    let running = Running::start(consumer.build().await.unwrap());
    eventually("runs", || async { runs.lock().unwrap().len() }, |runs| *runs >= 64).await;
    stage.all_answered(Feed::Strat, "slow").await;
    let summary = running.stop().await;
    assert_eq!((summary.received, summary.handled), (64, 64));
    // Each once, in the order of the stream.
    assert_eq!(*runs.lock().unwrap(), (1..=64).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_unit_is_handled_one_at_a_time_and_others_beside_it() {
    let stage = Stage::new().await;
    let running_now: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
    let most_at_once = Arc::new(AtomicU32::new(0));
    let (by_unit, most) = (Arc::clone(&running_now), Arc::clone(&most_at_once));
    let consumer = stage.consumer("ordered").on(move |delivery: Delivery<UnitPublished>| {
        let (by_unit, most) = (Arc::clone(&by_unit), Arc::clone(&most));
        async move {
            let unit = delivery.event().unit_uri().to_string();
            {
                let mut by_unit = by_unit.lock().unwrap();
                *by_unit.entry(unit.clone()).or_default() += 1;
                assert_eq!(by_unit[&unit], 1, "two of one unit at once");
                most.fetch_max(by_unit.values().sum(), Ordering::SeqCst);
            }
            sleep(Duration::from_millis(5)).await;
            *by_unit.lock().unwrap().get_mut(&unit).unwrap() -= 1;
            Ok(())
        }
    });
    for number in 0..200 {
        stage.bridge.publish(published(&format!("unit-{}", number % 5), number)).await.unwrap();
    }
    let running = Running::start(consumer.build().await.unwrap());
    stage.all_answered(Feed::Strat, "ordered").await;
    let summary = running.stop().await;
    // A handler that saw two at once panicked, and would have been retried.
    assert_eq!((summary.handled, summary.retried), (200, 0));
    assert_eq!(most_at_once.load(Ordering::SeqCst), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_or_a_timeout_fails_its_own_attempt_alone() {
    let stage = Stage::new().await;
    let options = quick().with_processing_timeout(Duration::from_millis(100)).with_max_attempts(2);
    let consumer = stage
        .consumer("broken")
        .options(options)
        .on(|delivery: Delivery<UnitPublished>| async move {
            match delivery.event().actor.as_deref() {
                Some("panics") => panic!("as it must"),
                Some("hangs") => std::future::pending().await,
                _ => Ok(()),
            }
        })
        // Panics before there is a future.
        .on(|_: Delivery<UnitDeprecated>| -> std::future::Ready<_> { panic!("at once") });
    let running = Running::start(consumer.build().await.unwrap());
    for (number, actor) in [(1, "panics"), (2, "hangs"), (3, "works")] {
        stage.bridge.publish(published(actor, number).with_actor(actor)).await.unwrap();
    }
    stage.bridge.publish(support::deprecated("d", 4)).await.unwrap();
    let letters = stage.dead_letters_are(3).await;
    stage.all_answered(Feed::Strat, "broken").await;
    let mut errors: Vec<_> =
        letters.iter().map(|letter| (letter.stream_sequence(), letter.error())).collect();
    errors.sort_unstable();
    let panicked = "handler panicked";
    assert_eq!(errors, [(1, panicked), (2, "handler did not end within 100ms"), (4, panicked)]);
    assert!(letters.iter().all(|letter| letter.reason() == Some(DeadLetterReason::Exhausted)));
    let summary = running.stop().await;
    assert_eq!((summary.retried, summary.exhausted, summary.handled), (3, 3, 1));
}
