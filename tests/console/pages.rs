//! The contents of the pages, and the headers of each answer.

use crate::site::{Site, reads, rejecting};
use axum::http::StatusCode;
use stratt_event_bridge::{
    EventBridge, Feed,
    console::{ConsoleOptions, provision_audit},
    testing::NatsServer,
};
use support::{Stage, eventually, published, source};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_show_what_the_broker_has() {
    let stage = Stage::since(11).await;
    let running = rejecting(&stage, "catalogue", "row 17 of table units is locked").await;
    for (slug, number) in [("good", 1), ("bad-1", 2), ("bad-2", 3)] {
        stage.bridge.publish(published(slug, number)).await.unwrap();
    }
    stage.dead_letters_are(2).await;
    stage.all_answered(Feed::Strat, "catalogue").await;
    let site = Site::new(&stage.bridge, ConsoleOptions::default());
    let overview = || site.get("");
    let wanted = [
        "STRATT_EVENTS",
        "CHOCO_STRATT",
        "everything is forwarded",
        "catalogue",
        "working",
        "anyone, may read only",
    ];
    let page =
        eventually("overview", overview, |page| wanted.iter().all(|text| page.text.contains(text))).await;
    assert!(
        page.text.contains("/console/durables/strat/catalogue") && page.text.contains("/console/console.css")
    );
    let groups = site.get("/dead-letters").await.text;
    assert!(
        groups.contains("row &lt;n&gt; of table units is locked")
            && groups.contains("2 dead letters in 1 groups")
    );
    let group = site.json("/api/groups").await[0].clone();
    assert_eq!((&group["count"], &group["reason"]), (&2.into(), &"rejected".into()));
    let page = site.get(&format!("/groups/{}", group["group"].as_str().unwrap())).await.text;
    assert!(page.contains("/console/dead-letters/1") && page.contains("/console/dead-letters/2"), "{page}");
    let letter = site.get("/dead-letters/1").await.text;
    for wanted in [
        "row 17 of table units is locked",
        "strat://dev/rule/bad-",
        "Strat-Dead-Letter-Reason",
        "announced by",
        "Delivered 1 times to catalogue",
    ] {
        assert!(letter.contains(wanted), "{wanted}: {letter}");
    }
    let durable = site.get("/durables/strat/catalogue").await.text;
    assert!(durable.contains("strat.*.unit.published") && durable.contains("working"), "{durable}");
    let tail = site.get("/tail").await.text;
    assert!(tail.contains("bad-2") && tail.find("bad-2") < tail.find("bad-1"), "{tail}");
    let choco = || site.get("/tail?feed=choco");
    eventually("choco", choco, |page| page.text.contains("bad-2")).await;
    // Pages leave nothing at the broker.
    let durables = stage.bridge.durables().list(Feed::Strat).await.unwrap();
    assert_eq!(durables.len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_forbids_what_a_browser_may_not_do() {
    let stage = Stage::new().await;
    let site = Site::operated(&stage.bridge);
    let mut answers = Vec::new();
    for path in reads(&site).await {
        answers.push((path.clone(), site.get(&path).await));
    }
    answers.push(("refused".into(), site.ask("POST", "/dead-letters/1/redrive", &[], "").await));
    answers.push(("method".into(), site.post("", "").await));
    for (path, answer) in answers {
        let header =
            |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default();
        let policy = header("content-security-policy");
        for directive in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.split("; ").any(|part| part == directive), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{path}: {policy}");
        assert_eq!(
            ["x-content-type-options", "referrer-policy", "cache-control", "x-frame-options"].map(header),
            ["nosniff", "no-referrer", "no-store", "DENY"],
            "{path}"
        );
        // The policy forbids them.
        for inline in [" style=", " onclick=", "<style", "javascript:"] {
            assert!(!answer.text.contains(inline) || path == "/console.js", "{path} has {inline}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_say_what_is_missing() {
    let server = NatsServer::start().await.unwrap();
    let bridge = EventBridge::new(server.connect().await.unwrap(), source());
    let site = Site::new(&bridge, ConsoleOptions::default());
    let page = site.get("").await;
    assert!(page.status == StatusCode::OK && page.text.contains("missing"), "{}", page.text);
    for path in ["/dead-letters", "/tail"] {
        let page = site.get(path).await;
        assert!(
            page.status == StatusCode::SERVICE_UNAVAILABLE && page.text.contains("role=\"alert\""),
            "{}",
            page.text
        );
    }
    assert_eq!(site.get("/durables/strat/none").await.status, StatusCode::NOT_FOUND);
    provision_audit(&bridge, 1).await.unwrap();
    assert!(site.get("/audit").await.text.contains("Nothing was done here yet"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_work_wherever_it_is_mounted() {
    use axum::{
        Router,
        body::{Body, to_bytes},
        http::Request,
    };
    use tower::ServiceExt;
    let stage = Stage::new().await;
    let console = || stratt_event_bridge::console::router(stage.bridge.clone(), ConsoleOptions::default());
    let nested = Router::new().nest("/tenants/{tenant}/ops", console());
    for (router, root, style) in
        [(console(), "/", "\"/console.css\""), (nested, "/tenants/a/ops", "\"/tenants/a/ops/console.css\"")]
    {
        let request = Request::get(root).body(Body::empty()).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        let text = String::from_utf8(to_bytes(answer.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap();
        assert!(text.contains(style) && text.contains(&format!("href=\"{root}\"")), "{root}: {text}");
    }
}
