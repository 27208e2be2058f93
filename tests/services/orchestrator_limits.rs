//! Callers of the example `orchestrator_http` that send slowly or too much: they get the right status, and the service
//! waits no longer than its settings allow.

use std::time::{Duration, Instant};
use support::{Orchestrator, Stage};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

const HALF_A_HEAD: &[u8] = b"GET /healthz HTTP/1.1\r\nX-A: ";

async fn service(stage: &Stage, folder: &TempDir, read_timeout: &str) -> Orchestrator {
    let database = format!("sqlite:{}", folder.path().join("orchestrator.db").display());
    let settings =
        [("NATS_URL", stage.server.url()), ("DATABASE_URL", &database), ("HTTP_READ_TIMEOUT", read_timeout)];
    Orchestrator::start_with(&settings).await
}

/// Returns everything that the service sends until it closes the connection.
async fn answer(connection: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    timeout(Duration::from_secs(30), connection.read_to_end(&mut answer))
        .await
        .expect("it stays open")
        .unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn half_a_head_is_not_waited_for() {
    let (stage, folder) = (Stage::new().await, tempfile::tempdir().unwrap());
    let service = service(&stage, &folder, "1").await;
    let (mut reading, mut writing) = service.connect().await.unwrap().into_split();
    writing.write_all(HALF_A_HEAD).await.unwrap();
    // A byte now and then does not extend the time.
    let trickle = async {
        while writing.write_all(b"a").await.is_ok() {
            sleep(Duration::from_millis(200)).await;
        }
    };
    let mut left = Vec::new();
    let closed = async { while reading.read_buf(&mut left).await.is_ok_and(|bytes| bytes > 0) {} };
    let ended = timeout(Duration::from_secs(20), async {
        tokio::select! { () = trickle => {} () = closed => {} }
    });
    ended.await.expect("it stays open");
    assert_eq!(service.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn half_a_head_does_not_hold_up_the_stop() {
    let (stage, folder) = (Stage::new().await, tempfile::tempdir().unwrap());
    let service = service(&stage, &folder, "60").await;
    let mut half = service.connect().await.unwrap();
    half.write_all(HALF_A_HEAD).await.unwrap();
    let mut idle = service.connect().await.unwrap();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut head = [0; 12];
    idle.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 200");
    let begun = Instant::now();
    assert_eq!(service.stop().await, "orchestrator has drained");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_slow_body_is_told_that_it_came_too_late() {
    let (stage, folder) = (Stage::new().await, tempfile::tempdir().unwrap());
    let service = service(&stage, &folder, "1").await;
    let mut slow = service.connect().await.unwrap();
    let head =
        "POST /units HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    let answer = answer(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    for said in ["application/problem+json", "connection: close", "body did not come within 1s"] {
        assert!(answer.contains(said), "{said}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_at_once() {
    let (stage, folder) = (Stage::new().await, tempfile::tempdir().unwrap());
    // A service that waited for the body would end too late.
    let service = service(&stage, &folder, "60").await;
    for more in ["", "Expect: 100-continue\r\n"] {
        let mut huge = service.connect().await.unwrap();
        let head = format!(
            "POST /units HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{more}Content-Length: 99999999999\r\n\r\n"
        );
        huge.write_all(head.as_bytes()).await.unwrap();
        let answer = answer(&mut huge).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");
    }
}

#[tokio::test]
async fn a_frozen_broker_makes_it_unready() {
    let (stage, folder) = (Stage::new().await, tempfile::tempdir().unwrap());
    let service = service(&stage, &folder, "10").await;
    assert_eq!(service.get("/readyz").await.status, 200);
    stage.server.pause().unwrap();
    let frozen = service.get("/readyz").await;
    assert_eq!((frozen.status, &frozen.json()["streams"]), (503, &"no answer".into()), "{frozen:?}");
    stage.server.resume().unwrap();
    assert_eq!(service.get("/readyz").await.status, 200);
}
