//! The console as `strattctl` serves it, and as the example service mounts it.

use serde_json::Value;
use std::process::Stdio;
use stratt_event_bridge::console::AUDIT_STREAM;
use support::{DEADLINE, Orchestrator, Stage, published, strattctl, without_settings};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};

/// `strattctl console` on a free port.
struct Tool {
    _child: Child,
    address: String,
}

impl Tool {
    async fn start(nats_url: &str, arguments: &[&str]) -> Self {
        let mut command: Command = without_settings(strattctl());
        command
            .env("NATS_URL", nats_url)
            .args(["--json", "console", "--listen", "127.0.0.1:0"])
            .args(arguments);
        let mut child = command.kill_on_drop(true).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = timeout(DEADLINE, lines.next_line()).await.expect("a line").unwrap().expect("it serves");
        let said: Value = serde_json::from_str(&line).unwrap();
        let url = said["url"].as_str().unwrap().strip_prefix("http://").unwrap();
        Self { _child: child, address: url.strip_suffix("/console").unwrap().to_owned() }
    }

    /// Sends a request to the host of this name, and returns the whole answer.
    async fn send(&self, request: &str, host: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        let body = "confirm=yes";
        let head = format!(
            "{request} HTTP/1.1\r\nHost: {host}\r\nSec-Fetch-Site: same-origin\r\nConnection: close\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut answer)).await.expect("an answer").unwrap();
        answer
    }
}

fn is(answer: &str, status: u16) -> bool {
    answer.starts_with(&format!("HTTP/1.1 {status} "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tool_serves_this_machine_read_only() {
    let stage = Stage::new().await;
    let tool = Tool::start(stage.server.url(), &[]).await;
    let overview = tool.send("GET /console", &tool.address).await;
    assert!(is(&overview, 200) && overview.contains("STRATT_EVENTS"), "{overview}");
    assert!(is(&tool.send("GET /", &tool.address).await, 303));
    assert!(is(&tool.send("POST /console/dead-letters/1/discard", &tool.address).await, 403));
    // The name of another site may be made to lead here.
    for host in ["evil.example", "localhost.evil.example", "8.8.8.8", ""] {
        let answer = tool.send("GET /console", host).await;
        assert!(!is(&answer, 200) && !answer.contains("STRATT_EVENTS"), "{host}: {answer}");
    }
    for host in ["localhost", "localhost:8090", "[::1]:8090"] {
        assert!(is(&tool.send("GET /console", host).await, 200), "{host}");
    }
    let mut open: Command = without_settings(strattctl());
    open.env("NATS_URL", stage.server.url()).args(["console", "--listen", "0.0.0.0:0", "--allow-writes"]);
    let refused = timeout(DEADLINE, open.kill_on_drop(true).output()).await.expect("it ends").unwrap();
    let complaint = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(2) && complaint.contains("--anyone"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tool_changes_things_when_it_is_told_to() {
    let stage = Stage::new().await;
    let running = crate::site::rejecting(&stage, "catalogue", "no").await;
    stage.bridge.publish(published("bad", 1)).await.unwrap();
    stage.dead_letters_are(1).await;
    running.stop().await;
    let tool = Tool::start(stage.server.url(), &["--allow-writes"]).await;
    let discarded = tool.send("POST /console/dead-letters/1/discard", &tool.address).await;
    assert!(is(&discarded, 303), "{discarded}");
    stage.dead_letters_are(0).await;
    let audit = stage.context().get_stream(AUDIT_STREAM).await.unwrap();
    assert_eq!(audit.cached_info().state.messages, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_service_has_a_console_to_read() {
    let stage = Stage::new().await;
    let database = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", database.path().join("units.db").display());
    let service = Orchestrator::start(stage.server.url(), &url).await;
    let page = service.get("/console").await;
    assert!(page.status == 200 && page.body.contains("STRATT_EVENTS"), "{}", page.body);
    assert!(
        page.body.contains("\"/console/console.css\"") && service.get("/console/tail").await.status == 200
    );
    assert_eq!(service.get("/consoles").await.status, 404);
    let write = "POST /console/dead-letters/1/discard HTTP/1.1\r\nHost: test\r\nSec-Fetch-Site: same-origin\r\n\
                 Connection: close\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(service.send(write).await.status, 403);
    assert_eq!(service.stop().await, "orchestrator has drained");
}
