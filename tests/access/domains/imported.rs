//! An account that imports JetStream of another account.

use super::work::{all_of_it, in_order, sweeps};
use stratt_event_bridge::{
    BridgeOptions, EventBridge,
    async_nats::{Client, ConnectOptions},
    testing::NatsServer,
    topology::{Topology, TopologyErrorKind},
};
use support::source;

/// Returns two accounts, of which `APP`, with these users, reaches the JetStream of `STRATT` behind `STRATT.JS.API`.
pub fn accounts(users: &str) -> String {
    const REQUESTS: [&str; 4] = ["INFO", "STREAM.>", "CONSUMER.>", "DIRECT.>"];
    const OTHERS: [&str; 3] = ["$JS.ACK.>", "strat.>", "stratt.>"];
    let requests = REQUESTS.map(|request| format!("$JS.API.{request}"));
    let exported = requests.iter().map(String::as_str).chain(OTHERS).chain(["$KV.>"]);
    // A request for messages has many answers.
    let exports = exported.map(|subject| format!("{{ service: \"{subject}\", response: stream }}"));
    let of_stratt = |subject: &str| format!("service: {{ account: STRATT, subject: \"{subject}\" }}");
    let moved = REQUESTS.map(|request| (format!("$JS.API.{request}"), format!("STRATT.JS.API.{request}")));
    let moved = moved.into_iter().chain([("$KV.>".to_owned(), "STRATT.JS.API.$KV.>".to_owned())]);
    let moved = moved.map(|(subject, to)| format!("{{ {}, to: \"{to}\" }}", of_stratt(&subject)));
    let imports = moved.chain(OTHERS.map(|subject| format!("{{ {} }}", of_stratt(subject))));
    format!(
        "accounts {{
            STRATT {{ jetstream: enabled, users: [{{ user: stratt, password: pw }}], exports: [\n{}\n] }}
            APP {{ jetstream: enabled, users: [\n{users}\n], imports: [\n{}\n] }} }}",
        exports.collect::<Vec<_>>().join("\n"),
        imports.collect::<Vec<_>>().join("\n")
    )
}

async fn server() -> NatsServer {
    let config = accounts("{ user: app, password: pw }");
    NatsServer::builder().config(config).start().await.unwrap()
}

async fn connect(server: &NatsServer, user: &str) -> Client {
    ConnectOptions::with_user_and_password(user.into(), "pw".into()).connect(server.url()).await.unwrap()
}

/// Returns the options of a bridge for the account `APP`.
pub fn imported() -> BridgeOptions {
    BridgeOptions::default().with_api_prefix("STRATT.JS.API".parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_does_all_its_work_in_an_imported_jetstream() {
    let server = server().await;
    let bridge = EventBridge::with_options(connect(&server, "app").await, source(), imported());
    all_of_it(&bridge, None).await;
    if bridge.client().is_server_compatible(2, 11, 0) {
        in_order(&bridge, 8).await;
    }
    sweeps(&bridge).await;
    let there = EventBridge::new(connect(&server, "stratt").await, source());
    there.verify(&Topology::default().with_batches(true)).await.unwrap();
    assert_eq!(there.status().await.dead_letters(), Some(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_its_own_account_for_the_same_subjects_is_found() {
    let server = server().await;
    let client = connect(&server, "app").await;
    let bridge = EventBridge::with_options(client.clone(), source(), imported());
    bridge.provision(&Topology::default()).await.unwrap();
    EventBridge::new(client, source()).provision(&Topology::default()).await.unwrap();
    let error = bridge.verify(&Topology::default()).await.unwrap_err();
    assert_eq!(error.kind(), TopologyErrorKind::StoredTwice, "{error}");
    assert!(error.to_string().contains("behind STRATT.JS.API"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_name_of_the_same_jetstream_is_no_second_stream() {
    let mapped = r#"accounts { APP {
        jetstream: enabled
        users: [{ user: app, password: pw }]
        mappings: { "MINE.JS.API.>": "$JS.API.>" }
    } }"#;
    let server = NatsServer::builder().config(mapped).start().await.unwrap();
    let options = BridgeOptions::default().with_api_prefix("MINE.JS.API".parse().unwrap());
    let bridge = EventBridge::with_options(connect(&server, "app").await, source(), options);
    bridge.provision(&Topology::default()).await.unwrap();
    bridge.verify(&Topology::default()).await.unwrap();
}
