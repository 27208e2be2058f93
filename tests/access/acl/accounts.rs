//! Choco in an account of its own: everything that is published arrives there, and nothing else can be reached from
//! there.

use super::guarded::{NEW_ACKS, connect_with, server};
use futures::StreamExt;
use std::time::Duration;
use stratt_event_bridge::{
    BridgeOptions, Envelope, Event, EventBridge, Feed,
    acl::{Inbox, ReaderRole},
    async_nats::jetstream,
    testing::{NatsServer, NatsServerBuilder},
    topology::{CHOCO_STREAM, Topology, TopologyErrorKind, TwoAccounts},
};
use support::{eventually, hub_domain, published, source};
use tokio::time::timeout;

const EVENTS: u64 = 500;
const BYTES: usize = 8 * 1024;

fn config(accounts: &TwoAccounts) -> String {
    let reader = ReaderRole::new("reader".parse().unwrap()).permissions(&Inbox::of_user("reader").unwrap());
    format!(
        "accounts {{
            STRATT {{ jetstream: enabled, users: [{{ user: stratt, password: pw }}], exports: {} }}
            CHOCO {{ jetstream: enabled, imports: {}, users: [
                {{ user: choco, password: pw }}
                {{ user: reader, password: pw, permissions: {reader} }} ] }} }}",
        accounts.exports(),
        accounts.imports()
    )
}

async fn publish(bridge: &EventBridge, from: u64) {
    let large = |number| published("a", number).with_actor("x".repeat(BYTES));
    let envelopes =
        (from..from + EVENTS).map(move |number| Envelope::builder(large(number), source()).build().unwrap());
    let receipts = bridge.publish_all(futures::stream::iter(envelopes));
    let stored = receipts.filter(|receipt| std::future::ready(receipt.is_ok())).count().await;
    assert_eq!(stored, usize::try_from(EVENTS).unwrap());
}

async fn messages(choco: &EventBridge) -> u64 {
    let stream = choco.jetstream().get_stream(CHOCO_STREAM).await.unwrap();
    stream.cached_info().state.messages
}

async fn all_arrives_and_nothing_else_is_reached(server: NatsServerBuilder, options: BridgeOptions) {
    let accounts = TwoAccounts::new("STRATT", "CHOCO").unwrap();
    let server = server.config(config(&accounts)).start().await.unwrap();
    let stratt = connect_with(server.url(), "stratt", options).await.bridge;
    let choco = connect_with(server.url(), "choco", options).await.bridge;
    let topology = Topology::default();
    let only_choco = topology.clone().only_choco(&accounts);
    stratt.provision(&topology.clone().without_choco()).await.unwrap();
    choco.provision(&only_choco).await.unwrap();
    choco.provision(&only_choco).await.unwrap();
    choco.verify(&only_choco).await.unwrap();
    stratt.verify(&topology.clone().without_choco()).await.unwrap();
    // Each account lacks the part of the other.
    assert_eq!(stratt.verify(&topology).await.unwrap_err().kind(), TopologyErrorKind::NotFound);
    assert_eq!(choco.verify(&topology).await.unwrap_err().kind(), TopologyErrorKind::NotFound);

    publish(&stratt, 1).await;
    eventually("arrived", || messages(&choco), |arrived| *arrived == EVENTS).await;
    let seen =
        eventually("forwarding", || async { choco.forwarding().await.unwrap() }, |seen| !seen.is_stalled());
    assert_eq!(seen.await.error(), None);

    let context = choco.jetstream();
    let durable = jetstream::consumer::pull::Config {
        durable_name: Some("reader".into()),
        ..jetstream::consumer::pull::Config::default()
    };
    context.create_consumer_on_stream(durable, CHOCO_STREAM).await.unwrap();
    let reader = connect_with(server.url(), "reader", options).await;
    let durable: jetstream::consumer::PullConsumer =
        reader.bridge.jetstream().get_consumer_from_stream("reader", Feed::Choco.stream()).await.unwrap();
    let pulled = durable
        .batch()
        .max_messages(usize::try_from(EVENTS).unwrap())
        .expires(Duration::from_secs(30))
        .messages();
    let mut pulled = pulled.await.unwrap();
    for number in 1..=EVENTS {
        let message = pulled.next().await.unwrap().unwrap();
        let envelope: Envelope = Envelope::decode(&message.subject, &message.payload).unwrap();
        assert_eq!(support::number_of(envelope.event().fingerprint()), number);
        message.ack().await.unwrap();
    }
    assert!(reader.refusals.all().is_empty(), "{:?}", reader.refusals.all());

    // Even the administrator of Choco's account cannot reach the other account.
    let mut heard = choco.client().subscribe("strat.>").await.unwrap();
    choco.client().publish("strat.dev.unit.published", "forged".into()).await.unwrap();
    assert_eq!(heard.next().await.unwrap().payload, "forged");
    let before = stratt.publish(published("last", 9999)).await.unwrap().sequence();
    assert_eq!(before, EVENTS + 1);
    let domain = options.api_prefix();
    for subject in [
        "STREAM.INFO.STRATT_EVENTS",
        "STREAM.INFO.STRATT_DLQ",
        "STREAM.MSG.GET.STRATT_EVENTS",
        "STREAM.PURGE.STRATT_EVENTS",
    ] {
        for prefix in ["$JS.API", domain.as_str(), "STRATT.JS.API"] {
            let answer = choco.client().request(format!("{prefix}.{subject}"), "".into()).await;
            let refused = answer.is_err()
                || answer.is_ok_and(|answer| String::from_utf8_lossy(&answer.payload).contains("\"error\":"));
            assert!(refused, "{prefix}.{subject}");
        }
    }
    eventually("arrived", || messages(&choco), |arrived| *arrived == EVENTS + 1).await;
    let silent = timeout(Duration::from_millis(200), heard.next()).await;
    assert!(silent.is_err(), "{silent:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_the_flow_control_window_arrives_in_choco() {
    all_arrives_and_nothing_else_is_reached(server(""), BridgeOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_does_so_where_flow_control_names_the_domain() {
    all_arrives_and_nothing_else_is_reached(server(NEW_ACKS), BridgeOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_does_so_where_jetstream_is_asked_for_by_its_domain() {
    let options = BridgeOptions::default().with_jetstream_domain(hub_domain());
    all_arrives_and_nothing_else_is_reached(server("").jetstream_domain(hub_domain()), options).await;
}

#[tokio::test]
async fn an_origin_elsewhere_is_drift_for_who_wants_it_here() {
    let server = NatsServer::start().await.unwrap();
    let bridge = EventBridge::new(server.connect().await.unwrap(), source());
    bridge.provision(&Topology::default()).await.unwrap();
    let accounts = TwoAccounts::new("STRATT", "CHOCO").unwrap();
    let error = bridge.verify(&Topology::default().only_choco(&accounts)).await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::Mismatch);
    let wanted = "wanted STRATT_EVENTS (strat.> -> choco.strat.>, stratt.redrive.> -> choco.redrive.>, \
        by STRATT.JS.API to deliver.choco_stratt)";
    assert!(error.to_string().contains(wanted), "{error}");
}
