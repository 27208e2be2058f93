//! Renewals, as far as they are particular to a store.

use crate::slots::{LEASE, acquire, slot};
use redis::aio::ConnectionManager;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    async_nats::{self, jetstream},
    dedupe::{
        Claim, DedupeStore, Fence, Grant, KvStore, KvStoreOptions, MemoryStore, PostgresStore, RedisStore,
        RedisStoreOptions, Slot, SqlStoreOptions, SqliteStore, StoreErrorKind,
    },
    testing::{NatsServer, Redis},
};
use support::{database, sqlite_pool};

async fn bucket(options: KvStoreOptions) -> (NatsServer, async_nats::Client, KvStore) {
    let server = NatsServer::start().await.unwrap();
    let client = server.connect().await.unwrap();
    let store = KvStore::create(client.clone(), options).await.unwrap();
    (server, client, store)
}

async fn redis_on(server: &Redis) -> ConnectionManager {
    redis::Client::open(server.url()).unwrap().get_connection_manager().await.unwrap()
}

async fn postgres() -> (String, PgPool, PostgresStore) {
    let url = database().await;
    let pool = PgPool::connect(&url).await.unwrap();
    let store = PostgresStore::new(pool.clone(), SqlStoreOptions::default());
    store.migrate().await.unwrap();
    (url, pool, store)
}

#[tokio::test]
async fn hostile_leases_and_fences_do_not_panic() {
    support::needs!(Postgres, Redis);
    let (_server, _, kv) = bucket(KvStoreOptions::default()).await;
    let (_, _, postgres) = postgres().await;
    let sqlite = SqliteStore::new(sqlite_pool().await, SqlStoreOptions::default());
    sqlite.migrate().await.unwrap();
    let server = Redis::start().await.unwrap();
    let redis = RedisStore::open(redis_on(&server).await, RedisStoreOptions::default()).await.unwrap();
    let stores: [Arc<dyn DedupeStore>; 5] =
        [Arc::new(MemoryStore::new()), Arc::new(kv), Arc::new(postgres), Arc::new(sqlite), Arc::new(redis)];
    for store in stores {
        let fence = acquire(&*store, &slot(1)).await;
        for lease in [Duration::MAX, Duration::ZERO, Duration::from_nanos(1)] {
            store.renew(&slot(1), fence, lease).await.unwrap();
        }
        let claim = store.claim(&slot(1), LEASE).await.unwrap();
        let Claim::Held { retry_in } = claim else { panic!("{claim:?} of {store:?}") };
        assert!(retry_in > Duration::from_hours(24 * 365), "{retry_in:?} of {store:?}");
        for stale in [0, 1, u64::MAX, i64::MAX.unsigned_abs() + 1] {
            let error = store.renew(&slot(1), Fence::new(stale), LEASE).await.unwrap_err();
            let (kind, wanted) = (error.kind(), [StoreErrorKind::Fenced, StoreErrorKind::Unavailable]);
            assert!(wanted.contains(&kind), "{kind:?} for {stale} of {store:?}");
        }
        store.settle(&slot(1), fence).await.unwrap();
    }
}

#[tokio::test]
async fn only_a_renewed_slot_of_a_bucket_costs_more_to_settle() {
    let (_server, client, store) = bucket(KvStoreOptions::default()).await;
    let context = jetstream::new(client);
    let stream = || async { context.get_stream("KV_STRATT_DEDUPE").await.unwrap().cached_info().clone() };
    let written = || async { stream().await.state.last_sequence };
    // Nothing can be read: a claim and a settle are one write each.
    let config = stream().await.config;
    let unreadable = jetstream::stream::Config { allow_direct: false, ..config.clone() };
    context.update_stream(unreadable).await.unwrap();
    let before = written().await;
    let fence = acquire(&store, &slot(1)).await;
    store.settle(&slot(1), fence).await.unwrap();
    assert_eq!(written().await, before + 2);
    context.update_stream(config).await.unwrap();
    let fence = acquire(&store, &slot(2)).await;
    store.renew(&slot(2), fence, LEASE).await.unwrap();
    store.renew(&slot(2), fence, LEASE).await.unwrap();
    store.settle(&slot(2), fence).await.unwrap();
    assert_eq!(written().await, before + 6);
}

#[tokio::test]
async fn a_full_bucket_takes_the_end_of_what_was_renewed() {
    let (_server, _, store) = bucket(KvStoreOptions::default().with_max_bytes(2000)).await;
    let mut granted = Vec::new();
    for number in 0..4 {
        granted.push(acquire(&store, &slot(number)).await);
        store.renew(&slot(number), granted[usize::try_from(number).unwrap()], LEASE).await.unwrap();
    }
    let mut more = (4..).map(slot);
    let full = loop {
        if let Err(error) = store.claim(&more.next().unwrap(), LEASE).await {
            break error;
        }
    };
    assert_eq!(full.kind(), StoreErrorKind::Full, "{full:?}");
    let error = store.renew(&slot(0), granted[0], 2 * LEASE).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Full, "{error:?}");
    store.settle(&slot(0), granted[0]).await.unwrap();
    store.release(&slot(1), granted[1]).await.unwrap();
    store.defer(&slot(2), granted[2]).await.unwrap();
    store.forget(&slot(3), granted[3]).await.unwrap();
}

/// A renewal, a settle and a release of one claim at once: each write is made on the latest revision.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_that_races_with_the_end_loses_nothing() {
    let (_server, _, store) = bucket(KvStoreOptions::default()).await;
    for number in 0..50 {
        let slot = slot(number);
        let fence = acquire(&store, &slot).await;
        let (renewed, settled) = tokio::join!(store.renew(&slot, fence, LEASE), store.settle(&slot, fence));
        settled.unwrap();
        if let Err(error) = renewed {
            assert_eq!(error.kind(), StoreErrorKind::Fenced, "{error:?}");
        }
        assert_eq!(store.claim(&slot, LEASE).await.unwrap(), Claim::Settled);
    }
}

#[tokio::test]
async fn a_renewed_claim_settles_in_a_transaction() {
    support::needs!(Postgres);
    let (_, pool, postgres) = postgres().await;
    let fence = acquire(&postgres, &slot(1)).await;
    postgres.renew(&slot(1), fence, 2 * LEASE).await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    // Renewed again while the transaction is open.
    tx.execute("SELECT 1").await.unwrap();
    postgres.renew(&slot(1), fence, 3 * LEASE).await.unwrap();
    postgres.settle_in(Grant::new(slot(1), fence), &mut tx).await.unwrap();
    // The row is locked now: a renewal does not wait for it.
    let error = postgres.renew(&slot(1), fence, LEASE).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    tx.commit().await.unwrap();
    assert_eq!(postgres.renew(&slot(1), fence, LEASE).await.unwrap_err().kind(), StoreErrorKind::Fenced);
    assert_eq!(postgres.claim(&slot(1), LEASE).await.unwrap(), Claim::Settled);
    let pool = sqlite_pool().await;
    let sqlite = SqliteStore::new(pool.clone(), SqlStoreOptions::default());
    sqlite.migrate().await.unwrap();
    let fence = acquire(&sqlite, &slot(1)).await;
    sqlite.renew(&slot(1), fence, 2 * LEASE).await.unwrap();
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    sqlite.settle_in(Grant::new(slot(1), fence), &mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(sqlite.claim(&slot(1), LEASE).await.unwrap(), Claim::Settled);
}

#[tokio::test]
async fn a_snapshot_from_before_a_renewal_cannot_settle() {
    support::needs!(Postgres);
    let (_, pool, store) = postgres().await;
    let fence = acquire(&store, &slot(1)).await;
    let mut tx = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    tx.execute("SELECT 1 FROM stratt_dedupe").await.unwrap();
    store.renew(&slot(1), fence, 2 * LEASE).await.unwrap();
    let error = store.settle_in(Grant::new(slot(1), fence), &mut tx).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("could not serialize"), "{cause}");
    tx.rollback().await.unwrap();
    // Begun after it, as the guide advises.
    let mut tx = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    store.settle_in(Grant::new(slot(1), fence), &mut tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.claim(&slot(1), LEASE).await.unwrap(), Claim::Settled);
}

/// A renewal by the consumer locks the row for a moment, in which the handler may settle.
#[tokio::test]
async fn a_settle_in_a_transaction_outlasts_a_renewal() {
    support::needs!(Postgres);
    let (url, pool, store) = postgres().await;
    let fence = acquire(&store, &slot(1)).await;
    let mut renewing = PgConnection::connect(&url).await.unwrap();
    let mut renewal = renewing.begin().await.unwrap();
    renewal.execute("UPDATE stratt_dedupe SET since = since + interval '1 minute'").await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    let (settled, ()) = tokio::join!(store.settle_in(Grant::new(slot(1), fence), &mut tx), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        renewal.commit().await.unwrap();
    });
    settled.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.claim(&slot(1), LEASE).await.unwrap(), Claim::Settled);
}

/// Calls of many tasks go together, and each gets its own answer.
#[tokio::test]
async fn many_renewals_beside_writes_are_answered_each() {
    support::needs!(Postgres);
    let (_, _, postgres) = postgres().await;
    let sqlite = SqliteStore::new(sqlite_pool().await, SqlStoreOptions::default());
    sqlite.migrate().await.unwrap();
    let stores: [&dyn DedupeStore; 2] = [&postgres, &sqlite];
    for store in stores {
        let mut granted = Vec::new();
        for number in 0..60 {
            granted.push((slot(number), acquire(store, &slot(number)).await));
        }
        let calls = granted.iter().enumerate().map(|(number, (slot, fence))| match number % 3 {
            0 => store.renew(slot, *fence, 2 * LEASE),
            1 => store.settle(slot, *fence),
            _ => store.renew(slot, Fence::new(fence.get() + 1000), LEASE),
        });
        for (number, answer) in futures::future::join_all(calls).await.into_iter().enumerate() {
            assert_eq!(answer.is_ok(), number % 3 < 2, "{number}: {answer:?}");
        }
        for (number, (old, fence)) in granted.iter().enumerate() {
            let other = Slot::new(old.consumer().clone(), old.key());
            match (number % 3, store.claim(&other, LEASE).await.unwrap()) {
                (0, Claim::Held { retry_in }) => assert!(retry_in > LEASE, "{retry_in:?}"),
                (1, Claim::Settled) => {}
                (2, Claim::Held { retry_in }) => assert!(retry_in <= LEASE + LEASE / 10, "{retry_in:?}"),
                (_, claim) => panic!("{number} with {fence:?}: {claim:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_renewal_in_redis_is_no_larger_and_outlives_retention() {
    support::needs!(Redis);
    let server = Redis::start().await.unwrap();
    let mut connection = redis_on(&server).await;
    let brief = RedisStoreOptions::default().with_retention(Duration::from_millis(1));
    let store = RedisStore::open(connection.clone(), brief).await.unwrap();
    let fence = acquire(&store, &slot(1)).await;
    let key = format!("stratt:dedupe:tests:{}", slot(1).key());
    let before: String = redis::cmd("GET").arg(&key).query_async(&mut connection).await.unwrap();
    store.renew(&slot(1), fence, 2 * LEASE).await.unwrap();
    let after: String = redis::cmd("GET").arg(&key).query_async(&mut connection).await.unwrap();
    assert_eq!(before.len(), after.len(), "{before:?} and {after:?}");
    let left: u64 = redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.unwrap();
    assert!(left > 100_000, "the slot goes in {left} ms");
    store.renew(&slot(1), fence, Duration::ZERO).await.unwrap();
    let left: u64 = redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.unwrap();
    assert!(left > 100_000, "the slot goes in {left} ms");
}
