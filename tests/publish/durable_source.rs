//! Forwarding to Choco from a durable of the events (nats-server 2.15): switched on and off in place, lost, refused.

use futures::{StreamExt, TryStreamExt};
use std::time::Duration;
use stratt_event_bridge::{
    BridgeOptions, Envelope, EventBridge, Feed,
    testing::NatsServer,
    topology::{EVENT_STREAM, Forwarding, ForwardingOptions, StreamSettings, Topology, TopologyErrorKind},
};
use support::{Stage, eventually, published, source};
use tokio::time::sleep;

const WINDOW: Duration = Duration::from_secs(3);
const DURABLE: &str = "CHOCO_STRATT";

fn topology(durable: bool) -> Topology {
    let events = StreamSettings::default().with_duplicate_window(WINDOW);
    Topology::default().with_events(events).with_durable_source(durable)
}

async fn on_newest() -> Stage {
    let stage = Stage::on_newest().await;
    let options = BridgeOptions::default().with_retry_budget(WINDOW / 2);
    let bridge = EventBridge::with_options(stage.client.clone(), source(), options);
    Stage { bridge, ..stage }
}

/// Publishes the events from `next` on, and checks that Choco has all from the first on once.
async fn publish(stage: &Stage, next: &mut u64, count: u64) {
    let envelopes =
        (*next..*next + count).map(|n| Envelope::builder(published("a", n), source()).build().unwrap());
    let receipts = stage.bridge.publish_all(futures::stream::iter(envelopes.collect::<Vec<_>>()));
    let receipts: Vec<_> = receipts.try_collect().await.unwrap();
    assert!(receipts.iter().all(|receipt| !receipt.is_duplicate()));
    *next += count;
    forwarded(stage, *next - 1).await;
}

async fn forwarded(stage: &Stage, count: u64) {
    let held = || async { stage.stream(Feed::Choco).await.cached_info().state.messages };
    eventually("forwarded", held, |held| *held >= count).await;
    let choco = stage.stream(Feed::Choco).await;
    for sequence in 1..=count {
        let stored = choco.get_raw_message(sequence).await.unwrap();
        let source = stored.headers.get("Nats-Stream-Source").unwrap().to_string();
        assert_eq!(source.split(' ').nth(1), Some(sequence.to_string().as_str()), "{source}");
    }
    // Nothing more comes.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(held().await, count);
}

async fn has_durable(stage: &Stage) -> bool {
    let names: Vec<_> = stage.stream(Feed::Strat).await.consumer_names().map(Result::unwrap).collect().await;
    names == [DURABLE]
}

async fn restart(stage: &mut Stage) {
    stage.server.kill();
    stage.server.restart().await.unwrap();
    eventually("restart", || stage.bridge.status(), |status| status.stream(EVENT_STREAM).is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switching_there_and_back_repeats_nothing() {
    let mut stage = on_newest().await;
    stage.bridge.provision(&topology(false)).await.unwrap();
    let mut next = 1;
    let before = std::env::var("STRATT_EVENTS").map_or(1200, |events| events.parse().unwrap());
    publish(&stage, &mut next, before).await;
    for durable in [true, false, true, false] {
        // All of them are older than both windows.
        sleep(WINDOW).await;
        stage.bridge.verify(&topology(durable)).await.unwrap_err();
        stage.bridge.provision(&topology(durable)).await.unwrap();
        stage.bridge.provision(&topology(durable)).await.unwrap();
        stage.bridge.verify(&topology(durable)).await.unwrap();
        assert_eq!(has_durable(&stage).await, durable);
        publish(&stage, &mut next, 50).await;
        sleep(WINDOW).await;
        restart(&mut stage).await;
        publish(&stage, &mut next, 10).await;
        let seen = stage.bridge.forwarding().await.unwrap();
        let bound = Duration::from_secs(if durable { 20 } else { 60 });
        assert_eq!((seen.proven_up_to(), seen.bound()), (Some(next - 1), bound));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_that_is_removed_is_reported_and_made_again() {
    let stage = on_newest().await;
    stage.bridge.provision(&topology(true)).await.unwrap();
    let mut next = 1;
    publish(&stage, &mut next, 20).await;
    let watch = stage.bridge.watch_forwarding(ForwardingOptions::default());
    let running = watch.clone();
    let running = tokio::spawn(async move { running.run(std::future::pending()).await });
    let current = || async { watch.current() };
    let is_fine = |seen: &Option<Forwarding>| seen.as_ref().is_some_and(|seen| !seen.is_stalled());
    eventually("fine", current, is_fine).await;
    sleep(WINDOW).await;
    stage.stream(Feed::Strat).await.delete_consumer(DURABLE).await.unwrap();
    let began = std::time::Instant::now();
    let is_lost = |seen: &Option<Forwarding>| seen.as_ref().is_some_and(Forwarding::lacks_durable);
    let lost = eventually("lost", current, is_lost).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(11) && lost.is_stalled());
    let says = "durable CHOCO_STRATT of STRATT_EVENTS was removed: provision the topology";
    assert_eq!(lost.to_string(), says);
    stage.bridge.provision(&topology(true)).await.unwrap();
    publish(&stage, &mut next, 20).await;
    eventually("fine", current, is_fine).await;
    // So it is with the stream of events.
    sleep(WINDOW).await;
    stage.context().delete_stream(EVENT_STREAM).await.unwrap();
    stage.bridge.provision(&topology(true)).await.unwrap();
    assert!(has_durable(&stage).await);
    publish(&stage, &mut next, 20).await;
    running.abort();
}

#[tokio::test]
async fn an_older_server_is_refused_and_nothing_is_touched() {
    for version in ["2.12.8", "2.14.6"] {
        let server = NatsServer::builder().version(version).start().await.unwrap();
        let bridge = EventBridge::new(server.connect().await.unwrap(), source());
        let durable = Topology::default().with_durable_source(true);
        let error = bridge.provision(&durable).await.unwrap_err();
        assert_eq!(error.kind(), TopologyErrorKind::UnsupportedServer);
        let says = "has no durable source that can be used: 2.15 or newer is needed";
        assert!(error.to_string().contains(version) && error.to_string().contains(says), "{error}");
        assert!(bridge.status().await.streams()[0].is_missing());
    }
}

#[tokio::test]
async fn a_durable_source_needs_both_streams_in_one_account() {
    let stage = Stage::on_newest().await;
    let apart = Topology::default().without_choco().with_durable_source(true);
    let error = stage.bridge.provision(&apart).await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::InvalidSettings);
    assert!(error.to_string().contains("in one account"), "{error}");
}
