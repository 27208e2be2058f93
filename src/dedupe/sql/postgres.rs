//! A store in a table of PostgreSQL.

mod statements;

use crate::{
    dedupe::{
        Claim, DedupeStore, Fence, Grant, Slot, StoreError, StoreErrorKind,
        sql::{
            OWNER, SqlStoreOptions, VERSION,
            batch::{
                ClaimOp, Distinct, Seen, Write, WriteOp, Written, granted, micros, not_granted, not_written,
            },
            engine::{Engine, Table},
            failed, not_migrated, of_version_1,
        },
    },
    sql::{
        error,
        schema::{self, Schema},
    },
};
use futures::{FutureExt, future::BoxFuture};
use sqlx::{AssertSqlSafe, PgPool, Postgres, Transaction, postgres::PgConnection};
use statements::{ONCE, PARTS, Statements};
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

/// A store in a table of PostgreSQL 12 or newer, over a pool that the host owns.
///
/// Calls of many tasks at once go in few statements, over one connection for claims and one for the rest at most. The
/// database's clock decides when a lease is over, and a sequence makes the fences. No statement waits for a row that
/// another transaction has locked. The two statements of new events, which are claimed and settled, are prepared by
/// name unless the [options](SqlStoreOptions::with_prepared_statements) say otherwise.
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
#[derive(Debug, Clone)]
pub struct PostgresStore {
    engine: Arc<Engine<Slots>>,
}

impl PostgresStore {
    /// A store over `pool`; its table must exist, see [`migrate`](Self::migrate).
    #[must_use]
    pub fn new(pool: PgPool, options: SqlStoreOptions) -> Self {
        let SqlStoreOptions { retention, operation_timeout, prepares, .. } = options;
        let statements = Statements::of(&options.into_table());
        let slots = Slots { pool, statements, retention, prepares };
        Self { engine: Arc::new(Engine::new(slots, operation_timeout)) }
    }

    /// Creates the table, its sequence and its index, each where it is missing, and adds what is missing in a table of an
    /// [older version](crate::docs::dedupe#another-version), whose slots it keeps. Several processes may do so at once.
    ///
    /// Where nothing is missing nothing is changed, and no right to create is needed: an operator may have run it before. The
    /// consumer then needs `SELECT`, `INSERT`, `UPDATE` and `DELETE` on the table and `USAGE` on the sequence.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::dedupe::StoreErrorKind::Unavailable) when the database does not answer or refuses, or when a
    /// transaction keeps an older table from being changed for more than 3 s;
    /// [`Mismatch`](crate::dedupe::StoreErrorKind::Mismatch) when a newer program has made the table, or when something else
    /// has its name, such as an outbox: then nothing is touched.
    ///
    /// # Cancel safety
    ///
    /// It is one transaction: dropping the future leaves all of it or nothing.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let Slots { pool, statements, retention, .. } = &*self.engine.table;
        let Statements { table, create, .. } = statements;
        let added = format!("retention bigint NOT NULL DEFAULT {}", micros(of_version_1(*retention)));
        let create = &create.replace("{retention}", &added);
        let schema =
            Schema { table, owner: OWNER, version: VERSION, create, added: &[&added], parts: &PARTS };
        schema::postgres::migrate(pool, schema).await.map_err(not_migrated)
    }

    /// Settles the slot of `grant`, which is a `&Delivery` as a rule, within the host's transaction: the effect of the handler and the mark that it was
    /// handled commit together, or neither does. The consumer's own settling afterwards finds it done.
    ///
    /// An error means that nothing may be committed: return it from the handler, and the transaction rolls back.
    ///
    /// ```no_run
    /// # use sqlx::PgPool;
    /// # use stratt_event_bridge::{Delivery, HandlerError, UnitDeprecated, dedupe::PostgresStore};
    /// async fn handle(
    ///     delivery: Delivery<UnitDeprecated>,
    ///     pool: PgPool,
    ///     store: PostgresStore,
    /// ) -> Result<(), HandlerError> {
    ///     let mut tx = pool.begin().await?;
    ///     sqlx::query("UPDATE units SET deprecated = true WHERE uri = $1")
    ///         .bind(delivery.event().uri.as_str())
    ///         .execute(&mut *tx)
    ///         .await?;
    ///     store.settle_in(&delivery, &mut tx).await?;
    ///     tx.commit().await?;
    ///     Ok(())
    /// }
    /// ```
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
        tx: &mut Transaction<'_, Postgres>,
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

/// The key and the consumer of a slot that was made, and its fence.
type Made = (Vec<u8>, String, i64);
/// The fence and the attempt of a grant; else the state of the slot, and what is left of the lease in microseconds.
type ClaimRow = (Option<i64>, Option<i32>, Option<i16>, Option<i64>);

/// The table.
#[derive(Debug)]
struct Slots {
    pool: PgPool,
    statements: Statements,
    retention: Duration,
    /// Whether the statements of every event are prepared by name.
    prepares: bool,
}

impl Table for Slots {
    async fn claim(&self, batch: &Distinct<ClaimOp>) -> Result<Vec<Claim>, StoreError> {
        let mut connection = error::acquire(&self.pool).await.map_err(failed)?;
        let mut made = self.make(batch, &mut connection).await?.into_iter().peekable();
        // Should one be missed here, it is claimed below by its own claimant.
        let fences: Vec<_> = batch.iter().map(|op| made.next_if(|row| is_of(row, &op.slot))).collect();
        let there = batch.iter().zip(&fences).filter(|(_, made)| made.is_none()).map(|(op, _)| op);
        let mut taken = self.take(there.collect(), &mut connection).await?.into_iter();
        let missing = || StoreError::new(StoreErrorKind::Unavailable).with_message("rows are missing");
        let claim = |made: Option<Made>| match made {
            Some((.., fence)) => granted(fence, 1),
            None => taken.next().ok_or_else(missing),
        };
        fences.into_iter().map(claim).collect()
    }

    async fn write(&self, batch: &Distinct<WriteOp>) -> Result<Vec<Written>, StoreError> {
        let mut connection = error::acquire(&self.pool).await.map_err(failed)?;
        self.write_on(batch, &mut connection).await
    }

    async fn retentions(&self) -> Result<Vec<i64>, StoreError> {
        let mut connection = error::acquire(&self.pool).await.map_err(failed)?;
        let retentions = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.statements.retentions)));
        retentions.persistent(false).fetch_all(&mut *connection).await.map_err(failed)
    }

    async fn purge(&self, retention: i64, limit: i64) -> Result<u64, StoreError> {
        let mut connection = error::acquire(&self.pool).await.map_err(failed)?;
        let purged = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.purge)))
            .bind(limit)
            .bind(retention)
            .persistent(false)
            .execute(&mut *connection)
            .await;
        Ok(purged.map_err(failed)?.rows_affected())
    }

    async fn why_unreachable(&self) -> Option<sqlx::Error> {
        error::why_unreachable(&self.pool).await
    }
}

impl Slots {
    /// Claims the slots that are not there.
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

    /// Claims slots that are there.
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
        let claims = rows.into_iter().map(|(fence, attempts, state, left)| match (fence, attempts) {
            (Some(fence), Some(attempts)) => granted(fence, attempts.into()),
            _ => Ok(not_granted(state.map(|state| Seen {
                state: state.into(),
                fence: 0,
                attempts: 0,
                left: Duration::from_micros(left.and_then(|left| left.try_into().ok()).unwrap_or_default()),
            }))),
        });
        claims.collect()
    }

    async fn write_on(
        &self,
        batch: &Distinct<WriteOp>,
        connection: &mut PgConnection,
    ) -> Result<Vec<Written>, StoreError> {
        let written: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.statements.write)))
            .bind(consumers(batch.iter().map(|op| &op.slot)))
            .bind(keys(batch.iter().map(|op| &op.slot)))
            // A fence beyond what a sequence can make is nobody's.
            .bind(batch.iter().map(|op| i64::try_from(op.fence.get()).unwrap_or(-1)).collect::<Vec<_>>())
            .bind(batch.iter().map(|op| op.what != Write::Settle).collect::<Vec<_>>())
            .bind(batch.iter().map(|op| op.what.taken_back()).collect::<Vec<_>>())
            .bind(ONCE)
            .persistent(self.prepares)
            .fetch_all(&mut *connection)
            .await
            .map_err(failed)?;
        let written: HashSet<_> = written.into_iter().map(i64::unsigned_abs).collect();
        let refused = batch.iter().filter(|op| !written.contains(&op.fence.get())).map(|op| &op.slot);
        let seen = self.look(refused.collect(), connection).await?;
        let written = batch.iter().map(|op| {
            if written.contains(&op.fence.get()) {
                return Written::Done;
            }
            let key = (op.slot.key().as_bytes().to_vec(), op.slot.consumer().to_string());
            not_written(op, seen.get(&key).copied())
        });
        Ok(written.collect())
    }

    /// What there is of these slots.
    async fn look(
        &self,
        slots: Vec<&Slot>,
        connection: &mut PgConnection,
    ) -> Result<HashMap<(Vec<u8>, String), Seen>, StoreError> {
        if slots.is_empty() {
            return Ok(HashMap::new());
        }
        let rows: Vec<(Vec<u8>, String, i64, i16, i32)> =
            sqlx::query_as(AssertSqlSafe(Arc::clone(&self.statements.look)))
                .bind(consumers(slots.iter().copied()))
                .bind(keys(slots.iter().copied()))
                .persistent(false)
                .fetch_all(connection)
                .await
                .map_err(failed)?;
        let seen = rows.into_iter().map(|(key, consumer, fence, state, attempts)| {
            let (state, attempts) = (state.into(), attempts.into());
            ((key, consumer), Seen { state, fence, attempts, left: Duration::ZERO })
        });
        Ok(seen.collect())
    }
}

fn is_of((key, consumer, _): &Made, slot: &Slot) -> bool {
    key == slot.key().as_bytes() && consumer == slot.consumer().as_str()
}

fn consumers<'a>(slots: impl Iterator<Item = &'a Slot>) -> Vec<&'a str> {
    slots.map(|slot| slot.consumer().as_str()).collect()
}

fn keys<'a>(slots: impl Iterator<Item = &'a Slot>) -> Vec<Vec<u8>> {
    slots.map(|slot| slot.key().as_bytes().to_vec()).collect()
}

impl DedupeStore for PostgresStore {
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
