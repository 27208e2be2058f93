//! Outages of the dead-letter stream, the server, the durable. Nothing is lost meanwhile.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    ConsumeErrorKind, Delivery, Feed, HandlerError, UnitPublished,
    dead_letter::{DeadLetter, DeadLetterReason},
    topology::{DEAD_LETTER_STREAM, StreamSettings, Topology},
};
use support::{Effects, Load, Log, Running, Stage, eventually, published, quick, short};
use tokio::sync::Semaphore;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_dead_letter_stream_nothing_is_lost() {
    let stage = Stage::new().await;
    let runs = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&runs);
    // The lease bounds the time for which storing a dead letter is retried.
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
async fn a_full_dead_letter_stream_keeps_events_waiting() {
    let stage = Stage::new().await;
    let one = StreamSettings::default().with_max_messages(1);
    stage.bridge.provision(&Topology::default().with_dead_letters(one)).await.unwrap();
    let consumer = stage.consumer("rejecting");
    let consumer = consumer.on(|_: Delivery<UnitPublished>| async { Err(HandlerError::reject("never")) });
    let running = Running::start(consumer.build().await.unwrap());
    for number in 1..=3 {
        stage.bridge.publish(published(&format!("u{number}"), number)).await.unwrap();
    }
    // Refused several times, not once.
    let deliveries = || async {
        let info = stage.stream(Feed::Strat).await.consumer_info("rejecting").await.unwrap();
        info.delivered.consumer_sequence
    };
    eventually("deliveries", deliveries, |deliveries| *deliveries >= 9).await;
    assert_eq!(stage.dead_letters().await.len(), 1);
    stage.bridge.provision(&Topology::default()).await.unwrap();
    stage.all_answered(Feed::Strat, "rejecting").await;
    let letters = stage.dead_letters().await;
    let mut sources: Vec<_> = letters.iter().map(DeadLetter::stream_sequence).collect();
    sources.sort_unstable();
    assert_eq!(sources, [1, 2, 3]);
    let summary = running.stop().await;
    // An event that waits for room after its last attempt is exhausted.
    assert_eq!(summary.rejected + summary.exhausted, 3, "{summary:?}");
    assert!(summary.postponed >= 6, "{summary:?}");
}

// On one thread, so that the log has the consumer's lines.
#[tokio::test]
async fn a_dead_letter_stored_late_has_no_copy() {
    let log = Log::listen();
    let stage = Stage::new().await;
    let (started, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Semaphore::new(0)));
    let (count, closed) = (Arc::clone(&started), Arc::clone(&gate));
    let consumer = stage.consumer("unsure").options(short()).on(move |_: Delivery<UnitPublished>| {
        count.fetch_add(1, Ordering::SeqCst);
        let closed = Arc::clone(&closed);
        async move {
            closed.acquire().await?.forget();
            Err(HandlerError::reject("never"))
        }
    });
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    eventually("started", || async { started.load(Ordering::SeqCst) }, |started| *started == 1).await;
    stage.server.pause().unwrap();
    gate.add_permits(10);
    let given_up = || async { log.count("dead letter could not be stored") };
    eventually("given up", given_up, |lines| *lines >= 1).await;
    // What was sent meanwhile arrives now; the event is redelivered and dead-lettered again.
    stage.server.resume().unwrap();
    stage.all_answered(Feed::Strat, "unsure").await;
    assert_eq!(stage.dead_letters().await.len(), 1);
    let summary = running.stop().await;
    assert!(summary.postponed + summary.abandoned >= 1, "{summary:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_under_load_loses_no_acknowledged_event() {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_deleted_under_its_consumer_is_reported() {
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
