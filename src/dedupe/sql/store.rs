//! The store over a table of the host's database, for both databases.

use crate::dedupe::{
    Claim, DedupeStore, Fence, Grant, Slot, SlotState, StoreError, StoreErrorKind,
    sql::{
        batch::{Distinct, Write, WriteOp, Written},
        engine::{Engine, Table},
        not_migrated,
    },
};
use futures::{FutureExt, future::BoxFuture};
use sqlx::{Database, Transaction};
use std::{fmt, sync::Arc, time::Duration};
use tokio::time::sleep;

/// A store in a table of the host's database, over a pool that the host owns: [`PostgresStore`](super::PostgresStore)
/// or [`SqliteStore`](super::SqliteStore).
///
/// Calls of many tasks are combined into few statements. The database's clock decides when a lease expires, and a
/// counter of the database supplies the fences. Clones share the pool and combine their calls.
pub struct SqlStore<D: Database> {
    engine: Arc<Engine<D>>,
}

/// The retries of a settle that finds its row locked, as a renewal of the same claim does for a moment.
const BUSY_RETRIES: u32 = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

impl<D: Database> SqlStore<D> {
    pub(super) fn over(table: impl Table<D>, operation_timeout: Duration) -> Self {
        Self { engine: Arc::new(Engine::new(table, operation_timeout)) }
    }

    /// Creates whatever is missing of the table, its index and, in PostgreSQL, its sequence, and upgrades a table of an
    /// [older version](crate::docs::dedupe#another-version), keeping its slots. Several processes may call it
    /// concurrently.
    ///
    /// In PostgreSQL, nothing is changed where nothing is missing, and no privilege to create is needed: an operator
    /// may have migrated before. The consumer then needs `SELECT`, `INSERT`, `UPDATE` and `DELETE` on the table and
    /// `USAGE` on the sequence. In SQLite, the version is recorded in a table `{table}_schema`.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](crate::dedupe::StoreErrorKind::Unavailable) when the database does not answer, is busy for too
    /// long or rejects the change, or, in PostgreSQL, when a transaction blocks the upgrade of an older table for more
    /// than 3 s; [`Mismatch`](crate::dedupe::StoreErrorKind::Mismatch) when the table was created by a newer program,
    /// or when its name belongs to something else, such as an outbox: then nothing is touched.
    ///
    /// # Cancel safety
    ///
    /// Runs in one transaction: dropping the future leaves all of it or nothing.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        self.engine.table.migrate().await.map_err(not_migrated)
    }

    /// Settles the slot of `grant`, usually a `&Delivery`, within the host's transaction: the effect of the handler and
    /// the mark that it was handled commit together, or not at all. When the consumer settles afterwards, it finds this
    /// done.
    ///
    /// On error, nothing may be committed: return the error from the handler, and the transaction rolls back. In
    /// SQLite, begin the transaction as a writer, with `pool.begin_with("BEGIN IMMEDIATE")`: SQLite does not let a
    /// reader become a writer once another connection has written.
    ///
    /// ```no_run
    /// # #[cfg(feature = "postgres")]
    /// # mod example {
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
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Fenced`](crate::dedupe::StoreErrorKind::Fenced) when the claim was lost to another claimant, or when it was
    /// settled before: a handler that repeats a transaction, since it does not know whether its commit was carried out,
    /// repeats no effect. [`Unavailable`](crate::dedupe::StoreErrorKind::Unavailable) when the database did not carry
    /// it out.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the transaction in an unknown state: roll it back, for example by dropping it.
    pub async fn settle_in(
        &self,
        grant: impl Into<Grant>,
        tx: &mut Transaction<'_, D>,
    ) -> Result<(), StoreError> {
        self.settle_all_in([grant], tx).await
    }

    /// Settles the slots of all `grants`, usually those of a batch's `&[Delivery]`, within the host's transaction: as
    /// [`settle_in`](Self::settle_in) for each of them, in one statement.
    ///
    /// ```no_run
    /// # #[cfg(feature = "postgres")]
    /// # mod example {
    /// # use sqlx::PgPool;
    /// # use stratt_event_bridge::{Delivery, HandlerError, UnitDeprecated, dedupe::PostgresStore};
    /// async fn handle(
    ///     batch: Vec<Delivery<UnitDeprecated>>,
    ///     pool: PgPool,
    ///     store: PostgresStore,
    /// ) -> Result<(), HandlerError> {
    ///     let uris: Vec<_> = batch.iter().map(|delivery| delivery.event().uri.as_str()).collect();
    ///     let mut tx = pool.begin().await?;
    ///     sqlx::query("UPDATE units SET deprecated = true WHERE uri = ANY($1)").bind(uris).execute(&mut *tx).await?;
    ///     store.settle_all_in(&batch, &mut tx).await?;
    ///     tx.commit().await?;
    ///     Ok(())
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`settle_in`](Self::settle_in), if one of them cannot be settled.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the transaction in an unknown state: roll it back, for example by dropping it.
    pub async fn settle_all_in(
        &self,
        grants: impl IntoIterator<Item = impl Into<Grant>>,
        tx: &mut Transaction<'_, D>,
    ) -> Result<(), StoreError> {
        let settle = |Grant { slot, fence }| WriteOp { slot, fence, what: Write::Settle };
        let mut left: Vec<_> = grants.into_iter().map(|grant| settle(grant.into())).collect();
        for tries in 0..=BUSY_RETRIES {
            if tries > 0 {
                sleep(BUSY_PAUSE).await;
            }
            let batch = Distinct::writes(left);
            let written = self.engine.table.write_on(&batch, tx).await?;
            let mut locked = Vec::new();
            for (op, written) in batch.iter().zip(written) {
                match written {
                    Written::Busy => locked.push(settle(Grant { slot: op.slot.clone(), fence: op.fence })),
                    Written::Before => return Err(settled_before()),
                    Written::Done | Written::Fenced => written.into_result()?,
                }
            }
            if locked.is_empty() {
                return Ok(());
            }
            left = locked;
        }
        Written::Busy.into_result()
    }

    /// Removes slots that have outlived the retention of the store that claimed them, oldest first and at most 1,000,
    /// and returns how many.
    ///
    /// Claims do this automatically, once a minute and more often while there is more to remove, so calling it is
    /// optional.
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

/// Returns the error of a transaction that would repeat the effect of one that has committed.
fn settled_before() -> StoreError {
    StoreError::new(StoreErrorKind::Fenced)
        .with_message("slot is settled already: an earlier transaction has committed its effect")
}

impl<D: Database> Clone for SqlStore<D> {
    fn clone(&self) -> Self {
        Self { engine: Arc::clone(&self.engine) }
    }
}

impl<D: Database> fmt::Debug for SqlStore<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlStore").field("engine", &self.engine).finish()
    }
}

impl<D: Database> DedupeStore for SqlStore<D> {
    fn claim<'a>(&'a self, slot: &'a Slot, lease: Duration) -> BoxFuture<'a, Result<Claim, StoreError>> {
        self.engine.claim(slot, lease).boxed()
    }

    fn renew<'a>(
        &'a self,
        slot: &'a Slot,
        fence: Fence,
        lease: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        self.engine.renew(slot, fence, lease).boxed()
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

    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>> {
        self.engine.peek(slot).boxed()
    }

    fn retention(&self) -> Option<Duration> {
        Some(self.engine.table.retention())
    }
}
