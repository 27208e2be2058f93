//! Events that are written to do something to who looks at them, and what must not be shown.

use crate::site::{Site, operator, reads};
use axum::http::StatusCode;
use std::sync::Arc;
use stratt_event_bridge::{
    BridgeOptions, ConnectionWatch, Delivery, Event, EventBridge, HandlerError, UnitPublished,
    async_nats::ConnectOptions, console::ConsoleOptions, dedupe::MemoryStore, testing::NatsServer,
    topology::Topology,
};
use support::{Running, Stage, eventually, published, quick, raw_publish, source};

const SCRIPT: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>";

/// Publishes an event for each hostile content, and dead-letters all of them.
async fn hostile(stage: &Stage) -> usize {
    let consumer = stage.bridge.consumer("catalogue", Arc::new(MemoryStore::new())).options(quick());
    let consumer = consumer.on(|_: Delivery<UnitPublished>| async {
        Err(HandlerError::reject("\u{1b}[2J<b onclick=\"x\">\u{202e}error</b>"))
    });
    let running = Running::start(consumer.build().await.unwrap());
    for (number, text) in
        [SCRIPT.to_owned(), "\u{1b}[2J\u{9b}\u{202e}".repeat(9000), "'\"&</pre>".into()].iter().enumerate()
    {
        let mut evil = published("evil", number as u64);
        evil.actor = Some(text.clone());
        stage.bridge.publish(evil).await.unwrap();
    }
    let header = format!("NATS/1.0\r\nx-evil: {SCRIPT}\r\n\r\n");
    let payloads = [
        b"\xff\xfe<script>\x1b[2J".to_vec(),
        [b"<script>".repeat(25_600), b"\r\n".to_vec()].concat(),
        b"</pre><script>alert(3)</script>".to_vec(),
    ];
    for payload in &payloads {
        raw_publish(stage.server.url(), "strat.dev.unit.published", header.as_bytes(), payload).await;
    }
    let all = 3 + payloads.len();
    stage.dead_letters_are(all).await;
    running.stop().await;
    all
}

fn harmless(path: &str, text: &str) {
    for (at, tag) in text.match_indices("<script") {
        assert!(
            text[at..].starts_with("<script src=\"/console/console.js\" defer>"),
            "{path}: {tag} {}",
            &text[at..at + 80]
        );
    }
    for forbidden in ["<img", "<b onclick", "\u{1b}", "\u{9b}", "\u{202e}", "\r"] {
        assert!(!text.contains(forbidden), "{path} has {forbidden:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_contents_are_shown_and_do_nothing() {
    let stage = Stage::new().await;
    let all = hostile(&stage).await;
    let site = Site::operated(&stage.bridge);
    let mut paths: Vec<_> = (1..=all).map(|sequence| format!("/dead-letters/{sequence}")).collect();
    for group in site.json("/api/groups").await.as_array().unwrap() {
        paths.push(format!("/groups/{}", group["group"].as_str().unwrap()));
    }
    paths.extend(
        ["", "/dead-letters", "/tail", "/tail?feed=choco", "/durables/strat/catalogue"].map(str::to_owned),
    );
    for path in &paths {
        let page = site.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        harmless(path, &page.text);
        assert!(page.text.len() < 2 << 20, "{path}: {} bytes", page.text.len());
    }
    // They are shown: the text as text, and what is no text as digits.
    let pages: String = {
        let mut pages = String::new();
        for path in &paths {
            pages += &site.get(path).await.text;
        }
        pages
    };
    for wanted in [
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "fffe3c7363726970743e1b5b324a",
        "\\u{1b}[2J",
        "x-evil",
        "200.0 KiB, of which the beginning is shown",
    ] {
        assert!(pages.contains(wanted), "{wanted}");
    }
    for path in
        ["/%3Cscript%3E", "/dead-letters/%3Cscript%3E", "/groups/%3Cscript%3E", "/tail?feed=%3Cscript%3E"]
    {
        harmless(path, &site.get(path).await.text);
    }
    for sequence in 1..=all {
        site.json(&format!("/api/dead-letters/{sequence}")).await;
        let path = format!("/dead-letters/{sequence}/payload");
        let file = site.ask("HEAD", &path, &[], "").await;
        assert_eq!(file.headers["content-type"], "application/octet-stream");
        assert!(file.headers["content-disposition"].to_str().unwrap().starts_with("attachment"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payloads_are_hidden_where_the_host_says_so() {
    let stage = Stage::new().await;
    let consumer = stage.bridge.consumer("catalogue", Arc::new(MemoryStore::new())).options(quick());
    let consumer = consumer.on(|_: Delivery<UnitPublished>| async { Err(HandlerError::reject("no")) });
    let running = Running::start(consumer.build().await.unwrap());
    let mut secret = published("evil", 1);
    secret.actor = Some("s3cret-payload".into());
    let fingerprint = secret.fingerprint().to_string();
    stage.bridge.publish(secret).await.unwrap();
    stage.dead_letters_are(1).await;
    running.stop().await;
    let shown = Site::operated(&stage.bridge);
    assert!(shown.get("/dead-letters/1").await.text.contains("s3cret-payload"));
    assert!(shown.get("/tail").await.text.contains("s3cret-payload"));
    let site = Site::new(&stage.bridge, operator().with_payloads(false));
    for path in reads(&site).await {
        let text = site.get(&path).await.text;
        assert!(!text.contains("s3cret-payload") && !text.contains(&fingerprint), "{path}: {text}");
    }
    assert_eq!(site.get("/dead-letters/1/payload").await.status, StatusCode::FORBIDDEN);
    assert_eq!(site.json("/api/dead-letters/1").await["payloadEncoding"], "hidden");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_holds_a_credential() {
    let users = "authorization { users: [{ user: op, password: s3cret }] }";
    let server = NatsServer::builder().config(users).start().await.unwrap();
    let address = server.url().rsplit('@').next().unwrap().trim_start_matches("nats://").to_owned();
    let watch = ConnectionWatch::new();
    let options =
        ConnectOptions::with_user_and_password("op".into(), "s3cret".into()).event_callback(watch.callback());
    let client = options.connect(format!("nats://op:s3cret@{address}")).await.unwrap();
    let bridge =
        EventBridge::with_options(client, source(), BridgeOptions::default()).with_connection_watch(watch);
    let topology = Topology::default();
    let provisioned = || bridge.provision(&topology);
    eventually("provisioning", provisioned, Result::is_ok).await.unwrap();
    let site = Site::new(&bridge, ConsoleOptions::default());
    let paths = reads(&site).await;
    for path in &paths {
        assert!(!site.get(path).await.text.contains("s3cret"), "{path}");
    }
    drop(server);
    let status = || site.json("/api/status");
    eventually("disconnected", status, |status| status["is_connected"] == false).await;
    let page = site.get("").await;
    assert!(page.status == StatusCode::OK && page.text.contains("There is no connection to the broker"));
    for path in &paths {
        let text = site.get(path).await.text;
        assert!(!text.contains("s3cret"), "{path}: {text}");
    }
}
