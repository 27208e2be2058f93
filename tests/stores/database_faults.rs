//! Databases that refuse: transactions that conflict, and connections that are not taken.

use crate::slots::{LEASE, slot};
use sqlx::{Executor, PgPool, postgres::PgPoolOptions};
use std::{error::Error, time::Duration};
use stratt_event_bridge::{
    dedupe::{Claim, DedupeStore, PostgresStore, SqlStoreOptions},
    outbox::{OutboxOptions, PostgresOutbox},
};
use support::{database, eventually};

/// A database in which every statement is a serializable transaction.
async fn serializable() -> PgPool {
    let url = database().await;
    let host = PgPool::connect(&url).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()::text").fetch_one(&host).await.unwrap();
    let alter = format!("ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'serializable'");
    host.execute(sqlx::AssertSqlSafe(alter)).await.unwrap();
    PgPool::connect(&url).await.unwrap()
}

/// Another process inserts the slot, and commits when the claim has begun to wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_lost_a_serializable_race_is_repeated() {
    support::needs!(Postgres);
    let pool = serializable().await;
    let options = SqlStoreOptions::default().with_operation_timeout(Duration::from_secs(20));
    let store = PostgresStore::new(pool.clone(), options);
    store.migrate().await.unwrap();
    let mut other = pool.begin().await.unwrap();
    let insert = "INSERT INTO stratt_dedupe (consumer, key, claimant, state, attempts, fence, since)
        VALUES ('tests', $1, gen_random_uuid(), 1, 1, nextval('stratt_dedupe_fence'), now() + interval '1 minute')";
    let insert = sqlx::query(insert).bind(slot(1).key().as_bytes().to_vec());
    insert.execute(&mut *other).await.unwrap();
    let claim = tokio::spawn(async move { store.claim(&slot(1), LEASE).await });
    let waiting = || async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (
            SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
        sqlx::query_scalar::<_, i64>(waiting).fetch_one(&pool).await.unwrap()
    };
    eventually("waiting", waiting, |waiting| *waiting > 0).await;
    other.commit().await.unwrap();
    let claim = claim.await.unwrap();
    assert!(matches!(claim, Ok(Claim::Held { .. })), "{claim:?}");
}

fn causes(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn a_refused_connection_is_named_by_its_cause() {
    // No server of another test takes this port, as one that was free a moment ago.
    let nobody = "127.0.0.1:1";
    let patience = Duration::from_millis(500);
    let pool = PgPoolOptions::new().acquire_timeout(patience);
    let pool = pool.connect_lazy(&format!("postgres://someone:s3cret@{nobody}/nothing")).unwrap();
    let store =
        PostgresStore::new(pool.clone(), SqlStoreOptions::default().with_operation_timeout(patience / 2));
    let outbox = PostgresOutbox::new(pool, OutboxOptions::default());
    for error in [
        causes(&store.migrate().await.unwrap_err()),
        causes(&store.claim(&slot(1), LEASE).await.unwrap_err()),
        causes(&store.purge().await.unwrap_err()),
        causes(&outbox.migrate().await.unwrap_err()),
    ] {
        assert!(error.contains("Connection refused"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}
