//! Faults leave no gap, and repeat nothing.

use super::seen::{nothing, numbers};
use std::time::Duration;
use stratt_event_bridge::{EventBridge, Feed, testing::Direction, topology::EVENT_STREAM, watch::Watch};
use support::{ClusterStage, Stage, eventually, published};

const EVENTS: u64 = 600;

/// Publishes numbered events, repeating each one until it is stored.
async fn publish_all(bridge: EventBridge) {
    for number in 1..=EVENTS {
        let publish = || bridge.publish(published("unit", number));
        eventually("publish", publish, Result::is_ok).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Checks that all events arrive, each once and in order.
async fn receives_all(mut watch: Watch) {
    assert_eq!(numbers(&mut watch, usize::try_from(EVENTS).unwrap()).await, (1..=EVENTS).collect::<Vec<_>>());
    nothing(&mut watch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_server_leaves_no_gap() {
    let mut stage = Stage::new().await;
    let watch = stage.bridge.watch(Feed::Strat).open().await.unwrap();
    let receiving = tokio::spawn(receives_all(watch));
    let publishing = tokio::spawn(publish_all(stage.bridge.clone()));
    for messages in [100, 300] {
        let stream = stage.stream(Feed::Strat).await;
        let stored = || async { stream.get_info().await.map_or(0, |info| info.state.messages) };
        eventually("stored", stored, |stored| *stored >= messages).await;
        stage.server.kill();
        stage.server.restart().await.unwrap();
    }
    publishing.await.unwrap();
    receiving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_before_the_first_event_loses_nothing() {
    let mut stage = Stage::new().await;
    stage.bridge.publish(published("unit", 1)).await.unwrap();
    let mut watch = stage.bridge.watch(Feed::Strat).open().await.unwrap();
    stage.server.kill();
    stage.server.restart().await.unwrap();
    let publish = || stage.bridge.publish(published("unit", 2));
    eventually("publish", publish, Result::is_ok).await.unwrap();
    assert_eq!(numbers(&mut watch, 1).await, [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_leave_no_gap() {
    let stage = Stage::new().await;
    let (proxy, bridge) = stage.through_proxy(Duration::from_secs(2)).await;
    let receiving = tokio::spawn(receives_all(bridge.watch(Feed::Strat).open().await.unwrap()));
    let publishing = tokio::spawn(publish_all(stage.bridge.clone()));
    while !publishing.is_finished() {
        // Some events are on their way when the connection is cut.
        proxy.swallow(Direction::ToClient);
        tokio::time::sleep(Duration::from_millis(100)).await;
        proxy.heal();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    publishing.await.unwrap();
    receiving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_temporary_consumer_is_made_again() {
    let stage = Stage::new().await;
    let stream = stage.stream(Feed::Strat).await;
    let receiving = tokio::spawn(receives_all(stage.bridge.watch(Feed::Strat).open().await.unwrap()));
    let publishing = tokio::spawn(publish_all(stage.bridge.clone()));
    while !publishing.is_finished() {
        for name in super::leaves_nothing::watches(&stage).await {
            // It may be the watch that deletes it.
            let _ = stream.delete_consumer(&name).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    publishing.await.unwrap();
    receiving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_leaves_no_gap() {
    let mut stage = ClusterStage::on_cluster().await;
    let watch = stage.bridge.watch(Feed::Strat).open().await.unwrap();
    let receiving = tokio::spawn(receives_all(watch));
    let publishing = tokio::spawn(publish_all(stage.bridge.clone()));
    let stored =
        || async { stage.bridge.status().await.stream(EVENT_STREAM).map_or(0, |state| state.messages) };
    eventually("stored", stored, |stored| *stored >= 100).await;
    let leader = stage.server.stream_leader(EVENT_STREAM).await.unwrap();
    stage.server.nodes_mut()[leader].kill();
    publishing.await.unwrap();
    receiving.await.unwrap();
}
