//! Rejections of the example `orchestrator_http`: unusable settings, and wrong or hostile requests.

use serde_json::{Value, json};
use support::{Orchestrator, Stage, post};
use tokio::io::AsyncWriteExt;

const URI: &str = "strat://dev/rule/a@1.0.0";
const UNIT: &str = "/units/dev/rule/a@1.0.0";

async fn service(stage: &Stage, folder: &tempfile::TempDir) -> Orchestrator {
    let database = format!("sqlite:{}", folder.path().join("orchestrator.db").display());
    let service = Orchestrator::start(stage.server.url(), &database).await;
    let body = json!({ "uri": URI, "content": { "text": "x" } }).to_string();
    assert_eq!(service.post("/units", body).await.status, 201);
    service
}

/// Path, body, expected status, and the field that is named.
fn wrong_requests() -> Vec<(&'static str, String, u16, Value)> {
    let content = |text: &str| format!(r#"{{"uri":"{URI}","content":{text}}}"#);
    let deep = "[".repeat(200) + &"]".repeat(200);
    let none = Value::Null;
    vec![
        ("/units", String::new(), 422, json!("uri")),
        ("/units", "{}".into(), 422, json!("uri")),
        ("/units", "{".into(), 400, none.clone()),
        ("/units", "nonsense".into(), 400, none.clone()),
        ("/units", "[]".into(), 400, none.clone()),
        ("/units", format!(r#"["{URI}",{{}}]"#), 400, none.clone()),
        ("/units", content("1") + "{}", 400, none.clone()),
        ("/units", format!(r#"{{"uri":"{URI}"}}"#), 422, json!("content")),
        ("/units", format!(r#"{{"uri":"{URI}","content":null}}"#), 422, json!("content")),
        ("/units", r#"{"uri":"strat://dev/rule/*@1.0.0","content":1}"#.into(), 422, json!("uri")),
        ("/units", r#"{"uri":"strat://dev.x/rule/a@1.0.0","content":1}"#.into(), 422, json!("uri")),
        ("/units", r#"{"uri":"http://dev/rule/a@1.0.0","content":1}"#.into(), 422, json!("uri")),
        ("/units", r#"{"uri":7,"content":1}"#.into(), 422, json!("uri")),
        ("/units", r#"{"uri":["a"],"content":1}"#.into(), 422, json!("uri")),
        ("/units", format!(r#"{{"uri":"{URI}","uri":"{URI}","content":1}}"#), 422, json!("uri")),
        ("/units", content(r#"{"text":"y"}"#), 409, json!("content")),
        ("/units", content(r#"{"a":{"b":1,"b":2}}"#), 422, json!("content.a")),
        ("/units", content("1e400"), 400, none.clone()),
        ("/units", content(&deep), 400, none.clone()),
        ("/units", content(r#""\ud800""#), 400, none.clone()),
        ("/units", content(r#"1,"actor":"\u0000""#), 422, json!("actor")),
        ("/units", content(r#"1,"actor":"""#), 422, json!("actor")),
        ("/units", content(&format!(r#"1,"actor":"{}""#, "a".repeat(1025))), 422, json!("actor")),
        ("/units", content(r#"1,"actor":{}"#), 422, json!("actor")),
        ("/units", content(r#"1,"owner":"x""#), 422, json!("owner")),
        ("/units", content(&format!("\"{}\"", "a".repeat(256 * 1024))), 413, none.clone()),
        ("/units/dev/rule/b@1.0.0/deprecate", "{}".into(), 404, json!("uri")),
        ("/units/dev/rule/a@1/deprecate", "{}".into(), 422, json!("uri")),
        ("/units/dev/rule/a%2Fb@1.0.0/verify", "{}".into(), 422, json!("uri")),
        ("/units/dev/rule/a%0a@1.0.0/verify", "{}".into(), 422, json!("uri")),
        ("/units/dev/rule/%ff@1.0.0/verify", "{}".into(), 400, none.clone()),
        ("/units/dev/rule/b@1.0.0/verify", "{}".into(), 404, json!("uri")),
        ("/units/dev/rule/a@1.0.0/verify", r#"{"actor":1}"#.into(), 422, json!("actor")),
        ("/units/dev/rule/a@1.0.0/deprecate", r#"{"successor":"x"}"#.into(), 422, json!("successor")),
        ("/units/dev/rule/a@1.0.0/deprecate", format!(r#"{{"successor":"{URI}"}}"#), 422, json!("successor")),
        ("/units/dev/rule/a@1.0.0/deprecate", r#"{"reason":"a\nb"}"#.into(), 422, json!("reason")),
        ("/units/dev/rule/a@1.0.0/imports", "{}".into(), 422, json!("imported")),
        ("/units/dev/rule/a@1.0.0/imports", r#"{"imported":"a b"}"#.into(), 422, json!("imported")),
        ("/units/dev/rule/a@1.0.0/imports", r#"{"imported":"a:b"}"#.into(), 422, json!("fingerprint")),
        (
            "/units/dev/rule/a@1.0.0/imports",
            r#"{"imported":"a:b","fingerprint":"blake3:0"}"#.into(),
            422,
            json!("fingerprint"),
        ),
        ("/units/dev/rule/a@1.0.0/gates/g/runs/r/fire", "{}".into(), 422, json!("uri")),
        ("/units/dev/chain/a@1.0.0/gates/g/runs/r/fire", "{}".into(), 404, json!("uri")),
        ("/units/dev/chain/a@1.0.0/gates/g%20/runs/r/fire", "{}".into(), 422, json!("gate")),
        ("/units/dev/chain/a@1.0.0/gates/g/runs/%2A/fire", "{}".into(), 422, json!("runId")),
        ("/units/dev/chain/a@1.0.0/gates/g/runs/r/resolve", "{}".into(), 422, json!("outcome")),
        (
            "/units/dev/chain/a@1.0.0/gates/g/runs/r/resolve",
            r#"{"outcome":"maybe"}"#.into(),
            422,
            json!("outcome"),
        ),
        ("/nowhere", "{}".into(), 404, none.clone()),
        ("/units/dev/rule/a@1.0.0", "{}".into(), 405, none),
    ]
}

#[tokio::test]
async fn wrong_requests_are_told_what_to_mend() {
    let (stage, folder) = (Stage::new().await, tempfile::tempdir().unwrap());
    let service = service(&stage, &folder).await;
    for (path, body, status, field) in wrong_requests() {
        let sent = format!("{path} {body:.200}");
        let answer = service.post(path, &body).await;
        assert_eq!(answer.status, status, "{sent}: {answer:?}");
        assert!(answer.head.contains("content-type: application/problem+json"), "{sent}: {answer:?}");
        let problem = answer.json();
        assert_eq!(problem["status"], status, "{sent}: {problem}");
        assert_eq!(problem["field"], field, "{sent}: {problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{sent}: {problem}");
    }
    let other_media = service.send(post("/units", "text/plain", "{}")).await;
    assert_eq!(other_media.status, 415, "{other_media:?}");
    // Nothing of it was carried out.
    let unit = service.get(UNIT).await.json();
    assert_eq!((&unit["status"], &unit["content"]["text"]), (&json!("published"), &json!("x")));
    assert_eq!(stage.stream(stratt_event_bridge::Feed::Strat).await.cached_info().state.messages, 1);
}

#[tokio::test]
async fn hostile_connections_harm_nobody() {
    let (stage, folder) = (Stage::new().await, tempfile::tempdir().unwrap());
    let service = service(&stage, &folder).await;
    // A body that does not arrive during the test.
    let mut slow = service.connect().await.unwrap();
    slow.write_all(
        b"POST /units HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
    )
    .await
    .unwrap();
    for bytes in [&b"\0\xff\r\n\r\n"[..], b"GET /units\xff HTTP/1.1\r\n\r\n", b"POST /units HTTP/9\r\n\r\n"] {
        assert_eq!(service.send(bytes).await.status, 400);
    }
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "a".repeat(70_000));
    assert!(matches!(service.send(long).await.status, 400..500));
    let made_up = service.send("MADE-UP /units HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert_eq!(made_up.status, 405);
    let utf16 = service.post("/units", b"\xff\xfe{\0}\0").await;
    assert_eq!(utf16.status, 400);
    let bad_utf8 = service.post("/units", b"{\"uri\":\"\xff\"}").await;
    assert!(matches!(bad_utf8.status, 400 | 422), "{bad_utf8:?}");
    assert_eq!(service.get(UNIT).await.status, 200);
    let metrics = service.get("/metrics").await.body;
    assert!(!metrics.contains("status=\"5"), "{metrics}");
    // The slow request does not keep the service from ending.
    assert_eq!(service.stop().await, "orchestrator has drained");
}

#[tokio::test]
async fn what_does_not_answer_is_named_soon_and_without_its_password() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("orchestrator.db").display());
    let nowhere = format!("sqlite:{}", folder.path().join("missing/orchestrator.db").display());
    let cases = [
        ("nats://ann:secret@127.0.0.1:1", file.as_str(), "no broker at nats://127.0.0.1:1"),
        ("", "postgres://ann:secret@127.0.0.1:1/x", "no database at postgres://127.0.0.1:1/x"),
        ("", nowhere.as_str(), nowhere.as_str()),
        ("", "mysql://ann:secret@127.0.0.1:1/x", "must be postgres: or sqlite:"),
    ];
    for (nats_url, database_url, wanted) in cases {
        let settings = [("NATS_URL", nats_url), ("DATABASE_URL", database_url)];
        let output = Orchestrator::command(&settings).output().await.unwrap();
        assert!(!output.status.success(), "{wanted}");
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(said.contains(wanted) && !said.contains("secret"), "{wanted}: {said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let settings = [("HTTP_ADDR", address.as_str()), ("DATABASE_URL", file.as_str())];
    let output = Orchestrator::command(&settings).output().await.unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && said.contains(&format!("cannot listen on {address}")), "{said}");
}

#[tokio::test]
async fn a_setting_that_makes_no_sense_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite:{}", folder.path().join("orchestrator.db").display());
    for (name, value) in [
        ("HTTP_READ_TIMEOUT", "0"),
        ("HTTP_READ_TIMEOUT", "soon"),
        ("NATS_REPLICAS", "three"),
        ("STREAMS", "maybe"),
    ] {
        let settings = [("DATABASE_URL", file.as_str()), (name, value)];
        let output = Orchestrator::command(&settings).output();
        let output = tokio::time::timeout(support::DEADLINE, output).await.expect("it has started").unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(!output.status.success() && said.contains(&format!("{name}: must be")), "{name}: {said}");
    }
}
