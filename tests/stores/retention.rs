//! Each slot is remembered as long as its own store says, whatever other stores on the table are set to.

use crate::slots::{LEASE, slot};
use futures::future::join_all;
use redis::aio::ConnectionManager;
use sqlx::{Executor, PgPool};
use std::{sync::Arc, time::Duration};
use stratt_event_bridge::{
    dedupe::{
        Claim, DedupeStore, PostgresStore, RedisStore, RedisStoreOptions, Slot, SqlStoreOptions, SqliteStore,
    },
    testing::{Redis, conformance},
};
use support::{database, eventually, sqlite_pool};

const BRIEF: Duration = Duration::from_millis(500);
const DAY: Duration = Duration::from_hours(24);

fn options(retention: Duration) -> SqlStoreOptions {
    SqlStoreOptions::default().with_operation_timeout(Duration::from_secs(20)).with_retention(retention)
}

async fn postgres(retentions: [Duration; 2]) -> (PgPool, [PostgresStore; 2]) {
    let pool = PgPool::connect(&database().await).await.unwrap();
    let stores = retentions.map(|retention| PostgresStore::new(pool.clone(), options(retention)));
    stores[0].migrate().await.unwrap();
    (pool, stores)
}

async fn sqlite(retentions: [Duration; 2]) -> [SqliteStore; 2] {
    let pool = sqlite_pool().await;
    let stores = retentions.map(|retention| SqliteStore::new(pool.clone(), options(retention)));
    stores[0].migrate().await.unwrap();
    stores
}

async fn settle(store: &dyn DedupeStore, slot: &Slot) {
    let Claim::Acquired { fence, .. } = store.claim(slot, Duration::from_millis(1)).await.unwrap() else {
        panic!("not granted")
    };
    store.settle(slot, fence).await.unwrap();
}

#[tokio::test]
async fn slots_in_postgres_outlive_a_briefer_store() {
    support::needs!(Postgres);
    let (_, [lasting, brief]) = postgres([30 * DAY, BRIEF]).await;
    conformance::retention_is_the_slots_own(Arc::new(lasting), Arc::new(brief)).await.unwrap();
}

#[tokio::test]
async fn slots_in_sqlite_outlive_a_briefer_store() {
    let [lasting, brief] = sqlite([30 * DAY, BRIEF]).await;
    conformance::retention_is_the_slots_own(Arc::new(lasting), Arc::new(brief)).await.unwrap();
}

#[tokio::test]
async fn slots_in_redis_outlive_a_briefer_store() {
    support::needs!(Redis);
    let server = Redis::start().await.unwrap();
    let client = redis::Client::open(server.url()).unwrap();
    let connection: ConnectionManager = client.get_connection_manager().await.unwrap();
    let open = |retention| {
        let options = RedisStoreOptions::default().with_retention(retention);
        RedisStore::open(connection.clone(), options)
    };
    let (lasting, brief) = (open(30 * DAY).await.unwrap(), open(BRIEF).await.unwrap());
    conformance::retention_is_the_slots_own(Arc::new(lasting), Arc::new(brief)).await.unwrap();
    // The fences of all stores come from one counter, which no store may let go.
    let counter = redis::cmd("PTTL").arg("stratt:dedupe:fence").to_owned();
    let left: u64 = counter.query_async(&mut connection.clone()).await.unwrap();
    assert!(left > 30 * 24 * 60 * 60 * 1000, "the counter of fences goes in {left} ms");
}

/// Settles more slots than a purge looks at in `lasting`, and some in `brief`; once those are over, `lasting` is asked
/// to remove them, and then `brief`, and neither removes what is remembered.
async fn purges<S, F>(lasting: &S, brief: &S, purge: impl Fn(S) -> F)
where
    S: DedupeStore + Clone,
    F: Future<Output = u64>,
{
    join_all((0..1200).map(|number| async move { settle(lasting, &slot(number)).await })).await;
    join_all((2000..2030).map(|number| async move { settle(brief, &slot(number)).await })).await;
    let removed = eventually("removed", || purge(lasting.clone()), |removed| *removed > 0).await;
    tokio::time::sleep(BRIEF).await;
    let rest = purge(brief.clone()).await;
    assert_eq!(removed + rest, 30);
    let claims = join_all((0..1200).map(|number| async move { brief.claim(&slot(number), LEASE).await }));
    assert!(claims.await.iter().all(|claim| matches!(claim, Ok(Claim::Settled))));
}

#[tokio::test]
async fn a_purge_in_postgres_removes_what_is_over_by_its_own() {
    support::needs!(Postgres);
    let (_, [lasting, brief]) = postgres([30 * DAY, BRIEF]).await;
    purges(&lasting, &brief, |store| async move { store.purge().await.unwrap() }).await;
}

#[tokio::test]
async fn a_purge_in_sqlite_removes_what_is_over_by_its_own() {
    let [lasting, brief] = sqlite([30 * DAY, BRIEF]).await;
    purges(&lasting, &brief, |store| async move { store.purge().await.unwrap() }).await;
}

/// Slots of version 1 have no retention: they are remembered for 30 days, or as long as the store that migrates
/// remembers.
#[tokio::test]
async fn what_version_1_settled_is_remembered_for_30_days() {
    support::needs!(Postgres);
    for (migrates_with, remembered, forgotten) in [(BRIEF, 29, 31), (60 * DAY, 59, 61)] {
        let pool = PgPool::connect(&database().await).await.unwrap();
        let lite = sqlite_pool().await;
        pool.execute(super::sql_schema::ON_POSTGRES).await.unwrap();
        lite.execute(super::sql_schema::ON_SQLITE).await.unwrap();
        let on_postgres = PostgresStore::new(pool.clone(), options(migrates_with));
        let on_sqlite = SqliteStore::new(lite.clone(), options(migrates_with));
        for (number, days) in [(1, remembered), (2, forgotten)] {
            let settle = "INSERT INTO stratt_dedupe (consumer, key, state, attempts, fence, since)
                VALUES ('tests', $1, 2, 1, nextval('stratt_dedupe_fence'), now() - $2 * interval '1 day')";
            let settle = sqlx::query(settle).bind(slot(number).key().as_bytes().to_vec()).bind(days);
            settle.execute(&pool).await.unwrap();
            let settle = "INSERT INTO stratt_dedupe (consumer, key, state, attempts, since)
                VALUES ('tests', ?1, 2, 1, (unixepoch() - ?2 * 86400) * 1000)";
            let settle = sqlx::query(settle).bind(slot(number).key().to_string()).bind(days);
            settle.execute(&lite).await.unwrap();
        }
        on_postgres.migrate().await.unwrap();
        on_sqlite.migrate().await.unwrap();
        assert_eq!(on_postgres.purge().await.unwrap(), 1);
        assert_eq!(on_sqlite.purge().await.unwrap(), 1);
        let stores: [&dyn DedupeStore; 2] = [&on_postgres, &on_sqlite];
        for store in stores {
            assert_eq!(store.claim(&slot(1), LEASE).await.unwrap(), Claim::Settled, "{store:?}");
            let claim = store.claim(&slot(2), LEASE).await.unwrap();
            assert!(matches!(claim, Claim::Acquired { attempt: 1, .. }), "{claim:?}");
        }
    }
}
