//! The database-independent part of a store: combines calls, limits their time, and purges expired slots beside claims.

use crate::{
    dedupe::{
        Claim, Fence, Slot, SlotState, StoreError, StoreErrorKind,
        coalesce::Coalescer,
        sql::{
            PURGE_BATCH,
            batch::{Change, ClaimOp, Distinct, RenewOp, Write, WriteOp, Written},
        },
    },
    report::report,
    sql::{error, schema::MigrateError},
};
use futures::future::BoxFuture;
use sqlx::Database;
use std::{
    error::Error,
    fmt::{self, Debug},
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// A table of slots that takes many operations in one statement. They are distinct, and in the order of their keys.
pub(super) trait Table<D: Database>: Debug + Send + Sync + 'static {
    /// Creates or upgrades the table.
    fn migrate(&self) -> BoxFuture<'_, Result<(), MigrateError>>;

    /// Returns a claim for each operation, in their order.
    fn claim<'a>(&'a self, batch: &'a Distinct<ClaimOp>) -> BoxFuture<'a, Result<Vec<Claim>, StoreError>>;

    /// Returns the result of each renewal, in their order.
    fn renew<'a>(&'a self, batch: &'a Distinct<RenewOp>) -> BoxFuture<'a, Result<Vec<Written>, StoreError>>;

    /// Returns the result of each operation, in their order.
    fn write<'a>(&'a self, batch: &'a Distinct<WriteOp>) -> BoxFuture<'a, Result<Vec<Written>, StoreError>>;

    /// Does the same as [`write`](Self::write), on a connection of the caller.
    fn write_on<'a>(
        &'a self,
        batch: &'a Distinct<WriteOp>,
        connection: &'a mut D::Connection,
    ) -> BoxFuture<'a, Result<Vec<Written>, StoreError>>;

    /// Returns the state of one slot.
    fn peek<'a>(&'a self, slot: &'a Slot) -> BoxFuture<'a, Result<SlotState, StoreError>>;

    /// Returns how long the slots of this store are remembered.
    fn retention(&self) -> Duration;

    /// Returns the distinct retentions of all slots, in the unit of the table.
    fn retentions(&self) -> BoxFuture<'_, Result<Vec<i64>, StoreError>>;

    /// Removes those of the `limit` oldest slots of one retention that have outlived it, and returns how many.
    fn purge(&self, retention: i64, limit: i64) -> BoxFuture<'_, Result<u64, StoreError>>;

    /// Returns why the database cannot be reached, if that can be determined.
    fn why_unreachable(&self) -> BoxFuture<'_, Option<sqlx::Error>>;
}

/// The most slots in one statement.
const MAX_BATCH: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Concurrent statements of one kind. A second one would halve the batches and contend for the same disk.
const MAX_ROUNDS: NonZeroUsize = NonZeroUsize::MIN;
/// The most repetitions of a statement that lost against another transaction.
const MOST_CONFLICTS: u32 = 10;
/// Interval of the search for expired slots, as long as there are few.
const PURGE_EVERY: Duration = Duration::from_secs(60);

/// A table with the coalescers of its claims and changes.
pub(super) struct Engine<D> {
    pub(super) table: Arc<dyn Table<D>>,
    operation_timeout: Duration,
    claims: Coalescer<ClaimOp, Claim>,
    changes: Coalescer<Change, Written>,
}

impl<D: Database> Engine<D> {
    pub(super) fn new(table: impl Table<D>, operation_timeout: Duration) -> Self {
        let table: Arc<dyn Table<D>> = Arc::new(table);
        let limit = operation_timeout;
        let purging = Arc::new(Purging::new());
        let (claimed, changed) = (Arc::clone(&table), Arc::clone(&table));
        let claims = Coalescer::new(MAX_BATCH, MAX_ROUNDS, move |ops| {
            let (table, purging) = (Arc::clone(&claimed), Arc::clone(&purging));
            async move {
                let batch = Distinct::claims(ops);
                let claims = in_time(limit, &*table, repeated(|| table.claim(&batch))).await?;
                purging.beside_claims(&*table, limit).await;
                batch.answer(&claims)
            }
        });
        let changes = Coalescer::new(MAX_BATCH, MAX_ROUNDS, move |changes| {
            let table = Arc::clone(&changed);
            async move { in_time(limit, &*table, change(&*table, changes)).await }
        });
        Self { table, operation_timeout, claims, changes }
    }

    pub(super) async fn claim(&self, slot: &Slot, lease: Duration) -> Result<Claim, StoreError> {
        self.claims.call(ClaimOp { slot: slot.clone(), lease }).await
    }

    pub(super) async fn write(&self, slot: &Slot, fence: Fence, what: Write) -> Result<(), StoreError> {
        let write = WriteOp { slot: slot.clone(), fence, what };
        self.changes.call(Change::Write(write)).await?.into_result()
    }

    pub(super) async fn renew(&self, slot: &Slot, fence: Fence, lease: Duration) -> Result<(), StoreError> {
        let renewal = RenewOp { slot: slot.clone(), fence, lease };
        self.changes.call(Change::Renew(renewal)).await?.into_result()
    }

    pub(super) async fn peek(&self, slot: &Slot) -> Result<SlotState, StoreError> {
        in_time(self.operation_timeout, &*self.table, self.table.peek(slot)).await
    }

    pub(super) async fn purge(&self) -> Result<u64, StoreError> {
        in_time(self.operation_timeout, &*self.table, purge(&*self.table)).await
    }
}

impl<D> Debug for Engine<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, operation_timeout, claims, changes } = self;
        f.debug_struct("Engine")
            .field("table", table)
            .field("operation_timeout", operation_timeout)
            .field("claims", claims)
            .field("changes", changes)
            .finish()
    }
}

/// Carries out changes: the renewals by one statement and the writes by another, if there are any.
///
/// They share a round, so that neither finds its row locked by the other and no more connections are used. Renewals go
/// first: after a write of the same claim they would find it ended.
async fn change<D: Database>(table: &dyn Table<D>, changes: Vec<Change>) -> Result<Vec<Written>, StoreError> {
    let (mut renewals, mut writes) = (Vec::new(), Vec::new());
    let mut are_renewals = Vec::new();
    for change in changes {
        are_renewals.push(matches!(change, Change::Renew(_)));
        match change {
            Change::Renew(op) => renewals.push(op),
            Change::Write(op) => writes.push(op),
        }
    }
    let (mut renewed, mut written) = (Vec::new(), Vec::new());
    if !renewals.is_empty() {
        let batch = Distinct::renewals(renewals);
        renewed = batch.answer(&repeated(|| table.renew(&batch)).await?)?;
    }
    if !writes.is_empty() {
        let batch = Distinct::writes(writes);
        written = batch.answer(&repeated(|| table.write(&batch)).await?)?;
    }
    let (mut renewed, mut written) = (renewed.into_iter(), written.into_iter());
    let answers = are_renewals.into_iter().map(|is_renewal| {
        let answer = if is_renewal { renewed.next() } else { written.next() };
        answer.ok_or_else(|| StoreError::new(StoreErrorKind::Unavailable).with_message("rows are missing"))
    });
    answers.collect()
}

/// Removes slots that have outlived their own retention, at most [`PURGE_BATCH`], and returns how many.
async fn purge<D: Database>(table: &dyn Table<D>) -> Result<u64, StoreError> {
    let mut purged = 0;
    for retention in table.retentions().await? {
        let room = PURGE_BATCH.saturating_sub_unsigned(purged);
        if room > 0 {
            purged += repeated(|| table.purge(retention, room)).await?;
        }
    }
    Ok(purged)
}

/// Repeats a statement that lost against another transaction: it changed nothing, and may see the winner's changes now.
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

/// Limits the time of a round trip, since callers wait behind it.
async fn in_time<T, D: Database>(
    limit: Duration,
    table: &dyn Table<D>,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let elapsed = match timeout(limit, work).await {
        Ok(ended) => return ended,
        Err(elapsed) => elapsed,
    };
    let message = format!("database did not answer within {limit:?}");
    let error = StoreError::new(StoreErrorKind::Unavailable).with_message(message);
    // The pool retries connecting for longer than that, and does not report why it fails.
    Err(match table.why_unreachable().await {
        Some(cause) => error.caused_by(cause),
        None => error.caused_by(elapsed),
    })
}

/// The timer of the search for expired slots.
#[derive(Debug)]
struct Purging {
    next: Mutex<Instant>,
}

impl Purging {
    fn new() -> Self {
        Self { next: Mutex::new(Instant::now() + crate::jitter::spread(PURGE_EVERY)) }
    }

    /// Removes expired slots if it is time. Errors are logged only: the claims have succeeded.
    async fn beside_claims<D: Database>(&self, table: &dyn Table<D>, limit: Duration) {
        if !self.is_due() {
            return;
        }
        match in_time(limit, table, purge(table)).await {
            // There are more: remove them as fast as new slots are claimed.
            Ok(purged) if purged >= PURGE_BATCH.unsigned_abs() => self.set_next(Duration::ZERO),
            Ok(_) => {}
            Err(error) => tracing::warn!(error = %report(&error), "failed to remove expired slots"),
        }
    }

    /// Returns whether it is time, to one caller for each interval.
    fn is_due(&self) -> bool {
        let is_due = *self.lock() <= Instant::now();
        if is_due {
            self.set_next(crate::jitter::spread(PURGE_EVERY));
        }
        is_due
    }

    fn set_next(&self, pause: Duration) {
        *self.lock() = Instant::now() + pause;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Instant> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
