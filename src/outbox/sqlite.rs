//! An outbox in a table of SQLite.

#[cfg(test)]
mod plan_tests;
mod statements;

use crate::{
    bridge::EventBridge,
    contract::{envelope::Envelope, event::Event},
    outbox::{
        OutboxError, OutboxOptions, OutboxRelay, OutboxStatus,
        row::{Columns, Entry, Row},
        table::{ADDED, LEASE, Look, OWNER, PRUNE_BATCH, Report, Signals, Table, VERSION},
    },
    sql::schema::{self, Schema},
};
use futures::{FutureExt, future::BoxFuture};
use sqlx::{AssertSqlSafe, Sqlite, SqlitePool, Transaction};
use statements::{PARTS, Statements};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use uuid::Uuid;

/// An outbox in a table of SQLite 3.38 or newer, over a pool that the host owns: for services of one machine.
///
/// A relay of the same process is woken by [`enqueue`](Self::enqueue) and looks until the transaction has committed, for
/// a second at most; events of other processes are found every second. Clones wake each other's relays.
#[derive(Debug, Clone)]
pub struct SqliteOutbox {
    table: Arc<Events>,
}

impl SqliteOutbox {
    /// An outbox over `pool`; its tables must exist, see [`migrate`](Self::migrate).
    #[must_use]
    pub fn new(pool: SqlitePool, options: OutboxOptions) -> Self {
        let keep_sent = options.keep_sent;
        let statements = Statements::of(&options.into_table());
        let (enqueued, stepped_down) = (Notify::new(), Notify::new());
        Self { table: Arc::new(Events { pool, statements, keep_sent, enqueued, stepped_down }) }
    }

    /// Creates the tables and indexes where they are missing, and `{table}_schema`, which says their version; adds what is
    /// missing in a table of an [older version](crate::docs::outbox#another-version), whose rows it keeps. Several
    /// processes may do so at once.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](super::OutboxErrorKind::Unavailable) when the database is busy for too long or refuses;
    /// [`Newer`](super::OutboxErrorKind::Newer) when a newer program has made the table, and
    /// [`Occupied`](super::OutboxErrorKind::Occupied) when something else has its name, such as a dedupe store: then nothing
    /// is touched.
    ///
    /// # Cancel safety
    ///
    /// It is one transaction: dropping the future leaves all of it or nothing.
    pub async fn migrate(&self) -> Result<(), OutboxError> {
        let Events { pool, statements, .. } = &*self.table;
        let Statements { table, create, .. } = statements;
        let schema = Schema { table, owner: OWNER, version: VERSION, create, added: &ADDED, parts: &PARTS };
        Ok(schema::sqlite::migrate(pool, schema).await?)
    }

    /// Announces an event when the host's transaction commits, and not at all if it does not.
    ///
    /// Events are published in the order in which they are enqueued, unit by unit. Begin the transaction as a writer,
    /// with `pool.begin_with("BEGIN IMMEDIATE")`: SQLite refuses to make a reader a writer when somebody else has
    /// written since.
    ///
    /// With the feature `otel` the event stays in the [trace](crate::docs::outbox#traces) that this is called in.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](super::OutboxErrorKind::TooLarge) and [`Invalid`](super::OutboxErrorKind::Invalid) for an envelope
    /// that could never be published, and the transaction is as it was; otherwise roll it back.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the transaction in an unknown state: roll it back, which dropping it does.
    pub async fn enqueue<E: Event>(
        &self,
        tx: &mut Transaction<'_, Sqlite>,
        envelope: &Envelope<E>,
    ) -> Result<(), OutboxError> {
        let Entry { uri, subject, message_id, payload, traceparent, tracestate } = Entry::of(envelope)?;
        sqlx::query(AssertSqlSafe(Arc::clone(&self.table.statements.enqueue)))
            .bind(uri)
            .bind(subject)
            .bind(message_id)
            .bind(payload)
            .bind(traceparent)
            .bind(tracestate)
            .execute(&mut **tx)
            .await?;
        self.table.enqueued.notify_one();
        Ok(())
    }

    /// A relay that publishes what is committed, over `bridge`.
    pub fn relay(&self, bridge: &EventBridge) -> OutboxRelay {
        let table: Arc<Events> = Arc::clone(&self.table);
        OutboxRelay::new(bridge, table)
    }

    /// What waits.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](super::OutboxErrorKind::Unavailable) when the database does not answer,
    /// [`Mismatch`](super::OutboxErrorKind::Mismatch) when the table is missing.
    ///
    /// # Cancel safety
    ///
    /// Only reads: dropping the future has no effect.
    pub async fn status(&self) -> Result<OutboxStatus, OutboxError> {
        self.table.status().await
    }
}

/// The table.
#[derive(Debug)]
struct Events {
    pool: SqlitePool,
    statements: Statements,
    keep_sent: Duration,
    /// Something was enqueued in this process, and will be committed or not.
    enqueued: Notify,
    stepped_down: Notify,
}

/// When to look for what was enqueued: it is committed soon after, as a rule.
const LOOKS: [u64; 10] = [0, 1, 1, 2, 4, 8, 16, 64, 256, 640];

impl Events {
    /// A signal comes before its commit: it is looked again and again, and less and less often.
    async fn look_for_rows(&self, signals: &Signals) {
        loop {
            self.enqueued.notified().await;
            let mut looks = LOOKS.into_iter();
            while let Some(pause) = looks.next() {
                if timeout(Duration::from_millis(pause), self.enqueued.notified()).await.is_ok() {
                    looks = LOOKS.into_iter();
                }
                signals.rows.notify_one();
            }
        }
    }

    async fn look_for_the_lead(&self, signals: &Signals) {
        loop {
            self.stepped_down.notified().await;
            signals.lead.notify_one();
        }
    }
}

impl Table for Events {
    fn name(&self) -> &str {
        &self.statements.table
    }

    fn status(&self) -> BoxFuture<'_, Result<OutboxStatus, OutboxError>> {
        async move {
            let status = sqlx::query_as(AssertSqlSafe(Arc::clone(&self.statements.status)));
            let (pending, set_aside, age): (i64, i64, Option<i64>) = status.fetch_one(&self.pool).await?;
            Ok(OutboxStatus {
                pending: pending.unsigned_abs(),
                oldest_pending: age.map(|age| Duration::from_millis(age.try_into().unwrap_or_default())),
                set_aside: set_aside.unsigned_abs(),
            })
        }
        .boxed()
    }

    fn lead(&self, relay: Uuid) -> BoxFuture<'_, Result<Option<Instant>, OutboxError>> {
        async move {
            // Waiting for a connection does not count.
            let mut connection = self.pool.acquire().await?;
            let since = Instant::now();
            let lead = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.take_lead)))
                .bind(relay.to_string())
                .bind(millis(LEASE));
            // To its end, which is where it is committed.
            let leads = !lead.fetch_all(&mut *connection).await?.is_empty();
            Ok(leads.then_some(since))
        }
        .boxed()
    }

    fn mark(&self, report: Report) -> BoxFuture<'_, Result<(), OutboxError>> {
        async move {
            if !report.sent.is_empty() {
                let sent = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.sent)));
                sent.bind(json(report.sent)).execute(&self.pool).await?;
            }
            if !report.set_aside.is_empty() {
                let set_aside = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.set_aside)));
                set_aside.bind(json(report.set_aside)).execute(&self.pool).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn look(&self, look: Look) -> BoxFuture<'_, Result<Vec<Row>, OutboxError>> {
        async move {
            let rows: Vec<Columns> = sqlx::query_as(AssertSqlSafe(Arc::clone(&self.statements.pending)))
                .bind(whole(look.rows))
                .bind(json(look.held))
                .bind(json(look.blocked))
                .bind(whole(look.of_each_unit))
                .bind(whole(look.bytes))
                .fetch_all(&self.pool)
                .await?;
            Ok(rows.into_iter().map(Row::from).collect())
        }
        .boxed()
    }

    fn prune(&self) -> BoxFuture<'_, Result<u64, OutboxError>> {
        async move {
            let pruned = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.prune)))
                .bind(PRUNE_BATCH)
                .bind(millis(self.keep_sent))
                .execute(&self.pool)
                .await?;
            Ok(pruned.rows_affected())
        }
        .boxed()
    }

    fn step_down(&self, relay: Uuid) -> BoxFuture<'_, Result<(), OutboxError>> {
        async move {
            let step_down = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.step_down)));
            step_down.bind(relay.to_string()).execute(&self.pool).await?;
            self.stepped_down.notify_waiters();
            Ok(())
        }
        .boxed()
    }

    fn watch(&self, signals: Arc<Signals>) -> BoxFuture<'_, ()> {
        async move {
            tokio::join!(self.look_for_rows(&signals), self.look_for_the_lead(&signals));
        }
        .boxed()
    }
}

fn json(value: impl serde::Serialize) -> String {
    // Numbers and text alone cannot fail.
    serde_json::to_string(&value).unwrap_or_default()
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn millis(time: Duration) -> i64 {
    /// Longer times mean nothing: a century.
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    i64::try_from(time.min(LONGEST).as_millis()).unwrap_or(i64::MAX)
}
