//! The stores in a database of the host: certified by the conformance suite, and what is particular to them.

use crate::slots::{LEASE, acquire_for, slot};
use futures::future::{join_all, try_join_all};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use stratt_event_bridge::{
    dedupe::{
        Claim, DedupeStore, Fence, PostgresStore, SqlStoreOptions, SqliteStore, StoreError, StoreErrorKind,
    },
    testing::Postgres,
};
use support::{database, eventually, sqlite_pool};

mod postgres {
    use super::*;
    stratt_event_bridge::testing::dedupe_conformance!({
        support::needs!(Postgres);
        Arc::new(on_postgres().await)
    });
}

mod sqlite {
    use super::*;
    stratt_event_bridge::testing::dedupe_conformance!(Arc::new(on_sqlite().await));
}

async fn on_postgres() -> PostgresStore {
    let store = PostgresStore::new(PgPool::connect(&database().await).await.unwrap(), options());
    store.migrate().await.unwrap();
    store
}

async fn on_sqlite() -> SqliteStore {
    let store = SqliteStore::new(sqlite_pool().await, options());
    store.migrate().await.unwrap();
    store
}

fn options() -> SqlStoreOptions {
    SqlStoreOptions::default().with_operation_timeout(Duration::from_secs(20))
}

async fn both() -> [Arc<dyn DedupeStore>; 2] {
    [Arc::new(on_postgres().await), Arc::new(on_sqlite().await)]
}

#[tokio::test]
async fn a_spent_fence_repeats_what_it_did_and_nothing_else() {
    support::needs!(Postgres);
    for store in both().await {
        let fence = acquire_for(&*store, &slot(1), LEASE).await;
        store.release(&slot(1), fence).await.unwrap();
        // Were this Ok, the attempts would have to be back to zero.
        assert_eq!(store.forget(&slot(1), fence).await.unwrap_err().kind(), StoreErrorKind::Fenced);
        assert_eq!(store.settle(&slot(1), fence).await.unwrap_err().kind(), StoreErrorKind::Fenced);
        let claim = store.claim(&slot(1), LEASE).await.unwrap();
        assert!(matches!(claim, Claim::Acquired { attempt: 2, .. }), "{claim:?} of {store:?}");
    }
}

#[tokio::test]
async fn hostile_fences_and_leases_change_nothing_and_do_not_panic() {
    support::needs!(Postgres);
    for store in both().await {
        let longest = acquire_for(&*store, &slot(1), Duration::MAX).await;
        assert!(matches!(store.claim(&slot(1), LEASE).await.unwrap(), Claim::Held { .. }));
        for fence in [0, u64::MAX, i64::MAX.unsigned_abs() + 1] {
            let error = store.settle(&slot(1), Fence::new(fence)).await.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Fenced, "{fence} of {store:?}");
        }
        store.settle(&slot(1), longest).await.unwrap();
        assert_eq!(store.settle(&slot(2), longest).await.unwrap_err().kind(), StoreErrorKind::Fenced);
        acquire_for(&*store, &slot(2), Duration::ZERO).await;
    }
}

/// Many processes, each with a pool of its own, claim the same slots in different orders, and settle them.
async fn race(stores: Vec<Arc<dyn DedupeStore>>) {
    const SLOTS: u64 = 400;
    let racers = stores.into_iter().enumerate().flat_map(|(racer, store)| {
        (0..SLOTS).map(move |number| {
            let (store, forwards) = (Arc::clone(&store), racer % 2 == 0);
            let slot = slot(if forwards { number } else { SLOTS - 1 - number });
            tokio::spawn(async move {
                let Claim::Acquired { fence, .. } = store.claim(&slot, LEASE).await.unwrap() else {
                    return 0;
                };
                store.settle(&slot, fence).await.unwrap();
                1
            })
        })
    });
    let handled: u64 = join_all(racers).await.into_iter().map(Result::unwrap).sum();
    assert_eq!(handled, SLOTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_processes_acquires_and_none_waits_for_ever() {
    support::needs!(Postgres);
    let url = database().await;
    let mut stores: Vec<Arc<dyn DedupeStore>> = Vec::new();
    for _ in 0..4 {
        let store = PostgresStore::new(PgPool::connect(&url).await.unwrap(), options());
        store.migrate().await.unwrap();
        stores.push(Arc::new(store));
    }
    race(stores).await;
    let pool = sqlite_pool().await;
    let stores = (0..3).map(|_| SqliteStore::new(pool.clone(), options()));
    let stores: Vec<Arc<dyn DedupeStore>> = stores.map(|store| Arc::new(store) as _).collect();
    SqliteStore::new(pool, options()).migrate().await.unwrap();
    race(stores).await;
}

#[tokio::test]
async fn several_processes_migrate_at_once_and_again() {
    support::needs!(Postgres);
    let url = database().await;
    let table = SqlStoreOptions::default().with_table("events.dedupe".parse().unwrap());
    let pool = PgPool::connect(&url).await.unwrap();
    pool.execute("CREATE SCHEMA events").await.unwrap();
    let stores = (0..8).map(|_| PostgresStore::new(pool.clone(), table.clone()));
    try_join_all(stores.map(|store| async move { store.migrate().await })).await.unwrap();
    let store = PostgresStore::new(pool.clone(), table);
    acquire_for(&store, &slot(1), LEASE).await;
    // Who may use the table, and may not create one.
    pool.execute(
        "CREATE ROLE consumer LOGIN; GRANT USAGE ON SCHEMA events TO consumer;
         GRANT SELECT, INSERT, UPDATE, DELETE ON events.dedupe TO consumer;
         GRANT USAGE ON SEQUENCE events.dedupe_fence TO consumer",
    )
    .await
    .unwrap();
    let table = SqlStoreOptions::default().with_table("events.dedupe".parse().unwrap());
    let pool = PgPool::connect(&url.replace("postgres@", "consumer@")).await.unwrap();
    let store = PostgresStore::new(pool, table);
    store.migrate().await.unwrap();
    let fence = acquire_for(&store, &slot(2), LEASE).await;
    store.settle(&slot(2), fence).await.unwrap();
    store.purge().await.unwrap();
    let pool = sqlite_pool().await;
    let stores = (0..8).map(|_| SqliteStore::new(pool.clone(), options()));
    try_join_all(stores.map(|store| async move { store.migrate().await })).await.unwrap();
}

#[tokio::test]
async fn without_its_table_a_store_says_what_to_do() {
    support::needs!(Postgres);
    let pool = PgPool::connect(&database().await).await.unwrap();
    let stores: [Arc<dyn DedupeStore>; 2] = [
        Arc::new(PostgresStore::new(pool, options())),
        Arc::new(SqliteStore::new(sqlite_pool().await, options())),
    ];
    for store in stores {
        let error = store.claim(&slot(1), LEASE).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Mismatch, "{error:?}");
        assert!(error.to_string().contains("migrate()"), "{error}");
    }
}

#[tokio::test]
async fn a_transaction_that_locks_a_slot_holds_up_no_other() {
    support::needs!(Postgres);
    let url = database().await;
    let store = PostgresStore::new(PgPool::connect(&url).await.unwrap(), options());
    store.migrate().await.unwrap();
    let (locked, other) = (slot(1), slot(2));
    let fence = acquire_for(&store, &locked, Duration::from_millis(1)).await;
    let mut host = PgConnection::connect(&url).await.unwrap();
    let mut tx = host.begin().await.unwrap();
    sqlx::query("UPDATE stratt_dedupe SET state = state").execute(&mut *tx).await.unwrap();
    // Its lease is over, but somebody is about to change it.
    let claims = join_all([store.claim(&locked, LEASE), store.claim(&other, LEASE)]).await;
    assert!(matches!(claims[0], Ok(Claim::Held { .. })), "{claims:?}");
    assert!(matches!(claims[1], Ok(Claim::Acquired { .. })), "{claims:?}");
    assert_eq!(store.settle(&locked, fence).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    tx.rollback().await.unwrap();
    store.settle(&locked, fence).await.unwrap();
}

#[tokio::test]
async fn expired_slots_are_removed_in_batches() {
    const SLOTS: u64 = 2500;
    support::needs!(Postgres);
    let brief = options().with_retention(Duration::from_secs(3));
    let postgres = PostgresStore::new(PgPool::connect(&database().await).await.unwrap(), brief.clone());
    postgres.migrate().await.unwrap();
    let sqlite = SqliteStore::new(sqlite_pool().await, brief);
    sqlite.migrate().await.unwrap();
    let stores: [&dyn DedupeStore; 2] = [&postgres, &sqlite];
    for store in stores {
        join_all((0..SLOTS).map(|number| async move {
            let fence = acquire_for(store, &slot(number), Duration::from_millis(1)).await;
            store.settle(&slot(number), fence).await.unwrap();
        }))
        .await;
        acquire_for(store, &slot(SLOTS), LEASE).await;
    }
    // Claimed again when it is over, without having been removed.
    for store in stores {
        let claim = || async { store.claim(&slot(0), LEASE).await.unwrap() };
        let claim = eventually("claim", claim, |claim| matches!(claim, Claim::Acquired { .. })).await;
        assert!(matches!(claim, Claim::Acquired { attempt: 1, .. }), "{claim:?}");
    }
    assert_eq!(purged(|| postgres.purge()).await, SLOTS - 1);
    assert_eq!(purged(|| sqlite.purge()).await, SLOTS - 1);
    for store in stores {
        assert!(matches!(store.claim(&slot(SLOTS), LEASE).await.unwrap(), Claim::Held { .. }));
        assert!(matches!(store.claim(&slot(0), LEASE).await.unwrap(), Claim::Held { .. }));
        acquire_for(store, &slot(1), LEASE).await;
    }
}

/// Purges until all but one of the 2,500 slots are gone, and for once more; the sum of what was removed.
async fn purged<F, Fut>(purge: F) -> u64
where
    F: Fn() -> Fut,
    Fut: Future<Output = Result<u64, StoreError>>,
{
    let removed = AtomicU64::new(0);
    let sum = || async {
        let batch = purge().await.unwrap();
        assert!(batch <= 1000, "{batch} at once");
        removed.fetch_add(batch, Ordering::SeqCst) + batch
    };
    eventually("removed slots", sum, |removed| *removed >= 2499).await + purge().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_survives_a_crash_of_the_database() {
    support::needs!(Postgres);
    let mut server = Postgres::start().await.unwrap();
    let options = SqlStoreOptions::default().with_operation_timeout(Duration::from_secs(2));
    let store = PostgresStore::new(PgPool::connect(server.url()).await.unwrap(), options);
    store.migrate().await.unwrap();
    let fence = acquire_for(&store, &slot(1), LEASE).await;
    store.settle(&slot(1), fence).await.unwrap();
    let held = acquire_for(&store, &slot(2), LEASE).await;
    server.kill();
    assert_eq!(store.claim(&slot(1), LEASE).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    server.restart().await.unwrap();
    let claim = eventually("claim", || async { store.claim(&slot(1), LEASE).await.ok() }, Option::is_some);
    assert_eq!(claim.await, Some(Claim::Settled));
    store.settle(&slot(2), held).await.unwrap();
    assert!(acquire_for(&store, &slot(3), LEASE).await > held);
}
