//! `strattctl dead-letters` as operators and their scripts use it: run as a program, judged by its output and its exit
//! code.

use async_nats::{ConnectOptions, HeaderMap};
use rcgen::{CertificateParams, Issuer, KeyPair};
use serde_json::Value;
use std::{
    path::Path,
    process::{Output, Stdio},
    time::{Duration, Instant},
};
use stratt_event_bridge::{
    Delivery, EventBridge, Feed, HandlerError, UnitDeprecated, UnitPublished, UnitUri, async_nats,
    testing::NatsServer, topology::Topology,
};
use support::{Running, Stage, deprecated, published, strattctl, without_settings};
use tokio::process::Command;

fn tool(url: &str, arguments: &str) -> Command {
    let mut command = without_settings(strattctl());
    command.env("NATS_URL", url).arg("dead-letters").args(arguments.split_whitespace());
    command
}

/// The exit code and the output of the tool.
async fn run(url: &str, arguments: &str) -> (i32, String, String) {
    said(tool(url, arguments).output().await.unwrap())
}

fn said(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn json(url: &str, arguments: &str) -> (i32, Vec<Value>) {
    let (code, lines, _) = run(url, &format!("--json {arguments}")).await;
    (code, lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
}

async fn sequences(url: &str, arguments: &str) -> Vec<u64> {
    let (code, letters) = json(url, arguments).await;
    assert_eq!(code, 0);
    letters.iter().map(|letter| letter["sequence"].as_u64().unwrap()).collect()
}

/// Stores three letters of the consumer `one`: exhausted in dev, rejected in dev, exhausted in core, in this order.
async fn three_letters() -> Stage {
    let stage = Stage::new().await;
    let failing = stage
        .consumer("one")
        .on(|_: Delivery<UnitPublished>| async { Err(HandlerError::retry("down")) })
        .on(|_: Delivery<UnitDeprecated>| async { Err(HandlerError::reject("never")) });
    let running = Running::start(failing.build().await.unwrap());
    stage.bridge.publish(published("a", 1)).await.unwrap();
    stage.dead_letters_are(1).await;
    stage.bridge.publish(deprecated("b", 2)).await.unwrap();
    stage.dead_letters_are(2).await;
    let elsewhere: UnitUri = "strat://core/rule/c@1.0.0".parse().unwrap();
    stage.bridge.publish(UnitPublished::new(elsewhere, published("c", 3).fingerprint)).await.unwrap();
    stage.dead_letters_are(3).await;
    running.stop().await;
    stage
}

/// Stores a record with any text, as any user with permission for the subject can.
async fn hostile_letter(stage: &Stage, error: &str, payload: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.insert("Strat-Dead-Letter-Error", error);
    headers.insert("X-Other", error);
    let subject = "stratt.dlq.evil.dev.unit.published";
    let stored = stage.context().publish_with_headers(subject, headers, payload.to_vec().into()).await;
    stored.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn letters_are_listed_by_what_is_known_of_them_and_shown() {
    let stage = three_letters().await;
    let url = stage.server.url();
    let second = stage.dead_letters().await[1].time().unwrap();
    let second = second.format(&time::format_description::well_known::Rfc3339).unwrap();
    for (filter, wanted) in [
        ("", vec![1, 2, 3]),
        ("--consumer one", vec![1, 2, 3]),
        ("--consumer two", vec![]),
        ("--domain core", vec![3]),
        ("--type unit.deprecated", vec![2]),
        ("--reason exhausted", vec![1, 3]),
        ("--reason exhausted --domain dev", vec![1]),
        (&format!("--before {second}"), vec![1]),
        (&format!("--after {second}"), vec![2, 3]),
        ("--after 2999-01-01T00:00:00Z", vec![]),
    ] {
        assert_eq!(sequences(url, &format!("list {filter}")).await, wanted, "{filter}");
    }
    let (code, lines, _) = run(url, "list --type unit.deprecated").await;
    let words: Vec<_> = lines.split_whitespace().collect();
    assert_eq!((code, words.len(), lines.lines().count()), (0, 7, 1), "{lines}");
    assert_eq!([words[0], words[2], words[3]], ["2", "rejected", "one"]);
    assert_eq!(words[4..], ["strat.dev.unit.deprecated", "1", "never"]);

    let letter = stage.dead_letters().await.remove(1);
    let (_, shown) = json(url, "show 2").await;
    assert_eq!(shown[0]["payload"].as_str().unwrap().as_bytes(), letter.payload());
    let rest = [
        ("consumer", "one"),
        ("reason", "rejected"),
        ("error", "never"),
        ("stream", "STRATT_EVENTS"),
        ("subject", "strat.dev.unit.deprecated"),
        ("domain", "dev"),
        ("eventType", "unit.deprecated"),
        ("payloadEncoding", "text"),
        ("time", &second),
    ];
    for (field, wanted) in rest {
        assert_eq!(shown[0][field], wanted, "{field}");
    }
    assert_eq!((&shown[0]["streamSequence"], &shown[0]["deliveries"]), (&2.into(), &1.into()));
    assert_eq!(shown[0]["payloadOmitted"], false);
    assert_eq!(shown[0]["headers"]["Content-Type"][0], "application/json");
    let (code, text, _) = run(url, "show 2").await;
    assert_eq!(code, 0);
    assert!(
        text.contains("Strat-Dead-Letter-Error: never\n") && text.contains("payload (text): {\""),
        "{text}"
    );
    let (code, _, complaint) = run(url, "show 99").await;
    assert_eq!((code, complaint.trim_end()), (1, "strattctl: dead letter 99: not found"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_redriven_only_when_it_is_confirmed() {
    let stage = three_letters().await;
    let url = stage.server.url();
    let stored = || async { stage.stream(Feed::Strat).await.cached_info().state.messages };
    let (code, plan) = json(url, "redrive --all --reason exhausted").await;
    assert_eq!((code, plan.len()), (0, 2));
    assert!(plan.iter().all(|line| line["outcome"] == "would be redriven"), "{plan:?}");
    let (code, _, complaint) = run(url, "redrive --all").await;
    let told = "strattctl: 3 would be redriven; nothing is done without --yes";
    assert_eq!((code, complaint.trim_end()), (0, told));
    assert_eq!((stored().await, stage.dead_letters().await.len()), (3, 3));

    let (code, done) = json(url, "redrive --all --reason exhausted --yes").await;
    assert_eq!((code, done.len()), (0, 2));
    for (line, sequence) in done.iter().zip([1, 3]) {
        assert_eq!((&line["sequence"], &line["outcome"]), (&sequence.into(), &"redriven".into()));
        assert_eq!(line["stream"], "STRATT_EVENTS");
        assert!(line["streamSequence"].as_u64().unwrap() > 3);
    }
    assert_eq!((stored().await, sequences(url, "list").await), (5, vec![2]));
    // One of them exists and one does not: the first is redriven, and the exit code shows that not all were.
    let (code, some) = json(url, "redrive 2 99 --yes").await;
    assert_eq!(code, 1);
    assert_eq!((&some[0]["outcome"], &some[1]["outcome"]), (&"redriven".into(), &"failed".into()));
    assert_eq!(some[1]["error"], "dead letter 99: not found");
    assert_eq!((stored().await, sequences(url, "list").await), (6, vec![]));
    let (code, _, complaint) = run(url, "redrive --all --yes").await;
    assert_eq!((code, complaint.trim_end()), (0, "strattctl: 0 redriven"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_discarded_only_when_it_is_confirmed() {
    let stage = three_letters().await;
    let url = stage.server.url();
    let (code, plan, _) = run(url, "discard --all --domain dev").await;
    assert_eq!((code, plan.as_str()), (0, "1 would be discarded\n2 would be discarded\n"));
    assert_eq!(sequences(url, "list").await, [1, 2, 3]);
    let (code, done, complaint) = run(url, "discard --all --domain dev --yes").await;
    assert_eq!((code, done.as_str()), (0, "1 discarded\n2 discarded\n"));
    assert_eq!(complaint, "strattctl: 2 discarded\n");
    assert_eq!(sequences(url, "list").await, [3]);
    let (code, _, complaint) = run(url, "discard 2 3 --yes").await;
    assert_eq!((code, complaint.as_str()), (1, "strattctl: 1 discarded, 1 failed\n"));
    assert!(sequences(url, "list").await.is_empty());
    assert_eq!(stage.stream(Feed::Strat).await.cached_info().state.messages, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_text_never_drives_the_terminal() {
    let stage = Stage::new().await;
    let url = stage.server.url();
    let evil = "\u{1b}[2J\u{9b}31m\u{7f}\u{202e}\u{200b}\u{e0001}\u{7}grün";
    hostile_letter(&stage, evil, format!("{evil}\n1 redriven").as_bytes()).await;
    hostile_letter(&stage, evil, b"\xff\x1b[2J").await;
    for arguments in
        ["list", "show 1", "show 2", "redrive 1 2 --yes", "--json list", "--json show 1", "--json show 2"]
    {
        let (code, text, complaint) = run(url, arguments).await;
        assert_eq!(code, i32::from(arguments.starts_with("redrive")), "{arguments}: {complaint}");
        for character in "\u{1b}\u{9b}\u{7f}\u{202e}\u{200b}\u{e0001}\u{7}".chars() {
            assert!(!text.contains(character) && !complaint.contains(character), "{arguments}: {text:?}");
        }
        assert!(arguments.starts_with("redrive") || text.contains("grün"), "{arguments}: {text}");
    }
    let (_, letters) = json(url, "list").await;
    assert_eq!((&letters[0]["error"], &letters[0]["reason"]), (&evil.into(), &Value::Null));
    assert_eq!(letters[0]["payload"], format!("{evil}\n1 redriven"));
    assert_eq!(
        (&letters[1]["payloadEncoding"], &letters[1]["payload"]),
        (&"base64".into(), &"/xtbMko=".into())
    );
}

#[tokio::test]
async fn wrong_usage_ends_with_2_before_anything_is_asked() {
    for arguments in [
        "",
        "redrive",
        "discard",
        "redrive 1 --all",
        "redrive 1 --domain dev",
        "discard --group a --all",
        "redrive 1 --interval 5ms",
        "redrive --group a --interval 5",
        "groups --before 2026-01-01T00:00:00Z",
        "redrive one",
        "show",
        "list --reason bored",
        "list --before yesterday",
        "list --consumer a.b",
        "list --type unit.unknown",
        "unknown",
    ] {
        let (code, out, complaint) = run("nats://127.0.0.1:1", arguments).await;
        assert_eq!((code, out.as_str()), (2, ""), "{arguments}: {complaint}");
    }
}

#[tokio::test]
async fn without_a_broker_it_ends_and_hides_the_password() {
    let begun = Instant::now();
    let (code, out, complaint) =
        run("nats://op:s3cret@127.0.0.1:1,nats://op:s3cret@localhost:1", "list").await;
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert_eq!((code, out.as_str()), (3, ""));
    assert!(complaint.contains("no broker at nats://127.0.0.1:1,nats://localhost:1: "), "{complaint}");
    assert!(!complaint.contains("s3cret"), "{complaint}");
    let (code, _, complaint) = run("nats://op:s3cret@:port", "list").await;
    assert!(code == 3 && !complaint.contains("s3cret"), "{complaint}");
    // There is a broker, but no stream of dead letters to read.
    let server = NatsServer::start().await.unwrap();
    assert_eq!(run(server.url(), "list").await.0, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_goes_away_ends_a_list_and_stops_no_work() {
    let stage = three_letters().await;
    for (arguments, left) in [("list", 3), ("show 1", 3), ("discard --all --yes", 0)] {
        let mut child = tool(stage.server.url(), arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let (code, _, complaint) = said(child.wait_with_output().await.unwrap());
        assert_eq!(code, 0, "{arguments}: {complaint}");
        assert!(!complaint.contains("panicked"), "{complaint}");
        assert_eq!(stage.dead_letters().await.len(), left, "{arguments}");
    }
}

/// Runs with these variables.
async fn run_with(url: &str, variables: &[(&str, &str)]) -> (i32, String, String) {
    said(tool(url, "list").envs(variables.iter().copied()).output().await.unwrap())
}

async fn provision(client: async_nats::Client) {
    let bridge = EventBridge::new(client, support::source());
    bridge.provision(&Topology::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_come_from_the_environment_and_are_never_printed() {
    let server =
        NatsServer::builder().config("authorization { user: op, password: s3cret }").start().await.unwrap();
    let options = ConnectOptions::with_user_and_password("op".into(), "s3cret".into());
    provision(options.connect(server.url()).await.unwrap()).await;
    let user = [("NATS_USER", "op"), ("NATS_PASSWORD", "s3cret")];
    assert_eq!(run_with(server.url(), &user).await.0, 0);
    for wrong in
        [vec![], vec![("NATS_USER", "op"), ("NATS_PASSWORD", "s3cret2")], vec![("NATS_USER", "s3cret3")]]
    {
        let (code, out, complaint) = run_with(server.url(), &wrong).await;
        assert_eq!(code, 3, "{complaint}");
        assert!(complaint.contains(server.url()), "{complaint}");
        assert!(!complaint.contains("s3cret") && out.is_empty(), "{complaint}");
    }
    let token = NatsServer::builder().config("authorization { token: s3cret }").start().await.unwrap();
    provision(ConnectOptions::with_token("s3cret".into()).connect(token.url()).await.unwrap()).await;
    assert_eq!(run_with(token.url(), &[("NATS_USER", "s3cret")]).await.0, 0);
    let (code, _, complaint) = run_with(token.url(), &[("NATS_CREDS", "/nowhere/op.creds")]).await;
    assert_eq!(code, 3);
    assert!(complaint.contains("NATS_CREDS: names a file that cannot be read: No such file"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authority_and_the_certificate_come_from_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    certificates(folder.path());
    let (certificate, key, authority) = (file("cert.pem"), file("key.pem"), file("ca.pem"));
    // Clients without TLS may connect as well: the test kit checks without TLS whether the server is ready.
    let tls = format!(
        r#"tls {{ cert_file: "{certificate}", key_file: "{key}", ca_file: "{authority}", verify: true }}
        allow_non_tls: true"#
    );
    let server = NatsServer::builder().config(tls).start().await.unwrap();
    provision(server.connect().await.unwrap()).await;
    let url = server.url().replace("nats://", "tls://");
    let all = [("NATS_CA", &*authority), ("NATS_CERT", &*certificate), ("NATS_KEY", &*key)];
    let (code, _, complaint) = run_with(&url, &all).await;
    assert_eq!((code, complaint.as_str()), (0, ""));
    // Without the authority the tool does not trust the server; without the certificate the server does not trust the
    // tool.
    assert_eq!(run_with(&url, &all[1..]).await.0, 3);
    assert_eq!(run_with(&url, &all[..1]).await.0, 3);
}

/// Returns an authority, and a certificate that it signed for this machine, for both ends.
fn certificates(folder: &Path) {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let signed = authority.self_signed(&key).unwrap();
    std::fs::write(folder.join("ca.pem"), signed.pem()).unwrap();
    let issuer = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let ours = CertificateParams::new(["127.0.0.1".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(folder.join("cert.pem"), ours.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
}
