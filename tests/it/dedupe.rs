//! The stores of this crate: certified by the conformance suite, and what is particular to each.

use crate::support::published;
use futures::future::{BoxFuture, join_all};
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    Event, async_nats,
    dedupe::{
        Claim, DedupeStore, Fence, KvStore, KvStoreOptions, MemoryStore, Slot, StoreError, StoreErrorKind,
    },
    testing::NatsServer,
};

mod memory {
    use super::*;
    stratt_event_bridge::testing::dedupe_conformance!(Arc::new(MemoryStore::new()));
}

mod kv {
    use super::*;
    stratt_event_bridge::testing::dedupe_conformance!(OnServer::start().await.store);
}

const LEASE: Duration = Duration::from_secs(60);

/// A key-value store on a server of its own.
struct OnServer {
    store: Arc<WithServer>,
}

/// Keeps the server while the store is in use.
#[derive(Debug)]
struct WithServer {
    kv: KvStore,
    server: tokio::sync::Mutex<NatsServer>,
    client: async_nats::Client,
}

impl OnServer {
    async fn start() -> Self {
        let server = NatsServer::start().await.unwrap();
        let client = server.connect().await.unwrap();
        let kv = KvStore::create(client.clone(), options()).await.unwrap();
        Self { store: Arc::new(WithServer { kv, server: server.into(), client }) }
    }
}

impl DedupeStore for WithServer {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        self.kv.claim(slot, lease)
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.kv.settle(slot, fence)
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.kv.release(slot, fence)
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.kv.forget(slot, fence)
    }

    fn retention(&self) -> Option<Duration> {
        self.kv.retention()
    }
}

fn options() -> KvStoreOptions {
    KvStoreOptions::default().with_skew_margin(Duration::from_millis(100))
}

fn slot(number: u64) -> Slot {
    Slot::new("tests".parse().unwrap(), published("a", number).idempotency_key())
}

async fn acquire(store: &dyn DedupeStore, slot: &Slot) -> Fence {
    match store.claim(slot, LEASE).await.unwrap() {
        Claim::Acquired { fence, .. } => fence,
        claim => panic!("not granted: {claim:?}"),
    }
}

#[tokio::test]
async fn a_full_memory_store_evicts_settled_slots_oldest_first_and_held_ones_never() {
    let store = MemoryStore::with_capacity(3);
    let held = slot(0);
    acquire(&store, &held).await;
    for number in 1..=2 {
        let fence = acquire(&store, &slot(number)).await;
        store.settle(&slot(number), fence).await.unwrap();
    }
    acquire(&store, &slot(3)).await;
    assert_eq!(store.evicted(), 1);
    assert_eq!(store.claim(&slot(2), LEASE).await.unwrap(), Claim::Settled);
    assert!(matches!(store.claim(&slot(0), LEASE).await.unwrap(), Claim::Held { .. }));
    acquire(&store, &slot(1)).await;
    assert_eq!(store.evicted(), 2);
    // Three held slots, and no room for a fourth.
    let error = store.claim(&slot(4), LEASE).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full);
    for number in [0, 1, 3] {
        assert!(matches!(store.claim(&slot(number), LEASE).await.unwrap(), Claim::Held { .. }));
    }
}

#[tokio::test]
async fn a_full_memory_store_without_settled_slots_evicts_a_free_one() {
    let store = MemoryStore::with_capacity(1);
    let fence = acquire(&store, &slot(1)).await;
    store.release(&slot(1), fence).await.unwrap();
    acquire(&store, &slot(2)).await;
    assert_eq!(store.evicted(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_processes_one_acquires_each_key_of_a_bucket() {
    let OnServer { store } = OnServer::start().await;
    let server = store.server.lock().await;
    // Each with a connection of its own, as processes have.
    let mut racers = Vec::new();
    for _ in 0..8 {
        racers.push(Arc::new(KvStore::open(server.connect().await.unwrap(), options()).await.unwrap()));
    }
    for number in 0..100 {
        let claims = racers.iter().map(|racer| {
            let racer = Arc::clone(racer);
            tokio::spawn(async move { racer.claim(&slot(number), LEASE).await.unwrap() })
        });
        let claims = join_all(claims).await;
        let acquired =
            claims.iter().filter(|c| matches!(c.as_ref().unwrap(), Claim::Acquired { .. })).count();
        assert_eq!(acquired, 1, "key {number}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_remembers_across_a_crash_of_the_server_and_fails_while_it_is_down() {
    let OnServer { store } = OnServer::start().await;
    let fence = acquire(&*store, &slot(1)).await;
    store.settle(&slot(1), fence).await.unwrap();
    store.server.lock().await.kill();
    let error = store.claim(&slot(1), LEASE).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    store.server.lock().await.restart().await.unwrap();
    let claim = crate::support::eventually(
        "claim",
        || async { store.claim(&slot(1), LEASE).await.ok() },
        Option::is_some,
    );
    assert_eq!(claim.await, Some(Claim::Settled));
}

#[tokio::test]
async fn a_bucket_that_is_gone_or_full_fails_and_grants_nothing() {
    let OnServer { store } = OnServer::start().await;
    let context = async_nats::jetstream::new(store.client.clone());
    context.delete_key_value("STRATT_DEDUPE").await.unwrap();
    assert_eq!(store.claim(&slot(1), LEASE).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    let small = KvStore::create(store.client.clone(), options().with_bucket("small").with_max_bytes(300))
        .await
        .unwrap();
    let mut kinds = Vec::new();
    for number in 0..10 {
        kinds.extend(small.claim(&slot(number), LEASE).await.err().map(|error| error.kind()));
    }
    assert!(!kinds.is_empty() && kinds.iter().all(|kind| *kind == StoreErrorKind::Full), "{kinds:?}");
}

#[tokio::test]
async fn a_bucket_with_other_settings_is_refused_and_says_which() {
    let OnServer { store } = OnServer::start().await;
    assert_eq!(store.retention(), Some(Duration::from_secs(30 * 24 * 60 * 60)));
    let other = options().with_retention(Duration::from_secs(60));
    let error = KvStore::create(store.client.clone(), other).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Mismatch);
    assert_eq!(error.to_string(), "bucket STRATT_DEDUPE has retention 2592000s, wanted 60s");
    KvStore::create(store.client.clone(), options()).await.unwrap();
}

#[tokio::test]
async fn a_slot_that_cannot_be_read_is_left_as_it_is() {
    let OnServer { store } = OnServer::start().await;
    let bucket =
        async_nats::jetstream::new(store.client.clone()).get_key_value("STRATT_DEDUPE").await.unwrap();
    let key = format!("tests.{}", slot(1).key());
    bucket.put(&key, "of another program".into()).await.unwrap();
    assert_eq!(store.claim(&slot(1), LEASE).await.unwrap_err().kind(), StoreErrorKind::Corrupt);
    assert_eq!(bucket.get(&key).await.unwrap().unwrap(), "of another program");
}
