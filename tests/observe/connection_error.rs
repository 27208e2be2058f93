//! The reason of a lost connection, in the status and in the errors of what fails without a connection.

use async_nats::ConnectOptions;
use std::{error::Error, time::Duration};
use stratt_event_bridge::{
    BridgeOptions, ConnectionWatch, EventBridge, PublishErrorKind, async_nats,
    testing::NatsServer,
    topology::{Topology, TopologyErrorKind},
};
use support::{Stage, eventually, published, source};

const USERS: &str = "authorization { users: [ { user: service, password: first } ] }";

async fn connect(server: &NatsServer) -> EventBridge {
    let watch = ConnectionWatch::new();
    let options = ConnectOptions::with_user_and_password("service".into(), "first".into())
        .reconnect_delay_callback(|_attempt| Duration::from_millis(20))
        .event_callback(watch.callback());
    let client = options.connect(server.url()).await.unwrap();
    let options = BridgeOptions::default()
        .with_attempt_timeout(Duration::from_millis(200))
        .with_retry_budget(Duration::from_millis(500));
    EventBridge::with_options(client, source(), options).with_connection_watch(watch)
}

/// Changes the configuration as an operator would: writes the file and has the server reload it.
fn change_password(server: &NatsServer, from: &str, to: &str) {
    let file = server.folder().join("nats-server.conf");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains(from));
    std::fs::write(&file, text.replace(from, to)).unwrap();
    let pid = server.pid().unwrap().to_string();
    assert!(std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
}

fn cause(error: &impl Error) -> String {
    error.source().expect("a cause").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_was_changed_is_the_cause_of_what_fails() {
    let server = NatsServer::builder().config(USERS).start().await.unwrap();
    let bridge = connect(&server).await;
    bridge.provision(&Topology::default()).await.unwrap();
    bridge.publish(published("a", 1)).await.unwrap();
    assert_eq!(bridge.status().await.connection_error(), None);

    change_password(&server, "password: first", "password: second");
    let told = || async { bridge.status().await.connection_error().map(str::to_owned) };
    eventually("told", told, |told| told.as_deref() == Some("authorization violation")).await;
    let lost = "connection to the broker is lost: authorization violation";
    let error = bridge.publish(published("a", 2)).await.unwrap_err();
    assert_eq!((error.kind(), error.is_outcome_unknown()), (PublishErrorKind::TimedOut, true));
    assert_eq!(cause(&error), lost);
    let envelopes = futures::stream::iter([published("a", 3), published("a", 4)]);
    let envelopes = futures::StreamExt::map(envelopes, |event| {
        stratt_event_bridge::Envelope::builder(event, source()).build().unwrap()
    });
    let outcomes: Vec<_> = futures::StreamExt::collect(bridge.publish_all(envelopes)).await;
    for outcome in outcomes {
        assert_eq!(cause(&outcome.unwrap_err()), lost);
    }
    assert!(!format!("{error:?}").contains("first"), "{error:?}");

    change_password(&server, "password: second", "password: first");
    eventually("told", told, Option::is_none).await;
    eventually("published", || bridge.publish(published("a", 5)), Result::is_ok).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_built_without_a_connection_says_why_there_is_none() {
    let server = NatsServer::builder().config(USERS).start().await.unwrap();
    let watch = ConnectionWatch::new();
    let options = ConnectOptions::with_user_and_password("service".into(), "wrong".into())
        .retry_on_initial_connect()
        .event_callback(watch.callback());
    let client = options.connect(server.url()).await.unwrap();
    let bridge = EventBridge::new(client, source()).with_connection_watch(watch);
    let told = || async { bridge.status().await.connection_error().map(str::to_owned) };
    eventually("told", told, Option::is_some).await;
    let error = bridge.provision(&Topology::default()).await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::Unavailable);
    assert_eq!(cause(&error), "connection to the broker is lost: authorization violation");
    let store = std::sync::Arc::new(stratt_event_bridge::dedupe::MemoryStore::new());
    let builder = bridge.consumer("c", store);
    let builder =
        builder.on(|_: stratt_event_bridge::Delivery<stratt_event_bridge::UnitPublished>| async { Ok(()) });
    let error = builder.build().await.unwrap_err();
    assert_eq!(cause(&error), "connection to the broker is lost: authorization violation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_gone_is_the_cause_until_it_is_back() {
    let mut stage = Stage::new().await;
    let watch = ConnectionWatch::new();
    let options = ConnectOptions::new().event_callback(watch.callback());
    let bridge = EventBridge::new(options.connect(stage.server.url()).await.unwrap(), source())
        .with_connection_watch(watch);
    stage.server.kill();
    let told = || async { bridge.status().await.connection_error().map(str::to_owned) };
    eventually("told", told, |told| told.as_deref() == Some("IO error")).await;
    stage.server.restart().await.unwrap();
    eventually("told", told, Option::is_none).await;
    assert!(bridge.status().await.is_connected());
}
