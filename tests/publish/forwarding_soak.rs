//! Forwarding in a cluster of three under load, while its leaders are killed and step down: no false alarm, and every
//! event in Choco once, compared one by one.

use async_nats::jetstream::consumer::{AckPolicy, pull};
use futures::TryStreamExt;
use std::{env, time::Duration};
use stratt_event_bridge::{
    BridgeOptions, EventBridge, Feed, async_nats,
    topology::{CHOCO_STREAM, EVENT_STREAM, ForwardingOptions},
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
}

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
        seen.longest_behind = seen.longest_behind.max(forwarding.behind_for().unwrap_or_default());
        if forwarding.is_stalled() && !was_stalled {
            seen.alarms += 1;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes some minutes; `STRATT_FAULTS` is the number of faults"]
async fn thirty_lost_leaders_are_no_alarm_and_lose_nothing() {
    let faults = env::var("STRATT_FAULTS").map_or(30, |faults| faults.parse().unwrap());
    let mut stage = ClusterStage::on_cluster().await;
    let options = BridgeOptions::default().with_retry_budget(Duration::from_secs(100));
    let bridge = EventBridge::with_options(stage.client.clone(), source(), options);
    let mut load = Load::paced(&bridge, 32, Duration::from_millis(10));
    let (over, is_over) = tokio::sync::watch::channel(false);
    let watching = tokio::spawn(watch(stage.bridge.clone(), move || *is_over.borrow()));
    let began = Instant::now();
    for round in 0..faults {
        disturb(&mut stage, round).await;
    }
    let acknowledged = load.stop().await;
    let took = began.elapsed();
    let left = || async {
        let forwarding = timeout(Duration::from_secs(5), stage.bridge.forwarding()).await.ok()?.ok()?;
        forwarding.behind()
    };
    eventually("left", left, |left| *left == Some(0)).await;
    over.send(true).unwrap();
    let seen = watching.await.unwrap();
    let (origin, choco) = (events(&stage, Feed::Strat).await, events(&stage, Feed::Choco).await);
    println!("{faults} faults in {took:?}, {} events: {seen:?}", acknowledged.len());
    assert_eq!(origin.len(), acknowledged.len());
    assert!(origin == choco, "{} events of {} are in Choco", choco.len(), origin.len());
    assert_eq!(seen.alarms, 0);
}
