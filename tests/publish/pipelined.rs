//! Many publishes in flight, and those among them whose first attempt fails.

use async_nats::{ConnectOptions, RequestErrorKind, jetstream::message::PublishMessage};
use futures::{StreamExt, future::join, stream};
use std::time::Duration;
use stratt_event_bridge::{
    BridgeOptions, ConnectionWatch, Envelope, EventBridge, Feed, PublishError, PublishErrorKind,
    PublishReceipt, UnitPublished, async_nats,
    testing::{Direction, NatsServer},
    topology::{StreamSettings, Topology},
};
use support::{Stage, eventually, published, source};
use tokio::time::{Instant, sleep};

fn envelope(number: u64) -> Envelope<UnitPublished> {
    Envelope::builder(published("a", number), source()).build().unwrap()
}

async fn all_stored(bridge: &EventBridge, count: u64) -> Vec<(u64, PublishReceipt)> {
    let receipts: Vec<_> = bridge.publish_all(stream::iter(1..=count).map(envelope)).collect().await;
    (1..).zip(receipts).map(|(number, receipt)| (number, receipt.unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_are_asked_for_and_all_is_stored_once() {
    let stage = Stage::new().await;
    let (proxy, bridge) = stage.through_proxy(Duration::from_millis(300)).await;
    for direction in [Direction::ToClient, Direction::ToServer] {
        proxy.cut_after(direction, 20_000);
        let receipts = all_stored(&bridge, 2000).await;
        stage.stored_once(&receipts).await;
        stage.stream(Feed::Strat).await.purge().await.unwrap();
        // The broker remembers ids of removed messages.
        let again = all_stored(&bridge, 2000).await;
        assert!(again.iter().all(|(_, receipt)| receipt.is_duplicate()));
        stage.context().delete_stream(Feed::Strat.stream()).await.unwrap();
        stage.bridge.provision(&Topology::default()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_answers_are_taken_for_no_other_event() {
    let stage = Stage::new().await;
    let options =
        BridgeOptions::default().with_attempt_timeout(Duration::from_millis(200)).with_max_in_flight(16);
    let bridge = EventBridge::with_options(stage.client.clone(), source(), options);
    stage.server.pause().unwrap();
    let resume = async {
        // Longer than a few attempts take, so that several answers to each event are outstanding.
        sleep(Duration::from_secs(1)).await;
        stage.server.resume().unwrap();
    };
    let (receipts, ()) = join(all_stored(&bridge, 500), resume).await;
    stage.stored_once(&receipts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_costs_all_of_them_one_retry_budget_together() {
    let stage = Stage::new().await;
    let options = BridgeOptions::default()
        .with_attempt_timeout(Duration::from_millis(200))
        .with_retry_budget(Duration::from_millis(800));
    let bridge = EventBridge::with_options(stage.client.clone(), source(), options);
    stage.server.pause().unwrap();
    let begun = Instant::now();
    let outcomes: Vec<_> = bridge.publish_all(stream::iter(1..=200).map(envelope)).collect().await;
    assert_eq!(outcomes.len(), 200);
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.is_outcome_unknown()), (PublishErrorKind::TimedOut, true));
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    stage.server.resume().unwrap();
    let receipts = all_stored(&stage.bridge, 200).await;
    stage.stored_once(&receipts).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_stream_they_wait_for_one() {
    let server = NatsServer::start().await.unwrap();
    let bridge = EventBridge::new(server.connect().await.unwrap(), source());
    let provision = async {
        sleep(Duration::from_millis(300)).await;
        bridge.provision(&Topology::default()).await.unwrap();
    };
    let (receipts, ()) = join(all_stored(&bridge, 100), provision).await;
    let mut sequences: Vec<_> = receipts.iter().map(|(_, receipt)| receipt.sequence()).collect();
    sequences.sort_unstable();
    assert_eq!(sequences, (1..=100).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_full_stream_refuses_fails_in_its_place() {
    let stage = Stage::new().await;
    let full = Topology::default().with_events(StreamSettings::default().with_max_messages(5));
    stage.bridge.provision(&full).await.unwrap();
    let outcomes: Vec<_> = stage.bridge.publish_all(stream::iter(1..=10).map(envelope)).collect().await;
    for (index, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(receipt) => assert!(index < 5 && receipt.sequence() == index as u64 + 1, "{receipt:?}"),
            Err(error) => {
                assert!(index >= 5, "{index}: {error:?}");
                assert_eq!((error.kind(), error.is_outcome_unknown()), (PublishErrorKind::StreamFull, false));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suppressed_event_fails_in_its_place_with_verification() {
    let stage = Stage::new().await;
    let id = envelope(2).idempotency_key().to_string();
    let garbage = PublishMessage::build().message_id(id).payload("garbage".into());
    stage.context().send_publish(envelope(2).subject(), garbage).await.unwrap().await.unwrap();
    stage.bridge.publish_envelope(&envelope(3)).await.unwrap();
    let options = BridgeOptions::default().with_verify_duplicates(true);
    let bridge = EventBridge::with_options(stage.client.clone(), source(), options);
    let outcomes: Vec<_> = bridge.publish_all(stream::iter(1..=4).map(envelope)).collect().await;
    let told: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.as_ref().map(PublishReceipt::is_duplicate).map_err(PublishError::kind))
        .collect();
    assert_eq!(told, [Ok(false), Err(PublishErrorKind::Suppressed), Ok(true), Ok(false)]);
}

async fn user(permissions: &str) -> (NatsServer, EventBridge, EventBridge) {
    let users = format!(
        "authorization {{ users: [
            {{ user: admin, password: pw }}
            {{ user: service, password: pw, permissions: {{ {permissions} }} }} ] }}"
    );
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let options = |user: &str| ConnectOptions::with_user_and_password(user.into(), "pw".into());
    let admin = EventBridge::new(options("admin").connect(server.url()).await.unwrap(), source());
    admin.provision(&Topology::default()).await.unwrap();
    let watch = ConnectionWatch::new();
    let client = options("service").event_callback(watch.callback()).connect(server.url()).await.unwrap();
    (server, admin, EventBridge::new(client, source()).with_connection_watch(watch))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_that_is_refused_fails_at_once_in_its_place() {
    let (_server, _admin, service) = user(r#"publish: ["strat.dev.>"], subscribe: ["_INBOX.>"]"#).await;
    let legal =
        UnitPublished::new("strat://legal/rule/a@1.0.0".parse().unwrap(), published("a", 2).fingerprint);
    let legal = Envelope::builder(legal, source()).build().unwrap();
    let begun = Instant::now();
    let envelopes = stream::iter([envelope(1), legal, envelope(3)]);
    let outcomes: Vec<_> = service.publish_all(envelopes).collect().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
    let error = outcomes[1].as_ref().unwrap_err();
    assert_eq!((error.kind(), error.is_outcome_unknown()), (PublishErrorKind::PermissionDenied, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbox_that_is_refused_says_that_they_may_be_stored() {
    let (_server, admin, service) = user(r#"publish: ["strat.dev.>"], subscribe: ["nothing"]"#).await;
    let begun = Instant::now();
    let outcomes: Vec<_> = service.publish_all(stream::iter(1..=50).map(envelope)).collect().await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    for outcome in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!((error.kind(), error.is_outcome_unknown()), (PublishErrorKind::PermissionDenied, true));
    }
    assert!(all_stored(&admin, 50).await.iter().all(|(_, receipt)| receipt.is_duplicate()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn receipts_that_are_dropped_leave_no_inbox_behind() {
    let stage = Stage::new().await;
    let observer = stage.server.connect().await.unwrap();
    let mut seen = observer.subscribe("strat.>").await.unwrap();
    observer.flush().await.unwrap();
    let mut receipts = Box::pin(stage.bridge.publish_all(stream::iter(1..=64).map(envelope)));
    receipts.next().await.unwrap().unwrap();
    let inbox = seen.next().await.unwrap().reply.unwrap();
    let is_heard = || async { observer.request(inbox.clone(), "".into()).await.unwrap_err().kind() };
    let timeout = tokio::time::timeout(Duration::from_millis(200), is_heard());
    assert!(timeout.await.is_err(), "the inbox is not there while it is needed");
    drop(receipts);
    let gone = RequestErrorKind::NoResponders;
    eventually("answer", is_heard, |kind| *kind == gone).await;
}
