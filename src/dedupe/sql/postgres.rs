//! The store in a table of PostgreSQL.

mod statements;

use crate::{
    dedupe::{
        Claim, Fence, Slot, SlotState, StoreError, StoreErrorKind,
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
    sql::{
        error,
        schema::{self, MigrateError, Schema},
    },
};
use futures::{FutureExt, future::BoxFuture};
use sqlx::{AssertSqlSafe, PgPool, Postgres, postgres::PgConnection};
use statements::{LAPSED, ONCE, PARTS, Statements};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

/// A store in a table of PostgreSQL 12 or newer, over a pool that the host owns.
///
/// Concurrent calls are combined into few statements, over at most one connection for claims and one for all else. The
/// database's clock decides when a lease expires, and a sequence supplies the fences. No statement waits for a row that
/// another transaction has locked. The statements that claim and settle a new event are prepared by name unless the
/// [options](SqlStoreOptions::with_prepared_statements) turn that off.
///
/// ```no_run
/// use sqlx::PgPool;
/// use std::sync::Arc;
/// use stratt_event_bridge::{EventBridge, dedupe::{PostgresStore, SqlStoreOptions}};
///
/// # async fn example(bridge: EventBridge) -> Result<(), Box<dyn std::error::Error>> {
/// let pool = PgPool::connect("postgres://adapter@db.internal/adapter").await?;
/// let store = PostgresStore::new(pool, SqlStoreOptions::default());
/// store.migrate().await?;
/// let consumer = bridge.consumer("choco-unit-deprecated", Arc::new(store));
/// # Ok(())
/// # }
/// ```
pub type PostgresStore = SqlStore<Postgres>;

impl SqlStore<Postgres> {
    /// Returns a store over `pool`. Its table must exist: see [`migrate`](Self::migrate).
    #[must_use]
    pub fn new(pool: PgPool, options: SqlStoreOptions) -> Self {
        let SqlStoreOptions { retention, operation_timeout, prepares, .. } = options;
        let statements = Statements::of(&options.into_table());
        Self::over(Slots { pool, statements, retention, prepares }, operation_timeout)
    }
}

/// The key, consumer and fence of a slot that was inserted.
type Made = (Vec<u8>, String, i64);
/// The fence, attempt and lapses of a grant; otherwise the state of the slot and the rest of its lease in microseconds.
type ClaimRow = (Option<i64>, Option<i32>, Option<i32>, Option<i16>, Option<i64>);
/// The rows of slots, each by its key and consumer.
type Rows = HashMap<(Vec<u8>, String), Seen>;

/// The table of a store.
#[derive(Debug)]
struct Slots {
    pool: PgPool,
    statements: Statements,
    retention: Duration,
    /// True if the statements of each event are prepared by name.
    prepares: bool,
}

impl Table<Postgres> for Slots {
    fn migrate(&self) -> BoxFuture<'_, Result<(), MigrateError>> {
        async move {
            let Statements { table, create, .. } = &self.statements;
            let retention = micros(of_version_1(self.retention));
            let added = format!("retention bigint NOT NULL DEFAULT {retention}");
            let create = &create.replace("{retention}", &added).replace("{lapsed}", LAPSED);
            let added = &[&added, LAPSED];
            let schema = Schema { table, owner: OWNER, version: VERSION, create, added, parts: &PARTS };
            schema::postgres::migrate(&self.pool, schema).await
        }
        .boxed()
    }

    fn claim<'a>(&'a self, batch: &'a Distinct<ClaimOp>) -> BoxFuture<'a, Result<Vec<Claim>, StoreError>> {
        self.make_or_take(batch).boxed()
    }

    fn renew<'a>(&'a self, batch: &'a Distinct<RenewOp>) -> BoxFuture<'a, Result<Vec<Written>, StoreError>> {
        self.renew_all(batch).boxed()
    }

    fn write<'a>(&'a self, batch: &'a Distinct<WriteOp>) -> BoxFuture<'a, Result<Vec<Written>, StoreError>> {
        async move {
            let mut connection = error::acquire(&self.pool).await.map_err(failed)?;
            self.write_all(batch, &mut connection).await
        }
        .boxed()
    }

    fn write_on<'a>(
        &'a self,
        batch: &'a Distinct<WriteOp>,
        connection: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<Vec<Written>, StoreError>> {
        self.write_all(batch, connection).boxed()
    }

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        async move {
            let mut connection = error::acquire(&self.pool).await.map_err(failed)?;
            Seen::state_of(self.look(vec![slot], &mut connection).await?.remove(&key(slot)))
        }
        .boxed()
    }

    fn retention(&self) -> Duration {
        self.retention
    }

    fn retentions(&self) -> BoxFuture<'_, Result<Vec<i64>, StoreError>> {
        async move {
            let mut connection = error::acquire(&self.pool).await.map_err(failed)?;
            let retentions = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.statements.retentions)));
            retentions.persistent(false).fetch_all(&mut *connection).await.map_err(failed)
        }
        .boxed()
    }

    fn purge(&self, retention: i64, limit: i64) -> BoxFuture<'_, Result<u64, StoreError>> {
        async move {
            let mut connection = error::acquire(&self.pool).await.map_err(failed)?;
            let purged = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.purge)))
                .bind(limit)
                .bind(retention)
                .persistent(false)
                .execute(&mut *connection)
                .await;
            Ok(purged.map_err(failed)?.rows_affected())
        }
        .boxed()
    }

    fn why_unreachable(&self) -> BoxFuture<'_, Option<sqlx::Error>> {
        error::why_unreachable(&self.pool).boxed()
    }
}

impl Slots {
    /// Claims new slots by one statement and the others by a second one.
    async fn make_or_take(&self, batch: &Distinct<ClaimOp>) -> Result<Vec<Claim>, StoreError> {
        let mut connection = error::acquire(&self.pool).await.map_err(failed)?;
        let mut made = self.make(batch, &mut connection).await?.into_iter().peekable();
        // A row that is missed here is claimed below by its own claimant.
        let fences: Vec<_> = batch.iter().map(|op| made.next_if(|row| is_of(row, &op.slot))).collect();
        let existing = batch.iter().zip(&fences).filter(|(_, made)| made.is_none()).map(|(op, _)| op);
        let mut taken = self.take(existing.collect(), &mut connection).await?.into_iter();
        let missing = || StoreError::new(StoreErrorKind::Unavailable).with_message("rows are missing");
        let claim = |made: Option<Made>| match made {
            Some((.., fence)) => granted(fence, 1, 0),
            None => taken.next().ok_or_else(missing),
        };
        fences.into_iter().map(claim).collect()
    }

    /// Claims slots that have no row, by inserting one.
    async fn make(
        &self,
        batch: &Distinct<ClaimOp>,
        connection: &mut PgConnection,
    ) -> Result<Vec<Made>, StoreError> {
        sqlx::query_as(AssertSqlSafe(Arc::clone(&self.statements.make)))
            .bind(consumers(batch.iter().map(|op| &op.slot)))
            .bind(keys(batch.iter().map(|op| &op.slot)))
            .bind(batch.iter().map(|op| op.slot.claimant()).collect::<Vec<_>>())
            .bind(batch.iter().map(|op| micros(op.lease)).collect::<Vec<_>>())
            .bind(ONCE)
            .bind(micros(self.retention))
            .persistent(self.prepares)
            .fetch_all(connection)
            .await
            .map_err(failed)
    }

    /// Claims slots that have a row.
    async fn take(
        &self,
        ops: Vec<&ClaimOp>,
        connection: &mut PgConnection,
    ) -> Result<Vec<Claim>, StoreError> {
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        let rows: Vec<ClaimRow> = sqlx::query_as(AssertSqlSafe(Arc::clone(&self.statements.claim)))
            .bind(consumers(ops.iter().map(|op| &op.slot)))
            .bind(keys(ops.iter().map(|op| &op.slot)))
            .bind(ops.iter().map(|op| op.slot.claimant()).collect::<Vec<_>>())
            .bind(ops.iter().map(|op| micros(op.lease)).collect::<Vec<_>>())
            .bind(micros(self.retention))
            .persistent(false)
            .fetch_all(connection)
            .await
            .map_err(failed)?;
        let claims =
            rows.into_iter().map(|(fence, attempts, lapsed, state, left)| match (fence, attempts, lapsed) {
                (Some(fence), Some(attempts), Some(lapsed)) => granted(fence, attempts.into(), lapsed.into()),
                _ => Ok(not_granted(state.map(|state| Seen {
                    state: state.into(),
                    fence: 0,
                    attempts: 0,
                    left: Duration::from_micros(
                        left.and_then(|left| left.try_into().ok()).unwrap_or_default(),
                    ),
                }))),
            });
        claims.collect()
    }

    async fn renew_all(&self, batch: &Distinct<RenewOp>) -> Result<Vec<Written>, StoreError> {
        let mut connection = error::acquire(&self.pool).await.map_err(failed)?;
        let renewed: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.statements.renew)))
            .bind(consumers(batch.iter().map(|op| &op.slot)))
            .bind(keys(batch.iter().map(|op| &op.slot)))
            .bind(fences(batch.iter().map(|op| op.fence)))
            .bind(batch.iter().map(|op| micros(op.lease)).collect::<Vec<_>>())
            .persistent(false)
            .fetch_all(&mut *connection)
            .await
            .map_err(failed)?;
        let renewed: HashSet<_> = renewed.into_iter().map(i64::unsigned_abs).collect();
        let rejected = batch.iter().filter(|op| !renewed.contains(&op.fence.get())).map(|op| &op.slot);
        let seen = self.look(rejected.collect(), &mut connection).await?;
        let renewed = batch.iter().map(|op| {
            if renewed.contains(&op.fence.get()) {
                return Written::Done;
            }
            not_renewed(op, seen.get(&key(&op.slot)).copied())
        });
        Ok(renewed.collect())
    }

    async fn write_all(
        &self,
        batch: &Distinct<WriteOp>,
        connection: &mut PgConnection,
    ) -> Result<Vec<Written>, StoreError> {
        let written: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.statements.write)))
            .bind(consumers(batch.iter().map(|op| &op.slot)))
            .bind(keys(batch.iter().map(|op| &op.slot)))
            .bind(fences(batch.iter().map(|op| op.fence)))
            .bind(batch.iter().map(|op| op.what != Write::Settle).collect::<Vec<_>>())
            .bind(batch.iter().map(|op| op.what.taken_back()).collect::<Vec<_>>())
            .bind(ONCE)
            .persistent(self.prepares)
            .fetch_all(&mut *connection)
            .await
            .map_err(failed)?;
        let written: HashSet<_> = written.into_iter().map(i64::unsigned_abs).collect();
        let rejected = batch.iter().filter(|op| !written.contains(&op.fence.get())).map(|op| &op.slot);
        let seen = self.look(rejected.collect(), connection).await?;
        let written = batch.iter().map(|op| {
            if written.contains(&op.fence.get()) {
                return Written::Done;
            }
            not_written(op, seen.get(&key(&op.slot)).copied())
        });
        Ok(written.collect())
    }

    /// Returns the rows of these slots.
    async fn look(&self, slots: Vec<&Slot>, connection: &mut PgConnection) -> Result<Rows, StoreError> {
        if slots.is_empty() {
            return Ok(HashMap::new());
        }
        let rows: Vec<(Vec<u8>, String, i64, i16, i32, i64)> =
            sqlx::query_as(AssertSqlSafe(Arc::clone(&self.statements.look)))
                .bind(consumers(slots.iter().copied()))
                .bind(keys(slots.iter().copied()))
                .persistent(false)
                .fetch_all(connection)
                .await
                .map_err(failed)?;
        let seen = rows.into_iter().map(|(key, consumer, fence, state, attempts, left)| {
            let (state, attempts) = (state.into(), attempts.into());
            let left = Duration::from_micros(left.try_into().unwrap_or_default());
            ((key, consumer), Seen { state, fence, attempts, left })
        });
        Ok(seen.collect())
    }
}

fn is_of((key, consumer, _): &Made, slot: &Slot) -> bool {
    key == slot.key().as_bytes() && consumer == slot.consumer().as_str()
}

fn key(slot: &Slot) -> (Vec<u8>, String) {
    (slot.key().as_bytes().to_vec(), slot.consumer().to_string())
}

/// Returns the fences as numbers of the table. One beyond the range of a sequence matches no row.
fn fences(fences: impl Iterator<Item = Fence>) -> Vec<i64> {
    fences.map(|fence| i64::try_from(fence.get()).unwrap_or(-1)).collect()
}

fn consumers<'a>(slots: impl Iterator<Item = &'a Slot>) -> Vec<&'a str> {
    slots.map(|slot| slot.consumer().as_str()).collect()
}

fn keys<'a>(slots: impl Iterator<Item = &'a Slot>) -> Vec<Vec<u8>> {
    slots.map(|slot| slot.key().as_bytes().to_vec()).collect()
}
