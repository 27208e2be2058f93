//! The test server itself: what other tests rely on.

use async_nats::{
    connection::State,
    jetstream::{self, stream::Config},
};
use sqlx::{Connection, Executor, PgConnection};
use std::{path::Path, time::Duration};
use stratt_event_bridge::{
    async_nats,
    testing::{NatsServer, Postgres},
};
use support::eventually;
use tokio::time::timeout;

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[tokio::test]
async fn acknowledged_data_survives_kills_on_the_same_port() {
    let mut server = NatsServer::start().await.unwrap();
    let (url, first_pid) = (server.url().to_owned(), server.pid());
    let context = jetstream::new(server.connect().await.unwrap());
    context
        .create_stream(Config { name: "S".into(), subjects: vec!["s".into()], ..Config::default() })
        .await
        .unwrap();
    context.publish("s", "kept".into()).await.unwrap().await.unwrap();
    server.kill();
    assert_eq!(server.pid(), None);
    assert!(async_nats::connect(&url).await.is_err());
    server.restart().await.unwrap();
    assert_eq!(server.url(), url);
    assert_ne!(server.pid(), first_pid);
    let context = jetstream::new(server.connect().await.unwrap());
    let kept = context.get_stream("S").await.unwrap().get_raw_message(1).await.unwrap();
    assert_eq!(kept.payload, "kept");
}

#[tokio::test]
async fn a_paused_server_does_not_answer_until_it_is_resumed() {
    let server = NatsServer::start().await.unwrap();
    let context = jetstream::new(server.connect().await.unwrap());
    server.pause().unwrap();
    assert!(timeout(Duration::from_millis(300), context.query_account()).await.is_err());
    server.resume().unwrap();
    context.query_account().await.unwrap();
}

#[tokio::test]
async fn a_lame_duck_lets_its_client_go_and_ends() {
    let mut server = NatsServer::start().await.unwrap();
    let client = server.connect().await.unwrap();
    let pid = server.pid().unwrap();
    server.lame_duck().await.unwrap();
    assert!(!is_alive(pid) && server.pid().is_none());
    let state = || async { client.connection_state() };
    eventually("connection", state, |state| *state != State::Connected).await;
    assert!(server.lame_duck().await.is_err());
    server.restart().await.unwrap();
    client.flush().await.unwrap();
}

#[tokio::test]
async fn dropped_means_gone() {
    let server = NatsServer::start().await.unwrap();
    let (pid, folder) = (server.pid().unwrap(), server.folder().to_owned());
    assert!(is_alive(pid) && folder.exists());
    drop(server);
    assert!(!is_alive(pid) && !folder.exists());
}

#[tokio::test]
async fn a_postgres_recovers_commits_and_dropped_means_gone() {
    support::needs!(Postgres);
    let mut server = Postgres::start().await.unwrap();
    let url = server.database().await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    connection.execute("CREATE TABLE kept AS SELECT 42 AS number").await.unwrap();
    server.kill();
    assert!(PgConnection::connect(&url).await.is_err());
    server.restart().await.unwrap();
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let kept: i32 = sqlx::query_scalar("SELECT number FROM kept").fetch_one(&mut connection).await.unwrap();
    assert_eq!(kept, 42);
    let folder: String = sqlx::query_scalar("SHOW data_directory").fetch_one(&mut connection).await.unwrap();
    assert!(Path::new(&folder).exists());
    drop(server);
    assert!(PgConnection::connect(&url).await.is_err());
    assert!(!Path::new(&folder).exists());
}

#[tokio::test]
async fn a_server_ends_with_the_process_that_started_it() {
    // This very test binary, which starts a server, says its process id and is killed.
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "server::child_that_is_killed", "--ignored", "--nocapture"])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines =
        tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
    let (pid, folder): (u32, _) = loop {
        let line = lines.next_line().await.unwrap().expect("the child ended without a word");
        if let Some((pid, folder)) =
            line.strip_prefix("server-pid=").and_then(|line| line.split_once(" folder="))
        {
            break (pid.parse().unwrap(), Path::new(folder).to_owned());
        }
    };
    assert!(is_alive(pid) && folder.exists());
    child.kill().await.unwrap();
    let left = || async { (is_alive(pid), folder.exists()) };
    eventually("server of a killed process", left, |left| *left == (false, false)).await;
}

#[tokio::test]
#[ignore = "run by `a_server_ends_with_the_process_that_started_it` in a process of its own"]
async fn child_that_is_killed() {
    let server = NatsServer::start().await.unwrap();
    println!("\nserver-pid={} folder={}", server.pid().unwrap(), server.folder().display());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_program_that_is_no_server_is_an_error_with_its_last_words() {
    let error = NatsServer::builder().program("/bin/ls").start().await.unwrap_err();
    assert!(error.to_string().contains("did not become ready"), "{error}");
    let error = NatsServer::builder().program("/nowhere").start().await.unwrap_err();
    assert!(error.to_string().contains("/nowhere"), "{error}");
}

#[tokio::test]
async fn configuration_of_ones_own_is_used() {
    let server = NatsServer::builder().config("max_payload: 2048").start().await.unwrap();
    assert_eq!(server.connect().await.unwrap().max_payload(), 2048);
}
