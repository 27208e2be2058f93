//! Faults of the server or its streams are reported at the start, before an event is touched.

use async_nats::jetstream::{
    self,
    stream::{Config, DiscardPolicy, RetentionPolicy},
};
use futures::StreamExt;
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    BridgeOptions, ConsumeErrorKind, ConsumerBuilder, Delivery, EventBridge, Feed, UnitPublished, async_nats,
    dedupe::MemoryStore,
    topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM, Topology, TopologyErrorKind},
};
use support::{Stage, eventually, published, quick, source};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const DAY: Duration = Duration::from_hours(24);

fn consumer(bridge: &EventBridge, feed: Feed) -> ConsumerBuilder {
    let builder = bridge.consumer("c", Arc::new(MemoryStore::new())).feed(feed).options(quick());
    builder.on(|_: Delivery<UnitPublished>| async { Ok(()) })
}

async fn config(stage: &Stage, stream: &str) -> Config {
    stage.context().get_stream(stream).await.unwrap().cached_info().config.clone()
}

/// Changes a stream as an operator would, and checks that a consumer is refused for it.
async fn is_unfit(stage: &Stage, stream: &str, change: impl Fn(&mut Config), says: &str) {
    let right = config(stage, stream).await;
    let mut changed = right.clone();
    change(&mut changed);
    stage.context().update_stream(&changed).await.unwrap();
    let error = consumer(&stage.bridge, Feed::Choco).build().await.unwrap_err();
    assert_eq!(error.kind(), ConsumeErrorKind::UnfitStream, "{error}");
    assert!(error.to_string().contains(stream) && error.to_string().contains(says), "{error}");
    let nobody = stage.stream(Feed::Choco).await.consumer_info("c").await;
    assert!(nobody.is_err(), "the durable was created all the same");
    stage.context().update_stream(&right).await.unwrap();
}

#[tokio::test]
async fn streams_that_drop_or_forget_the_unseen_are_refused() {
    let stage = Stage::new().await;
    let drops = |config: &mut Config| {
        (config.discard, config.max_messages) = (DiscardPolicy::Old, 2);
    };
    for stream in [CHOCO_STREAM, DEAD_LETTER_STREAM] {
        is_unfit(&stage, stream, drops, "discards old messages").await;
        let by_size =
            |config: &mut Config| (config.discard, config.max_bytes) = (DiscardPolicy::Old, 1 << 20);
        is_unfit(&stage, stream, by_size, "discards old messages").await;
        is_unfit(&stage, stream, |config| config.max_messages_per_subject = 1, "discards old messages").await;
    }
    let shorter = |config: &mut Config| config.max_age = DAY;
    is_unfit(&stage, DEAD_LETTER_STREAM, shorter, "keeps messages for 86400s, but CHOCO_STRATT for 2592000s")
        .await;
    let longer = |config: &mut Config| config.max_age = Duration::ZERO;
    is_unfit(&stage, CHOCO_STREAM, longer, "but CHOCO_STRATT without limit").await;
    let brief = |config: &mut Config| config.duplicate_window = Duration::from_secs(15);
    is_unfit(&stage, DEAD_LETTER_STREAM, brief, "duplicate window of 15s").await;

    // Discarding old ones is fine without a size limit, and discarding new ones with one.
    for (discard, limit) in [(DiscardPolicy::Old, -1), (DiscardPolicy::New, 1000)] {
        let mut right = config(&stage, CHOCO_STREAM).await;
        (right.discard, right.max_messages) = (discard, limit);
        stage.context().update_stream(&right).await.unwrap();
        drop(consumer(&stage.bridge, Feed::Choco).build().await.unwrap());
    }
}

#[tokio::test]
async fn a_stream_that_removes_acknowledged_messages_is_refused() {
    let stage = Stage::new().await;
    stage.context().delete_stream(EVENT_STREAM).await.unwrap();
    let queue = Config {
        name: EVENT_STREAM.into(),
        subjects: vec!["strat.>".into()],
        retention: RetentionPolicy::WorkQueue,
        max_age: DAY,
        ..Config::default()
    };
    stage.context().create_stream(queue).await.unwrap();
    let error = consumer(&stage.bridge, Feed::Strat).build().await.unwrap_err();
    assert_eq!(error.kind(), ConsumeErrorKind::UnfitStream);
    assert!(error.to_string().contains("STRATT_EVENTS has retention WorkQueue"), "{error}");
}

#[tokio::test]
async fn a_retry_budget_beyond_the_duplicate_window_is_refused() {
    let stage = Stage::new().await;
    let patient = BridgeOptions::default().with_retry_budget(Duration::from_mins(2));
    let patient = EventBridge::with_options(stage.client.clone(), source(), patient);
    let error = consumer(&patient, Feed::Strat).build().await.unwrap_err();
    assert_eq!(error.kind(), ConsumeErrorKind::UnfitStream);
    assert!(error.to_string().contains("duplicate window of 120s, not longer than"), "{error}");
}

#[tokio::test]
async fn a_limit_for_each_subject_is_a_difference_and_is_taken_away() {
    let stage = Stage::new().await;
    let mut limited = config(&stage, EVENT_STREAM).await;
    limited.max_messages_per_subject = 1;
    stage.context().update_stream(&limited).await.unwrap();
    let error = stage.bridge.verify(&Topology::default()).await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::Mismatch);
    assert_eq!(error.to_string(), "STRATT_EVENTS: max_messages_per_subject is 1, wanted none");
    stage.bridge.provision(&Topology::default()).await.unwrap();
    for number in 1..=2 {
        stage.bridge.publish(published("a", number)).await.unwrap();
    }
    assert_eq!(stage.stream(Feed::Strat).await.cached_info().state.messages, 2);
}

/// Starts a server that claims to be 2.9: the first line of every connection is changed on its way.
async fn of_version_2_9(server: String) -> (JoinSet<()>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let mut relay = JoinSet::new();
    relay.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let server = server.clone();
            connections.spawn(async move {
                let upstream = TcpStream::connect(server.trim_start_matches("nats://")).await.unwrap();
                let (mut upstream, mut info) = (BufReader::new(upstream), String::new());
                upstream.read_line(&mut info).await.unwrap();
                let (before, after) = info.split_once(r#""version":""#).unwrap();
                let (_, after) = after.split_once('"').unwrap();
                let told = format!(r#"{before}"version":"2.9.25"{after}"#);
                client.write_all(told.as_bytes()).await.unwrap();
                let _closed = copy_bidirectional(&mut client, &mut upstream).await;
            });
        }
    });
    (relay, url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_too_old_for_the_settings_is_refused_untouched() {
    let server = stratt_event_bridge::testing::NatsServer::start().await.unwrap();
    let (_relay, url) = of_version_2_9(server.url().to_owned()).await;
    let bridge = EventBridge::new(async_nats::connect(url).await.unwrap(), source());
    let topology = Topology::default();
    for refused in [bridge.provision(&topology).await, bridge.verify(&topology).await] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), TopologyErrorKind::UnsupportedServer);
        assert_eq!(error.to_string(), "nats-server 2.9.25 is too old: 2.10 or newer is needed");
    }
    assert_eq!(jetstream::new(bridge.client().clone()).stream_names().count().await, 0);
    let error = consumer(&bridge, Feed::Strat).build().await.unwrap_err();
    assert_eq!(error.kind(), ConsumeErrorKind::UnsupportedServer);
    assert_eq!(error.to_string(), "nats-server 2.9.25 is too old for a consumer: 2.10 or newer is needed");
}

#[tokio::test]
async fn a_server_without_jetstream_is_told_as_that() {
    let stage = Stage::new().await;
    let program = std::fs::read_link(format!("/proc/{}/exe", stage.server.pid().unwrap())).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut plain = tokio::process::Command::new(program);
    plain.args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir"]).arg(folder.path());
    let _plain = plain.stderr(std::process::Stdio::null()).kill_on_drop(true).spawn().unwrap();
    let url = || async {
        let file = std::fs::read_dir(folder.path()).unwrap().next()?.unwrap().path();
        let ports: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).ok()?;
        Some(ports["nats"][0].as_str()?.to_owned())
    };
    let url = eventually("started", url, Option::is_some).await.unwrap();
    let bridge = EventBridge::new(async_nats::connect(url).await.unwrap(), source());
    let error = bridge.provision(&Topology::default()).await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::Unavailable);
    assert_eq!(error.to_string(), "server has no JetStream: start nats-server with `-js`");
}
