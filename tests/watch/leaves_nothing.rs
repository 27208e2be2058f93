//! Watches whose processes are gone leave nothing on the server.

use super::seen::{next, numbers};
use futures::TryStreamExt;
use std::{env, time::Duration};
use stratt_event_bridge::{EventBridge, Feed, async_nats, watch::WatchOptions};
use support::{Stage, eventually, published, source, test_process};

const REPLICA: &str = "leaves_nothing::watches_until_it_is_killed";
const URL: &str = "WATCHED_URL";
const THRESHOLD: Duration = Duration::from_secs(2);

/// Returns the names of the temporary consumers.
pub async fn watches(stage: &Stage) -> Vec<String> {
    stage.stream(Feed::Strat).await.consumer_names().try_collect().await.unwrap()
}

#[tokio::test]
#[ignore = "the process of a replica"]
async fn watches_until_it_is_killed() {
    let client = async_nats::connect(env::var(URL).unwrap()).await.unwrap();
    let options = WatchOptions::default().with_inactive_threshold(THRESHOLD);
    let mut watch =
        EventBridge::new(client, source()).watch(Feed::Strat).options(options).open().await.unwrap();
    loop {
        next(&mut watch).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_killed_replicas_leave_nothing() {
    let stage = Stage::new().await;
    let mut replicas = Vec::new();
    for _ in 0..5 {
        replicas.push(test_process(REPLICA).env(URL, stage.server.url()).spawn().unwrap());
    }
    eventually("temporary consumers", || watches(&stage), |names| names.len() == 5).await;
    // Beside them one that stays.
    let options = WatchOptions::default().with_inactive_threshold(THRESHOLD);
    let mut alive = stage.bridge.watch(Feed::Strat).options(options).open().await.unwrap();
    for replica in &mut replicas {
        replica.kill().await.unwrap();
    }
    stage.bridge.publish(published("unit", 1)).await.unwrap();
    assert_eq!(numbers(&mut alive, 1).await, [1]);
    let others = || async { watches(&stage).await.len() };
    eventually("temporary consumers", others, |left| *left <= 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_default_nothing_is_left_after_half_a_minute() {
    let stage = Stage::new().await;
    let name = "cache-1".parse().unwrap();
    let options = WatchOptions::default().with_name(name);
    let _watch = stage.bridge.watch(Feed::Strat).options(options.clone()).open().await.unwrap();
    // Another process of the same name takes its place, and adds none.
    let _again = stage.bridge.watch(Feed::Strat).options(options).open().await.unwrap();
    assert_eq!(watches(&stage).await, ["watch-cache-1"]);
    let info = stage.stream(Feed::Strat).await.consumer_info("watch-cache-1").await.unwrap();
    assert_eq!(info.config.inactive_threshold, Duration::from_secs(30));
    assert!(info.config.durable_name.is_none() && info.config.memory_storage, "{:?}", info.config);
}
