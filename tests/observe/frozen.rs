//! A broker that is frozen: its connection stays, and only its silence shows.

use std::time::Duration;
use stratt_event_bridge::{Delivery, UnitPublished};
use support::{Running, Stage, eventually};

/// The broker is asked every 5 s.
const SILENCE: Duration = Duration::from_secs(7);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_of_a_frozen_broker_is_not_ready() {
    let stage = Stage::new().await;
    let consumer =
        stage.consumer("c").on(|_: Delivery<UnitPublished>| async { Ok(()) }).build().await.unwrap();
    let monitor = consumer.monitor();
    assert!(!monitor.status().is_working_within(SILENCE));
    let running = Running::start(consumer);
    let now = || async { monitor.status() };
    eventually("ready", now, |status| status.is_working_within(SILENCE)).await;
    stage.server.pause().unwrap();
    let silent = eventually("not ready", now, |status| !status.is_working_within(SILENCE)).await;
    assert!(silent.is_connected() && silent.is_working(), "{silent:?}");
    assert!(silent.is_working_within(Duration::MAX));
    stage.server.resume().unwrap();
    eventually("ready again", now, |status| status.is_working_within(SILENCE)).await;
    running.stop().await;
}
