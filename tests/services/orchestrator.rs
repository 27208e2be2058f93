//! The example `orchestrator_http` as a service: the whole flow over HTTP, from a request to a consumer of Choco.

use futures::future::join_all;
use serde_json::{Value, json};
use sqlx::{Executor, PgPool, SqlitePool};
use std::sync::{Arc, Mutex};
use stratt_event_bridge::{AnyEvent, Delivery, Event, Feed, IdempotencyKey, testing::Postgres};
use support::{Answer, Orchestrator, Stage, database, eventually, post};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const RULE: &str = "/units/dev/rule/no-secrets@1.0.0";
const CHAIN: &str = "/units/legal/chain/review@2.1.0";

/// A database for the service, of one of the two kinds.
struct TestDatabase {
    url: String,
    _folder: TempDir,
}

impl TestDatabase {
    fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("orchestrator.db").display());
        Self { url, _folder: folder }
    }

    async fn postgres() -> Self {
        Self { url: database().await, _folder: tempfile::tempdir().unwrap() }
    }

    /// Makes a change that the service did not make.
    async fn run(&self, on_sqlite: &'static str, on_postgres: &'static str) {
        if self.url.starts_with("sqlite") {
            SqlitePool::connect(&self.url).await.unwrap().execute(on_sqlite).await.unwrap();
        } else {
            PgPool::connect(&self.url).await.unwrap().execute(on_postgres).await.unwrap();
        }
    }
}

/// The events that a consumer of Choco has received.
#[derive(Clone, Default)]
struct Received(Arc<Mutex<Vec<(IdempotencyKey, AnyEvent)>>>);

impl Received {
    async fn by(stage: &Stage) -> Self {
        let received = Self::default();
        let seen = received.clone();
        let consumer = stage.consumer("choco").feed(Feed::Choco).on(move |delivery: Delivery<AnyEvent>| {
            let event = delivery.event().clone();
            seen.0.lock().unwrap().push((event.idempotency_key(), event));
            async { Ok(()) }
        });
        tokio::spawn(consumer.build().await.unwrap().run(std::future::pending()));
        received
    }

    fn keys(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(key, _)| key.to_string()).collect()
    }

    fn event(&self, key: &str) -> AnyEvent {
        let all = self.0.lock().unwrap();
        all.iter().find(|(known, _)| known.to_string() == key).unwrap().1.clone()
    }
}

/// Returns the key of the event that was announced according to this answer.
fn announced(answer: &Answer, event_type: &str) -> String {
    let announced = &answer.json()["announced"];
    assert_eq!(announced["eventType"], event_type, "{answer:?}");
    announced["idempotencyKey"].as_str().unwrap().to_owned()
}

fn announced_nothing(answer: &Answer) {
    assert_eq!((answer.status, &answer.json()["announced"]), (200, &Value::Null), "{answer:?}");
}

async fn the_whole_flow(database: TestDatabase) {
    let stage = Stage::new().await;
    let received = Received::by(&stage).await;
    let service = Orchestrator::start(stage.server.url(), &database.url).await;
    let mut keys = Vec::new();

    // Blanks and the order of names are not part of the content.
    let canonical = r#"{"a":[1,-2,0.5,null],"text":"ä\n"}"#;
    let publish = r#"{ "uri": "strat://dev/rule/no-secrets@1.0.0", "actor": "user:alice",
        "content": { "text": "\u00e4\u000a", "a": [1, -2, 5e-1, null] } }"#;
    let fingerprint = format!("blake3:{}", blake3::hash(canonical.as_bytes()));
    let answer = service.post("/units", publish).await;
    assert_eq!((answer.status, answer.json()["fingerprint"].as_str()), (201, Some(&*fingerprint)));
    keys.push(announced(&answer, "unit.published"));
    announced_nothing(&service.post("/units", publish).await);

    let deprecate = json!({ "reason": "old", "successor": "strat://dev/rule/no-secrets@2.0.0" }).to_string();
    let deprecated = format!("{RULE}/deprecate");
    keys.push(announced(&service.post(&deprecated, &deprecate).await, "unit.deprecated"));
    announced_nothing(&service.post(&deprecated, &deprecate).await);
    assert_eq!(service.get(RULE).await.json()["status"], "deprecated");
    // It really happens again, so it is another fact each time.
    for _ in 0..2 {
        keys.push(announced(&service.post("/units", publish).await, "unit.published"));
        announced_nothing(&service.post("/units", publish).await);
        keys.push(announced(&service.post(&deprecated, &deprecate).await, "unit.deprecated"));
    }

    let verify = async || service.post(&format!("{RULE}/verify"), "").await;
    keys.push(announced(&verify().await, "unit.fingerprint.verified"));
    announced_nothing(&verify().await);
    for restored_by_publishing in [false, true] {
        let tamper = "UPDATE units SET content = '{'";
        database.run(tamper, tamper).await;
        keys.push(announced(&verify().await, "unit.tampered"));
        announced_nothing(&verify().await);
        let shown = service.get(RULE).await.json();
        assert_eq!((&shown["integrity"], &shown["content"]), (&json!("tampered"), &json!("{")));
        if restored_by_publishing {
            keys.push(announced(&service.post("/units", publish).await, "unit.published"));
            assert_eq!(service.get(RULE).await.json()["integrity"], "unverified");
        } else {
            let restore = r#"UPDATE units SET content = '{"a":[1,-2,0.5,null],"text":"ä\n"}'"#;
            database.run(restore, restore).await;
        }
        keys.push(announced(&verify().await, "unit.fingerprint.verified"));
    }
    let shown = service.get(RULE).await.json();
    assert_eq!((&shown["integrity"], &shown["fingerprint"]), (&json!("verified"), &json!(fingerprint)));
    assert_eq!(shown["content"], serde_json::from_str::<Value>(canonical).unwrap());

    let import = json!({ "imported": "choco://docs/style", "fingerprint": fingerprint }).to_string();
    keys.push(announced(&service.post(&format!("{RULE}/imports"), &import).await, "unit.import.resolved"));
    announced_nothing(&service.post(&format!("{RULE}/imports"), &import).await);

    let chain = json!({ "uri": "strat://legal/chain/review@2.1.0", "content": ["draft", "review"] });
    keys.push(announced(&service.post("/units", chain.to_string()).await, "unit.published"));
    let gate = async |run: &str, command: &str, body: Value| {
        service.post(&format!("{CHAIN}/gates/legal/runs/{run}/{command}"), body.to_string()).await
    };
    assert_eq!(gate("run-1", "resolve", json!({ "outcome": "pass" })).await.status, 409);
    for run in ["run-1", "run-2"] {
        keys.push(announced(&gate(run, "fire", json!({ "actor": "ci" })).await, "chain.gate.fired"));
        announced_nothing(&gate(run, "fire", json!({})).await);
        let pass = json!({ "outcome": "pass", "resolvedBy": "user:bob" });
        keys.push(announced(&gate(run, "resolve", pass.clone()).await, "chain.gate.resolved"));
        announced_nothing(&gate(run, "resolve", pass).await);
        assert_eq!(gate(run, "resolve", json!({ "outcome": "fail" })).await.status, 409);
    }

    let all = keys.len();
    eventually("received events", async || received.keys().len(), |count| *count >= all).await;
    let (mut wanted, mut got) = (keys.clone(), received.keys());
    wanted.sort();
    got.sort();
    assert_eq!(got, wanted);
    assert_eq!(wanted.iter().collect::<std::collections::HashSet<_>>().len(), all);
    // The fields that the consumer receives, beside the key.
    let AnyEvent::UnitPublished(again) = received.event(&keys[2]) else { panic!("{keys:?}") };
    assert_eq!(again.occurrence.unwrap().get(), 2);
    assert_eq!(
        (again.previous_status.as_deref(), again.actor.as_deref()),
        (Some("deprecated"), Some("user:alice"))
    );
    let AnyEvent::UnitDeprecated(old) = received.event(&keys[1]) else { panic!("{keys:?}") };
    assert_eq!((old.reason.as_deref(), old.successor.unwrap().version()), (Some("old"), "2.0.0"));
    let AnyEvent::UnitTampered(tampered) = received.event(&keys[7]) else { panic!("{keys:?}") };
    assert_eq!(tampered.expected_fingerprint.as_str(), fingerprint);
    assert_eq!(tampered.actual_fingerprint.as_str(), format!("blake3:{}", blake3::hash(b"{")));
    let AnyEvent::ChainGateResolved(resolved) = received.event(&keys[all - 1]) else { panic!("{keys:?}") };
    assert_eq!((resolved.run_id.as_str(), resolved.resolved_by.as_deref()), ("run-2", Some("user:bob")));

    let pending = async || service.metric("orchestrator_outbox_pending").await;
    eventually("events in the outbox", pending, |count| count == "0").await;
    for (name, value) in [
        ("orchestrator_relay_published_total", all.to_string().as_str()),
        ("orchestrator_events_enqueued_total{type=\"unit.published\"}", "5"),
        ("orchestrator_events_enqueued_total{type=\"unit.tampered\"}", "2"),
        ("orchestrator_http_requests_total{route=\"/units\",status=\"201\"}", "2"),
        ("orchestrator_outbox_oldest_pending_seconds", "0"),
        ("orchestrator_relay_quarantined", "0"),
    ] {
        assert_eq!(service.metric(name).await, value, "{name}");
    }
    assert_eq!(service.stop().await, "orchestrator has drained");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_flow_on_sqlite() {
    the_whole_flow(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_flow_on_postgres() {
    support::needs!(Postgres);
    the_whole_flow(TestDatabase::postgres().await).await;
}

/// Many publish the same unit at once, and one of them is first.
async fn one_of_many_announces(database: TestDatabase) {
    let stage = Stage::new().await;
    let service = Orchestrator::start(stage.server.url(), &database.url).await;
    let body = json!({ "uri": "strat://dev/rule/a@1.0.0", "content": "x" }).to_string();
    let answers = join_all((0..20).map(|_| service.post("/units", &body))).await;
    let first = answers.iter().filter(|answer| !answer.json()["announced"].is_null());
    assert_eq!((first.count(), answers.iter().filter(|answer| answer.status == 201).count()), (1, 1));
    assert!(answers.iter().all(|answer| answer.status < 300), "{answers:?}");
}

#[tokio::test]
async fn one_of_many_announces_on_sqlite() {
    one_of_many_announces(TestDatabase::sqlite()).await;
}

#[tokio::test]
async fn one_of_many_announces_on_postgres() {
    support::needs!(Postgres);
    one_of_many_announces(TestDatabase::postgres().await).await;
}

/// A state whose event cannot be enqueued is not reached.
async fn what_cannot_be_announced_is_not_done(database: TestDatabase) {
    let stage = Stage::new().await;
    let service = Orchestrator::start(stage.server.url(), &database.url).await;
    let refuse =
        "CREATE TRIGGER refuse BEFORE INSERT ON stratt_outbox BEGIN SELECT RAISE(ABORT, 'full'); END";
    let refuse_too = "ALTER TABLE stratt_outbox ADD CONSTRAINT refuse CHECK (false) NOT VALID";
    database.run(refuse, refuse_too).await;
    let body = json!({ "uri": "strat://dev/rule/a@1.0.0", "content": "x" }).to_string();
    let answer = service.post("/units", &body).await;
    assert_eq!((answer.status, answer.head.contains("retry-after: 1")), (503, true), "{answer:?}");
    assert_eq!(service.get("/units/dev/rule/a@1.0.0").await.status, 404);
    database.run("DROP TRIGGER refuse", "ALTER TABLE stratt_outbox DROP CONSTRAINT refuse").await;
    assert_eq!(service.post("/units", &body).await.status, 201);
    let published = async || service.metric("orchestrator_relay_published_total").await;
    eventually("published events", published, |count| count == "1").await;
}

#[tokio::test]
async fn what_cannot_be_announced_is_not_done_on_sqlite() {
    what_cannot_be_announced_is_not_done(TestDatabase::sqlite()).await;
}

#[tokio::test]
async fn what_cannot_be_announced_is_not_done_on_postgres() {
    support::needs!(Postgres);
    what_cannot_be_announced_is_not_done(TestDatabase::postgres().await).await;
}

/// Killed after the commit and before the event could reach the broker.
async fn what_is_committed_survives_a_kill(database: TestDatabase) {
    let mut stage = Stage::new().await;
    let received = Received::by(&stage).await;
    let service = Orchestrator::start(stage.server.url(), &database.url).await;
    stage.server.kill();
    let body = json!({ "uri": "strat://dev/rule/a@1.0.0", "content": "x" }).to_string();
    let answer = service.post("/units", &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let key = announced(&answer, "unit.published");
    assert_eq!(service.metric("orchestrator_outbox_pending").await, "1");
    assert_eq!(service.metric("orchestrator_relay_published_total").await, "0");
    service.kill().await;

    stage.server.restart().await.unwrap();
    assert!(received.keys().is_empty());
    let service = Orchestrator::start(stage.server.url(), &database.url).await;
    announced_nothing(&service.post("/units", &body).await);
    // Events of one unit stay in order: once the next one has arrived, no other copy of the first can follow.
    let next = announced(&service.post("/units/dev/rule/a@1.0.0/deprecate", "").await, "unit.deprecated");
    eventually("received events", async || received.keys().len(), |count| *count >= 2).await;
    let pending = async || service.metric("orchestrator_outbox_pending").await;
    eventually("events in the outbox", pending, |count| count == "0").await;
    assert_eq!(received.keys(), [key, next]);
    assert_eq!(stage.stream(Feed::Strat).await.cached_info().state.messages, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_survives_a_kill_on_sqlite() {
    what_is_committed_survives_a_kill(TestDatabase::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_survives_a_kill_on_postgres() {
    support::needs!(Postgres);
    what_is_committed_survives_a_kill(TestDatabase::postgres().await).await;
}

#[tokio::test]
async fn a_running_request_is_answered_and_announced_at_the_end() {
    let (stage, database) = (Stage::new().await, TestDatabase::sqlite());
    let service = Orchestrator::start(stage.server.url(), &database.url).await;
    let body = json!({ "uri": "strat://dev/rule/a@1.0.0", "content": "x" }).to_string();
    let request = String::from_utf8(post("/units", "application/json", &body)).unwrap();
    let head = request.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    let mut connection = service.connect().await.unwrap();
    connection.write_all(head.strip_suffix(&body).unwrap().as_bytes()).await.unwrap();
    // The service reads the body from here on.
    let mut go_on = [0; 25];
    connection.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    service.terminate().await;
    eventually("new connections", async || service.connect().await.is_ok(), |is_open| !*is_open).await;
    connection.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    assert_eq!(service.last_words().await, "orchestrator has drained");
    assert_eq!(stage.stream(Feed::Strat).await.cached_info().state.messages, 1);
}

#[tokio::test]
async fn readiness_follows_the_broker_and_its_streams() {
    let mut stage = Stage::new().await;
    let database = TestDatabase::sqlite();
    let service = Orchestrator::start(stage.server.url(), &database.url).await;
    let readiness = async || {
        let answer = service.get("/readyz").await;
        let said = answer.json();
        let part = |name: &str| said[name] == "ok";
        (answer.status, part("database"), part("broker"), part("streams"))
    };
    assert_eq!(readiness().await, (200, true, true, true));
    stage.server.kill();
    eventually("readiness", readiness, |ready| *ready == (503, true, false, false)).await;
    assert_eq!(service.get("/healthz").await.status, 200);
    stage.server.restart().await.unwrap();
    eventually("readiness", readiness, |ready| *ready == (200, true, true, true)).await;
    stage.context().delete_stream(Feed::Choco.stream()).await.unwrap();
    eventually("readiness", readiness, |ready| *ready == (503, true, true, false)).await;
    assert_eq!(service.stop().await, "orchestrator has drained");
}

#[tokio::test]
async fn an_outage_of_the_database_is_told_and_survived() {
    support::needs!(Postgres);
    let (stage, mut postgres) = (Stage::new().await, Postgres::start().await.unwrap());
    let service = Orchestrator::start(stage.server.url(), postgres.url()).await;
    postgres.kill();
    let readiness = async || {
        let answer = service.get("/readyz").await;
        (answer.status, answer.json()["database"] == "ok", answer.json()["broker"] == "ok")
    };
    eventually("readiness", readiness, |ready| *ready == (503, false, true)).await;
    let body = json!({ "uri": "strat://dev/rule/a@1.0.0", "content": "x" }).to_string();
    assert_eq!(service.post("/units", &body).await.status, 503);
    assert!(!service.get("/metrics").await.body.contains("outbox_pending"));
    postgres.restart().await.unwrap();
    eventually("readiness", readiness, |ready| *ready == (200, true, true)).await;
    assert_eq!(service.post("/units", &body).await.status, 201);
    let published = async || service.metric("orchestrator_relay_published_total").await;
    eventually("published events", published, |count| count == "1").await;
    assert_eq!(service.stop().await, "orchestrator has drained");
}

#[tokio::test]
async fn without_settings_it_runs_on_a_file_and_a_broker_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let service = Orchestrator::start_with(&[("TMPDIR", folder.path().to_str().unwrap())]).await;
    let body = json!({ "uri": "strat://dev/rule/a@1.0.0", "content": "x" }).to_string();
    assert_eq!(service.post("/units", &body).await.status, 201);
    let published = async || service.metric("orchestrator_relay_published_total").await;
    eventually("published events", published, |count| count == "1").await;
    assert_eq!(service.stop().await, "orchestrator has drained");
    assert!(folder.path().join("orchestrator_http.db").is_file());
}
