//! Actions: the server carries each of them out for the roles that are named, and refuses it to all others.

use super::{
    consuming::unchecked,
    guarded::{Guarded, User, with_strict_order},
    place::Place,
    roles::{BUCKET, all, with_durable},
};
use futures::StreamExt;
use std::time::Duration;
use stratt_event_bridge::{
    EventBridge, Feed, async_nats,
    async_nats::jetstream::{self, consumer::pull, kv},
};
use support::{Running, published};
use tokio::time::timeout;

const NOBODY: &[&str] = &[];
const ROLES: [&str; 10] = [
    "publisher",
    "verifier",
    "ordered",
    "audit",
    "finder",
    "plain",
    "reader",
    "operator",
    "provisioner",
    "watcher",
];

/// An action: a request to a subject with a body, and the roles that may make it.
#[rustfmt::skip]
const REQUESTS: &[(&str, &str, &str, &[&str])] = &[
    ("publish an event", "strat.dev.unit.published", "{}", &["publisher", "verifier"]),
    ("publish in another domain", "strat.legal.unit.published", "{}", NOBODY),
    ("redrive an event", "stratt.redrive.plain.dev.unit.published", "{}", &["operator"]),
    ("redrive what is no event", "stratt.redrive.plain.dev.unit.unknown", "{}", NOBODY),
    ("publish what is no event", "strat.dev.unit.unknown", "{}", NOBODY),
    ("publish a wildcard", "strat.dev.>", "{}", NOBODY),
    ("forge a dead letter of `plain`", "stratt.dlq.plain.dev.unit.published", "{}", &["plain"]),
    ("forge a dead letter of `audit`", "stratt.dlq.audit.dev.unit.published", "{}", &["audit"]),
    ("pull from `audit`", "$JS.API.CONSUMER.MSG.NEXT.STRATT_EVENTS.audit", "", &["audit"]),
    ("pull from `plain`", "$JS.API.CONSUMER.MSG.NEXT.CHOCO_STRATT.plain", "", &["plain"]),
    ("pull from `reader`", "$JS.API.CONSUMER.MSG.NEXT.CHOCO_STRATT.reader", "", &["reader"]),
    ("pull from `audit` by an ack", "$JS.ACK.STRATT_EVENTS.audit.1.1.1.1.1", "+NXT", &["audit"]),
    ("the same, as if it were one of `reader`", "$JS.ACK.STRATT_EVENTS.audit.CHOCO_STRATT.reader.1.1.1", "+NXT", &["audit"]),
    ("acknowledge for `audit`", "$JS.ACK.STRATT_EVENTS.audit.1.1.1.1.1", "+ACK", &["audit"]),
    ("acknowledge for `reader`", "$JS.ACK.CHOCO_STRATT.reader.1.1.1.1.1", "+ACK", &["reader"]),
    ("look at a durable", "$JS.API.CONSUMER.INFO.CHOCO_STRATT.plain", "", &["plain", "operator"]),
    ("unpin a durable", "$JS.API.CONSUMER.UNPIN.CHOCO_STRATT.ordered", r#"{"group":"stratt"}"#, &["ordered"]),
    ("list durables", "$JS.API.CONSUMER.LIST.CHOCO_STRATT", "", &["operator"]),
    ("pause a durable", "$JS.API.CONSUMER.PAUSE.CHOCO_STRATT.plain", "{}", &["operator"]),
    ("list streams", "$JS.API.STREAM.LIST", "", NOBODY),
    ("create a durable", "$JS.API.CONSUMER.CREATE.STRATT_EVENTS.other", r#"{"stream_name":"STRATT_EVENTS","config":{"durable_name":"other","name":"other","ack_policy":"explicit"}}"#, NOBODY),
    ("create one with a filter", "$JS.API.CONSUMER.CREATE.CHOCO_STRATT.others.choco.strat.>", r#"{"stream_name":"CHOCO_STRATT","config":{"durable_name":"others","name":"others","ack_policy":"explicit","filter_subject":"choco.strat.>"}}"#, NOBODY),
    ("create an ephemeral one", "$JS.API.CONSUMER.CREATE.STRATT_EVENTS", r#"{"stream_name":"STRATT_EVENTS","config":{"ack_policy":"explicit"}}"#, NOBODY),
    ("look at the events", "$JS.API.STREAM.INFO.STRATT_EVENTS", "", &["audit", "operator", "provisioner", "watcher"]),
    ("look at those of Choco", "$JS.API.STREAM.INFO.CHOCO_STRATT", "", &["ordered", "operator", "provisioner", "watcher"]),
    ("look at the dead letters", "$JS.API.STREAM.INFO.STRATT_DLQ", "", &["ordered", "audit", "operator", "provisioner"]),
    ("read an event", "$JS.API.STREAM.MSG.GET.STRATT_EVENTS", r#"{"seq":1}"#, &["verifier", "finder", "operator", "provisioner", "watcher"]),
    ("read an event directly", "$JS.API.DIRECT.GET.STRATT_EVENTS.strat.dev.unit.published", "", NOBODY),
    ("read an event of Choco", "$JS.API.STREAM.MSG.GET.CHOCO_STRATT", r#"{"seq":1}"#, &["operator", "provisioner", "watcher"]),
    ("let another server lead the stream of Choco", "$JS.API.STREAM.LEADER.STEPDOWN.CHOCO_STRATT", "", &["watcher"]),
    ("look at the durable of the source", "$JS.API.CONSUMER.INFO.STRATT_EVENTS.CHOCO_STRATT", "", &["operator", "provisioner", "watcher"]),
    ("let another server lead the events", "$JS.API.STREAM.LEADER.STEPDOWN.STRATT_EVENTS", "", NOBODY),
    ("read one directly", "$JS.API.DIRECT.GET.CHOCO_STRATT", r#"{"seq":1}"#, &["operator"]),
    ("read a dead letter", "$JS.API.STREAM.MSG.GET.STRATT_DLQ", r#"{"seq":1}"#, &["ordered", "operator"]),
    ("read one directly", "$JS.API.DIRECT.GET.STRATT_DLQ", r#"{"seq":1}"#, &["operator"]),
    ("discard a dead letter", "$JS.API.STREAM.MSG.DELETE.STRATT_DLQ", r#"{"seq":1}"#, &["operator"]),
    ("delete an event", "$JS.API.STREAM.MSG.DELETE.STRATT_EVENTS", r#"{"seq":1}"#, NOBODY),
    ("delete one of Choco", "$JS.API.STREAM.MSG.DELETE.CHOCO_STRATT", r#"{"seq":1}"#, NOBODY),
    ("read any slot", "$JS.API.DIRECT.GET.KV_STRATT_DEDUPE", r#"{"seq":1}"#, NOBODY),
    ("read any slot of the leader", "$JS.API.STREAM.MSG.GET.KV_STRATT_DEDUPE", r#"{"seq":1}"#, NOBODY),
    ("read a slot of `ordered`", "$JS.API.DIRECT.GET.KV_STRATT_DEDUPE.$KV.STRATT_DEDUPE.ordered.k", "", &["ordered"]),
    ("write a slot of `ordered`", "$KV.STRATT_DEDUPE.ordered.k", "{}", &["ordered"]),
    ("read a slot of `audit`", "$JS.API.DIRECT.GET.KV_STRATT_DEDUPE.$KV.STRATT_DEDUPE.audit.k", "", NOBODY),
    ("write a slot of `audit`", "$KV.STRATT_DEDUPE.audit.k", "{}", NOBODY),
    ("look at the bucket", "$JS.API.STREAM.INFO.KV_STRATT_DEDUPE", "", &["ordered", "provisioner"]),
    ("take a snapshot", "$JS.API.STREAM.SNAPSHOT.STRATT_EVENTS", r#"{"deliver_subject":"_INBOX_none.1"}"#, NOBODY),
    ("delete a durable", "$JS.API.CONSUMER.DELETE.STRATT_EVENTS.audit", "", NOBODY),
    ("purge the events", "$JS.API.STREAM.PURGE.STRATT_EVENTS", "", NOBODY),
    ("purge those of Choco", "$JS.API.STREAM.PURGE.CHOCO_STRATT", "", NOBODY),
    ("purge the dead letters", "$JS.API.STREAM.PURGE.STRATT_DLQ", "", NOBODY),
    ("purge the bucket", "$JS.API.STREAM.PURGE.KV_STRATT_DEDUPE", "", NOBODY),
    ("delete the bucket", "$JS.API.STREAM.DELETE.KV_STRATT_DEDUPE", "", NOBODY),
    ("delete the dead letters", "$JS.API.STREAM.DELETE.STRATT_DLQ", "", NOBODY),
    ("delete the stream of Choco", "$JS.API.STREAM.DELETE.CHOCO_STRATT", "", NOBODY),
    ("delete the events", "$JS.API.STREAM.DELETE.STRATT_EVENTS", "", NOBODY),
    ("create a stream of events", "$JS.API.STREAM.CREATE.STRATT_EVENTS", r#"{"name":"STRATT_EVENTS","subjects":["strat.>"],"storage":"file"}"#, &["provisioner"]),
    ("create a stream of its own", "$JS.API.STREAM.CREATE.MINE", r#"{"name":"MINE","subjects":["mine.>"],"storage":"file"}"#, NOBODY),
];

/// Subjects that only the administrator may subscribe to.
const SUBSCRIPTIONS: &[&str] = &[
    "strat.>",
    "choco.strat.>",
    "stratt.dlq.>",
    // Events on their way to Choco, with a durable source.
    "stratt.source.choco",
    "$KV.STRATT_DEDUPE.>",
    "$JS.ACK.>",
    "$JS.API.>",
    "$JS.EVENT.>",
    "_INBOX.>",
    "_INBOX_someone.>",
    ">",
];

async fn stage(place: Place) -> Guarded {
    let users: Vec<_> = all().iter().map(|role| (role.name, place.rendered(role))).collect();
    let guarded = place.guarded(with_strict_order().await, &users).await;
    let admin = &guarded.admin;
    with_durable(admin.clone()).await;
    let context = jetstream::new(admin.client().clone());
    let bucket = kv::Config { bucket: BUCKET.into(), ..kv::Config::default() };
    let bucket = context.create_key_value(bucket).await.unwrap();
    for key in ["ordered.k", "audit.k"] {
        bucket.put(key, "{}".into()).await.unwrap();
    }
    for (feed, name, policy) in [
        (Feed::Strat, "audit", pull::Config::default()),
        (Feed::Strat, "CHOCO_STRATT", pull::Config::default()),
        (Feed::Choco, "ordered", pinned()),
    ] {
        let config = pull::Config { durable_name: Some(name.into()), ..policy };
        context.create_consumer_on_stream(config, feed.stream()).await.unwrap();
    }
    // Enough that every role finds something, whatever others removed.
    for number in 1..=20 {
        admin.publish(published("a", number)).await.unwrap();
        let letter = context.publish("stratt.dlq.plain.dev.unit.published", "{}".into());
        letter.await.unwrap().await.unwrap();
    }
    guarded
}

fn pinned() -> pull::Config {
    pull::Config {
        priority_policy: jetstream::consumer::PriorityPolicy::PinnedClient,
        priority_groups: vec!["stratt".into()],
        priority_timeout: Duration::from_mins(1),
        ..pull::Config::default()
    }
}

/// Returns the server's last word on what was sent before it.
async fn refused_so_far(user: &User) -> Vec<String> {
    user.bridge.client().publish("fence", "".into()).await.unwrap();
    timeout(Duration::from_secs(20), user.refusals.until("\"fence\"")).await.expect("the fence is refused")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_refuses_what_a_role_may_not_do() {
    Box::pin(refuses(Place::Here)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_in_operator_mode_refuses_it_too() {
    Box::pin(refuses(Place::Operator)).await;
}

async fn refuses(place: Place) {
    let guarded = stage(place).await;
    let mut wrong = Vec::new();
    for role in ROLES {
        let user = guarded.user(role).await;
        let client = user.bridge.client();
        for (what, subject, body, may) in REQUESTS {
            if may.contains(&role) {
                if let Err(problem) = done(client, subject, body).await {
                    wrong.push(format!("{role} cannot {what}: {problem}"));
                }
                continue;
            }
            let inbox = client.new_inbox();
            client.publish_with_reply(*subject, inbox, (*body).into()).await.unwrap();
            let refused = refused_so_far(&user).await;
            if !refused.iter().any(|refusal| refusal.contains(&format!("\"{subject}\""))) {
                wrong.push(format!("{role} may {what}"));
            }
        }
        for subject in SUBSCRIPTIONS {
            let _subscription = client.subscribe(*subject).await.unwrap();
            let refused = refused_so_far(&user).await;
            if !refused.iter().any(|refusal| refusal.contains(&format!("Subscription to \"{subject}\""))) {
                wrong.push(format!("{role} may subscribe to {subject}"));
            }
        }
    }
    // All of it is possible, so nothing above was refused for another reason.
    let guarded = stage(place).await;
    let admin = guarded.admin.client();
    for (what, subject, body, _) in REQUESTS {
        if let Err(problem) = done(admin, subject, body).await {
            wrong.push(format!("the administrator cannot {what}: {problem}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns whether the server did what it was asked.
async fn done(client: &async_nats::Client, subject: &str, body: &str) -> Result<(), String> {
    // Not by a request: a pulled message has the subject of the event.
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.unwrap();
    client.publish_with_reply(subject.to_owned(), inbox, body.to_owned().into()).await.unwrap();
    let answer = timeout(Duration::from_secs(20), answers.next()).await.map_err(|_| "no answer")?.unwrap();
    let text = String::from_utf8_lossy(&answer.payload).into_owned();
    match answer.status {
        Some(status) if !status.is_success() => Err(format!("{status}")),
        // A user that may create it learns that it exists with other settings.
        // One server has no other to lead a stream.
        _ if text.contains("\"error\":") && !text.contains("10058") && !text.contains("10010") => Err(text),
        _ => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_durable_is_seen_without_the_right_to_list() {
    let role = all().into_iter().find(|role| role.name == "plain").unwrap();
    let guarded = Guarded::new(&[("plain", role.permissions.to_string())], "").await;
    with_durable(guarded.admin.clone()).await;
    let user = guarded.user("plain").await;
    let running = Running::start(unchecked(&user.bridge).build().await.unwrap());
    delete(&guarded.admin).await;
    let error = running.failure().await;
    assert_eq!(error.kind(), stratt_event_bridge::ConsumeErrorKind::ConsumerGone, "{error}");
    assert!(user.refusals.all().is_empty(), "{:?}", user.refusals.all());
}

async fn delete(admin: &EventBridge) {
    let context = jetstream::new(admin.client().clone());
    let stream = context.get_stream(Feed::Choco.stream()).await.unwrap();
    stream.delete_consumer("plain").await.unwrap();
}
