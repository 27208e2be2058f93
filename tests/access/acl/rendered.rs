//! The text that the server reads: in order, without anything that needs to be escaped, never allowing all by accident.

use super::{guarded::Guarded, roles::all};
use serde_json::Value;
use std::time::Duration;
use stratt_event_bridge::{
    Feed,
    acl::{ConsumerRole, Inbox, OperatorRole, PublisherRole},
    async_nats::ConnectOptions,
    dedupe::BucketName,
    testing::NatsServer,
    topology::TwoAccounts,
};
use support::strattctl;
use tokio::{process::Command, time::timeout};

#[test]
fn a_block_lists_its_subjects_in_order_and_the_same_ones_once() {
    let inbox = Inbox::of_user("both").unwrap();
    let publisher = |domains: [&str; 2]| PublisherRole::of(domains.map(|domain| domain.parse().unwrap()));
    let one = publisher(["dev", "core"]).permissions(&inbox);
    assert_eq!(one.to_string(), publisher(["core", "dev"]).permissions(&inbox).to_string());
    let both = one.clone().and(one.clone());
    assert_eq!(both, one);
    let consumer = ConsumerRole::new(Feed::Choco, "both".parse().unwrap()).with_stream_checks(false);
    let expected = r#"{
  publish: { allow: [
    "$JS.ACK.*.*.CHOCO_STRATT.both.*.*.*.*.*"
    "$JS.ACK.CHOCO_STRATT.both.*.*.*.*.*"
    "$JS.API.CONSUMER.INFO.CHOCO_STRATT.both"
    "$JS.API.CONSUMER.MSG.NEXT.CHOCO_STRATT.both"
    "stratt.dlq.both.>"
  ] }
  subscribe: { allow: [
    "_INBOX_both.>"
  ] }
}"#;
    assert_eq!(consumer.permissions(&inbox).to_string(), expected);
}

#[test]
fn nothing_that_ends_a_string_or_widens_a_subject_passes() {
    for hostile in ["", "a.b", "a>", "*", "a b", "a\"", "a\\", "a\n", "$A", "ä", &"a".repeat(256)] {
        assert!(Inbox::of_user(hostile).is_err(), "{hostile:?}");
        assert!(hostile.parse::<BucketName>().is_err(), "{hostile:?}");
        assert!(TwoAccounts::new(hostile, "CHOCO").is_err(), "{hostile:?}");
        assert!(TwoAccounts::new("STRATT", hostile).is_err(), "{hostile:?}");
    }
    assert!(TwoAccounts::new("ONE", "ONE").is_err());
    for role in all() {
        for subject in role.permissions.publish().chain(role.permissions.subscribe()) {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"$._-*>".contains(&b);
            assert!(subject.bytes().all(is_plain), "{subject}");
        }
    }
    let inbox = Inbox::of_user("x").unwrap();
    assert!(OperatorRole.permissions(&inbox).publish().all(|subject| !subject.ends_with('>')));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_of_no_domain_may_publish_nothing() {
    let nothing = PublisherRole::of([]).permissions(&Inbox::of_user("none").unwrap());
    let by_config = Guarded::new(&[("none", nothing.to_string())], "").await;
    let claims = nothing.to_claims().to_string();
    let by_claims = Guarded::in_operator_mode(NatsServer::builder(), &[("none", claims)]).await;
    for guarded in [by_config, by_claims] {
        let user = guarded.user("none").await;
        user.bridge.client().publish("anything", "".into()).await.unwrap();
        timeout(Duration::from_secs(20), user.refusals.until("\"anything\"")).await.expect("it is refused");
    }
    assert!(
        nothing.to_nsc().starts_with("--deny-pub '>' --allow-sub '_INBOX_none.>'"),
        "{}",
        nothing.to_nsc()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_starts_with_what_the_tool_prints() {
    let output = Command::new(strattctl()).arg("permissions").output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let printed = String::from_utf8(output.stdout).unwrap();
    let passwords = ["ORCHESTRATOR", "CATALOGUE", "DESK", "DEPLOY", "CHOCO_ADMIN", "CHOCO_READER"];
    let passwords = passwords.map(|name| format!("{name}_PASSWORD: pw\n")).concat();
    let server = NatsServer::builder().config(passwords).config(printed).start().await.unwrap();
    for user in ["orchestrator", "catalogue", "desk", "deploy", "choco-admin", "choco-reader"] {
        let options = ConnectOptions::with_user_and_password(user.into(), "pw".into());
        let client = options.connect(server.url()).await.unwrap_or_else(|error| panic!("{user}: {error}"));
        client.flush().await.unwrap();
    }
}

async fn printed(format: &str) -> String {
    let output = Command::new(strattctl()).args(["permissions", "--format", format]).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_in_operator_mode_takes_what_the_tool_prints() {
    let printed = printed("claims").await;
    let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let users: Vec<_> =
        lines.iter().map(|line| (line["user"].as_str().unwrap(), line["permissions"].to_string())).collect();
    assert_eq!(users.len(), 5);
    let guarded = Guarded::in_operator_mode(NatsServer::builder(), &users).await;
    for (name, _) in users {
        let user = guarded.user(name).await;
        user.bridge.client().publish("anything", "".into()).await.unwrap();
        let refused = timeout(Duration::from_secs(20), user.refusals.until("\"anything\"")).await;
        assert_eq!(refused.expect("it is refused"), [""; 0], "{name}");
    }
}

#[tokio::test]
async fn the_commands_of_nsc_have_the_permissions_of_the_claims() {
    let claims = printed("claims").await;
    // The shell takes the quotes away, and prints each argument on a line of its own.
    let script = format!("nsc() {{ printf '%s\\n' \"$@\" end; }}\n{}", printed("nsc").await);
    let output = Command::new("sh").arg("-c").arg(script).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let arguments = String::from_utf8(output.stdout).unwrap();
    let calls: Vec<Vec<_>> = arguments.split("end\n").map(|call| call.lines().collect()).collect();
    for line in claims.lines() {
        let user: Value = serde_json::from_str(line).unwrap();
        let list = |kind: &str| {
            let allowed = user["permissions"][kind]["allow"].as_array().unwrap().iter();
            allowed.map(|subject| subject.as_str().unwrap()).collect::<Vec<_>>().join(",")
        };
        let name = user["user"].as_str().unwrap();
        let [publish, subscribe] = ["pub", "sub"].map(list);
        let wanted =
            ["--account", "STRATT", "--name", name, "--allow-pub", &publish, "--allow-sub", &subscribe];
        assert!(calls.contains(&[&["add", "user"][..], &wanted].concat()), "{wanted:?} of {calls:#?}");
    }
}
