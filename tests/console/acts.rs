//! Pausing, resuming, redriving and discarding, as pages do.

use crate::site::{Site, rejecting};
use axum::http::StatusCode;
use stratt_event_bridge::{Feed, console::provision_audit};
use support::{Stage, published};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_durable_is_paused_and_resumed() {
    let stage = Stage::since(11).await;
    provision_audit(&stage.bridge, 1).await.unwrap();
    let running = rejecting(&stage, "catalogue", "no").await;
    let (site, place) = (Site::operated(&stage.bridge), "/durables/strat/catalogue");
    let paused = site.post(&format!("{place}/pause"), "minutes=10").await;
    assert_eq!(
        (paused.status, paused.location()),
        (StatusCode::SEE_OTHER, "/console/durables/strat/catalogue")
    );
    let page = site.get(place).await.text;
    assert!(page.contains("paused for 9 min 5") && page.contains("Resume now"), "{page}");
    stage.bridge.publish(published("good", 1)).await.unwrap();
    let name = "catalogue".parse().unwrap();
    let durable = stage.bridge.durables().get(Feed::Strat, &name).await.unwrap();
    assert!(durable.paused_for().is_some_and(|left| left.as_secs() > 500) && durable.pending() == 1);
    assert_eq!(site.post(&format!("{place}/resume"), "").await.status, StatusCode::SEE_OTHER);
    stage.all_answered(Feed::Strat, "catalogue").await;
    for (form, wanted) in [("minutes=0", StatusCode::BAD_REQUEST), ("", StatusCode::UNPROCESSABLE_ENTITY)] {
        assert_eq!(site.post(&format!("{place}/pause"), form).await.status, wanted, "{form}");
    }
    assert_eq!(site.post("/durables/strat/none/pause", "minutes=1").await.status, StatusCode::NOT_FOUND);
    assert_eq!(site.post("/durables/other/catalogue/resume", "").await.status, StatusCode::BAD_REQUEST);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_is_redriven_or_discarded() {
    let stage = Stage::since(11).await;
    provision_audit(&stage.bridge, 1).await.unwrap();
    let running = rejecting(&stage, "catalogue", "no").await;
    stage.bridge.publish(published("bad-1", 1)).await.unwrap();
    stage.bridge.publish(published("bad-2", 2)).await.unwrap();
    stage.dead_letters_are(2).await;
    running.stop().await;
    let site = Site::operated(&stage.bridge);
    let unconfirmed = site.post("/dead-letters/1/discard", "").await;
    assert_eq!(unconfirmed.status, StatusCode::BAD_REQUEST, "{}", unconfirmed.text);
    let json = &[("accept", "application/json"), ("sec-fetch-site", "same-origin")];
    let discarded = site.ask("POST", "/dead-letters/1/discard", json, "confirm=yes").await;
    assert_eq!((discarded.status, &discarded.json()["outcome"]), (StatusCode::OK, &"discarded".into()));
    let redriven = site.ask("POST", "/dead-letters/2/redrive", json, "").await.json();
    assert_eq!(redriven["outcome"], "redriven as sequence 3 of STRATT_EVENTS");
    stage.dead_letters_are(0).await;
    let gone = site.post("/dead-letters/2/redrive", "").await;
    assert!(gone.status == StatusCode::NOT_FOUND && gone.text.contains("not found"), "{}", gone.text);
}
