//! The duplicate window of Choco: shorter than that of the events, so that a real repeat is forwarded although the
//! first event was forwarded late.

use async_nats::jetstream::{self, stream::RawMessageErrorKind};
use std::time::Duration;
use stratt_event_bridge::{
    BridgeOptions, EventBridge,
    testing::NatsServer,
    topology::{CHOCO_STREAM, StreamSettings, Topology, TopologyErrorKind},
};
use support::{Stage, eventually, published, source};
use tokio::time::sleep;

const WINDOW: Duration = Duration::from_secs(6);

fn events(window: Duration) -> StreamSettings {
    StreamSettings::default().with_duplicate_window(window)
}

async fn window_of_choco(bridge: &EventBridge) -> Duration {
    let context = jetstream::new(bridge.client().clone());
    context.get_stream(CHOCO_STREAM).await.unwrap().cached_info().config.duplicate_window
}

#[tokio::test]
async fn the_window_of_choco_is_shorter_than_that_of_the_events() {
    let stage = Stage::new().await;
    let week = StreamSettings::default().with_max_age(Duration::from_hours(7 * 24));
    for (origin, window) in [(120, 60), (300, 60), (60, 30)] {
        let topology = Topology::default().with_events(events(Duration::from_secs(origin)));
        let topology = topology.with_choco(week.clone());
        stage.bridge.provision(&topology).await.unwrap();
        assert_eq!(window_of_choco(&stage.bridge).await, Duration::from_secs(window));
        stage.bridge.verify(&topology).await.unwrap();
    }
    // A window that is set stays, and one as long as that of the events is refused.
    let topology = Topology::default().with_choco(events(Duration::from_secs(90)));
    stage.bridge.provision(&topology).await.unwrap();
    assert_eq!(window_of_choco(&stage.bridge).await, Duration::from_secs(90));
    let equal = Topology::default().with_choco(events(Duration::from_mins(2)));
    let error = stage.bridge.provision(&equal).await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::InvalidSettings);
    let says =
        "CHOCO_STRATT has a duplicate window of 120s, which must be shorter than the 120s of STRATT_EVENTS";
    assert!(error.to_string().contains(says), "{error}");
}

/// Publishes an event that is forwarded after a third of the window, and publishes it again after the window.
async fn a_repeat_is_forwarded(server: NatsServer) {
    let options = BridgeOptions::default().with_retry_budget(WINDOW / 2);
    let bridge = EventBridge::with_options(server.connect().await.unwrap(), source(), options);
    let topology = Topology::default().with_events(events(WINDOW));
    // As if Choco were away, or its server were catching up.
    bridge.provision(&topology.clone().without_choco()).await.unwrap();
    bridge.publish(published("a", 1)).await.unwrap();
    sleep(WINDOW / 3).await;
    bridge.provision(&topology).await.unwrap();
    let choco = jetstream::new(bridge.client().clone()).get_stream(CHOCO_STREAM).await.unwrap();
    let forwarded = |sequence| {
        let choco = choco.clone();
        move || {
            let choco = choco.clone();
            async move {
                match choco.get_raw_message(sequence).await {
                    Ok(message) => Some(message),
                    Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => None,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    };
    eventually("first", forwarded(1), Option::is_some).await;
    let again = || async { bridge.publish(published("a", 1)).await.unwrap() };
    let again = eventually("stored again", again, |receipt| !receipt.is_duplicate()).await;
    let origin = jetstream::new(bridge.client().clone()).get_stream(again.stream()).await.unwrap();
    let origin = origin.get_raw_message(again.sequence()).await.unwrap();
    let repeat = eventually("repeat", forwarded(2), Option::is_some).await.unwrap();
    let delay = repeat.time - origin.time;
    // With a window of the same length, it would wait for the rest of it, a third.
    assert!(delay < time::Duration::seconds(1), "forwarding stalled for {delay}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_is_forwarded_although_the_first_was_late() {
    a_repeat_is_forwarded(NatsServer::start().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarding_does_not_stall_on_nats_server_2_10_and_2_11() {
    let on = async |version| NatsServer::builder().version(version).start().await.unwrap();
    let (oldest, old) = (on("2.10.26").await, on("2.11.11").await);
    tokio::join!(a_repeat_is_forwarded(oldest), a_repeat_is_forwarded(old));
}
