//! The Redis of the test kit: what other tests rely on.

use std::path::Path;
use stratt_event_bridge::testing::Redis;

fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

async fn query<T: redis::FromRedisValue>(server: &Redis, command: &[&str]) -> redis::RedisResult<T> {
    let mut connection = redis::Client::open(server.url())?.get_multiplexed_async_connection().await?;
    redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await
}

#[tokio::test]
async fn what_is_on_disk_survives_kill_and_restart_on_the_same_port() {
    support::needs!(Redis);
    let mut server = Redis::start_with("appendfsync always").await.unwrap();
    let (url, first_pid) = (server.url(), server.pid());
    query::<()>(&server, &["SET", "a", "kept"]).await.unwrap();
    server.kill();
    assert_eq!(server.pid(), None);
    assert!(query::<String>(&server, &["GET", "a"]).await.is_err());
    server.restart().await.unwrap();
    assert_eq!(server.url(), url);
    assert_ne!(server.pid(), first_pid);
    assert_eq!(query::<String>(&server, &["GET", "a"]).await.unwrap(), "kept");
}

#[tokio::test]
async fn dropped_means_gone() {
    support::needs!(Redis);
    let server = Redis::start().await.unwrap();
    let (pid, folder) = (server.pid().unwrap(), server.folder().to_owned());
    assert!(is_alive(pid) && folder.exists());
    drop(server);
    assert!(!is_alive(pid) && !folder.exists());
}

#[tokio::test]
async fn a_given_configuration_is_used_and_a_wrong_one_fails() {
    support::needs!(Redis);
    let server = Redis::start_with("maxmemory 4mb\nmaxmemory-policy allkeys-lru").await.unwrap();
    let set: Vec<String> = query(&server, &["CONFIG", "GET", "maxmemory-policy"]).await.unwrap();
    assert_eq!(set, ["maxmemory-policy", "allkeys-lru"]);
    let error = Redis::start_with("maxmemory much").await.unwrap_err();
    assert!(error.to_string().contains("maxmemory much"), "{error}");
}
