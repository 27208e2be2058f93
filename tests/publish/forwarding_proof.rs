//! Forwarding proved by sequence, on real servers: it is stalled when an event does not arrive, whatever the broker
//! says, and not when the newest event is gone from either stream.

use super::forwarding::{STALLING, TWO_ACCOUNTS, bridge_of, stall};
use async_nats::{HeaderMap, jetstream::stream::Config};
use std::time::Duration;
use stratt_event_bridge::{
    EventBridge, Feed, async_nats,
    testing::NatsServer,
    topology::{EVENT_STREAM, Forwarding, ForwardingOptions, ForwardingWatch, Topology, TopologyErrorKind},
};
use support::{NEWEST, Stage, eventually, published, source};
use tokio::{
    time::{Instant, sleep},
    try_join,
};

const BOUND: Duration = Duration::from_secs(2);
const SUBJECT: &str = "strat.dev.unit.published";

fn watch(bridge: &EventBridge) -> ForwardingWatch {
    let options = ForwardingOptions::default().with_interval(Duration::from_millis(100));
    bridge.watch_forwarding(options.with_bound(BOUND))
}

/// Runs a row of the table on the oldest server, the newest, and one between.
async fn on_each<F: Future<Output = ()> + Send + 'static>(row: fn(Stage) -> F) {
    let run = |version| {
        tokio::spawn(async move {
            row(Stage::on(NatsServer::builder().version(version).start().await.unwrap()).await).await;
        })
    };
    try_join!(run("2.10.26"), run("2.12.8"), run(NEWEST)).unwrap();
}

async fn proven(watch: &ForwardingWatch, sequence: u64) -> Forwarding {
    let is_proven = |seen: &Forwarding| seen.proven_up_to() == Some(sequence) && seen.behind() == Some(0);
    let proven = eventually("proven", || async { watch.look().await.unwrap() }, is_proven).await;
    assert!(!proven.is_stalled() && proven.behind_for().is_none(), "{proven:?}");
    proven
}

async fn stalled(watch: &ForwardingWatch) -> Forwarding {
    let stalled =
        eventually("stalled", || async { watch.look().await.unwrap() }, Forwarding::is_stalled).await;
    assert!(stalled.behind_for() >= Some(BOUND), "{stalled:?}");
    stalled
}

/// Looks for longer than the bound, with what was seen before and without.
async fn nothing_is_owed(stage: &Stage, known: &ForwardingWatch) {
    let fresh = watch(&EventBridge::new(stage.client.clone(), source()));
    let until = Instant::now() + BOUND + BOUND / 2;
    while Instant::now() < until {
        for watch in [known, &fresh] {
            let seen = watch.look().await.unwrap();
            assert!(!seen.is_stalled() && seen.behind_for().is_none(), "{seen}: {seen:?}");
        }
        sleep(Duration::from_millis(100)).await;
    }
}

async fn change(stage: &Stage, feed: Feed, change: impl FnOnce(&mut Config)) {
    let mut config = stage.stream(feed).await.cached_info().config.clone();
    change(&mut config);
    stage.context().update_stream(config).await.unwrap();
}

/// Stores an event in the origin whose message id Choco still knows. Returns the sequence.
async fn repeat(stage: &Stage, window: Duration) -> u64 {
    change(stage, Feed::Choco, |config| config.duplicate_window = window).await;
    change(stage, Feed::Strat, |config| config.duplicate_window = Duration::from_millis(100)).await;
    let context = stage.context();
    let publish = || async {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", "again");
        context.publish_with_headers(SUBJECT, headers, "{}".into()).await.unwrap().await.unwrap()
    };
    let first = publish().await.sequence;
    let choco = stage.stream(Feed::Choco).await;
    eventually("forwarded", || choco.get_raw_message(first), Result::is_ok).await.unwrap();
    eventually("repeat", publish, |ack| !ack.duplicate).await.sequence
}

async fn dropped_by_the_window(stage: Stage) {
    let watch = watch(&stage.bridge);
    let sequence = repeat(&stage, Duration::from_secs(8)).await;
    let stalled = stalled(&watch).await;
    assert_eq!((stalled.proven_up_to(), stalled.behind()), (Some(sequence - 1), Some(1)));
    assert!(!stalled.lacks_flow_control() && stalled.to_string().contains("is stalled for"), "{stalled}");
    // One server has nobody to step down for.
    let error = watch.heal().await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::Refused);
    assert_eq!(error.to_string(), "CHOCO_STRATT has one server and no other to lead it: restart nats-server");
    // The next event ends it: at once, or up to 2.11 when the window is over.
    stage.bridge.publish(published("a", 1)).await.unwrap();
    proven(&watch, sequence + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_the_window_drops_is_one_stall() {
    on_each(dropped_by_the_window).await;
}

async fn newest_deleted(stage: Stage) {
    let watch = watch(&stage.bridge);
    let sequence = repeat(&stage, Duration::from_mins(1)).await;
    eventually("behind", || async { watch.look().await.unwrap() }, |seen| seen.behind() == Some(1)).await;
    let events = stage.stream(Feed::Strat).await;
    events.delete_message(sequence).await.unwrap();
    nothing_is_owed(&stage, &watch).await;
    // One that was forwarded as well.
    events.delete_message(sequence - 1).await.unwrap();
    nothing_is_owed(&stage, &watch).await;
    assert_eq!(watch.look().await.unwrap().proven_up_to(), Some(sequence - 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_event_is_deleted_and_nothing_is_owed() {
    on_each(newest_deleted).await;
}

async fn purged_before(stage: Stage) {
    let watch = watch(&stage.bridge);
    repeat(&stage, Duration::from_mins(1)).await;
    eventually("behind", || async { watch.look().await.unwrap() }, |seen| seen.behind() == Some(1)).await;
    stage.stream(Feed::Strat).await.purge().await.unwrap();
    nothing_is_owed(&stage, &watch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_purged_before_it_is_forwarded_is_not_owed() {
    on_each(purged_before).await;
}

async fn choco_loses(stage: Stage) {
    let watch = watch(&stage.bridge);
    let mut sequence = 0;
    for kind in ["newest", "all", "aged"] {
        for _ in 0..3 {
            sequence = stage.bridge.publish(published("a", sequence + 1)).await.unwrap().sequence();
        }
        proven(&watch, sequence).await;
        let mut choco = stage.stream(Feed::Choco).await;
        match kind {
            "newest" => drop(choco.delete_message(choco.cached_info().state.last_sequence).await.unwrap()),
            "all" => drop(choco.purge().await.unwrap()),
            _ => {
                let age = Duration::from_millis(200);
                change(&stage, Feed::Choco, |config| {
                    (config.max_age, config.duplicate_window) = (age, age);
                })
                .await;
                let mut held = async || choco.info().await.unwrap().state.messages;
                while held().await > 0 {
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
        nothing_is_owed(&stage, &watch).await;
        assert_eq!(watch.look().await.unwrap().proven_up_to(), Some(sequence), "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_choco_has_lost_since_is_not_owed() {
    on_each(choco_loses).await;
}

async fn other_subjects(stage: Stage) {
    let watch = watch(&stage.bridge);
    let sequence = stage.bridge.publish(published("a", 1)).await.unwrap().sequence();
    proven(&watch, sequence).await;
    change(&stage, Feed::Strat, |config| config.subjects.push("other.>".into())).await;
    stage.context().publish("other.x", "{}".into()).await.unwrap().await.unwrap();
    nothing_is_owed(&stage, &watch).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_that_is_not_forwarded_is_not_owed() {
    on_each(other_subjects).await;
}

async fn recreated(stage: Stage) {
    let watch = watch(&stage.bridge);
    for number in 1..=3 {
        stage.bridge.publish(published("a", number)).await.unwrap();
    }
    proven(&watch, 3).await;
    let config = stage.stream(Feed::Strat).await.cached_info().config.clone();
    stage.context().delete_stream(EVENT_STREAM).await.unwrap();
    stage.context().create_stream(config).await.unwrap();
    assert_eq!(stage.bridge.publish(published("b", 4)).await.unwrap().sequence(), 1);
    let stalled = stalled(&watch).await;
    assert_eq!((stalled.proven_up_to(), stalled.behind()), (Some(0), Some(1)));
    // Another one, by provisioning, is behind the last that was forwarded, whichever it was.
    stage.context().delete_stream(EVENT_STREAM).await.unwrap();
    stage.bridge.provision(&Topology::default()).await.unwrap();
    let next = stage.bridge.publish(published("c", 5)).await.unwrap().sequence();
    assert!(next > 1, "{next}");
    proven(&watch, next).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_of_a_recreated_origin_are_proven_anew() {
    on_each(recreated).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_that_the_broker_does_not_report_is_found() {
    let server = NatsServer::builder().version("2.12.8").config(TWO_ACCOUNTS).start().await.unwrap();
    let (stratt, choco) = (bridge_of(server.url(), "stratt").await, bridge_of(server.url(), "choco").await);
    stall(&stratt, &choco, 1).await;
    let options = ForwardingOptions::default().with_interval(Duration::from_millis(100)).with_bound(BOUND);
    let watch = choco.watch_forwarding_from(&stratt, options);
    let running = watch.clone();
    let running = tokio::spawn(async move { running.run(std::future::pending()).await });
    let began = Instant::now();
    let is_stalled = |seen: &Option<Forwarding>| seen.as_ref().is_some_and(Forwarding::is_stalled);
    let seen = eventually("stalled", || async { watch.current() }, is_stalled).await.unwrap();
    // The looks begin some time before.
    assert!(began.elapsed() < 2 * BOUND, "{:?}", began.elapsed());
    assert!(seen.lag() < STALLING / 2 && seen.error().is_none(), "{seen:?}");
    assert!(seen.last_activity() < Some(BOUND), "{seen:?}");
    let proven = seen.proven_up_to().unwrap();
    assert!(proven > 200 && proven < 400 && seen.behind() == Some(STALLING - proven), "{seen}");
    running.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn constant_load_is_never_a_stall() {
    let stage = Stage::new().await;
    let watch = watch(&stage.bridge);
    let load = async {
        for number in 1.. {
            stage.bridge.publish(published("a", number)).await.unwrap();
        }
    };
    let look = async {
        let until = Instant::now() + 3 * BOUND;
        while Instant::now() < until {
            let seen = watch.look().await.unwrap();
            assert!(!seen.is_stalled() && seen.proven_up_to().is_some(), "{seen}");
        }
    };
    tokio::select! { () = load => {}, () = look => {} }
}
