//! The store in Redis: certified by the conformance suite on a real server, and what is particular to it.

use crate::slots::{LEASE, acquire, slot};
use futures::future::{BoxFuture, join_all};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    dedupe::{
        Claim, DedupeStore, Fence, RedisStore, RedisStoreOptions, Slot, SlotState, StoreError, StoreErrorKind,
    },
    testing::Redis,
};
use support::eventually;

mod damage;
mod failover;
mod outage;

mod conformance {
    use super::*;
    stratt_event_bridge::testing::dedupe_conformance!({
        support::needs!(Redis);
        OnServer::start().await
    });
}

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

    fn renew<'a>(
        &'a self,
        slot: &'a Slot,
        fence: Fence,
        lease: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.renew(slot, fence, lease)
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.settle(slot, fence)
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.release(slot, fence)
    }

    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.defer(slot, fence)
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.store.forget(slot, fence)
    }

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        self.store.peek(slot)
    }

    fn retention(&self) -> Option<Duration> {
        self.store.retention()
    }
}

fn key(slot: &Slot) -> String {
    format!("stratt:dedupe:tests:{}", slot.key())
}

fn kind<T: std::fmt::Debug>(result: Result<T, StoreError>) -> StoreErrorKind {
    result.unwrap_err().kind()
}

#[tokio::test]
async fn a_spent_fence_repeats_what_it_did_and_nothing_else() {
    support::needs!(Redis);
    let store = OnServer::start().await;
    let fence = acquire(&*store, &slot(1)).await;
    store.release(&slot(1), fence).await.unwrap();
    assert_eq!(kind(store.forget(&slot(1), fence).await), StoreErrorKind::Fenced);
    assert_eq!(kind(store.settle(&slot(1), fence).await), StoreErrorKind::Fenced);
    let again = store.claim(&slot(1), LEASE).await.unwrap();
    let Claim::Acquired { fence, attempt: 2, .. } = again else { panic!("{again:?}") };
    store.settle(&slot(1), fence).await.unwrap();
    assert_eq!(kind(store.release(&slot(1), fence).await), StoreErrorKind::Fenced);
    assert_eq!(kind(store.settle(&slot(2), fence).await), StoreErrorKind::Fenced);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_processes_one_acquires_each_key() {
    support::needs!(Redis);
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
async fn many_tasks_share_round_trips_with_own_answers() {
    support::needs!(Redis);
    let store = OnServer::start().await;
    let calls = || async { evals(&store.query::<String>(&["INFO", "commandstats"]).await) };
    let before = calls().await;
    let slots: Vec<_> = (0..200).map(slot).collect();
    let claims = join_all(slots.iter().map(|slot| store.claim(slot, LEASE))).await;
    let fences: Vec<_> = claims
        .into_iter()
        .map(|claim| match claim.unwrap() {
            Claim::Acquired { fence, attempt: 1, .. } => fence,
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

/// Returns how often a script was called, by the server's own count.
fn evals(stats: &str) -> u64 {
    let calls = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_eval")?.split_once("calls="));
    calls.map(|(_, rest)| rest.split(',').next().unwrap().parse::<u64>().unwrap()).sum()
}

async fn claim_numbered(store: &OnServer, number: u64) -> Result<Claim, StoreError> {
    store.claim(&slot(number), LEASE).await
}

#[tokio::test]
async fn nothing_stays_for_ever_and_nothing_goes_before_its_lease() {
    support::needs!(Redis);
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
        let longest = match name.as_str() {
            // Stores that remember for longer count on it.
            "stratt:dedupe:fence" => Duration::from_hours(365 * 24),
            name if name == key(&slots[4]) => LEASE,
            _ => retention,
        };
        let most = i64::try_from(longest.as_millis()).unwrap() + 1;
        assert!((most - 30_000..=most).contains(&left), "{name} lives for {left} ms");
    }
    // A retention shorter than the lease does not end it.
    let hasty = RedisStoreOptions::default().with_retention(Duration::from_millis(1));
    let hasty = RedisStore::open(store.connection.clone(), hasty.with_prefix("hasty".parse().unwrap()))
        .await
        .unwrap();
    let fence = acquire(&hasty, &slots[0]).await;
    store.query::<()>(&["DEL", "hasty:fence"]).await;
    assert!(matches!(hasty.claim(&slot(0), LEASE).await.unwrap(), Claim::Held { .. }));
    hasty.settle(&slots[0], fence).await.unwrap();
    let forgotten = || async { hasty.claim(&slot(0), LEASE).await.unwrap() };
    eventually("claim after the retention", forgotten, |claim| matches!(claim, Claim::Acquired { .. })).await;
}

#[tokio::test]
async fn stores_with_different_prefixes_know_nothing_of_each_other() {
    support::needs!(Redis);
    let store = OnServer::start().await;
    let other = RedisStoreOptions::default().with_prefix("stratt".parse().unwrap());
    let other = RedisStore::open(store.connection.clone(), other).await.unwrap();
    let fence = acquire(&*store, &slot(1)).await;
    store.settle(&slot(1), fence).await.unwrap();
    let fence = acquire(&other, &slot(1)).await;
    assert!(matches!(other.claim(&slot(1), LEASE).await.unwrap(), Claim::Held { .. }));
    other.release(&slot(1), fence).await.unwrap();
    assert_eq!(store.claim(&slot(1), LEASE).await.unwrap(), Claim::Settled);
}
