//! Publishing: events are stored once, in order, within a bounded time, and an unknown outcome is reported as such.

use async_nats::jetstream::message::PublishMessage;
use futures::{StreamExt, stream};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    BridgeOptions, Envelope, EventBridge, Feed, PublishErrorKind, UnitPublished, async_nats,
    testing::NatsServer,
    topology::{StreamSettings, Topology},
};
use support::{Load, Stage, eventually, published, source};
use tokio::time::Instant;

fn envelope(number: u64) -> Envelope<UnitPublished> {
    Envelope::builder(published("a", number), source()).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_stored_in_order_with_their_receipts_in_place() {
    let stage = Stage::new().await;
    // The third repeats the first; the fifth is too large.
    let large = published("a", 5).with_actor("x".repeat(300 * 1024));
    let mut envelopes: Vec<_> = [1, 2, 1, 4].map(envelope).into();
    envelopes.push(Envelope::builder(large, source()).build().unwrap());
    envelopes.extend((6..=2000).map(envelope));
    let receipts: Vec<_> = stage.bridge.publish_all(stream::iter(envelopes)).collect().await;
    assert_eq!(receipts.len(), 2000);
    let mut last = 0;
    for (index, receipt) in receipts.iter().enumerate() {
        match (index, receipt) {
            (2, Ok(receipt)) => assert_eq!((receipt.sequence(), receipt.is_duplicate()), (1, true)),
            (4, Err(error)) => assert_eq!(error.kind(), PublishErrorKind::TooLarge),
            (_, Ok(receipt)) => {
                assert_eq!((receipt.sequence(), receipt.is_duplicate()), (last + 1, false));
                last = receipt.sequence();
            }
            (_, Err(error)) => panic!("{index}: {error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_are_in_flight_than_allowed() {
    let stage = Stage::new().await;
    let options = BridgeOptions::default().with_max_in_flight(8);
    let bridge = EventBridge::with_options(stage.client.clone(), source(), options);
    let taken = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&taken);
    let envelopes = stream::iter(1..=100).map(envelope).inspect(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    let mut receipts = bridge.publish_all(envelopes);
    let mut received = 0;
    while let Some(receipt) = receipts.next().await {
        receipt.unwrap();
        received += 1;
        let in_flight = taken.load(Ordering::SeqCst) - received;
        assert!(in_flight <= 8, "{in_flight} in flight");
    }
    assert_eq!(received, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_data_survives_kills_and_is_stored_once() {
    let mut stage = Stage::new().await;
    let mut load = Load::start(&stage.bridge, 64);
    for round in 1..=3 {
        eventually("published events", || async { load.begun() }, |begun| *begun > round * 300).await;
        stage.server.kill();
        stage.server.restart().await.unwrap();
    }
    let acknowledged = load.stop().await;
    stage.stored_once(&acknowledged).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unanswered_publish_says_so_in_time_and_may_be_repeated() {
    let stage = Stage::new().await;
    let options = BridgeOptions::default()
        .with_attempt_timeout(Duration::from_millis(200))
        .with_retry_budget(Duration::from_millis(700));
    let bridge = EventBridge::with_options(stage.client.clone(), source(), options);
    stage.server.pause().unwrap();
    let begun = Instant::now();
    let error = bridge.publish(published("a", 1)).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::TimedOut);
    assert!(error.is_outcome_unknown());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    stage.server.resume().unwrap();
    // The abandoned attempts arrive now; ours is one of them.
    let receipt = stage.bridge.publish(published("a", 1)).await.unwrap();
    assert_eq!((receipt.sequence(), receipt.is_duplicate()), (1, true));
    assert_eq!(stage.stream(Feed::Strat).await.cached_info().state.messages, 1);
}

#[tokio::test]
async fn without_a_stream_nothing_was_stored_and_the_error_says_so() {
    let server = NatsServer::start().await.unwrap();
    let options = BridgeOptions::default().with_retry_budget(Duration::from_millis(300));
    let bridge = EventBridge::with_options(server.connect().await.unwrap(), source(), options);
    let error = bridge.publish(published("a", 1)).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::StreamNotFound);
    assert!(!error.is_outcome_unknown());
    bridge.provision(&Topology::default()).await.unwrap();
    bridge.publish(published("a", 1)).await.unwrap();
}

fn verifying(stage: &Stage) -> EventBridge {
    let options = BridgeOptions::default().with_verify_duplicates(true);
    EventBridge::with_options(stage.client.clone(), source(), options)
}

/// Stores foreign bytes under a message id, which can be predicted.
async fn occupy(stage: &Stage, subject: &str, message_id: &str, payload: Vec<u8>) {
    let message = PublishMessage::build().message_id(message_id).payload(payload.into());
    stage.context().send_publish(subject.to_owned(), message).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn a_suppressed_event_is_no_success_with_verification() {
    let stage = Stage::new().await;
    let (ours, other) = (envelope(1), envelope(2));
    let id = ours.idempotency_key().to_string();
    occupy(&stage, "strat.dev.unit.published", &id, b"garbage".to_vec()).await;
    // Without verification, it looks like any repeat.
    assert!(stage.bridge.publish_envelope(&ours).await.unwrap().is_duplicate());
    let error = verifying(&stage).publish_envelope(&ours).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Suppressed);
    assert!(!error.is_outcome_unknown());
    // The right bytes of another event, or the right event under another subject, are no better.
    for (number, subject, payload) in [
        (3, "strat.dev.unit.published", other.encode()),
        (4, "strat.core.unit.published", envelope(4).encode()),
    ] {
        let id = envelope(number).idempotency_key().to_string();
        occupy(&stage, subject, &id, payload.unwrap()).await;
        let error = verifying(&stage).publish_envelope(&envelope(number)).await.unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Suppressed);
    }
}

#[tokio::test]
async fn a_repeat_of_the_same_fact_passes_verification() {
    let stage = Stage::new().await;
    let bridge = verifying(&stage);
    assert!(!bridge.publish(published("a", 1)).await.unwrap().is_duplicate());
    // In a new envelope, with another id and time.
    let receipt = bridge.publish(published("a", 1)).await.unwrap();
    assert_eq!((receipt.sequence(), receipt.is_duplicate()), (1, true));
    stage.stream(Feed::Strat).await.purge().await.unwrap();
    let error = bridge.publish(published("a", 1)).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::Suppressed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_without_room_is_refused_and_the_connection_lives() {
    let server = NatsServer::builder().config("max_payload: 4096").start().await.unwrap();
    let bridge = EventBridge::new(server.connect().await.unwrap(), source());
    bridge.provision(&Topology::default()).await.unwrap();
    let connects = || bridge.client().statistics().connects.load(Ordering::Relaxed);
    let before = connects();
    let sized = |number, actor| published("a", number).with_actor("x".repeat(actor));
    let bare = Envelope::builder(sized(1, 0), source()).build().unwrap().encode().unwrap().len();
    // From a size that fits with headers to one that does not fit without them: all sizes at which a server hangs up.
    let mut stored = 0;
    for room in (0..400).step_by(8) {
        match bridge.publish(sized(room, 4096 - bare - 200 + usize::try_from(room).unwrap())).await {
            Ok(_) => stored += 1,
            Err(error) => {
                assert_eq!(error.kind(), PublishErrorKind::TooLarge);
                assert!(!error.is_outcome_unknown());
            }
        }
    }
    assert!((1..50).contains(&stored), "{stored} stored");
    let tight = StreamSettings::default().with_max_message_size(1000);
    bridge.provision(&Topology::default().with_events(tight)).await.unwrap();
    let begun = Instant::now();
    let error = bridge.publish(sized(1001, 1000)).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::TooLarge);
    assert!(begun.elapsed() < Duration::from_secs(4), "it was repeated: {:?}", begun.elapsed());
    bridge.publish(sized(1002, 1)).await.unwrap();
    assert_eq!(connects(), before);
}
