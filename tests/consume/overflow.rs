//! A client whose subscriptions have less room than the consumer has in flight.

use async_nats::ConnectOptions;
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{Delivery, EventBridge, Feed, Order, UnitPublished, async_nats};
use support::{Log, Running, Stage, eventually, published, short, source};

const LINE: &str = "deliveries have not arrived";
/// Twice as many as there is room for: the second half is redelivered after the ack wait.
const EVENTS: u64 = 8;
const TOO_SMALL: usize = 4;

/// Handles more events than a client has room for, and returns how often that was logged with the cure.
async fn told_with(capacity: usize, order: Order) -> usize {
    let log = Log::listen();
    let stage = Stage::since(11).await;
    let client = ConnectOptions::new().subscription_capacity(capacity);
    let client = client.connect(stage.server.url()).await.unwrap();
    for number in 1..=EVENTS {
        stage.bridge.publish(published(&format!("unit-{number}"), number)).await.unwrap();
    }
    let bridge = EventBridge::new(client, source());
    let options = short().with_max_in_flight(64).with_order(order).with_ack_wait(Duration::from_secs(20));
    let consumer = bridge.consumer("narrow", Arc::clone(&stage.store)).options(options);
    let consumer = consumer.on(|_: Delivery<UnitPublished>| async { Ok(()) }).build().await.unwrap();
    let monitor = consumer.monitor();
    let running = Running::start(consumer);
    eventually("handled", || async { monitor.status().counts().handled }, |handled| *handled == EVENTS).await;
    stage.all_answered(Feed::Strat, "narrow").await;
    running.stop().await;
    let told = log.count_all(&[LINE, "narrow", "max_prefetch=1024", "ConnectOptions::subscription_capacity"]);
    assert_eq!(log.count(LINE), told);
    told
}

// On one thread, so that the log has the consumer's lines and a burst meets a full subscription.
#[tokio::test]
async fn a_client_without_room_is_named_with_the_cure_once() {
    assert_eq!(told_with(TOO_SMALL, Order::Relaxed).await, 1);
}

#[tokio::test]
async fn a_client_without_room_is_named_in_strict_order_too() {
    assert_eq!(told_with(TOO_SMALL, Order::PerUnit).await, 1);
}

#[tokio::test]
async fn of_a_client_with_room_nothing_is_said() {
    assert_eq!(told_with(80, Order::Relaxed).await, 0);
}
