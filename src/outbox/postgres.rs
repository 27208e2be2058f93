//! The outbox in a table of PostgreSQL.

#[cfg(test)]
#[cfg(feature = "testing")]
mod plan_tests;
mod statements;

use crate::{
    jitter,
    outbox::{
        OutboxError, OutboxOptions, OutboxStatus, QuarantinedEvent, SqlOutbox, quarantined,
        row::{Columns, Entry, Row},
        table::{self, LEASE, Look, PRUNE_BATCH, Queue, Report, Signals, Table},
    },
    report::report,
    sql::schema::{self, MigrateError},
};
use futures::{FutureExt, future::BoxFuture};
use sqlx::{
    AssertSqlSafe, PgPool, Postgres,
    postgres::{PgConnection, PgListener},
};
use statements::{LEAD, PARTS, Statements};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// An outbox in a table of PostgreSQL 12 or newer, over a pool that the host owns.
///
/// ```no_run
/// use sqlx::PgPool;
/// use stratt_event_bridge::{
///     Envelope, EventBridge, UnitPublished,
///     outbox::{OutboxOptions, PostgresOutbox},
/// };
///
/// # async fn example(
/// #     bridge: EventBridge,
/// #     event: UnitPublished,
/// #     shutdown: impl Future<Output = ()> + Send + 'static,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let pool = PgPool::connect("postgres://orchestrator@db.internal/orchestrator").await?;
/// let outbox = PostgresOutbox::new(pool.clone(), OutboxOptions::default());
/// outbox.migrate().await?;
/// let relay = tokio::spawn(outbox.relay(&bridge).run(shutdown));
///
/// let envelope = Envelope::builder(event, bridge.source().clone()).build()?;
/// let mut tx = pool.begin().await?;
/// sqlx::query("UPDATE units SET status = 'published' WHERE uri = $1")
///     .bind(envelope.event().uri.as_str())
///     .execute(&mut *tx)
///     .await?;
/// outbox.enqueue(&mut tx, &envelope).await?;
/// tx.commit().await?; // announced from here on, whatever happens to this process
/// relay.await??;
/// # Ok(())
/// # }
/// ```
pub type PostgresOutbox = SqlOutbox<Postgres>;

impl SqlOutbox<Postgres> {
    /// Returns an outbox over `pool`. Its tables must exist: see [`migrate`](Self::migrate).
    #[must_use]
    pub fn new(pool: PgPool, options: OutboxOptions) -> Self {
        let keep_sent = options.keep_sent;
        let statements = Statements::of(&options.into_table());
        Self::over(Events { pool, statements, keep_sent })
    }
}

/// The tables of an outbox.
#[derive(Debug)]
struct Events {
    pool: PgPool,
    statements: Statements,
    keep_sent: Duration,
}

impl Events {
    async fn listen(&self, signals: &Signals) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(&self.pool).await?;
        listener.listen(&self.statements.channel).await?;
        loop {
            match listener.recv().await?.payload() {
                LEAD => signals.lead.notify_one(),
                _ => signals.rows.notify_one(),
            }
        }
    }
}

impl Queue<Postgres> for Events {
    fn migrate(&self) -> BoxFuture<'_, Result<(), MigrateError>> {
        let Self { pool, statements, .. } = self;
        schema::postgres::migrate(pool, table::schema(&statements.table, &statements.create, &PARTS)).boxed()
    }

    fn quarantined(&self, limit: i64) -> BoxFuture<'_, Result<Vec<QuarantinedEvent>, OutboxError>> {
        async move {
            let found = sqlx::query_as(AssertSqlSafe(Arc::clone(&self.statements.quarantined))).bind(limit);
            let found: Vec<quarantined::Columns> = found.persistent(false).fetch_all(&self.pool).await?;
            Ok(found.into_iter().map(QuarantinedEvent::from).collect())
        }
        .boxed()
    }

    fn retry(&self, ids: Vec<i64>) -> BoxFuture<'_, Result<u64, OutboxError>> {
        async move {
            let retried = sqlx::query_scalar(AssertSqlSafe(Arc::clone(&self.statements.retry))).bind(ids);
            let retried: i64 = retried.persistent(false).fetch_one(&self.pool).await?;
            Ok(retried.unsigned_abs())
        }
        .boxed()
    }

    fn drop_quarantined(&self, ids: Vec<i64>) -> BoxFuture<'_, Result<u64, OutboxError>> {
        async move {
            let dropped = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.drop_quarantined))).bind(ids);
            Ok(dropped.persistent(false).execute(&self.pool).await?.rows_affected())
        }
        .boxed()
    }

    fn enqueue<'a>(
        &'a self,
        entry: Entry,
        connection: &'a mut PgConnection,
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
            let (pending, quarantined, age): (i64, i64, Option<i64>) =
                status.persistent(false).fetch_one(&self.pool).await?;
            Ok(OutboxStatus {
                pending: pending.unsigned_abs(),
                oldest_pending: age
                    .map(|micros| Duration::from_micros(micros.try_into().unwrap_or_default())),
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
                .bind(relay)
                .bind(micros(LEASE))
                .persistent(false);
            let leads = lead.fetch_optional(&mut *connection).await?.is_some();
            Ok(leads.then_some(since))
        }
        .boxed()
    }

    fn mark(&self, report: Report) -> BoxFuture<'_, Result<(), OutboxError>> {
        async move {
            if !report.sent.is_empty() {
                let sent = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.sent))).bind(report.sent);
                sent.persistent(false).execute(&self.pool).await?;
            }
            if !report.quarantined.is_empty() {
                let (ids, errors): (Vec<i64>, Vec<String>) = report.quarantined.into_iter().unzip();
                let quarantine = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.quarantine)));
                quarantine.bind(ids).bind(errors).persistent(false).execute(&self.pool).await?;
            }
            Ok(())
        }
        .boxed()
    }

    fn look(&self, look: Look) -> BoxFuture<'_, Result<Vec<Row>, OutboxError>> {
        async move {
            let rows: Vec<Columns> = sqlx::query_as(AssertSqlSafe(Arc::clone(&self.statements.pending)))
                .bind(whole(look.rows))
                .bind(look.held)
                .bind(look.blocked)
                .bind(whole(look.of_each_unit))
                .bind(whole(look.bytes))
                .persistent(false)
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
                .bind(micros(self.keep_sent))
                .persistent(false)
                .execute(&self.pool)
                .await?;
            Ok(pruned.rows_affected())
        }
        .boxed()
    }

    fn step_down(&self, relay: Uuid) -> BoxFuture<'_, Result<(), OutboxError>> {
        async move {
            let step_down = sqlx::query(AssertSqlSafe(Arc::clone(&self.statements.step_down))).bind(relay);
            step_down.persistent(false).execute(&self.pool).await?;
            Ok(())
        }
        .boxed()
    }

    fn watch(&self, signals: Arc<Signals>) -> BoxFuture<'_, ()> {
        async move {
            loop {
                if let Err(error) = self.listen(&signals).await {
                    tracing::debug!(error = %report(&error), "outbox cannot listen for notifications; polling every second");
                }
                sleep(jitter::spread(Duration::from_secs(1))).await;
            }
        }
        .boxed()
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn micros(time: Duration) -> i64 {
    /// A century: the database cannot express dates far beyond it.
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    i64::try_from(time.min(LONGEST).as_micros()).unwrap_or(i64::MAX)
}
