//! However a table of PostgreSQL has grown since it was last analysed, a store never reads it from end to end.

use crate::slots::LEASE;
use futures::future::{join_all, try_join_all};
use sqlx::{Executor, PgPool, postgres::PgPoolOptions};
use std::{ops::Range, time::Duration};
use stratt_event_bridge::{
    Event,
    dedupe::{Claim, DedupeStore, Fence, PostgresStore, Slot, SqlStoreOptions},
};
use support::{database, eventually, published};

/// The number of rows that the table grows by, unseen by the planner.
const GROWN: i64 = 50_000;

#[tokio::test]
async fn a_grown_table_is_never_read_from_end_to_end() {
    support::needs!(Postgres);
    for is_prepared in [true, false] {
        let pool = grown_table(is_prepared).await;
        let (read, _) = reads(&pool).await;
        assert!(read < GROWN, "{read} rows were read one after the other, prepared: {is_prepared}");
    }
}

#[tokio::test]
async fn a_purge_reads_no_table_from_end_to_end() {
    support::needs!(Postgres);
    let url = database().await;
    let host = PgPool::connect(&url).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(1).connect(&url).await.unwrap();
    let options = SqlStoreOptions::default().with_operation_timeout(Duration::from_secs(20));
    let store = PostgresStore::new(pool.clone(), options);
    store.migrate().await.unwrap();
    host.execute("ALTER TABLE stratt_dedupe SET (autovacuum_enabled = false)").await.unwrap();
    // Old ones that are remembered, and behind them some that are over.
    let grow = "INSERT INTO stratt_dedupe (consumer, key, state, attempts, fence, since, retention)
         SELECT 'others', sha256(n::text::bytea), 2, 1, nextval('stratt_dedupe_fence'), now() - interval '1 day',
            CASE WHEN n <= $1 THEN 2592000000000 ELSE 1000000 END
         FROM generate_series(1, $1 + 30) AS n";
    sqlx::query(grow).bind(GROWN).execute(&host).await.unwrap();
    assert_eq!(store.purge().await.unwrap(), 30);
    assert_eq!(store.purge().await.unwrap(), 0);
    pool.close().await;
    eventually("looks by index", || reads(&host), |(_, by_index)| *by_index > 2).await;
    let (read, _) = reads(&host).await;
    assert!(read < GROWN, "{read} rows were read one after the other");
}

/// Uses a table while it is tiny, lets it grow, and uses it again over the same connections.
async fn grown_table(is_prepared: bool) -> PgPool {
    let url = database().await;
    let host = PgPool::connect(&url).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(2).connect(&url).await.unwrap();
    let options = SqlStoreOptions::default().with_prepared_statements(is_prepared);
    let store = PostgresStore::new(pool.clone(), options.with_operation_timeout(Duration::from_secs(20)));
    store.migrate().await.unwrap();
    host.execute("ALTER TABLE stratt_dedupe SET (autovacuum_enabled = false)").await.unwrap();
    claim_and_settle(&store, 0..5).await;
    host.execute("VACUUM ANALYZE stratt_dedupe").await.unwrap();
    // Plans are kept from the sixth execution on at the earliest, and until the table is analysed again.
    for number in 5..20 {
        claim_and_settle(&store, number..number + 1).await;
    }
    let grow = "INSERT INTO stratt_dedupe (consumer, key, state, attempts, fence, since)
         SELECT 'others', sha256(n::text::bytea), 2, 1, nextval('stratt_dedupe_fence'), now()
         FROM generate_series(1, $1) AS n";
    sqlx::query(grow).bind(GROWN).execute(&host).await.unwrap();
    claim_and_settle(&store, 20..21).await;
    claim_and_settle(&store, 1000..1512).await;
    // The counts of a connection are told at its end at the latest.
    pool.close().await;
    eventually("looks by index", || reads(&host), |(_, by_index)| *by_index > 1000).await;
    host
}

/// Claims slots, renews and settles them, and claims them again, all at once.
async fn claim_and_settle(store: &PostgresStore, numbers: Range<u64>) {
    let slots: Vec<_> = numbers
        .map(|number| Slot::new("tests".parse().unwrap(), published("a", number).idempotency_key()))
        .collect();
    let handled = slots.iter().map(|slot| async move {
        let Claim::Acquired { fence, .. } = store.claim(slot, LEASE).await? else {
            panic!("a new slot was not granted");
        };
        store.renew(slot, fence, 2 * LEASE).await?;
        store.settle(slot, fence).await
    });
    try_join_all(handled).await.unwrap();
    let again = join_all(slots.iter().map(|slot| store.claim(slot, LEASE))).await;
    assert!(again.iter().all(|claim| matches!(claim, Ok(Claim::Settled))), "{again:?}");
    let refused = join_all(slots.iter().map(|slot| store.settle(slot, Fence::new(u64::MAX)))).await;
    assert!(refused.iter().all(Result::is_err), "{refused:?}");
    let refused = join_all(slots.iter().map(|slot| store.renew(slot, Fence::new(1), LEASE))).await;
    assert!(refused.iter().all(Result::is_err), "{refused:?}");
}

/// Returns how many rows were read one after the other, and how many looks there were by an index.
async fn reads(pool: &PgPool) -> (i64, i64) {
    let reads = "SELECT seq_tup_read, idx_scan FROM pg_stat_user_tables WHERE relname = 'stratt_dedupe'";
    sqlx::query_as(reads).fetch_one(pool).await.unwrap()
}
