//! The audit stream.

use crate::site::{Site, rejecting};
use axum::http::StatusCode;
use futures::StreamExt;
use std::time::Duration;
use stratt_event_bridge::console::{AUDIT_STREAM, provision_audit};
use support::{Stage, eventually, published};
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_that_is_not_written_down() {
    let stage = Stage::since(11).await;
    let running = rejecting(&stage, "catalogue", "no").await;
    stage.bridge.publish(published("bad", 1)).await.unwrap();
    stage.dead_letters_are(1).await;
    running.stop().await;
    let site = Site::operated(&stage.bridge);
    let group = site.json("/api/groups").await[0]["group"].as_str().unwrap().to_owned();
    let form = "minutes=5&confirm=yes&interval_ms=0&canary_s=1&most_failed=10";
    for path in [
        "/dead-letters/1/discard",
        "/dead-letters/1/redrive",
        "/durables/strat/catalogue/pause",
        &format!("/groups/{group}/redrive"),
    ] {
        let refused = site.post(path, form).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {}", refused.text);
        assert!(refused.text.contains("nothing is done: audit stream STRATT_AUDIT"), "{}", refused.text);
    }
    // A redrive that began would have been seen by now: the answer comes after the refusal.
    assert_eq!(stage.dead_letters().await.len(), 1);
    let status = site.json("/api/status").await;
    assert!(status["durables"][0]["paused_seconds"].is_null(), "{status}");
    assert_eq!(stage.stream(stratt_event_bridge::Feed::Strat).await.cached_info().state.messages, 1);
    let page = site.get("/audit").await;
    assert!(
        page.status == StatusCode::OK && page.text.contains("nothing can be changed here"),
        "{}",
        page.text
    );
    // With the stream, the same is done.
    provision_audit(&stage.bridge, 1).await.unwrap();
    assert_eq!(site.post("/dead-letters/1/discard", form).await.status, StatusCode::SEE_OTHER);
    stage.dead_letters_are(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_entry_comes_before_its_action_and_its_outcome_after() {
    let stage = Stage::since(11).await;
    provision_audit(&stage.bridge, 1).await.unwrap();
    // Twice is harmless.
    provision_audit(&stage.bridge, 1).await.unwrap();
    let running = rejecting(&stage, "catalogue", "no").await;
    stage.bridge.publish(published("bad", 1)).await.unwrap();
    stage.dead_letters_are(1).await;
    running.stop().await;
    // What arrives at the broker, in its order.
    let mut seen = stage.client.subscribe(">").await.unwrap();
    stage.client.flush().await.unwrap();
    let site = Site::operated(&stage.bridge);
    assert_eq!(site.post("/dead-letters/1/redrive", "").await.location(), "/console/dead-letters");
    let mut order = Vec::new();
    while order.iter().filter(|subject: &&String| subject.starts_with("stratt.audit.")).count() < 2 {
        let message = timeout(Duration::from_secs(20), seen.next()).await.expect("two entries").unwrap();
        let subject = message.subject.to_string();
        if subject.starts_with("stratt.audit.") || subject.starts_with("stratt.redrive.") {
            order.push(subject);
        }
    }
    // A redriven event is seen twice: as it is published, and as the broker hands it on.
    order.dedup();
    let audited = "stratt.audit.dead-letters.1";
    assert_eq!((order.len(), &*order[0], &*order[2]), (3, audited, audited), "{order:?}");
    assert!(order[1].starts_with("stratt.redrive.catalogue."), "{order:?}");

    assert_eq!(site.post("/dead-letters/1/discard", "confirm=yes").await.status, StatusCode::NOT_FOUND);
    let entries = site.json("/api/audit").await;
    let said: Vec<_> = entries.as_array().unwrap().iter().rev().collect();
    let words = said
        .iter()
        .map(|entry| [&entry["who"], &entry["action"], &entry["phase"]].map(|w| w.as_str().unwrap()));
    let words: Vec<_> = words.collect();
    assert_eq!(
        words,
        [
            ["alice", "redrive", "begun"],
            ["alice", "redrive", "done"],
            ["alice", "discard", "begun"],
            ["alice", "discard", "failed"],
        ]
    );
    assert_eq!((&said[0]["id"], &said[2]["id"]), (&said[1]["id"], &said[3]["id"]));
    assert!(said[1]["outcome"].as_str().unwrap().starts_with("redriven as sequence 2 of STRATT_EVENTS"));
    assert!(said[3]["outcome"].as_str().unwrap().contains("not found"), "{entries}");
    let page = site.get("/audit").await.text;
    assert!(page.contains("alice") && page.contains("/console/dead-letters/1"), "{page}");
    // No entry is taken back.
    let stream = stage.context().get_stream(AUDIT_STREAM).await.unwrap();
    assert!(stream.delete_message(1).await.is_err() && stream.purge().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_ends_though_its_browser_went_away() {
    let stage = Stage::since(11).await;
    provision_audit(&stage.bridge, 1).await.unwrap();
    let running = rejecting(&stage, "catalogue", "no").await;
    stage.bridge.publish(published("bad", 1)).await.unwrap();
    stage.dead_letters_are(1).await;
    running.stop().await;
    let site = Site::operated(&stage.bridge);
    let request = site.post("/dead-letters/1/discard", "confirm=yes");
    // Polled until it waits for the broker, then dropped.
    assert!(timeout(Duration::from_micros(1), request).await.is_err());
    let entries = || async { site.json("/api/audit").await.as_array().unwrap().len() };
    eventually("begun and done", entries, |entries| *entries == 2).await;
    stage.dead_letters_are(0).await;
}
