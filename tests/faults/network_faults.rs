//! Networks that lose answers, fall silent or cut connections. Callers get their error in time, and nothing is lost or
//! handled twice.

use futures::future::join_all;
use std::time::Duration;
use stratt_event_bridge::{
    BridgeOptions, ConsumerOptions, EventBridge, Feed, PublishErrorKind,
    async_nats::{self, Client, ConnectOptions, connection::State},
    testing::{Direction, FaultProxy},
    topology::{StreamSettings, Topology},
};
use support::{Effects, Running, Stage, eventually, published, short, source};
use tokio::time::{Instant, timeout};

/// Twice the heartbeat of an open request: a consumer that was cut off continues within this time.
const RESUMES_WITHIN: Duration = Duration::from_secs(4);
/// A length between those of a PING and of the shortest acknowledgement of a publish.
const ACKNOWLEDGEMENT: usize = 64;

/// A client that reaches the server of the stage through a network that fails on demand.
struct Remote {
    proxy: FaultProxy,
    client: Client,
    bridge: EventBridge,
}

impl Remote {
    async fn new(stage: &Stage) -> Self {
        let proxy = FaultProxy::start(stage.server.url()).await.unwrap();
        let client = ConnectOptions::new()
            .ignore_discovered_servers()
            .reconnect_delay_callback(|_attempt| Duration::from_millis(20))
            .ping_interval(Duration::from_millis(500))
            .connect(proxy.url())
            .await
            .unwrap();
        let options = BridgeOptions::default().with_attempt_timeout(Duration::from_millis(300));
        let bridge = EventBridge::with_options(client.clone(), source(), options);
        Self { proxy, client, bridge }
    }

    fn with_budget(&self, budget: Duration) -> EventBridge {
        let options = BridgeOptions::default()
            .with_attempt_timeout(Duration::from_millis(300))
            .with_retry_budget(budget);
        EventBridge::with_options(self.client.clone(), source(), options)
    }

    async fn consumer(&self, stage: &Stage, effects: &Effects, options: ConsumerOptions) -> Running {
        let consumer = self.bridge.consumer("remote", stage.store.clone()).options(options);
        Running::start(consumer.on(effects.handler()).build().await.unwrap())
    }

    async fn swallowed(&self, direction: Direction, bytes: usize) {
        eventually("swallowed", || async { self.proxy.swallowed(direction) }, |seen| *seen >= bytes).await;
    }
}

async fn stored(stage: &Stage, count: u64) {
    let stream = stage.stream(Feed::Strat).await;
    let messages = || async { stream.get_info().await.unwrap().state.messages };
    eventually("stored", messages, |stored| *stored == count).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_after_a_lost_answer_names_the_stored_event() {
    let stage = Stage::new().await;
    let remote = Remote::new(&stage).await;
    remote.proxy.swallow(Direction::ToClient);
    let bridge = remote.bridge.clone();
    let publish = tokio::spawn(async move { bridge.publish(published("a", 1)).await });
    stored(&stage, 1).await;
    remote.swallowed(Direction::ToClient, ACKNOWLEDGEMENT).await;
    remote.proxy.heal();
    let receipt = publish.await.unwrap().unwrap();
    assert_eq!((receipt.sequence(), receipt.is_duplicate()), (1, true));
    // The connection ends in the middle of the acknowledgement.
    remote.proxy.cut_after(Direction::ToClient, ACKNOWLEDGEMENT / 2);
    let receipt = remote.bridge.publish(published("a", 2)).await.unwrap();
    assert_eq!((receipt.sequence(), receipt.is_duplicate()), (2, true));
    // The connection ends in the middle of the event, of which the server stores no half.
    remote.proxy.cut_after(Direction::ToServer, ACKNOWLEDGEMENT);
    let receipt = remote.bridge.publish(published("a", 3)).await.unwrap();
    assert_eq!((receipt.sequence(), receipt.is_duplicate()), (3, false));
    stored(&stage, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_after_the_duplicate_window_is_handled_once() {
    let stage = Stage::new().await;
    let remote = Remote::new(&stage).await;
    let window = StreamSettings::default().with_duplicate_window(Duration::from_secs(1));
    let hasty = remote.with_budget(Duration::from_millis(700));
    hasty.provision(&Topology::default().with_events(window)).await.unwrap();
    remote.proxy.swallow(Direction::ToClient);
    let error = hasty.publish(published("a", 1)).await.unwrap_err();
    assert!(error.kind() == PublishErrorKind::TimedOut && error.is_outcome_unknown(), "{error:?}");
    remote.proxy.heal();
    let again = || async { stage.bridge.publish(published("a", 1)).await.unwrap() };
    let receipt = eventually("receipt", again, |receipt| !receipt.is_duplicate()).await;
    assert_eq!(receipt.sequence(), 2);
    let effects = Effects::default();
    let consumer = hasty.consumer("remote", stage.store.clone()).options(short()).on(effects.handler());
    let running = Running::start(consumer.build().await.unwrap());
    effects.are_each_once(&[(1, receipt)]).await;
    stage.all_answered(Feed::Strat, "remote").await;
    let summary = running.stop().await;
    assert_eq!((summary.handled, summary.duplicates), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_ack_leads_to_no_second_effect() {
    let stage = Stage::new().await;
    let remote = Remote::new(&stage).await;
    let effects = Effects::default();
    let running = remote.consumer(&stage, &effects, short()).await;
    let stream = stage.stream(Feed::Strat).await;
    let waiting = || async {
        let info = stream.get_consumer::<async_nats::jetstream::consumer::pull::Config>("remote").await;
        info.unwrap().cached_info().num_waiting
    };
    eventually("open requests", waiting, |waiting| *waiting == 1).await;
    remote.proxy.swallow(Direction::ToServer);
    let receipt = stage.bridge.publish(published("a", 1)).await.unwrap();
    effects.are_each_once(&[(1, receipt.clone())]).await;
    remote.swallowed(Direction::ToServer, "PUB $JS.ACK. +ACK".len()).await;
    remote.proxy.heal();
    stage.all_answered(Feed::Strat, "remote").await;
    effects.are_each_once(&[(1, receipt)]).await;
    let summary = running.stop().await;
    assert_eq!((summary.received, summary.handled, summary.duplicates), (2, 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_network_holds_up_no_caller_and_consuming_resumes() {
    let stage = Stage::new().await;
    let remote = Remote::new(&stage).await;
    let effects = Effects::default();
    let running = remote.consumer(&stage, &effects, short()).await;
    let mut receipts = vec![(1, remote.bridge.publish(published("a", 1)).await.unwrap())];
    effects.are_each_once(&receipts).await;
    remote.proxy.blackhole();
    let begun = Instant::now();
    let error = remote.with_budget(Duration::from_secs(1)).publish(published("a", 2)).await.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(error.kind() == PublishErrorKind::TimedOut && error.is_outcome_unknown(), "{error:?}");
    // Delivered into the silence.
    receipts.push((3, stage.bridge.publish(published("b", 3)).await.unwrap()));
    remote.swallowed(Direction::ToClient, ACKNOWLEDGEMENT).await;
    remote.proxy.heal();
    let healed = Instant::now();
    receipts.push((4, stage.bridge.publish(published("c", 4)).await.unwrap()));
    eventually("effect", || async { effects.contain(4) }, |is_handled| *is_handled).await;
    assert!(healed.elapsed() < RESUMES_WITHIN, "{:?}", healed.elapsed());
    receipts.push((2, remote.bridge.publish(published("a", 2)).await.unwrap()));
    effects.are_each_once(&receipts).await;
    stage.stored_once(&receipts).await;
    stage.all_answered(Feed::Strat, "remote").await;
    assert_eq!(running.stop().await.handled, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_is_replaced_while_a_publish_waits() {
    let stage = Stage::new().await;
    let remote = Remote::new(&stage).await;
    let effects = Effects::default();
    let running = remote.consumer(&stage, &effects, short()).await;
    let mut receipts = vec![(1, remote.bridge.publish(published("a", 1)).await.unwrap())];
    effects.are_each_once(&receipts).await;
    remote.proxy.orphan();
    receipts.push((2, remote.bridge.publish(published("b", 2)).await.unwrap()));
    effects.are_each_once(&receipts).await;
    stage.stored_once(&receipts).await;
    stage.all_answered(Feed::Strat, "remote").await;
    assert_eq!(running.stop().await.handled, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_clients_come_back_after_a_restart_and_go_on() {
    const CLIENTS: u64 = 300;
    let mut stage = Stage::new().await;
    let effects = Effects::default();
    let mut bridges = Vec::new();
    let mut running = Vec::new();
    for _ in 0..CLIENTS {
        let bridge = EventBridge::new(async_nats::connect(stage.server.url()).await.unwrap(), source());
        let consumer = bridge.consumer("storm", stage.store.clone()).options(short().with_max_in_flight(2));
        running.push(Running::start(consumer.on(effects.handler()).build().await.unwrap()));
        bridges.push(bridge);
    }
    let publish_from_all = |first: u64| {
        let publishes = bridges.iter().zip(first..).map(|(bridge, number)| async move {
            (number, bridge.publish(published(&format!("unit-{number}"), number)).await.unwrap())
        });
        join_all(publishes)
    };
    let mut receipts = publish_from_all(0).await;
    effects.are_each_once(&receipts).await;
    stage.server.kill();
    let connected = || async {
        bridges.iter().filter(|bridge| bridge.client().connection_state() == State::Connected).count()
    };
    eventually("connected", connected, |connected| *connected == 0).await;
    stage.server.restart().await.unwrap();
    receipts.extend(publish_from_all(CLIENTS).await);
    eventually("connected", connected, |connected| *connected as u64 == CLIENTS).await;
    effects.are_each_once(&receipts).await;
    stage.stored_once(&receipts).await;
    stage.all_answered(Feed::Strat, "storm").await;
    let summaries = timeout(Duration::from_secs(40), join_all(running.into_iter().map(Running::stop)));
    let handled: u64 = summaries.await.unwrap().iter().map(|summary| summary.handled).sum();
    assert_eq!(handled, 2 * CLIENTS);
}
