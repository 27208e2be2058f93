//! A sweeper that ends although its broker does not answer.

use async_nats::{ConnectOptions, jetstream::consumer::pull};
use std::time::Duration;
use stratt_event_bridge::{
    EventBridge, Feed, async_nats,
    dead_letter::{SweepError, SweepSummary, Sweeper},
    topology::{ADVISORY_STREAM, StreamSettings},
};
use support::{Stage, eventually, source};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};

const A_FEW_SECONDS: Duration = Duration::from_secs(6);

type Sweeping = JoinHandle<Result<SweepSummary, SweepError>>;

fn start(sweeper: Sweeper) -> (oneshot::Sender<()>, Sweeping) {
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async move {
        let _stopped_or_dropped = stopped.await;
    };
    (stop, tokio::spawn(async move { sweeper.run(shutdown).await }))
}

async fn ends(stop: oneshot::Sender<()>, sweeping: Sweeping) -> SweepSummary {
    stop.send(()).expect("the sweeper ended by itself");
    timeout(A_FEW_SECONDS, sweeping).await.expect("it waits for the broker").unwrap().unwrap()
}

/// Returns a sweeper over a client with little room for commands.
async fn sweeper(stage: &Stage) -> (async_nats::Client, Sweeper) {
    let client = ConnectOptions::new().client_capacity(16).connect(stage.server.url()).await.unwrap();
    let sweeper = EventBridge::new(client.clone(), source()).sweeper(Feed::Strat);
    sweeper.provision(&StreamSettings::default()).await.unwrap();
    (client, sweeper)
}

/// Waits until the sweeper asks for advisories.
async fn asks(stage: &Stage) {
    let waiting = || async {
        let stream = stage.context().get_stream(ADVISORY_STREAM).await.unwrap();
        let durable = stream.get_consumer::<pull::Config>("sweeper-STRATT_EVENTS").await;
        durable.map_or(0, |durable| durable.cached_info().num_waiting)
    };
    eventually("asking", waiting, |waiting| *waiting > 0).await;
}

async fn away(stage: &mut Stage, client: &async_nats::Client) {
    stage.server.kill();
    let state = || async { client.connection_state().to_string() };
    eventually("connection lost", state, |state| state != "connected").await;
    // Nothing empties the command channel of a disconnected client.
    let full = async { while client.publish("strat.dev.x", "".into()).await.is_ok() {} };
    assert!(timeout(Duration::from_secs(1), full).await.is_err(), "the client is closed");
}

#[tokio::test]
async fn of_a_frozen_broker_it_ends_whenever_it_is_asked_to() {
    let stage = Stage::new().await;
    // While it requests advisories, after that failed, and while it recreates its durable.
    for frozen_for in [0, 4, 8].map(Duration::from_secs) {
        let (_client, sweeper) = sweeper(&stage).await;
        let (stop, sweeping) = start(sweeper);
        asks(&stage).await;
        stage.server.pause().unwrap();
        sleep(frozen_for).await;
        ends(stop, sweeping).await;
        stage.server.resume().unwrap();
    }
}

#[tokio::test]
async fn of_a_broker_that_was_frozen_at_its_start_it_ends() {
    let stage = Stage::new().await;
    let (_client, sweeper) = sweeper(&stage).await;
    stage.server.pause().unwrap();
    let (stop, sweeping) = start(sweeper);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(ends(stop, sweeping).await, SweepSummary::default());
}

#[tokio::test]
async fn a_client_that_is_away_and_full_does_not_hold_it() {
    let mut stage = Stage::new().await;
    let (client, sweeper) = sweeper(&stage).await;
    let (stop, sweeping) = start(sweeper.clone());
    asks(&stage).await;
    away(&mut stage, &client).await;
    ends(stop, sweeping).await;
    let (stop, sweeping) = start(sweeper);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(ends(stop, sweeping).await, SweepSummary::default());
}
