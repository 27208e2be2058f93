//! A table with a million sent rows and a long backlog: the relay reads what it publishes, and no more.

use sqlx::{Executor, PgPool, postgres::PgPoolOptions};
use stratt_event_bridge::outbox::{OutboxOptions, PostgresOutbox};
use support::{Relaying, Stage, database, eventually};

/// As after a day of sent events and an outage. The planner prefers the primary key from some 9 % pending on.
const FILL: &str = "INSERT INTO stratt_outbox (uri, subject, message_id, payload, state)
    SELECT 'strat://dev/rule/u' || n || '@1.0.0', 'strat.dev.unit.published', encode(sha256(n::text::bytea), 'hex'),
        '{}', CASE WHEN n <= 1000000 THEN 1 ELSE 0 END
    FROM generate_series(1, 1110000) AS n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_relay_reads_no_sent_rows() {
    let stage = Stage::new().await;
    let url = database().await;
    let host = PgPool::connect(&url).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(4).connect(&url).await.unwrap();
    let outbox = PostgresOutbox::new(pool.clone(), OutboxOptions::default());
    outbox.migrate().await.unwrap();
    host.execute("ALTER TABLE stratt_outbox SET (autovacuum_enabled = false)").await.unwrap();
    host.execute(FILL).await.unwrap();
    host.execute("VACUUM ANALYZE stratt_outbox").await.unwrap();
    let before = reads(&host).await;

    let relay = Relaying::start(outbox.relay(&stage.bridge));
    let published = || async { relay.progress.summary().published };
    eventually("published", published, |published| *published >= 5000).await;
    let published = published().await;
    relay.abort();
    // The counts of a connection are told at its end at the latest.
    pool.close().await;
    let by_index = || async { reads(&host).await - before };
    let reads = eventually("reads", by_index, |reads| *reads >= 5000).await;
    // Each row is read to be published and to be marked, and up to a window of them again beside those that are held.
    let bound = 20 * i64::try_from(published).unwrap() + 100_000;
    assert!(reads < bound, "{reads} rows were read to publish {published}");
}

/// The rows of the table that were read, by whichever plan.
async fn reads(pool: &PgPool) -> i64 {
    let reads =
        "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relname = 'stratt_outbox'";
    sqlx::query_scalar(reads).fetch_one(pool).await.unwrap()
}
