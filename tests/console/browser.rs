//! The pages in a real browser: the script runs, contents of events do not. Screenshots are left in
//! `target/console`, to be looked at.

use crate::site::{operator, rejecting};
use axum::{
    Router,
    body::{Body, to_bytes},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::get,
};
use std::{fs, path::PathBuf, time::Duration};
use stratt_event_bridge::{
    Feed,
    console::{self, provision_audit},
    dead_letter::DeadLetterFilter,
};
use support::{Stage, eventually, published, raw_publish};
use tokio::{net::TcpListener, process::Command, time::timeout};

/// Everything in an event that would run in a page if it were not escaped.
const SCRIPT: &str =
    "</code></pre><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">";

/// The time limit of the browser; it usually takes a second or two.
const WITHIN: Duration = Duration::from_secs(90);

/// Runs Chromium with a profile of its own, and returns what it prints.
async fn browse(arguments: &[&str]) -> String {
    let profile = tempfile::tempdir().unwrap();
    let profile_argument = format!("--user-data-dir={}", profile.path().display());
    // Root, as in containers, has no sandbox.
    let fixed =
        ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"];
    let mut command = Command::new("chromium");
    command.args(fixed).arg(profile_argument).args(arguments).kill_on_drop(true);
    let output = timeout(WITHIN, command.output()).await.expect("the browser ends");
    let output = output.expect("chromium is needed on the PATH: apt-get install chromium");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the page as it is once its script has run for a while.
async fn document(url: &str) -> String {
    browse(&["--dump-dom", url]).await
}

/// Adds a script that is long in coming: the browser prints a page once all of it is loaded, and what is live comes
/// later.
async fn slowed(page: Response) -> Response {
    if page.headers().get("content-type").is_none_or(|kind| kind != "text/html; charset=utf-8") {
        return page;
    }
    let (parts, body) = page.into_parts();
    let text = String::from_utf8(to_bytes(body, 1 << 24).await.unwrap().to_vec()).unwrap();
    let text = text.replacen("</head>", "<script src=\"/slow.js\" defer></script></head>", 1);
    Response::from_parts(parts, Body::from(text))
}

async fn slow() -> impl IntoResponse {
    tokio::time::sleep(Duration::from_secs(2)).await;
    ([("content-type", "text/javascript")], "")
}

async fn screenshot(url: &str, name: &str) {
    let folder: PathBuf = support::root().join("target/console");
    fs::create_dir_all(&folder).unwrap();
    for (size, width) in [("1280,1000", "desktop"), ("390,1400", "phone")] {
        let file = folder.join(format!("{name}-{width}.png"));
        let (file_argument, size) =
            (format!("--screenshot={}", file.display()), format!("--window-size={size}"));
        browse(&[&size, &file_argument, url]).await;
        assert!(fs::metadata(&file).unwrap().len() > 5_000, "{} is empty", file.display());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Chromium, which `bash .ci/run browser` installs"]
async fn pages_work_in_a_browser() {
    let stage = Stage::since(11).await;
    provision_audit(&stage.bridge, 1).await.unwrap();
    let running =
        rejecting(&stage, "catalogue", "row 17 of table units is locked by another transaction").await;
    for number in 1..=24 {
        let mut event = published(&format!("bad-{number}"), number);
        event.actor = Some(SCRIPT.into());
        stage.bridge.publish(event).await.unwrap();
    }
    raw_publish(
        stage.server.url(),
        "strat.dev.unit.published",
        b"NATS/1.0\r\nx-evil: <b>\r\n\r\n",
        SCRIPT.as_bytes(),
    )
    .await;
    stage.dead_letters_are(25).await;
    stage.all_answered(Feed::Strat, "catalogue").await;
    let choco = stage.stream(Feed::Choco).await;
    let forwarded = || async { choco.get_info().await.unwrap().state.messages };
    eventually("forwarded", forwarded, |forwarded| *forwarded == 25).await;

    let console = console::router(stage.bridge.clone(), operator()).layer(map_response(slowed));
    let router = Router::new().nest("/console", console).route("/slow.js", get(slow));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let site = format!("http://{}/console", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let letters = stage.bridge.dead_letters();
    let groups = letters.groups(DeadLetterFilter::default());
    let group = format!("{site}/groups/{}", groups.await.unwrap()[0].id());

    let tail = format!("{site}/tail");
    // The browser prints after some time, which may be too early.
    eventually("the script runs", || document(&site), |page| page.contains(">Live</p>")).await;
    eventually("the tail is live", || document(&tail), |page| page.contains(">Live</p>")).await;
    for (url, name) in [
        (site.clone(), "overview"),
        (format!("{site}/dead-letters"), "groups"),
        (group, "group"),
        (format!("{site}/dead-letters/1"), "letter"),
        (format!("{site}/dead-letters/25"), "invalid"),
        (tail, "tail"),
        (format!("{site}/durables/strat/catalogue"), "durable"),
        (format!("{site}/audit"), "audit"),
    ] {
        let page = document(&url).await;
        assert!(page.contains("· STRATT events</title>"), "{url}: {page:.400}");
        assert!(!page.contains("<img") && !page.contains("<title>owned"), "{url}: {page}");
        // Each takes seconds.
        if ["overview", "groups", "letter", "tail"].contains(&name) {
            screenshot(&url, name).await;
        }
    }
    running.stop().await;
}
