//! The health of the broker's forwarding to Choco: when it works, when it stops, and when it works again.

use async_nats::{
    ConnectOptions,
    jetstream::{
        self,
        stream::{Config, External, Source, SubjectTransform},
    },
};
use futures::StreamExt;
use std::time::Duration;
use stratt_event_bridge::{
    ConnectionWatch, Envelope, EventBridge, Feed, async_nats,
    testing::NatsServer,
    topology::{
        CHOCO_STREAM, EVENT_STREAM, Forwarding, ForwardingOptions, StreamSettings, Topology,
        TopologyErrorKind,
    },
};
use support::{Effects, NEWEST, Running, Stage, eventually, published, source};

async fn forwarding(stage: &Stage) -> Forwarding {
    stage.bridge.forwarding().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_origin_is_seen_and_later_events_are_handled() {
    let stage = Stage::on_newest().await;
    let effects = Effects::default();
    let consumer = stage.consumer("choco").feed(Feed::Choco).on(effects.handler());
    let running = Running::start(consumer.build().await.unwrap());
    let first = stage.bridge.publish(published("a", 1)).await.unwrap();
    let is_healthy = |seen: &Forwarding| !seen.is_stalled() && seen.last_activity().is_some();
    let healthy = eventually("healthy", || forwarding(&stage), is_healthy).await;
    assert_eq!((healthy.lag(), healthy.error()), (0, None));

    stage.context().delete_stream(EVENT_STREAM).await.unwrap();
    let watch =
        stage.bridge.watch_forwarding(ForwardingOptions::default().with_bound(Duration::from_secs(6)));
    let looked = || async { watch.look().await.unwrap() };
    let stalled = eventually("stalled", looked, Forwarding::is_stalled).await;
    assert_eq!(stalled.to_string(), "STRATT_EVENTS does not exist: provision the topology");
    assert!(stalled.last_activity() > Some(Duration::from_secs(5)), "{stalled:?}");
    let told = eventually("error", || forwarding(&stage), |seen| seen.error().is_some()).await;
    assert_eq!(told.error(), Some("stream not found"));

    stage.bridge.provision(&Topology::default()).await.unwrap();
    let second = stage.bridge.publish(published("b", 2)).await.unwrap();
    assert_eq!(second.sequence(), 2);
    eventually("healthy again", looked, |seen| seen.proven_up_to() == Some(2) && !seen.is_stalled()).await;
    effects.are_each_once(&[(1, first), (2, second)]).await;
    stage.all_answered(Feed::Choco, "choco").await;
    assert_eq!(running.stop().await.handled, 2);
}

/// The number of events after which forwarding stalls.
pub const STALLING: u64 = 2000;

/// Choco in an account of its own, without the import of the flow control.
pub const TWO_ACCOUNTS: &str = r#"accounts {
    STRATT { jetstream: enabled, users: [{ user: stratt, password: pw }], exports: [
        { service: "$JS.API.CONSUMER.CREATE.STRATT_EVENTS.*.strat.>", accounts: [CHOCO] }
        { stream: "deliver.choco.>", accounts: [CHOCO] } ] }
    CHOCO { jetstream: enabled, users: [{ user: choco, password: pw }], imports: [
        { service: { account: STRATT, subject: "$JS.API.CONSUMER.CREATE.STRATT_EVENTS.*.strat.>" },
          to: "STRATT.JS.API.CONSUMER.CREATE.STRATT_EVENTS.*.strat.>" }
        { stream: { account: STRATT, subject: "deliver.choco.>" } } ] } }"#;

/// Returns a bridge as this user of a server with `TWO_ACCOUNTS`.
pub async fn bridge_of(url: &str, user: &str) -> EventBridge {
    let options = ConnectOptions::with_user_and_password(user.into(), "pw".into());
    EventBridge::new(options.connect(url).await.unwrap(), source())
}

/// Creates the streams of both accounts, and publishes more than the broker sends without flow control.
pub async fn stall(stratt: &EventBridge, choco: &EventBridge, replicas: usize) {
    let topology = Topology::default().with_replicas(replicas).without_choco();
    eventually("provisioning", || stratt.provision(&topology), Result::is_ok).await.unwrap();
    let origin = Source {
        name: EVENT_STREAM.into(),
        external: Some(External {
            api_prefix: "STRATT.JS.API".into(),
            delivery_prefix: Some("deliver.choco".into()),
        }),
        subject_transforms: vec![SubjectTransform {
            source: "strat.>".into(),
            destination: "choco.strat.>".into(),
        }],
        ..Source::default()
    };
    let config = Config {
        name: CHOCO_STREAM.into(),
        sources: Some(vec![origin]),
        num_replicas: replicas,
        ..Config::default()
    };
    let context = jetstream::new(choco.client().clone());
    eventually("stream of Choco", || context.create_stream(config.clone()), Result::is_ok).await.unwrap();
    let large = |number| published("a", number).with_actor("x".repeat(8 * 1024));
    let envelopes = (1..=STALLING).map(|number| Envelope::builder(large(number), source()).build().unwrap());
    let receipts = stratt.publish_all(futures::stream::iter(envelopes));
    let stored = receipts.filter(|receipt| std::future::ready(receipt.is_ok())).count().await;
    assert_eq!(stored as u64, STALLING);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_says_of_a_source_that_stalls_is_passed_on() {
    let server = NatsServer::builder().version(NEWEST).config(TWO_ACCOUNTS).start().await.unwrap();
    let (stratt, choco) = (bridge_of(server.url(), "stratt").await, bridge_of(server.url(), "choco").await);
    stall(&stratt, &choco, 1).await;
    let watch = choco.watch_forwarding(ForwardingOptions::default().with_bound(Duration::from_secs(2)));
    let seen = || async { watch.look().await.unwrap() };
    let stalled = eventually("error", seen, |seen| seen.error().is_some() && seen.is_stalled()).await;
    assert!(stalled.lacks_flow_control() && stalled.proven_up_to().is_none(), "{stalled}");
    // The lag proves nothing: the broker may report 0 for a source that stalls.
    assert!(stalled.is_stalled(), "{stalled:?}");
    assert!(stalled.error().unwrap().contains("flow control"), "{stalled:?}");
}

#[tokio::test]
async fn forwarding_that_is_not_set_up_is_an_error_that_says_so() {
    let server = NatsServer::start().await.unwrap();
    let bridge = EventBridge::new(server.connect().await.unwrap(), source());
    assert_eq!(bridge.forwarding().await.unwrap_err().kind(), TopologyErrorKind::NotFound);
    let unfed = Config { name: CHOCO_STREAM.into(), subjects: vec!["x".into()], ..Config::default() };
    jetstream::new(bridge.client().clone()).create_stream(unfed).await.unwrap();
    let error = bridge.forwarding().await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::Mismatch);
    assert_eq!(error.to_string(), "CHOCO_STRATT has no source STRATT_EVENTS: provision the topology");
}

/// Up to 2.14, the broker continues at its position in the old stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recreated_origin_is_seen_and_can_be_cured() {
    let server = NatsServer::builder().version("2.14.6").start().await.unwrap();
    let bridge = EventBridge::new(server.connect().await.unwrap(), source());
    bridge.provision(&Topology::default()).await.unwrap();
    let context = jetstream::new(bridge.client().clone());
    let forwarded =
        || async { context.get_stream(CHOCO_STREAM).await.unwrap().cached_info().state.last_sequence };
    for number in 1..=3 {
        bridge.publish(published("a", number)).await.unwrap();
    }
    eventually("forwarded", forwarded, |last| *last == 3).await;
    let seen = || async { bridge.forwarding().await.unwrap() };
    let healthy = eventually("healthy", seen, |seen| !seen.is_stalled()).await;
    assert_eq!(healthy.skips_new_origin(), Some(false));

    // Not by provisioning, which would let its sequences go on.
    let config = context.get_stream(EVENT_STREAM).await.unwrap().cached_info().config.clone();
    context.delete_stream(EVENT_STREAM).await.unwrap();
    context.create_stream(config).await.unwrap();
    assert_eq!(bridge.publish(published("b", 4)).await.unwrap().sequence(), 1);
    let active = |seen: &Forwarding| seen.last_activity() < Some(Duration::from_secs(5));
    let is_skipped = |seen: &Forwarding| active(seen) && seen.skips_new_origin() == Some(true);
    let skipped = eventually("skipped", seen, is_skipped).await;
    assert_eq!((skipped.lag(), skipped.error(), forwarded().await), (0, None, 3));
    assert_eq!((skipped.proven_up_to(), skipped.behind()), (Some(0), Some(1)));
    let watch = bridge.watch_forwarding(ForwardingOptions::default().with_bound(Duration::from_secs(2)));
    eventually("stalled", || async { watch.look().await.unwrap() }, Forwarding::is_stalled).await;

    context.delete_stream(CHOCO_STREAM).await.unwrap();
    bridge.provision(&Topology::default()).await.unwrap();
    eventually("forwarded", forwarded, |last| *last == 1).await;
    let cured = eventually("cured", seen, |seen| !seen.is_stalled()).await;
    assert_eq!(cured.skips_new_origin(), Some(false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_may_not_read_the_origin_is_told_the_rest() {
    let users = r#"authorization { users: [ { user: admin, password: pw }
        { user: watcher, password: pw, permissions: { publish: "$JS.API.STREAM.INFO.CHOCO_STRATT" } } ] }"#;
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let connect = |user: &str, watch: &ConnectionWatch| {
        let options = ConnectOptions::with_user_and_password(user.into(), "pw".into());
        options.event_callback(watch.callback()).connect(server.url().to_owned())
    };
    let watch = ConnectionWatch::new();
    let admin = EventBridge::new(connect("admin", &ConnectionWatch::new()).await.unwrap(), source());
    let watched =
        EventBridge::new(connect("watcher", &watch).await.unwrap(), source()).with_connection_watch(watch);
    let client = connect("watcher", &ConnectionWatch::new()).await.unwrap();
    admin.provision(&Topology::default()).await.unwrap();
    admin.publish(published("a", 1)).await.unwrap();
    for bridge in [watched, EventBridge::new(client, source())] {
        let seen = || async { bridge.forwarding().await.unwrap() };
        let seen = eventually("known", seen, |seen| seen.skips_new_origin().is_none()).await;
        assert!(!seen.is_stalled() && seen.lag() == 0 && seen.proven_up_to().is_none(), "{seen:?}");
        assert_eq!(seen.to_string(), "forwarding seems to work, without a proof: lag 0, no error");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_stream_of_choco_is_named() {
    let stage = Stage::on_newest().await;
    let two = StreamSettings::default().with_max_messages(2);
    stage.bridge.provision(&Topology::default().with_choco(two)).await.unwrap();
    for number in 1..=2 {
        stage.bridge.publish(published("fits", number)).await.unwrap();
    }
    let full = eventually("full", || forwarding(&stage), |seen| seen.behind() == Some(0)).await;
    assert!(full.is_choco_full());
    assert!(!full.to_string().contains("is full"), "nothing is owed: {full}");
    stage.bridge.publish(published("too-many", 3)).await.unwrap();
    let owed = eventually("owed", || forwarding(&stage), |seen| seen.behind() == Some(1)).await;
    assert!(owed.to_string().contains("CHOCO_STRATT is full: raise its limits"), "{owed}");
    stage.bridge.provision(&Topology::default()).await.unwrap();
    let goes_on = eventually("forwarded", || forwarding(&stage), |seen| seen.behind() == Some(0)).await;
    assert!(!goes_on.is_choco_full());
}
