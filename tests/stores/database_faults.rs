//! Databases that refuse: transactions that conflict, and connections that are not taken.

use futures::future::join_all;
use sqlx::{Executor, PgPool, postgres::PgPoolOptions};
use std::{error::Error, net::TcpListener, sync::Arc, time::Duration};
use stratt_event_bridge::{
    Event,
    dedupe::{Claim, DedupeStore, PostgresStore, Slot, SqlStoreOptions},
    outbox::{OutboxOptions, PostgresOutbox},
};
use support::{database, published};

const LEASE: Duration = Duration::from_mins(1);

/// Several processes claim and settle the same slots while every statement is a serializable transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conflicts_of_serializable_transactions_fail_no_call() {
    const PROCESSES: usize = 4;
    const SLOTS: u64 = 300;
    let url = database().await;
    let host = PgPool::connect(&url).await.unwrap();
    let name: String = sqlx::query_scalar("SELECT current_database()::text").fetch_one(&host).await.unwrap();
    let serializable =
        format!("ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'serializable'");
    host.execute(sqlx::AssertSqlSafe(serializable)).await.unwrap();
    let mut calls = Vec::new();
    for process in 0..PROCESSES {
        let options = SqlStoreOptions::default().with_operation_timeout(Duration::from_secs(20));
        let store = Arc::new(PostgresStore::new(PgPool::connect(&url).await.unwrap(), options));
        store.migrate().await.unwrap();
        for number in 0..SLOTS {
            let store = Arc::clone(&store);
            let number = if process % 2 == 0 { number } else { SLOTS - 1 - number };
            calls.push(tokio::spawn(async move {
                let slot = Slot::new("tests".parse().unwrap(), published("a", number).idempotency_key());
                match store.claim(&slot, LEASE).await? {
                    Claim::Acquired { fence, .. } => store.settle(&slot, fence).await.map(|()| 1),
                    _ => Ok(0),
                }
            }));
        }
    }
    let (mut handled, mut failed) = (0, Vec::new());
    for call in join_all(calls).await {
        match call.unwrap() {
            Ok(settled) => handled += settled,
            Err(error) => failed.push(format!("{error}: {:?}", error.source())),
        }
    }
    assert!(failed.is_empty(), "{} calls failed, such as {}", failed.len(), failed[0]);
    assert_eq!(handled, SLOTS);
}

fn causes(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    chain.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[tokio::test]
async fn a_refused_connection_is_named_by_its_cause() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let patience = Duration::from_millis(500);
    let pool = PgPoolOptions::new().acquire_timeout(patience);
    let pool = pool.connect_lazy(&format!("postgres://someone:s3cret@{nobody}/nothing")).unwrap();
    let store =
        PostgresStore::new(pool.clone(), SqlStoreOptions::default().with_operation_timeout(patience / 2));
    let slot = Slot::new("tests".parse().unwrap(), published("a", 1).idempotency_key());
    let outbox = PostgresOutbox::new(pool, OutboxOptions::default());
    for error in [
        causes(&store.migrate().await.unwrap_err()),
        causes(&store.claim(&slot, LEASE).await.unwrap_err()),
        causes(&store.purge().await.unwrap_err()),
        causes(&outbox.migrate().await.unwrap_err()),
    ] {
        assert!(error.contains("Connection refused"), "{error}");
        assert!(!error.contains("s3cret"), "{error}");
    }
}
