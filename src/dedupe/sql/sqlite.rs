//! A store in a table of SQLite.

mod statements;

use crate::{
    dedupe::{
        Claim, DedupeStore, Fence, Grant, Slot, StoreError,
        sql::{
            OWNER, SqlStoreOptions, VERSION,
            batch::{
                ClaimOp, Distinct, Seen, Write, WriteOp, Written, granted, micros, not_granted, not_written,
            },
            engine::{Engine, Table},
            failed, not_migrated, of_version_1,
        },
    },
    sql::schema::{self, Schema},
};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Sqlite, SqlitePool, Transaction, sqlite::SqliteConnection};
use statements::{PARTS, Statements};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// A store in a table of SQLite 3.38 or newer, over a pool that the host owns: for consumers of one machine.
///
/// Calls of many tasks at once go in few statements, each of which is a transaction of its own. The database's clock
/// decides when a lease is over, to the millisecond, and it makes the fences.
///
/// How the file is written is the host's choice. Recommended are WAL, so that readers and the writer do not wait for
/// each other, and a busy timeout (`sqlx` sets 5 s), since other connections and processes write as well. With
/// `synchronous = NORMAL` and WAL, a loss of power may forget the last settles.
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
#[derive(Debug, Clone)]
pub struct SqliteStore {
    engine: Arc<Engine<Slots>>,
}

impl SqliteStore {
    /// A store over `pool`; its table must exist, see [`migrate`](Self::migrate).
    #[must_use]
    pub fn new(pool: SqlitePool, options: SqlStoreOptions) -> Self {
        let SqlStoreOptions { retention, operation_timeout, .. } = options;
        let statements = Statements::of(&options.into_table());
        let slots = Slots { pool, statements, retention };
        Self { engine: Arc::new(Engine::new(slots, operation_timeout)) }
    }

    /// Creates the table and its index, each where it is missing, and beside them `{table}_schema`, which says their version;
    /// adds what is missing in a table of an [older version](crate::docs::dedupe#another-version), whose slots it keeps.
    /// Several processes may do so at once.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::dedupe::StoreErrorKind::Unavailable) when the database is busy for too long or refuses;
    /// [`Mismatch`](crate::dedupe::StoreErrorKind::Mismatch) when a newer program has made the table, or when something else
    /// has its name, such as an outbox: then nothing is touched.
    ///
    /// # Cancel safety
    ///
    /// It is one transaction: dropping the future leaves all of it or nothing.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let Slots { pool, statements, retention } = &*self.engine.table;
        let Statements { table, create, .. } = statements;
        let added = format!("retention INTEGER NOT NULL DEFAULT {}", micros(of_version_1(*retention)) / 1000);
        let create = &create.replace("{retention}", &added);
        let schema =
            Schema { table, owner: OWNER, version: VERSION, create, added: &[&added], parts: &PARTS };
        schema::sqlite::migrate(pool, schema).await.map_err(not_migrated)
    }

    /// Settles the slot of `grant`, which is a `&Delivery` as a rule, within the host's transaction: the effect of the handler and the mark that it was
    /// handled commit together, or neither does. The consumer's own settling afterwards finds it done.
    ///
    /// An error means that nothing may be committed: return it from the handler, and the transaction rolls back. Begin
    /// the transaction as a writer, with `pool.begin_with("BEGIN IMMEDIATE")`: SQLite refuses to make a reader a writer
    /// when somebody else has written since.
    ///
    /// # Errors
    ///
    /// [`Fenced`](crate::dedupe::StoreErrorKind::Fenced) when the claim was lost to another;
    /// [`Unavailable`](crate::dedupe::StoreErrorKind::Unavailable) when the database did not do it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the transaction in an unknown state: roll it back, which dropping it does.
    pub async fn settle_in(
        &self,
        grant: impl Into<Grant>,
        tx: &mut Transaction<'_, Sqlite>,
    ) -> Result<(), StoreError> {
        let Grant { slot, fence } = grant.into();
        let batch = Distinct::writes(vec![WriteOp { slot, fence, what: Write::Settle }]);
        let written = self.engine.table.write_on(&batch, tx).await?;
        written.into_iter().try_for_each(Written::into_result)
    }

    /// Removes slots that have outlived the retention of the store that claimed them, the oldest first and at most 1,000 of
    /// them, and returns how many.
    ///
    /// Claims do this by themselves, once a minute and as often as there is more; there is no need to call it.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::dedupe::StoreErrorKind::Unavailable) when the database does not answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves them removed or not.
    pub async fn purge(&self) -> Result<u64, StoreError> {
        self.engine.purge().await
    }
}

/// A slot as it stands in rows.
type Key = (String, String);

fn key(slot: &Slot) -> Key {
    (slot.key().to_string(), slot.consumer().to_string())
}

/// The table.
#[derive(Debug)]
struct Slots {
    pool: SqlitePool,
    statements: Statements,
    retention: Duration,
}

impl Table for Slots {
    async fn claim(&self, batch: &Distinct<ClaimOp>) -> Result<Vec<Claim>, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        self.claim_on(batch, &mut connection).await
    }

    async fn write(&self, batch: &Distinct<WriteOp>) -> Result<Vec<Written>, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        self.write_on(batch, &mut connection).await
    }

    async fn retentions(&self) -> Result<Vec<i64>, StoreError> {
        let retentions = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.statements.retentions)));
        retentions.fetch_all(&self.pool).await.map_err(failed)
    }

    async fn purge(&self, retention: i64, limit: i64) -> Result<u64, StoreError> {
        let purged = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.purge)))
            .bind(limit)
            .bind(retention)
            .execute(&self.pool)
            .await;
        Ok(purged.map_err(failed)?.rows_affected())
    }

    /// A file is opened at once or not at all, and the pool returns why.
    async fn why_unreachable(&self) -> Option<sqlx::Error> {
        None
    }
}

impl Slots {
    async fn claim_on(
        &self,
        batch: &Distinct<ClaimOp>,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<Claim>, StoreError> {
        let asked = batch.iter().map(|ClaimOp { slot, lease }| {
            json!([slot.consumer().as_str(), slot.key(), slot.claimant(), lease_millis(*lease)])
        });
        let rows: Vec<(String, String, i64, i64)> =
            sqlx::query_as(AssertSqlSafe(Arc::clone(&self.statements.claim)))
                .bind(asked.collect::<Value>().to_string())
                .bind(micros(self.retention) / 1000)
                .fetch_all(&mut *connection)
                .await
                .map_err(failed)?;
        let grants: HashMap<Key, _> = rows
            .into_iter()
            .map(|(key, consumer, fence, attempt)| ((key, consumer), (fence, attempt)))
            .collect();
        let refused = batch.iter().map(|op| &op.slot).filter(|slot| !grants.contains_key(&key(slot)));
        let seen = self.look(refused.collect(), connection).await?;
        let claims = batch.iter().map(|op| match grants.get(&key(&op.slot)) {
            Some((fence, attempt)) => granted(*fence, *attempt),
            None => Ok(not_granted(seen.get(&key(&op.slot)).copied())),
        });
        claims.collect()
    }

    async fn write_on(
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
        let is_written =
            |op: &WriteOp| i64::try_from(op.fence.get()).is_ok_and(|fence| written.contains(&fence));
        let refused = batch.iter().filter(|op| !is_written(op)).map(|op| &op.slot);
        let seen = self.look(refused.collect(), connection).await?;
        let written = batch.iter().map(|op| {
            if is_written(op) { Written::Done } else { not_written(op, seen.get(&key(&op.slot)).copied()) }
        });
        Ok(written.collect())
    }

    /// What there is of these slots.
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

/// The clock has milliseconds: the one in which the lease begins does not count, since it may be over in a moment.
fn lease_millis(lease: Duration) -> i64 {
    micros(lease) / 1000 + 2
}

impl DedupeStore for SqliteStore {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        self.engine.claim(slot, lease).boxed()
    }

    fn settle<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.engine.write(slot, fence, Write::Settle).boxed()
    }

    fn release<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.engine.write(slot, fence, Write::Release).boxed()
    }

    fn defer<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.engine.write(slot, fence, Write::Defer).boxed()
    }

    fn forget<'a>(&'a self, slot: &'a Slot, fence: Fence) -> BoxFuture<'a, Result<(), StoreError>> {
        self.engine.write(slot, fence, Write::Forget).boxed()
    }

    fn retention(&self) -> Option<Duration> {
        Some(self.engine.table.retention)
    }
}
