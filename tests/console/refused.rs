//! Visitors who may not do what they ask for, and requests that no page of the console sent.

use crate::site::{HOST, Page, SAME_ORIGIN, Site, operator, rejecting};
use axum::http::{StatusCode, request::Parts};
use stratt_event_bridge::console::{self, ConsoleOptions, Visitor, provision_audit};
use support::{Stage, published};

/// Returns a path of each route that changes something, for the durable `catalogue` and the dead letter 1.
fn writes(group: &str) -> Vec<String> {
    let paths: Vec<_> = console::write_routes()
        .map(|route| {
            let path = route.replace("{feed}", "strat").replace("{name}", "catalogue");
            path.replace("{sequence}", "1").replace("{id}", group)
        })
        .collect();
    assert!(paths.len() >= 6 && paths.iter().all(|path| !path.contains('{')), "{paths:?}");
    paths
}

const FORM: &str = "minutes=5&confirm=yes&interval_ms=0&canary_s=1&most_failed=10";

fn is_forbidden(page: &Page, why: &str) -> bool {
    page.status == StatusCode::FORBIDDEN && page.text.contains(why)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_answered_403_by_every_write() {
    let stage = Stage::since(11).await;
    provision_audit(&stage.bridge, 1).await.unwrap();
    let running = rejecting(&stage, "catalogue", "no").await;
    stage.bridge.publish(published("bad", 1)).await.unwrap();
    stage.dead_letters_are(1).await;
    running.stop().await;
    let site = Site::new(&stage.bridge, ConsoleOptions::default());
    let group = site.json("/api/groups").await[0]["group"].as_str().unwrap().to_owned();
    for path in writes(&group) {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let refused = site.ask(method, &path, SAME_ORIGIN, FORM).await;
            assert!(is_forbidden(&refused, "you may read only"), "{method} {path}: {}", refused.text);
        }
        let json = site.ask("POST", &path, &[("accept", "application/json")], FORM).await;
        assert_eq!((json.status, json.json()["error"].is_string()), (StatusCode::FORBIDDEN, true), "{path}");
    }
    // No page has a form either.
    for path in
        ["", "/dead-letters", "/dead-letters/1", &format!("/groups/{group}"), "/durables/strat/catalogue"]
    {
        let page = site.get(path).await;
        assert!(page.status == StatusCode::OK && !page.text.contains("<form"), "{path}: {}", page.text);
    }
    assert_eq!(stage.dead_letters().await.len(), 1);
    assert_eq!(site.json("/api/audit").await.as_array().unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_see_nothing() {
    let stage = Stage::new().await;
    let options = ConsoleOptions::default().with_authoriser(|parts: &Parts| {
        parts
            .headers
            .get("x-user")
            .map_or_else(Visitor::denied, |user| Visitor::reader(user.to_str().unwrap()))
    });
    let site = Site::new(&stage.bridge, options);
    for path in ["", "/dead-letters", "/tail", "/tail/live", "/api/status", "/console.js", "/nowhere"] {
        assert!(is_forbidden(&site.get(path).await, "you may not see this console"), "{path}");
    }
    let known = site.ask("GET", "", &[("x-user", "bob")], "").await;
    assert!(known.status == StatusCode::OK && known.text.contains("bob, may read only"), "{}", known.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_other_sites_change_nothing() {
    let stage = Stage::since(11).await;
    provision_audit(&stage.bridge, 1).await.unwrap();
    let running = rejecting(&stage, "catalogue", "no").await;
    stage.bridge.publish(published("bad", 1)).await.unwrap();
    stage.dead_letters_are(1).await;
    running.stop().await;
    let site = Site::new(&stage.bridge, operator());
    let group = site.json("/api/groups").await[0]["group"].as_str().unwrap().to_owned();
    for path in writes(&group) {
        for headers in [
            &[][..],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("origin", "https://evil.example")],
            &[("origin", "null")],
            &[("sec-fetch-site", "cross-site"), ("origin", "https://ops.example")],
        ] {
            let refused = site.ask("POST", &path, headers, FORM).await;
            let why = "request does not come from a page of this console";
            assert!(is_forbidden(&refused, why), "{path} {headers:?}: {}", refused.text);
        }
        assert_eq!(site.get(&path).await.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    assert_eq!(stage.dead_letters().await.len(), 1);
    assert_eq!(site.json("/api/audit").await.as_array().unwrap().len(), 0);
    let origin = format!("https://{HOST}");
    let discarded = site.ask("POST", "/dead-letters/1/discard", &[("origin", &origin)], "confirm=yes").await;
    assert_eq!(discarded.status, StatusCode::SEE_OTHER, "{}", discarded.text);
    stage.dead_letters_are(0).await;
}
