//! Stores whose backend was lost and made anew: no fence is granted again.

use crate::slots::LEASE;
use redis::aio::ConnectionManager;
use sqlx::{Executor, PgPool};
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    Event,
    async_nats::jetstream,
    dedupe::{
        Claim, DedupeStore, Fence, KvStore, KvStoreOptions, MemoryStore, PostgresStore, RedisStore,
        RedisStoreOptions, Slot, SqlStoreOptions, SqliteStore,
    },
    testing::{NatsServer, Redis, conformance::fences_never_start_again},
};
use support::{database, published, sqlite_pool};

fn shared(store: impl DedupeStore) -> Arc<dyn DedupeStore> {
    Arc::new(store)
}

#[tokio::test]
async fn fences_in_postgres_do_not_start_again() {
    support::needs!(Postgres);
    for lost in [
        "DROP TABLE stratt_dedupe",
        "DROP TABLE stratt_dedupe; DROP SEQUENCE stratt_dedupe_fence",
        "TRUNCATE stratt_dedupe; DROP SEQUENCE stratt_dedupe_fence",
    ] {
        let pool = PgPool::connect(&database().await).await.unwrap();
        let store = PostgresStore::new(pool.clone(), SqlStoreOptions::default());
        store.migrate().await.unwrap();
        let recreate = async || {
            pool.execute(lost).await.unwrap();
            let store = PostgresStore::new(pool.clone(), SqlStoreOptions::default());
            store.migrate().await.unwrap();
            shared(store)
        };
        fences_never_start_again(shared(store), recreate).await.unwrap();
    }
}

#[tokio::test]
async fn fences_in_sqlite_do_not_start_again() {
    for lost in ["DROP TABLE stratt_dedupe", "DROP TABLE stratt_dedupe; DROP TABLE stratt_dedupe_schema"] {
        let pool = sqlite_pool().await;
        let store = SqliteStore::new(pool.clone(), SqlStoreOptions::default());
        store.migrate().await.unwrap();
        let recreate = async || {
            pool.execute(lost).await.unwrap();
            let store = SqliteStore::new(pool.clone(), SqlStoreOptions::default());
            store.migrate().await.unwrap();
            shared(store)
        };
        fences_never_start_again(shared(store), recreate).await.unwrap();
    }
}

#[tokio::test]
async fn fences_in_a_bucket_do_not_start_again() {
    let server = NatsServer::start().await.unwrap();
    let client = server.connect().await.unwrap();
    let store = KvStore::create(client.clone(), KvStoreOptions::default()).await.unwrap();
    let recreate = async || {
        jetstream::new(client.clone()).delete_key_value("STRATT_DEDUPE").await.unwrap();
        shared(KvStore::create(client.clone(), KvStoreOptions::default()).await.unwrap())
    };
    fences_never_start_again(shared(store), recreate).await.unwrap();
}

#[tokio::test]
async fn fences_in_redis_do_not_start_again() {
    support::needs!(Redis);
    let server = Redis::start().await.unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let connection: ConnectionManager = client.get_connection_manager().await.unwrap();
    let open = async || RedisStore::open(connection.clone(), RedisStoreOptions::default()).await.unwrap();
    let recreate = async || {
        let () = redis::cmd("FLUSHALL").query_async(&mut connection.clone()).await.unwrap();
        shared(open().await)
    };
    fences_never_start_again(shared(open().await), recreate).await.unwrap();
}

/// Other places that a fence was given to, such as the host's own table, may know it longer than the store.
#[tokio::test]
async fn fences_of_a_later_memory_store_are_newer() {
    let slot = Slot::new("tests".parse().unwrap(), published("a", 1).idempotency_key());
    let mut newest = Fence::new(0);
    for _restart in 0..3 {
        let store = MemoryStore::new();
        for claimant in 0..10 {
            let another = Slot::new(slot.consumer().clone(), published("a", claimant).idempotency_key());
            let claim = store.claim(&another, LEASE).await.unwrap();
            let Claim::Acquired { fence, .. } = claim else { panic!("{claim:?}") };
            assert!(fence > newest, "{fence:?} after {newest:?}");
            newest = fence;
        }
        // As long as ten grants take at the least.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
