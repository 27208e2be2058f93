//! The indexes that each statement uses on a table with a million rows.

use crate::{
    outbox::{
        OutboxOptions, PostgresOutbox,
        postgres::{micros, statements::Statements, whole},
    },
    testing::Postgres,
};
use sqlx::{AssertSqlSafe, PgPool, Row, postgres::PgArguments, query::Query};
use std::time::Duration;
use uuid::Uuid;

type Statement = Query<'static, sqlx::Postgres, PgArguments>;

/// Inserts a million rows, the sent ones first, as in practice.
const FILL: &str = "
INSERT INTO stratt_outbox (uri, subject, message_id, payload, state)
SELECT 'strat://dev/rule/u' || n % 5000 || '@1.0.0', '', '', '', CASE WHEN n <= $1 THEN 1 ELSE 0 END
FROM generate_series(1, 1000000) AS n";

/// Returns a database with a million rows, `sent` of them sent.
async fn filled(sent: i32) -> PgPool {
    let pool = PgPool::connect(&Postgres::shared().await.unwrap().database().await.unwrap()).await.unwrap();
    PostgresOutbox::new(pool.clone(), OutboxOptions::default()).migrate().await.unwrap();
    let quick = "ALTER TABLE stratt_outbox SET (autovacuum_enabled = false);
        ALTER TABLE stratt_outbox SET UNLOGGED";
    sqlx::raw_sql(quick).execute(&pool).await.unwrap();
    sqlx::query(FILL).bind(sent).execute(&pool).await.unwrap();
    pool
}

/// Returns the indexes by which the table itself is read, or "all" for a sequential scan.
async fn reads(pool: &PgPool, statement: &str, bind: impl FnOnce(Statement) -> Statement) -> Vec<String> {
    let explain = format!("EXPLAIN (COSTS OFF) {statement}");
    let plan = bind(sqlx::query(AssertSqlSafe(explain))).persistent(false).fetch_all(pool).await.unwrap();
    let mut reads = Vec::new();
    for line in plan {
        let line: String = line.get(0);
        let words: Vec<&str> = line.split_whitespace().collect();
        let after =
            |word: &str| words.iter().position(|w| *w == word).and_then(|at| words.get(at + 1)).copied();
        match after("using").or_else(|| after("on").filter(|_| line.contains("Bitmap Index Scan"))) {
            Some(index) => reads.push(index.trim_start_matches("stratt_outbox_").to_owned()),
            None if line.contains("Seq Scan on stratt_outbox ")
                || line.ends_with("Seq Scan on stratt_outbox") =>
            {
                reads.push("all".to_owned());
            }
            None => {}
        }
    }
    reads
}

/// Checks a table without a backlog and with a long one, before and after `ANALYZE`.
#[tokio::test]
async fn no_statement_reads_more_rows_than_it_needs() {
    for sent in [999_980, 850_000] {
        let pool = filled(sent).await;
        check(&pool, &format!("{sent} sent")).await;
        sqlx::raw_sql("VACUUM ANALYZE stratt_outbox").execute(&pool).await.unwrap();
        check(&pool, &format!("{sent} sent, analyzed")).await;
    }
}

async fn check(pool: &PgPool, case: &str) {
    let Statements { enqueue, sent, quarantine, take_lead, pending, prune, step_down, status, .. } =
        Statements::of("stratt_outbox");
    let Statements { quarantined, retry, drop_quarantined, .. } = Statements::of("stratt_outbox");
    // The planner may choose any of these: given the ids, each finds only their rows.
    let by_id = ["pkey", "pending", "unsent"];
    let ids: Vec<i64> = (999_000..1_000_000).collect();
    let looks = [(Vec::new(), Vec::new()), (ids.clone(), vec!["strat://dev/rule/u7@1.0.0".to_owned(); 1000])];
    for (held, blocked) in looks {
        let bind =
            |q: Statement| q.bind(1000_i64).bind(held).bind(blocked).bind(100_i64).bind(whole(1 << 23));
        assert_eq!(reads(pool, &pending, bind).await, ["pending"], "{case}");
    }
    let marks = reads(pool, &sent, |q| q.bind(ids.clone())).await;
    assert!(marks.len() == 1 && by_id.contains(&&*marks[0]), "{marks:?} {case}");
    let errors = vec![String::new(); ids.len()];
    let marks = reads(pool, &quarantine, |q| q.bind(ids.clone()).bind(errors)).await;
    assert!(marks.len() == 1 && by_id.contains(&&*marks[0]), "{marks:?} {case}");
    for by_ids in [retry, drop_quarantined] {
        let changed = reads(pool, &by_ids, |q| q.bind(ids.clone())).await;
        assert!(changed.len() == 1 && by_id.contains(&&*changed[0]), "{changed:?} {case}");
    }
    assert_eq!(reads(pool, &quarantined, |q| q.bind(100_i64)).await, ["unsent"], "{case}");
    let oldest = reads(pool, &prune, |q| q.bind(1000_i64).bind(micros(Duration::from_secs(60)))).await;
    assert_eq!(oldest, ["sent", "pkey"], "{case}");
    let counted = reads(pool, &status, |q| q).await;
    assert!(counted == ["unsent"] || counted == ["pending"], "{counted:?} {case}");
    let enqueue = reads(pool, &enqueue, |q| {
        q.bind("").bind("").bind("").bind(Vec::<u8>::new()).bind(None::<String>).bind(None::<String>)
    });
    assert!(enqueue.await.is_empty(), "{case}");
    // One row in a table of its own.
    assert!(reads(pool, &take_lead, |q| q.bind(Uuid::nil()).bind(1_i64)).await.is_empty(), "{case}");
    let step_down = reads(pool, &step_down, |q| q.bind(Uuid::nil())).await;
    assert!(step_down.is_empty() || step_down == ["relay_pkey"], "{step_down:?} {case}");
}
