//! The status of a bridge and of a consumer, with and without a broker.

use async_nats::connection::State;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use stratt_event_bridge::{
    ConsumerPhase, ConsumerStatus, Delivery, EventBridge, Feed, HandlerError, StreamStatus, UnitDeprecated,
    UnitPublished, async_nats,
    topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM, Forwarding},
};
use support::{Faulty, Running, Stage, deprecated, eventually, published, quick};
use tokio::{sync::Semaphore, time::timeout};

/// Far longer than a status may take.
const NEVER: Duration = Duration::from_secs(4);

#[tokio::test]
async fn a_status_has_connection_streams_forwarding_and_letters() {
    let stage = Stage::new().await;
    let builder =
        stage.consumer("c").on(|_: Delivery<UnitDeprecated>| async { Err(HandlerError::reject("never")) });
    let running = Running::start(builder.build().await.unwrap());
    let receipt = stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.bridge.publish(deprecated("b", 2)).await.unwrap();
    let status = eventually(
        "status",
        || stage.bridge.status(),
        |status| {
            let is_stalled = status.forwarding().is_none_or(Forwarding::is_stalled);
            let forwarded = status.stream(CHOCO_STREAM).map(|state| state.messages);
            !is_stalled && status.dead_letters() == Some(1) && forwarded == Some(2)
        },
    )
    .await;
    assert!(
        status.is_connected() && status.connection() == State::Connected && status.is_jetstream_reachable()
    );
    let info = stage.client.server_info();
    assert_eq!(status.server_name(), Some(info.server_name.as_str()));
    assert_eq!(status.server_version(), Some(info.version.as_str()));
    let names: Vec<_> = status.streams().iter().map(StreamStatus::name).collect();
    assert_eq!(names, [EVENT_STREAM, CHOCO_STREAM, DEAD_LETTER_STREAM]);
    let events = status.stream(EVENT_STREAM).unwrap();
    assert_eq!((events.messages, events.first_sequence), (2, receipt.sequence()));
    assert!(events.last_sequence == 2 && events.bytes > 500);
    assert_eq!(status.forwarding().unwrap().lag(), 0);
    running.stop().await;

    stage.context().delete_stream(CHOCO_STREAM).await.unwrap();
    let status = stage.bridge.status().await;
    assert!(status.streams()[1].is_missing() && status.stream(CHOCO_STREAM).is_none());
    assert!(status.is_jetstream_reachable() && status.forwarding().is_none());
}

#[tokio::test]
async fn a_status_comes_in_time_when_the_broker_is_silent_or_dead() {
    let mut stage = Stage::new().await;
    let (proxy, bridge) = stage.through_proxy(Duration::from_secs(1)).await;
    proxy.blackhole();
    let status = timeout(NEVER, bridge.status()).await.unwrap();
    assert!(!status.is_jetstream_reachable() && status.dead_letters().is_none());
    assert!(status.streams().iter().all(|stream| stream.state().is_none() && !stream.is_missing()));

    stage.server.kill();
    let disconnected = || async { stage.bridge.client().connection_state() };
    eventually("disconnected", disconnected, |state| *state != State::Connected).await;
    let asked = Instant::now();
    let status = timeout(NEVER, stage.bridge.status()).await.unwrap();
    assert!(!status.is_connected() && !status.is_jetstream_reachable() && status.forwarding().is_none());
    // The last server is still named.
    assert!(status.server_version().is_some() && asked.elapsed() < NEVER);
    stage.server.restart().await.unwrap();
    let status = eventually("status", || stage.bridge.status(), |status| status.dead_letters().is_some());
    assert!(status.await.is_jetstream_reachable());
}

#[tokio::test]
async fn a_consumer_tells_how_it_is_doing_from_its_start_to_its_end() {
    let mut stage = Stage::new().await;
    let (store, gate) = (Arc::new(Faulty::default()), Arc::new(Semaphore::new(0)));
    let passes = gate.clone();
    let builder = stage.bridge.consumer("c", store.clone()).options(quick().with_max_in_flight(2));
    let builder = builder.on(move |d: Delivery<UnitPublished>| {
        let gate = passes.clone();
        async move {
            gate.acquire().await?.forget();
            if d.event().uri.slug() == "poison" { Err(HandlerError::reject("never")) } else { Ok(()) }
        }
    });
    for (slug, number) in [("poison", 1), ("a", 2), ("b", 3), ("c", 4), ("d", 5)] {
        stage.bridge.publish(published(slug, number)).await.unwrap();
    }
    let consumer = builder.build().await.unwrap();
    let monitor = consumer.monitor();
    let status = monitor.status();
    assert_eq!((status.phase(), status.is_working(), status.pending()), (ConsumerPhase::Built, false, None));
    let running = Running::start(consumer);
    let now = || async { monitor.status() };
    let status =
        eventually("two in flight", now, |status| status.in_flight() == 2 && status.pending().is_some());
    let status = status.await;
    assert!(status.phase() == ConsumerPhase::Running && status.is_working() && status.is_store_up());
    assert!(status.last_told().is_some() && status.counts().received == 2);
    let told = eventually("lag", now, |status| (status.pending(), status.unanswered()) == (Some(3), Some(2)));
    assert_eq!(told.await.dead_letters(), 0);

    gate.add_permits(Semaphore::MAX_PERMITS / 2);
    let done = |status: &ConsumerStatus| status.counts().handled == 4 && status.dead_letters() == 1;
    let status = eventually("done", now, done).await;
    assert_eq!((status.counts().rejected, status.in_flight()), (1, 0));
    eventually("no lag", now, |status| status.pending() == Some(0)).await;

    store.is_down(true);
    stage.bridge.publish(published("e", 6)).await.unwrap();
    let status = eventually("store down", now, |status| !status.is_store_up()).await;
    assert!(status.is_connected() && !status.is_working());
    store.is_down(false);
    eventually("store up", now, |status| status.is_working() && status.counts().handled == 5).await;

    stage.server.kill();
    let status = eventually("away", now, |status| !status.is_connected()).await;
    assert!(!status.is_working() && status.counts().handled == 5);
    stage.server.restart().await.unwrap();
    eventually("back", now, ConsumerStatus::is_working).await;
    let summary = running.stop().await;
    let status = monitor.status();
    assert_eq!((status.phase(), status.counts(), status.in_flight()), (ConsumerPhase::Ended, summary, 0));
}

#[tokio::test]
async fn a_consumer_that_is_dropped_has_ended() {
    let stage = Stage::new().await;
    let builder =
        stage.consumer("c").feed(Feed::Strat).on(|_: Delivery<UnitPublished>| std::future::pending());
    let consumer = builder.build().await.unwrap();
    let monitor = consumer.monitor();
    stage.bridge.publish(published("a", 1)).await.unwrap();
    let task = tokio::spawn(consumer.run(std::future::pending()));
    eventually("in flight", || async { monitor.status().in_flight() }, |held| *held == 1).await;
    task.abort();
    eventually(
        "ended",
        || async { monitor.status() },
        |s| s.phase() == ConsumerPhase::Ended && s.in_flight() == 0,
    )
    .await;
}

#[tokio::test]
async fn a_bridge_that_never_was_connected_says_so() {
    let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
    let client = options.connect("nats://127.0.0.1:1").await.unwrap();
    let status = timeout(NEVER, EventBridge::new(client, support::source()).status()).await.unwrap();
    assert!(!status.is_connected() && status.server_name().is_none());
}
