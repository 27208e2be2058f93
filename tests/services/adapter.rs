//! The example `choco_adapter` as a service: started, fed, stopped by SIGTERM.

use std::process::Stdio;
use stratt_event_bridge::{Feed, testing::Session};
use support::{Stage, deprecated, example, published, without_settings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_handles_events_and_drains_on_sigterm() {
    let stage = Stage::new().await;
    let adapter = without_settings(example("choco_adapter"))
        .env("NATS_URL", stage.server.url())
        .env("DURABLE", "catalogue")
        .env("STREAM", "CHOCO_STRATT")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut session = Session::new(&stage.bridge);
    session.add(Feed::Choco, "catalogue".parse().unwrap());
    let listed = stage.bridge.publish(published("a", 1)).await.unwrap();
    let removed = stage.bridge.publish(deprecated("a", 1)).await.unwrap();
    for receipt in [listed, removed] {
        assert!(session.settled(&receipt).await.unwrap().is_handled());
    }
    support::signal(&adapter, "-TERM").await;
    let output = adapter.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", output.status);
    let log: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}")))
        .collect();
    let ours = log.iter().filter(|line| line["target"] == "choco_adapter");
    let messages: Vec<_> = ours.filter_map(|line| line["fields"]["message"].as_str()).collect();
    assert_eq!(messages, ["adapter is ready", "listed", "removed", "adapter has drained"]);
}

#[tokio::test]
async fn without_a_broker_it_ends_soon_and_names_the_url() {
    let mut adapter = without_settings(example("choco_adapter"));
    let output = adapter.env("NATS_URL", "nats://127.0.0.1:1").output().await.unwrap();
    assert!(!output.status.success());
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("no broker at nats://127.0.0.1:1"), "{said}");
}
