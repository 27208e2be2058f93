//! The permissions that `docs::console` names.

use crate::site::{Site, rejecting};
use axum::http::StatusCode;
use std::{collections::BTreeSet, sync::Arc};
use stratt_event_bridge::{
    ConnectionWatch, EventBridge,
    acl::{Inbox, OperatorRole},
    async_nats::ConnectOptions,
    console::provision_audit,
    dedupe::MemoryStore,
    testing::NatsServer,
    topology::Topology,
};
use support::{Stage, eventually, published, source};

/// The subjects in backquotes of the paragraph about permissions.
fn documented() -> BTreeSet<String> {
    let text = std::fs::read_to_string(support::root().join("src/docs/console.md")).unwrap();
    let paragraph =
        text.split("\n\n").find(|part| part.contains("as the user of the bridge's connection")).unwrap();
    let quoted = paragraph.split('`').skip(1).step_by(2).map(|quoted| quoted.replace('\n', ""));
    quoted.filter(|quoted| quoted.starts_with("$JS.") || quoted.starts_with("stratt.")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_permissions_are_enough() {
    let inbox = Inbox::of_user("op").unwrap();
    let role = OperatorRole.permissions(&inbox);
    let subjects: Vec<_> = role.publish().map(str::to_owned).chain(documented()).collect();
    let list = |subjects: &[String]| {
        subjects.iter().map(|subject| format!("\"{subject}\"")).collect::<Vec<_>>().join(", ")
    };
    let subscribe: Vec<_> = role.subscribe().map(str::to_owned).collect();
    let users = format!(
        "no_auth_user: admin\nauthorization {{ users: [ {{ user: admin, password: pw }}\n\
         {{ user: op, password: pw, permissions: {{ publish: [{}], subscribe: [{}] }} }} ] }}",
        list(&subjects),
        list(&subscribe)
    );
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let admin = server.connect().await.unwrap();
    let bridge = EventBridge::new(admin.clone(), source());
    bridge.provision(&Topology::default()).await.unwrap();
    provision_audit(&bridge, 1).await.unwrap();
    let watch = ConnectionWatch::new();
    let options = ConnectOptions::with_user_and_password("op".into(), "pw".into())
        .custom_inbox_prefix(inbox.prefix())
        .event_callback(watch.callback());
    let limited = options.connect(server.url()).await.unwrap();
    let limited = EventBridge::new(limited, source()).with_connection_watch(watch);
    let stage = Stage { server, client: admin, bridge, store: Arc::new(MemoryStore::new()) };
    let running = rejecting(&stage, "catalogue", "no").await;
    stage.bridge.publish(published("bad-1", 1)).await.unwrap();
    stage.bridge.publish(published("bad-2", 2)).await.unwrap();
    stage.dead_letters_are(2).await;
    running.stop().await;

    let site = Site::operated(&limited);
    let overview = || site.get("");
    eventually("forwarded", overview, |page| page.text.contains("everything is forwarded")).await;
    for (path, wanted) in [
        ("", "everything is forwarded"),
        ("/dead-letters", "2 dead letters"),
        ("/dead-letters/1", "strat://dev/rule/bad"),
        ("/tail", "strat://dev/rule/bad-2"),
        ("/durables/strat/catalogue", "STRATT_EVENTS"),
        ("/audit", "Nothing was done"),
    ] {
        let page = site.get(path).await;
        assert!(page.status == StatusCode::OK && page.text.contains(wanted), "{path}: {}", page.text);
        assert!(!page.text.contains("not known"), "{path}: {}", page.text);
    }
    for (path, form) in [
        ("/dead-letters/1/redrive", ""),
        ("/dead-letters/2/discard", "confirm=yes"),
        ("/durables/strat/catalogue/pause", "minutes=5"),
        ("/durables/strat/catalogue/resume", ""),
    ] {
        let done = site.post(path, form).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{path}: {}", done.text);
    }
    assert!(site.get("/audit").await.text.contains("/console/dead-letters/2"));
    let refused = site.get("/tail/live").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.text.contains("$JS.API.CONSUMER."), "{}", refused.text);
}
