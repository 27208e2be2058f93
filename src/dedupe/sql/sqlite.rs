//! The store in a table of SQLite.

mod statements;

use crate::{
    dedupe::{
        Claim, Fence, Slot, SlotState, StoreError,
        sql::{
            OWNER, SqlStore, SqlStoreOptions, VERSION,
            batch::{
                ClaimOp, Distinct, RenewOp, Seen, Write, WriteOp, Written, granted, micros, not_granted,
                not_renewed, not_written,
            },
            engine::Table,
            failed, of_version_1,
        },
    },
    sql::schema::{self, MigrateError, Schema},
};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Sqlite, SqlitePool, sqlite::SqliteConnection};
use statements::{LAPSED, PARTS, Statements};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// A store in a table of SQLite 3.38 or newer, over a pool that the host owns: for consumers of one machine.
///
/// Concurrent calls are combined into few statements, each a transaction of its own. The database's clock decides when
/// a lease expires, to the millisecond, and the database supplies the fences.
///
/// The settings of the file are the host's choice. Recommended are WAL, so that readers and the writer do not wait for
/// each other, and a busy timeout (`sqlx` sets 5 s), since other connections and processes write as well. With
/// `synchronous = NORMAL` and WAL, a power loss may undo the last settles.
///
/// ```
/// use sqlx::{SqlitePool, sqlite::{SqliteConnectOptions, SqliteJournalMode}};
/// use stratt_event_bridge::dedupe::{SqlStoreOptions, SqliteStore};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("adapter.db");
/// let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
/// let pool = SqlitePool::connect_with(options.journal_mode(SqliteJournalMode::Wal)).await?;
/// let store = SqliteStore::new(pool, SqlStoreOptions::default());
/// store.migrate().await?;
/// # Ok(())
/// # }
/// ```
pub type SqliteStore = SqlStore<Sqlite>;

impl SqlStore<Sqlite> {
    /// Returns a store over `pool`. Its table must exist: see [`migrate`](Self::migrate).
    #[must_use]
    pub fn new(pool: SqlitePool, options: SqlStoreOptions) -> Self {
        let SqlStoreOptions { retention, operation_timeout, .. } = options;
        let statements = Statements::of(&options.into_table());
        Self::over(Slots { pool, statements, retention }, operation_timeout)
    }
}

/// The key and consumer of a slot, as in its row.
type Key = (String, String);

fn key(slot: &Slot) -> Key {
    (slot.key().to_string(), slot.consumer().to_string())
}

/// The table of a store.
#[derive(Debug)]
struct Slots {
    pool: SqlitePool,
    statements: Statements,
    retention: Duration,
}

impl Table<Sqlite> for Slots {
    fn migrate(&self) -> BoxFuture<'_, Result<(), MigrateError>> {
        async move {
            let Statements { table, create, .. } = &self.statements;
            let retention = micros(of_version_1(self.retention)) / 1000;
            let added = format!("retention INTEGER NOT NULL DEFAULT {retention}");
            let create = &create.replace("{retention}", &added).replace("{lapsed}", LAPSED);
            let added = &[&added, LAPSED];
            let schema = Schema { table, owner: OWNER, version: VERSION, create, added, parts: &PARTS };
            schema::sqlite::migrate(&self.pool, schema).await
        }
        .boxed()
    }

    fn claim<'a>(&'a self, batch: &'a Distinct<ClaimOp>) -> BoxFuture<'a, Result<Vec<Claim>, StoreError>> {
        async move {
            let mut connection = self.pool.acquire().await.map_err(failed)?;
            self.claim_all(batch, &mut connection).await
        }
        .boxed()
    }

    fn renew<'a>(&'a self, batch: &'a Distinct<RenewOp>) -> BoxFuture<'a, Result<Vec<Written>, StoreError>> {
        self.renew_all(batch).boxed()
    }

    fn write<'a>(&'a self, batch: &'a Distinct<WriteOp>) -> BoxFuture<'a, Result<Vec<Written>, StoreError>> {
        async move {
            let mut connection = self.pool.acquire().await.map_err(failed)?;
            self.write_all(batch, &mut connection).await
        }
        .boxed()
    }

    fn write_on<'a>(
        &'a self,
        batch: &'a Distinct<WriteOp>,
        connection: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<Vec<Written>, StoreError>> {
        self.write_all(batch, connection).boxed()
    }

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        async move {
            let mut connection = self.pool.acquire().await.map_err(failed)?;
            Seen::state_of(self.look(vec![slot], &mut connection).await?.remove(&key(slot)))
        }
        .boxed()
    }

    fn retention(&self) -> Duration {
        self.retention
    }

    fn retentions(&self) -> BoxFuture<'_, Result<Vec<i64>, StoreError>> {
        async move {
            let retentions = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.statements.retentions)));
            retentions.fetch_all(&self.pool).await.map_err(failed)
        }
        .boxed()
    }

    fn purge(&self, retention: i64, limit: i64) -> BoxFuture<'_, Result<u64, StoreError>> {
        async move {
            let purged = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.purge)))
                .bind(limit)
                .bind(retention)
                .execute(&self.pool)
                .await;
            Ok(purged.map_err(failed)?.rows_affected())
        }
        .boxed()
    }

    /// Returns `None`: opening a file succeeds or fails at once, and the pool reports the cause.
    fn why_unreachable(&self) -> BoxFuture<'_, Option<sqlx::Error>> {
        async { None }.boxed()
    }
}

impl Slots {
    async fn claim_all(
        &self,
        batch: &Distinct<ClaimOp>,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<Claim>, StoreError> {
        let asked = batch.iter().map(|ClaimOp { slot, lease }| {
            json!([slot.consumer().as_str(), slot.key(), slot.claimant(), lease_millis(*lease)])
        });
        let rows: Vec<(String, String, i64, i64, i64)> =
            sqlx::query_as(AssertSqlSafe(Arc::clone(&self.statements.claim)))
                .bind(asked.collect::<Value>().to_string())
                .bind(micros(self.retention) / 1000)
                .fetch_all(&mut *connection)
                .await
                .map_err(failed)?;
        let grants: HashMap<Key, _> = rows
            .into_iter()
            .map(|(key, consumer, fence, attempt, lapsed)| ((key, consumer), (fence, attempt, lapsed)))
            .collect();
        let rejected = batch.iter().map(|op| &op.slot).filter(|slot| !grants.contains_key(&key(slot)));
        let seen = self.look(rejected.collect(), connection).await?;
        let claims = batch.iter().map(|op| match grants.get(&key(&op.slot)) {
            Some((fence, attempt, lapsed)) => granted(*fence, *attempt, *lapsed),
            None => Ok(not_granted(seen.get(&key(&op.slot)).copied())),
        });
        claims.collect()
    }

    async fn renew_all(&self, batch: &Distinct<RenewOp>) -> Result<Vec<Written>, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        let asked = batch.iter().map(|RenewOp { slot, fence, lease }| {
            json!([slot.consumer().as_str(), slot.key(), fence.get(), lease_millis(*lease)])
        });
        let renewed: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.statements.renew)))
            .bind(asked.collect::<Value>().to_string())
            .fetch_all(&mut *connection)
            .await
            .map_err(failed)?;
        let rejected = batch.iter().filter(|op| !is_among(&renewed, op.fence)).map(|op| &op.slot);
        let seen = self.look(rejected.collect(), &mut connection).await?;
        let renewed = batch.iter().map(|op| {
            if is_among(&renewed, op.fence) {
                return Written::Done;
            }
            not_renewed(op, seen.get(&key(&op.slot)).copied())
        });
        Ok(renewed.collect())
    }

    async fn write_all(
        &self,
        batch: &Distinct<WriteOp>,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<Written>, StoreError> {
        let asked = batch.iter().map(|WriteOp { slot, fence, what }| {
            let is_freed = *what != Write::Settle;
            json!([slot.consumer().as_str(), slot.key(), fence.get(), is_freed, what.taken_back()])
        });
        let written: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.statements.write)))
            .bind(asked.collect::<Value>().to_string())
            .fetch_all(&mut *connection)
            .await
            .map_err(failed)?;
        let rejected = batch.iter().filter(|op| !is_among(&written, op.fence)).map(|op| &op.slot);
        let seen = self.look(rejected.collect(), connection).await?;
        let written = batch.iter().map(|op| {
            if is_among(&written, op.fence) {
                return Written::Done;
            }
            not_written(op, seen.get(&key(&op.slot)).copied())
        });
        Ok(written.collect())
    }

    /// Returns the rows of these slots.
    async fn look(
        &self,
        slots: Vec<&Slot>,
        connection: &mut SqliteConnection,
    ) -> Result<HashMap<Key, Seen>, StoreError> {
        if slots.is_empty() {
            return Ok(HashMap::new());
        }
        let asked = slots.into_iter().map(|slot| json!([slot.consumer().as_str(), slot.key()]));
        let rows: Vec<(String, String, i64, i64, i64, i64)> =
            sqlx::query_as(AssertSqlSafe(Arc::clone(&self.statements.look)))
                .bind(asked.collect::<Value>().to_string())
                .fetch_all(connection)
                .await
                .map_err(failed)?;
        let seen = rows.into_iter().map(|(key, consumer, state, fence, attempts, left)| {
            let left = Duration::from_millis(left.try_into().unwrap_or_default());
            ((key, consumer), Seen { state, fence, attempts, left })
        });
        Ok(seen.collect())
    }
}

fn is_among(changed: &[i64], fence: Fence) -> bool {
    i64::try_from(fence.get()).is_ok_and(|fence| changed.contains(&fence))
}

/// Returns the lease in milliseconds, the resolution of the clock. The millisecond in which it begins does not count,
/// since it may end in a moment.
fn lease_millis(lease: Duration) -> i64 {
    micros(lease) / 1000 + 2
}
