//! Where a watch begins, and what it is restricted to.

use super::seen::{next, next_error, nothing, numbers};
use futures::StreamExt;
use std::time::Duration;
use stratt_event_bridge::{
    EventType, Feed,
    watch::{Watch, WatchErrorKind, WatchFrom, WatchOptions},
};
use support::{HubAndLeaf, LeafStage, Stage, deprecated, published};

async fn opened<S>(stage: &Stage<S>, from: WatchFrom) -> Watch {
    stage.bridge.watch(Feed::Strat).options(WatchOptions::default().with_from(from)).open().await.unwrap()
}

async fn publish<S>(stage: &Stage<S>, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        stage.bridge.publish(published("unit", number)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_begins_where_its_options_say() {
    let stage = Stage::new().await;
    publish(&stage, 1..=3).await;
    let mut oldest = opened(&stage, WatchFrom::Oldest).await;
    let first = next(&mut oldest).await.unwrap();
    let second = next(&mut oldest).await.unwrap();
    assert_eq!((first.sequence(), second.sequence()), (1, 2));
    let mut now = opened(&stage, WatchFrom::Now).await;
    let mut sequence = opened(&stage, WatchFrom::Sequence(3)).await;
    let mut ahead = opened(&stage, WatchFrom::Sequence(5)).await;
    let mut time = opened(&stage, WatchFrom::Time(second.stored_at())).await;
    publish(&stage, 4..=5).await;
    assert_eq!(numbers(&mut oldest, 3).await, [3, 4, 5]);
    assert_eq!(numbers(&mut now, 2).await, [4, 5]);
    assert_eq!(numbers(&mut sequence, 3).await, [3, 4, 5]);
    assert_eq!(numbers(&mut ahead, 1).await, [5]);
    assert_eq!(numbers(&mut time, 4).await, [2, 3, 4, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_does_not_exist_is_refused() {
    let stage = Stage::new().await;
    let nowhere = [
        WatchOptions::default().with_from(WatchFrom::Sequence(0)),
        WatchOptions::default().with_inactive_threshold(Duration::ZERO),
    ];
    for options in nowhere {
        let error = stage.bridge.watch(Feed::Strat).options(options).open().await.unwrap_err();
        assert_eq!(error.kind(), WatchErrorKind::InvalidOptions, "{error}");
    }
    stage.context().delete_stream(Feed::Choco.stream()).await.unwrap();
    let error = stage.bridge.watch(Feed::Choco).open().await.unwrap_err();
    assert_eq!(error.kind(), WatchErrorKind::StreamNotFound);
    assert_eq!(error.to_string(), "stream CHOCO_STRATT does not exist: provision the topology first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_types_and_domains_that_are_asked_for_arrive() {
    let stage = Stage::new().await;
    let options = WatchOptions::default()
        .with_from(WatchFrom::Oldest)
        .with_event_types([EventType::UnitDeprecated])
        .with_domains(["dev".parse().unwrap()]);
    let mut choco = stage.bridge.watch(Feed::Choco).options(options.clone()).open().await.unwrap();
    let elsewhere = options.with_domains(["core".parse().unwrap()]);
    let mut elsewhere = stage.bridge.watch(Feed::Strat).options(elsewhere).open().await.unwrap();
    publish(&stage, 1..=2).await;
    stage.bridge.publish(deprecated("unit", 3)).await.unwrap();
    assert_eq!(numbers(&mut choco, 1).await, [3]);
    nothing(&mut elsewhere).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_one_request_holds_arrives_in_order() {
    let stage = Stage::new().await;
    let mut watch = opened(&stage, WatchFrom::Now).await;
    publish(&stage, 1..=450).await;
    assert_eq!(numbers(&mut watch, 450).await, (1..=450).collect::<Vec<_>>());
    nothing(&mut watch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leaf_node_watches_the_stream_of_its_hub() {
    let stage = LeafStage::on_leaf(HubAndLeaf::start().await).await;
    let mut watch = opened(&stage, WatchFrom::Now).await;
    publish(&stage, 1..=3).await;
    assert_eq!(numbers(&mut watch, 3).await, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_with_its_connection() {
    let stage = Stage::new().await;
    let mut watch = opened(&stage, WatchFrom::Now).await;
    stage.client.drain().await.unwrap();
    assert_eq!(next_error(&mut watch).await, (WatchErrorKind::Closed, None));
    assert!(watch.next().await.is_none());
}
