//! Shutdown while the broker is away and the client has no room for another command.

use std::{future::pending, sync::Arc, time::Duration};
use stratt_event_bridge::{
    Delivery, EventBridge, Feed, UnitPublished,
    async_nats::{Client, ConnectOptions},
};
use support::{Running, Stage, eventually, published, quick, source};
use tokio::time::{sleep, timeout};

/// Fills the command channel of a disconnected client, which nothing empties.
async fn fill(client: &Client) {
    let full = async { while client.publish("strat.dev.x", "".into()).await.is_ok() {} };
    assert!(timeout(Duration::from_secs(1), full).await.is_err(), "the client is closed");
}

async fn away(stage: &mut Stage, client: &Client) {
    stage.server.kill();
    let state = || async { client.connection_state().to_string() };
    eventually("connection lost", state, |state| state != "connected").await;
    fill(client).await;
}

#[tokio::test]
async fn it_ends_within_the_grace_and_a_few_seconds() {
    let mut stage = Stage::new().await;
    let client = ConnectOptions::new().client_capacity(16).connect(stage.server.url()).await.unwrap();
    let consumer = EventBridge::new(client.clone(), source())
        .consumer("c", Arc::clone(&stage.store))
        .options(quick().with_shutdown_grace(Duration::from_secs(1)))
        .on(|_: Delivery<UnitPublished>| async { Ok(()) });
    let running = Running::start(consumer.build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.all_answered(Feed::Strat, "c").await;
    away(&mut stage, &client).await;
    timeout(Duration::from_secs(20), running.stop()).await.expect("shutdown waits for the broker");
}

#[tokio::test]
async fn it_ends_although_the_start_still_waits_for_the_broker() {
    let mut stage = Stage::new().await;
    let client = ConnectOptions::new().client_capacity(16).connect(stage.server.url()).await.unwrap();
    let consumer = EventBridge::new(client.clone(), source())
        .consumer("c", Arc::clone(&stage.store))
        .on(|_: Delivery<UnitPublished>| async { pending().await });
    let consumer = consumer.build().await.unwrap();
    away(&mut stage, &client).await;
    let shutdown = sleep(Duration::from_millis(100));
    let summary = timeout(Duration::from_secs(20), consumer.run(shutdown))
        .await
        .expect("the start waits for the broker");
    assert_eq!(summary.unwrap().received, 0);
}
