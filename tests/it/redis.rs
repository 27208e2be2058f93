//! The store in Redis: certified by the conformance suite on a real server, and what is particular to it.

use crate::support::{eventually, published};
use futures::future::{BoxFuture, join_all};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    Event,
    dedupe::{Claim, DedupeStore, Fence, RedisStore, RedisStoreOptions, Slot, StoreError, StoreErrorKind},
    testing::Redis,
};

mod conformance {
    use super::*;
    stratt_event_bridge::testing::dedupe_conformance!(OnServer::start().await);
}

const LEASE: Duration = Duration::from_secs(60);

/// A store on a server of its own, which lives as long.
#[derive(Debug)]
struct OnServer {
    store: RedisStore,
    server: tokio::sync::Mutex<Redis>,
    connection: ConnectionManager,
}

impl OnServer {
    async fn start() -> Arc<Self> {
        Self::start_with("", RedisStoreOptions::default()).await
    }

    async fn start_with(config: &str, options: RedisStoreOptions) -> Arc<Self> {
        let server = Redis::start_with(config).await.unwrap();
        let connection = connect(&server).await;
        let store = RedisStore::open(connection.clone(), options).await.unwrap();
        Arc::new(Self { store, server: server.into(), connection })
    }

    async fn query<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut connection = self.connection.clone();
        redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await.unwrap()
    }
}

/// Reconnects soon, and waits for answers as long as the store lets it.
async fn connect(server: &Redis) -> ConnectionManager {
    let config = ConnectionManagerConfig::new()
        .set_min_delay(Duration::from_millis(10))
        .set_max_delay(Duration::from_millis(20))
        .set_response_timeout(None);
    redis::Client::open(server.url()).unwrap().get_connection_manager_with_config(config).await.unwrap()
}

impl DedupeStore for OnServer {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        self.store.claim(slot, lease)
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.settle(slot, fence)
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.release(slot, fence)
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.forget(slot, fence)
    }

    fn retention(&self) -> Option<Duration> {
        self.store.retention()
    }
}

fn slot(number: u64) -> Slot {
    Slot::new("tests".parse().unwrap(), published("a", number).idempotency_key())
}

fn key(slot: &Slot) -> String {
    format!("stratt:dedupe:tests:{}", slot.key())
}

async fn acquire(store: &dyn DedupeStore, slot: &Slot) -> Fence {
    match store.claim(slot, LEASE).await.unwrap() {
        Claim::Acquired { fence, .. } => fence,
        claim => panic!("not granted: {claim:?}"),
    }
}

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> StoreErrorKind {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn a_spent_fence_repeats_what_it_did_and_nothing_else() {
    let store = OnServer::start().await;
    let fence = acquire(&*store, &slot(1)).await;
    store.release(&slot(1), fence).await.unwrap();
    assert_eq!(kind(store.forget(&slot(1), fence).await), StoreErrorKind::Fenced);
    assert_eq!(kind(store.settle(&slot(1), fence).await), StoreErrorKind::Fenced);
    let again = store.claim(&slot(1), LEASE).await.unwrap();
    let Claim::Acquired { fence, attempt: 2 } = again else { panic!("{again:?}") };
    store.settle(&slot(1), fence).await.unwrap();
    assert_eq!(kind(store.release(&slot(1), fence).await), StoreErrorKind::Fenced);
    assert_eq!(kind(store.settle(&slot(2), fence).await), StoreErrorKind::Fenced);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_processes_one_acquires_each_key() {
    let store = OnServer::start().await;
    let server = store.server.lock().await;
    // Each with a connection of its own, as processes have.
    let mut racers = Vec::new();
    for _ in 0..8 {
        let connection = connect(&server).await;
        racers.push(Arc::new(RedisStore::open(connection, RedisStoreOptions::default()).await.unwrap()));
    }
    let claims = racers.iter().flat_map(|racer| {
        (0..300).map(|number| {
            let racer = Arc::clone(racer);
            tokio::spawn(async move { (number, racer.claim(&slot(number), LEASE).await.unwrap()) })
        })
    });
    let claims: Vec<_> = join_all(claims).await.into_iter().map(Result::unwrap).collect();
    let mut acquired: Vec<_> =
        claims.iter().filter(|(_, c)| matches!(c, Claim::Acquired { .. })).map(|(n, _)| *n).collect();
    acquired.sort_unstable();
    assert_eq!(acquired, (0..300).collect::<Vec<_>>());
}

#[tokio::test]
async fn operations_of_many_tasks_share_round_trips_and_each_has_its_own_answer() {
    let store = OnServer::start().await;
    let calls = || async { evals(&store.query::<String>(&["INFO", "commandstats"]).await) };
    let before = calls().await;
    let slots: Vec<_> = (0..200).map(slot).collect();
    let claims = join_all(slots.iter().map(|slot| store.claim(slot, LEASE))).await;
    let fences: Vec<_> = claims
        .into_iter()
        .map(|claim| match claim.unwrap() {
            Claim::Acquired { fence, attempt: 1 } => fence,
            claim => panic!("{claim:?}"),
        })
        .collect();
    let writes = slots.iter().zip(&fences).enumerate().map(|(number, (slot, fence))| match number % 4 {
        0 => store.settle(slot, *fence),
        1 => store.release(slot, *fence),
        2 => store.forget(slot, *fence),
        _ => store.settle(slot, Fence::new(fence.get() + 1000)),
    });
    for (number, written) in join_all(writes).await.into_iter().enumerate() {
        assert_eq!(written.is_ok(), number % 4 != 3, "{number}: {written:?}");
    }
    let again = join_all(slots.iter().map(|s| async { store.claim(&slot_again(s), LEASE).await.unwrap() }));
    for (number, claim) in again.await.into_iter().enumerate() {
        let is_right = match number % 4 {
            0 => claim == Claim::Settled,
            1 => matches!(claim, Claim::Acquired { attempt: 2, .. }),
            2 => matches!(claim, Claim::Acquired { attempt: 1, .. }),
            _ => matches!(claim, Claim::Held { .. }),
        };
        assert!(is_right, "{number}: {claim:?}");
    }
    let round_trips = calls().await - before;
    assert!(round_trips < 30, "{round_trips} calls for 600 operations");
}

fn slot_again(slot: &Slot) -> Slot {
    Slot::new(slot.consumer().clone(), slot.key())
}

/// How often a script was called, by the server's own count.
fn evals(stats: &str) -> u64 {
    let calls = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_eval")?.split_once("calls="));
    calls.map(|(_, rest)| rest.split(',').next().unwrap().parse::<u64>().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_remembers_across_a_crash_of_the_server_and_fails_while_it_is_down() {
    let always = "appendfsync always";
    let options = RedisStoreOptions::default().with_operation_timeout(Duration::from_millis(500));
    let store = OnServer::start_with(always, options).await;
    let (settled, held) = (slot(1), slot(2));
    let fence = acquire(&*store, &settled).await;
    store.settle(&settled, fence).await.unwrap();
    let fence = acquire(&*store, &held).await;
    store.server.lock().await.kill();
    let started = tokio::time::Instant::now();
    let failed = join_all((0..50).map(|number| claim_numbered(&store, number))).await;
    for claim in failed {
        assert_eq!(kind(claim), StoreErrorKind::Unavailable);
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    store.server.lock().await.restart().await.unwrap();
    let claim = eventually("claim", || async { store.claim(&slot(1), LEASE).await.ok() }, Option::is_some);
    assert_eq!(claim.await, Some(Claim::Settled));
    store.settle(&held, fence).await.unwrap();
    let next = acquire(&*store, &slot(3)).await;
    assert!(next > fence, "{next:?} after {fence:?}");
}

#[tokio::test]
async fn an_operation_that_is_not_answered_ends_in_time_and_the_store_goes_on() {
    let options = RedisStoreOptions::default().with_operation_timeout(Duration::from_millis(200));
    let store = OnServer::start_with("", options).await;
    store.query::<()>(&["CLIENT", "PAUSE", "60000", "ALL"]).await;
    let slots: Vec<_> = (0..300).map(slot).collect();
    let claims = join_all(slots.iter().map(|slot| store.claim(slot, LEASE)));
    for claim in tokio::time::timeout(Duration::from_secs(20), claims).await.unwrap() {
        assert_eq!(kind(claim), StoreErrorKind::Unavailable);
    }
    // Only a client that is new may end the pause: commands of the others wait.
    store.server.lock().await.restart().await.unwrap();
    let claim = eventually("claim", || async { store.claim(&slots[0], LEASE).await.ok() }, Option::is_some);
    assert!(matches!(claim.await, Some(Claim::Acquired { attempt: 1, .. })));
}

#[tokio::test]
async fn a_full_memory_takes_no_claim_and_still_the_end_of_what_it_granted() {
    let store = OnServer::start().await;
    let granted = [
        acquire(&*store, &slot(0)).await,
        acquire(&*store, &slot(1)).await,
        acquire(&*store, &slot(2)).await,
    ];
    store.query::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    assert_eq!(kind(store.claim(&slot(3), LEASE).await), StoreErrorKind::Full);
    // Together with claims, which take no room by that.
    let slots: Vec<_> = (0..6).map(slot).collect();
    let (first, settle, claim, release, forget, last) = tokio::join!(
        store.claim(&slots[3], LEASE),
        store.settle(&slots[0], granted[0]),
        store.claim(&slots[4], LEASE),
        store.release(&slots[1], granted[1]),
        store.forget(&slots[2], granted[2]),
        store.claim(&slots[5], LEASE),
    );
    for written in [settle, release, forget] {
        written.unwrap();
    }
    for claim in [first, claim, last] {
        assert_eq!(kind(claim), StoreErrorKind::Full);
    }
    assert_eq!(store.query::<Vec<String>>(&["KEYS", "stratt:dedupe:tests:*"]).await.len(), 3);
    assert_eq!(store.claim(&slots[0], LEASE).await.unwrap(), Claim::Settled);
    store.query::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let claim = store.claim(&slots[1], LEASE).await.unwrap();
    assert!(matches!(claim, Claim::Acquired { attempt: 2, .. }), "{claim:?}");
    acquire(&*store, &slots[3]).await;
}

async fn claim_numbered(store: &OnServer, number: u64) -> Result<Claim, StoreError> {
    store.claim(&slot(number), LEASE).await
}

#[tokio::test]
async fn a_server_that_lost_the_script_gets_it_again() {
    let store = OnServer::start().await;
    let fence = acquire(&*store, &slot(1)).await;
    store.query::<()>(&["SCRIPT", "FLUSH"]).await;
    store.settle(&slot(1), fence).await.unwrap();
    store.query::<()>(&["SCRIPT", "FLUSH"]).await;
    let claims = join_all((0..50).map(|n| claim_numbered(&store, n))).await;
    assert!(claims.iter().all(Result::is_ok), "{claims:?}");
    assert_eq!(claims[1].as_ref().unwrap(), &Claim::Settled);
}

#[tokio::test]
async fn a_slot_that_cannot_be_read_is_left_as_it_is_and_harms_no_other() {
    let store = OnServer::start().await;
    let claimant = "0".repeat(32);
    let values = [
        "",
        "of another program",
        "2 settled 7",
        "1 settled",
        "1 settled -7",
        "1 settled 7 8",
        "1 settled 99999999999999999999",
        "1 free 4294967296 7",
        "1 free x 7",
        &format!("1 held {claimant} 1 7"),
        &format!("1 held {claimant} 1 7 99999999999999999999"),
        &format!("1 held {claimant} 1e3 7 8"),
        "1 held ' 1 7 8",
        "\u{0}\n\u{ffff}",
        &"1 settled 7".repeat(100_000),
    ];
    for (number, value) in (0..).zip(values) {
        let (bad, good) = (slot(number), slot(1000 + number));
        store.query::<()>(&["SET", &key(&bad), value]).await;
        let (claim, settle, other) = tokio::join!(
            store.claim(&bad, LEASE),
            store.settle(&bad, Fence::new(7)),
            store.claim(&good, LEASE)
        );
        assert_eq!(kind(claim), StoreErrorKind::Corrupt, "{value:?}");
        assert_eq!(kind(settle), StoreErrorKind::Corrupt, "{value:?}");
        assert!(matches!(other.unwrap(), Claim::Acquired { .. }), "{value:?}");
        assert_eq!(store.query::<String>(&["GET", &key(&bad)]).await, value);
    }
    let list = slot(999);
    store.query::<()>(&["RPUSH", &key(&list), "a"]).await;
    assert_eq!(kind(store.claim(&list, LEASE).await), StoreErrorKind::Corrupt);
    assert_eq!(kind(store.release(&list, Fence::new(7)).await), StoreErrorKind::Corrupt);
    assert_eq!(store.query::<u64>(&["LLEN", &key(&list)]).await, 1);
}

#[tokio::test]
async fn a_counter_of_fences_that_cannot_be_read_grants_nothing() {
    let store = OnServer::start().await;
    for value in ["x", "", "-1", "1e300", "99999999999999999999"] {
        store.query::<()>(&["SET", "stratt:dedupe:fence", value]).await;
        assert_eq!(kind(store.claim(&slot(1), LEASE).await), StoreErrorKind::Corrupt, "{value:?}");
        assert!(!store.query::<bool>(&["EXISTS", &key(&slot(1))]).await);
    }
    store.query::<()>(&["DEL", "stratt:dedupe:fence"]).await;
    store.query::<()>(&["RPUSH", "stratt:dedupe:fence", "1"]).await;
    assert_eq!(kind(store.claim(&slot(1), LEASE).await), StoreErrorKind::Corrupt);
    store.query::<()>(&["DEL", "stratt:dedupe:fence"]).await;
    acquire(&*store, &slot(1)).await;
}

#[tokio::test]
async fn a_fence_is_new_after_the_slot_the_counter_or_all_data_is_gone() {
    let store = OnServer::start().await;
    let mut last = Fence::new(0);
    for lost in [&["DEL", &key(&slot(1))][..], &["DEL", "stratt:dedupe:fence"], &["FLUSHALL"]] {
        let fence = acquire(&*store, &slot(1)).await;
        assert!(fence > last, "{fence:?} after {last:?}");
        store.forget(&slot(1), fence).await.unwrap();
        store.query::<()>(lost).await;
        let next = acquire(&*store, &slot(1)).await;
        assert!(next > fence, "{next:?} after {fence:?}");
        assert_eq!(kind(store.settle(&slot(1), fence).await), StoreErrorKind::Fenced);
        store.forget(&slot(1), next).await.unwrap();
        last = next;
    }
    // Ahead of the clock, as after it was set back: the counter decides, or else the slot.
    let ahead = 8_000_000_000_000_000_u64;
    store.query::<()>(&["SET", "stratt:dedupe:fence", &ahead.to_string()]).await;
    assert_eq!(acquire(&*store, &slot(2)).await, Fence::new(ahead + 1));
    store.query::<()>(&["SET", &key(&slot(3)), &format!("1 free 1 {}", ahead + 10)]).await;
    assert_eq!(acquire(&*store, &slot(3)).await, Fence::new(ahead + 11));
    assert_eq!(acquire(&*store, &slot(4)).await, Fence::new(ahead + 12));
}

#[tokio::test]
async fn nothing_stays_for_ever_and_nothing_goes_before_its_lease() {
    let retention = Duration::from_secs(40);
    let store = OnServer::start_with("", RedisStoreOptions::default().with_retention(retention)).await;
    let short = Duration::from_secs(10);
    let slots: Vec<_> = (0..5).map(slot).collect();
    for (number, slot) in slots.iter().enumerate() {
        let lease = if number == 4 { LEASE } else { short };
        let Claim::Acquired { fence, .. } = store.claim(slot, lease).await.unwrap() else { panic!() };
        match number {
            0 => store.settle(slot, fence).await.unwrap(),
            1 => store.release(slot, fence).await.unwrap(),
            2 => store.forget(slot, fence).await.unwrap(),
            _ => {}
        }
    }
    let keys: Vec<String> = store.query(&["KEYS", "*"]).await;
    assert_eq!(keys.len(), 6, "{keys:?}");
    for name in keys {
        let left: i64 = store.query(&["PTTL", &name]).await;
        let longest = if name == key(&slots[4]) { LEASE } else { retention };
        let most = i64::try_from(longest.as_millis()).unwrap() + 1;
        assert!((most - 30_000..=most).contains(&left), "{name} lives for {left} ms");
    }
    // A retention shorter than the lease does not end it.
    let hasty = RedisStoreOptions::default().with_retention(Duration::from_millis(1));
    let hasty =
        RedisStore::open(store.connection.clone(), hasty.with_prefix("hasty").unwrap()).await.unwrap();
    let fence = acquire(&hasty, &slots[0]).await;
    let counter = || async { store.query::<bool>(&["EXISTS", "hasty:fence"]).await };
    eventually("counter", counter, |exists| !exists).await;
    assert!(matches!(hasty.claim(&slot(0), LEASE).await.unwrap(), Claim::Held { .. }));
    hasty.settle(&slots[0], fence).await.unwrap();
    let forgotten = || async { hasty.claim(&slot(0), LEASE).await.unwrap() };
    eventually("claim after the retention", forgotten, |claim| matches!(claim, Claim::Acquired { .. })).await;
}

#[tokio::test]
async fn stores_with_different_prefixes_know_nothing_of_each_other() {
    let store = OnServer::start().await;
    let other = RedisStoreOptions::default().with_prefix("stratt").unwrap();
    let other = RedisStore::open(store.connection.clone(), other).await.unwrap();
    let fence = acquire(&*store, &slot(1)).await;
    store.settle(&slot(1), fence).await.unwrap();
    let fence = acquire(&other, &slot(1)).await;
    assert!(matches!(other.claim(&slot(1), LEASE).await.unwrap(), Claim::Held { .. }));
    other.release(&slot(1), fence).await.unwrap();
    assert_eq!(store.claim(&slot(1), LEASE).await.unwrap(), Claim::Settled);
}

#[tokio::test]
async fn a_server_that_could_lose_slots_is_refused_and_says_why() {
    for (config, allowed, wanted) in [
        (
            "maxmemory-policy allkeys-lru",
            false,
            "redis evicts keys when its memory is full: maxmemory_policy is allkeys-lru, wanted noeviction",
        ),
        (
            "maxmemory-policy volatile-ttl",
            true,
            "redis evicts keys when its memory is full: maxmemory_policy is volatile-ttl, wanted noeviction",
        ),
        (
            "appendonly no",
            false,
            "redis forgets what was settled when it restarts, without an append-only file: aof_enabled is 0, wanted 1",
        ),
        (
            "cluster-enabled yes",
            false,
            "redis is a node of a cluster, whose redirections are not followed: cluster_enabled is 1, wanted 0",
        ),
        (
            "replicaof 127.0.0.1 1",
            false,
            "redis is a replica, which takes no writes: role is slave, wanted master",
        ),
    ] {
        let server = Redis::start_with(config).await.unwrap();
        let options = RedisStoreOptions::default();
        let options = if allowed { options.allow_loss_on_restart() } else { options };
        let error = RedisStore::open(connect(&server).await, options).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Mismatch, "{config}");
        assert_eq!(error.to_string(), wanted);
    }
    let server = Redis::start_with("appendonly no").await.unwrap();
    let options = RedisStoreOptions::default().allow_loss_on_restart();
    let store = RedisStore::open(connect(&server).await, options).await.unwrap();
    acquire(&store, &slot(1)).await;
}

#[tokio::test]
async fn a_server_that_does_not_tell_how_it_is_set_is_taken() {
    let store = OnServer::start().await;
    store.query::<()>(&["ACL", "SETUSER", "default", "-info"]).await;
    let other = RedisStore::open(store.connection.clone(), RedisStoreOptions::default()).await.unwrap();
    acquire(&other, &slot(1)).await;
    // One that runs no scripts is no store.
    store.query::<()>(&["ACL", "SETUSER", "default", "-script"]).await;
    let refused = RedisStore::open(store.connection.clone(), RedisStoreOptions::default()).await;
    assert_eq!(kind(refused), StoreErrorKind::Unavailable);
}
