//! Server-sent events: figures, progress, and the live tail.

use crate::site::{Site, rejecting};
use axum::body::Body;
use futures::StreamExt;
use std::time::Duration;
use stratt_event_bridge::{Feed, console::ConsoleOptions};
use support::{DEADLINE, Stage, eventually, published};
use tokio::time::timeout;

/// Reads until the text is there.
async fn read_until(body: Body, wanted: &str) -> (String, impl futures::Stream + Unpin + use<>) {
    let (mut stream, mut text) = (body.into_data_stream(), String::new());
    while !text.contains(wanted) {
        let chunk = timeout(DEADLINE, stream.next()).await.unwrap_or_else(|_| panic!("{wanted}: {text}"));
        text += std::str::from_utf8(&chunk.expect(wanted).unwrap()).unwrap();
    }
    (text, stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn figures_are_sent_again_and_again() {
    let stage = Stage::since(11).await;
    let running = rejecting(&stage, "catalogue", "no").await;
    let site = Site::new(&stage.bridge, ConsoleOptions::default());
    let live = site.stream("/live").await;
    stage.bridge.publish(published("bad", 1)).await.unwrap();
    let (text, _rest) = read_until(live, "class=\"bad\">1<").await;
    assert!(text.contains("event: part\ndata: "), "{text}");
    let (text, _rest) = read_until(site.stream("/durables/strat/catalogue/live").await, "working").await;
    assert!(!text.contains("<form"), "{text}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tail_sends_events_and_leaves_nothing() {
    let stage = Stage::since(11).await;
    let site = Site::new(&stage.bridge, ConsoleOptions::default());
    let tail = site.stream("/tail/live").await;
    let mut evil = published("unit", 1);
    evil.actor = Some("<script>alert(1)</script>\r\n".into());
    stage.bridge.publish(evil).await.unwrap();
    let (text, rest) = read_until(tail, "alert(1)").await;
    assert!(text.contains("&lt;script&gt;") && !text.contains("<script"), "{text}");
    drop(rest);
    let stream = stage.stream(Feed::Strat).await;
    let names = || async { stream.consumer_names().collect::<Vec<_>>().await.len() };
    eventually("no temporary consumer", names, |names| *names == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_of_the_tail_is_free_once_it_is_left() {
    let stage = Stage::since(11).await;
    let site = Site::new(&stage.bridge, ConsoleOptions::default());
    let mut tails = Vec::new();
    for _ in 0..20 {
        tails.push(site.stream("/tail/live").await);
    }
    let refused = site.get("/tail/live").await;
    assert!(refused.text.contains("too many pages follow live events"), "{}", refused.text);
    tails.pop();
    let free = || async { timeout(Duration::from_millis(500), site.get("/tail/live")).await.is_err() };
    // An open tail does not end by itself.
    eventually("a free place", free, |is_free| *is_free).await;
}
