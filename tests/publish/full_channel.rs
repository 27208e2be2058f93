//! Publishes in flight while the client has no room for their messages.

use async_nats::ConnectOptions;
use futures::{StreamExt, stream};
use std::time::Duration;
use stratt_event_bridge::{
    BridgeOptions, Envelope, EventBridge, PublishErrorKind, PublishReceipt, UnitPublished, async_nats,
    async_nats::connection::State,
};
use support::{Stage, eventually, published, source};
use tokio::time::{Instant, timeout};

fn envelope(number: u64) -> Envelope<UnitPublished> {
    Envelope::builder(published("a", number), source()).build().unwrap()
}

/// Returns a bridge whose client holds at most so many unsent commands.
async fn bridge(stage: &Stage, room: usize) -> EventBridge {
    let client = ConnectOptions::new().client_capacity(room).connect(stage.server.url()).await.unwrap();
    let options = BridgeOptions::default()
        .with_attempt_timeout(Duration::from_millis(200))
        .with_retry_budget(Duration::from_millis(800));
    EventBridge::with_options(client, source(), options)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outcomes_come_as_they_fall_due_while_nothing_is_sent() {
    let mut stage = Stage::new().await;
    let bridge = bridge(&stage, 16).await;
    stage.server.kill();
    let state = || async { bridge.client().connection_state() };
    eventually("disconnected", state, |state| *state != State::Connected).await;
    let begun = Instant::now();
    let mut receipts = bridge.publish_all(stream::iter(1..=300).map(envelope));
    let mut ended = 0;
    while let Some(outcome) = timeout(Duration::from_secs(5), receipts.next()).await.expect("an outcome") {
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.is_outcome_unknown()), (PublishErrorKind::TimedOut, true));
        ended += 1;
    }
    assert_eq!(ended, 300);
    // 256 of them together, and then the rest: each part takes one retry budget.
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    stage.server.restart().await.unwrap();
    eventually("publish", || bridge.publish(published("b", 1000)), Result::is_ok).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_room_is_sent_in_the_order_of_the_input() {
    let stage = Stage::new().await;
    let client = ConnectOptions::new().client_capacity(1).connect(stage.server.url()).await.unwrap();
    let bridge = EventBridge::new(client, source());
    let receipts: Vec<_> = bridge.publish_all(stream::iter(1..=2000).map(envelope)).collect().await;
    let sequences: Vec<_> = receipts.into_iter().map(|receipt| receipt.unwrap()).collect();
    let sequences: Vec<_> = sequences.iter().map(PublishReceipt::sequence).collect();
    assert_eq!(sequences, (1..=2000).collect::<Vec<_>>());
}
