//! The outbox in a table of SQLite.

#[cfg(test)]
mod plan_tests;
mod statements;

use crate::{
    outbox::{
        OutboxError, OutboxOptions, OutboxStatus, QuarantinedEvent, SqlOutbox, quarantined,
        row::{Columns, Entry, Row},
        table::{self, LEASE, Look, PRUNE_BATCH, Queue, Report, Signals, Table},
    },
    sql::schema::{self, MigrateError},
};
use futures::{FutureExt, future::BoxFuture};
use sqlx::{AssertSqlSafe, Sqlite, SqlitePool, sqlite::SqliteConnection};
use statements::{PARTS, Statements};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use uuid::Uuid;

/// An outbox in a table of SQLite 3.38 or newer, over a pool that the host owns: for services of one machine.
///
/// [`enqueue`](SqlOutbox::enqueue) wakes a relay of the same process, which then polls until the transaction has
/// committed, for up to a second. Events of other processes are found by polling every second. Clones wake each other's
/// relays.
pub type SqliteOutbox = SqlOutbox<Sqlite>;

impl SqlOutbox<Sqlite> {
    /// Returns an outbox over `pool`. Its tables must exist: see [`migrate`](Self::migrate).
    #[must_use]
    pub fn new(pool: SqlitePool, options: OutboxOptions) -> Self {
        let keep_sent = options.keep_sent;
        let statements = Statements::of(&options.into_table());
        let (enqueued, stepped_down) = (Notify::new(), Notify::new());
        Self::over(Events { pool, statements, keep_sent, enqueued, stepped_down })
    }
}

/// The tables of an outbox.
#[derive(Debug)]
struct Events {
    pool: SqlitePool,
    statements: Statements,
    keep_sent: Duration,
    /// Signals an enqueue in this process, which will be committed or rolled back.
    enqueued: Notify,
    stepped_down: Notify,
}

/// Pauses in milliseconds between looks for an enqueued row, which is usually committed soon after.
const LOOKS: [u64; 10] = [0, 1, 1, 2, 4, 8, 16, 64, 256, 640];

impl Events {
    /// Signals rows after each enqueue. The commit comes later, so it signals repeatedly, with growing pauses.
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

    /// Signals the lead after each relay that stepped down.
    async fn look_for_the_lead(&self, signals: &Signals) {
        loop {
            self.stepped_down.notified().await;
            signals.lead.notify_one();
        }
    }
}

impl Queue<Sqlite> for Events {
    fn migrate(&self) -> BoxFuture<'_, Result<(), MigrateError>> {
        let Self { pool, statements, .. } = self;
        schema::sqlite::migrate(pool, table::schema(&statements.table, &statements.create, &PARTS)).boxed()
    }

    fn quarantined(&self, limit: i64) -> BoxFuture<'_, Result<Vec<QuarantinedEvent>, OutboxError>> {
        async move {
            let found = sqlx::query_as(AssertSqlSafe(Arc::clone(&self.statements.quarantined))).bind(limit);
            let found: Vec<quarantined::Columns> = found.fetch_all(&self.pool).await?;
            Ok(found.into_iter().map(QuarantinedEvent::from).collect())
        }
        .boxed()
    }

    fn retry(&self, ids: Vec<i64>) -> BoxFuture<'_, Result<u64, OutboxError>> {
        async move {
            let retried = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.retry))).bind(json(ids));
            let retried = retried.execute(&self.pool).await?.rows_affected();
            self.enqueued.notify_one();
            Ok(retried)
        }
        .boxed()
    }

    fn drop_quarantined(&self, ids: Vec<i64>) -> BoxFuture<'_, Result<u64, OutboxError>> {
        async move {
            let dropped = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.drop_quarantined)));
            Ok(dropped.bind(json(ids)).execute(&self.pool).await?.rows_affected())
        }
        .boxed()
    }

    fn enqueue<'a>(
        &'a self,
        entry: Entry,
        connection: &'a mut SqliteConnection,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        async move {
            let Entry { uri, subject, message_id, payload, traceparent, tracestate } = entry;
            sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.enqueue)))
                .bind(uri)
                .bind(subject)
                .bind(message_id)
                .bind(payload)
                .bind(traceparent)
                .bind(tracestate)
                .execute(connection)
                .await?;
            self.enqueued.notify_one();
            Ok(())
        }
        .boxed()
    }
}

impl Table for Events {
    fn name(&self) -> &str {
        &self.statements.table
    }

    fn status(&self) -> BoxFuture<'_, Result<OutboxStatus, OutboxError>> {
        async move {
            let status = sqlx::query_as(AssertSqlSafe(Arc::clone(&self.statements.status)));
            let (pending, quarantined, age): (i64, i64, Option<i64>) = status.fetch_one(&self.pool).await?;
            Ok(OutboxStatus {
                pending: pending.unsigned_abs(),
                oldest_pending: age.map(|age| Duration::from_millis(age.try_into().unwrap_or_default())),
                quarantined: quarantined.unsigned_abs(),
            })
        }
        .boxed()
    }

    fn lead(&self, relay: Uuid) -> BoxFuture<'_, Result<Option<Instant>, OutboxError>> {
        async move {
            // The lease begins after the wait for a connection.
            let mut connection = self.pool.acquire().await?;
            let since = Instant::now();
            let lead = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.take_lead)))
                .bind(relay.to_string())
                .bind(millis(LEASE));
            // Read to the end, where the statement commits.
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
            if !report.quarantined.is_empty() {
                let quarantine = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.quarantine)));
                quarantine.bind(json(report.quarantined)).execute(&self.pool).await?;
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
    // Numbers and text cannot fail.
    serde_json::to_string(&value).unwrap_or_default()
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn millis(time: Duration) -> i64 {
    /// A century.
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    i64::try_from(time.min(LONGEST).as_millis()).unwrap_or(i64::MAX)
}
