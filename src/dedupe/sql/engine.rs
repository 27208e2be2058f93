//! What both databases have in common: calls put together, ended in time, and expired slots removed beside them.

use crate::{
    dedupe::{
        Claim, Fence, Slot, StoreError, StoreErrorKind,
        coalesce::Coalescer,
        sql::{
            PURGE_BATCH,
            batch::{ClaimOp, Distinct, Write, WriteOp, Written},
        },
    },
    report::report,
    sql::error,
};
use std::{
    error::Error,
    fmt::Debug,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// A table of slots that takes many operations in one statement. They are distinct, and in the order of their keys.
pub(super) trait Table: Debug + Send + Sync + 'static {
    /// A claim for each operation, in their order.
    fn claim(&self, batch: &Distinct<ClaimOp>)
    -> impl Future<Output = Result<Vec<Claim>, StoreError>> + Send;

    /// What came of each operation, in their order.
    fn write(
        &self,
        batch: &Distinct<WriteOp>,
    ) -> impl Future<Output = Result<Vec<Written>, StoreError>> + Send;

    /// Returns the retentions that slots have, each once, in the unit of the table.
    fn retentions(&self) -> impl Future<Output = Result<Vec<i64>, StoreError>> + Send;

    /// Removes those of the oldest slots of one retention that have outlived it, `limit` at most, and returns how many.
    fn purge(&self, retention: i64, limit: i64) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Returns why the database is not to be reached, if that can be found out.
    fn why_unreachable(&self) -> impl Future<Output = Option<sqlx::Error>> + Send;
}

/// How many slots go in one statement.
const MAX_BATCH: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Statements of one kind that run at once. A second one would halve the batches and contend for the same disk.
const MAX_ROUNDS: NonZeroUsize = NonZeroUsize::MIN;
/// How often a statement that lost against another transaction is run again.
const MOST_CONFLICTS: u32 = 10;
/// How often expired slots are looked for, as long as there are few.
const PURGE_EVERY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Engine<T> {
    pub(super) table: Arc<T>,
    operation_timeout: Duration,
    claims: Coalescer<ClaimOp, Claim>,
    writes: Coalescer<WriteOp, Written>,
}

impl<T: Table> Engine<T> {
    pub(super) fn new(table: T, operation_timeout: Duration) -> Self {
        let table = Arc::new(table);
        let limit = operation_timeout;
        let purging = Arc::new(Purging::new());
        let (claimed, written) = (Arc::clone(&table), Arc::clone(&table));
        let claims = Coalescer::new(MAX_BATCH, MAX_ROUNDS, move |ops| {
            let (table, purging) = (Arc::clone(&claimed), Arc::clone(&purging));
            async move {
                let batch = Distinct::claims(ops);
                let claims = in_time(limit, &*table, repeated(|| table.claim(&batch))).await?;
                purging.beside_claims(&*table, limit).await;
                batch.answer(&claims)
            }
        });
        let writes = Coalescer::new(MAX_BATCH, MAX_ROUNDS, move |ops| {
            let table = Arc::clone(&written);
            async move {
                let batch = Distinct::writes(ops);
                batch.answer(&in_time(limit, &*table, repeated(|| table.write(&batch))).await?)
            }
        });
        Self { table, operation_timeout, claims, writes }
    }

    pub(super) async fn claim(&self, slot: &Slot, lease: Duration) -> Result<Claim, StoreError> {
        self.claims.call(ClaimOp { slot: slot.clone(), lease }).await
    }

    pub(super) async fn write(&self, slot: &Slot, fence: Fence, what: Write) -> Result<(), StoreError> {
        self.writes.call(WriteOp { slot: slot.clone(), fence, what }).await?.into_result()
    }

    pub(super) async fn purge(&self) -> Result<u64, StoreError> {
        in_time(self.operation_timeout, &*self.table, purge(&*self.table)).await
    }
}

/// Removes slots that have outlived their own retention, [`PURGE_BATCH`] at most, and returns how many.
async fn purge(table: &impl Table) -> Result<u64, StoreError> {
    let mut purged = 0;
    for retention in table.retentions().await? {
        let room = PURGE_BATCH.saturating_sub_unsigned(purged);
        if room > 0 {
            purged += repeated(|| table.purge(retention, room)).await?;
        }
    }
    Ok(purged)
}

/// Runs a statement again that lost against another transaction: it changed nothing, and may find now what it lost to.
async fn repeated<T, F>(statement: impl Fn() -> F) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, StoreError>>,
{
    for _conflict in 0..MOST_CONFLICTS {
        match statement().await {
            Err(error) if is_conflict(&error) => {}
            ended => return ended,
        }
    }
    statement().await
}

fn is_conflict(error: &StoreError) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref());
    source.is_some_and(error::is_conflict)
}

/// Ends a round trip in time: while it lasts, callers wait behind it.
async fn in_time<T>(
    limit: Duration,
    table: &impl Table,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let elapsed = match timeout(limit, work).await {
        Ok(ended) => return ended,
        Err(elapsed) => elapsed,
    };
    let message = format!("database did not answer within {limit:?}");
    let error = StoreError::new(StoreErrorKind::Unavailable).with_message(message);
    // The pool tries to connect for longer than that, and keeps to itself what for.
    Err(match table.why_unreachable().await {
        Some(cause) => error.caused_by(cause),
        None => error.caused_by(elapsed),
    })
}

/// When expired slots are looked for again.
#[derive(Debug)]
struct Purging {
    next: Mutex<Instant>,
}

impl Purging {
    fn new() -> Self {
        Self { next: Mutex::new(Instant::now() + crate::jitter::spread(PURGE_EVERY)) }
    }

    /// Removes expired slots if it is time. The claims are made, and do not fail with it.
    async fn beside_claims(&self, table: &impl Table, limit: Duration) {
        if !self.is_due() {
            return;
        }
        match in_time(limit, table, purge(table)).await {
            // There are more: they go as fast as new slots come.
            Ok(purged) if purged >= PURGE_BATCH.unsigned_abs() => self.look_again_after(Duration::ZERO),
            Ok(_) => {}
            Err(error) => tracing::warn!(error = %report(&error), "expired slots could not be removed"),
        }
    }

    /// Whoever is told that it is time removes them, and nobody else until the next time.
    fn is_due(&self) -> bool {
        let is_due = *self.lock() <= Instant::now();
        if is_due {
            self.look_again_after(crate::jitter::spread(PURGE_EVERY));
        }
        is_due
    }

    fn look_again_after(&self, pause: Duration) {
        *self.lock() = Instant::now() + pause;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
