//! Brokers that are killed, frozen or retired, one of them or all. Acknowledged events are stored once, and callers
//! notice no more than a delay.

use async_nats::jetstream::consumer::pull;
use futures::future::join_all;
use std::time::Duration;
use stratt_event_bridge::{
    BridgeOptions, EventBridge, Feed, PublishReceipt, async_nats,
    topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM},
};
use support::{ClusterStage, Effects, Load, Running, Stage, eventually, published, short, source};
use tokio::time::{Instant, sleep, timeout_at};

/// The time limit for a cluster to elect a leader and continue.
const RESUMES_WITHIN: Duration = Duration::from_secs(15);
/// The time limit of a publish while brokers retire. It usually takes a tenth of a second, and 1 s is promised. On a
/// busy machine one attempt (5 s) may be lost; a second lost attempt would be a fault.
const RETIRED_WITHIN: Duration = Duration::from_secs(9);
/// The pause of publishers between two events, so that the servers have their share of the machine.
const PAUSE: Duration = Duration::from_millis(10);
const PUBLISHERS: usize = 8;
const AFTER: u64 = u64::MAX;
const PUBLISHES_AT_ONCE: u64 = 500;

/// A consumer on a cluster, under load, with its effects.
struct UnderLoad {
    stage: ClusterStage,
    effects: Effects,
    running: Running,
    load: Load,
}

impl UnderLoad {
    async fn start() -> Self {
        let stage = ClusterStage::on_cluster().await;
        // It is longer than a busy machine needs for all elections of a test, and shorter than the duplicate window.
        let options = BridgeOptions::default().with_retry_budget(Duration::from_secs(100));
        let bridge = EventBridge::with_options(stage.client.clone(), source(), options);
        let effects = Effects::default();
        let consumer = stage.consumer("survivor").options(short()).on(effects.handler());
        let running = Running::start(consumer.build().await.unwrap());
        let load = Load::paced(&bridge, PUBLISHERS, PAUSE, 0);
        effects.exceed(200).await;
        Self { stage, effects, running, load }
    }

    /// Checks that one more event is published in one call and handled, both within the time limit of a cluster.
    async fn goes_on(&self) -> (u64, PublishReceipt) {
        let deadline = Instant::now() + RESUMES_WITHIN;
        let publish = self.stage.bridge.publish(published("after", AFTER));
        let receipt = timeout_at(deadline, publish).await.expect("publishing does not resume").unwrap();
        let handled =
            eventually("effect", || async { self.effects.contain(AFTER) }, |is_handled| *is_handled);
        assert!(timeout_at(deadline, handled).await.expect("consuming does not resume"));
        (AFTER, receipt)
    }

    /// Checks that nothing is lost, stored twice, handled twice, or left over.
    async fn end(mut self, more: impl IntoIterator<Item = (u64, PublishReceipt)>) {
        let mut acknowledged = self.load.stop().await;
        acknowledged.extend(more);
        self.stage.server.restart_killed().await.unwrap();
        for stream in [EVENT_STREAM, CHOCO_STREAM, DEAD_LETTER_STREAM] {
            self.stage.server.wait_until_healthy(stream).await.unwrap();
        }
        self.effects.are_each_once(&acknowledged).await;
        self.stage.all_answered(Feed::Strat, "survivor").await;
        self.stage.stored_once(&acknowledged).await;
        assert!(self.stage.dead_letters().await.is_empty());
        let summary = self.running.stop().await;
        assert_eq!(summary.handled, acknowledged.len() as u64, "{summary:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_stream_leader_is_killed_and_a_publish_waits() {
    let mut test = UnderLoad::start().await;
    let leader = test.stage.server.stream_leader(EVENT_STREAM).await.unwrap();
    test.stage.server.nodes_mut()[leader].kill();
    let after = test.goes_on().await;
    test.end([after]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_lost_with_a_killed_leader_is_made_again() {
    let mut test = UnderLoad::start().await;
    let before = test.load.stop().await;
    test.stage.all_answered(Feed::Strat, "survivor").await;
    let stream = test.stage.stream(Feed::Strat).await;
    let waiting =
        || async { stream.get_consumer::<pull::Config>("survivor").await.unwrap().cached_info().num_waiting };
    // Two where the room of the consumer is shared between an older request and a later one.
    eventually("open requests", waiting, |waiting| *waiting > 0).await;
    let leader = test.stage.server.consumer_leader(EVENT_STREAM, "survivor").await.unwrap();
    test.stage.server.nodes_mut()[leader].kill();
    let after = test.goes_on().await;
    test.end(before.into_iter().chain([after])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_repeated_in_a_frozen_leader_is_stored_once() {
    let test = UnderLoad::start().await;
    let leader = test.stage.server.stream_leader(EVENT_STREAM).await.unwrap();
    let options = BridgeOptions::default().with_attempt_timeout(Duration::from_millis(300));
    let hasty = EventBridge::with_options(test.stage.client.clone(), source(), options);
    test.stage.server.nodes()[leader].pause().unwrap();
    let repeated = tokio::spawn(async move { hasty.publish(published("after", AFTER)).await.unwrap() });
    // Shorter than the election of a new leader by the others.
    sleep(Duration::from_secs(3)).await;
    test.stage.server.nodes()[leader].resume().unwrap();
    let repeated = repeated.await.unwrap();
    test.end([(AFTER, repeated)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_wakes_up_after_it_was_replaced_does_no_harm() {
    let test = UnderLoad::start().await;
    let cluster = &test.stage.server;
    let frozen = cluster.stream_leader(EVENT_STREAM).await.unwrap();
    cluster.nodes()[frozen].pause().unwrap();
    let leader = || async { cluster.stream_leader(EVENT_STREAM).await.unwrap() };
    eventually("leader", leader, |leader| *leader != frozen).await;
    cluster.nodes()[frozen].resume().unwrap();
    let after = test.goes_on().await;
    test.end([after]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_brokers_killed_at_once_keep_what_was_acknowledged() {
    let mut test = UnderLoad::start().await;
    for node in test.stage.server.nodes_mut() {
        node.kill();
    }
    test.stage.server.restart_killed().await.unwrap();
    let after = test.goes_on().await;
    test.end([after]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_retire_in_turn_and_no_publish_takes_long() {
    let mut test = UnderLoad::start().await;
    for node in 0..3 {
        test.stage.server.nodes_mut()[node].lame_duck().await.unwrap();
        test.stage.server.restart_killed().await.unwrap();
        for stream in [EVENT_STREAM, CHOCO_STREAM, DEAD_LETTER_STREAM] {
            test.stage.server.wait_until_healthy(stream).await.unwrap();
        }
    }
    let slowest = test.load.slowest();
    assert!(slowest < RETIRED_WITHIN, "a publish took {slowest:?}");
    test.end([]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_kill_left_unknown_is_published_again_and_stored_once() {
    let mut stage = Stage::new().await;
    let options = BridgeOptions::default()
        .with_attempt_timeout(Duration::from_millis(200))
        .with_retry_budget(Duration::from_millis(400));
    let bridge = EventBridge::with_options(stage.client.clone(), source(), options);
    // Publishes until the first failure, so that the kill meets publishes on their way however fast the server is.
    let publish = |first: u64| {
        let bridge = bridge.clone();
        tokio::spawn(async move {
            let (mut stored, mut number) = (Vec::new(), first);
            loop {
                match bridge.publish(published("a", number)).await {
                    Ok(receipt) => stored.push((number, receipt)),
                    Err(error) => return (stored, number, error),
                }
                number += PUBLISHES_AT_ONCE;
            }
        })
    };
    let publishers: Vec<_> = (0..PUBLISHES_AT_ONCE).map(publish).collect();
    let stream = stage.stream(Feed::Strat).await;
    let stored = || async { stream.get_info().await.unwrap().state.messages };
    eventually("stored", stored, |stored| *stored > 50).await;
    stage.server.kill();
    let mut acknowledged = Vec::new();
    let mut unknown = Vec::new();
    for outcome in join_all(publishers).await {
        let (stored, number, error) = outcome.unwrap();
        assert!(error.is_outcome_unknown(), "{error:?}");
        acknowledged.extend(stored);
        unknown.push(number);
    }
    stage.server.restart().await.unwrap();
    for number in unknown {
        acknowledged.push((number, stage.bridge.publish(published("a", number)).await.unwrap()));
    }
    stage.stored_once(&acknowledged).await;
}
