//! Forwarding in a cluster of three under load, while its leaders are killed and step down, or all of it is: no false
//! alarm, and every event in Choco once, compared one by one.

use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, DeliverPolicy, pull},
};
use futures::TryStreamExt;
use std::{env, error::Error, time::Duration};
use stratt_event_bridge::{
    BridgeOptions, EventBridge, Feed, async_nats,
    testing::NatsServer,
    topology::{CHOCO_STREAM, EVENT_STREAM, ForwardingOptions, Topology},
};
use support::{ClusterStage, Load, eventually, source};
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
            println!("alarm: {forwarding}, healed: {:?}", watch.heal().await);
        }
        was_stalled = forwarding.is_stalled();
    }
    seen
}

/// The events that both streams had, compared one by one, and purged, so that a long run needs no large disk.
#[derive(Debug, Default)]
struct Compared {
    /// The sequence at the origin of the newest.
    last: u64,
    /// The next sequence of the stream of each feed.
    next: [u64; 2],
    events: usize,
    bytes: usize,
}

impl Compared {
    /// Compares what came since the last call.
    async fn go_on(&mut self, stage: &ClusterStage) {
        let last = stage.stream(Feed::Strat).await.cached_info().state.last_sequence;
        if last == std::mem::replace(&mut self.last, last) {
            return;
        }
        let mut both = Vec::new();
        for (feed, next) in [Feed::Strat, Feed::Choco].into_iter().zip(&mut self.next) {
            let deadline = Duration::from_mins(3);
            let read = timeout(deadline, events(stage, feed, *next, last)).await;
            let (end, bytes, events) = read.expect("events are left behind");
            *next = end;
            self.bytes += bytes;
            both.push(events);
        }
        let (choco, origin) = (both.pop().unwrap(), both.pop().unwrap());
        assert!(origin == choco, "{} events of {} are in Choco", choco.len(), origin.len());
        self.events += origin.len();
        for (feed, next) in [Feed::Strat, Feed::Choco].into_iter().zip(self.next) {
            // All but the newest, which is what the proof of forwarding looks at.
            stage.stream(feed).await.purge().sequence(next - 1).await.unwrap();
        }
    }
}

/// Reads the events of a feed up to the one with the sequence `last` at the origin. Returns where the stream goes on,
/// the bytes, and sequence at the origin and message id of each event.
async fn events(stage: &ClusterStage, feed: Feed, from: u64, last: u64) -> (u64, usize, Vec<(u64, String)>) {
    let mut next = from.max(1);
    let (mut bytes, mut events) = (0, Vec::new());
    while events.last().is_none_or(|(at, _)| *at < last) {
        // A consumer without replicas may go with its server: the next one goes on behind what was read.
        let Ok(batch) = batch(stage, feed, next).await else {
            sleep(Duration::from_millis(250)).await;
            continue;
        };
        for message in batch {
            let headers = message.headers.as_ref().unwrap();
            let sequence = message.info().unwrap().stream_sequence;
            let at = match headers.get("Nats-Stream-Source") {
                Some(source) => source.as_str().split(' ').nth(1).unwrap().parse().unwrap(),
                None => sequence,
            };
            if at > last {
                break;
            }
            next = sequence + 1;
            bytes += message.payload.len();
            events.push((at, headers.get("Nats-Msg-Id").unwrap().to_string()));
        }
    }
    (next, bytes, events)
}

/// Reads what is there from a sequence on, at most so much that it is held in memory.
async fn batch(
    stage: &ClusterStage,
    feed: Feed,
    from: u64,
) -> Result<Vec<jetstream::Message>, Box<dyn Error + Send + Sync>> {
    let read = pull::Config {
        ack_policy: AckPolicy::None,
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: from },
        inactive_threshold: Duration::from_secs(10),
        ..pull::Config::default()
    };
    let consumer = stage.stream(feed).await.create_consumer(read).await?;
    let batch = consumer.fetch().max_messages(2000).messages().await?;
    batch.try_collect().await
}

/// Kills the leader of a stream, pauses it, or lets it step down.
async fn disturb(stage: &mut ClusterStage, round: u32) {
    let stream = if round.is_multiple_of(2) { CHOCO_STREAM } else { EVENT_STREAM };
    let led = stage.server.stream_leader(stream).await.unwrap();
    match round % 6 {
        0 | 1 => {
            stage.server.nodes_mut()[led].kill();
            sleep(Duration::from_secs(3)).await;
            stage.server.restart_killed().await.unwrap();
        }
        2 | 3 => {
            let request = format!("$JS.API.STREAM.LEADER.STEPDOWN.{stream}");
            stage.client.request(request, "".into()).await.unwrap();
            sleep(Duration::from_secs(2)).await;
        }
        _ => {
            stage.server.nodes()[led].pause().unwrap();
            sleep(Duration::from_secs(6)).await;
            stage.server.nodes()[led].resume().unwrap();
        }
    }
    for stream in [EVENT_STREAM, CHOCO_STREAM] {
        stage.server.wait_until_healthy(stream).await.unwrap();
    }
}

/// Publishes events that are larger than usual by `more` bytes while `work` is done again and again, compares each, and
/// returns what was seen of forwarding meanwhile.
async fn under_load(
    mut stage: ClusterStage,
    more: usize,
    rounds: u32,
    work: impl AsyncFn(&mut ClusterStage, u32),
) -> Seen {
    let options = BridgeOptions::default().with_retry_budget(Duration::from_secs(100));
    let bridge = EventBridge::with_options(stage.client.clone(), source(), options);
    let mut load = Load::paced(&bridge, 32, Duration::from_millis(10), more);
    let (over, is_over) = tokio::sync::watch::channel(false);
    let watching = tokio::spawn(watch(stage.bridge.clone(), move || *is_over.borrow()));
    let began = Instant::now();
    let mut compared = Compared::default();
    for round in 0..rounds {
        work(&mut stage, round).await;
        compared.go_on(&stage).await;
    }
    let took = began.elapsed();
    let acknowledged = load.stop().await;
    compared.go_on(&stage).await;
    let left = || async {
        let forwarding = timeout(Duration::from_secs(5), stage.bridge.forwarding()).await.ok()?.ok()?;
        forwarding.behind()
    };
    eventually("left behind", left, |left| *left == Some(0)).await;
    over.send(true).unwrap();
    let seen = watching.await.unwrap();
    let rate = compared.bytes / 2 / usize::try_from(took.as_secs().max(1)).unwrap() / 1000;
    println!("{took:?}, {} events, {rate} kB/s: {seen:?}", acknowledged.len());
    assert_eq!(compared.events, acknowledged.len());
    seen
}

fn setting(name: &str, default: u32) -> u32 {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some minutes; `STRATT_FAULTS` is the number of faults"]
async fn thirty_lost_leaders_are_no_alarm_and_lose_nothing() {
    let stage = ClusterStage::on_cluster().await;
    let seen = under_load(stage, 0, setting("STRATT_FAULTS", 30), disturb).await;
    assert_eq!(seen.alarms, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes half an hour; `STRATT_FAULTS` is the number of faults, `STRATT_BYTES` what is added to an event"]
async fn two_hundred_faults_of_a_busy_cluster_lose_nothing() {
    let more = usize::try_from(setting("STRATT_BYTES", 16 * 1024)).unwrap();
    let stage = ClusterStage::on_cluster().await;
    let seen = under_load(stage, more, setting("STRATT_FAULTS", 200), disturb).await;
    assert!(seen.longest_behind < 2 * BOUND, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some minutes; `STRATT_FAULTS` is the number of faults"]
async fn they_lose_nothing_with_a_durable_source() {
    let stage = ClusterStage::on_cluster().await;
    let topology = Topology::default().with_replicas(3).with_durable_source(true);
    stage.bridge.provision(&topology).await.unwrap();
    assert_eq!(under_load(stage, 0, setting("STRATT_FAULTS", 30), disturb).await.alarms, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes as many minutes as `STRATT_MINUTES` says, ten by default"]
async fn minutes_of_constant_load_are_no_alarm() {
    let wait = async |_: &mut ClusterStage, _| sleep(Duration::from_mins(1)).await;
    let stage = ClusterStage::on_cluster().await;
    assert_eq!(under_load(stage, 0, setting("STRATT_MINUTES", 10), wait).await.alarms, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute or two, as long as the broker waits before it forwards again"]
async fn an_outage_of_all_nodes_is_no_alarm_before_the_bound() {
    let outage = async |stage: &mut ClusterStage, _| {
        sleep(Duration::from_secs(2)).await;
        stage.server.nodes_mut().iter_mut().for_each(NatsServer::kill);
        sleep(Duration::from_secs(5)).await;
        stage.server.restart_killed().await.unwrap();
        for stream in [EVENT_STREAM, CHOCO_STREAM] {
            stage.server.wait_until_healthy(stream).await.unwrap();
        }
        sleep(Duration::from_secs(2)).await;
    };
    let seen = under_load(ClusterStage::on_cluster().await, 0, 1, outage).await;
    assert!(seen.earliest_alarm.is_none_or(|behind_for| behind_for >= BOUND), "{seen:?}");
}
