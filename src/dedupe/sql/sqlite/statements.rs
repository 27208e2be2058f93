//! The SQL of the store in SQLite.

use crate::sql::{render::render, schema::Part};
use std::sync::Arc;

/// The statements of a store, rendered once for its table.
#[derive(Debug)]
pub(super) struct Statements {
    pub(super) table: String,
    pub(super) create: Arc<str>,
    pub(super) claim: Arc<str>,
    pub(super) look: Arc<str>,
    pub(super) renew: Arc<str>,
    pub(super) write: Arc<str>,
    pub(super) retentions: Arc<str>,
    pub(super) purge: Arc<str>,
}

impl Statements {
    pub(super) fn of(table: &str) -> Self {
        let rendered = |statement: &str| render(statement, table);
        Self {
            table: table.into(),
            create: rendered(CREATE),
            claim: rendered(CLAIM),
            look: rendered(LOOK),
            renew: rendered(RENEW),
            write: rendered(WRITE),
            retentions: rendered(RETENTIONS),
            purge: rendered(PURGE),
        }
    }
}

/// The parts created by [`CREATE`].
pub(super) const PARTS: [Part; 2] = [Part::table("", &["consumer", "key", "fence"]), Part::index("_by_age")];

/// Creates the table. A claim replaces the row: its rowid, which is never used twice, is the fence. Old claims have low
/// fences, so rows of one retention expire in the order of their fences, in which every index ends.
///
/// `{retention}` and `{lapsed}` are the definitions of their columns. Rowids begin at the current time, so that none is
/// reused after the table was dropped.
const CREATE: &str = "
CREATE TABLE IF NOT EXISTS {table} (
    fence INTEGER PRIMARY KEY AUTOINCREMENT,
    consumer TEXT NOT NULL,
    key TEXT NOT NULL,
    claimant TEXT,
    state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2), -- 0 free, 1 held, 2 settled
    attempts INTEGER NOT NULL CHECK (attempts BETWEEN 0 AND 2147483647),
    since INTEGER NOT NULL, -- ms since 1970: end of the lease while held, else the time it was settled or freed
    {retention}, -- how many ms the slot is remembered after that
    {lapsed}, -- how many of the attempts ended by lease expiry
    UNIQUE (key, consumer)
) STRICT;
CREATE INDEX IF NOT EXISTS {schema}{bare}_by_age ON \"{bare}\" (retention);
INSERT INTO {schema}sqlite_sequence (name, seq) SELECT '{bare}', {now} * 1000
WHERE NOT EXISTS (SELECT 1 FROM {schema}sqlite_sequence WHERE name = '{bare}');";

/// The column of the lapses. A program that does not know it counts none.
pub(super) const LAPSED: &str = "lapsed INTEGER NOT NULL DEFAULT 0";

/// Claims slots: ?1 array of [consumer, key, claimant, lease], ?2 retention, both in milliseconds. Returns the granted
/// ones. The retention in the row decides whether a slot has expired.
const CLAIM: &str = "
INSERT OR REPLACE INTO {table} (consumer, key, claimant, state, attempts, since, retention, lapsed)
SELECT asked.consumer, asked.key, asked.claimant, 1,
    CASE WHEN slot.fence IS NULL OR slot.since + slot.retention <= {now} THEN 1
        WHEN slot.state = 1 AND slot.claimant = asked.claimant THEN slot.attempts
        ELSE min(slot.attempts, 2147483646) + 1 END,
    {now} + asked.lease, ?2,
    CASE WHEN slot.fence IS NULL OR slot.since + slot.retention <= {now} THEN 0
        WHEN slot.state = 1 AND slot.claimant IS NOT asked.claimant THEN min(slot.lapsed, 2147483646) + 1
        ELSE slot.lapsed END
FROM (
    SELECT value ->> 0 AS consumer, value ->> 1 AS key, value ->> 2 AS claimant, value ->> 3 AS lease
    FROM json_each(?1)
) AS asked LEFT JOIN {table} AS slot ON slot.key = asked.key AND slot.consumer = asked.consumer
WHERE slot.fence IS NULL OR slot.state = 0
    OR slot.state = 1 AND (slot.claimant = asked.claimant OR slot.since <= {now})
    OR slot.since + slot.retention <= {now}
RETURNING key, consumer, fence, attempts, lapsed";

/// Reads slots that have not expired: ?1 array of [consumer, key].
const LOOK: &str = "
SELECT slot.key, slot.consumer, state, fence, attempts, since - {now}
FROM (
    SELECT value ->> 0 AS consumer, value ->> 1 AS key FROM json_each(?1)
) AS asked CROSS JOIN {table} AS slot ON slot.key = asked.key AND slot.consumer = asked.consumer
WHERE slot.since + slot.retention > {now}";

/// Renews leases: ?1 array of [consumer, key, fence, lease in milliseconds]. Returns the fences of the rows written.
const RENEW: &str = "
UPDATE {table} AS slot SET since = max(slot.since, {now} + asked.lease)
FROM (
    SELECT value ->> 0 AS consumer, value ->> 1 AS key, value ->> 2 AS fence, value ->> 3 AS lease
    FROM json_each(?1)
) AS asked
WHERE slot.fence = asked.fence AND slot.key = asked.key AND slot.consumer = asked.consumer AND slot.state = 1
RETURNING fence";

/// Settles or frees slots: ?1 array of [consumer, key, fence, becomes free, attempts taken back]. Returns the fences of
/// the rows written. A lapsed claim is an attempt, so a slot without attempts has no lapses either.
const WRITE: &str = "
UPDATE {table} AS slot SET claimant = NULL, since = {now},
    state = iif(asked.is_freed, 0, 2), attempts = max(attempts - asked.taken_back, 0),
    lapsed = min(lapsed, max(attempts - asked.taken_back, 0))
FROM (
    SELECT value ->> 0 AS consumer, value ->> 1 AS key, value ->> 2 AS fence,
        value ->> 3 AS is_freed, value ->> 4 AS taken_back
    FROM json_each(?1)
) AS asked
WHERE slot.fence = asked.fence AND slot.key = asked.key AND slot.consumer = asked.consumer AND slot.state = 1
RETURNING fence";

/// Reads the distinct retentions of all slots, in milliseconds, with one index lookup for each.
const RETENTIONS: &str = "
WITH RECURSIVE kept$ (retention) AS (
    SELECT min(retention) FROM {table}
    UNION ALL
    SELECT (SELECT min(slot.retention) FROM {table} AS slot WHERE slot.retention > kept$.retention)
    FROM kept$ WHERE kept$.retention IS NOT NULL
)
SELECT retention FROM kept$ WHERE retention IS NOT NULL";

/// Removes those of the ?1 oldest slots with a retention of ?2 milliseconds that have outlived it.
const PURGE: &str = "
DELETE FROM {table} WHERE fence IN (
    SELECT fence FROM (SELECT fence, since FROM {table} WHERE retention = ?2 ORDER BY fence LIMIT ?1)
    WHERE since + ?2 <= {now}
)";

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::{AssertSqlSafe, SqlitePool};

    /// SQLite plans without looking at the rows, so an empty table gets the same plan as one of millions.
    #[tokio::test]
    async fn no_statement_reads_the_whole_table() {
        let pool = SqlitePool::connect("sqlite::memory:").await.unwrap();
        let Statements { create, claim, look, renew, write, retentions, purge, .. } =
            Statements::of("stratt_dedupe");
        let create = create.replace("{retention}", "retention INTEGER NOT NULL").replace("{lapsed}", LAPSED);
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&pool).await.unwrap();
        for statement in [claim, look, renew, write, retentions, purge] {
            let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}"));
            let plan: Vec<(i64, i64, i64, String)> = sqlx::query_as(explain).fetch_all(&pool).await.unwrap();
            for (.., step) in plan {
                let is_whole = step.starts_with("SCAN stratt_dedupe") || step.starts_with("SCAN slot");
                assert!(!is_whole, "{step}: {statement}");
            }
        }
    }
}
