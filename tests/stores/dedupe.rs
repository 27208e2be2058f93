//! The stores of this crate: certified by the conformance suite, and what is particular to each.

use crate::slots::{LEASE, acquire, slot};
use futures::{
    StreamExt,
    future::{BoxFuture, join_all},
};
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    async_nats::{self, HeaderMap, Subscriber, connection::State, jetstream::stream},
    dedupe::{
        Claim, DedupeStore, Fence, KvStore, KvStoreOptions, MemoryStore, Slot, SlotState, StoreError,
        StoreErrorKind,
    },
    testing::NatsServer,
    topology::Storage,
};
use support::eventually;

mod memory {
    use super::*;
    stratt_event_bridge::testing::dedupe_conformance!(Arc::new(MemoryStore::new()));
}

mod kv {
    use super::*;
    stratt_event_bridge::testing::dedupe_conformance!(OnServer::start().await.store);
}

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

    fn renew<'a>(
        &'a self,
        slot: &'a Slot,
        fence: Fence,
        lease: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.kv.renew(slot, fence, lease)
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.kv.settle(slot, fence)
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.kv.release(slot, fence)
    }

    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.kv.defer(slot, fence)
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.kv.forget(slot, fence)
    }

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        self.kv.peek(slot)
    }

    fn retention(&self) -> Option<Duration> {
        self.kv.retention()
    }
}

fn options() -> KvStoreOptions {
    KvStoreOptions::default().with_skew_margin(Duration::from_millis(100))
}

#[tokio::test]
async fn a_full_memory_store_evicts_the_oldest_settled_slots() {
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

#[tokio::test]
async fn a_spent_fence_repeats_what_it_did_and_nothing_else() {
    let memory: Arc<dyn DedupeStore> = Arc::new(MemoryStore::new());
    for store in [memory, OnServer::start().await.store] {
        let fence = acquire(&*store, &slot(1)).await;
        store.release(&slot(1), fence).await.unwrap();
        // Were this Ok, the attempts would have to be back to zero.
        let error = store.forget(&slot(1), fence).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Fenced, "{store:?}");
        let error = store.settle(&slot(1), fence).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Fenced, "{store:?}");
        let claim = store.claim(&slot(1), LEASE).await.unwrap();
        assert!(matches!(claim, Claim::Acquired { attempt: 2, .. }), "{claim:?} of {store:?}");
    }
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
async fn a_bucket_survives_a_crash_and_fails_while_it_is_down() {
    let OnServer { store } = OnServer::start().await;
    let fence = acquire(&*store, &slot(1)).await;
    store.settle(&slot(1), fence).await.unwrap();
    store.server.lock().await.kill();
    let error = store.claim(&slot(1), LEASE).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    store.server.lock().await.restart().await.unwrap();
    let claim = eventually("claim", || async { store.claim(&slot(1), LEASE).await.ok() }, Option::is_some);
    assert_eq!(claim.await, Some(Claim::Settled));
}

#[tokio::test]
async fn a_bucket_that_is_gone_or_full_fails_and_grants_nothing() {
    let OnServer { store } = OnServer::start().await;
    let context = async_nats::jetstream::new(store.client.clone());
    context.delete_key_value("STRATT_DEDUPE").await.unwrap();
    assert_eq!(store.claim(&slot(1), LEASE).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    let small = KvStore::create(
        store.client.clone(),
        options().with_bucket("small".parse().unwrap()).with_max_bytes(300),
    )
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
    assert_eq!(store.retention(), Some(Duration::from_hours(720)));
    let other = options().with_retention(Duration::from_mins(1));
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

#[tokio::test]
async fn a_key_that_was_deleted_by_hand_starts_afresh() {
    let OnServer { store } = OnServer::start().await;
    let bucket =
        async_nats::jetstream::new(store.client.clone()).get_key_value("STRATT_DEDUPE").await.unwrap();
    let key = format!("tests.{}", slot(1).key());
    bucket.put(&key, "of another program".into()).await.unwrap();
    bucket.delete(&key).await.unwrap();
    let stale = acquire(&*store, &slot(1)).await;
    bucket.purge(&key).await.unwrap();
    assert_eq!(store.release(&slot(1), stale).await.unwrap_err().kind(), StoreErrorKind::Fenced);
    let claim = store.claim(&slot(1), LEASE).await.unwrap();
    assert!(matches!(claim, Claim::Acquired { attempt: 1, .. }), "{claim:?}");
}

#[tokio::test]
async fn a_full_bucket_still_takes_the_end_of_what_it_granted() {
    let OnServer { store } = OnServer::start().await;
    for (name, storage) in [("file", Storage::File), ("memory", Storage::Memory)] {
        let small = options().with_bucket(name.parse().unwrap()).with_max_bytes(1000);
        let small = small.with_storage(storage);
        let small = KvStore::create(store.client.clone(), small).await.unwrap();
        let mut granted = Vec::new();
        while let Ok(claim) = small.claim(&slot(u64::try_from(granted.len()).unwrap()), LEASE).await {
            let Claim::Acquired { fence, .. } = claim else { panic!("{claim:?}") };
            granted.push(fence);
        }
        small.settle(&slot(0), granted[0]).await.unwrap();
        small.release(&slot(1), granted[1]).await.unwrap();
        small.forget(&slot(2), granted[2]).await.unwrap();
    }
}

#[tokio::test]
async fn a_claim_made_without_a_connection_takes_no_slot_later() {
    let OnServer { store } = OnServer::start().await;
    let connected = || async { store.client.connection_state() == State::Connected };
    store.server.lock().await.kill();
    eventually("connected", connected, |connected| !connected).await;
    let error = store.claim(&slot(1), LEASE).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    store.server.lock().await.restart().await.unwrap();
    eventually("connected", connected, |connected| *connected).await;
    // What waited in the client's queue is written before this is answered.
    let claim = store.claim(&slot(1), LEASE).await.unwrap();
    assert!(matches!(claim, Claim::Acquired { attempt: 1, .. }), "{claim:?}");
}

#[tokio::test]
async fn a_bucket_that_drops_old_keys_when_it_is_full_is_refused() {
    let OnServer { store } = OnServer::start().await;
    let leaky = stream::Config {
        name: "KV_leaky".into(),
        subjects: vec!["$KV.leaky.>".into()],
        max_bytes: 1000,
        allow_direct: true,
        discard: stream::DiscardPolicy::Old,
        ..Default::default()
    };
    async_nats::jetstream::new(store.client.clone()).create_stream(leaky).await.unwrap();
    let options = options().with_bucket("leaky".parse().unwrap());
    for error in [
        KvStore::open(store.client.clone(), options.clone()).await.unwrap_err(),
        KvStore::create(store.client.clone(), options).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), StoreErrorKind::Mismatch, "{error}");
        assert_eq!(error.to_string(), "bucket leaky discards old keys when it is full; wanted discard new");
    }
}

/// The direct gets of the bucket, which the server leaves to the test from now on.
async fn direct_gets(store: &WithServer) -> (Subscriber, stream::Stream) {
    let context = async_nats::jetstream::new(store.client.clone());
    let stream = context.get_stream("KV_STRATT_DEDUPE").await.unwrap();
    let config = stream::Config { allow_direct: false, ..stream.cached_info().config.clone() };
    context.update_stream(config).await.unwrap();
    (store.client.subscribe("$JS.API.DIRECT.GET.KV_STRATT_DEDUPE.>").await.unwrap(), stream)
}

#[tokio::test]
async fn an_operation_that_is_not_answered_ends_in_time() {
    let OnServer { store } = OnServer::start().await;
    let hasty = options().with_operation_timeout(Duration::from_millis(200));
    let hasty = KvStore::open(store.client.clone(), hasty).await.unwrap();
    acquire(&hasty, &slot(1)).await;
    let (_unanswered, _) = direct_gets(&store).await;
    let second = slot(1);
    let answer = tokio::time::timeout(Duration::from_secs(5), hasty.claim(&second, LEASE)).await;
    assert_eq!(answer.unwrap().unwrap_err().kind(), StoreErrorKind::Unavailable);
    // Nor does a write wait for a server that hangs.
    let server = store.server.lock().await;
    server.pause().unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(5), hasty.claim(&second, LEASE)).await;
    server.resume().unwrap();
    assert_eq!(answer.unwrap().unwrap_err().kind(), StoreErrorKind::Unavailable);
}

#[tokio::test]
async fn a_follower_that_lags_behind_costs_a_retry_and_no_claim() {
    let OnServer { store } = OnServer::start().await;
    let (mut gets, stream) = direct_gets(&store).await;
    let mine = slot(1);
    let fence = acquire(&*store, &mine).await;
    let follower = async {
        // Twice it knows only an older revision.
        for lags in [true, true, false] {
            let get = gets.next().await.unwrap();
            let key = get.subject.strip_prefix("$JS.API.DIRECT.GET.KV_STRATT_DEDUPE.").unwrap();
            let found = stream.get_last_raw_message_by_subject(key).await.unwrap();
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Sequence", if lags { 0 } else { found.sequence }.to_string());
            headers.insert("Nats-Time-Stamp", "2026-01-01T00:00:00Z");
            store.client.publish_with_headers(get.reply.unwrap(), headers, found.payload).await.unwrap();
        }
    };
    let both = futures::future::join(store.release(&mine, fence), follower);
    let (released, ()) = tokio::time::timeout(Duration::from_secs(10), both).await.unwrap();
    released.unwrap();
}
