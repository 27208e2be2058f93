//! The main job: what is published is delivered, handled once, retried, and dead-lettered.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    AnyEvent, Delivery, EventType, Feed, HandlerError, UnitDeprecated, UnitPublished,
    dead_letter::DeadLetterReason,
};
use support::{Running, Stage, deprecated, eventually, one_of_each, published, quick};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_seven_events_reach_both_feeds() {
    let stage = Stage::new().await;
    let handled = Arc::new(Mutex::new(Vec::new()));
    let mut running = Vec::new();
    for (feed, name) in [(Feed::Strat, "on-strat"), (Feed::Choco, "on-choco")] {
        let handled = Arc::clone(&handled);
        let consumer = stage.consumer(name).feed(feed).on(move |delivery: Delivery<AnyEvent>| {
            handled.lock().unwrap().push((feed, delivery.event().clone()));
            async { Ok(()) }
        });
        running.push(Running::start(consumer.build().await.unwrap()));
    }
    let events = one_of_each();
    for event in &events {
        assert!(!stage.bridge.publish(event.clone()).await.unwrap().is_duplicate());
    }
    assert!(stage.bridge.publish(events[0].clone()).await.unwrap().is_duplicate());
    eventually("handled events", || async { handled.lock().unwrap().len() }, |count| *count == 14).await;
    for consumer in running {
        let summary = consumer.stop().await;
        assert_eq!((summary.received, summary.handled), (7, 7));
    }
    let handled = handled.lock().unwrap();
    for feed in [Feed::Strat, Feed::Choco] {
        for event in &events {
            assert_eq!(
                handled.iter().filter(|(on, seen)| *on == feed && seen == event).count(),
                1,
                "{event:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failing_handler_is_retried_and_told_the_attempt() {
    let stage = Stage::new().await;
    let attempts = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&attempts);
    let consumer = stage.consumer("flaky").on(move |delivery: Delivery<UnitPublished>| {
        seen.lock().unwrap().push(delivery.attempt());
        async move {
            if delivery.attempt() < 3 {
                // `?` on any error means retry.
                "not a number".parse::<u32>()?;
            }
            Ok(())
        }
    });
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.all_answered(Feed::Strat, "flaky").await;
    eventually("attempts", || async { attempts.lock().unwrap().clone() }, |seen| *seen == [1, 2, 3]).await;
    stage.all_answered(Feed::Strat, "flaky").await;
    let summary = running.stop().await;
    assert_eq!((summary.retried, summary.handled), (2, 1));
    assert!(stage.dead_letters().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_may_ask_for_a_delay_of_its_own() {
    let stage = Stage::new().await;
    // The delay of the options would outlast the test.
    let options = quick().with_retry_delays([Duration::from_hours(1)]);
    let consumer =
        stage.consumer("asking").options(options).on(|delivery: Delivery<UnitPublished>| async move {
            match delivery.attempt() {
                1 => Err(HandlerError::retry_after("not yet", Duration::from_millis(30))),
                _ => Ok(()),
            }
        });
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let delivered = || async {
        let info = stage.stream(Feed::Strat).await.consumer_info("asking").await.unwrap();
        info.delivered.consumer_sequence
    };
    eventually("deliveries", delivered, |deliveries| *deliveries == 2).await;
    stage.all_answered(Feed::Strat, "asking").await;
    let summary = running.stop().await;
    assert_eq!((summary.retried, summary.handled), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exhausted_and_rejected_events_can_be_redriven() {
    let stage = Stage::new().await;
    let healed = Arc::new(AtomicU32::new(0));
    let runs = Arc::new(AtomicU32::new(0));
    let (is_healed, count) = (Arc::clone(&healed), Arc::clone(&runs));
    let consumer = stage
        .consumer("failing")
        .on(move |_: Delivery<UnitPublished>| {
            count.fetch_add(1, Ordering::SeqCst);
            let is_healed = is_healed.load(Ordering::SeqCst) > 0;
            async move { if is_healed { Ok(()) } else { Err(HandlerError::retry("database is\r\ndown")) } }
        })
        .on(|_: Delivery<UnitDeprecated>| async { Err(HandlerError::reject("not for me")) });
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.bridge.publish(deprecated("b", 2)).await.unwrap();
    let letters = stage.dead_letters_are(2).await;
    let exhausted = letters.iter().find(|l| l.reason() == Some(DeadLetterReason::Exhausted)).unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    assert_eq!(exhausted.consumer(), "failing");
    assert_eq!(exhausted.error(), "database is\\r\\ndown");
    assert_eq!(exhausted.deliveries(), 3);
    assert_eq!((exhausted.stream(), exhausted.stream_sequence()), ("STRATT_EVENTS", 1));
    assert_eq!(exhausted.subject(), "strat.dev.unit.published");
    assert_eq!(exhausted.envelope().unwrap().event_type(), EventType::UnitPublished);
    assert_eq!(exhausted.headers().get("Nats-Msg-Id").unwrap().as_str(), "STRATT_EVENTS:1:failing");
    assert_eq!(exhausted.headers().get("Content-Type").unwrap().as_str(), "application/json");
    let rejected = letters.iter().find(|l| l.reason() == Some(DeadLetterReason::Rejected)).unwrap();
    assert_eq!((rejected.error(), rejected.deliveries()), ("not for me", 1));
    stage.all_answered(Feed::Strat, "failing").await;

    healed.store(1, Ordering::SeqCst);
    let dead_letters = stage.bridge.dead_letters();
    let receipt = dead_letters.redrive(exhausted.sequence()).await.unwrap();
    assert_eq!((receipt.stream(), receipt.is_duplicate()), ("STRATT_EVENTS", false));
    eventually("runs", || async { runs.load(Ordering::SeqCst) }, |runs| *runs == 4).await;
    dead_letters.discard(rejected.sequence()).await.unwrap();
    assert!(stage.dead_letters().await.is_empty());
    stage.all_answered(Feed::Strat, "failing").await;
    let summary = running.stop().await;
    assert_eq!((summary.exhausted, summary.rejected, summary.handled), (1, 1, 1));
}
