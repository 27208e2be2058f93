//! The indexes that each statement uses on a table with a million rows.

use crate::outbox::{
    OutboxOptions, SqliteOutbox,
    sqlite::{json, millis, statements::Statements, whole},
};
use sqlx::{
    AssertSqlSafe, SqlitePool,
    query::QueryAs,
    sqlite::{SqliteArguments, SqlitePoolOptions},
};
use std::time::Duration;

type Step = (i64, i64, i64, String);
type Statement = QueryAs<'static, sqlx::Sqlite, Step, SqliteArguments>;

/// Inserts a million rows, the sent ones first, as in practice.
const FILL: &str = "
INSERT INTO stratt_outbox (uri, subject, message_id, payload, state, since)
WITH RECURSIVE counted (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counted WHERE n < 1000000)
SELECT 'strat://dev/rule/u' || n % 5000 || '@1.0.0', '', '', x'', CASE WHEN n <= ?1 THEN 1 ELSE 0 END, 0 FROM counted";

async fn filled(sent: i64) -> SqlitePool {
    // Each connection has a database of its own.
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
    SqliteOutbox::new(pool.clone(), OutboxOptions::default()).migrate().await.unwrap();
    sqlx::query(FILL).bind(sent).execute(&pool).await.unwrap();
    pool
}

/// Returns the steps of the plan that read the table itself.
async fn reads(pool: &SqlitePool, statement: &str, bind: impl FnOnce(Statement) -> Statement) -> Vec<String> {
    let explain = format!("EXPLAIN QUERY PLAN {statement}");
    let plan = bind(sqlx::query_as(AssertSqlSafe(explain))).fetch_all(pool).await.unwrap();
    let steps = plan.into_iter().map(|(.., step)| step);
    steps
        .filter(|step| step.split_whitespace().any(|word| word == "stratt_outbox" || word == "event"))
        .collect()
}

/// Checks a table without a backlog and with a long one, before and after `ANALYZE`.
#[tokio::test]
async fn no_statement_reads_more_rows_than_it_needs() {
    for sent in [999_980, 850_000] {
        let pool = filled(sent).await;
        check(&pool, &format!("{sent} sent")).await;
        sqlx::raw_sql("ANALYZE").execute(&pool).await.unwrap();
        check(&pool, &format!("{sent} sent, analyzed")).await;
    }
}

async fn check(pool: &SqlitePool, case: &str) {
    let Statements { enqueue, sent, quarantine, take_lead, pending, prune, step_down, status, .. } =
        Statements::of("stratt_outbox");
    let Statements { quarantined, retry, drop_quarantined, .. } = Statements::of("stratt_outbox");
    let ids = json((999_000..1_000_000).collect::<Vec<i64>>());
    let by_id = |reads: Vec<String>| {
        let is_by_id = |read: &String| read.starts_with("SEARCH") && read.ends_with("id=?)");
        reads.len() == 1 && reads.iter().all(is_by_id)
    };
    let looked = reads(pool, &pending, |q| {
        q.bind(1000_i64).bind(ids.clone()).bind("[]").bind(100_i64).bind(whole(1 << 23))
    });
    let unsent = "SEARCH stratt_outbox USING INDEX stratt_outbox_unsent (state=?)";
    assert_eq!(looked.await, [unsent], "{case}");
    assert!(by_id(reads(pool, &sent, |q| q.bind(ids.clone())).await), "{case}");
    assert!(by_id(reads(pool, &quarantine, |q| q.bind(ids.clone())).await), "{case}");
    for by_ids in [retry, drop_quarantined] {
        assert!(by_id(reads(pool, &by_ids, |q| q.bind(ids.clone())).await), "{case}");
    }
    assert_eq!(reads(pool, &quarantined, |q| q.bind(100_i64)).await, [unsent], "{case}");
    let oldest = reads(pool, &prune, |q| q.bind(1000_i64).bind(millis(Duration::from_secs(60)))).await;
    let by_index = "SCAN stratt_outbox USING INDEX stratt_outbox_sent";
    assert_eq!(oldest, ["SEARCH stratt_outbox USING INTEGER PRIMARY KEY (rowid=?)", by_index], "{case}");
    let counted = reads(pool, &status, |q| q).await;
    assert_eq!(counted, ["SCAN stratt_outbox USING INDEX stratt_outbox_unsent"], "{case}");
    let enqueue = reads(pool, &enqueue, |q| {
        q.bind("").bind("").bind("").bind(Vec::<u8>::new()).bind(None::<String>).bind(None::<String>)
    });
    assert!(enqueue.await.is_empty(), "{case}");
    // One row in a table of its own.
    assert!(reads(pool, &take_lead, |q| q.bind("").bind(1_i64)).await.is_empty(), "{case}");
    assert!(reads(pool, &step_down, |q| q.bind("")).await.is_empty(), "{case}");
}
