//! Events that cannot be decoded or read, and streams that change under a watch.

use super::seen::{next, next_error, numbers};
use std::error::Error;
use stratt_event_bridge::{
    DecodeError, DecodeErrorKind, EventBridge, Feed, async_nats,
    topology::Topology,
    watch::{WatchErrorKind, WatchFrom, WatchOptions},
};
use support::{Stage, published, raw_publish, source};

const SUBJECT: &[u8] = b"strat.dev.unit.published";

fn oldest() -> WatchOptions {
    WatchOptions::default().with_from(WatchFrom::Oldest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undecodable_event_is_an_error_in_its_place() {
    let stage = Stage::new().await;
    stage.bridge.publish(published("unit", 1)).await.unwrap();
    raw_publish(stage.server.url(), SUBJECT, b"", b"\xff{").await;
    raw_publish(stage.server.url(), SUBJECT, b"NATS/1.0 503\r\n\r\n", b"{}").await;
    stage.bridge.publish(published("unit", 2)).await.unwrap();
    let mut watch = stage.bridge.watch(Feed::Strat).options(oldest()).open().await.unwrap();
    assert_eq!(numbers(&mut watch, 1).await, [1]);
    let error = next(&mut watch).await.unwrap_err();
    assert_eq!((error.kind(), error.sequence()), (WatchErrorKind::Undecodable, Some(2)));
    let why = error.source().unwrap().downcast_ref::<DecodeError>().unwrap();
    assert_eq!((why.kind(), error.subject()), (DecodeErrorKind::Malformed, Some("strat.dev.unit.published")));
    // Servers since 2.12 do not store a status line.
    if stage.stream(Feed::Strat).await.cached_info().state.messages == 4 {
        assert_eq!(next_error(&mut watch).await, (WatchErrorKind::Undecodable, Some(3)));
    }
    assert_eq!(numbers(&mut watch, 1).await, [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_cut_the_connection_are_passed_over() {
    let stage = Stage::new().await;
    // A connection of its own, which is cut.
    let client = async_nats::connect(stage.server.url()).await.unwrap();
    let bridge = EventBridge::new(client, source());
    let mut first = bridge.watch(Feed::Strat).options(oldest()).open().await.unwrap();
    raw_publish(stage.server.url(), SUBJECT, b"NATS/1.0\r\nno colon\r\n\r\n", b"{}").await;
    raw_publish(stage.server.url(), SUBJECT, b"NATS/1.0\r\nX: Jos\xe9\r\n\r\n", b"{}").await;
    stage.bridge.publish(published("unit", 1)).await.unwrap();
    raw_publish(stage.server.url(), SUBJECT, b"NATS/1.0\r\nno colon\r\n\r\n", b"{}").await;
    stage.bridge.publish(published("unit", 2)).await.unwrap();
    assert_eq!(next_error(&mut first).await, (WatchErrorKind::Unreadable, Some(1)));
    assert_eq!(next_error(&mut first).await, (WatchErrorKind::Unreadable, Some(2)));
    assert_eq!(numbers(&mut first, 1).await, [1]);
    assert_eq!(next_error(&mut first).await, (WatchErrorKind::Unreadable, Some(4)));
    assert_eq!(numbers(&mut first, 1).await, [2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_events_are_reported() {
    let stage = Stage::new().await;
    for number in 1..=3 {
        stage.bridge.publish(published("unit", number)).await.unwrap();
    }
    stage.stream(Feed::Strat).await.purge().sequence(3).await.unwrap();
    let from = WatchOptions::default().with_from(WatchFrom::Sequence(1));
    let mut watch = stage.bridge.watch(Feed::Strat).options(from).open().await.unwrap();
    let error = next(&mut watch).await.unwrap_err();
    assert_eq!(error.kind(), WatchErrorKind::Removed);
    let wanted = "stream STRATT_EVENTS removed the events at sequences 1 to 2 before the watch received them";
    assert_eq!(error.to_string(), wanted);
    assert_eq!(numbers(&mut watch, 1).await, [3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_stream_is_reported_and_watched() {
    let stage = Stage::new().await;
    let mut watch = stage.bridge.watch(Feed::Strat).open().await.unwrap();
    for number in 1..=3 {
        stage.bridge.publish(published("unit", number)).await.unwrap();
    }
    assert_eq!(numbers(&mut watch, 3).await, [1, 2, 3]);
    let context = stage.context();
    for feed in [Feed::Choco, Feed::Strat] {
        context.delete_stream(feed.stream()).await.unwrap();
    }
    assert_eq!(next_error(&mut watch).await, (WatchErrorKind::StreamNotFound, None));
    stage.bridge.provision(&Topology::default()).await.unwrap();
    stage.bridge.publish(published("unit", 4)).await.unwrap();
    assert_eq!(next_error(&mut watch).await, (WatchErrorKind::Recreated, None));
    assert_eq!(numbers(&mut watch, 1).await, [4]);
}
