//! Events whose headers no client library would write: none may be lost silently, or block others.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use stratt_event_bridge::{
    Delivery, EventBridge, Order, UnitPublished, async_nats, dead_letter::DeadLetterReason,
};
use support::{Running, Stage, eventually, published, raw_publish, short, source};

const SUBJECT: &str = "strat.dev.unit.published";

/// A consumer on a connection of its own, which hostile headers may cut, that counts what it handles.
async fn running(stage: &Stage, order: Order) -> (Running, Arc<AtomicU32>) {
    let client = async_nats::connect(stage.server.url()).await.unwrap();
    let handled = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&handled);
    let consumer = EventBridge::new(client, source())
        .consumer("c", Arc::clone(&stage.store))
        .options(short().with_order(order).with_max_in_flight(2))
        .on(move |_: Delivery<UnitPublished>| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        });
    (Running::start(consumer.build().await.unwrap()), handled)
}

async fn five_follow(stage: &Stage, handled: &AtomicU32) {
    for number in 1..=5 {
        stage.bridge.publish(published(&format!("u{number}"), number)).await.unwrap();
    }
    eventually("handled", || async { handled.load(Ordering::SeqCst) }, |n| *n == 5).await;
}

async fn invalid_letters(stage: &Stage, count: usize) {
    let letters = stage.dead_letters_are(count).await;
    assert!(letters.iter().all(|letter| letter.reason() == Some(DeadLetterReason::Invalid)), "{letters:?}");
}

/// Servers before 2.12 store a status line as it was published.
#[tokio::test]
async fn a_message_with_a_status_line_is_an_event() {
    let old = stratt_event_bridge::testing::NatsServer::builder().version("2.11.11").start().await.unwrap();
    let stage = Stage::on(old).await;
    let (running, handled) = running(&stage, Order::Relaxed).await;
    for _ in 0..2 {
        raw_publish(stage.server.url(), SUBJECT, b"NATS/1.0 503 No Responders\r\n\r\n", b"{}").await;
    }
    five_follow(&stage, &handled).await;
    invalid_letters(&stage, 2).await;
    let summary = running.stop().await;
    assert_eq!((summary.invalid, summary.handled), (2, 5), "{summary:?}");
}
