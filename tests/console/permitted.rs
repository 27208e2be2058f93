//! The permissions of the user that a console connects as.

use crate::site::{Site, rejecting};
use axum::http::StatusCode;
use std::sync::Arc;
use stratt_event_bridge::{
    ConnectionWatch, EventBridge,
    acl::{Inbox, OperatorRole, Permissions},
    async_nats::ConnectOptions,
    console::{ConsoleRole, provision_audit},
    dedupe::MemoryStore,
    testing::NatsServer,
    topology::Topology,
};
use support::{Stage, eventually, published, raw_publish, source};

/// Returns a user with these permissions, but for one subject.
fn user(name: &str, permissions: &Permissions, without: Option<&str>) -> String {
    let list = |subjects: Vec<&str>| {
        subjects.iter().map(|subject| format!("\"{subject}\"")).collect::<Vec<_>>().join(", ")
    };
    let publish = permissions.publish().filter(|subject| Some(*subject) != without).collect();
    let (publish, subscribe) = (list(publish), list(permissions.subscribe().collect()));
    format!(
        "{{ user: {name}, password: pw, permissions: {{ publish: [{publish}], subscribe: [{subscribe}] }} }}\n"
    )
}

/// Returns a bridge that is connected as a user.
async fn connected(server: &NatsServer, name: &'static str, inbox: &Inbox) -> EventBridge {
    let watch = ConnectionWatch::new();
    let options = ConnectOptions::with_user_and_password(name.into(), "pw".into())
        .custom_inbox_prefix(inbox.prefix())
        .event_callback(watch.callback());
    EventBridge::new(options.connect(server.url()).await.unwrap(), source()).with_connection_watch(watch)
}

/// Returns the permissions of the role and those that it has beside an operator's.
fn role(inbox: &Inbox) -> (Permissions, Vec<String>) {
    let (role, operator) = (ConsoleRole.permissions(inbox), OperatorRole.permissions(inbox));
    let own = role.publish().filter(|subject| operator.publish().all(|other| other != *subject));
    let own = own.map(str::to_owned).collect();
    (role, own)
}

/// The last has all permissions.
const USERS: [&str; 5] = ["a", "b", "c", "d", "all"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_subject_of_the_role_is_needed() {
    let inboxes = USERS.map(|name| Inbox::of_user(name).unwrap());
    let own = role(&inboxes[0]).1;
    assert_eq!(own.len() + 1, USERS.len(), "{own:?}");
    let without = own.iter().map(|own| Some(own.as_str())).chain([None]);
    let users = USERS.iter().zip(&inboxes).zip(without);
    let users: String = users.map(|((name, inbox), without)| user(name, &role(inbox).0, without)).collect();
    let users = format!(
        "no_auth_user: admin\nauthorization {{ users: [ {{ user: admin, password: pw }}\n{users} ] }}"
    );
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let bridge = EventBridge::new(server.connect().await.unwrap(), source());
    bridge.provision(&Topology::default()).await.unwrap();
    provision_audit(&bridge, 1).await.unwrap();
    // All may write anything there. This is read one by one, from the leader.
    raw_publish(server.url(), "stratt.audit.x", b"NATS/1.0\r\nno colon\r\n\r\n", b"{}").await;
    let tried = USERS.iter().zip(&inboxes).map(|(name, inbox)| async {
        let site = Site::operated(&connected(&server, name, inbox).await);
        let overview = site.get("").await;
        let resumed = site.post("/durables/strat/none/resume", "").await;
        let audit = site.get("/audit").await;
        overview.status == StatusCode::OK
            && !overview.text.contains("not known")
            && !overview.text.contains("problem")
            && resumed.status == StatusCode::NOT_FOUND
            && audit.status == StatusCode::OK
            && !audit.text.contains("problem")
    });
    let mut tried = futures::future::join_all(tried).await;
    assert!(tried.pop().unwrap(), "all permissions are not enough");
    for (works, own) in tried.into_iter().zip(own) {
        assert!(!works, "{own} is not needed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_role_of_a_console_is_enough() {
    let inbox = Inbox::of_user("op").unwrap();
    let users = format!(
        "no_auth_user: admin\nauthorization {{ users: [ {{ user: admin, password: pw }}\n{} ] }}",
        user("op", &role(&inbox).0, None)
    );
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let admin = server.connect().await.unwrap();
    let bridge = EventBridge::new(admin.clone(), source());
    bridge.provision(&Topology::default()).await.unwrap();
    provision_audit(&bridge, 1).await.unwrap();
    let limited = connected(&server, "op", &inbox).await;
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
