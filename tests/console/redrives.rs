//! Redriving groups: canary, progress, stopping, and what becomes of it when the console goes away.

use crate::site::{Site, operator, rejecting};
use axum::http::StatusCode;
use serde_json::Value;
use std::sync::Arc;
use stratt_event_bridge::{Delivery, UnitPublished, console::provision_audit, dedupe::KvStoreOptions};
use support::{Running, Stage, eventually, published, quick};

const FORM: &str = "interval_ms=5&canary_s=30&most_failed=10";

/// Returns a console with this many dead letters of one group, and the id of the group.
async fn with_letters(stage: &Stage, count: u32) -> (Site, String) {
    provision_audit(&stage.bridge, 1).await.unwrap();
    let running = rejecting(stage, "catalogue", "table units is locked").await;
    for number in 1..=u64::from(count) {
        stage.bridge.publish(published(&format!("bad-{number}"), number)).await.unwrap();
    }
    stage.dead_letters_are(count as usize).await;
    running.stop().await;
    let site = Site::new(&stage.bridge, operator());
    let group = site.json("/api/groups").await[0]["group"].as_str().unwrap().to_owned();
    (site, group)
}

async fn mended(stage: &Stage) -> Running {
    let store = stage.bridge.create_kv_store(KvStoreOptions::default()).await.unwrap();
    let consumer = stage.bridge.consumer("catalogue", Arc::new(store)).options(quick());
    Running::start(consumer.on(|_: Delivery<UnitPublished>| async { Ok(()) }).build().await.unwrap())
}

async fn ended(site: &Site, group: &str) -> Value {
    let path = format!("/api/groups/{group}/redrive");
    eventually("end of the redrive", || site.json(&path), |seen| seen["ended"].is_string()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_redriven_with_progress() {
    let stage = Stage::since(11).await;
    let (site, group) = with_letters(&stage, 12).await;
    let page = site.get(&format!("/groups/{group}")).await.text;
    assert!(page.contains("Redrive 12") && page.contains("table units is locked"), "{page}");
    let begun = site.post(&format!("/groups/{group}/redrive"), FORM).await;
    assert_eq!(
        (begun.status, begun.location()),
        (StatusCode::SEE_OTHER, &*format!("/console/groups/{group}"))
    );
    // No process handles the canary yet.
    let path = format!("/api/groups/{group}/redrive");
    let seen = eventually("canary", || site.json(&path), |seen| seen["redriven"] == 1).await;
    assert!(seen["ended"].is_null() && seen["total"] == 12 && seen["who"] == "alice", "{seen}");
    let page = site.get(&format!("/groups/{group}")).await.text;
    assert!(
        page.contains("Under way") && page.contains("Waits for the canary") && page.contains("/stop"),
        "{page}"
    );
    let again = site.post(&format!("/groups/{group}/redrive"), FORM).await;
    assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.text);
    let running = mended(&stage).await;
    let seen = ended(&site, &group).await;
    assert_eq!(
        (&seen["ended"], &seen["redriven"], &seen["refused"]),
        (&"done".into(), &12.into(), &0.into())
    );
    stage.dead_letters_are(0).await;
    let page = site.get(&format!("/groups/{group}")).await;
    assert!(page.text.contains("Done") && page.text.contains("No dead letter of this group is left"));
    assert!(site.get("/dead-letters").await.text.contains("12 of 12 redriven, ended"));
    let outcome = || async { site.json("/api/audit").await[0].clone() };
    let outcome = eventually("outcome", outcome, |entry| entry["phase"] == "done").await;
    assert_eq!(outcome["outcome"], "12 of 12 redriven, 0 refused");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_that_fails_again_ends_the_redrive() {
    let stage = Stage::since(11).await;
    let (site, group) = with_letters(&stage, 3).await;
    let running = rejecting(&stage, "catalogue", "table units is locked").await;
    site.post(&format!("/groups/{group}/redrive"), FORM).await;
    let seen = ended(&site, &group).await;
    assert_eq!((&seen["ended"], &seen["redriven"]), (&"failed".into(), &1.into()), "{seen}");
    assert!(seen["why"].as_str().unwrap().contains("its event failed again"), "{seen}");
    assert_eq!(stage.dead_letters().await.len(), 3);
    let entry = &site.json("/api/audit").await[0];
    assert_eq!((&entry["phase"], &entry["action"]), (&"failed".into(), &"redrive".into()), "{entry}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_is_stopped_by_hand() {
    let stage = Stage::since(11).await;
    let (site, group) = with_letters(&stage, 4).await;
    site.post(&format!("/groups/{group}/redrive"), FORM).await;
    let path = format!("/api/groups/{group}/redrive");
    eventually("canary", || site.json(&path), |seen| seen["redriven"] == 1).await;
    assert_eq!(site.post(&format!("/groups/{group}/stop"), "").await.status, StatusCode::SEE_OTHER);
    assert_eq!(ended(&site, &group).await["ended"], "stopped");
    assert_eq!(stage.dead_letters().await.len(), 3);
    assert_eq!(site.post("/groups/0000/stop", "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redrive_outlives_its_request_not_its_console() {
    let stage = Stage::since(11).await;
    let (site, group) = with_letters(&stage, 4).await;
    site.post(&format!("/groups/{group}/redrive"), FORM).await;
    stage.dead_letters_are(3).await;
    drop(site);
    let other = Site::operated(&stage.bridge);
    let outcome = || async { other.json("/api/audit").await[0].clone() };
    let outcome = eventually("outcome", outcome, |entry| entry["phase"] == "done").await;
    assert_eq!(outcome["outcome"], "stopped: 1 of 4 redriven, 0 refused");
    assert_eq!(stage.dead_letters().await.len(), 3);
}
