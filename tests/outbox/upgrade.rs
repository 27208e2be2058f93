//! A table that was made before its newest index was: it gets it in place, with what waits in it.

use sqlx::{Executor, PgPool};
use stratt_event_bridge::{
    Envelope, UnitPublished,
    outbox::{OutboxOptions, PostgresOutbox},
};
use support::{Outbox, Stage, database, eventually, published, source};

/// The condition of the index by which the relay reads.
async fn condition(pool: &PgPool) -> Option<String> {
    let index = "SELECT pg_get_expr(indpred, indrelid) FROM pg_index
        WHERE indexrelid = to_regclass('stratt_outbox_pending') AND indisvalid";
    sqlx::query_scalar(index).fetch_optional(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_without_the_newest_index_gets_it_and_keeps_its_rows() {
    support::needs!(Postgres);
    let outbox = Outbox::postgres(&database().await, OutboxOptions::default()).await;
    let Outbox::Postgres(pool, postgres) = &outbox else { panic!("not PostgreSQL") };
    let envelope: Envelope<UnitPublished> = Envelope::builder(published("a", 1), source()).build().unwrap();
    outbox.enqueue(&[envelope], true).await;
    pool.execute("DROP INDEX stratt_outbox_pending").await.unwrap();
    assert_eq!(condition(pool).await, None);
    // By several processes, one of which finds it done.
    let another = PostgresOutbox::new(pool.clone(), OutboxOptions::default());
    tokio::try_join!(postgres.migrate(), another.migrate()).unwrap();
    assert_eq!(condition(pool).await.as_deref(), Some("(state = 0)"));
    // Or the operator has made it before, without keeping writers out.
    pool.execute("DROP INDEX stratt_outbox_pending").await.unwrap();
    let index = "CREATE INDEX CONCURRENTLY stratt_outbox_pending ON stratt_outbox (id) WHERE state = 0";
    pool.execute(index).await.unwrap();
    postgres.migrate().await.unwrap();
    assert_eq!(condition(pool).await.as_deref(), Some("(state = 0)"));
    let stage = Stage::new().await;
    let relay = outbox.relay(&stage.bridge);
    eventually("status", || outbox.status(), |status| status.pending == 0).await;
    assert_eq!(relay.stop().await.published, 1);
}
