//! A primary that became a replica, behind an address that leads to the new primary.

use super::*;
use std::{net::SocketAddr, sync::Mutex};
use stratt_event_bridge::testing::Redis;
use support::eventually;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::task::AbortOnDropHandle;

/// An address that leads to one server after the other, as of a service or a proxy: what is connected stays so.
struct Address {
    at: SocketAddr,
    leads_to: Arc<Mutex<SocketAddr>>,
    _accepting: AbortOnDropHandle<()>,
}

impl Address {
    async fn of(server: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let leads_to = Arc::new(Mutex::new(address(server)));
        let target = Arc::clone(&leads_to);
        let accepting = tokio::spawn(async move {
            let mut carried = JoinSet::new();
            loop {
                let (mut client, _) = listener.accept().await.unwrap();
                let target = *target.lock().unwrap();
                let mut server = TcpStream::connect(target).await.unwrap();
                carried.spawn(async move { copy_bidirectional(&mut client, &mut server).await });
            }
        });
        Self { at, leads_to, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// As `connect`, with the version of the protocol.
    async fn connect(&self, protocol: &str) -> ConnectionManager {
        let client = redis::Client::open(format!("redis://{}{protocol}", self.at)).unwrap();
        let config = ConnectionManagerConfig::new().set_max_delay(Duration::from_millis(20));
        client.get_connection_manager_with_config(config).await.unwrap()
    }
}

fn address(server: &Redis) -> SocketAddr {
    server.url().trim_start_matches("redis://").parse().unwrap()
}

async fn order(server: &Redis, command: &[&str]) {
    let mut connection = connect(server).await;
    redis::cmd(command[0]).arg(&command[1..]).query_async::<()>(&mut connection).await.unwrap();
}

/// Lets a store lose its primary to another in this way, and expects that it goes on there.
async fn goes_on_at_the_new_primary(protocol: &str, demote: &[&[&str]]) {
    let (old, new) = (Redis::start().await.unwrap(), Redis::start().await.unwrap());
    let address = Address::of(&old).await;
    let connection = address.connect(protocol).await;
    let store = RedisStore::open(connection, RedisStoreOptions::default()).await.unwrap();
    let held = acquire(&store, &slot(1)).await;
    *address.leads_to.lock().unwrap() = self::address(&new);
    for command in demote {
        order(&old, command).await;
    }
    let begun = tokio::time::Instant::now();
    let mut number = 2;
    let claim = || {
        number += 1;
        let slot = slot(number);
        let store = &store;
        async move { store.claim(&slot, LEASE).await.map_err(|error| format!("{error:?}")) }
    };
    let claim = eventually("claim", claim, Result::is_ok).await;
    assert!(matches!(claim, Ok(Claim::Acquired { attempt: 1, .. })), "{claim:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "after {:?}", begun.elapsed());
    // What was granted there was not replicated, and is lost, not settled.
    assert_eq!(kind(store.settle(&slot(1), held).await), StoreErrorKind::Fenced);
    // One connection after the other, and not one for each call.
    let mut admin = connect(&new).await;
    let info: String = redis::cmd("INFO").arg("stats").query_async(&mut admin).await.unwrap();
    let made = info.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
    assert!(made.parse::<u32>().unwrap() < 20, "{made} connections");
}

#[tokio::test]
async fn a_store_leaves_a_primary_that_was_demoted() {
    support::needs!(Redis);
    // A replica of nobody who answers.
    goes_on_at_the_new_primary("", &[&["REPLICAOF", "127.0.0.1", "1"]]).await;
}

#[tokio::test]
async fn a_store_leaves_a_demoted_primary_on_resp3() {
    support::needs!(Redis);
    goes_on_at_the_new_primary("/?protocol=resp3", &[&["REPLICAOF", "127.0.0.1", "1"]]).await;
}

#[tokio::test]
async fn a_store_leaves_a_replica_that_serves_nothing_stale() {
    support::needs!(Redis);
    let stale = ["CONFIG", "SET", "replica-serve-stale-data", "no"];
    goes_on_at_the_new_primary("", &[&stale, &["REPLICAOF", "127.0.0.1", "1"]]).await;
}

#[tokio::test]
async fn a_store_leaves_a_primary_that_lost_its_replicas() {
    support::needs!(Redis);
    goes_on_at_the_new_primary("", &[&["CONFIG", "SET", "min-replicas-to-write", "1"]]).await;
}

/// With a settle as the first that finds it out, and for a user who may do no more than a store needs.
#[tokio::test]
async fn a_settle_leaves_a_demoted_primary_too() {
    support::needs!(Redis);
    let (old, new) = (Redis::start().await.unwrap(), Redis::start().await.unwrap());
    for server in [&old, &new] {
        let rights = "on nopass resetkeys ~stratt:dedupe:* nocommands +evalsha +eval +script|load +info +get +set \
                      +pexpire +time";
        let user: Vec<_> = ["ACL", "SETUSER", "store"].into_iter().chain(rights.split(' ')).collect();
        order(server, &user).await;
    }
    let address = Address::of(&old).await;
    let client = redis::Client::open(format!("redis://store:any@{}", address.at)).unwrap();
    let connection = client.get_connection_manager().await.unwrap();
    let store = RedisStore::open(connection, RedisStoreOptions::default()).await.unwrap();
    let fence = acquire(&store, &slot(1)).await;
    *address.leads_to.lock().unwrap() = self::address(&new);
    order(&old, &["REPLICAOF", "127.0.0.1", "1"]).await;
    let settle = || async { store.settle(&slot(1), fence).await.map_err(|error| error.kind()) };
    let settled = eventually("settle", settle, |settled| *settled == Err(StoreErrorKind::Fenced)).await;
    settled.unwrap_err();
    acquire(&store, &slot(2)).await;
}
