//! Forwarding in a cluster of three under load, while its leaders are killed and step down, or all of it is: no false
//! alarm, and every event in Choco once, compared one by one.

use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures::TryStreamExt;
use std::{env, time::Duration};
use stratt_event_bridge::{
    BridgeOptions, EventBridge, Feed, async_nats,
    testing::NatsServer,
    topology::{CHOCO_STREAM, EVENT_STREAM, ForwardingOptions, Topology},
};
use support::{ClusterStage, Load, source};
use tokio::time::{Instant, sleep, timeout};

/// The record of a watch of forwarding.
#[derive(Debug, Default)]
struct Seen {
    looks: u32,
    unanswered: u32,
    alarms: u32,
    longest_behind: Duration,
    /// The time that forwarding was behind at the earliest alarm.
    earliest_alarm: Option<Duration>,
}

/// The bound that is the default.
const BOUND: Duration = Duration::from_mins(1);

async fn watch(bridge: EventBridge, is_over: impl Fn() -> bool) -> Seen {
    let watch = bridge.watch_forwarding(ForwardingOptions::default());
    let (mut seen, mut was_stalled) = (Seen::default(), false);
    while !is_over() {
        sleep(Duration::from_millis(250)).await;
        seen.looks += 1;
        let Ok(forwarding) = watch.look().await else {
            seen.unanswered += 1;
            continue;
        };
        let behind_for = forwarding.behind_for().unwrap_or_default();
        seen.longest_behind = seen.longest_behind.max(behind_for);
        if forwarding.is_stalled() && !was_stalled {
            seen.alarms += 1;
            seen.earliest_alarm = Some(seen.earliest_alarm.map_or(behind_for, |least| least.min(behind_for)));
            println!("alarm: {forwarding}");
        }
        was_stalled = forwarding.is_stalled();
    }
    seen
}

/// Returns sequence and message id of each event of the origin, as they are there or as Choco has them.
async fn events(stage: &ClusterStage, feed: Feed) -> Vec<(u64, String)> {
    let stream = stage.stream(feed).await;
    let held = usize::try_from(stream.cached_info().state.messages).unwrap();
    let read = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
    let consumer = stream.create_consumer(read).await.unwrap();
    let mut events = Vec::with_capacity(held);
    while events.len() < held {
        let batch = consumer.batch().max_messages(1000).expires(Duration::from_secs(5)).messages().await;
        let batch: Vec<_> = batch.unwrap().try_collect().await.unwrap();
        events.extend(batch.iter().map(|message| {
            let headers = message.headers.as_ref().unwrap();
            let sequence = match headers.get("Nats-Stream-Source") {
                Some(source) => source.as_str().split(' ').nth(1).unwrap().parse().unwrap(),
                None => message.info().unwrap().stream_sequence,
            };
            (sequence, headers.get("Nats-Msg-Id").unwrap().to_string())
        }));
    }
    events
}

/// Kills the leader of a stream, or lets it step down.
async fn disturb(stage: &mut ClusterStage, round: u32) {
    let stream = if round.is_multiple_of(2) { CHOCO_STREAM } else { EVENT_STREAM };
    if round % 4 < 2 {
        let led = stage.server.stream_leader(stream).await.unwrap();
        stage.server.nodes_mut()[led].kill();
        sleep(Duration::from_secs(3)).await;
        stage.server.restart_killed().await.unwrap();
    } else {
        let request = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
        stage.client.request(request, "".into()).await.unwrap();
        sleep(Duration::from_secs(2)).await;
    }
    for stream in [EVENT_STREAM, CHOCO_STREAM] {
        stage.server.wait_until_healthy(stream).await.unwrap();
    }
}

/// Publishes while `work` is done, compares each event, and returns what was seen of forwarding meanwhile.
async fn under_load(mut stage: ClusterStage, work: impl AsyncFnOnce(&mut ClusterStage)) -> Seen {
    let options = BridgeOptions::default().with_retry_budget(Duration::from_secs(100));
    let bridge = EventBridge::with_options(stage.client.clone(), source(), options);
    let more = usize::try_from(setting("STRATT_BYTES", 0)).unwrap();
    let mut load = Load::paced(&bridge, 32, Duration::from_millis(10), more);
    let (over, is_over) = tokio::sync::watch::channel(false);
    let watching = tokio::spawn(watch(stage.bridge.clone(), move || *is_over.borrow()));
    let began = Instant::now();
    work(&mut stage).await;
    let acknowledged = load.stop().await;
    let took = began.elapsed();
    let left = || async {
        let forwarding = timeout(Duration::from_secs(5), stage.bridge.forwarding()).await.ok()?.ok()?;
        forwarding.behind()
    };
    // After an outage of a whole cluster the broker takes its time before it forwards again.
    let all_forwarded = async {
        while left().await != Some(0) {
            sleep(Duration::from_millis(250)).await;
        }
    };
    timeout(Duration::from_mins(3), all_forwarded).await.expect("events are left behind");
    over.send(true).unwrap();
    let seen = watching.await.unwrap();
    let (origin, choco) = (events(&stage, Feed::Strat).await, events(&stage, Feed::Choco).await);
    let bytes = stage.stream(Feed::Strat).await.cached_info().state.bytes;
    let rate = bytes / took.as_secs().max(1) / 1000;
    println!("{took:?}, {} events, {rate} kB/s: {seen:?}", acknowledged.len());
    assert_eq!(origin.len(), acknowledged.len());
    assert!(origin == choco, "{} events of {} are in Choco", choco.len(), origin.len());
    seen
}

async fn lose_leaders(stage: &mut ClusterStage) {
    for round in 0..setting("STRATT_FAULTS", 30) {
        disturb(stage, round).await;
    }
}

fn setting(name: &str, default: u32) -> u32 {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some minutes; `STRATT_FAULTS` is the number of faults, `STRATT_BYTES` enlarges events"]
async fn thirty_lost_leaders_are_no_alarm_and_lose_nothing() {
    let seen = under_load(ClusterStage::on_cluster().await, lose_leaders).await;
    assert_eq!(seen.alarms, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some minutes; `STRATT_FAULTS` is the number of faults"]
async fn they_lose_nothing_with_a_durable_source() {
    let stage = ClusterStage::on_cluster().await;
    let topology = Topology::default().with_replicas(3).with_durable_source(true);
    stage.bridge.provision(&topology).await.unwrap();
    assert_eq!(under_load(stage, lose_leaders).await.alarms, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes as many minutes as `STRATT_MINUTES` says, ten by default"]
async fn minutes_of_constant_load_are_no_alarm() {
    let length = Duration::from_mins(1) * setting("STRATT_MINUTES", 10);
    let wait = async |_: &mut ClusterStage| sleep(length).await;
    assert_eq!(under_load(ClusterStage::on_cluster().await, wait).await.alarms, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute or two, as long as the broker waits before it forwards again"]
async fn an_outage_of_all_nodes_is_no_alarm_before_the_bound() {
    let outage = async |stage: &mut ClusterStage| {
        sleep(Duration::from_secs(2)).await;
        stage.server.nodes_mut().iter_mut().for_each(NatsServer::kill);
        sleep(Duration::from_secs(5)).await;
        stage.server.restart_killed().await.unwrap();
        for stream in [EVENT_STREAM, CHOCO_STREAM] {
            stage.server.wait_until_healthy(stream).await.unwrap();
        }
        sleep(Duration::from_secs(2)).await;
    };
    let seen = under_load(ClusterStage::on_cluster().await, outage).await;
    assert!(seen.earliest_alarm.is_none_or(|behind_for| behind_for >= BOUND), "{seen:?}");
}
